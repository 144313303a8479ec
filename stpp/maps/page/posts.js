/* One post by its row: when, where, of what weight; its author and text, which are unzipped when they are wanted. */
const Posts = (() => {
  const chunks = []; // promises of [authors, texts]

  const count = () => Atlas.meta.posts.shown;
  const thinned = () => Atlas.meta.posts.shown < Atlas.meta.posts.total;
  const weight = (row) => Atlas.array("weight")[row];
  const engagement = (row) => Atlas.array("engagement")?.[row] ?? null;
  const worth = () => Atlas.array("engagement") ?? Atlas.array("weight");
  const worthName = () => (Atlas.meta.posts.engagement ? "engagement" : Atlas.meta.posts.weighted ? Atlas.meta.weight
    : "time");

  /* The time that the basins of a window were found in. */
  const basinSpan = (w) => ((Atlas.meta.basins.spans[w]?.[0] ?? null) === null ? "" : Clock.span(...Atlas.meta.basins.spans[w]));

  const ms = (row) => Atlas.meta.posts.first + Atlas.array("time")[row] * Atlas.meta.posts.tick;

  /* "2023-03-05T06:30:15Z"; thousandths only where the page has them. */
  function iso(row) {
    const date = new Date(Math.round(ms(row)));
    if (Number.isNaN(date.getTime())) return `${ms(row)} ms`;
    return Atlas.meta.posts.tick % 1000 === 0 ? date.toISOString().replace(".000Z", "Z") : date.toISOString();
  }

  const when = (row) => iso(row).replace("T", " ").replace("Z", " UTC");

  /* Map units of one of the 65,535 steps that places are kept in, along each axis. */
  function step() {
    const [x0, x1, y0, y1] = Atlas.meta.box;
    return [(x1 - x0) / 65535, (y1 - y0) / 65535];
  }

  function place(row) {
    const [x0, , y0] = Atlas.meta.box, [sx, sy] = step();
    return [x0 + Atlas.array("x")[row] * sx, y0 + Atlas.array("y")[row] * sy];
  }

  /* As many digits as places are known to. */
  function placeText(row) {
    const sizes = step(), { box } = Atlas.meta;
    return place(row).map((value, k) => {
      const digits = Math.floor(-Math.log10(sizes[k]) + 0.3);
      if (digits >= 0 && digits <= 8) return value.toFixed(digits);
      const largest = Math.max(Math.abs(box[2 * k]), Math.abs(box[2 * k + 1]));
      return String(Number(value.toPrecision(Math.min(Math.ceil(Math.log10(largest / sizes[k])) + 1, 17))));
    });
  }

  /* The last window that a post came in; -1 for none. */
  function windowOf(row) {
    const { first, stop } = Atlas.meta.windows;
    let low = 0, high = first.length;
    while (low < high) {
      const mid = (low + high) >> 1;
      if (first[mid] <= row) low = mid + 1; else high = mid;
    }
    return low > 0 && row < stop[low - 1] ? low - 1 : -1;
  }

  const track = (row) => (Atlas.array("track")?.[row] ?? 0) - 1;
  const trackName = (id) => Atlas.meta.basins?.tracks.find((one) => one.id === id)?.name ?? "";
  const basin = (row) => trackName(track(row));

  const hasTexts = () => Atlas.meta.texts !== null;

  function chunk(k) {
    chunks[k] ??= Atlas.bytes(`texts-${k}`).then((bytes) => JSON.parse(new TextDecoder().decode(bytes)));
    return chunks[k];
  }

  /* {author, text}; both empty where the page has none. */
  async function words(row) {
    if (!hasTexts()) return { author: "", text: "" };
    const size = Atlas.meta.texts.chunk, [authors, texts] = await chunk(Math.floor(row / size));
    return { author: authors[row % size], text: texts[row % size] };
  }

  const noText = () => (Atlas.meta.texts.capped ? "(its text is not in this page)" : "(no text)");

  /* Whether row a comes before row b: the larger first, of equal ones the earlier. */
  const before = (values, a, b) => values[a] > values[b] || (values[a] === values[b] && a < b);

  /* The n largest of some rows (any iterable), the largest first. */
  function top(rows, n) {
    const values = worth(), best = [];
    for (const row of rows) {
      if (best.length === n && !before(values, row, best[n - 1])) continue;
      let k = best.length < n ? best.length : n - 1;
      while (k > 0 && before(values, row, best[k - 1])) { best[k] = best[k - 1]; k -= 1; }
      best[k] = row;
    }
    return best;
  }

  /* Where a row stands among [first, stop), from 1, and its neighbours there by size; -1 for none. */
  function rank(row, first, stop) {
    const values = worth(), found = { number: 1, previous: -1, next: -1 };
    for (let i = first; i < stop; i++) {
      if (before(values, i, row)) {
        found.number += 1;
        if (found.previous < 0 || before(values, found.previous, i)) found.previous = i;
      } else if (i !== row && (found.next < 0 || before(values, i, found.next))) found.next = i;
    }
    return found;
  }

  /* Choose a post, go to its time if it is not shown, and move the view if it lies outside. */
  function go(row) {
    const { state } = Store, { first, stop } = Fields.posts(), patch = { post: row };
    if (row < first || row >= stop) Object.assign(patch, { at: Math.max(windowOf(row), 0), beat: 1, playing: false });
    const [x, y] = place(row), pane = Camera.panes()[0], [px, py] = Camera.project(pane, x, y);
    const { left, right, top: upper, bottom } = Axes.frame(pane);
    const outside = px < left || px > right || py < upper || py > bottom;
    if (state.view && outside) patch.view = { x, y, scale: state.view.scale };
    Store.set(patch);
  }

  return {
    count, thinned, weight, engagement, worthName, iso, when, place, placeText, windowOf, track, trackName,
    basin, basinSpan, hasTexts, chunk, words, noText, top, rank, go,
  };
})();
