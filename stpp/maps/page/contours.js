/* Iso-lines of a field on a grid, by marching squares, joined to whole lines; outlines of masks. */
const Contours = (() => {
  /* Of each case (bit k: corner k is high; corners from the lower left, anticlockwise) the segments, as pairs of a
     cell's edges (0 below, 1 right, 2 above, 3 left), with the high side on their left: each edge point then has one
     follower at most, and joining is a walk. Cases 5 and 10 are saddles, here with a low middle. */
  const SEGMENTS = [
    [], [0, 3], [1, 0], [1, 3], [2, 1], [0, 3, 2, 1], [2, 0], [2, 3],
    [3, 2], [0, 2], [1, 0, 3, 2], [1, 2], [3, 1], [0, 1], [3, 0], [],
  ];
  const HIGH_MIDDLE = { 5: [0, 1, 2, 3], 10: [1, 2, 3, 0] };
  const EVENED = 5, CUT = 2; // rounds of smoothing

  /* Lines at `level` as flat arrays x0, y0, x1, y1, … in units of cells, (0, 0) being the first cell's centre. A
     closed line ends on the point that it begins with; others end at the border. */
  function lines(values, nx, ny, level) {
    const next = new Map(), entered = new Set();
    for (let iy = 0; iy < ny - 1; iy++) {
      for (let ix = 0; ix < nx - 1; ix++) {
        const i = iy * nx + ix;
        const a = values[i], b = values[i + 1], c = values[i + nx + 1], d = values[i + nx];
        const kind = (a >= level) | ((b >= level) << 1) | ((c >= level) << 2) | ((d >= level) << 3);
        if (kind === 0 || kind === 15) continue;
        const high = (kind === 5 || kind === 10) && a + b + c + d >= 4 * level;
        const pairs = high ? HIGH_MIDDLE[kind] : SEGMENTS[kind];
        const edges = [2 * i, 2 * (i + 1) + 1, 2 * (i + nx), 2 * i + 1];
        for (let k = 0; k < pairs.length; k += 2) {
          next.set(edges[pairs[k]], edges[pairs[k + 1]]);
          entered.add(edges[pairs[k + 1]]);
        }
      }
    }
    const place = (edge) => {
      const i = edge >> 1, upward = edge & 1;
      const from = values[i], to = values[i + (upward ? nx : 1)], share = (level - from) / (to - from);
      const x = i % nx, y = (i - x) / nx;
      return upward ? [x, y + share] : [x + share, y];
    };
    const walk = (start) => {
      const points = place(start);
      let edge = start;
      while (next.has(edge)) {
        const to = next.get(edge);
        next.delete(edge);
        points.push(...place(to));
        edge = to;
      }
      return Float32Array.from(points);
    };
    const found = [];
    const starts = [...next.keys()];
    for (const edge of starts) if (!entered.has(edge)) found.push(walk(edge));
    for (const edge of starts) if (next.has(edge)) found.push(walk(edge));
    return found;
  }

  /* Steps of a closed line evened out: each point moves half the way to the middle between its neighbours. */
  function even(ring) {
    const n = ring.length - 2, moved = new Float32Array(ring.length);
    for (let k = 0; k < n; k++) moved[k] = (ring[(k + n - 2) % n] + 2 * ring[k] + ring[(k + 2) % n]) / 4;
    moved[n] = moved[0];
    moved[n + 1] = moved[1];
    return moved;
  }

  /* Corners cut (Chaikin 1974): each becomes two, a quarter along its sides. */
  function cut(ring) {
    const n = ring.length / 2 - 1, finer = new Float32Array(4 * n + 2);
    for (let k = 0; k < n; k++) {
      for (let axis = 0; axis < 2; axis++) {
        const from = ring[2 * k + axis], to = ring[2 * k + 2 + axis];
        finer[4 * k + axis] = 0.75 * from + 0.25 * to;
        finer[4 * k + 2 + axis] = 0.25 * from + 0.75 * to;
      }
    }
    finer[4 * n] = finer[0];
    finer[4 * n + 1] = finer[1];
    return finer;
  }

  /* Small rings are left nearly as they are: evening shrinks them. */
  function smooth(ring) {
    let smoothed = ring;
    for (let round = Math.min(EVENED, ring.length >> 5); round > 0; round--) smoothed = even(smoothed);
    for (let round = 0; round < CUT; round++) smoothed = cut(smoothed);
    return smoothed;
  }

  /* Smooth closed lines round the cells of a mask that are not 0, in the same units; at the grid's border they run
     along it. */
  function outline(mask, nx, ny) {
    const wide = nx + 2, padded = new Uint8Array(wide * (ny + 2));
    for (let iy = 0; iy < ny; iy++) {
      for (let ix = 0; ix < nx; ix++) padded[(iy + 1) * wide + ix + 1] = mask[iy * nx + ix] ? 1 : 0;
    }
    return lines(padded, wide, ny + 2, 0.5).map((ring) => smooth(ring).map((value) => value - 1));
  }

  return { lines, outline };
})();
