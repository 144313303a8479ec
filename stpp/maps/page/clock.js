/* Time: which window, its dates in words, and playing, which moves the time on. */
const Clock = (() => {
  const DAY = 86400000, HOUR = 3600000, MINUTE = 60000, SECOND = 1000;
  const LONGEST = 1;  // seconds that one frame may take over: a page that was hidden does not leap
  let before = null;  // when the last frame was, ms
  let phase = 0;      // share of the window's time that has passed, where the time moves window by window

  const windows = () => Atlas.meta.windows;
  const last = () => Math.max(0, windows().start.length - 1);

  /* The newest window whose posts the reader may know: in sequential mode nothing tells of what is still to come. */
  const known = () => (Store.state.mode === "sequential" ? Store.window() - (Store.awaited() ? 1 : 0) : last());

  /* Whether time slides on, or jumps from window to window. */
  function slides() {
    return Store.state.mode !== "sequential" && !matchMedia("(prefers-reduced-motion: reduce)").matches;
  }

  function play() {
    const { state } = Store;
    if (state.playing || last() === 0) return;
    const two = state.mode === "sequential";
    const again = state.at >= last() && state.beat === 1;
    before = null;
    phase = two && !again && state.beat === 1 ? 0.5 : 0;
    Store.set({ playing: true, at: again ? 0 : state.at, beat: two && phase === 0 ? 0 : 1 });
  }

  function pause() {
    if (Store.state.playing) Store.set({ playing: false, at: Math.min(Math.round(Store.state.at), last()) });
  }

  function toggle() {
    if (Store.state.playing) pause();
    else play();
  }

  /* To a whole window, with all that it has. */
  function jump(w) {
    Store.set({ playing: false, at: Math.min(Math.max(0, Math.round(w)), last()), beat: 1 });
  }

  /* Windows on or back; in the sequential mode a step is a beat. */
  function step(n) {
    pause();
    const { state } = Store;
    if (state.mode !== "sequential") return jump(state.at + n);
    const beats = Math.min(Math.max(0, 2 * state.at + state.beat + n), 2 * last() + 1);
    Store.set({ at: beats >> 1, beat: beats & 1 });
  }

  function tick(now) {
    const { state } = Store;
    if (!state.playing) return;
    const passed = before === null ? 0 : Math.min((now - before) / 1000, LONGEST) * state.speed;
    before = now;
    if (slides()) {
      if (state.at + passed >= last()) Store.set({ playing: false, at: last(), beat: 1 });
      else Store.set({ at: state.at + passed, beat: 1 });
      return;
    }
    phase += Math.min(passed, 0.5); // however slow the frames, no beat is left out
    const at = Store.window() + Math.floor(phase);
    phase %= 1;
    if (at > last()) Store.set({ playing: false, at: last(), beat: 1 });
    else Store.set({ at, beat: state.mode === "sequential" && phase < 0.5 ? 0 : 1 });
  }

  /* As exact as windows of this length need: ["2023-03-05", ""] or ["2023-03-05", "06:30"]; UTC. */
  function parts(ms, length) {
    const date = new Date(ms);
    if (Number.isNaN(date.getTime())) return [`${ms} ms`, ""];
    const [day, time] = date.toISOString().split("T");
    if (length >= DAY) return [day, ""];
    return [day, time.slice(0, length >= HOUR ? 5 : length >= MINUTE ? 8 : 12)];
  }

  /* "2023-03-05 to 03-12", "2023-03-05 06:00 to 12:00 UTC": what the second date shares with the first is left out. */
  function span(from, to, length = to - from) {
    const [day, time] = parts(from, length), [endDay, endTime] = parts(to, length);
    const shared = day.slice(0, 5) === endDay.slice(0, 5) ? 5 : 0;
    if (!time) return `${day} to ${endDay.slice(shared)}`;
    return `${day} ${time} to ${day === endDay ? "" : `${endDay.slice(shared)} `}${endTime} UTC`;
  }

  /* A moment, as exact as windows of this length need. */
  const date = (ms) => parts(ms, windows().end[0] - windows().start[0]).filter(Boolean).join(" ");

  const dates = (w) => span(windows().start[w], windows().end[w]);

  /* "7 days", "1 hour", "90 seconds". */
  function duration(ms) {
    const [unit, name] = ms >= DAY ? [DAY, "day"] : ms >= HOUR ? [HOUR, "hour"]
      : ms >= MINUTE ? [MINUTE, "minute"] : [SECOND, "second"];
    const n = Number((ms / unit).toPrecision(3));
    return `${n.toLocaleString("en")} ${name}${n === 1 ? "" : "s"}`;
  }

  return { play, pause, toggle, jump, step, tick, dates, date, span, duration, last, known };
})();
