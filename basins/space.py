"""The space that basins are found in: cells and a bandwidth, fixed once on training data, and windows seen in it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from stpp.domain import Array, Box
from stpp.events import Events, Window
from stpp.partition import BLOCK, Partition

SAME_PLACE = 1e-9
"""Share of the box's widths within which posts lie at the same place: identical texts differ by rounding."""

USUAL = 0.9
"""Share of the places that hold no more posts than a place counts for in saying where basins are."""


def gaussian(x: Array, centres: Array, bandwidth: float) -> Array:
    """(n, m) Gaussian kernel, 1 at 0, of the distances from places (n, d) to centres (m, d)."""
    apart = (x**2).sum(axis=1)[:, None] + (centres**2).sum(axis=1) - 2 * (x @ centres.T)
    return np.asarray(np.exp(-0.5 * np.maximum(apart, 0.0) / bandwidth**2))


def distinct_places(x: Array, box: Box) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The first row (p,) of each distinct place among (n, d), in order, and which of them each row (n,) is at."""
    keys = np.rint((x - box.low) / (SAME_PLACE * box.widths))
    order = np.lexsort((np.arange(len(x)), *keys.T))
    starts = np.ones(len(x), dtype=bool)
    starts[1:] = (np.diff(keys[order], axis=0) != 0).any(axis=1)
    first = order[starts]
    number = np.empty(len(first), dtype=np.int64)
    number[np.argsort(first)] = np.arange(len(first))
    which = np.empty(len(x), dtype=np.int64)
    which[order] = number[np.cumsum(starts) - 1]
    return np.sort(first), which


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
        """(n,) density at the centres of a grid's cells from their weight (n,): share of the weight per unit volume.

        The kernel is reflected at the walls, so that even posts look even. Zero everywhere where there is no weight.
        """
        total, grid = float(totals.sum()), self.partition.grid
        if grid is None:
            raise ValueError("the cells of landmarks are too coarse for a density from totals: take kernel_density")
        if not total > 0:
            return np.zeros(len(self.partition))
        field = totals.reshape(grid.shape)
        smooth = gaussian_filter(field, self.bandwidth / grid.spacing, mode="reflect", truncate=5.0)
        return np.asarray(smooth.ravel() / (total * grid.cell_volume))

    def kernel_density(self, x: Array, weight: Array) -> Array:
        """(cells,) share of the weights (n,) per unit volume at the cells' centres, from the places (n, d) themselves.

        Where landmarks are further apart than the bandwidth, posts taken to lie at them would raise peaks there.
        Kernels are renormalised inside the box. Zero everywhere where there is no weight.
        """
        total, centres, h = float(weight.sum()), self.partition.centres, self.bandwidth
        out = np.zeros(len(centres))
        if not total > 0:
            return out
        for rows in np.array_split(np.arange(len(x)), 1 + len(x) * len(centres) // BLOCK):
            out += weight[rows] @ gaussian(x[rows], centres, h)
        scale = total * (2 * np.pi * h**2) ** (self.partition.box.d / 2)
        return np.asarray(out / (scale * self.partition.box.kernel_mass(centres, h)))

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
class Places:
    """The distinct places of a window's posts.

    Copies of a post lie at one place. They are no independent witnesses of a basin there: what chance throws and what
    a bootstrap draws anew are places, each with all of its posts.

    Parameters
    ----------
    x : (p, d)
    weight : (p,) of all posts there
    cell : (p,) cell of each place
    of_post : (n,) place of each of the window's posts
    """

    x: Array
    weight: Array
    cell: NDArray[np.int64]
    of_post: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.x)

    @property
    def effective(self) -> float:
        """How many places of equal weight these amount to, (Σ w)² / Σ w²; 0 of none."""
        squares = float(self.weight @ self.weight)
        return float(self.weight.sum()) ** 2 / squares if squares > 0 else 0.0


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
    def places(self) -> Places:
        """The distinct places of the posts, in the order of their first posts."""
        first, of_post = distinct_places(self.posts.x, self.space.partition.box)
        weight = np.bincount(of_post, self.posts.weight, len(first)).astype(float)
        return Places(self.posts.x[first], weight, self.cell[first], of_post)

    @cached_property
    def witnessed(self) -> Snapshot:
        """The same window with crowded places held back, for where basins are: copies are no independent witnesses.

        A place counts as at most so many posts as :data:`USUAL` of the places hold: one where few posts have copies,
        and more where places are coarse, so that most hold several.
        """
        posts = np.bincount(self.places.of_post, minlength=len(self.places))
        most = float(np.quantile(posts, USUAL)) if len(posts) else 1.0
        if posts.max(initial=0) <= most:
            return self
        held_back = np.minimum(1.0, most / posts)[self.places.of_post]
        return replace(self, posts=replace(self.posts, weight=self.posts.weight * held_back), own=self.own * held_back)

    @cached_property
    def density(self) -> Array:
        """(cells,) share of the weight per unit volume at the cells' centres."""
        if self.space.partition.grid is not None:
            return self.space.density(self.totals)
        return self.space.kernel_density(self.places.x, self.places.weight)

    def part(self, window: Window) -> Snapshot:
        """The posts of a shorter window inside this one."""
        start, stop = np.searchsorted(self.posts.t, (window.start, window.end))
        inside = slice(int(start), int(stop))
        posts = self.posts.rows(inside.start, inside.stop)
        return Snapshot(window, posts, self.rows[inside], self.own[inside], self.space)

    def replicate(self, rng: np.random.Generator) -> Array:
        """(cells,) weight in each cell of a bootstrap replicate: every place counts Poisson(1) times."""
        places = self.places
        return self.space.partition.sums(places.cell, places.weight * rng.poisson(1.0, len(places)))
