"""Decayed kernel sums S(t, x) = Σ_{t_j < t} w_j e^{−β(t − t_j)} φ_h(x − x_j): the engine under every model.

Two engines compute the same sums and are tested against one another.

``grid`` (d ≤ 3) costs O(n) whatever the density of events. It splits the Gaussian,
φ_h(x_i − x_j) = ∫ φ_s(x_i − g) φ_s(g − x_j) dg with s = h/√2, and replaces the integral by the trapezoid sum on a
grid of spacing Δ, which is spectrally accurate: the aliasing error is 2 exp(−π²h²/(2Δ²)) per axis (Trefethen &
Weideman 2014, SIAM Review 56, 385). Each event deposits a narrow stencil on one decaying array and the next event
reads it; Gaussians on the stencil come from two exponentials per axis (Greengard & Lee 2004, SIAM Review 46, 443).

``pairs`` (any d) sums over the neighbours that lie within the truncation radius and time, found by cell lists. It is
the oracle, and the faster engine where an event has few such neighbours.

Both meet |error| ≤ tol · Σ_j w_j e^{−β(t − t_j)} φ_h(0).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Literal, NamedTuple, TypeVar

import numba
import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.special import ndtr
from scipy.stats import chi2

from stpp.domain import Array, Box, Grid

Engine = Literal["auto", "grid", "pairs"]
T = TypeVar("T")

MAX_FIELD_CELLS = 40_000_000
SPARSE_PAIRS = {1: 2, 2: 5, 3: 60}
"""Dimensions → neighbours per event below which the pair sum is the faster engine (benchmarks/fields.py)."""

RESCALE_AT = 300.0
"""The lazy scale factor e^{β(t − t_ref)} is folded back into the field at this exponent; e^{±600} fits a float64."""

_FAST = {"contract", "reassoc", "nsz", "arcp"}


class Sums(NamedTuple):
    """Field values and, where asked for, what their derivatives need; (n,) each.

    ``value`` = S; ``lag`` = Σ w_j (t − t_j) e^{−β(t − t_j)} φ_h = −∂S/∂β; ``d_bandwidth`` = ∂S/∂h.
    """

    value: Array
    lag: Array
    d_bandwidth: Array


def in_threads(task: Callable[[T], object], items: Sequence[T]) -> None:
    """Run ``task`` over items on numba's number of threads; the compiled loops release the GIL."""
    with ThreadPoolExecutor(numba.get_num_threads()) as pool:
        for _ in pool.map(task, items):
            pass


def decayed_sums(
    source_t: Array,
    source_x: Array,
    weight: Array,
    t: Array,
    x: Array,
    decay: float,
    bandwidth: float,
    *,
    tol: float = 1e-4,
    derivatives: bool = False,
    engine: Engine = "auto",
) -> Sums:
    """S at each target (t_i, x_i), from the sources strictly before t_i.

    Parameters
    ----------
    source_t : (m,) sorted times, days
    source_x : (m, d) places
    weight : (m,) w_j
    t : (n,) sorted target times, days
    x : (n, d) target places
    decay : β ≥ 0, per day; 0 means that nothing is forgotten
    bandwidth : h > 0, map units
    tol : error bound relative to the peak of the kernel (module docstring)
    derivatives : also compute ``lag`` and ``d_bandwidth`` (otherwise they are empty)
    engine : ``auto`` picks by the estimated number of neighbours per target

    Raises
    ------
    ValueError
        if ``decay`` or ``bandwidth`` is out of range, or the grid engine is asked for above 3 dimensions
    """
    if not (decay >= 0 and bandwidth > 0 and math.isfinite(decay) and math.isfinite(bandwidth)):
        raise ValueError(f"decay must be ≥ 0 and bandwidth > 0, both finite; got {decay:g} and {bandwidth:g}")
    n, extra = len(t), len(t) if derivatives else 0
    sums = Sums(np.zeros(n), np.zeros(extra), np.zeros(extra))
    if n == 0 or len(source_t) == 0:
        return sums
    d = source_x.shape[1]
    low = np.minimum(source_x.min(axis=0), x.min(axis=0))
    high = np.maximum(source_x.max(axis=0), x.max(axis=0))
    if engine == "auto":
        engine = "pairs"
        if d <= 3 and _cells(high - low, bandwidth, tol) <= MAX_FIELD_CELLS:
            count = _neighbours_per_target(source_t, source_x, t, x, decay, bandwidth, tol)
            engine = "grid" if count > SPARSE_PAIRS[d] else "pairs"
    if engine == "grid" and d > 3:
        raise ValueError(f"the grid engine is for up to 3 dimensions, these events have {d}")
    run = _grid_sums if engine == "grid" else _pair_sums
    run(source_t, source_x, weight, t, x, decay, bandwidth, tol, low, high, derivatives, sums)
    return sums


def _resolution(tol: float) -> tuple[float, float]:
    """Grid nodes per bandwidth h/Δ, and stencil half-width in standard deviations s, that meet ``tol``."""
    return math.sqrt(2 * math.log(4 / tol)) / math.pi, math.sqrt(2 * math.log(10 / tol)) + 0.25


def _radius(d: int, bandwidth: float, tol: float) -> float:
    """Truncation radius: beyond it lies at most a hundredth of ``tol`` of the kernel's mass, and of its peak.

    What is cut off is lost from every sum alike, so it must weigh far less than an error that averages out.
    """
    return bandwidth * math.sqrt(max(2 * math.log(100 / tol), float(chi2.isf(tol / 100, d))))


def _memory(decay: float, tol: float) -> float:
    """Delay in days after which an event's weight has fallen below a hundredth of ``tol``."""
    return math.log(100 / tol) / decay if decay > 0 else math.inf


def _cells(extent: Array, bandwidth: float, tol: float) -> float:
    ratio, sd = _resolution(tol)
    margin = 2 * math.ceil(sd * ratio / math.sqrt(2)) + 2
    return float(np.prod(extent * ratio / bandwidth + margin))


def _neighbours_per_target(
    source_t: Array, source_x: Array, t: Array, x: Array, decay: float, bandwidth: float, tol: float
) -> float:
    """Estimated sources within reach of a target, from 200 evenly spread targets × 50 earlier sources each."""
    reach2 = _radius(source_x.shape[1], bandwidth, tol) ** 2
    picks = np.linspace(0, len(t) - 1, min(200, len(t))).astype(np.int64)
    first = np.searchsorted(source_t, t[picks] - _memory(decay, tol))
    last = np.searchsorted(source_t, t[picks])
    total = 0.0
    for i, lo, hi in zip(picks, first, last, strict=True):
        if hi > lo:
            some = np.linspace(lo, hi - 1, min(50, hi - lo)).astype(np.int64)
            near = ((source_x[some] - x[i]) ** 2).sum(axis=1) < reach2
            total += near.mean() * (hi - lo)
    return total / len(picks)


# -- the grid engine --------------------------------------------------------------------------------------------


class _Lattice(NamedTuple):
    """A grid for one bandwidth; always 3 axes, the missing ones first, one node wide."""

    origin: Array
    step: float
    shape: tuple[int, int, int]
    half: int
    sharpness: float
    d: int

    @classmethod
    def covering(cls, low: Array, high: Array, bandwidth: float, tol: float) -> _Lattice:
        ratio, sd = _resolution(tol)
        step, d = bandwidth / ratio, len(low)
        half = math.ceil(sd * ratio / math.sqrt(2))
        origin = np.zeros(3)
        shape = [1, 1, 1]
        for axis in range(d):
            origin[3 - d + axis] = low[axis] - half * step
            shape[3 - d + axis] = math.ceil((high[axis] - low[axis]) / step) + 2 * half + 2
        # node weights are exp(−sharpness · offset²), offset in nodes, for s = h/√2
        return cls(origin, step, (shape[0], shape[1], shape[2]), half, step * step / (bandwidth * bandwidth), d)

    @property
    def scale(self) -> float:
        """Constant of the split Gaussian: (Δ / 2πs²)ᵈ with s² = h²/2 = Δ²/(2·sharpness)."""
        return (self.sharpness / (math.pi * self.step)) ** self.d


def _columns(x: Array) -> Array:
    """(3, n) contiguous columns, missing axes first and zero."""
    padded = np.zeros((3, len(x)))
    padded[3 - x.shape[1] :] = x.T
    return padded


def _grid_sums(
    source_t: Array, source_x: Array, weight: Array, t: Array, x: Array, decay: float, bandwidth: float,
    tol: float, low: Array, high: Array, derivatives: bool, sums: Sums,
) -> None:  # fmt: skip
    d = source_x.shape[1]
    sources, targets = _columns(source_x), _columns(x)
    whole = _Lattice.covering(low, high, bandwidth, tol)
    axis = 3 - d  # the slowest real axis is cut into strips, one per thread, each with a lattice of its own
    reach = 2 * (whole.half + 1) * whole.step
    strips = numba.get_num_threads() if high[0] - low[0] > 4 * reach and len(t) > 20_000 else 1
    cuts = np.quantile(x[:: max(1, len(x) // 10_000), 0], np.linspace(0, 1, strips + 1))
    cuts[0], cuts[-1] = -math.inf, math.inf

    def run(strip: int) -> None:
        left, right = cuts[strip], cuts[strip + 1]
        lo, hi = low.copy(), high.copy()
        lo[0], hi[0] = max(lo[0], left - reach), min(hi[0], right + reach)
        lattice = _Lattice.covering(lo, hi, bandwidth, tol)
        field = np.zeros(lattice.shape)
        late = np.zeros(lattice.shape if derivatives else (1, 1, 1))
        _sweep(
            source_t, sources, weight, t, targets, decay, lattice.origin, lattice.step, lattice.half,
            lattice.sharpness, lattice.scale, d, axis, left, right, lo[0], hi[0], derivatives, field, late,
            sums.value, sums.lag, sums.d_bandwidth,
        )  # fmt: skip

    in_threads(run, range(strips))


@njit(cache=True, nogil=True, fastmath=_FAST)
def _stencil(u: float, half: int, sharpness: float, table: Array, weights: Array) -> int:
    """Fill ``weights`` with exp(−sharpness (k − u)²) for the 2·half nodes around u; return the first node."""
    base = math.floor(u)
    f = u - base
    centre = math.exp(-sharpness * f * f)
    ratio = math.exp(2 * sharpness * f)
    power = centre * ratio ** (1 - half)
    for k in range(2 * half):
        weights[k] = table[k] * power
        power *= ratio
    return int(base) - half + 1


@njit(cache=True, nogil=True)
def _table(half: int, sharpness: float) -> Array:
    out = np.empty(2 * half)
    for k in range(2 * half):
        m = k - half + 1
        out[k] = math.exp(-sharpness * m * m)
    return out


@njit(cache=True, nogil=True, fastmath=_FAST)
def _stencils(
    x: Array, i: int, origin: Array, step: float, half: int, sharpness: float, d: int, table: Array,
    nodes: NDArray[np.int64], weights: Array,
) -> None:  # fmt: skip
    """First node and node weights of point ``i`` on each real axis (the others stay one node of weight 1)."""
    for axis in range(3 - d, 3):
        u = (x[axis, i] - origin[axis]) / step
        nodes[axis] = _stencil(u, half, sharpness, table, weights[axis])


@njit(cache=True, nogil=True, fastmath=_FAST)
def _rescale(field: Array, factor: float) -> None:
    flat = field.ravel()
    for k in range(flat.size):
        v = flat[k] * factor
        flat[k] = v if v > 1e-250 else 0.0  # denormal numbers are slow and mean nothing here


@njit(cache=True, nogil=True, fastmath=_FAST)
def _sweep(
    source_t: Array, source_x: Array, weight: Array, t: Array, x: Array, decay: float, origin: Array, step: float,
    half: int, sharpness: float, scale: float, d: int, axis: int, left: float, right: float, first: float, last: float,
    derivatives: bool, field: Array, late: Array, value: Array, lag: Array, d_bandwidth: Array,
) -> None:  # fmt: skip
    """One pass in time order: read the field at each target in [left, right), after the sources before it."""
    table = _table(half, sharpness)
    nodes = np.zeros(3, dtype=np.int64)
    weights = np.ones((3, 2 * half))
    squares = np.zeros((3, 2 * half))
    w0 = 1 if d < 3 else 2 * half
    w1 = 1 if d < 2 else 2 * half
    s = step / math.sqrt(2 * sharpness)
    t_ref = source_t[0]
    j = 0
    for i in range(t.size):
        if x[axis, i] < left or x[axis, i] >= right:
            continue
        while j < source_t.size and source_t[j] < t[i]:
            if first <= source_x[axis, j] <= last:
                lapse = source_t[j] - t_ref
                if decay * lapse > RESCALE_AT:
                    factor = math.exp(-decay * lapse)
                    if derivatives:
                        late_flat, flat = late.ravel(), field.ravel()
                        for k in range(flat.size):
                            late_flat[k] = (late_flat[k] - lapse * flat[k]) * factor
                    _rescale(field, factor)
                    t_ref, lapse = source_t[j], 0.0
                _stencils(source_x, j, origin, step, half, sharpness, d, table, nodes, weights)
                amount = weight[j] * math.exp(decay * lapse)
                for a in range(w0):
                    for b in range(w1):
                        v = amount * weights[0, a] * weights[1, b]
                        row = field[nodes[0] + a, nodes[1] + b]
                        for c in range(2 * half):
                            row[nodes[2] + c] += v * weights[2, c]
                        if derivatives:
                            late_row = late[nodes[0] + a, nodes[1] + b]
                            for c in range(2 * half):
                                late_row[nodes[2] + c] += v * lapse * weights[2, c]
            j += 1
        _stencils(x, i, origin, step, half, sharpness, d, table, nodes, weights)
        lapse = t[i] - t_ref
        unscale = scale * math.exp(-decay * lapse)
        total, total_late, total_square = 0.0, 0.0, 0.0
        if derivatives:
            for k in range(3 - d, 3):
                offset = (x[k, i] - origin[k]) / step - nodes[k]
                for c in range(2 * half):
                    squares[k, c] = weights[k, c] * ((c - offset) * step) ** 2
        for a in range(w0):
            for b in range(w1):
                row = field[nodes[0] + a, nodes[1] + b]
                inner = 0.0
                for c in range(2 * half):
                    inner += row[nodes[2] + c] * weights[2, c]
                outer = weights[0, a] * weights[1, b]
                total += outer * inner
                if derivatives:
                    late_row = late[nodes[0] + a, nodes[1] + b]
                    inner_late, inner_square = 0.0, 0.0
                    for c in range(2 * half):
                        inner_late += late_row[nodes[2] + c] * weights[2, c]
                        inner_square += row[nodes[2] + c] * squares[2, c]
                    total_late += outer * inner_late
                    cross = squares[0, a] * weights[1, b] + weights[0, a] * squares[1, b]
                    total_square += outer * inner_square + cross * inner
        value[i] = total * unscale
        if derivatives:
            lag[i] = (lapse * total - total_late) * unscale
            d_bandwidth[i] = math.sqrt(2.0) * (total_square / s**3 - d * total / s) * unscale


@njit(cache=True, nogil=True, fastmath=_FAST)
def _deposit(
    t: Array, x: Array, weight: Array, decay: float, t_ref: float, origin: Array, step: float, half: int,
    sharpness: float, d: int, field: Array,
) -> None:  # fmt: skip
    """Add each event's stencil, decayed to ``t_ref`` (at or after every t)."""
    table = _table(half, sharpness)
    nodes = np.zeros(3, dtype=np.int64)
    weights = np.ones((3, 2 * half))
    w0 = 1 if d < 3 else 2 * half
    w1 = 1 if d < 2 else 2 * half
    for j in range(t.size):
        amount = weight[j] * math.exp(decay * (t[j] - t_ref))
        if amount < 1e-250:
            continue
        _stencils(x, j, origin, step, half, sharpness, d, table, nodes, weights)
        for a in range(w0):
            for b in range(w1):
                v = amount * weights[0, a] * weights[1, b]
                row = field[nodes[0] + a, nodes[1] + b]
                for c in range(2 * half):
                    row[nodes[2] + c] += v * weights[2, c]


class DecayedField:
    """The running field of the grid engine: deposit events in time order, read means over grid cells.

    Parameters
    ----------
    box : domain that the events lie in (d ≤ 3)
    decay : β ≥ 0, per day
    bandwidth : h > 0, map units
    tol : error bound relative to the peak of the kernel

    Raises
    ------
    ValueError
        if the field would not fit in memory (the arithmetic is in the message)
    """

    def __init__(self, box: Box, decay: float, bandwidth: float, tol: float = 1e-4) -> None:
        cells = _cells(box.widths, bandwidth, tol)
        if box.d > 3 or cells > MAX_FIELD_CELLS:
            raise ValueError(
                f"a field of bandwidth {bandwidth:g} over a box of {' × '.join(f'{w:g}' for w in box.widths)} needs "
                f"{cells:.2g} cells, more than {MAX_FIELD_CELLS:.0e}: use a smaller --box or fewer --coords"
            )
        self.decay = decay
        self._lattice = _Lattice.covering(np.asarray(box.low), np.asarray(box.high), bandwidth, tol)
        self._field = np.zeros(self._lattice.shape)
        self._time = -math.inf
        self._readers: dict[Grid, list[Array]] = {}

    def advance(self, t: Array, x: Array, weight: Array, until: float) -> None:
        """Decay the field to ``until`` and add events (sorted, all before ``until`` and not added before)."""
        lattice = self._lattice
        if self.decay > 0 and math.isfinite(self._time):
            _rescale(self._field, math.exp(-self.decay * (until - self._time)))
        self._time = until
        _deposit(
            t, _columns(x), weight, self.decay, until, lattice.origin, lattice.step, lattice.half, lattice.sharpness,
            lattice.d, self._field,
        )  # fmt: skip

    def cell_means(self, grid: Grid) -> Array:
        """``grid.shape`` mean of the field over each cell (per unit volume), exact in the cell integral (erf)."""
        if grid not in self._readers:
            self._readers[grid] = self._cell_readers(grid)
        out = self._field.reshape(self._lattice.shape[3 - grid.box.d :])
        for reader in self._readers[grid]:
            out = np.tensordot(out, reader, axes=(0, 1))  # consumes the first axis, appends the cells' axis last
        return np.maximum(out, 0.0)

    def _cell_readers(self, grid: Grid) -> list[Array]:
        lattice = self._lattice
        s = lattice.step / math.sqrt(2 * lattice.sharpness)
        readers = []
        for axis, edges in enumerate(grid.edges):
            k = 3 - grid.box.d + axis
            nodes = lattice.origin[k] + lattice.step * np.arange(lattice.shape[k])
            cumulative = ndtr((edges[:, None] - nodes) / s)
            readers.append(np.diff(cumulative, axis=0) * (lattice.step / (math.sqrt(2 * math.pi) * s) / grid.spacing[axis]))
        return readers


# -- the pair engine --------------------------------------------------------------------------------------------


def _pair_sums(
    source_t: Array, source_x: Array, weight: Array, t: Array, x: Array, decay: float, bandwidth: float,
    tol: float, low: Array, high: Array, derivatives: bool, sums: Sums,
) -> None:  # fmt: skip
    d = source_x.shape[1]
    radius = _radius(d, bandwidth, tol)
    axes = min(d, 2)  # two axes of cells are enough to skip what is far; more would cost 3^d look-ups
    per_axis = np.clip(np.floor((high[:axes] - low[:axes]) / radius), 1, 1024).astype(np.int64)
    shape = np.ones(2, dtype=np.int64)
    shape[:axes] = per_axis

    def cell(points: Array) -> NDArray[np.int64]:
        index = np.zeros((2, len(points)), dtype=np.int64)
        for k in range(axes):
            width = max(high[k] - low[k], 1e-300)
            index[k] = np.clip((points[:, k] - low[k]) / width * shape[k], 0, shape[k] - 1).astype(np.int64)
        return index

    source_cell, target_cell = cell(source_x), cell(x)
    flat = source_cell[0] * shape[1] + source_cell[1]
    order = np.argsort(flat, kind="stable")  # by cell, and by time within a cell
    starts = np.searchsorted(flat[order], np.arange(shape[0] * shape[1] + 1))
    by_cell = np.argsort(target_cell[0] * shape[1] + target_cell[1], kind="stable")
    chunks = np.array_split(by_cell, max(1, min(len(t) // 256, 8 * numba.get_num_threads())))
    ordered_t, ordered_x = source_t[order], np.ascontiguousarray(source_x[order])
    ordered_w, targets = np.ascontiguousarray(weight[order], dtype=np.float64), np.ascontiguousarray(x)

    def run(chunk: NDArray[np.int64]) -> None:
        _pairs(
            ordered_t, ordered_x, ordered_w, starts, shape, t, targets, target_cell, chunk, decay, bandwidth,
            radius, _memory(decay, tol), derivatives, sums.value, sums.lag, sums.d_bandwidth,
        )  # fmt: skip

    in_threads(run, chunks)


@njit(cache=True, nogil=True, fastmath=_FAST)
def _pairs(
    source_t: Array, source_x: Array, weight: Array, starts: NDArray[np.int64], shape: NDArray[np.int64], t: Array,
    x: Array, cell: NDArray[np.int64], chunk: NDArray[np.int64], decay: float, bandwidth: float, radius: float,
    memory: float, derivatives: bool, value: Array, lag: Array, d_bandwidth: Array,
) -> None:  # fmt: skip
    d = x.shape[1]
    norm = (math.sqrt(2 * math.pi) * bandwidth) ** (-d)
    sharp = 0.5 / (bandwidth * bandwidth)
    for i in chunk:
        total, total_lag, total_square = 0.0, 0.0, 0.0
        for a in range(max(cell[0, i] - 1, 0), min(cell[0, i] + 2, shape[0])):
            for b in range(max(cell[1, i] - 1, 0), min(cell[1, i] + 2, shape[1])):
                lo, hi = starts[a * shape[1] + b], starts[a * shape[1] + b + 1]
                times = source_t[lo:hi]
                stop = lo + np.searchsorted(times, t[i])
                start = lo + np.searchsorted(times, t[i] - memory)
                for j in range(start, stop):
                    square = 0.0
                    for k in range(d):
                        square += (source_x[j, k] - x[i, k]) ** 2
                    if square < radius * radius:
                        delay = t[i] - source_t[j]
                        e = weight[j] * math.exp(-decay * delay - square * sharp)
                        total += e
                        total_lag += e * delay
                        total_square += e * square
        value[i] = total * norm
        if derivatives:
            lag[i] = total_lag * norm
            d_bandwidth[i] = (total_square / bandwidth**3 - d * total / bandwidth) * norm


# -- sums over time alone ---------------------------------------------------------------------------------------


@njit(cache=True, nogil=True)
def decayed_totals(source_t: Array, weight: Array, t: Array, decay: float) -> Array:
    """(n,) Σ_{t_j < t_i} w_j e^{−β(t_i − t_j)} at sorted times ``t``, from sorted sources; O(n + m)."""
    out = np.zeros(t.size)
    total, now, j = 0.0, 0.0, 0
    for i in range(t.size):
        while j < source_t.size and source_t[j] < t[i]:
            total = total * math.exp(-decay * (source_t[j] - now)) + weight[j] if j else weight[j]
            now = source_t[j]
            j += 1
        if j:
            out[i] = total * math.exp(-decay * (t[i] - now))
    return out
