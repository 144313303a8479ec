"""The grid engine of decayed kernel sums (1 to 3 dimensions): O(n) whatever the density of events.

It splits the Gaussian, φ_h(x_i − x_j) = ∫ φ_s(x_i − g) φ_s(g − x_j) dg with s = h/√2, and replaces the integral by the
trapezoid sum on a lattice of spacing Δ, which is spectrally accurate [1]_. Each event deposits a narrow stencil on one
decaying array and the next event reads it; Gaussians on the stencil come from two exponentials per axis [2]_.

References
----------
.. [1] Trefethen & Weideman (2014), The exponentially convergent trapezoidal rule, SIAM Review 56, 385.
.. [2] Greengard & Lee (2004), Accelerating the nonuniform fast Fourier transform, SIAM Review 46, 443.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

import numba
import numpy as np
from numba import njit
from numpy.typing import NDArray

from stpp.domain import Array

MAX_NODES = 40_000_000

RESCALE_AT = 300.0
"""The lazy scale factor e^{β(t − t_ref)} is folded back into the field at this exponent; e^{±600} fits a float64."""

STRIP_TARGETS = 5_000
"""Fewer targets than this are not worth a second thread."""

_FAST = {"contract", "reassoc", "nsz", "arcp"}


def resolution(d: int, tol: float) -> tuple[float, float]:
    """Lattice nodes per bandwidth h/Δ, and stencil half-width in units of s, that meet ``tol``.

    The trapezoid sum errs by 2 exp(−π²h²/(2Δ²)) of φ_h(x_i − x_j) per axis: over d axes 0.8 tol. What falls off a
    stencil of half-width c·s is below 3 exp(−c²/2) φ_h(0) per axis, and largest where the first error is smallest.
    """
    return math.sqrt(2 * math.log(2.5 * d / tol)) / math.pi, math.sqrt(2 * math.log(10 / tol)) + 0.25


def nodes_needed(extent: Array, bandwidth: float, tol: float) -> float:
    """Lattice nodes over a box of the given (d,) extent."""
    ratio, width = resolution(len(extent), tol)
    margin = 2 * math.ceil(width * ratio / math.sqrt(2)) + 2
    return float(np.prod(extent * ratio / bandwidth + margin))


def refuse_if_too_large(extent: Array, bandwidth: float, tol: float) -> None:
    """Raise ValueError, with the arithmetic, if a field over the extent would not fit in memory or 3 dimensions."""
    d = len(extent)
    if d > 3:
        raise ValueError(f"the grid engine is for up to 3 dimensions, these events have {d}: use fewer --coords")
    nodes = nodes_needed(extent, bandwidth, tol)
    if nodes > MAX_NODES:
        sides = " × ".join(f"{side:g}" for side in extent)
        raise ValueError(
            f"a field of bandwidth {bandwidth:g} over {sides} map units needs {nodes:.2g} nodes, more than "
            f"{MAX_NODES:.0e}: use a smaller --box or fewer --coords"
        )


def grid_cost(
    sources: int, targets: int, extent: Array, decays: float, bandwidth: float, tol: float, derivatives: bool
) -> float:
    """Estimated nanoseconds (benchmarks/fields.py); ``decays`` = β × the time between first and last event.

    A stencil costs by its rows and nodes, and the array of all nodes is written once and at every rescaling. Strips
    share the targets; the sources near a cut are deposited on both sides of it.
    """
    d = len(extent)
    nodes = nodes_needed(extent, bandwidth, tol) if d <= 3 else math.inf
    if nodes > MAX_NODES:
        return math.inf
    ratio, width = resolution(d, tol)
    side = 2 * math.ceil(width * ratio / math.sqrt(2))
    dear = 2.5 if derivatives else 1.0
    stencil = 270 * d + dear * (6 * side ** (d - 1) + 0.65 * side**d)
    rescalings = min(decays / RESCALE_AT, sources)
    reach = Lattice.covering(np.zeros(d), extent, bandwidth, tol).reach
    strips = _strips(extent[0], reach, targets)
    deposited = sources * min(1.0, 1 / strips + min(strips - 1, 2) * reach / max(extent[0], reach))
    return float((deposited + targets / strips) / 2 * stencil + dear * nodes * (1 + 0.2 * rescalings))


def _strips(extent: float, reach: float, targets: int) -> int:
    """Number of threads that share the work: strips narrower than their halos would mostly repeat it."""
    if targets <= STRIP_TARGETS:
        return 1
    return max(1, min(numba.get_num_threads(), int(extent / reach)))


class Lattice(NamedTuple):
    """Nodes for one bandwidth over a box; always 3 axes, the missing ones first and one node wide.

    Node k of an axis lies at origin + k·step; the arrays hold ``shape`` nodes from number ``start`` on.
    """

    origin: Array
    start: NDArray[np.int64]
    step: float
    shape: tuple[int, int, int]
    half: int
    sharpness: float
    d: int

    @classmethod
    def covering(cls, low: Array, high: Array, bandwidth: float, tol: float) -> Lattice:
        """The nodes that stencils of points in the box reach."""
        d = len(low)
        ratio, width = resolution(d, tol)
        step = bandwidth / ratio
        half = math.ceil(width * ratio / math.sqrt(2))
        origin = np.zeros(3)
        shape = [1, 1, 1]
        for axis in range(d):
            origin[3 - d + axis] = low[axis] - half * step
            shape[3 - d + axis] = math.ceil((high[axis] - low[axis]) / step) + 2 * half + 2
        # node weights are exp(−sharpness · offset²), offset in nodes, for s = h/√2
        sharpness = step * step / (bandwidth * bandwidth)
        start = np.zeros(3, dtype=np.int64)
        return cls(origin, start, step, (shape[0], shape[1], shape[2]), half, sharpness, d)

    @property
    def spread(self) -> float:
        """The standard deviation s of deposits and reads, map units."""
        return self.step / math.sqrt(2 * self.sharpness)

    @property
    def scale(self) -> float:
        """Constant of the split Gaussian: (Δ / 2πs²)ᵈ."""
        return (self.step / (2 * math.pi * self.spread**2)) ** self.d

    @property
    def reach(self) -> float:
        """Distance beyond which two stencils share no node, map units."""
        return 2 * (self.half + 1) * self.step

    def slab(self, axis: int, left: float, right: float) -> Lattice:
        """The nodes of this lattice that stencils of points in [left, right] of one axis reach."""
        first = max(0, math.floor((left - self.origin[axis]) / self.step) - self.half)
        last = min(self.shape[axis], math.ceil((right - self.origin[axis]) / self.step) + self.half + 2)
        start, shape = self.start.copy(), list(self.shape)
        start[axis], shape[axis] = first, last - first
        return self._replace(start=start, shape=(shape[0], shape[1], shape[2]))


def columns(x: Array) -> Array:
    """(3, n) contiguous columns of (n, d) points, missing axes first and zero."""
    padded = np.zeros((3, len(x)))
    padded[3 - x.shape[1] :] = x.T
    return padded


def grid_tasks(
    source_t: Array, source_x: Array, weight: Array, t: Array, x: Array, decay: float, bandwidth: float,
    tol: float, low: Array, high: Array, sums: tuple[Array, Array, Array],
) -> list[Callable[[], None]]:  # fmt: skip
    """Work that fills ``sums`` (value, and where not empty lag and bandwidth derivative), to be run in threads.

    All places lie between ``low`` and ``high`` (d,). The slowest axis is cut into strips of equally many targets, one
    per thread. All use the nodes of one lattice, so that the answer does not depend on the number of threads.
    """
    d = source_x.shape[1]
    refuse_if_too_large(high - low, bandwidth, tol)
    sources, targets = columns(source_x), columns(x)
    whole = Lattice.covering(low, high, bandwidth, tol)
    strips = _strips(high[0] - low[0], whole.reach, len(t))
    cuts = np.quantile(x[:: max(1, len(x) // 10_000), 0], np.linspace(0, 1, strips + 1))
    cuts[0], cuts[-1] = -math.inf, math.inf
    derivatives = len(sums[1]) > 0

    def task(left: float, right: float) -> Callable[[], None]:
        def run() -> None:
            first, last = max(low[0], left - whole.reach), min(high[0], right + whole.reach)
            lattice = whole.slab(3 - d, first, last)
            field = np.zeros(lattice.shape)
            late = np.zeros(lattice.shape if derivatives else (1, 1, 1))
            _sweep(
                source_t, sources, weight, t, targets, decay, lattice.origin, lattice.start, lattice.step, lattice.half,
                lattice.sharpness, lattice.scale, d, left, right, first, last, derivatives, field, late, *sums,
            )  # fmt: skip

        return run

    return [task(left, right) for left, right in pairwise(cuts)]


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
    x: Array, i: int, origin: Array, start: NDArray[np.int64], step: float, half: int, sharpness: float, d: int,
    table: Array, nodes: NDArray[np.int64], weights: Array,
) -> None:  # fmt: skip
    """First stored node and node weights of point ``i`` on each real axis (the others stay one node of weight 1)."""
    for axis in range(3 - d, 3):
        u = (x[axis, i] - origin[axis]) / step
        nodes[axis] = _stencil(u, half, sharpness, table, weights[axis]) - start[axis]


@njit(cache=True, nogil=True, fastmath=_FAST)
def rescale(field: Array, factor: float) -> None:
    """Multiply a non-negative field in place."""
    flat = field.ravel()
    for k in range(flat.size):
        v = flat[k] * factor
        flat[k] = v if v > 1e-250 else 0.0  # denormal numbers are slow and mean nothing here


@njit(cache=True, nogil=True, fastmath=_FAST)
def _sweep(
    source_t: Array, source_x: Array, weight: Array, t: Array, x: Array, decay: float, origin: Array,
    start: NDArray[np.int64], step: float, half: int, sharpness: float, scale: float, d: int, left: float, right: float,
    first: float, last: float, derivatives: bool, field: Array, late: Array, value: Array, lag: Array,
    d_bandwidth: Array,
) -> None:  # fmt: skip
    """One pass in time order: read the field at each target in [left, right), after the sources before it."""
    axis = 3 - d
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
                    rescale(field, factor)
                    t_ref, lapse = source_t[j], 0.0
                _stencils(source_x, j, origin, start, step, half, sharpness, d, table, nodes, weights)
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
        if j == 0:
            continue  # nothing yet: the value stays 0
        _stencils(x, i, origin, start, step, half, sharpness, d, table, nodes, weights)
        lapse = t[i] - t_ref
        unscale = scale * math.exp(-decay * lapse)
        total, total_late, total_square = 0.0, 0.0, 0.0
        if derivatives:
            for k in range(3 - d, 3):
                offset = (x[k, i] - origin[k]) / step - start[k] - nodes[k]
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
def deposit(
    t: Array, x: Array, weight: Array, decay: float, t_ref: float, origin: Array, start: NDArray[np.int64], step: float,
    half: int, sharpness: float, d: int, field: Array,
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
        _stencils(x, j, origin, start, step, half, sharpness, d, table, nodes, weights)
        for a in range(w0):
            for b in range(w1):
                v = amount * weights[0, a] * weights[1, b]
                row = field[nodes[0] + a, nodes[1] + b]
                for c in range(2 * half):
                    row[nodes[2] + c] += v * weights[2, c]
