/* The view as PNG, the selection as CSV. */
const Exports = (() => {
  const ROOM = { top: 58, bottom: 48, side: 16 }; // around the map, CSS pixels
  const RAMP = 120; // of the colour scale

  const element = (id) => document.getElementById(id);

  /* What the densities mean: [colours, words at the low end, at the high end, what they are of]. */
  function legend() {
    const { raster, model, compare, other } = Store.state, short = (value) => Details.number(value, 2);
    const whose = compare === "off" || raster === "observed" ? model : `${model} and ${other}`;
    if (raster === "none") return null;
    if (raster === "difference") {
      const limit = short(Fields.limit());
      return [Palette.difference(), `−${limit}`, limit, `forecast of ${whose} − observed, 1 = even`];
    }
    const of = raster === "observed" ? "observed" : `forecast of ${whose}`;
    return [Palette.density(), "0", short(Fields.top()), `relative density, ${of}, 1 = even`];
  }

  function dates() {
    const { from, to } = Fields.posts(), { mode, playing } = Store.state;
    if (!Atlas.meta.windows.start.length) return "";
    return mode === "cumulative" || playing ? Clock.span(from, to) : Clock.dates(Store.window());
  }

  function fitted(context, text, width) {
    let kept = text;
    while (kept.length > 1 && context.measureText(kept).width > width) kept = `${kept.slice(0, -2).trimEnd()}…`;
    return kept;
  }

  /* The scene is drawn and copied in one go: WebGL forgets it once it is on the screen. */
  function picture() {
    const { width, height } = Camera.size(), scale = window.devicePixelRatio || 1, panes = Camera.panes();
    const canvas = document.createElement("canvas"), context = canvas.getContext("2d");
    canvas.width = Math.round(width * scale);
    canvas.height = Math.round((height + ROOM.top + ROOM.bottom) * scale);
    context.scale(scale, scale);
    context.fillStyle = Palette.ink("paper");
    context.fillRect(0, 0, width, height + ROOM.top + ROOM.bottom);
    Gl.draw(panes);
    context.drawImage(element("scene"), 0, ROOM.top, width, height);
    Overlay.draw(panes);
    context.drawImage(element("overlay"), 0, ROOM.top, width, height);
    write(context, width, height);
    return canvas;
  }

  function write(context, width, height) {
    const { side, top } = ROOM, base = top + height, room = width - 2 * side, scale = legend();
    const put = (text, x, y, ink, font, align = "left") => {
      context.font = `${font} system-ui, sans-serif`;
      context.fillStyle = Palette.ink(ink);
      context.textAlign = align;
      context.fillText(fitted(context, text, room), x, y);
    };
    const { first, stop } = Fields.posts(), posts = `${Math.max(stop - first, 0).toLocaleString("en")} posts`;
    put(Atlas.meta.title, side, 26, "ink", "600 17px");
    put(`${dates()} · ${posts}${Posts.thinned() ? " drawn" : ""}`, side, 47, "muted", "14px");
    put(`stpp ${Atlas.meta.version}`, width - side, base + 38, "muted", "12px", "right");
    if (!scale) return;
    const [colours, low, high, words] = scale;
    put(words, side, base + 16, "muted", "12px");
    put(low, side, base + 38, "ink", "12px");
    const left = side + context.measureText(low).width + 6;
    context.drawImage(Palette.picture(colours), left, base + 28, RAMP, 11);
    put(high, left + RAMP + 6, base + 38, "ink", "12px");
  }

  const png = () => new Promise((resolve) => { picture().toBlob(resolve, "image/png"); });

  /* RFC 4180: quotes around what holds a separator, quotes doubled. */
  const cell = (value) => (/[",\r\n]/.test(value) ? `"${value.replaceAll('"', '""')}"` : value);

  /* Words of others: a spreadsheet would run those that begin like a formula. */
  const harmless = (text) => cell(/^[=+\-@\t\r]/.test(text) ? `'${text}` : text);

  const single = (value) => String(Number(value.toPrecision(7))); // all the digits that 32 bits hold

  /* The posts selected or, without a selection, all of the time shown. */
  async function csv() {
    const { first, stop } = Fields.posts(), texts = Posts.hasTexts();
    const rows = Store.state.selection ? Selection.rows() : range(first, stop);
    const header = ["time", "x", "y", "weight", "engagement", "window", "basin", ...(texts ? ["author", "text"] : [])];
    const lines = [header.join(",")];
    for (const row of rows) {
      const cells = [Posts.iso(row), ...Posts.placeText(row), single(Posts.weight(row))];
      cells.push(Posts.engagement(row) === null ? "" : single(Posts.engagement(row)), Posts.windowOf(row));
      cells.push(harmless(Posts.basin(row)));
      if (texts) {
        const { author, text } = await Posts.words(row);
        cells.push(harmless(author), harmless(text));
      }
      lines.push(cells.join(","));
    }
    return `${lines.join("\r\n")}\r\n`;
  }

  const range = (first, stop) => Uint32Array.from({ length: Math.max(stop - first, 0) }, (_, k) => first + k);

  /* A name for a file, of the title and the time shown. */
  function fileName(ending) {
    const words = `${Atlas.meta.title} ${dates()}`.replace(/[^\p{L}\p{N}]+/gu, "-").replace(/^-+|-+$/g, "");
    return `${words.slice(0, 80) || "map"}.${ending}`;
  }

  function save(blob, ending) {
    const link = document.createElement("a"), url = URL.createObjectURL(blob);
    link.href = url;
    link.download = fileName(ending);
    link.click();
    setTimeout(() => URL.revokeObjectURL(url), 60000); // not before the browser has it
  }

  const savePng = async () => save(await png(), "png");
  const saveCsv = async () => save(new Blob(["\ufeff", await csv()], { type: "text/csv;charset=utf-8" }), "csv");

  function start() {
    element("png").addEventListener("click", savePng);
    element("csv").addEventListener("click", saveCsv);
  }

  return { start, png, csv, saveCsv };
})();
