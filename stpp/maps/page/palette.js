/* Colours: of densities and differences (as textures and as CSS), of categories and numbers, in both themes. */
const Palette = (() => {
  /* From the paper of map.css on; in between, steps of equal difference to the eye are laid (see ramp). */
  const STOPS = {
    density: {
      light: ["#ffffff", "#cfe8e7", "#7cc3cc", "#3a91b5", "#255e96"],
      dark: ["#10151c", "#173a56", "#1a6b80", "#35a089", "#a4d67f"],
    },
    less: { light: ["#ffffff", "#b6aad6", "#5c2f91"], dark: ["#10151c", "#564a8f", "#b8a6f5"] },
    more: { light: ["#ffffff", "#f6bd72", "#b4580a"], dark: ["#10151c", "#8a5317", "#ffb65c"] },
    sequence: {
      light: ["#00224e", "#3f4a6b", "#7b7b78", "#b9a955", "#e3c930"],
      dark: ["#4a6bb0", "#7484a0", "#9c9a8e", "#c9b962", "#fee838"],
    },
  };
  /* Of Okabe & Ito (2008) and of Paul Tol's muted scheme, in the order of basins/report/colours.py. */
  const CATEGORIES = [
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9",
    "#332288", "#882255", "#999933", "#117733", "#cc6677", "#aa4499", "#44aa99",
  ];
  const system = matchMedia("(prefers-color-scheme: dark)");
  const kept = new Map();

  const theme = () => (Store.state.theme === "auto" ? (system.matches ? "dark" : "light") : Store.state.theme);
  const ink = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
  const css = ([r, g, b], alpha = 1) => `rgba(${r}, ${g}, ${b}, ${alpha})`;
  const rgb = (hex) => [1, 3, 5].map((k) => parseInt(hex.slice(k, k + 2), 16));

  /* What make() gives for the theme; made once. */
  function once(name, make) {
    const key = `${name} ${theme()}`;
    if (!kept.has(key)) kept.set(key, make(theme()));
    return kept.get(key);
  }

  /* OKLab (Ottosson 2020), in which equal distances look equally large. */
  function toLab(colour) {
    const [r, g, b] = colour.map((c) => (c <= 10.31475 ? c / 3294.6 : ((c / 255 + 0.055) / 1.055) ** 2.4));
    const l = Math.cbrt(0.4122214708 * r + 0.5363325363 * g + 0.0514459929 * b);
    const m = Math.cbrt(0.2119034982 * r + 0.6806995451 * g + 0.1073969566 * b);
    const s = Math.cbrt(0.0883024619 * r + 0.2817188376 * g + 0.6299787005 * b);
    return [
      0.2104542553 * l + 0.793617785 * m - 0.0040720468 * s,
      1.9779984951 * l - 2.428592205 * m + 0.4505937099 * s,
      0.0259040371 * l + 0.7827717662 * m - 0.808675766 * s,
    ];
  }

  function fromLab([L, a, b]) {
    const l = (L + 0.3963377774 * a + 0.2158037573 * b) ** 3;
    const m = (L - 0.1055613458 * a - 0.0638541728 * b) ** 3;
    const s = (L - 0.0894841775 * a - 1.291485548 * b) ** 3;
    return [
      4.0767416621 * l - 3.3077115913 * m + 0.2309699292 * s,
      -1.2684380046 * l + 2.6097574011 * m - 0.3413193965 * s,
      -0.0041960863 * l - 0.7034186147 * m + 1.707614701 * s,
    ].map((c) => (c <= 0.0031308 ? 12.92 * c : 1.055 * Math.max(c, 0) ** (1 / 2.4) - 0.055))
      .map((c) => Math.round(255 * Math.min(Math.max(c, 0), 1)));
  }

  /* n colours [r, g, b] along the stops, any two neighbours equally far apart in OKLab. */
  function ramp(stops, n) {
    const labs = stops.map((stop) => toLab(rgb(stop)));
    const lengths = labs.slice(1).map((lab, k) => Math.hypot(...lab.map((part, axis) => part - labs[k][axis])));
    const whole = lengths.reduce((sum, length) => sum + length, 0);
    return Array.from({ length: n }, (_, i) => {
      let left = (whole * i) / (n - 1), k = 0;
      while (k < lengths.length - 1 && left > lengths[k]) left -= lengths[k++];
      return fromLab(labs[k].map((part, axis) => part + (labs[k + 1][axis] - part) * Math.min(left / lengths[k], 1)));
    });
  }

  /* As a texture. Next to nothing is transparent, so that the paper shows and no edge is seen where a grid ends. */
  function texture(colours, strength) {
    const bytes = new Uint8Array(colours.length * 4);
    colours.forEach((colour, i) => bytes.set([...colour, Math.round(255 * Math.min(strength(i), 1))], 4 * i));
    return bytes;
  }

  /* A ramp as a picture, its 256 colours in a row. */
  function picture(colours) {
    const canvas = Object.assign(document.createElement("canvas"), { width: 256, height: 1 });
    canvas.getContext("2d").putImageData(new ImageData(new Uint8ClampedArray(colours), 256, 1), 0, 0);
    return canvas;
  }

  const density = () => once("density", (name) => texture(ramp(STOPS.density[name], 256), (i) => i / 24));

  /* Below the middle (purple) more came than was forecast, above it (orange) less; 128 is none. Steps are even in the
     root of a difference; colours grow faster than it, or else chance differences would fill the map. */
  const difference = () => once("difference", (name) => {
    const less = ramp(STOPS.less[name], 256), more = ramp(STOPS.more[name], 256);
    const strength = (i) => Math.min(Math.abs(i - 128) / 127, 1) ** 1.5;
    const colours = Array.from({ length: 256 }, (_, i) => (i < 128 ? less : more)[Math.round(255 * strength(i))]);
    return texture(colours, (i) => 12 * strength(i));
  });

  const sequence = (t) => once("sequence", (name) => ramp(STOPS.sequence[name], 256))[
    Math.round(255 * Math.min(Math.max(t, 0), 1))];

  /* On dark paper all are lighter, and keep their order, which tells those apart that differ in hue alone. */
  function lifted(hex, name) {
    const [L, a, b] = toLab(rgb(hex));
    return name === "dark" ? fromLab([0.55 + 0.6 * (L - 0.3), a, b]) : rgb(hex);
  }

  const categories = () => once("categories", (name) => CATEGORIES.map((hex) => lifted(hex, name)));
  const category = (i) => categories()[i % CATEGORIES.length];

  /* That of the run's own pictures. */
  const tracks = () => once("tracks", (name) => (
    new Map(Atlas.meta.basins.tracks.map(({ id, colour }) => [id, lifted(colour, name)]))));
  const track = (id) => tracks().get(id) ?? none();

  /* Of the k-th label of a group (Atlas.meta.groups). */
  function label({ kind, labels, rest }, k) {
    if (k === rest) return none();
    const last = labels.length - (rest === null ? 1 : 2);
    return kind === "number" ? sequence(last > 0 ? k / last : 0.5) : category(k);
  }

  const none = () => (theme() === "dark" ? [139, 148, 158] : [118, 122, 128]);
  const plain = () => (theme() === "dark" ? [240, 240, 232] : [34, 38, 46]);

  return { theme, ink, rgb, css, picture, density, difference, category, track, label, none, plain };
})();
