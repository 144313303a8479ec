/* What lies above densities and posts: axes, iso-lines, arrows, basins, selections. */
const Overlay = (() => {
  const TRAIL = 60;   // windows that a basin's way is drawn back to
  const CLOSE = 2;    // zoom from which on basins tell more
  const ROOM = 25000; // square pixels of map for each basin's name
  const TITLE = "600 13px system-ui, sans-serif";
  const lines = new WeakMap();  // iso-lines by the density that they are of
  const outlines = new Map();   // of basins, by window
  let canvas = null, c = null, inks = null, taken = [], ways = null, apart = 0;

  /* Basins and flow come from posts. Sequential mode shows the newest that were known at its time. */
  const flowWindow = () => (Store.awaited() ? Atlas.meta.flow.before[Store.window()] : Store.window());
  const basinWindow = () => {
    const { before, after } = Atlas.meta.basins, w = Store.window();
    return Store.state.mode === "sequential" ? (Store.awaited() ? before : after)[w] : w;
  };

  /* ---- iso-lines ---- */

  /* Densities that iso-lines are drawn at, times even; the same for all models and windows. */
  function levels() {
    const top = Fields.top(), even = Axes.nice(top / 5);
    if (!(top > 0)) return [];
    const factor = top < 64 ? 2 : top < 1024 ? 4 : 10;
    const level = top < 4 ? (k) => Number(((k + 1) * even).toPrecision(3)) : (k) => factor ** k;
    return Array.from({ length: 12 }, (_, k) => level(k)).filter((value) => value < top);
  }

  function isolines(values) {
    const [nx, ny] = Atlas.meta.grid.shape;
    if (!lines.has(values)) {
      lines.set(values, levels().map((level) => ({ level, paths: Contours.lines(values, nx, ny, level) })));
    }
    return lines.get(values);
  }

  function shownIsolines(pane) {
    const { contours } = Store.state;
    const values = contours === "none" ? null : Fields.density(contours === "forecast" ? pane.model : "observed");
    return values ? isolines(values) : [];
  }

  function drawContours(pane) {
    const onto = cells(pane, Atlas.meta.grid);
    c.beginPath();
    for (const { paths } of shownIsolines(pane)) paths.forEach((path) => trace(path, onto));
    stroke(inks.halo, 2.5, 0.55);
    stroke(inks.ink, 1, 0.85);
  }

  /* The number of each level, once, on top of its longest line. */
  function numberContours(pane) {
    const onto = cells(pane, Atlas.meta.grid);
    for (const { level, paths } of shownIsolines(pane)) {
      const longest = paths.reduce((one, other) => (other.length > (one?.length ?? 20) ? other : one), null);
      const place = longest && highest(longest, onto, Axes.frame(pane));
      if (place) label([{ text: `${level} ×`, size: 10, weight: 400 }], [place], pane);
    }
  }

  /* Index units of a grid's cell centres to pixels; relative to its corner, as maps may lie far from 0. */
  function cells(pane, { box: [left, right, low, high], shape: [nx, ny] }) {
    const [x, y] = Camera.project(pane, left, low), by = Camera.scale();
    const dx = ((right - left) / nx) * by, dy = ((high - low) / ny) * by;
    return (ix, iy) => [x + (ix + 0.5) * dx, y - (iy + 0.5) * dy];
  }

  function trace(path, onto) {
    for (let k = 0; k < path.length; k += 2) {
      const [x, y] = onto(path[k], path[k + 1]);
      if (k) c.lineTo(x, y);
      else c.moveTo(x, y);
    }
  }

  /* The uppermost point of a line that can be seen. */
  function highest(path, onto, { left, right, top, bottom }) {
    let best = null;
    for (let k = 0; k < path.length; k += 2) {
      const [x, y] = onto(path[k], path[k + 1]);
      if (x > left && x < right && y > top && y < bottom && !(y >= best?.[1])) best = [x, y];
    }
    return best;
  }

  function stroke(ink, width, alpha = 1, dash = []) {
    c.strokeStyle = ink;
    c.lineWidth = width;
    c.globalAlpha = alpha;
    c.setLineDash(dash);
    c.stroke();
    c.setLineDash([]);
    c.globalAlpha = 1;
  }

  /* ---- flow ---- */

  /* The usual distance of a place from its nearest neighbour: what the fastest arrow is long. */
  function spacing(places) {
    const every = Math.ceil(places.length / 200), nearest = [];
    for (let i = 0; i < places.length; i += every) {
      const [x, y] = places[i];
      const distances = places.map(([u, v]) => Math.hypot(u - x, v - y)).filter((distance) => distance > 0);
      if (distances.length) nearest.push(distances.reduce((a, b) => Math.min(a, b)));
    }
    return nearest.sort((a, b) => a - b)[nearest.length >> 1] ?? 0;
  }

  function drawFlow(pane) {
    const { flow } = Atlas.meta;
    if (!flow || !Store.state.flow) return;
    const w = flowWindow();
    if (w < 0 || !flow.known[w]) return;
    apart ||= spacing(flow.places);
    const m = flow.places.length, all = Atlas.array("flow"), long = (apart * Camera.scale()) / 127;
    for (const sure of [0, 1]) {
      c.beginPath();
      flow.places.forEach(([x, y], i) => {
        const k = 3 * (w * m + i);
        if (all[k + 2] !== sure) return;
        const [px, py] = Camera.project(pane, x, y);
        if (px > pane.left - 50 && px < pane.left + pane.width + 50) arrow(px, py, all[k] * long, -all[k + 1] * long);
      });
      if (sure) stroke(inks.halo, 3.5, 0.8);
      stroke(inks.ink, sure ? 1.5 : 1, sure ? 1 : 0.35);
    }
  }

  /* Its middle at (x, y). */
  function arrow(x, y, dx, dy) {
    const length = Math.hypot(dx, dy), head = Math.min(6, 0.45 * length) / length;
    if (length < 1.5) return;
    const [tx, ty] = [x + dx / 2, y + dy / 2];
    c.moveTo(x - dx / 2, y - dy / 2);
    c.lineTo(tx, ty);
    c.moveTo(tx - head * (dx - 0.6 * dy), ty - head * (dy + 0.6 * dx));
    c.lineTo(tx, ty);
    c.lineTo(tx - head * (dx + 0.6 * dy), ty - head * (dy - 0.6 * dx));
  }

  /* ---- basins ---- */

  function rings(w) {
    if (outlines.size > 300) outlines.clear();
    if (!outlines.has(w)) {
      const { grid, windows } = Atlas.meta.basins, [nx, ny] = grid.shape;
      const regions = Atlas.array("regions").subarray(w * nx * ny, (w + 1) * nx * ny);
      outlines.set(w, windows[w].map((_, i) => Contours.outline(regions.map((region) => region === i + 1), nx, ny)));
    }
    return outlines.get(w);
  }

  /* Where each track's centre was: [window, x, y], …. */
  function paths() {
    const found = new Map(Atlas.meta.basins.tracks.map((track) => [track.id, { track, way: [] }]));
    Atlas.meta.basins.windows.forEach((basins, w) => {
      basins.forEach((basin) => found.get(basin.track).way.push([w, ...basin.centre]));
    });
    return found;
  }

  function drawBasins(pane) {
    const { basins } = Atlas.meta;
    if (!basins || !Store.state.basins) return;
    const w = basinWindow();
    ways ??= paths();
    const found = basins.windows[w] ?? [], colours = found.map((basin) => Palette.track(basin.track));
    if (basins.grid && found.length) {
      const onto = cells(pane, basins.grid);
      rings(w).forEach((ring, i) => {
        c.beginPath();
        ring.forEach((path) => trace(path, onto));
        c.fillStyle = Palette.css(colours[i], 0.07);
        c.fill("evenodd");
        stroke(inks.halo, 4, 0.75);
        stroke(Palette.css(colours[i]), 2);
      });
    }
    found.forEach((basin, i) => drawTrail(pane, ways.get(basin.track).way.filter(([v]) => v <= w), colours[i]));
    const { left, right, top, bottom } = Axes.frame(pane), most = Math.ceil(((right - left) * (bottom - top)) / ROOM);
    [...found].sort((a, b) => b.share - a.share).slice(0, most).forEach((basin) => nameBasin(pane, basin));
  }

  /* The way that a basin came, paler the longer ago; it ends in a disc where the basin is. */
  function drawTrail(pane, way, colour) {
    const places = way.slice(-TRAIL).map(([, x, y]) => Camera.project(pane, x, y));
    for (const [ink, width, least] of [[inks.halo, 3.5, 0], [Palette.css(colour), 2, 0.35]]) {
      places.slice(1).forEach((to, k) => {
        c.beginPath();
        c.moveTo(...places[k]);
        c.lineTo(...to);
        stroke(ink, width, least + (0.9 - least) * ((k + 1) / places.length));
      });
    }
    c.beginPath();
    c.arc(...places.at(-1), 4, 0, 2 * Math.PI);
    c.fillStyle = Palette.css(colour);
    c.fill();
    stroke(inks.halo, 1.5);
  }

  function nameBasin(pane, basin) {
    const { post, view } = Store.state, [x, y] = Camera.project(pane, ...basin.centre);
    const name = Axes.shorten(ways.get(basin.track).track.name, 36), share = Math.round(100 * basin.share);
    const ahead = basin.p_continue === null ? "" : ` · goes on: ${Math.round(100 * basin.p_continue)} %`;
    const texts = [{ text: name + (Store.awaited() ? ahead : ` · ${share || "< 1"} %`), size: 12, weight: 600 }];
    const chosen = post >= 0 && Atlas.array("track")[post] === basin.track + 1;
    if (chosen || view?.scale >= CLOSE) {
      const more = [["exists", basin.probability], ["goes on", basin.p_continue], ["grows", basin.p_grow]];
      const known = more.filter(([, value]) => value !== null).map(([what, value]) => `${what} ${tidy(value)}`);
      if (known.length) texts.push({ text: known.join(", "), size: 11, weight: 400 });
    }
    const tall = 8 + 7 * texts.length;
    label(texts, [[x, y - tall], [x, y + tall], [x, y - 2 * tall], [x, y + 2 * tall]], pane);
  }

  const tidy = (value) => Number(value.toFixed(2)).toString();

  /* Lines of text about the first of the places where nothing else is written; nowhere if there is none. */
  function label(texts, places, pane) {
    const font = ({ size, weight }) => `${weight} ${size}px system-ui, sans-serif`;
    const widths = texts.map((line) => { c.font = font(line); return c.measureText(line.text).width; });
    const wide = Math.max(...widths) / 2 + 3, tall = texts.reduce((sum, line) => sum + line.size + 2, 0) / 2;
    const { left, right, top, bottom } = Axes.frame(pane);
    const room = places.map(([x, y]) => [Math.max(left + wide, Math.min(right - wide, x)), y]).find(([x, y], k) => (
      Math.abs(x - places[k][0]) < wide && y - tall > top && y + tall < bottom && taken.every((box) => (
        Math.abs(box.x - x) > box.wide + wide || Math.abs(box.y - y) > box.tall + tall))));
    if (!room) return;
    const [x, middle] = room;
    taken.push({ x, y: middle, wide, tall });
    let y = middle - tall;
    for (const line of texts) {
      c.font = font(line);
      write(line.text, x, y + line.size / 2 + 1, inks.ink, "center");
      y += line.size + 2;
    }
  }

  function write(text, x, y, ink, align) {
    c.textAlign = align;
    c.textBaseline = "middle";
    c.lineJoin = "round";
    c.strokeStyle = inks.halo;
    c.lineWidth = 3;
    c.globalAlpha = 0.9;
    c.strokeText(text, x, y);
    c.globalAlpha = 1;
    c.fillStyle = ink;
    c.fillText(text, x, y);
  }

  /* Number of the basin at a pixel among those of the window whose basins are shown; -1 for none. */
  function basinAt(pane, px, py) {
    const { basins } = Atlas.meta;
    if (!basins || !Store.state.basins || basinWindow() < 0) return -1;
    const w = basinWindow();
    if (!basins.grid) {
      const distances = (basins.windows[w] ?? []).map(({ centre }) => {
        const [x, y] = Camera.project(pane, ...centre);
        return Math.hypot(x - px, y - py);
      });
      return distances.findIndex((distance) => distance < 16 && distance === Math.min(...distances));
    }
    const { box: [left, right, low, high], shape: [nx, ny] } = basins.grid, [x, y] = Camera.unproject(pane, px, py);
    const ix = Math.floor(((x - left) / (right - left)) * nx), iy = Math.floor(((y - low) / (high - low)) * ny);
    if (ix < 0 || iy < 0 || ix >= nx || iy >= ny) return -1;
    return Atlas.array("regions")[(w * ny + iy) * nx + ix] - 1;
  }

  /* ---- what the reader chose ---- */

  function drawChosen(pane) {
    const { selection, post } = Store.state;
    if (selection?.length) {
      c.beginPath();
      selection.forEach(([x, y], k) => (k ? c.lineTo : c.moveTo).call(c, ...Camera.project(pane, x, y)));
      c.closePath();
      c.fillStyle = inks.accent;
      c.globalAlpha = 0.1;
      c.fill("evenodd");
      stroke(inks.halo, 3.5, 0.8);
      stroke(inks.accent, 1.75, 1, [6, 4]);
    }
    if (post >= 0) {
      const at = Camera.project(pane, ...Posts.place(post));
      c.beginPath();
      c.arc(...at, 9, 0, 2 * Math.PI);
      stroke(inks.halo, 5, 0.9);
      stroke(inks.accent, 2.5);
    }
  }

  /* ---- panes ---- */

  /* Whose forecast a pane shows, beside the divider or in the middle. */
  function title(pane) {
    const { left, right, top } = Axes.frame(pane), side = Store.state.compare === "side";
    const less = Store.state.raster === "difference" && !Store.awaited() ? " − observed" : "";
    const text = Axes.shorten(`${pane.model}${less}`, side ? (right - left) / 8 : 40);
    c.font = TITLE;
    const half = c.measureText(text).width / 2 + 4, aside = (pane.id === 0 ? -1 : 1) * (half + 8);
    const [x, y] = side ? [(left + right) / 2, top + 32] : [Camera.divider() + aside, top + 14];
    return { text, x, y, wide: half, tall: 9 };
  }

  function drawDivider(panes) {
    const x = Math.round(Camera.divider()), { top, bottom } = Axes.frame(panes[0]), y = (top + bottom) / 2;
    c.beginPath();
    c.moveTo(x, top);
    c.lineTo(x, bottom);
    stroke(inks.halo, 5, 0.8);
    stroke(inks.ink, 1.5);
    c.beginPath();
    c.arc(x, y, 13, 0, 2 * Math.PI);
    c.fillStyle = inks.halo;
    c.fill();
    stroke(inks.ink, 1.5);
    c.beginPath();
    for (const side of [-1, 1]) {
      c.moveTo(x + 3 * side, y - 5);
      c.lineTo(x + 8 * side, y);
      c.lineTo(x + 3 * side, y + 5);
    }
    stroke(inks.ink, 1.75);
  }

  function draw(panes) {
    const scale = window.devicePixelRatio || 1, { clientWidth: width, clientHeight: height } = canvas;
    const [wide, high] = [Math.round(width * scale), Math.round(height * scale)];
    if (canvas.width !== wide || canvas.height !== high) Object.assign(canvas, { width: wide, height: high });
    c.setTransform(scale, 0, 0, scale, 0, 0);
    c.clearRect(0, 0, width, height);
    const names = ["paper", "ink", "muted", "line", "accent", "halo"];
    inks = Object.fromEntries(names.map((name) => [name, Palette.ink(name)]));
    const titles = panes.length > 1 ? panes.map(title) : [];
    for (const pane of panes) {
      const { left, right, top, bottom } = Axes.frame(pane);
      taken = [...titles];
      c.save();
      c.beginPath();
      c.rect(pane.clip.left, pane.top, pane.clip.width, pane.height);
      c.clip();
      taken.push(Axes.draw(c, pane, inks, write));
      for (const { text, x, y } of titles) {
        c.font = TITLE;
        write(text, x, y, inks.ink, "center");
      }
      c.beginPath();
      c.rect(left, top, right - left, bottom - top);
      c.clip();
      drawContours(pane);
      drawFlow(pane);
      drawBasins(pane);
      numberContours(pane);
      drawChosen(pane);
      c.restore();
    }
    if (panes.length > 1 && Camera.divider() !== null) drawDivider(panes);
  }

  function start(element) {
    canvas = element;
    c = canvas.getContext("2d", { willReadFrequently: true }); // by the processor: an emulated GPU is eight times slower
  }

  return { start, draw, basinAt, levels, basinWindow, flowWindow };
})();
