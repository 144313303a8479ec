/* The keyboard. All that a key does, a button or a list does too. */
const Keys = (() => {
  const SHIFT = 60;  // pixels that the map moves by
  const TYPING = "input[type=search], select, textarea";

  const element = (id) => document.getElementById(id);
  const cycle = (values, value) => values[(values.indexOf(value) + 1) % values.length];
  const flip = (key) => Store.set({ [key]: !Store.state[key] });
  const models = () => Atlas.meta.fields.length - 1;

  /* Press the switch that stands for it, if the page has it. */
  function raster(name) {
    const input = document.querySelector(`[name=raster][value=${name}]`);
    if (!input.parentElement.hidden) Store.set({ raster: name });
  }

  function contours() {
    const kinds = models() ? ["none", "forecast", "observed"] : ["none", "observed"];
    Store.set({ contours: cycle(kinds, Store.state.contours) });
  }

  function compare() {
    if (models() > 1) Store.set({ compare: cycle(["off", "side", "swipe"], Store.state.compare) });
  }

  function clear() {
    Store.set({ selection: null, post: -1, search: "" });
    element("overlay").focus({ preventScroll: true }); // where the keyboard goes on, whatever was closed
  }

  const KEYS = [
    ["Space", " ", "play or pause", () => Clock.toggle()],
    ["←", "ArrowLeft", "one window back", () => Clock.step(-1)],
    ["→", "ArrowRight", "one window forward", () => Clock.step(1)],
    ["Home", "Home", "first window", () => Clock.jump(0)],
    ["End", "End", "last window", () => Clock.jump(Clock.last())],
    ["+", "+", "closer", () => Camera.zoom(1.5)],
    ["−", "-", "farther", () => Camera.zoom(1 / 1.5)],
    ["0", "0", "whole map", () => Camera.reset()],
    ["f", "f", "density: forecast", () => raster("forecast")],
    ["o", "o", "density: observed", () => raster("observed")],
    ["d", "d", "density: difference", () => raster("difference")],
    ["n", "n", "density: none", () => raster("none")],
    ["c", "c", "iso-lines: next", contours],
    ["p", "p", "posts on or off", () => flip("posts")],
    ["b", "b", "basins on or off", () => flip("basins")],
    ["w", "w", "flow on or off", () => flip("flow")],
    ["m", "m", "what is shown: next", () => Controls.setMode(cycle(MODES, Store.state.mode))],
    ["s", "s", "compare: next", compare],
    ["/", "/", "search", () => !element("find").hidden && element("search").focus()],
    ["?", "?", "these keys", () => element("keys").showModal()],
    ["Esc", "Escape", "clear selection, post and search", clear],
  ];
  const MODES = ["window", "cumulative", "sequential"];
  const MOVES = { ArrowLeft: [1, 0], ArrowRight: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };

  /* Keys that the thing in focus uses itself. */
  function taken({ key, target }) {
    if (!(target instanceof Element)) return false;
    if (target.matches(TYPING)) return key !== "Escape";
    if (key === " ") return target.matches("button, input, summary, a");
    return /^(Arrow|Home|End)/.test(key) && target.matches("input");
  }

  function down(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || element("keys").open || taken(event)) return;
    if (event.shiftKey && MOVES[event.key]) {
      const [x, y] = MOVES[event.key];
      Camera.pan(x * SHIFT, y * SHIFT);
    } else {
      const key = event.key === "=" ? "+" : event.key.length === 1 ? event.key.toLowerCase() : event.key;
      const [, , , act] = KEYS.find(([, name]) => name === key) ?? [];
      if (!act) return;
      act();
    }
    event.preventDefault();
  }

  function start() {
    const lines = [...KEYS.map(([name, , text]) => [name, text]), ["Shift + arrows", "move the map"]];
    element("keys-list").replaceChildren(...lines.map(([name, text]) => {
      const line = document.createElement("div"), keys = document.createElement("dt");
      const cap = document.createElement("kbd"), meaning = document.createElement("dd");
      cap.textContent = name;
      keys.append(cap);
      meaning.textContent = text;
      line.append(keys, meaning);
      return line;
    }));
    addEventListener("keydown", down);
  }

  return { start };
})();
