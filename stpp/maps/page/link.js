/* The state in the URL's fragment, so that a view can be passed on. */
const Link = (() => {
  const LATER = 300;  // ms; browsers refuse pages that rewrite their address all the time

  const oneOf = (values) => ({
    write: encodeURIComponent,
    read: (text) => (values().includes(text) ? text : undefined),
  });
  const among = (...values) => oneOf(() => values);
  const flag = { write: (value) => (value ? "1" : "0"), read: (text) => ({ 0: false, 1: true })[text] };
  const words = { write: encodeURIComponent, read: (text) => text };

  /* A number in a range; a whole one if `step` is 1, also while the time moves between two windows. */
  const number = (low, high, step = 0) => ({
    write: (value) => String(step ? Math.floor(value + 1e-9) : Number(value.toPrecision(6))),
    read: (text) => {
      const value = Number(text);
      const fits = text.trim() !== "" && value >= low() && value <= high() && (step === 0 || value % step === 0);
      return fits ? value : undefined;
    },
  });

  /* Numbers in map units, as exact as a pixel needs. */
  function decimals(zoom = 1) {
    const [x0, x1, y0, y1] = Atlas.meta.box;
    const pixel = Math.min(x1 - x0, y1 - y0) / 1e4 / zoom;
    return Math.min(Math.max(0, Math.ceil(-Math.log10(pixel))), 20);
  }

  /* Finite numbers, or nothing. */
  function numbers(text) {
    const values = text.split(",").map((part) => (part.trim() === "" ? NaN : Number(part)));
    return values.every(Number.isFinite) ? values : undefined;
  }

  const view = {
    write: ({ x, y, scale }) => {
      const digits = decimals(scale);
      return [x.toFixed(digits), y.toFixed(digits), Number(scale.toPrecision(4))].join(",");
    },
    read: (text) => {
      const values = numbers(text);
      if (values?.length !== 3 || values[2] <= 0) return undefined;
      return { x: values[0], y: values[1], scale: values[2] };
    },
  };

  const selection = {
    write: (polygon, state) => {
      const digits = decimals(state.view?.scale);
      return polygon.flatMap(([x, y]) => [x.toFixed(digits), y.toFixed(digits)]).join(",");
    },
    read: (text) => {
      const values = numbers(text);
      if (!values || values.length < 6 || values.length % 2) return undefined;
      return Array.from({ length: values.length / 2 }, (_, k) => [values[2 * k], values[2 * k + 1]]);
    },
  };

  const colours = () => ["plain", ...(Atlas.meta.basins ? ["basin"] : []), ...Atlas.meta.groups.map((one) => one.name)];
  const rasters = () => [...(Atlas.models().length ? ["forecast", "difference"] : []), "observed", "none"];

  const KEYS = {
    w: ["at", number(() => 0, () => Clock.last(), 1)],
    s: ["mode", among("window", "cumulative", "sequential")],
    k: ["speed", number(() => 0.1, () => 100)],
    h: ["halfLife", number(() => 0, () => 1e6)],
    r: ["raster", oneOf(rasters)],
    i: ["contours", oneOf(() => rasters().filter((name) => name !== "difference"))],
    p: ["posts", flag],
    f: ["flow", flag],
    b: ["basins", flag],
    m: ["model", oneOf(Atlas.models)],
    o: ["other", oneOf(Atlas.models)],
    c: ["compare", among("off", "side", "swipe")],
    d: ["divider", number(() => 0, () => 1)],
    g: ["colour", oneOf(colours)],
    v: ["view", view],
    x: ["selection", selection],
    n: ["post", number(() => 0, () => Atlas.meta.posts.shown - 1, 1)],
    q: ["search", words],
    a: ["theme", among("light", "dark")],
  };

  /* What differs from the state that the page opens with. */
  function format(state) {
    const usual = Store.defaults();
    return Object.entries(KEYS)
      .filter(([, [key]]) => state[key] !== usual[key] && state[key] !== null)
      .map(([short, [key, kind]]) => `${short}=${kind.write(state[key], state)}`)
      .join("&");
  }

  /* A patch of the state; what makes no sense is left out, key by key. `t` is a date in the window to show. */
  function parse(text) {
    const patch = {};
    for (const [short, value] of new URLSearchParams(text.replace(/^#/, ""))) {
      const [key, kind] = Object.hasOwn(KEYS, short) ? KEYS[short] : short === "t" ? ["at", { read: containing }] : [];
      const read = kind?.read(value);
      if (read !== undefined) patch[key] = read;
    }
    return patch;
  }

  /* The latest window that a date lies in. A time without a zone is meant in UTC. */
  function containing(text) {
    const ms = Date.parse(/T[^Z+-]*$/i.test(text) ? `${text}Z` : text);
    const { start, end } = Atlas.meta.windows;
    const w = start.findLastIndex((from, k) => from <= ms && ms < end[k]);
    return w < 0 ? undefined : w;
  }

  /* All that a link says or leaves out; the rest of the state is nobody else's business. */
  function read() {
    const usual = Store.defaults();
    const linked = Object.fromEntries(Object.values(KEYS).map(([key]) => [key, usual[key]]));
    Store.set({ ...linked, ...parse(location.hash), playing: false, beat: 1 });
  }

  function start() {
    let timer = 0;
    const write = () => {
      timer = 0;
      if (Store.state.playing) return;
      const text = format(Store.state);
      if (location.hash.replace(/^#/, "") === text) return;
      try {
        history.replaceState(null, "", `#${text}`);
      } catch {
        // a page inside a frame without an address of its own has no link to pass on
      }
    };
    read();
    addEventListener("hashchange", read);
    Store.subscribe(() => { timer ||= setTimeout(write, LATER); });
  }

  return { start };
})();
