/* Posts inside a box or a lasso: how many, of what weight, which are the largest, and how they came and went. */
const Selection = (() => {
  const STILL = 4;       // pixels that a pointer may move without drawing
  const APART = 4;       // pixels between the corners of a lasso
  const CORNERS = 300;   // of a lasso, at most
  const BASINS = 6;      // that are listed
  let drawn = null;      // while drawing: {id, tool, pane, corners in pixels}
  let inside = null;     // of a polygon: {polygon, before}, prefix sums of the rows inside it
  let told = null;       // polygon, rows and theme that the panel shows

  const element = (id) => document.getElementById(id);

  /* Even-odd, in the steps that places are kept in, so that nothing is rounded: a 0/1 per row, summed up. */
  function within(polygon) {
    if (inside?.polygon === polygon) return inside.before;
    const [x0, x1, y0, y1] = Atlas.meta.box, x = Atlas.array("x"), y = Atlas.array("y"), n = Posts.count();
    const corners = polygon.map(([px, py]) => [((px - x0) / (x1 - x0)) * 65535, ((py - y0) / (y1 - y0)) * 65535]);
    const sides = banded(corners), before = new Uint32Array(n + 1);
    for (let i = 0; i < n; i++) {
      const u = x[i], v = y[i];
      let odd = 0;
      for (const [ax, ay, bx, by] of sides[v >> 8]) {
        if (ay > v !== by > v && u < ((bx - ax) * (v - ay)) / (by - ay) + ax) odd ^= 1;
      }
      before[i + 1] = before[i] + odd;
    }
    inside = { polygon, before };
    return before;
  }

  /* The sides of a polygon by the 256 bands that they cross: a lasso has many, a band few. */
  function banded(corners) {
    const bands = Array.from({ length: 256 }, () => []);
    corners.forEach(([ax, ay], k) => {
      const [bx, by] = corners.at(k - 1), side = [ax, ay, bx, by];
      const low = Math.max(Math.floor(Math.min(ay, by) / 256), 0);
      const high = Math.min(Math.floor(Math.max(ay, by) / 256), 255);
      for (let band = low; band <= high; band++) bands[band].push(side);
    });
    return bands;
  }

  const most = (a, b) => Math.max(a, b);

  /* The posts of the time shown that lie in the polygon. */
  function rows() {
    const { selection } = Store.state, { first, stop } = Fields.posts();
    if (!selection) return new Uint32Array(0);
    const before = within(selection), found = new Uint32Array(Math.max(before[stop] - before[first], 0));
    for (let i = first, k = 0; i < stop; i++) if (before[i + 1] > before[i]) found[k++] = i;
    return found;
  }

  function summary() {
    const found = rows(), { first, stop } = Fields.posts(), engaged = Atlas.array("engagement");
    const sum = (values) => found.reduce((total, row) => total + values[row], 0);
    return {
      posts: found.length,
      weight: sum(Atlas.array("weight")),
      engagement: engaged && sum(engaged),
      share: stop > first ? found.length / (stop - first) : 0,
      top: Posts.top(found, 5),
    };
  }

  /* -- drawing -- */

  function down(event) {
    const { tool } = Store.state;
    if (!event.isPrimary) return cancel(); // two fingers move the map
    if (tool === "pan" || (event.pointerType === "mouse" && event.button !== 0)) return undefined;
    const at = Camera.place(event);
    drawn = { id: event.pointerId, tool, pane: Camera.paneAt(at[0]), corners: [at], before: Store.state.selection };
    element("overlay").setPointerCapture(event.pointerId);
    return undefined;
  }

  function move(event) {
    if (drawn?.id !== event.pointerId) return;
    const at = Camera.place(event), { tool, pane, corners } = drawn, [from] = corners, last = corners.at(-1);
    if (tool === "box") corners[1] = at;
    else if (Math.hypot(at[0] - last[0], at[1] - last[1]) >= APART) corners.push(at);
    if (tool === "lasso" && corners.length > CORNERS) drawn.corners = corners.filter((_, k) => k % 2 === 0);
    if (Math.hypot(at[0] - from[0], at[1] - from[1]) <= STILL && corners.length < 4) return;
    const outline = tool === "box" ? rectangle(from, at) : drawn.corners;
    if (outline.length > 2) Store.set({ selection: outline.map(([px, py]) => Camera.unproject(pane, px, py)) });
  }

  const rectangle = ([a, b], [c, d]) => [[a, b], [c, b], [c, d], [a, d]];

  function up(event) {
    if (drawn?.id !== event.pointerId) return;
    drawn = null;
    update();
  }

  function cancel() {
    if (!drawn) return;
    const { before } = drawn;
    drawn = null;
    Store.set({ selection: before });
    update();
  }

  /* All that the view shows: a selection for those who do not draw. */
  function view() {
    const pane = Camera.panes()[0], { left, right, top, bottom } = Axes.frame(pane);
    const corners = rectangle([left, top], [right, bottom]);
    Store.set({ selection: corners.map(([px, py]) => Camera.unproject(pane, px, py)) });
  }

  /* -- the panel -- */

  const n = (number) => number.toLocaleString("en");

  function counts() {
    const { number, percent, list } = Details, { posts, weight, engagement, share } = summary();
    const { weighted, engagement: kind } = Atlas.meta.posts, of = Posts.thinned() ? "posts drawn" : "posts";
    return list([
      ["Posts", `${n(posts)}, ${percent(share)} of the ${of} in the time shown`],
      [Details.weightName(), weighted ? number(weight, 6) : ""],
      ["Engagement", kind ? `${number(engagement, 6)} (${kind})` : ""],
    ]);
  }

  /* How many of the posts lie in which basin. */
  function split(found) {
    if (!Atlas.meta.basins || !found.length) return [];
    const counted = new Map();
    for (const row of found) counted.set(Posts.track(row), (counted.get(Posts.track(row)) ?? 0) + 1);
    const known = [...counted].filter(([id]) => id >= 0).sort((a, b) => b[1] - a[1]), none = counted.get(-1) ?? 0;
    const rest = known.slice(BASINS).reduce((sum, [, count]) => sum + count, 0);
    const entries = [
      ...known.slice(0, BASINS).map(([id, count]) => [Palette.track(id), Posts.trackName(id), count]),
      ...(rest ? [[Palette.none(), "other basins", rest]] : []),
      ...(none ? [[Palette.none(), "in no basin", none]] : []),
    ];
    const node = Details.make("ul", "", { className: "swatches" });
    node.append(...entries.map(([rgb, name, count]) => {
      const item = Details.make("li"), number = Details.make("span", `${n(count)}`, { className: "number" });
      item.append(Legends.swatch(rgb), Details.words("span", name), number);
      return item;
    }));
    return [node];
  }

  /* Posts inside, window by window, over all windows. */
  function perWindow() {
    const { first, stop } = Atlas.meta.windows, before = within(Store.state.selection);
    return first.map((row, w) => (w <= Clock.known() ? before[stop[w]] - before[row] : 0));
  }

  function bars() {
    const values = perWindow(), high = values.reduce(most, 0);
    if (values.length < 2 || !high) return [];
    const scale = devicePixelRatio || 1, width = 600, height = 48, each = width / values.length;
    const canvas = Details.make("canvas", "", { className: "bars", width: width * scale, height: height * scale });
    const context = canvas.getContext("2d"), now = Store.window(), peak = values.indexOf(high);
    context.scale(scale, scale);
    values.forEach((value, w) => {
      const tall = (value / high) * (height - 2);
      context.fillStyle = Palette.ink(w === now ? "accent" : "muted");
      context.fillRect(w * each, height - tall, Math.max(each - (each > 4 ? 1.5 : 0), 0.5), tall);
    });
    canvas.setAttribute("role", "img");
    const said = `Posts inside per window: most, ${n(high)}, in window ${peak + 1}`
      + (now <= Clock.known() ? `; now ${n(values[now])}` : "");
    canvas.setAttribute("aria-label", said);
    canvas.title = "Go to a window";
    canvas.addEventListener("click", (event) => {
      const { left, width: wide } = canvas.getBoundingClientRect();
      Clock.jump(Math.floor(((event.clientX - left) / wide) * values.length));
    });
    return [canvas, Details.make("p", `${said}.`, { className: "fine" })];
  }

  function fill() {
    const { make, button, line } = Details, { selection, tool } = Store.state, node = element("selection");
    node.hidden = !selection && tool === "pan";
    if (node.hidden) return node.replaceChildren();
    const whole = button("Whole view", view), actions = make("div", "", { className: "steps" });
    const title = make("h2", "Selected posts");
    if (!selection) {
      actions.append(whole);
      const hint = tool === "box" ? "Draw a box on the map, or take" : "Draw around posts on the map, or take";
      return node.replaceChildren(title, make("p", `${hint} the whole view.`, { className: "fine" }), actions);
    }
    const found = rows(), top = Posts.top(found, 5), list = make("ol", "", { className: "posts" });
    list.append(...top.map(line));
    actions.append(button("Clear", () => Store.set({ selection: null })), button("Save CSV", Exports.saveCsv), whole);
    const heading = make("h3", Posts.worthName() === "time" ? "First posts" : `Most ${Posts.worthName()}`);
    const largest = top.length ? [heading, list] : [];
    return node.replaceChildren(title, counts(), ...split(found), ...bars(), ...largest, actions);
  }

  /* Not while drawing or playing between two windows, when it would cost more than it tells. */
  function update() {
    const { selection, tool, playing } = Store.state, { first, stop } = Fields.posts();
    if (drawn || (playing && selection && told?.selection === selection && told.w === Store.window())) return;
    const now = { selection, tool, first, stop, known: Clock.known(), theme: Palette.theme(), w: Store.window() };
    if (told && Object.keys(now).every((key) => now[key] === told[key])) return;
    told = now;
    const kept = element("selection").contains(document.activeElement) ? document.activeElement.textContent : "";
    fill();
    if (kept) [...element("selection").querySelectorAll("button")].find((one) => one.textContent === kept)?.focus();
  }

  function start() {
    const overlay = element("overlay");
    overlay.addEventListener("pointerdown", down);
    overlay.addEventListener("pointermove", move);
    overlay.addEventListener("pointerup", up);
    overlay.addEventListener("pointercancel", cancel);
    Store.subscribe(update);
    update();
  }

  return { start, rows, summary };
})();
