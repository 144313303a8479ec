"""The space that basins are found in: cells and a bandwidth, fixed once on training data, and windows seen in it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from stpp.domain import Array
from stpp.events import Events, Window
from stpp.partition import BLOCK, Partition


@dataclass(frozen=True, eq=False)
class Space:
    """Cells and a bandwidth, fixed once on training data: basins of different windows can be compared.

    Parameters
    ----------
    partition : the cells
    bandwidth : standard deviation of the Gaussian kernel of densities, map units
    """

    partition: Partition
    bandwidth: float

    def density(self, totals: Array) -> Array:
        """(n,) density at the cells' centres from the weight per cell (n,): share of the weight per unit volume.

        On a grid the kernel is reflected at the walls, so that even posts look even. Zero everywhere where there is no
        weight.
        """
        total, cells, h = float(totals.sum()), self.partition, self.bandwidth
        if not total > 0:
            return np.zeros(len(cells))
        if cells.grid is not None:
            field = totals.reshape(cells.grid.shape)
            smooth = gaussian_filter(field, h / cells.grid.spacing, mode="reflect", truncate=5.0)
            return np.asarray(smooth.ravel() / (total * cells.grid.cell_volume))
        out, square, step = np.empty(len(cells)), (cells.centres**2).sum(axis=1), max(1, BLOCK // len(cells))
        for k in range(0, len(cells), step):
            here = slice(k, k + step)
            apart = square[here, None] + square - 2 * (cells.centres[here] @ cells.centres.T)
            out[here] = np.exp(-0.5 * np.maximum(apart, 0) / h**2) @ totals
        return np.asarray(out / (total * (2 * np.pi * h**2) ** (cells.box.d / 2)))

    def see(self, events: Events, window: Window, half_life: float | None = None) -> Snapshot:
        """What counts in a window; nothing from its end on is looked at.

        Parameters
        ----------
        events : all of them
        window : the window
        half_life : days after which a post counts for half, those before the window too; None: the posts of the
            window count fully, and earlier ones not at all
        """
        past = events.before(window.end)
        first = 0 if half_life is not None else int(np.searchsorted(past.t, window.start))
        rows = first + np.flatnonzero(self.partition.box.contains(past.x[first:]))
        posts = past.take(rows)
        own = np.where(posts.t >= window.start, posts.weight, 0.0)
        if half_life is not None:
            posts = replace(posts, weight=posts.weight * 0.5 ** ((window.end - posts.t) / half_life))
        return Snapshot(window, posts, rows, own, self)


@dataclass(frozen=True, eq=False)
class Snapshot:
    """The posts that count in a window, with the weights that they have at its end.

    Parameters
    ----------
    window : half-open time
    posts : (n) inside the space's box, weights decayed
    rows : (n,) their rows among all events
    own : (n,) weights not decayed, of the window's own posts; 0 for earlier ones
    space : cells and bandwidth
    """

    window: Window
    posts: Events
    rows: NDArray[np.int64]
    own: Array
    space: Space

    @cached_property
    def cell(self) -> NDArray[np.int64]:
        """(n,) cell of each post."""
        return self.space.partition.index(self.posts.x)

    @cached_property
    def totals(self) -> Array:
        """(cells,) weight in each cell."""
        return self.space.partition.sums(self.cell, self.posts.weight)

    @cached_property
    def own_totals(self) -> Array:
        """(cells,) weight of the window's own posts in each cell, not decayed: what windows are compared by."""
        return self.space.partition.sums(self.cell, self.own)

    @cached_property
    def effective_posts(self) -> float:
        """How many posts of equal weight the window's own posts amount to, (Σ w)² / Σ w²; 0 of none."""
        squares = float(self.own @ self.own)
        return float(self.own.sum()) ** 2 / squares if squares > 0 else 0.0

    @cached_property
    def density(self) -> Array:
        """(cells,) share of the weight per unit volume at the cells' centres."""
        return self.space.density(self.totals)

    def part(self, window: Window) -> Snapshot:
        """The posts of a shorter window inside this one."""
        start, stop = np.searchsorted(self.posts.t, (window.start, window.end))
        inside = slice(int(start), int(stop))
        posts = self.posts.rows(inside.start, inside.stop)
        return Snapshot(window, posts, self.rows[inside], self.own[inside], self.space)

    def replicate(self, rng: np.random.Generator) -> Array:
        """(cells,) weight in each cell of a bootstrap replicate: every post counts Poisson(1) times."""
        times = rng.poisson(1.0, len(self.posts))
        return self.space.partition.sums(self.cell, self.posts.weight * times)
