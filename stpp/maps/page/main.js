/* Load, start everyone, draw when something changed; window.stpp tells tests and consoles the numbers behind. */
(() => {
  const element = (id) => document.getElementById(id);
  let frames = 0, waiting = false;

  function redraw() {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(frame);
  }

  function frame(now) {
    waiting = false;
    Clock.tick(now);
    const panes = Camera.panes();
    Gl.draw(panes);
    Overlay.draw(panes);
    Strip.draw();
    frames += 1;
    hooks.ready = true;
    if (Store.state.playing) redraw();
  }

  const hooks = {
    ready: false,
    state: Store.state,
    set: Store.set,
    get meta() { return Atlas.meta; },
    get frames() { return frames; },
    counts: (w) => Atlas.meta.windows.posts[w],
    shown: () => { const { first, stop } = Fields.posts(); return stop - first; },
    fieldSum: (name, w) => Fields.sum(name, w),
    density: (name, at) => Fields.density(name, at),
    select: (polygon) => { Store.set({ selection: polygon }); return Selection.summary(); },
    rows: () => Selection.rows(),
    search: (text) => Reader.search(text),
    play: () => Clock.play(),
    pause: () => Clock.pause(),
    step: (n) => Clock.step(n),
    png: () => Exports.png(),
    csv: () => Exports.csv(),
  };

  async function start() {
    window.stpp = hooks;
    document.documentElement.dataset.theme = Palette.theme();
    await Atlas.load();
    element("notice").hidden = true;
    Store.set(Store.defaults());
    Link.start();
    Camera.start();
    Gl.start(element("scene"));
    Overlay.start(element("overlay"));
    Strip.start(element("strip"));
    Reader.start();
    Selection.start();
    Exports.start();
    Controls.start();
    Store.subscribe(redraw);
    const watch = new ResizeObserver(() => {
      Camera.resize();
      element("strip").style.height = `${Strip.height()}px`;
      redraw();
    });
    watch.observe(element("stage"));
    watch.observe(element("strip"));
    addEventListener("resize", redraw);  // the page's zoom changes the pixels, if not the sizes
    redraw();
  }

  /* The page says so, and the console has the details. */
  function fail(error) {
    element("notice").textContent = `This map cannot be shown: ${error.message}`;
    element("notice").hidden = false;
    throw error;
  }

  start().catch(fail);
})();
