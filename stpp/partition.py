"""A partition of the domain into cells, fixed once: the cells of a grid, or in more dimensions those of landmarks."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array, csr_array
from scipy.spatial import cKDTree

from stpp.domain import Array, Box, Grid

SAMPLE = 50_000
"""Places, at most, that landmarks are learned from."""

PROBES = 200_000
"""Random places that the volumes of landmarks' cells are measured with."""

BLOCK = 4_000_000
"""Distances between places and landmarks held at once."""


@dataclass(frozen=True, eq=False)
class Partition:
    """Cells that cover a box.

    Parameters
    ----------
    box : the domain
    centres : (n, d) of the cells, map units
    grid : whose cells they are, in C order; None: each place belongs to the nearest centre (a Voronoi tessellation)
    """

    box: Box
    centres: Array
    grid: Grid | None = None

    @classmethod
    def of_grid(cls, grid: Grid) -> Partition:
        """The cells of a grid."""
        return cls(grid.box, grid.points(), grid)

    @classmethod
    def around_landmarks(cls, x: Array, n: int, box: Box, rng: np.random.Generator) -> Partition:
        """Cells around ``n`` centres of k-means (fewer if there are fewer distinct places).

        Parameters
        ----------
        x : (m, d) TRAINING places, m ≥ 1
        n : number of cells
        box : the domain; places outside it are left out

        Raises
        ------
        ValueError
            if no place lies in the box
        """
        from sklearn.cluster import MiniBatchKMeans

        inside = x[box.contains(x)]
        if not len(inside):
            raise ValueError("no posts inside the domain to lay landmarks by: widen the box or the dates")
        sample = inside if len(inside) <= SAMPLE else inside[np.sort(rng.choice(len(inside), SAMPLE, replace=False))]
        distinct = np.unique(sample, axis=0)
        if len(distinct) <= n:
            return cls(box, distinct)
        fit = MiniBatchKMeans(n, batch_size=4096, n_init=1, max_iter=20, random_state=int(rng.integers(2**31)))
        return cls(box, np.asarray(fit.fit(sample).cluster_centers_, dtype=float))

    def __len__(self) -> int:
        return len(self.centres)

    @cached_property
    def _tree(self) -> cKDTree:
        return cKDTree(self.centres)

    def index(self, x: Array) -> NDArray[np.int64]:
        """(m,) cell of each (m, d) place; −1 outside the box."""
        if self.grid is not None:
            return self.grid.index(x)
        if self.box.d <= 3:
            nearest = np.asarray(self._tree.query(x)[1], dtype=np.int64)
        else:  # trees degenerate in many dimensions, and matrix products do not
            square, step = (self.centres**2).sum(axis=1), max(1, BLOCK // len(self))
            parts = [np.argmin(square - 2 * (x[k : k + step] @ self.centres.T), axis=1) for k in range(0, len(x), step)]
            nearest = np.concatenate([np.empty(0, dtype=np.int64), *parts])
        return np.where(self.box.contains(x), nearest, -1).astype(np.int64)

    def totals(self, x: Array, weight: Array | None = None) -> Array:
        """(n,) total weight of the (m, d) places in each cell."""
        return self.sums(self.index(x), weight)

    def sums(self, cell: NDArray[np.int64], weight: Array | None = None) -> Array:
        """(n,) total weight per cell, for places whose cells (m,) are known already; −1 is left out."""
        inside = cell >= 0
        w = None if weight is None else weight[inside]
        return np.bincount(cell[inside], weights=w, minlength=len(self)).astype(float)

    def volumes(self, rng: np.random.Generator) -> Array:
        """(n,) share of the box that each cell holds, above 0; measured with random places where there is no grid."""
        if self.grid is not None:
            return np.full(len(self), 1 / len(self))
        held = self.totals(self.box.sample(PROBES, rng)) + 0.5  # so that no cell is without
        return np.asarray(held / held.sum())

    @cached_property
    def neighbours(self) -> csr_array[Any]:
        """(n, n) symmetric: distance between the centres of neighbouring cells, map units.

        On a grid the cells that share a face or a corner. Else the 2 d + 2 nearest centres of each (and of whom it is
        one).
        """
        if self.grid is not None:
            return self._lattice(self.grid)
        from sklearn.neighbors import kneighbors_graph

        k = min(2 * self.box.d + 2, len(self) - 1)
        if k < 1:
            return csr_array((len(self), len(self)))
        graph = csr_array(kneighbors_graph(self.centres, k, mode="distance"))
        return csr_array(graph.maximum(graph.T))

    @staticmethod
    def _lattice(grid: Grid) -> csr_array[Any]:
        number = np.arange(grid.cells).reshape(grid.shape)
        rows, columns, distances = [], [], []
        for step in np.ndindex(*(3,) * grid.box.d):
            offset = np.array(step) - 1
            if not offset.any():
                continue
            here = tuple(slice(max(0, -o), n - max(0, o)) for o, n in zip(offset, grid.shape, strict=True))
            there = tuple(slice(max(0, o), n - max(0, -o)) for o, n in zip(offset, grid.shape, strict=True))
            rows.append(number[here].ravel())
            columns.append(number[there].ravel())
            distances.append(np.full(len(rows[-1]), float(np.linalg.norm(offset * grid.spacing))))
        entries = (np.concatenate(distances), (np.concatenate(rows), np.concatenate(columns)))
        return csr_array(coo_array(entries, shape=(grid.cells, grid.cells)))
