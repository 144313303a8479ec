"""The pair engine of decayed kernel sums (any dimension): the sum over near and recent events, found by cell lists.

It is the oracle of the grid engine, and faster where an event has few neighbours.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numba
import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.stats import chi2

from stpp.domain import Array

SPARE = 100.0
"""What is left out is lost from every sum alike, so it must weigh far less than an error that averages out: tol/100."""

MAX_CELLS_PER_AXIS = 1024

CELL_AXES = 2
"""Two axes of cells are enough to skip what is far; more would cost 3^d look-ups."""

CHUNK = 256
"""Fewer targets than this are not worth a thread."""

_FAST = {"contract", "reassoc", "nsz", "arcp"}


def radius(d: int, bandwidth: float, tol: float) -> float:
    """Truncation radius: beyond it lies at most tol/100 of the kernel's mass, and of its peak."""
    return bandwidth * math.sqrt(max(2 * math.log(SPARE / tol), float(chi2.isf(tol / SPARE, d))))


def pair_cost(
    source_t: Array, source_x: Array, t: Array, x: Array, decay: float, bandwidth: float, tol: float
) -> float:
    """Estimated nanoseconds (benchmarks/fields.py), from 200 evenly spread targets × 50 earlier sources each.

    A target costs by the cells it looks into, the sources in them and those that are near enough to count.
    """
    d = source_x.shape[1]
    reach = radius(d, bandwidth, tol)
    memory = math.log(SPARE / tol) / decay if decay > 0 else math.inf
    picks = np.linspace(0, len(t) - 1, min(200, len(t))).astype(np.int64)
    first = np.searchsorted(source_t, t[picks] - memory)
    recent = np.searchsorted(source_t, t[picks]) - first
    rows = (first + recent * (np.arange(50)[:, None] + 0.5) / 50).astype(np.int64)
    offset = np.abs(source_x[np.minimum(rows, len(source_t) - 1)] - x[picks])
    seen = (offset[:, :, :CELL_AXES] < 1.5 * reach).all(axis=2).mean(axis=0) * recent  # cells are about one reach wide
    near = ((offset**2).sum(axis=2) < reach**2).mean(axis=0) * recent
    threads = numba.get_num_threads() if len(t) >= 2 * CHUNK else 1
    return len(t) / threads * float(200 + 85 * 3 ** min(d, CELL_AXES) + np.mean(1.3 * seen + 6 * near))


def pair_tasks(
    source_t: Array, source_x: Array, weight: Array, t: Array, x: Array, decay: float, bandwidth: float,
    tol: float, low: Array, high: Array, sums: tuple[Array, Array, Array],
) -> list[Callable[[], None]]:  # fmt: skip
    """Work that fills ``sums`` (value, and where not empty lag and bandwidth derivative), to be run in threads.

    All places lie between ``low`` and ``high`` (d,).
    """
    d = source_x.shape[1]
    reach = radius(d, bandwidth, tol)
    width = np.maximum(high - low, 1e-300)
    axes = min(d, CELL_AXES)
    shape = np.ones(2, dtype=np.int64)
    shape[:axes] = np.clip(np.floor(width[:axes] / reach), 1, MAX_CELLS_PER_AXIS).astype(np.int64)

    def cell(points: Array) -> NDArray[np.int64]:
        index = np.zeros((2, len(points)), dtype=np.int64)
        for k in range(axes):
            index[k] = np.clip((points[:, k] - low[k]) / width[k] * shape[k], 0, shape[k] - 1).astype(np.int64)
        return index

    source_cell, target_cell = cell(source_x), cell(x)
    flat = source_cell[0] * shape[1] + source_cell[1]
    order = np.argsort(flat, kind="stable")  # by cell, and by time within a cell
    starts = np.searchsorted(flat[order], np.arange(shape[0] * shape[1] + 1))
    by_cell = np.argsort(target_cell[0] * shape[1] + target_cell[1], kind="stable")
    chunks = np.array_split(by_cell, max(1, min(len(t) // CHUNK, 8 * numba.get_num_threads())))
    oldest = _oldest_needed(source_t, weight, t, decay, tol / SPARE)
    ordered_t, ordered_x = source_t[order], np.ascontiguousarray(source_x[order])
    ordered_w, targets = np.ascontiguousarray(weight[order], dtype=np.float64), np.ascontiguousarray(x)
    derivatives = len(sums[1]) > 0

    def task(chunk: NDArray[np.int64]) -> Callable[[], None]:
        def run() -> None:
            _pairs(
                ordered_t, ordered_x, ordered_w, starts, shape, t, targets, target_cell, oldest, chunk, decay,
                bandwidth, reach, derivatives, *sums,
            )  # fmt: skip

        return run

    return [task(chunk) for chunk in chunks]


@njit(cache=True, nogil=True)
def squared_distance(x: Array, i: int, j: int) -> float:
    """‖x_i − x_j‖² between two rows of (n, d) places, for other compiled functions."""
    total = 0.0
    for axis in range(x.shape[1]):
        total += (x[i, axis] - x[j, axis]) ** 2
    return total


@njit(cache=True, nogil=True)
def _oldest_needed(source_t: Array, weight: Array, t: Array, decay: float, share: float) -> Array:
    """(n,) time of the oldest source that counts at each target: those before it hold ≤ share of the decayed weight.

    Relative to the weight that is left, not to a fixed age: after a long silence all events are old and none is small.
    """
    out = np.full(t.size, -np.inf)
    if decay == 0:
        return out
    left = np.empty(source_t.size)  # decayed total weight just after each source
    total, oldest, j = 0.0, 0, 0
    for i in range(t.size):
        while j < source_t.size and source_t[j] < t[i]:
            total = (total * math.exp(-decay * (source_t[j] - source_t[j - 1])) if j else 0.0) + weight[j]
            left[j] = total
            while oldest < j and left[oldest] * math.exp(-decay * (source_t[j] - source_t[oldest])) <= share * total:
                oldest += 1
            j += 1
        if j:
            out[i] = source_t[oldest]
    return out


@njit(cache=True, nogil=True, fastmath=_FAST)
def _pairs(
    source_t: Array, source_x: Array, weight: Array, starts: NDArray[np.int64], shape: NDArray[np.int64], t: Array,
    x: Array, cell: NDArray[np.int64], oldest: Array, chunk: NDArray[np.int64], decay: float, bandwidth: float,
    reach: float, derivatives: bool, value: Array, lag: Array, d_bandwidth: Array,
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
                start = lo + np.searchsorted(times, oldest[i])
                for j in range(start, stop):
                    square = 0.0
                    for k in range(d):
                        square += (source_x[j, k] - x[i, k]) ** 2
                    if square < reach * reach:
                        delay = t[i] - source_t[j]
                        e = weight[j] * math.exp(-decay * delay - square * sharp)
                        total += e
                        total_lag += e * delay
                        total_square += e * square
        value[i] = total * norm
        if derivatives:
            lag[i] = total_lag * norm
            d_bandwidth[i] = (total_square / bandwidth**3 - d * total / bandwidth) * norm
