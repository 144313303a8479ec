/* What the colours, sizes and lines of the layers mean. */
const Legends = (() => {
  const MOST = 8;  // basins that are listed
  const element = (id) => document.getElementById(id);
  const short = (value) => Number(value.toPrecision(2)).toLocaleString("en").replace("-", "−");
  const percent = (share) => `${Math.round(100 * share)} %`;

  function make(tag, text = "", name = "") {
    const made = document.createElement(tag);
    if (text) made.textContent = text;
    if (name) made.className = name;
    return made;
  }

  function drawing(tag, attributes) {
    const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
    Object.entries(attributes).forEach(([key, value]) => made.setAttribute(key, value));
    return made;
  }

  function picture(width, height, ...shapes) {
    const made = drawing("svg", { width, height, viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" });
    made.append(...shapes);
    return made;
  }

  function swatch(rgb) {
    const made = make("span", "", "swatch");
    made.style.backgroundColor = Palette.css(rgb);
    return made;
  }

  /* 256 colours in a row, numbers under the places that they stand at (0 to 1), and words. */
  function ramp(colours, ticks, words) {
    const strip = Palette.picture(colours), scale = make("div", "", "scale");
    Object.assign(strip, { className: "ramp", ariaHidden: "true" });
    scale.append(...ticks.map(([place, text]) => {
      const tick = make("span", text);
      tick.style.left = `${100 * place}%`;
      tick.style.transform = `translateX(${-100 * place}%)`;  // so that the outermost stay inside
      return tick;
    }));
    return [strip, scale, make("p", words, "fine")];
  }

  function density() {
    const { raster } = Store.state;
    if (raster === "none") return [];
    if (raster === "difference") {
      const limit = Fields.limit(), at = (value) => (1 + Math.sign(value) * Math.sqrt(Math.abs(value) / limit)) / 2;
      const ticks = [-limit, -limit / 4, 0, limit / 4, limit].map((value) => [at(value), short(value)]);
      const words = "purple, a larger share of the posts came there; orange, a smaller one";
      return ramp(Palette.difference(), ticks, `forecast − observed density: ${words}`);
    }
    const top = Fields.top(), ticks = [0, 1, top / 4, top].filter((value, k) => k !== 1 || (top > 3 && top < 60));
    const places = ticks.sort((a, b) => a - b).map((value) => [Math.sqrt(value / top), short(value)]);
    const near = places.filter((_, k) => k === 0 || k === places.length - 1 || !crowded(places, k));
    return ramp(Palette.density(), near, "relative density, 1 = even");
  }

  /* Too near to the number before it, unless it is the 1. */
  const crowded = (places, k) => places[k][1] !== "1" && places[k][0] - places[k - 1][0] < 0.15;

  function lines() {
    const { contours } = Store.state;
    if (contours === "none") return [];
    return [make("p", `${contours} density ${Overlay.levels().map(short).join(", ")} × even`, "fine")];
  }

  function sizes() {
    const { engagement, weighted } = Atlas.meta.posts;
    const by = engagement ?? (weighted ? Atlas.meta.weight : null);
    if (!Store.state.posts || !by) return [];
    const marks = [[5, 2.5], [17, 4], [33, 6]];
    const dots = marks.map(([cx, r]) => drawing("circle", { cx, cy: 7, r, fill: "currentColor" }));
    const line = make("p", "", "fine");
    line.append(picture(42, 14, ...dots), ` larger: more ${by}`);
    return [line];
  }

  function colours() {
    const { colour, posts } = Store.state, group = Atlas.meta.groups.find(({ name }) => name === colour);
    if (!posts) return [];
    if (group) return [list(group.labels.map((label, k) => [Palette.label(group, k), label]))];
    return colour === "basin" ? [list([[Palette.none(), "in no basin"]])] : [];
  }

  function list(entries) {
    const made = make("ul", "", "swatches");
    made.append(...entries.map(([rgb, text]) => {
      const line = make("li");
      line.append(swatch(rgb), make("span", text));
      return line;
    }));
    return made;
  }

  function flow() {
    const { flow: about } = Atlas.meta;
    if (!about || !Store.state.flow) return [];
    if (!about.known[Overlay.flowWindow()]) return [make("p", `no ${about.name} is known by then`, "fine")];
    const line = make("p", "", "fine");
    const path = "M1 7H30M25 3L31 7L25 11";
    const arrow = drawing("path", { d: path, fill: "none", stroke: "currentColor", "stroke-width": 2 });
    const when = Clock.date(about.times[Overlay.flowWindow()]);
    const words = ` ${about.name} as of ${when}, up to ${short(about.fastest)} map units a day; bold: beyond chance`;
    line.append(picture(34, 14, arrow), words);
    return [line];
  }

  /* The largest first: share of the window's posts, and how much denser the peak is than the easiest way out. */
  function basins() {
    const { basins: about } = Atlas.meta;
    if (!about || !Store.state.basins) return [];
    const w = Overlay.basinWindow(), when = w < 0 ? "" : Posts.basinSpan(w);
    const found = [...(about.windows[w] ?? [])].sort((a, b) => b.share - a.share);
    const of = make("p", when ? `of ${when}` : "of this window", "fine");
    if (!found.length) return [make("p", `no basins ${when ? of.textContent : "known"}`, "fine")];
    const names = new Map(about.tracks.map((track) => [track.id, track.name]));
    const table = make("table"), head = table.createTHead().insertRow(), body = table.createTBody();
    const columns = [
      ["Basin", "its name, the same through time"],
      ["Posts", "share of the posts of that time"],
      ["Depth", "density at its peak over that at the pass of the easiest way out"],
      ["Stays", "probability that it is there in the next window, by the basin forecast"],
    ].filter(([name]) => (name !== "Stays" || found.some((one) => one.p_continue !== null))
      && (name !== "Depth" || found.some((one) => one.barrier !== null)));
    columns.forEach(([name, title]) => head.append(Object.assign(make("th", name), { title, scope: "col" })));
    found.slice(0, MOST).forEach((one) => {
      const row = body.insertRow(), cell = make("th", "", "basin");
      cell.scope = "row";
      cell.append(swatch(Palette.track(one.track)), make("span", names.get(one.track) ?? `${one.track}`));
      row.append(cell);
      const values = {
        Posts: percent(one.share),
        Depth: one.barrier === null ? "–" : `× ${short(Math.exp(one.barrier))}`,
        Stays: one.p_continue === null ? "–" : percent(one.p_continue),
      };
      columns.slice(1).forEach(([name]) => row.append(make("td", values[name])));
    });
    const rest = found.length - MOST;
    return rest > 0 ? [of, table, make("p", `and ${rest} smaller`, "fine")] : [of, table];
  }

  /* Which line in the strip is whose. */
  function models() {
    return Strip.legend().map(({ label, rgb, dash }) => {
      const stroke = { x1: 0, y1: 5, x2: 26, y2: 5, stroke: Palette.css(rgb), "stroke-width": 2 };
      const one = make("span", "", "model");
      one.append(picture(26, 10, drawing("line", { ...stroke, "stroke-dasharray": dash.join(" ") })), label);
      return one;
    });
  }

  const PARTS = {
    "legend-density": density,
    "legend-contours": lines,
    "legend-posts": sizes,
    "legend-colour": colours,
    "legend-flow": flow,
    "legend-basins": basins,
    "strip-legend": models,
  };

  function draw() {
    Object.entries(PARTS).forEach(([id, part]) => element(id).replaceChildren(...part()));
  }

  return { draw, swatch };
})();
