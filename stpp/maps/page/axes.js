/* The frame of a pane: axes with round numbers that can be told apart, their names. */
const Axes = (() => {
  /* What the axes leave of a pane. */
  const frame = ({ left, top, width, height }) => ({
    left: left + Camera.margin.left, right: left + width - Camera.margin.right,
    top: top + Camera.margin.top, bottom: top + height - Camera.margin.bottom,
  });

  function nice(rough) {
    const power = 10 ** Math.floor(Math.log10(rough)), lead = rough / power;
    return (lead <= 1 ? 1 : lead <= 2 ? 2 : lead <= 5 ? 5 : 10) * power;
  }

  /* Round numbers between two, about `most` of them, with labels short enough to read: what they share (an offset,
     a power of ten) stands once in `note`. */
  function ticks(low, high, most) {
    const step = nice((high - low) / Math.max(most, 3)), largest = Math.max(Math.abs(low), Math.abs(high));
    const first = Math.ceil(low / step - 1e-6), last = Math.min(Math.floor(high / step + 1e-6), first + 50);
    let offset = 0;
    for (let power = Math.floor(Math.log10(largest)); largest / step >= 1000; power--) {
      const round = 10 ** power;
      offset = Math.round(low / round) * round;
      if (Math.max(Math.abs(low - offset), Math.abs(high - offset)) / step < 1000 || round <= step) break;
    }
    const shift = Math.round(offset / step), reach = Math.max(Math.abs(first - shift), Math.abs(last - shift)) * step;
    const exponent = reach >= 1e4 || reach < 0.01 ? 3 * Math.floor(Math.log10(reach || step) / 3) : 0;
    const unit = step / 10 ** exponent, digits = Math.max(0, -Math.floor(Math.log10(unit) + 1e-9));
    const marks = [];
    for (let i = first; i <= last; i++) {
      marks.push({ value: i * step, text: ((i - shift) * unit).toFixed(digits).replace(/^-(?=.*[1-9])/, "−") });
    }
    const parts = [exponent ? `× 10${raised(exponent)}` : "", offset ? signed(offset) : ""].filter(Boolean);
    return { marks, note: parts.length ? ` (${parts.join(" ")})` : "" };
  }

  const raised = (n) => String(n).replace(/./g, (sign) => (sign === "-" ? "⁻" : "⁰¹²³⁴⁵⁶⁷⁸⁹"[sign]));
  const signed = (number) => `${number < 0 ? "−" : "+"} ${plain(Math.abs(number))}`;
  const plain = (number) => (number < 1e15 && number > 1e-6
    ? Number(number.toPrecision(15)).toLocaleString("en", { maximumFractionDigits: 12 }) : number.toPrecision(6));

  /* In marks that keep its direction to itself: a name may turn all that is written after it. */
  const shorten = (text, most) => (
    `\u2068${text.length > most ? `${text.slice(0, Math.max(1, most - 1))}…` : text}\u2069`);

  /* Over what lies in the margins; returns the room that the name of the upward axis takes. */
  function draw(c, pane, inks, write) {
    const { left, right, top, bottom } = frame(pane), [nameX, nameY] = Atlas.meta.axes;
    c.fillStyle = inks.paper;
    c.fillRect(pane.left, pane.top, pane.width, top - pane.top);
    c.fillRect(pane.left, bottom, pane.width, pane.top + pane.height - bottom);
    c.fillRect(pane.left, pane.top, left - pane.left, pane.height);
    c.fillRect(right, pane.top, pane.left + pane.width - right, pane.height);
    c.beginPath();
    c.rect(Math.round(left) - 0.5, Math.round(top) - 0.5, Math.round(right - left), Math.round(bottom - top));
    c.lineWidth = 1;
    c.strokeStyle = inks.line;
    c.stroke();
    const [x0, y0] = Camera.unproject(pane, left, bottom), [x1, y1] = Camera.unproject(pane, right, top);
    const across = ticks(x0, x1, (right - left) / 80), up = ticks(y0, y1, (bottom - top) / 60);
    c.font = "11px system-ui, sans-serif";
    c.beginPath();
    for (const { value, text } of across.marks) {
      const [x] = Camera.project(pane, value, y0);
      c.moveTo(Math.round(x) + 0.5, bottom);
      c.lineTo(Math.round(x) + 0.5, bottom + 4);
      if (x < right - 4) write(text, x, bottom + 11, inks.muted, "center");
    }
    for (const { value, text } of up.marks) {
      const [, y] = Camera.project(pane, x0, value);
      c.moveTo(left, Math.round(y) + 0.5);
      c.lineTo(left - 4, Math.round(y) + 0.5);
      write(text, left - 6, y, inks.muted, "right");
    }
    c.lineWidth = 1; // writing widens it
    c.strokeStyle = inks.muted;
    c.stroke();
    c.font = "12px system-ui, sans-serif";
    const most = (right - left) / 8; // letters
    write(`${shorten(nameX, most)}${across.note} →`, (left + right) / 2, bottom + 25, inks.ink, "center");
    const upward = `↑ ${shorten(nameY, most)}${up.note}`, half = c.measureText(upward).width / 2;
    write(upward, left + 8, top + 12, inks.ink, "left");
    return { x: left + 8 + half, y: top + 12, wide: half, tall: 8 };
  }

  return { frame, draw, nice, shorten };
})();
