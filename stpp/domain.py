"""Where events can fall: the declared box, a grid over it, and kernel mass at its edges."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

MAX_GRID_CELLS = 50_000_000
MAX_GRID_DIMENSIONS = 3


@njit(cache=True, nogil=True)
def _kernel_mass(x: Array, low: Array, high: Array, bandwidth: float) -> tuple[Array, Array]:
    mass, slope = np.ones(len(x)), np.zeros(len(x))
    root = math.sqrt(2.0)
    for i in range(len(x)):
        for axis in range(x.shape[1]):
            below, above = (low[axis] - x[i, axis]) / bandwidth, (high[axis] - x[i, axis]) / bandwidth
            if -below > 9 and above > 9:  # the kernel does not feel this axis' edges
                continue
            part = 0.5 * (math.erf(above / root) - math.erf(below / root))
            d_part = (below * math.exp(-0.5 * below**2) - above * math.exp(-0.5 * above**2)) / bandwidth
            slope[i] = slope[i] * part + mass[i] * d_part / math.sqrt(2 * math.pi)
            mass[i] *= part
    return mass, slope


@dataclass(frozen=True)
class Box:
    """A closed axis-aligned box in map units.

    Parameters
    ----------
    low, high : d floats each, ``low < high`` on every axis

    Raises
    ------
    ValueError
        if an axis is empty, reversed or not finite

    Examples
    --------
    >>> box = Box((0, 0), (2, 1))
    >>> box.volume
    2.0
    >>> box.contains([[1.5, 0.5], [3.0, 0.5]]).tolist()
    [True, False]
    """

    low: tuple[float, ...]
    high: tuple[float, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "low", tuple(float(v) for v in self.low))
        object.__setattr__(self, "high", tuple(float(v) for v in self.high))
        if len(self.low) != len(self.high) or not self.low:
            raise ValueError(f"a box needs as many lows as highs, got {len(self.low)} and {len(self.high)}")
        for axis, (lo, hi) in enumerate(zip(self.low, self.high, strict=True)):
            if not (math.isfinite(lo) and math.isfinite(hi) and lo < hi):
                raise ValueError(f"box axis {axis} runs from {lo:g} to {hi:g}; it needs low < high, both finite")

    @classmethod
    def from_flat(cls, bounds: Sequence[float]) -> Box:
        """The box of ``lo, hi, lo, hi, …``, the order of ``--box``."""
        if len(bounds) % 2 or not bounds:
            raise ValueError(f"a box is lo,hi per axis; got {len(bounds)} numbers")
        return cls(tuple(bounds[::2]), tuple(bounds[1::2]))

    @classmethod
    def around(cls, x: ArrayLike, margin: float = 0.02) -> Box:
        """The bounding box of points, widened on each side by ``margin`` of its extent.

        Parameters
        ----------
        x : (n, d) array, n ≥ 1, TRAINING points only
        margin : share of the extent added on each side; an axis without extent gets ±0.5
        """
        points = np.asarray(x, dtype=float)
        if points.ndim != 2 or len(points) == 0:
            raise ValueError("no events to take the domain from: declare it with a box")
        low, high = points.min(axis=0), points.max(axis=0)
        pad = np.where(high > low, margin * (high - low), 0.5)
        return cls(tuple(low - pad), tuple(high + pad))

    @property
    def d(self) -> int:
        """Number of dimensions."""
        return len(self.low)

    @property
    def widths(self) -> Array:
        """(d,) extents in map units."""
        return np.subtract(self.high, self.low)

    @property
    def volume(self) -> float:
        """Product of the extents, in map unitsᵈ."""
        return float(np.prod(self.widths))

    def contains(self, x: ArrayLike) -> NDArray[np.bool_]:
        """(n,) bool: which of the (n, d) points lie in the closed box."""
        points = np.asarray(x, dtype=float)
        return np.asarray(np.all((points >= self.low) & (points <= self.high), axis=1))

    def kernel_mass(self, x: ArrayLike, bandwidth: float) -> Array:
        """(n,) mass inside the box of an isotropic Gaussian centred at each point.

        The product over axes of Φ((high − x)/h) − Φ((low − x)/h); 1 far from the edges.
        """
        return self.kernel_mass_and_derivative(x, bandwidth)[0]

    def kernel_mass_and_derivative(self, x: ArrayLike, bandwidth: float) -> tuple[Array, Array]:
        """(n,) :meth:`kernel_mass`, and (n,) its derivative in the bandwidth, per map unit."""
        points = np.ascontiguousarray(x, dtype=float)
        return _kernel_mass(points, np.asarray(self.low), np.asarray(self.high), float(bandwidth))

    def sample(self, n: int, rng: np.random.Generator) -> Array:
        """(n, d) places drawn uniformly."""
        return rng.uniform(self.low, self.high, size=(n, self.d))

    def scatter(self, centres: Array, bandwidth: float, rng: np.random.Generator) -> Array:
        """(n, d) one Gaussian draw around each of the (n, d) centres in the box, drawn again until it is inside."""
        places = centres + rng.normal(0.0, bandwidth, centres.shape)
        while len(out := np.flatnonzero(~self.contains(places))):
            places[out] = centres[out] + rng.normal(0.0, bandwidth, (len(out), self.d))
        return np.asarray(places)

    def to_list(self) -> list[float]:
        """``[lo, hi, lo, hi, …]``, what :meth:`from_flat` reads."""
        return [v for pair in zip(self.low, self.high, strict=True) for v in pair]


def as_box(box: Box | Sequence[float] | None) -> Box | None:
    """A box given as such, or as lo, hi for each axis; None stays None.

    Raises
    ------
    ValueError
        as :meth:`Box.from_flat`
    """
    return box if box is None or isinstance(box, Box) else Box.from_flat(box)


@dataclass(frozen=True)
class Grid:
    """Equal cells over a box; arrays on it have shape ``shape`` with axis k = coordinate k.

    Raises
    ------
    ValueError
        if a side has no cell, or the grid is too large to hold (the arithmetic is in the message)

    Examples
    --------
    >>> grid = Grid.over(Box((0, 0), (2, 1)), 4)
    >>> grid.shape
    (4, 4)
    >>> grid.histogram([[0.1, 0.1], [1.9, 0.9]]).sum()
    2.0
    """

    box: Box
    shape: tuple[int, ...]

    def __post_init__(self) -> None:
        if len(self.shape) != self.box.d or any(n < 1 for n in self.shape):
            d = self.box.d
            raise ValueError(f"a grid over {d} dimensions needs {d} sides of ≥ 1 cell, got {self.shape}")
        cells = math.prod(self.shape)
        if self.box.d > MAX_GRID_DIMENSIONS or cells > MAX_GRID_CELLS:
            sides = " × ".join(str(n) for n in self.shape)
            raise ValueError(
                f"a grid of {sides} = {cells:.2g} cells is {8 * cells / 2**30:.3g} GiB per field: grids are for up to "
                f"{MAX_GRID_DIMENSIONS} dimensions and {MAX_GRID_CELLS:.0e} cells; use a coarser grid or fewer --coords"
            )

    @classmethod
    def over(cls, box: Box, n: int) -> Grid:
        """``n`` cells along every axis of ``box``."""
        return cls(box, (int(n),) * box.d)

    @property
    def cells(self) -> int:
        """Number of cells."""
        return math.prod(self.shape)

    @property
    def spacing(self) -> Array:
        """(d,) cell sides in map units."""
        return np.divide(self.box.widths, self.shape)

    @property
    def cell_volume(self) -> float:
        """Volume of one cell, in map unitsᵈ (all cells are equal)."""
        return self.box.volume / self.cells

    @cached_property
    def edges(self) -> tuple[Array, ...]:
        """Per axis, the (n + 1,) cell edges."""
        sides = zip(self.box.low, self.box.high, self.shape, strict=True)
        return tuple(np.linspace(lo, hi, n + 1) for lo, hi, n in sides)

    @cached_property
    def centres(self) -> tuple[Array, ...]:
        """Per axis, the (n,) cell centres."""
        return tuple((e[1:] + e[:-1]) / 2 for e in self.edges)

    def points(self) -> Array:
        """(cells, d) cell centres in C order, matching ``field.ravel()``."""
        return np.stack([m.ravel() for m in np.meshgrid(*self.centres, indexing="ij")], axis=1)

    def index(self, x: ArrayLike) -> NDArray[np.int64]:
        """(n,) flat cell index of each (n, d) point in C order; −1 outside the box.

        A point on an inner edge belongs to the cell above it, on the upper boundary to the last cell.
        """
        points = np.asarray(x, dtype=float)
        inside = self.box.contains(points)
        flat = np.zeros(len(points), dtype=np.int64)
        for axis, n in enumerate(self.shape):
            k = np.floor((points[:, axis] - self.box.low[axis]) / self.box.widths[axis] * n)
            flat = flat * n + np.clip(np.nan_to_num(k), 0, n - 1).astype(np.int64)
        return np.where(inside, flat, -1)

    def histogram(self, x: ArrayLike, weight: ArrayLike | None = None) -> Array:
        """Weighted event counts per cell, shape ``shape``; points outside the box are left out."""
        flat = self.index(x)
        inside = flat >= 0
        w = None if weight is None else np.asarray(weight, dtype=float)[inside]
        return np.bincount(flat[inside], weights=w, minlength=self.cells).reshape(self.shape).astype(float)

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return {"box": self.box.to_list(), "shape": list(self.shape)}


def relative_density(field: Array) -> Array:
    """A non-negative field on equal cells, divided by its mean: 1 everywhere means uniform.

    Raises
    ------
    ValueError
        if the field has no mass, or any value that is negative or not finite
    """
    total = float(np.sum(field))
    if not (math.isfinite(total) and total > 0 and float(np.min(field)) >= 0):
        raise ValueError(f"a density needs finite values ≥ 0 and some mass; its sum is {total:g}")
    return np.asarray(field, dtype=float) * (field.size / total)
