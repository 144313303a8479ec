/* Map units to pixels and back, at equal scales on both axes; panning and zooming; the panes of a comparison. */
const Camera = (() => {
  const MARGIN = { left: 44, right: 14, top: 14, bottom: 34 }; // room for the axes' labels
  const FARTHEST = 0.5, NEAREST = 2000; // zoom relative to all: places are kept to a 65,536th of the map's box
  const GRIP = 14; // pixels to either side of the divider in which it can be dragged
  const size = { width: 1, height: 1 };
  const pointers = new Map(); // those that are down: id -> [px, py]
  let held = null; // "view" or "divider", while dragged
  const NEAR = 20; // pixels between two taps that are one double tap
  let canvas = null, moved = 0, tapped = null; // where and when the last tap was

  const model = () => (Atlas.models().includes(Store.state.model) ? Store.state.model : Atlas.models()[0] ?? "");
  const comparing = () => (Atlas.models().includes(Store.state.other) ? Store.state.compare : "off");

  function panes() {
    const { width, height } = size, half = width / 2;
    const pane = (id, name, left, wide, clip) => ({ id, model: name, left, top: 0, width: wide, height, clip });
    if (comparing() === "side") {
      return [
        pane(0, model(), 0, half, { left: 0, width: half }),
        pane(1, Store.state.other, half, half, { left: half, width: half }),
      ];
    }
    if (comparing() === "swipe") {
      const at = divider();
      return [
        pane(0, model(), 0, width, { left: 0, width: at }),
        pane(1, Store.state.other, 0, width, { left: at, width: width - at }),
      ];
    }
    return [pane(0, model(), 0, width, { left: 0, width })];
  }

  const divider = () => (comparing() === "swipe" ? Store.state.divider * size.width : null);
  const paneAt = (px) => panes().find(({ clip }) => px < clip.left + clip.width) ?? panes().at(-1);

  /* Pixels per map unit at which everything fits. */
  function fit() {
    const [left, right, low, high] = Atlas.meta.box, width = comparing() === "side" ? size.width / 2 : size.width;
    const across = Math.max(width - MARGIN.left - MARGIN.right, 1) / (right - left);
    const up = Math.max(size.height - MARGIN.top - MARGIN.bottom, 1) / (high - low);
    return Math.min(across, up);
  }

  const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
  const zoomed = () => clamp(Store.state.view?.scale ?? 1, FARTHEST, NEAREST); // a link may say anything
  const scale = () => fit() * zoomed();

  /* Pixels of the middle of what the axes leave free. */
  const middle = (pane) => [
    pane.left + MARGIN.left + (pane.width - MARGIN.left - MARGIN.right) / 2,
    pane.top + MARGIN.top + (pane.height - MARGIN.top - MARGIN.bottom) / 2,
  ];

  function centre() {
    const [left, right, low, high] = Atlas.meta.box, { view } = Store.state;
    return view ? [view.x, view.y] : [left + (right - left) / 2, low + (high - low) / 2];
  }

  /* Differences to the centre are taken before scaling: maps may lie far from 0. */
  function project(pane, x, y) {
    const [mx, my] = middle(pane), [cx, cy] = centre(), by = scale();
    return [mx + (x - cx) * by, my - (y - cy) * by];
  }

  function unproject(pane, px, py) {
    const [mx, my] = middle(pane), [cx, cy] = centre(), by = scale();
    return [cx + (px - mx) / by, cy - (py - my) / by];
  }

  function look(x, y, relative) {
    const [left, right, low, high] = Atlas.meta.box;
    Store.set({ view: { x: clamp(x, left, right), y: clamp(y, low, high), scale: relative } });
  }

  /* By pixels; the map follows the pointer. */
  function pan(dx, dy) {
    const [cx, cy] = centre(), by = scale();
    look(cx - dx / by, cy + dy / by, zoomed());
  }

  /* What is at the pixel stays there. */
  function zoom(factor, px, py) {
    const pane = px === undefined ? panes()[0] : paneAt(px), [mx, my] = middle(pane), [cx, cy] = centre();
    const next = clamp(zoomed() * factor, FARTHEST, NEAREST);
    const [x, y] = px === undefined ? [cx, cy] : unproject(pane, px, py);
    const by = fit() * next;
    look(x - ((px ?? mx) - mx) / by, y + ((py ?? my) - my) / by, next);
  }

  const reset = () => Store.set({ view: null });

  function resize() {
    size.width = Math.max(canvas.clientWidth, 1);
    size.height = Math.max(canvas.clientHeight, 1);
  }

  /* Where on the map an event of the pointer is, pixels. */
  const place = (event) => {
    const { left, top } = canvas.getBoundingClientRect();
    return [event.clientX - left, event.clientY - top];
  };
  const nearDivider = (px) => divider() !== null && Math.abs(px - divider()) <= GRIP;

  function down(event) {
    if (event.pointerType === "mouse" && event.button !== 0) return;
    const at = place(event);
    pointers.set(event.pointerId, at);
    moved = 0;
    if (nearDivider(at[0])) {
      held = "divider";
      event.stopImmediatePropagation(); // else a selection would begin too
    } else if (Store.state.tool === "pan" || pointers.size === 2) held = "view";
    if (held) canvas.setPointerCapture(event.pointerId);
  }

  function move(event) {
    const at = place(event), before = pointers.get(event.pointerId);
    if (!before) {
      canvas.style.cursor = nearDivider(at[0]) ? "ew-resize" : "";
      return;
    }
    const [dx, dy] = [at[0] - before[0], at[1] - before[1]];
    moved += Math.hypot(dx, dy);
    if (held === "divider") Store.set({ divider: clamp(at[0] / size.width, 0.02, 0.98) });
    if (held === "view" && pointers.size === 1) pan(dx, dy);
    if (held === "view" && pointers.size === 2) pinch(event.pointerId, at);
    if (held === "view" && moved > 3) canvas.style.cursor = "grabbing";
    pointers.set(event.pointerId, at);
  }

  /* One of two fingers moved: half the way for the middle between them, the rest for their distance. */
  function pinch(id, at) {
    const before = pointers.get(id), [, other] = [...pointers].find(([key]) => key !== id);
    const apart = (one) => Math.max(Math.hypot(one[0] - other[0], one[1] - other[1]), 1);
    pan((at[0] - before[0]) / 2, (at[1] - before[1]) / 2);
    zoom(apart(at) / apart(before), (at[0] + other[0]) / 2, (at[1] + other[1]) / 2);
  }

  function up(event) {
    if (!pointers.delete(event.pointerId) || pointers.size) return;
    if (held === "view" && moved <= 6 && event.type === "pointerup") tap(event);
    held = null;
    canvas.style.cursor = "";
  }

  function tap(event) {
    const [px, py] = place(event), time = event.timeStamp;
    const again = tapped && time - tapped.time < 350 && Math.hypot(px - tapped.px, py - tapped.py) < NEAR;
    if (again) zoom(2, px, py);
    tapped = again ? null : { px, py, time };
  }

  function wheel(event) {
    event.preventDefault();
    const lines = event.deltaMode === WheelEvent.DOM_DELTA_LINE ? 16 : 1;
    const strength = event.ctrlKey ? 0.01 : 0.002; // a trackpad's pinch comes as small steps with the control key
    zoom(Math.exp(-clamp(event.deltaY * lines, -400, 400) * strength), ...place(event));
  }

  function start() {
    canvas = document.getElementById("overlay");
    canvas.addEventListener("pointerdown", down);
    canvas.addEventListener("pointermove", move);
    canvas.addEventListener("pointerup", up);
    canvas.addEventListener("pointercancel", up);
    canvas.addEventListener("wheel", wheel, { passive: false });
    resize();
  }

  return {
    start, resize, panes, paneAt, project, unproject, scale, pan, zoom, reset, divider, place,
    size: () => size,
    margin: MARGIN,
  };
})();
