/* What the reader of the page has chosen; whoever draws listens. */
const Store = (() => {
  const state = {
    at: 0,                // window, as a number that moves on between two whole ones while playing
    beat: 1,              // sequential mode: 0 shows the forecast alone, 1 what came too
    mode: "window",       // window | cumulative | sequential
    playing: false,
    speed: 1,             // windows per second
    halfLife: 0,          // days; earlier posts fade by it, 0: only posts of the window
    raster: "forecast",   // forecast | observed | difference | none
    contours: "none",     // none | forecast | observed
    posts: true,
    flow: true,
    basins: true,
    model: "",            // whose forecast
    other: "",            // the model to compare with
    compare: "off",       // off | side | swipe
    divider: 0.5,         // of the swipe, share of the width
    colour: "plain",      // plain | basin | the name of a group (Atlas.meta.groups)
    tool: "pan",          // pan | box | lasso
    view: null,           // null: all; else { x, y, scale }: centre in map units, zoom relative to all
    selection: null,      // null or a polygon [[x, y], …] in map units
    post: -1,             // the post that was clicked
    search: "",
    theme: "auto",        // auto | light | dark
  };
  const first = { ...state };
  const listeners = [];

  /* Take over what differs, and tell everyone which keys changed. */
  function set(patch) {
    const changed = new Set(Object.keys(patch).filter((key) => patch[key] !== state[key]));
    if (!changed.size) return;
    Object.assign(state, patch);
    listeners.forEach((listener) => listener(state, changed));
  }

  /* Something else than the state has changed how things look: everyone is told, with no keys. */
  const redraw = () => listeners.forEach((listener) => listener(state, new Set()));

  /* What is shown before the reader chooses: the last window that is no mere beginning, the forecast that told most. */
  function defaults() {
    const { windows, basins, scores, groups } = Atlas.meta, models = Atlas.models();
    const ranked = [...models].sort((a, b) => gain(scores[b]) - gain(scores[a]));
    return {
      ...first,
      at: Math.max(0, windows.posts.findLastIndex((posts) => posts > 0 && posts >= typical(windows.posts) / 2)),
      raster: models.length ? "forecast" : "observed",
      model: ranked[0] ?? "",
      other: ranked[1] ?? ranked[0] ?? "",
      colour: groups.find(({ name }) => name !== "author")?.name ?? (basins ? "basin" : "plain"), // what was asked for
    };
  }

  /* The median of those that are not 0. */
  function typical(counts) {
    const sorted = Float64Array.from(counts.filter((n) => n > 0)).sort();
    return sorted[sorted.length >> 1] ?? 0;
  }

  /* Mean information gain over the windows that have one. */
  function gain(score) {
    const known = (score?.information_gain ?? []).filter((value) => value !== null);
    return known.length ? known.reduce((sum, value) => sum + value, 0) / known.length : -Infinity;
  }

  const subscribe = (listener) => listeners.push(listener);
  const window = () => Math.floor(state.at + 1e-9);

  /* In sequential mode's first beat, the forecast is out and nobody knows yet what came. */
  const awaited = () => state.mode === "sequential" && state.beat === 0;

  return { state, defaults, set, redraw, subscribe, window, awaited };
})();
