/* Reading posts: under the pointer, after a click, by a search. */
const Reader = (() => {
  const REACH = 10; // pixels from a post within which it is meant
  const STILL = 6;  // pixels that a pointer may move in a click
  const HITS = 20;  // posts of a search that are listed
  let matches = null, found = null; // of a search: a 0/1 per row; {text, rows so far (prefix sums), top}
  let running = Promise.resolve(null), runs = 0;
  let pointer = null, waiting = false, pressed = null, hovered = -1;

  const element = (id) => document.getElementById(id);

  /* -- under the pointer -- */

  /* The row of the post that is drawn nearest to a pixel, within reach; -1 if there is none. All posts that show are
     looked at: a million take a few milliseconds. */
  function nearest(pane, px, py, reach = REACH) {
    const { fadeFirst, stop } = Fields.posts(), [x0, x1, y0, y1] = Atlas.meta.box;
    if (!Store.state.posts || fadeFirst >= stop) return -1;
    const x = Atlas.array("x"), y = Atlas.array("y"), [mx, my] = Camera.unproject(pane, px, py);
    const qx = ((mx - x0) / (x1 - x0)) * 65535, qy = ((my - y0) / (y1 - y0)) * 65535;
    const sx = (Camera.scale() * (x1 - x0)) / 65535, sy = (Camera.scale() * (y1 - y0)) / 65535; // pixels per step
    let best = -1, other = -1, least = reach * reach, leastOther = least;
    for (let i = fadeFirst; i < stop; i++) {
      const dx = (x[i] - qx) * sx, dy = (y[i] - qy) * sy, far = dx * dx + dy * dy;
      if (matches !== null && !matches[i]) { // pale: meant only if nothing that was searched is near
        if (far <= leastOther) { other = i; leastOther = far; }
      } else if (far <= least) { // of several in one place the last, which is on top
        best = i;
        least = far;
      }
    }
    return best < 0 ? other : best;
  }

  /* The basin of the window under a pixel, or null. */
  function basinUnder(pane, px, py) {
    if (!Atlas.meta.basins || !Store.state.basins) return null;
    const k = Overlay.basinAt(pane, px, py);
    return k < 0 ? null : Atlas.meta.basins.windows[Overlay.basinWindow()][k];
  }

  function hide() {
    pointer = null;
    hovered = -1;
    element("tooltip").hidden = true;
  }

  function look() {
    waiting = false;
    if (!pointer) return;
    const [px, py] = pointer, pane = Camera.paneAt(px), row = nearest(pane, px, py);
    const basin = row < 0 ? basinUnder(pane, px, py) : null, tooltip = element("tooltip");
    element("overlay").classList.toggle("pointing", row >= 0 || basin !== null);
    tooltip.hidden = row < 0 && !basin;
    if (row >= 0 && row !== hovered) tooltip.replaceChildren(...ofPost(row));
    if (basin) tooltip.replaceChildren(...ofBasin(basin));
    hovered = row;
    if (!tooltip.hidden) lay(tooltip, px, py);
  }

  /* Beside the pointer, on the side where there is room. */
  function lay(tooltip, px, py) {
    const { width, height } = Camera.size(), gap = 14;
    const left = px + gap + tooltip.offsetWidth > width ? px - gap - tooltip.offsetWidth : px + gap;
    const top = py + gap + tooltip.offsetHeight > height ? py - gap - tooltip.offsetHeight : py + gap;
    tooltip.style.left = `${Math.max(4, left)}px`;
    tooltip.style.top = `${Math.max(4, top)}px`;
  }

  function ofPost(row) {
    const { make, words } = Details, basin = Posts.basin(row);
    const parts = [make("p", Posts.when(row)), ...Details.sizes(row).map((size) => make("p", size))];
    if (basin) parts.push(words("p", basin));
    if (Posts.hasTexts()) {
      const author = words("p", ""), text = words("p", "…");
      author.className = "author";
      parts.unshift(author, text);
      Posts.words(row).then((said) => {
        author.firstChild.textContent = said.author;
        text.firstChild.textContent = said.text.split("\n")[0] || Posts.noText();
        if (row === hovered && pointer) lay(element("tooltip"), ...pointer);
      });
    }
    return parts;
  }

  function ofBasin(seen) {
    const name = Details.words("p", Posts.trackName(seen.track));
    name.className = "author";
    return [name, Details.list(Details.facts(seen))];
  }

  function move(event) {
    if (event.buttons || event.pointerType === "touch") return; // dragging, or a finger, which hides what it is over
    pointer = Camera.place(event);
    if (!waiting) requestAnimationFrame(look);
    waiting = true;
  }

  /* -- clicks and keys -- */

  function choose(px, py, reach) {
    const pane = Camera.paneAt(px), row = nearest(pane, px, py, reach);
    const basin = row < 0 ? basinUnder(pane, px, py) : null;
    if (basin) Details.basin(basin.track);
    else if (row >= 0) Store.set({ post: row });
    else Details.close();
  }

  function up(event) {
    const at = Camera.place(event), from = pressed;
    pressed = null;
    if (from && event.isPrimary && Math.hypot(at[0] - from[0], at[1] - from[1]) <= STILL) {
      choose(...at, event.pointerType === "touch" ? 2 * REACH : REACH);
    }
  }

  /* The post nearest to the pointer or, without one, to the middle of the map. */
  function key(event) {
    if (event.key !== "Enter") return;
    const pane = Camera.panes()[0], middle = [pane.clip.left + pane.clip.width / 2, pane.height / 2];
    choose(...(pointer ?? middle), pointer ? REACH : Infinity);
  }

  /* -- searching -- */

  /* Finds posts in whose author or text all words occur, whatever their case; resolves to {total, shown}, or null if
     there is nothing to search, or another search came. */
  function search(text) {
    if (text !== Store.state.search) Store.set({ search: text });
    return running;
  }

  async function run(text) {
    const mine = ++runs, wanted = text.toLowerCase().split(/\s+/).filter(Boolean), result = element("search-result");
    if (!wanted.length || !Posts.hasTexts()) {
      matches = found = null;
      result.replaceChildren();
      Store.redraw();
      return null;
    }
    const hits = new Uint8Array(Posts.count()), { chunk, chunks } = Atlas.meta.texts;
    let later = performance.now() + 150;
    for (let k = 0; k < chunks; k++) {
      const [authors, texts] = await Posts.chunk(k);
      if (mine !== runs) return null;
      texts.forEach((said, i) => {
        const whole = `${authors[i]}\n${said}`.toLowerCase();
        if (wanted.every((word) => whole.includes(word))) hits[k * chunk + i] = 1;
      });
      if (performance.now() < later) continue;
      later = performance.now() + 150;
      result.textContent = `Searching… ${Math.round((100 * (k + 1)) / chunks)} %`;
      await new Promise((resolve) => { setTimeout(resolve); }); // so that the page stays alive
    }
    if (mine !== runs) return null;
    take(hits);
    return { total: found.before.at(-1), shown: shown() };
  }

  function take(hits) {
    const before = new Uint32Array(hits.length + 1);
    for (let i = 0; i < hits.length; i++) before[i + 1] = before[i] + hits[i];
    matches = hits;
    found = { before, top: Posts.top(rowsOf(hits), HITS) };
    report();
    Store.redraw();
  }

  function* rowsOf(hits) {
    for (let i = hits.indexOf(1); i >= 0; i = hits.indexOf(1, i + 1)) yield i;
  }

  function shown() {
    const { first, stop } = Fields.posts();
    return found.before[Math.max(stop, first)] - found.before[first];
  }

  function report() {
    const { make, line } = Details, total = found.before.at(-1), result = element("search-result");
    const count = make("p", "", { id: "search-count" });
    const { capped, kept } = Atlas.meta.texts, parts = [count];
    if (capped) {
      const some = `Only ${kept.toLocaleString("en")} posts have their text in this page.`;
      parts.push(make("p", some, { className: "fine" }));
    }
    if (total) {
      const list = make("ul", "", { className: "posts" });
      list.append(...found.top.map(line));
      parts.push(list);
    }
    result.replaceChildren(...parts);
    tally();
  }

  /* How many posts a search found, in all and in the time shown. */
  function tally() {
    const count = element("search-count"), total = found.before.at(-1);
    const n = (number) => number.toLocaleString("en");
    const text = total ? `${n(total)} ${total === 1 ? "post" : "posts"}, ${n(shown())} in the time shown` : "No post.";
    if (count.textContent === text) return;
    count.textContent = text;
    element("status").textContent = `Search: ${text}`;
  }

  function start() {
    const overlay = element("overlay");
    Details.start();
    overlay.addEventListener("pointermove", move);
    overlay.addEventListener("pointerleave", hide);
    overlay.addEventListener("pointerdown", (event) => {
      pressed = event.isPrimary ? Camera.place(event) : null;
      hide();
    });
    overlay.addEventListener("pointerup", up);
    overlay.addEventListener("pointercancel", () => { pressed = null; });
    overlay.addEventListener("keydown", key);
    Store.subscribe((state, changed) => {
      if (changed.has("search")) running = run(state.search);
      else if (found && !state.playing) tally();
      if (["at", "mode", "beat", "view", "posts"].some((name) => changed.has(name))) look();
    });
    if (Store.state.search) running = run(Store.state.search);
  }

  return { start, search, get matches() { return matches; } };
})();
