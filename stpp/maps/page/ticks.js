/* Round numbers on an axis, and as texts that can be told apart. */
const Ticks = (() => {
  function nice(rough) {
    const power = 10 ** Math.floor(Math.log10(rough)), lead = rough / power;
    return (lead <= 1 ? 1 : lead <= 2 ? 2 : lead <= 5 ? 5 : 10) * power;
  }

  /* Round numbers between two, about `most` of them, with labels short enough to read: what they share (an offset,
     a power of ten) stands once in `note`. */
  function between(low, high, most) {
    const step = nice((high - low) / Math.max(most, 1)), largest = Math.max(Math.abs(low), Math.abs(high));
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

  return { nice, between };
})();
