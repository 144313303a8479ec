/* Buttons, switches and lists: they show the state, and change it. */
const Controls = (() => {
  const LISTS = { model: "model", other: "other", contours: "contours", colour: "colour", compare: "compare" };
  const NUMBERS = { speed: "speed", decay: "halfLife", divider: "divider" };
  const SWITCHES = ["posts", "flow", "basins"];
  const RADIOS = ["raster", "tool"];
  const THEMES = { auto: "light", light: "dark", dark: "auto" };
  const OFTEN = ["at", "view", "divider"];  // while the time or the map moves on, only what must follow does
  const DAY = 86400000;

  const element = (id) => document.getElementById(id);
  const count = (n, noun) => `${Math.round(n).toLocaleString("en")} ${noun}${Math.round(n) === 1 ? "" : "s"}`;

  function option(list, value, text) {
    const one = document.createElement("option");
    one.value = value;
    one.textContent = text;
    list.append(one);
  }

  /* A list may be asked, by a link, for what it does not offer. */
  function choose(list, value, text = value) {
    if (list.tagName === "SELECT" && ![...list.options].some((one) => one.value === value)) option(list, value, text);
    list.value = value;
  }

  /* ---- what the page carries, said once ---- */

  function fill() {
    const { basins, flow, groups, texts } = Atlas.meta, names = Atlas.models();
    names.forEach((name) => ["model", "other"].forEach((id) => option(element(id), name, name)));
    option(element("colour"), "plain", "one colour");
    if (basins) option(element("colour"), "basin", "basin");
    groups.forEach(({ name }) => option(element("colour"), name, name));
    option(element("decay"), "0", "are left out");
    const length = typical();
    [0.5, 1, 2, 4, 8].forEach((n) => length && option(element("decay"), String((n * length) / DAY), fades(n * length)));
    document.querySelectorAll("[name=raster]").forEach((input) => {
      input.parentElement.hidden = !names.length && ["forecast", "difference"].includes(input.value);
    });
    if (!names.length) element("contours").querySelector("[value=forecast]").remove();
    element("model-row").hidden = element("expected").hidden = !names.length;
    element("comparison").hidden = names.length < 2;
    element("colour-row").hidden = element("colour").options.length < 2;
    element("flow-row").hidden = !flow;
    element("basins-row").hidden = !basins;
    element("find").hidden = !texts;
    const few = Clock.last() === 0;
    ["play", "back", "forward", "slider"].forEach((id) => { element(id).disabled = few; });
    element("slider").max = Clock.last();
    tell();
  }

  const typical = () => {
    const { start, end } = Atlas.meta.windows;
    return start.length ? end[0] - start[0] : 0;
  };
  const unbroken = (dates) => dates.replace(/-/g, "\u2011"); // hyphens at which no line ends
  const fades = (ms) => `fade by half in ${Clock.duration(ms)}`;

  function tell() {
    const { posts, windows, remarks, smoothing, version, weight, source } = Atlas.meta, n = windows.start.length;
    const dates = n ? unbroken(Clock.span(windows.start[0], windows.end[n - 1])) : "";
    const when = n ? ` of ${Clock.duration(typical())}, ${dates}` : "";
    element("totals").textContent = `${count(posts.total, "post")} in ${count(n, "window")}${when}`;
    const sampled = posts.shown < posts.total - posts.far;
    element("thinned").hidden = posts.shown === posts.total;
    element("thinned").textContent = `${posts.shown.toLocaleString("en")} of ${count(posts.total, "post")} are drawn`
      + (posts.far ? `; ${posts.far.toLocaleString("en")} lie far outside of the map` : "")
      + (sampled ? "; of the others those of more weight are likelier to be" : "")
      + ". Counts by window are of all posts, selections of those drawn.";
    const notes = [
      ...remarks,
      `Observed: smoothed over ${Number(smoothing.toPrecision(3))} map units`
        + (posts.weighted ? `, posts counted by ${weight === "weight" ? "their weight" : weight}.` : "."),
      "Dates are in UTC.",
      `Made by stpp ${version}${source ? ` from ${source}` : ""}.`,
    ];
    element("notes").replaceChildren(...notes.map((text) => {
      const line = document.createElement("p");
      line.textContent = text;
      return line;
    }));
    const none = n === 0 ? "No posts: this map has no windows of time." : "No posts: none came in these windows.";
    if (n > 0 && posts.total > 0) return;
    element("notice").textContent = none;
    element("notice").hidden = false;
  }

  /* ---- from the reader to the state ---- */

  function bind() {
    const on = (id, type, act) => element(id).addEventListener(type, act);
    Object.entries(LISTS).forEach(([id, key]) => on(id, "change", (event) => Store.set({ [key]: event.target.value })));
    Object.entries(NUMBERS).forEach(([id, key]) => {
      on(id, "input", (event) => Store.set({ [key]: Number(event.target.value) }));
    });
    SWITCHES.forEach((id) => on(id, "change", (event) => Store.set({ [id]: event.target.checked })));
    RADIOS.forEach((name) => document.querySelectorAll(`[name=${name}]`).forEach((input) => {
      input.addEventListener("change", () => Store.set({ [name]: input.value }));
    }));
    on("mode", "change", (event) => setMode(event.target.value));
    on("slider", "input", (event) => Store.set({ at: +event.target.value, beat: 1 }));
    on("play", "click", Clock.toggle);
    on("back", "click", () => Clock.step(-1));
    on("forward", "click", () => Clock.step(1));
    on("zoom-in", "click", () => Camera.zoom(1.5));
    on("zoom-out", "click", () => Camera.zoom(1 / 1.5));
    on("zoom-all", "click", () => Camera.reset());
    on("theme", "click", () => Store.set({ theme: THEMES[Store.state.theme] }));
    on("help", "click", () => element("keys").showModal());
    on("find", "submit", (event) => event.preventDefault());
    on("search", "input", (event) => Store.set({ search: event.target.value }));
  }

  const setMode = (mode) => Store.set({ mode, at: Store.window(), beat: 1 });

  /* ---- from the state to the page ---- */

  function show(state) {
    document.documentElement.dataset.theme = Palette.theme();
    element("theme").textContent = `Theme: ${state.theme === "auto" ? "system" : state.theme}`;
    Object.entries(LISTS).forEach(([id, key]) => choose(element(id), state[key]));
    choose(element("mode"), state.mode);
    choose(element("speed"), String(state.speed), `${state.speed} windows/s`);
    choose(element("decay"), String(state.halfLife), fades(state.halfLife * DAY));
    choose(element("divider"), String(state.divider));
    SWITCHES.forEach((id) => { element(id).checked = state[id]; });
    RADIOS.forEach((name) => document.querySelectorAll(`[name=${name}]`).forEach((input) => {
      input.checked = input.value === state[name];
    }));
    if (element("search").value !== state.search) element("search").value = state.search;
    element("other-row").hidden = state.compare === "off";
    element("divider-row").hidden = state.compare !== "swipe";
    element("play").setAttribute("aria-label", state.playing ? "Pause" : "Play");
    element("play").classList.toggle("playing", state.playing);
  }

  /* What depends on the window. */
  function showWindow(state) {
    const { windows } = Atlas.meta, w = Store.window();
    if (!windows.start.length) return;
    const dates = Clock.dates(w);
    const before = state.mode === "cumulative" ? `, ${windows.so_far[w].toLocaleString("en")} so far` : "";
    element("slider").value = w;
    element("slider").setAttribute("aria-valuetext", dates);
    element("when-dates").textContent = dates;
    element("when-posts").textContent = Store.awaited() ? "not yet come" : count(windows.posts[w], "post") + before;
    element("expected").textContent = expectation(state, w);
  }

  /* What the models shown expected of a window, and what came. */
  function expectation({ model, other, compare }, w) {
    const { windows, fields } = Atlas.meta, two = compare !== "off" && other !== model;
    const parts = (two ? [model, other] : [model]).map((name) => {
      const total = fields.find((field, k) => k > 0 && field.name === name)?.totals[w] ?? null;
      if (total === null) return two ? `${name}: no forecast for this window` : "No forecast for this window";
      return two ? `${name} expected ${count(total, "post")}` : `Expected ${count(total, "post")}`;
    });
    const here = Math.round(fields[0].totals[w] ?? 0), away = windows.posts[w] - here;
    const elsewhere = away ? `, and ${away.toLocaleString("en")} outside of the forecast's box` : "";
    const came = Store.awaited() ? "nobody knows yet how many come" : `${here.toLocaleString("en")} came${elsewhere}`;
    return `${[...parts, came].join("; ")}.`;
  }

  /* What was asked for may lie outside the part of the panel that is seen. */
  const reveal = (id) => element(id).scrollIntoView({ block: "nearest" });

  /* To those who do not see it; not while playing, which would never end. */
  function say(state, changed, moved) {
    const texts = [];
    if (moved || ["playing", "mode", "beat"].some((key) => changed.has(key))) {
      texts.push(`${element("when-dates").textContent}: ${element("when-posts").textContent}`);
    }
    if (changed.has("raster")) texts.push(`density: ${state.raster}`);
    if (texts.length && !state.playing) element("status").textContent = texts.join("; ");
  }

  function start() {
    fill();
    bind();
    let shown = -1;
    const update = (state, changed) => {
      const w = Store.window(), chosen = [...changed].some((key) => !OFTEN.includes(key));
      if (chosen || changed.has("divider")) show(state);
      if (chosen || w !== shown) {
        showWindow(state);
        Legends.draw();
      }
      say(state, changed, w !== shown);
      shown = w;
      if (changed.has("post") && state.post >= 0) reveal("details");
      if (changed.has("selection") && state.selection) reveal("selection");
    };
    Store.subscribe(update);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
      show(Store.state);
      Legends.draw();
      Store.redraw();
    });
    update(Store.state, new Set(["mode"]));
    Keys.start();
  }

  return { start, setMode };
})();
