"""Decayed kernel sums S(t, x) = Σ_{t_j < t} w_j e^{−β(t − t_j)} φ_h(x − x_j): the engine under every model.

Two engines compute the same sums and are tested against one another: :mod:`stpp.kernels.lattice` (d ≤ 3) in O(n)
whatever the density of events, and :mod:`stpp.kernels.pairs` (any d) over near and recent pairs. Write D = Σ_{t_j < t}
w_j e^{−β(t − t_j)}. For every ``tol`` and both engines, beside rounding errors,

- the error of S is at most tol · φ_h(0) · D,
- that of ``lag`` = −∂S/∂β at most tol · φ_h(0) · Σ_j w_j (t − t_j + 1/β) e^{−β(t − t_j)}, without 1/β where β = 0,
- that of ``d_bandwidth`` = ∂S/∂h at most tol · φ_h(0) · D · 4 ln(10/tol)/h.

On the grid the factor 4 ln(10/tol) comes from differentiating the aliasing error 2 exp(−E), E = π²h²/(2Δ²): the reading
Gaussian's derivative brings the wave number down, and multiplies it by up to 4E/h per axis. The pair engine leaves
out the oldest events that hold less than tol/100 of D; their share of ``lag`` grows with their age, which is some
multiple of ln(100/tol)/β beyond the age of the others, hence 1/β (for weights within a factor of 10²⁰ of one another).
Sums below about 10⁻¹⁷⁰ of the weights may come out as 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Literal, NamedTuple, TypeVar

import numba
import numpy as np
from numba import njit
from scipy.special import ndtr

from stpp.domain import Array, Box, Grid
from stpp.kernels.lattice import Lattice, columns, deposit, grid_cost, grid_tasks, refuse_if_too_large, rescale
from stpp.kernels.pairs import pair_cost, pair_tasks

Engine = Literal["auto", "grid", "pairs"]
T = TypeVar("T")


class Sums(NamedTuple):
    """Field values and, where asked for, what their derivatives need; (n,) each.

    ``value`` = S; ``lag`` = Σ w_j (t − t_j) e^{−β(t − t_j)} φ_h = −∂S/∂β; ``d_bandwidth`` = ∂S/∂h.
    """

    value: Array
    lag: Array
    d_bandwidth: Array


def in_threads(task: Callable[[T], object], items: Sequence[T]) -> None:
    """Run ``task`` over items on numba's number of threads; the compiled loops release the GIL."""
    threads = min(numba.get_num_threads(), len(items))
    if threads <= 1:  # to start a thread takes longer than a sum over a few hundred events
        for item in items:
            task(item)
        return
    with ThreadPoolExecutor(threads) as pool:
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
    weight : (m,) w_j ≥ 0
    t : (n,) sorted target times, days
    x : (n, d) target places
    decay : β ≥ 0, per day; 0 means that nothing is forgotten
    bandwidth : h > 0, map units
    tol : error bound relative to the peak of the kernel, in (0, 1) (module docstring)
    derivatives : also compute ``lag`` and ``d_bandwidth`` (otherwise they are empty)
    engine : ``auto`` picks by the estimated cost of each

    Raises
    ------
    ValueError
        if ``decay``, ``bandwidth`` or ``tol`` is out of range, or the grid engine is asked for by name above
        3 dimensions or over a field that does not fit in memory
    """
    if not (decay >= 0 and bandwidth > 0 and math.isfinite(decay) and math.isfinite(bandwidth)):
        raise ValueError(f"decay must be ≥ 0 and bandwidth > 0, both finite; got {decay:g} and {bandwidth:g}")
    if not 0 < tol < 1:
        raise ValueError(f"tol must be above 0 and below 1, got {tol:g}")
    n, extra = len(t), len(t) if derivatives else 0
    sums = Sums(np.zeros(n), np.zeros(extra), np.zeros(extra))
    if n == 0 or len(source_t) == 0:
        return sums
    low = np.minimum(source_x.min(axis=0), x.min(axis=0))
    high = np.maximum(source_x.max(axis=0), x.max(axis=0))
    if engine == "auto":
        decays = decay * (max(source_t[-1], t[-1]) - source_t[0])
        by_grid = grid_cost(len(source_t), n, high - low, decays, bandwidth, tol, derivatives)
        by_pairs = pair_cost(source_t, source_x, t, x, decay, bandwidth, tol)
        engine = "grid" if by_grid < by_pairs else "pairs"
    tasks_of = grid_tasks if engine == "grid" else pair_tasks
    in_threads(lambda task: task(), tasks_of(source_t, source_x, weight, t, x, decay, bandwidth, tol, low, high, sums))
    return sums


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


class DecayedField:
    """The running field of the grid engine: deposit events in time order, read means over grid cells.

    Its error is at most tol · φ_h(0) times the decayed weight of all its events, as that of :func:`decayed_sums`.

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
        refuse_if_too_large(box.widths, bandwidth, tol)
        self.decay = decay
        self._box = box
        self._lattice = Lattice.covering(np.asarray(box.low), np.asarray(box.high), bandwidth, tol)
        self._field = np.zeros(self._lattice.shape)
        self._time = -math.inf
        self._readers: dict[Grid, list[Array]] = {}

    def advance(self, t: Array, x: Array, weight: Array, until: float) -> None:
        """Decay the field to ``until`` and add events (at or before ``until``, not added before).

        Raises
        ------
        ValueError
            if an event lies outside the box
        """
        if not self._box.contains(x).all():
            raise ValueError(f"{int((~self._box.contains(x)).sum())} events lie outside the box of the field")
        lattice = self._lattice
        if self.decay > 0 and math.isfinite(self._time):
            rescale(self._field, math.exp(-self.decay * (until - self._time)))
        self._time = until
        deposit(
            t, columns(x), weight, self.decay, until, lattice.origin, lattice.start, lattice.step, lattice.half,
            lattice.sharpness, lattice.d, self._field,
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
        """Per axis, (cells, nodes): what a cell's mean takes from each node; the deposit's constant is in it."""
        lattice, s = self._lattice, self._lattice.spread
        readers = []
        for axis, edges in enumerate(grid.edges):
            k = 3 - grid.box.d + axis
            nodes = lattice.origin[k] + lattice.step * np.arange(lattice.shape[k])
            inside = np.diff(ndtr((edges[:, None] - nodes) / s), axis=0)
            readers.append(inside * (lattice.step / (math.sqrt(2 * math.pi) * s) / grid.spacing[axis]))
        return readers
