/* The strip under the slider: posts, scores, and basins' births, deaths and lives, window by window. */
const Strip = (() => {
  const THUMB = 16;       // of the slider, pixels: its values begin and end half of that inside
  const NARROW = 560;     // pixels of canvas: a phone
  const LOW = 700;        // pixels of window: lower rows leave room for the map
  const GAP = 5;
  const FONT = 10.5;
  const DASHES = [[], [6, 3], [2, 2], [8, 2, 2, 2], [4, 4], [1, 3]];
  let canvas = null, slider = null, still = null, stillKey = "", lanes = [], hovered = -1;
  let measured = 0; // the canvas' width when last drawn: asking the page at every window would take seconds

  const count = () => Atlas.meta.windows.start.length;
  const width = () => measured || canvas.clientWidth;
  const narrow = () => width() < NARROW;
  const gutter = () => (narrow() ? 78 : 156);
  const laneHeight = () => (narrow() || window.innerHeight < LOW ? 4 : 5);
  const laneCount = () => (narrow() || window.innerHeight < LOW ? 6 : 12);

  /* Models in the order in which the page lists them everywhere. */
  function models() {
    const { scores } = Atlas.meta, listed = Atlas.models().filter((name) => scores[name]);
    return [...listed, ...Object.keys(scores).filter((name) => !listed.includes(name))];
  }

  const legend = () => models().map((label, i) => ({ label, rgb: Palette.category(i), dash: dash(i) }));
  const dash = (i) => DASHES[i % DASHES.length];

  /* Rows that have data, from above: `id`, `label`, `note` (units and what a line in it means), `height` in pixels. */
  function rows() {
    const { scores, basins } = Atlas.meta;
    const low = narrow(), has = (key) => models().some((name) => scores[name][key].some((value) => value !== null));
    const each = Math.ceil(count() / columns().length), means = each > 1 ? ", means" : "";
    const per = each > 1 ? `most of ${each} windows` : "per window";
    const found = [{ id: "posts", label: "posts", note: per, height: 20 }];
    if (has("fds")) found.push({ id: "fds", label: `FDS${means}`, note: "1 = uniform, improper", height: 24 });
    if (has("information_gain")) {
      const label = low || means ? `gain${means}` : "information gain";
      found.push({ id: "gain", label, note: "nats per post", height: 24 });
    }
    if (basins?.tracks.some((track) => track.birth !== null || track.death !== null)) {
      found.push({ id: "turns", label: low ? "born, ended" : "basins born ▲, ended ▽", note: "", height: 15 });
    }
    if (lanes.length) {
      const shown = lanes.slice(0, laneCount()), tracks = shown.reduce((sum, lane) => sum + lane.length, 0);
      const left = basins.tracks.length - tracks;
      const note = left > 0 ? `largest ${tracks} of ${basins.tracks.length}` : "";
      found.push({ id: "lives", label: low ? "basins" : "basins' lives", note, height: shown.length * laneHeight() });
    }
    return low ? found.map((row) => ({ ...row, note: "" })) : found; // a phone has no room for notes
  }

  const height = () => rows().reduce((sum, row) => sum + row.height + GAP, 0) + 14;

  /* Tracks in lanes, larger ones first, so that those in a lane do not overlap in time. */
  function pack(basins) {
    const lives = new Map(basins.tracks.map((track) => [track.id, { track, windows: [], shares: [], size: 0 }]));
    basins.windows.forEach((found, w) => {
      for (const basin of found) {
        const life = lives.get(basin.track);
        life.windows.push(w);
        life.shares.push(basin.share);
        life.size += basin.share;
      }
    });
    const packed = [];
    for (const life of [...lives.values()].filter((one) => one.size > 0).sort((a, b) => b.size - a.size)) {
      life.from = life.windows[0];
      life.to = life.windows[life.windows.length - 1];
      const lane = packed.find((others) => others.every((other) => other.to < life.from || life.to < other.from));
      if (lane) lane.push(life);
      else if (packed.length < 12) packed.push([life]);
    }
    return packed;
  }

  /* Where window `w` is, in pixels: under the slider's thumb. */
  function place(w) {
    const span = width() - gutter() - THUMB;
    return gutter() + THUMB / 2 + (count() > 1 ? (w / (count() - 1)) * span : 0);
  }

  function windowAt(px) {
    const span = width() - gutter() - THUMB;
    const w = Math.round(((px - gutter() - THUMB / 2) / span) * (count() - 1));
    return Math.max(0, Math.min(count() - 1, w));
  }

  /* One per window, or per pixel where there are more windows: [from, to). */
  function columns() {
    const n = count(), most = Math.max(1, Math.floor(width() - gutter() - THUMB));
    const m = Math.min(n, most), found = [];
    for (let k = 0; k < m; k++) {
      const from = Math.floor((k * n) / m), to = Math.floor(((k + 1) * n) / m);
      found.push({ from, to, x: place((from + to - 1) / 2) });
    }
    return found;
  }

  const breadth = (m) => (m > 1 ? (place(count() - 1) - place(0)) / (m - 1) : THUMB);

  function write(c, text, x, y, ink, align = "left", size = FONT) {
    c.font = `${size}px system-ui, sans-serif`;
    c.fillStyle = Palette.ink(ink);
    c.textAlign = align;
    c.textBaseline = "middle";
    c.fillText(text, x, y);
  }

  function rule(c, y, pattern = []) {
    c.strokeStyle = Palette.ink("line");
    c.lineWidth = 1;
    c.setLineDash(pattern);
    c.beginPath();
    c.moveTo(gutter(), Math.round(y) + 0.5);
    c.lineTo(width(), Math.round(y) + 0.5);
    c.stroke();
    c.setLineDash([]);
  }

  function drawPosts(c, top, high) {
    const all = columns(), { posts } = Atlas.meta.windows;
    const tops = all.map(({ from, to }) => Math.max(...posts.slice(from, to)));
    const most = Math.max(1, ...tops), wide = Math.max(1, Math.min(0.7 * breadth(all.length), THUMB, 40));
    c.fillStyle = Palette.ink("muted");
    all.forEach(({ x }, k) => {
      const tall = tops[k] ? Math.max(1, (tops[k] / most) * high) : 0;
      c.fillRect(x - wide / 2, top + high - tall, wide, tall);
    });
    rule(c, top + high);
    return [most.toLocaleString("en"), "0"];
  }

  function drawLines(c, top, high, key, neutral) {
    const all = columns(), { scores } = Atlas.meta, wide = breadth(all.length);
    const means = models().map((name) => all.map(({ from, to }) => mean(scores[name][key].slice(from, to))));
    const known = means.flat().filter((value) => value !== null);
    const most = Math.max(neutral, ...known), least = Math.min(neutral, ...known);
    const y = (value) => top + high - ((value - least) / (most - least || 1)) * high;
    rule(c, y(neutral), [3, 3]);
    models().forEach((name, i) => {
      const values = means[i];
      c.strokeStyle = c.fillStyle = Palette.css(Palette.category(i));
      c.lineWidth = name === Store.state.model ? 2 : 1.25;
      c.setLineDash(dash(i));
      c.beginPath();
      values.forEach((value, k) => {
        if (value === null) return;
        if (k && values[k - 1] !== null) c.lineTo(all[k].x, y(value));
        else c.moveTo(all[k].x, y(value));
      });
      c.stroke();
      c.setLineDash([]);
      values.forEach((value, k) => {
        const alone = value !== null && (values[k - 1] ?? null) === null && (values[k + 1] ?? null) === null;
        if (alone || (value !== null && wide >= 12)) mark(c, i, all[k].x, y(value));
      });
    });
    return [short(most), short(least)];
  }

  /* A model's own shape: colour is not all that tells models apart. */
  function mark(c, i, x, y) {
    const r = 2.2;
    c.beginPath();
    if (i % 3 === 0) c.arc(x, y, r, 0, 2 * Math.PI);
    else if (i % 3 === 1) c.rect(x - r, y - r, 2 * r, 2 * r);
    else triangle(c, x, y + r, 2 * r, -1);
    c.fill();
  }

  function triangle(c, x, y, size, direction) {
    c.moveTo(x - size / 2, y);
    c.lineTo(x + size / 2, y);
    c.lineTo(x, y + direction * size);
    c.closePath();
  }

  function drawTurns(c, top, high) {
    const all = columns(), middle = top + high / 2, { tracks } = Atlas.meta.basins;
    const wide = Math.min(8, Math.max(2, breadth(all.length)));
    rule(c, middle);
    for (const [key, direction] of [["birth", -1], ["death", 1]]) {
      const counts = new Float64Array(count());
      for (const track of tracks) if (track[key] !== null && track[key] < count()) counts[track[key]] += 1;
      const sums = all.map(({ from, to }) => counts.subarray(from, to).reduce((sum, value) => sum + value, 0));
      const most = Math.max(1, ...sums);
      c.fillStyle = c.strokeStyle = Palette.ink("ink");
      c.lineWidth = 1;
      all.forEach(({ x }, k) => {
        if (!sums[k]) return;
        c.beginPath();
        triangle(c, x, middle + direction * 1.5, Math.max(4, wide * Math.sqrt(sums[k] / most)), direction);
        if (direction < 0) c.fill();
        else c.stroke();
      });
    }
    return ["", ""];
  }

  function drawLives(c, top, high) {
    const tall = laneHeight(), end = Math.min(10, breadth(Math.min(count(), 2000)) / 2 - 0.5);
    const most = lanes.flat().reduce((top, life) => life.shares.reduce((a, b) => Math.max(a, b), top), 0);
    lanes.slice(0, Math.round(high / tall)).forEach((lane, k) => {
      const middle = top + (k + 0.5) * tall;
      for (const life of lane) {
        const half = life.shares.map((share) => Math.max(0.75, ((tall - 1) / 2) * (share / most)));
        const xs = life.windows.map(place), last = xs.length - 1;
        c.fillStyle = Palette.css(Palette.track(life.track.id));
        c.beginPath();
        c.moveTo(xs[0] - end, middle - half[0]);
        xs.forEach((x, i) => c.lineTo(x, middle - half[i]));
        c.lineTo(xs[last] + end, middle - half[last]);
        c.lineTo(xs[last] + end, middle + half[last]);
        for (let i = last; i >= 0; i--) c.lineTo(xs[i], middle + half[i]);
        c.lineTo(xs[0] - end, middle + half[0]);
        c.fill();
      }
    });
    return ["", ""];
  }

  function drawDates(c, y) {
    const first = (w) => Clock.dates(w).split(" to ")[0], wide = 6.5 * first(0).length + 24;
    const every = Math.max(1, Math.ceil(wide / breadth(Math.max(2, count()))));
    let before = -Infinity;
    for (let w = 0; w < count(); w += every) {
      const x = Math.max(gutter() + wide / 2 - 12, Math.min(width() - wide / 2 + 12, place(w)));
      if (x - before >= wide - 28) write(c, first(w), x, y, "muted", "center", 10);
      before = Math.max(before, x);
    }
  }

  const DRAW = {
    posts: drawPosts,
    fds: (c, top, high) => drawLines(c, top, high, "fds", 1),
    gain: (c, top, high) => drawLines(c, top, high, "information_gain", 0),
    turns: drawTurns,
    lives: drawLives,
  };

  /* Everything that playing does not change. */
  function drawStill(c) {
    const scale = window.devicePixelRatio || 1, wide = width();
    c.setTransform(scale, 0, 0, scale, 0, 0);
    c.clearRect(0, 0, wide, canvas.clientHeight);
    let top = 1;
    for (const row of rows()) {
      const [most, least] = DRAW[row.id](c, top, row.height), middle = top + row.height / 2;
      write(c, row.label, 0, row.note ? middle - 6 : middle, "ink");
      if (row.note) write(c, fit(c, row.note, gutter() - (most ? 44 : 8)), 0, middle + 7, "muted", "left", 9.5);
      write(c, most, gutter() - 6, top + 4, "muted", "right", 9.5);
      write(c, least, gutter() - 6, top + row.height - 4, "muted", "right", 9.5);
      top += row.height + GAP;
    }
    drawDates(c, top + 5);
  }

  function draw() {
    measured = canvas.clientWidth;
    if (!measured || !count()) return;
    const scale = window.devicePixelRatio || 1;
    const wide = Math.round(measured * scale), high = Math.round(canvas.clientHeight * scale);
    if (canvas.width !== wide || canvas.height !== high) Object.assign(canvas, { width: wide, height: high });
    slider.style.marginLeft = `${gutter()}px`;
    slider.style.width = `calc(100% - ${gutter()}px)`;
    const key = [wide, high, Palette.theme(), Store.state.model].join();
    if (key !== stillKey) {
      Object.assign(still, { width: wide, height: high });
      drawStill(still.getContext("2d"));
      stillKey = key;
    }
    const c = canvas.getContext("2d");
    c.setTransform(1, 0, 0, 1, 0, 0);
    c.clearRect(0, 0, wide, high);
    c.setTransform(scale, 0, 0, scale, 0, 0);
    drawNow(c);
    c.save();
    hideWhatComes(c);
    c.drawImage(still, 0, 0, measured, canvas.clientHeight);
    c.restore();
  }

  /* Only rows' names, dates, and windows whose posts the reader may know. */
  function hideWhatComes(c) {
    const known = Clock.known();
    if (known >= count() - 1) return;
    const half = Math.max(1, Math.min(THUMB, breadth(count())) / 2), tall = canvas.clientHeight - 14;
    c.beginPath();
    c.rect(0, 0, known < 0 ? gutter() : place(known) + half, tall);
    c.rect(0, tall, width(), 14);
    c.clip();
  }

  /* The window shown (all windows so far in cumulative mode) and the one under the pointer. */
  function drawNow(c) {
    const half = Math.max(1, Math.min(THUMB, breadth(count())) / 2), tall = canvas.clientHeight - 14;
    const band = (from, to, alpha) => {
      c.globalAlpha = alpha;
      c.fillStyle = Palette.ink("accent");
      c.fillRect(place(from) - half, 0, place(to) - place(from) + 2 * half, tall);
      c.globalAlpha = 1;
    };
    const { at, mode } = Store.state;
    if (mode === "cumulative") band(0, at, 0.12);
    band(at, at, 0.28);
    if (hovered >= 0) band(hovered, hovered, 0.14);
  }

  /* The window's numbers, as a person would say them. */
  function readout(w) {
    const { windows, scores, reference, basins } = Atlas.meta, n = windows.posts[w];
    const lines = [
      `Window ${w + 1} of ${count()}: ${Clock.dates(w)}`,
      `${n.toLocaleString("en")} ${n === 1 ? "post" : "posts"}`,
    ];
    if (w > Clock.known()) return `${lines[0]}\nstill to come`;
    for (const name of models()) {
      const fds = scores[name].fds[w], gain = scores[name].information_gain[w], parts = [];
      if (fds !== null) parts.push(`FDS ${short(fds)}`);
      const known = gain !== null && name !== reference;
      if (known) parts.push(`information gain ${gain < 0 ? "" : "+"}${short(gain)} nats per post`);
      if (parts.length) lines.push(`${name}: ${parts.join(", ")}`);
    }
    const names = (found) => found.slice(0, 4).join(", ") + (found.length > 4 ? " …" : "");
    const turned = (key) => basins.tracks.filter((track) => track[key] === w).map((track) => track.name);
    if (basins) {
      const name = (id) => basins.tracks.find((track) => track.id === id).name;
      const largest = [...(basins.windows[w] ?? [])].sort((a, b) => b.share - a.share);
      if (largest.length) {
        lines.push(`Basins: ${names(largest.map((one) => `${name(one.track)} ${Math.round(100 * one.share)} %`))}`);
      }
      if (turned("birth").length) lines.push(`Born: ${names(turned("birth"))}`);
      if (turned("death").length) lines.push(`Ended: ${names(turned("death"))}`);
    }
    return lines.join("\n");
  }

  function hover(event) {
    const tooltip = document.getElementById("tooltip");
    const stage = document.getElementById("stage").getBoundingClientRect();
    hovered = windowAt(event.offsetX);
    tooltip.textContent = readout(hovered);
    tooltip.style.whiteSpace = "pre-line";
    tooltip.hidden = false;
    const left = event.clientX - stage.left - tooltip.offsetWidth / 2;
    tooltip.style.left = `${Math.max(4, Math.min(stage.width - tooltip.offsetWidth - 4, left))}px`;
    tooltip.style.top = `${stage.height - tooltip.offsetHeight - 8}px`;
    Store.redraw();
  }

  function leave() {
    hovered = -1;
    const tooltip = document.getElementById("tooltip");
    tooltip.hidden = true;
    tooltip.style.whiteSpace = "";
    Store.redraw();
  }

  function start(element) {
    canvas = element;
    slider = document.getElementById("slider");
    still = document.createElement("canvas");
    if (!count()) return;
    if (Atlas.meta.basins) lanes = pack(Atlas.meta.basins);
    canvas.style.touchAction = "pan-y"; // a finger that moves sideways jumps, one that moves up scrolls the page
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      Clock.jump(windowAt(event.offsetX));
    });
    canvas.addEventListener("pointermove", (event) => {
      hover(event);
      if (event.buttons) Clock.jump(hovered);
    });
    canvas.addEventListener("pointerleave", leave);
  }

  function mean(values) {
    const known = values.filter((value) => value !== null);
    return known.length ? known.reduce((sum, value) => sum + value, 0) / known.length : null;
  }

  const short = (value) => Number(value.toPrecision(Math.abs(value) < 1 ? 2 : 3)).toString().replace("-", "−");

  /* As much of a text as fits. */
  function fit(c, text, wide) {
    c.font = "9.5px system-ui, sans-serif";
    if (c.measureText(text).width <= wide) return text;
    let kept = text;
    while (kept && c.measureText(`${kept}…`).width > wide) kept = kept.slice(0, -1);
    return `${kept}…`;
  }

  return { start, draw, height, legend };
})();
