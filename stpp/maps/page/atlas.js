/* Everything that the page carries: the facts (meta) and the arrays that stpp/maps/packing.py packed. */
const Atlas = (() => {
  const TYPES = { uint8: Uint8Array, int8: Int8Array, uint16: Uint16Array, uint32: Uint32Array, float32: Float32Array };
  const arrays = {};
  let meta = null;

  async function bytes(name) {
    const text = document.getElementById(`blob-${name}`).textContent;
    const packed = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Uint8Array(await new Response(stream).arrayBuffer());
  }

  async function unpack(name) {
    const { dtype, shape, delta } = meta.arrays[name];
    const planes = await bytes(name);
    const array = new TYPES[dtype](shape.reduce((product, side) => product * side, 1));
    const size = array.BYTES_PER_ELEMENT, n = array.length, out = new Uint8Array(array.buffer);
    for (let k = 0; k < size; k++) for (let i = 0; i < n; i++) out[i * size + k] = planes[k * n + i];
    const row = n / (shape[0] || 1);
    if (delta) for (let i = row; i < n; i++) array[i] += array[i - row];
    return array;
  }

  /* Everything but texts is unpacked at once. */
  async function load() {
    meta = JSON.parse(document.getElementById("meta").textContent);
    const names = Object.keys(meta.arrays);
    const unpacked = await Promise.all(names.map(unpack));
    names.forEach((name, k) => { arrays[name] = unpacked[k]; });
  }

  return {
    load,
    bytes,
    array: (name) => arrays[name] ?? null,
    get meta() { return meta; },
    models: () => meta.fields.slice(1).map((field) => field.name), // whose forecasts there are
  };
})();
