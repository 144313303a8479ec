/* The densities and the posts that the time, the mode and the layers ask for; as numbers, nothing is drawn here. */
const Fields = (() => {
  const FADED = Math.log2(1 / 0.05); // half-lives after which a post is gone
  const SAMPLE = 64; // windows that the common scale is measured in, at most
  const recent = new Map(); // a few densities, by name, time and mode
  const tables = new Map(); // by field: what each of the 256 steps stands for
  const soFar = { sum: null, weight: 0, count: 0 }; // of the first `count` windows
  let ends = null;

  const windows = () => Atlas.meta.windows.start.length;
  const cells = () => Atlas.meta.grid.shape[0] * Atlas.meta.grid.shape[1];
  const number = (name) => Atlas.meta.fields.findIndex((field) => field.name === name);
  const has = (name, w) => number(name) >= 0 && (Atlas.meta.fields[number(name)].totals[w] ?? null) !== null;

  function table(name) {
    if (!tables.has(name)) {
      const { top } = Atlas.meta.fields[number(name)];
      tables.set(name, Float32Array.from({ length: 256 }, (_, q) => top * (q / 255) ** 2));
    }
    return tables.get(name);
  }

  const steps = (name, w) => Atlas.array(`field-${number(name)}`).subarray(w * cells(), (w + 1) * cells());

  function whole(name, w) {
    const here = steps(name, w), values = table(name), out = new Float32Array(here.length);
    for (let i = 0; i < out.length; i++) out[i] = values[here[i]];
    return out;
  }

  function sum(name, w) {
    const values = table(name);
    return steps(name, w).reduce((total, q) => total + values[q], 0);
  }

  /* Between two windows, what is in between; where only one of them has a field, that. */
  function between(name, at) {
    const w = Math.floor(at + 1e-9), f = at - w;
    if (f < 1e-6 || !has(name, w + 1)) return has(name, w) ? whole(name, w) : null;
    if (!has(name, w)) return null;
    const next = steps(name, w + 1), values = table(name);
    return whole(name, w).map((value, i) => value + f * (values[next[i]] - value));
  }

  /* Add (or, with -1, take away) a window's share of all posts so far. */
  function count(w, sign, into) {
    const total = sign * (Atlas.meta.fields[0].totals[w] ?? 0);
    if (!total) return 0;
    const here = steps("observed", w), values = table("observed");
    for (let i = 0; i < here.length; i++) into[i] += total * values[here[i]];
    return total;
  }

  /* What came in all windows up to now. The sum is kept and moved on, since there may be thousands of windows. */
  function cumulated(at) {
    const w = Math.floor(at + 1e-9), f = at - w, wanted = Math.min(w + 1, windows());
    if (!soFar.sum || Math.abs(wanted - soFar.count) > wanted) {
      Object.assign(soFar, { sum: new Float64Array(cells()), weight: 0, count: 0 });
    }
    while (soFar.count < wanted) soFar.weight += count(soFar.count++, 1, soFar.sum);
    while (soFar.count > wanted) soFar.weight += count(--soFar.count, -1, soFar.sum);
    let { sum: all, weight } = soFar;
    if (f > 1e-6 && w + 1 < windows()) {
      all = soFar.sum.slice();
      weight += count(w + 1, f, all);
    }
    return new Float32Array(all.map((value) => (weight > 0 ? Math.max(value / weight, 0) : 0)));
  }

  /* Null where there is none. */
  function density(name, at = Store.state.at) {
    if (name === "observed" && Store.awaited()) return null;
    const { mode } = Store.state, key = `${name} ${at} ${mode}`;
    if (!recent.has(key)) {
      if (recent.size >= 6) recent.delete(recent.keys().next().value);
      const time = mode === "sequential" ? Math.floor(at + 1e-9) : at;
      recent.set(key, name === "observed" && mode === "cumulative" ? cumulated(at) : between(name, time));
    }
    return recent.get(key);
  }

  /* The difference is always that of the window at hand: a forecast is of one window, not of all so far. */
  function raster(pane) {
    const { raster: kind, at } = Store.state;
    if (kind === "difference" && !Store.awaited()) {
      const forecast = between(pane.model, at), observed = between("observed", at);
      return forecast && observed && { kind: "difference", values: signed(forecast, observed) };
    }
    if (kind === "none") return null;
    const values = density(kind === "observed" && !Store.awaited() ? "observed" : pane.model);
    return values && { kind: "density", values: leveled(values) };
  }

  /* Steps of a density, and of a difference, on the scales that all models and windows share. */
  function leveled(values) {
    const by = top();
    return new Uint8Array(values.map((value) => Math.min(Math.round(255 * Math.sqrt(value / by)), 255)));
  }

  function signed(forecast, observed) {
    const by = limit();
    return new Uint8Array(forecast.map((value, i) => {
      const step = Math.min(Math.round(127 * Math.sqrt(Math.abs(value - observed[i]) / by)), 127);
      return value < observed[i] ? 128 - step : 128 + step;
    }));
  }

  const top = () => scale().top;
  const limit = () => scale().limit;

  /* Ends of the two scales: few cells, one in a thousand, lie beyond them. Windows count by their posts: the peaks of
     those with a handful of posts say little, and would leave no colours to the others. */
  function scale() {
    if (ends) return ends;
    const densities = counter(), differences = counter(), every = Math.ceil(windows() / SAMPLE) || 1;
    const stride = Math.ceil((cells() * Atlas.meta.fields.length * Math.min(windows(), SAMPLE)) / 500000) || 1;
    for (let w = 0; w < windows(); w += every) {
      const weight = Atlas.meta.windows.posts.slice(w, w + every).reduce((sum, n) => sum + n, 0);
      const observed = has("observed", w) ? whole("observed", w) : null;
      for (const { name } of weight ? Atlas.meta.fields : []) {
        const values = has(name, w) ? whole(name, w) : null;
        for (let i = 0; values && i < values.length; i += stride) {
          densities.add(values[i], weight);
          if (name !== "observed" && observed) differences.add(Math.abs(values[i] - observed[i]), weight);
        }
      }
    }
    ends = { top: densities.end(), limit: differences.end() };
    return ends;
  }

  /* Values counted by weight in narrow steps of their square root; end() is below one in a thousand of them. */
  function counter() {
    const most = Math.max(...Atlas.meta.fields.map(({ top }) => top)) || 1, steps = 4096;
    const counts = new Float64Array(steps + 1);
    return {
      add: (value, weight) => { counts[Math.round(steps * Math.sqrt(value / most))] += weight; },
      end: () => {
        let left = 0.001 * counts.reduce((sum, count) => sum + count, 0), k = steps;
        while (k > 0 && left > 0) left -= counts[k--];
        return most * ((k + 1) / steps) ** 2;
      },
    };
  }

  /* The first row that is not before a time in ms. */
  function rowAt(ms) {
    const time = Atlas.array("time"), { first, tick } = Atlas.meta.posts;
    let low = 0, high = time.length;
    while (low < high) {
      const mid = (low + high) >> 1;
      if (first + time[mid] * tick < ms) low = mid + 1; else high = mid;
    }
    return low;
  }

  function posts(at = Store.state.at) {
    const { start, end: stop, first, stop: last } = Atlas.meta.windows, { mode, halfLife } = Store.state;
    if (!windows()) return { first: 0, stop: 0, from: 0, to: 0, fadeFirst: 0 };
    const w = Math.min(Math.floor(at + 1e-9), windows() - 1), f = mode === "sequential" ? 0 : at - w;
    const on = f > 1e-6 && w + 1 < windows(); // sliding on to the next window
    const slid = (edges) => (on ? edges[w] + f * (edges[w + 1] - edges[w]) : edges[w]);
    const shown = { from: slid(start), to: slid(stop), first: first[w], stop: last[w] };
    if (on) Object.assign(shown, { first: rowAt(shown.from), stop: rowAt(shown.to) });
    if (mode === "cumulative") Object.assign(shown, { first: first[0], from: start[0] });
    if (Store.awaited()) Object.assign(shown, { stop: shown.first, to: shown.from });
    const fades = mode !== "cumulative" && halfLife > 0;
    const fadeFirst = fades ? Math.min(rowAt(shown.from - FADED * halfLife * 86400000), shown.first) : shown.first;
    return { ...shown, fadeFirst };
  }

  return { density, raster, sum, posts, top, limit };
})();
