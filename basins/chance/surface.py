"""The density of a window's posts over microstates, in any number of dimensions: its noise, its hills, its passes.

Up to three dimensions a grid does this (:mod:`basins.finders.density`); landmarks do it in any number.

References
----------
.. [1] Cousty, Bertrand, Najman & Couprie (2009), Watershed cuts: minimum spanning forests and the drop of water
   principle, IEEE TPAMI 31, 1362-1374.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array, csr_array
from scipy.sparse.csgraph import breadth_first_order, connected_components, minimum_spanning_tree

from basins.chance.noise import weight_where_quiet
from basins.space import Snapshot, Space, gaussian
from stpp.domain import Array, Box
from stpp.events import Events

Cells = NDArray[np.bool_]
Labels = NDArray[np.int64]
Rows = NDArray[np.int64]

STEEPNESS = 1e-6
"""How much the upper end of a way counts beside its pass: only where passes are the same."""

BANDWIDTHS = 12
"""Candidates for the bandwidth, in equal steps of its logarithm."""

PAST = 4_000
"""Posts of a window, at most, whose density is judged."""

JUDGED = 1_000
"""Posts of a window, at most, that a bandwidth is judged on."""

PAIRS = 3
"""Pairs of windows, the last ones, that a bandwidth is judged on."""

FLOORS = np.array([0.001, 0.01, 0.03, 0.1, 0.2, 0.4, 0.7])
"""Shares of uniform noise that are tried with each bandwidth: far posts shall not widen the kernel for all."""


@dataclass(frozen=True)
class WayOut:
    """The easiest way out of a basin: over the least dense microstate of the densest path.

    Parameters
    ----------
    peak : its densest microstate
    lowest : the least dense one on the way; None where no way leads to a higher basin
    into : the basin on the other side; None if the way leads through the noise or nowhere
    """

    peak: int
    lowest: int | None
    into: int | None


@dataclass(frozen=True, eq=False)
class Surface:
    """The density of some posts over the microstates, and what is noise in it.

    Parameters
    ----------
    space : the microstates and the bandwidth
    totals : (cells,) weight in each microstate
    density : (cells,) share of the weight per unit volume at the centres
    volume : (cells,) share of the box's volume in each
    noise : density of the noise between the basins
    """

    space: Space
    totals: Array
    density: Array
    volume: Array
    noise: float = 0.0

    @classmethod
    def of_halves(cls, snapshot: Snapshot, halves: Sequence[Rows], volume: Array) -> tuple[Surface, Surface, Surface]:
        """The surfaces of two halves of a window's places (row numbers), and of all of them.

        The noise of each is what the other half has where this one is emptiest, see :mod:`basins.chance.noise`.
        """
        one, other = (cls._of(snapshot, half, volume) for half in halves)
        one, other = (
            replace(one, noise=other._noise_where_quiet(one)),
            replace(other, noise=one._noise_where_quiet(other)),
        )
        whole = cls._of(snapshot, np.concatenate(halves), volume)
        return one, other, replace(whole, noise=(one.noise + other.noise) / 2)

    @classmethod
    def _of(cls, snapshot: Snapshot, rows: Rows, volume: Array) -> Surface:
        space, places = snapshot.space, snapshot.places
        weight = places.weight[rows]
        totals = space.partition.sums(places.cell[rows], weight)
        return cls(space, totals, space.kernel_density(places.x[rows], weight), volume)

    def _noise_where_quiet(self, other: Surface) -> float:
        """Share of these posts per unit volume in the emptiest part of the other surface."""
        weight = weight_where_quiet(other.density, self.totals, self.volume)
        return weight / (float(self.totals.sum()) * self.space.partition.box.volume)

    @cached_property
    def noise_share(self) -> Array:
        """(cells,) share of each microstate's posts that are noise, in [0, 1]."""
        return np.divide(self.noise, self.density, out=np.ones(len(self.density)), where=self.density > self.noise)

    @cached_property
    def above_noise(self) -> Cells:
        """(cells,) where less than half of the posts are noise."""
        return np.asarray(self.noise_share < 0.5)

    @cached_property
    def highest(self) -> Cells:
        """(cells,) the region above the noise around the densest microstate."""
        graph = self.space.partition.neighbours
        inside = csr_array(graph.multiply(self.above_noise[:, None]).multiply(self.above_noise))
        _, piece = connected_components(inside, directed=False)
        return np.asarray(self.above_noise & (piece == piece[int(np.argmax(self.density))]))

    @cached_property
    def _edges(self) -> tuple[Labels, Labels, Array]:
        """Neighbouring microstates i, j and the density at the pass between them: the lower of the two."""
        graph = self.space.partition.neighbours.tocoo()
        i, j = graph.coords
        return i.astype(np.int64), j.astype(np.int64), np.minimum(self.density[i], self.density[j])

    def grown(self, tops: Labels) -> Labels:
        """(cells,) label of the top that each microstate above the noise reaches over the highest pass [1]_; else −1.

        Parameters
        ----------
        tops : (cells,) labels ≥ 0 of the tops; −1 elsewhere
        """
        n, seeds = len(tops), np.flatnonzero((tops >= 0) & self.above_noise)
        i, j, density = self._edges
        ways = np.flatnonzero(self.above_noise[i] & self.above_noise[j] & (density > 0))
        # A root tied to every seed by the shortest of edges: without it, its tree falls into one piece per seed.
        # Of ways over the same pass, mostly the microstate itself, the steepest comes first.
        steep = STEEPNESS * np.log(self.density.max() / np.maximum(self.density[i[ways]], self.density[j[ways]]))
        cost = np.concatenate([1 + np.log(self.density.max() / density[ways]) + steep, np.full(len(seeds), 0.5)])
        ends = np.concatenate([i[ways], seeds]), np.concatenate([j[ways], np.full(len(seeds), n)])
        tree = minimum_spanning_tree(csr_array(coo_array((cost, ends), shape=(n + 1, n + 1))))
        _, piece = connected_components(csr_array(tree)[:n, :n], directed=False)
        label = np.full(piece.max() + 1, -1)
        label[piece[seeds]] = tops[seeds]
        return np.asarray(label[piece], dtype=np.int64)

    def ways_out(self, owner: Labels, order: Sequence[int]) -> list[WayOut | None]:
        """The easiest way from each basin to one that comes before it.

        Parameters
        ----------
        owner : (cells,) basin of each microstate, −1 for none
        order : the basins, the highest first

        Returns
        -------
        Per basin its way; None where it owns nothing
        """
        ways: list[WayOut | None] = [None] * len(order)
        peaks: dict[int, int] = {}
        for b in order:
            own = np.flatnonzero(owner == b)
            if not len(own):
                continue
            peak = int(own[np.argmax(self.density[own])])
            _, back = breadth_first_order(self._tree, peak, directed=False)
            passes = {}
            for higher, end in peaks.items():
                path = _path(back, end)
                if path[-1] == peak:  # else nothing leads there: the microstates fall into pieces
                    passes[higher] = path[int(np.argmin(self.density[path]))]
            if not passes:
                ways[b] = WayOut(peak, None, None)
            else:
                into = max(passes, key=lambda k: self.density[passes[k]])
                ways[b] = WayOut(peak, passes[into], into if self.above_noise[passes[into]] else None)
            peaks[b] = peak
        return ways

    @cached_property
    def _tree(self) -> csr_array[Any]:
        """The minimum spanning tree, whose paths are the densest ones."""
        i, j, density = self._edges
        cost = 1 + np.log(self.density.max() / np.maximum(density, np.finfo(float).tiny))
        return csr_array(minimum_spanning_tree(csr_array(coo_array((cost, (i, j)), shape=(len(self.density),) * 2))))


def _path(back: NDArray[np.int32], end: int) -> list[int]:
    """From an end back to the root of a tree, by each node's predecessor."""
    path = [end]
    while back[path[-1]] >= 0:
        path.append(int(back[path[-1]]))
    return path


def predictive_bandwidth(parts: Sequence[Events], box: Box, rng: np.random.Generator) -> float:
    """The bandwidth under which each window's density, plus uniform noise, best predicts the next window's posts.

    Parameters
    ----------
    parts : the posts of the training windows in the box, in time order; of one window, one half predicts the other

    Returns
    -------
    Standard deviation of the kernel, map units
    """
    full = [part.sample(PAST, rng) for part in parts if part.weight.sum() > 0]
    if len(full) == 1:
        half = np.arange(len(full[0])) % 2
        full = [full[0].take(half == k) for k in (0, 1) if (half == k).any()]
    spread = float(np.median(np.concatenate([part.x for part in full]).std(axis=0))) if full else 0.0
    if len(full) < 2 or spread == 0:
        return float(box.widths.min()) / 10
    candidates, d = np.geomspace(spread / 50, spread, BANDWIDTHS), box.d
    score = np.zeros((BANDWIDTHS, len(FLOORS)))
    for past, new in list(pairwise(full))[-PAIRS:]:
        x = new.sample(JUDGED, rng).x
        for k, h in enumerate(candidates):
            density = gaussian(x, past.x, h) @ (past.weight / past.weight.sum()) / (2 * np.pi * h**2) ** (d / 2)
            score[k] += np.log((1 - FLOORS) * density[:, None] + FLOORS / box.volume).sum(axis=0)
    return float(candidates[np.argmax(score.max(axis=1))])
