/* The panel that says all there is to say of a post, or of a basin, that was clicked. */
const Details = (() => {
  let track = -1; // of the basin that is told of, if any
  let told = null; // what the panel shows, so that it is not built anew at each frame

  const panel = () => document.getElementById("details");
  const number = (value, digits = 3) => value.toLocaleString("en", { maximumSignificantDigits: digits });
  const count = (posts) => posts.toLocaleString("en");
  const weightName = () => Atlas.meta.weight.replace(/^./, (letter) => letter.toUpperCase());
  const percent = (share) => `${number(100 * share)} %`;

  function make(tag, text = "", options = {}) {
    const node = document.createElement(tag);
    node.textContent = text;
    return Object.assign(node, options);
  }

  /* Words that somebody else wrote: of any script and direction, and never anything but words. */
  function words(tag, text) {
    const node = document.createElement(tag), inner = document.createElement("bdi");
    inner.textContent = text;
    inner.dir = "auto";
    node.append(inner);
    return node;
  }

  function button(text, action, options = {}) {
    const node = make("button", text, { type: "button", ...options });
    node.addEventListener("click", action);
    return node;
  }

  /* [term, value or node] pairs; those without a value are left out. */
  function list(pairs) {
    const node = make("dl");
    for (const [term, value] of pairs) {
      if (value === null || value === "") continue;
      const dd = document.createElement("dd");
      dd.append(value);
      node.append(make("dt", term), dd);
    }
    return node;
  }

  /* How large a post is, in words. */
  function sizes(row) {
    const { engagement, weighted } = Atlas.meta.posts;
    return [
      ...(engagement ? [`engagement ${number(Posts.engagement(row), 6)}`] : []),
      ...(weighted ? [`${Atlas.meta.weight} ${number(Posts.weight(row))}`] : []),
    ];
  }

  /* A post in one line: a button that goes to it. */
  function line(row) {
    const item = make("li"), node = button("", () => Posts.go(row));
    const about = [Posts.when(row), ...sizes(row), Posts.basin(row)].filter(Boolean).join(" · ");
    node.append(make("span", about, { className: "fine" }));
    if (Posts.hasTexts()) {
      const text = words("span", "…");
      node.append(text);
      Posts.words(row).then((said) => {
        text.firstChild.textContent = said.text.split("\n")[0] || Posts.noText();
        if (said.author) text.prepend(make("bdi", said.author), ": ");
      });
    }
    item.append(node);
    return item;
  }

  function header(title, ...more) {
    const node = make("header");
    node.append(make("h2", title), ...more, button("Close", close, { className: "close" }));
    return node;
  }

  function close() {
    track = -1;
    Store.set({ post: -1 });
    update();
    document.getElementById("overlay").focus({ preventScroll: true });
  }

  function ofPost(row) {
    const { engagement, weighted } = Atlas.meta.posts, { axes, groups } = Atlas.meta;
    const w = Posts.windowOf(row), place = Posts.placeText(row);
    const quote = words("blockquote", ""), author = make("bdi", "", { dir: "auto" });
    const pairs = [
      ["Author", Posts.hasTexts() ? author : ""],
      ["Time", Posts.when(row)],
      ["Window", w < 0 ? "none" : `${w + 1} of ${Atlas.meta.windows.start.length}: ${Clock.dates(w)}`],
      ["Engagement", engagement ? `${number(Posts.engagement(row), 6)} (${engagement})` : ""],
      [weightName(), weighted ? number(Posts.weight(row), 6) : ""],
      ["Basin", Atlas.meta.basins ? Posts.basin(row) || "none" : ""],
      ...axes.map((axis, k) => [axis, place[k]]),
      ...groups.filter((group) => group.name !== "author" || !Posts.hasTexts())
        .map((group) => [group.name, words("span", group.labels[Atlas.array(group.array)[row]])]),
    ];
    const parts = [header("Post"), list(pairs), steps(row)];
    if (Posts.hasTexts()) {
      parts.splice(1, 0, quote);
      Posts.words(row).then((said) => {
        quote.firstChild.textContent = said.text || Posts.noText();
        author.textContent = said.author || "unknown";
      });
    }
    return parts;
  }

  /* From post to post, the largest of the time shown first. */
  function steps(row) {
    const node = make("div", "", { className: "steps" }), { first, stop } = Fields.posts();
    if (row < first || row >= stop) {
      node.append(make("p", "Not of the time shown.", { className: "fine" }), button("Go there", () => Posts.go(row)));
      return node;
    }
    const { number: place, previous, next } = Posts.rank(row, first, stop);
    const turn = (text, to) => button(text, () => { Posts.go(to); refocus(text); }, { disabled: to < 0 });
    const n = (count) => count.toLocaleString("en");
    const said = `Number ${n(place)} of ${n(stop - first)} by ${Posts.worthName()}`;
    node.append(make("p", said, { className: "fine" }), turn("Previous", previous), turn("Next", next));
    return node;
  }

  /* The panel was built anew under the reader's finger: give the new button the keyboard. */
  function refocus(text) {
    [...panel().querySelectorAll("button")].find((one) => one.textContent === text && !one.disabled)?.focus();
  }

  /* What is known of a basin in a window, in words: [term, explanation]. */
  function facts(seen) {
    const times = (log) => (log > 6.9 ? "over 1,000" : number(Math.exp(log)));
    const chance = (p) => (p === null ? "" : percent(p)), when = Posts.basinSpan(Overlay.basinWindow());
    return [
      ["Holds", `${percent(seen.share)} of the posts of ${when} (${count(seen.posts)})`],
      ["Exists", seen.probability === null ? "" : `in ${percent(seen.probability)} of resampled data`],
      ["Barrier", seen.barrier === null ? "" : `peak ${times(seen.barrier)} times as dense as the easiest way out`],
      ["Goes on", chance(seen.p_continue) && `${chance(seen.p_continue)} chance that the next window has it`],
      ["Grows", chance(seen.p_grow) && `${chance(seen.p_grow)} chance that its share grows in the next window`],
      ["Life", life(seen.track)],
    ];
  }

  function life(id) {
    const one = Atlas.meta.basins.tracks.find((entry) => entry.id === id), { windows } = Atlas.meta;
    if (!one) return "";
    const named = (w) => `window ${w + 1} (${Clock.dates(w).split(" ")[0]})`;
    const from = one.birth === null ? "there from the start" : `since ${named(one.birth)}`;
    const to = one.death === null ? `still there in window ${windows.start.length}` : `gone in ${named(one.death)}`;
    return `${from}, ${to}`;
  }

  function ofBasin(seen) {
    const name = Posts.trackName(track);
    const title = words("p", name), parts = [header("Basin"), title];
    title.className = "author";
    if (seen) return [...parts, list(facts(seen))];
    return [...parts, make("p", "Not in this window.", { className: "fine" }), list([["Life", life(track)]])];
  }

  const seenNow = () => Atlas.meta.basins.windows[Overlay.basinWindow()]?.find((one) => one.track === track) ?? null;

  function basin(id) {
    track = id;
    Store.set({ post: -1 });
    update();
  }

  function update() {
    const before = told, { post } = Store.state, { first, stop } = Fields.posts();
    if (post >= 0) track = -1;
    const known = post >= 0 && post < Posts.count();
    const now = known ? `post ${post} ${first} ${stop}` : track >= 0 ? `basin ${track} ${Overlay.basinWindow()}` : "";
    if (now === told) return;
    told = now;
    panel().hidden = !now;
    panel().replaceChildren(...(known ? ofPost(post) : track >= 0 ? ofBasin(seenNow()) : []));
    if (now && before !== null) panel().scrollIntoView({ block: "nearest" }); // null: the page has just opened
  }

  function start() {
    addEventListener("keydown", (event) => { if (event.key === "Escape" && track >= 0) close(); });
    Store.subscribe((state, changed) => {
      const moved = ["at", "mode", "beat", "playing"].some((key) => changed.has(key));
      if (changed.has("post") || (moved && !state.playing)) update();
    });
    update();
  }

  return { start, close, basin, facts, sizes, line, make, words, button, list, number, percent, weightName };
})();
