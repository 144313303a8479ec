"""Basins as hills of the density, in up to 3 dimensions: those that stand out further than chance lets hills stand out.

The density of a window is a kernel estimate on a grid. Flooded from above, its superlevel sets form a merge tree [2]_:
each peak is born at its own height and dies at the saddle where it meets a higher one. Its persistence is the
difference, here of √density: the root of a kernel estimate has about the same standard error everywhere (delta method).

How much persistence is chance is read off chance itself: the same posts, weights and all, are thrown at random into the
box, copies at one place together, and their merge trees are built. (Where the walls of the box make the standard error
larger, persistence is divided by as much.) The first cut is the (1 − α) quantile of the range (highest minus lowest) of
√density: unless it is passed, there is no structure, and no basin. The second is that of the persistence of the second
most persistent peak: each further basin has to pass it. α is shared among the windows looked at, so that a world
without structure shows a basin in any of them with about that probability. Beside true basins the second cut rests on
an argument only: flat ground is where noise makes the most hills. Twice the quantile of the largest error, which
confidence sets for persistence diagrams take [1]_, is safer but asks for much more: the pass of a chance hill is seldom
as deep as its top is high.

A window of few posts can miss a shallow basin that the training windows together show beyond doubt. Where they show
one, the most persistent peak in its region need only pass what chance reaches in that region, in one window.

References
----------
.. [1] Fasy, B. T. et al. (2014). Confidence sets for persistence diagrams. Annals of Statistics 42.
.. [2] Chazal, F. et al. (2013). Persistence-based clustering in Riemannian manifolds. Journal of the ACM 60.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from basins.basin import Finder, Found, describe
from basins.chance.noise import noise_level
from basins.chance.persistence import MergeTree, extreme_quantile
from basins.space import Snapshot, Space
from stpp.compute.blas import one_blas_thread
from stpp.domain import MAX_GRID_DIMENSIONS, Array, Box, Grid
from stpp.events import Events, Window
from stpp.partition import Partition

CELLS = {1: 512, 2: 128, 3: 32}
"""Grid cells per axis in 1, 2 and 3 dimensions."""

WIDEST = 1 / 8
"""The largest bandwidth that is tried, of the box's widest side."""

STEP = 2**0.25
"""Ratio of neighbouring bandwidths that are tried."""

UNIFORM_SHARE = 0.01
"""Uniform share that scored densities contain, so that a far post does not decide the bandwidth alone."""

FOLDS = 10
"""Of the posts of a single training window, to cross-validate the bandwidth."""

THROWS = 50
"""Times that the places of a window are thrown at random into the box, to see what chance does."""

FINE_ENOUGH = 3
"""Cells in a bandwidth that the thrown places are counted in at least, where there are as many."""

LEVEL = 0.02
"""Probability of a false basin in any of the windows looked at, by the fitted Gumbel distribution.

5 % are promised. The fit, by moments from :data:`THROWS` throws, falls short of the extremes of small samples: at 0.05
it let basins into 5 of 100 worlds of 50 posts in a single window, and more where windows share the level.
"""

EXPECTED_LEVEL = 0.05
"""Probability, in each window, of finding a known basin that is no longer there."""


def choose_bandwidth(
    events: Events, training: Sequence[Window], partition: Partition, rng: np.random.Generator
) -> float:
    """The bandwidth under which the density of each training window best predicts the posts of the next one.

    Scored by the weighted log-likelihood of the next window's posts, over bandwidths from one cell to an eighth of the
    box, a little uniform density added. With one window that has posts, ten-fold cross-validation within it.

    Parameters
    ----------
    events : all of them
    training : windows in time order; nothing outside them is looked at
    partition : the cells of a grid
    rng : draws the folds

    Returns
    -------
    Standard deviation of the Gaussian kernel, map units

    Raises
    ------
    ValueError
        if no post with weight falls into the box in any of the windows, or the partition is no grid
    """
    if partition.grid is None:
        raise ValueError("a bandwidth is chosen on the cells of a grid; this partition has none")
    cells = Space(partition, 1.0)  # of no bandwidth yet
    seen = [posts for window in training if (posts := cells.see(events, window).witnessed).totals.any()]
    if not seen:
        raise ValueError("no posts with weight inside the domain in the training windows: widen the box or the dates")
    pairs = list(itertools.pairwise(posts.totals for posts in seen)) if len(seen) > 1 else _folds(seen[0], rng)
    narrow = float(partition.grid.spacing.max())
    wide = max(narrow, WIDEST * float(partition.box.widths.max()))
    ladder = np.geomspace(narrow, wide, 1 + round(math.log(wide / narrow, STEP)))
    if not pairs:  # one post says nothing about how far others fall
        return wide
    uniform = UNIFORM_SHARE / partition.box.volume

    def score(bandwidth: float) -> float:
        space, total = Space(partition, bandwidth), 0.0
        for before, after in pairs:
            hit = np.flatnonzero(after)
            f = (1 - UNIFORM_SHARE) * space.density(before)[hit] + uniform
            total += float((after[hit] * np.log(f)).sum())
        return total

    return float(max(ladder, key=score))


def _folds(snapshot: Snapshot, rng: np.random.Generator) -> list[tuple[Array, Array]]:
    """Totals of all places but a fold's, and the fold's; none where there is one place only."""
    places, cells = snapshot.places, snapshot.space.partition
    counts = np.flatnonzero(places.weight > 0)
    fold = rng.permutation(len(counts)) % FOLDS
    parts = [counts[fold == k] for k in range(min(FOLDS, len(counts)))]
    folds = (cells.sums(places.cell[rows], places.weight[rows]) for rows in parts)
    return [(np.maximum(snapshot.totals - part, 0.0), part) for part in folds] if len(counts) > 1 else []


@dataclass(frozen=True, eq=False)
class Chance:
    """The persistence that chance reaches in a window with a given probability: what peaks have to exceed.

    Parameters
    ----------
    first : for the range of √density, without which there is no basin at all
    further : for any further peak
    known : (K, cells) regions in which a hill is expected
    there : (K,) for the most persistent peak of each of them
    spread : (cells,) what persistence is divided by, see :func:`error_ratio`
    """

    first: float
    further: float
    known: NDArray[np.bool_]
    there: Array
    spread: Array

    @classmethod
    def of(cls, snapshot: Snapshot, windows: int, known: NDArray[np.bool_], rng: np.random.Generator) -> Chance:
        """From the places of the window thrown at random into the box, each with all its posts, :data:`THROWS` times.

        Parameters
        ----------
        snapshot : a window with posts, on a grid
        windows : that share the level :data:`LEVEL`; an expected hill, being no discovery, has its own in each
        known : (K, cells) regions in which a hill is expected
        """
        space, weight = _coarsened(snapshot.space), snapshot.places.weight
        cells = len(space.partition)
        spread = error_ratio(space)
        known_there = known[:, snapshot.space.partition.index(space.partition.centres)]
        reached = np.zeros((THROWS, 2 + len(known)))
        for k in range(THROWS):
            totals = np.bincount(rng.integers(cells, size=len(weight)), weight, cells).astype(float)
            tree = MergeTree.of(np.sqrt(space.density(totals)), space.partition.neighbours)
            first, others = tree.persistence[0], tree.persistence[1:] / spread[tree.cell[1:]]
            reached[k, 0] = first / spread[tree.cell[0]]
            reached[k, 1] = others.max(initial=0.0)
            reached[k, 2:] = (known_there[:, tree.cell[1:]] * others).max(axis=1, initial=0.0)
        levels = np.append(np.full(2, LEVEL / windows), np.full(len(known), EXPECTED_LEVEL))
        cuts = extreme_quantile(reached, levels)
        return cls(float(cuts[0]), float(cuts[1]), known, cuts[2:], error_ratio(snapshot.space))

    def survivors(self, tree: MergeTree) -> NDArray[np.bool_]:
        """(P,) which peaks stand out further than chance."""
        persistence = tree.persistence / self.spread[tree.cell]
        if not persistence[0] > self.first:
            return np.zeros(len(persistence), dtype=bool)
        alive = persistence > self.further
        alive[0] = True
        if len(self.known):
            there = np.where(self.known[:, tree.cell], persistence, 0.0)
            best = there.argmax(axis=1)
            alive[best[there.max(axis=1) > self.there]] = True
        return alive


def _coarsened(space: Space) -> Space:
    """The space on a grid that is as coarse as :data:`FINE_ENOUGH` allows."""
    grid = space.partition.grid
    assert grid is not None  # density basins live on grids
    fewer = max(1, int(space.bandwidth / float(grid.spacing.max()) / FINE_ENOUGH))
    if fewer == 1:
        return space
    return Space(Partition.of_grid(Grid(grid.box, tuple(max(1, n // fewer) for n in grid.shape))), space.bandwidth)


def error_ratio(space: Space) -> Array:
    """(cells,) standard error of √density, over that far from the walls.

    A kernel that is reflected at a wall rests on fewer posts there: at distance δ from a wall the variance is
    1 + exp(−δ²/h²) times what it is inside, twice at a wall of the box and four times in a corner of the plane.
    """
    box, centres, h = space.partition.box, space.partition.centres, space.bandwidth
    walls = np.stack([centres - box.low, box.high - centres])
    return np.asarray(np.sqrt(np.prod(1 + np.exp(-((walls / h) ** 2)), axis=(0, 2))))


def grid_space(
    method: str,
    cells: Mapping[int, int],
    events: Events,
    training: Sequence[Window],
    box: Box,
    rng: np.random.Generator,
) -> Space:
    """A grid over the box, and the bandwidth that predicts best from window to window.

    Parameters
    ----------
    method : that needs it, for the message
    cells : per axis, by number of dimensions
    events, training, rng : as in :func:`choose_bandwidth`

    Raises
    ------
    ValueError
        if the box has more than 3 dimensions, or no post of the training windows falls into it
    """
    if box.d > MAX_GRID_DIMENSIONS:
        raise ValueError(
            f"{method} needs a grid, and a grid at most {MAX_GRID_DIMENSIONS} dimensions, not {box.d}: "
            "take --method markov"
        )
    partition = Partition.of_grid(Grid.over(box, cells[box.d]))
    return Space(partition, choose_bandwidth(events, training, partition, rng))


def known_regions(
    finder: Finder, events: Events, training: Sequence[Window], rng: np.random.Generator
) -> NDArray[np.bool_]:
    """(K, cells) regions of the basins that a finder finds in all training windows taken together.

    Parameters
    ----------
    finder : with a space, and no known regions yet
    """
    whole = finder.fixed.see(events, Window(training[0].start, training[-1].end))
    found = replace(finder, replicates=0, windows=1).find(whole, rng)
    return np.array([basin.region for basin in found.basins], dtype=bool).reshape(-1, len(finder.fixed.partition))


@dataclass(frozen=True, kw_only=True, eq=False)
class DensityFinder(Finder):
    """Hills of the density on a grid that are more persistent than chance; up to 3 dimensions.

    Parameters
    ----------
    known : (K, cells) regions of the basins of all training windows taken together; a hill is expected there
    """

    name: ClassVar[str] = "density"
    summary_line: ClassVar[str] = "hills of the density that stand out further than chance; the default up to 3-d"

    known: NDArray[np.bool_] | None = None

    def fit(self, events: Events, training: Sequence[Window], box: Box, rng: np.random.Generator) -> Self:
        """A copy whose space is a grid over the box and the bandwidth that predicts best from window to window.

        Raises
        ------
        ValueError
            if the box has more than 3 dimensions, or no post of the training windows falls into it
        """
        space = grid_space(self.name, CELLS, events, training, box, rng)
        fitted = replace(self, space=space, known=None)
        return replace(fitted, known=known_regions(fitted, events, training, rng))

    @one_blas_thread  # products of memberships and totals; handing them to a second thread costs more than it saves
    def look(self, snapshot: Snapshot, rng: np.random.Generator) -> Found:
        """Watersheds of the peaks that stand out; a cell's membership is the share of its density above the noise.

        A basin exists in a replicate if the replicate's basin that holds most of its mass peaks in its region.
        """
        space, density = self.fixed, snapshot.density
        if not density.any():
            return Found(())
        neighbours = space.partition.neighbours
        tree = MergeTree.of(np.sqrt(density), neighbours)
        known = np.zeros((0, len(density)), dtype=bool) if self.known is None else self.known
        cuts = Chance.of(snapshot, self.windows, known, rng)
        noise = noise_level(snapshot, space.density, space.partition.volumes(rng), rng)
        ground = math.sqrt(2 * noise)  # below it, less than half of a cell is a basin's
        alive = cuts.survivors(tree) & (tree.birth > ground)
        if not alive.any():
            return Found((), "the density stands out no further than that of the same posts thrown at random")
        owner = tree.basins(alive, ground)
        share = np.maximum(density - noise, 0.0) / np.maximum(density, 1e-300)
        memberships = np.array([np.where(owner == peak, share, 0.0) for peak in np.flatnonzero(alive)])
        found_again = np.zeros(len(memberships))
        for _ in range(self.replicates):
            again = MergeTree.of(np.sqrt(space.density(snapshot.replicate(rng))), neighbours)
            found_again += _found_again(memberships, density, again, cuts.survivors(again))
        return Found(describe(snapshot, memberships, found_again / max(1, self.replicates)))


def _found_again(memberships: Array, density: Array, again: MergeTree, alive: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(B,) which basins a replicate's surviving peak stands for."""
    peaks = np.flatnonzero(alive)
    if not len(peaks):
        return np.zeros(len(memberships), dtype=bool)
    owner = again.basins(alive)
    common = np.array([np.bincount(owner, row, len(alive))[peaks] for row in memberships * density])
    best = peaks[common.argmax(axis=1)]
    return np.asarray(memberships[np.arange(len(memberships)), again.cell[best]] >= 0.5)
