"""How well parts of a walk hold it, judged against the parts of a walk without structure; in more than 3 dimensions.

There density is of little use: all places are far apart, and a smoothed hill fills the box. Conductance is not: a cut
through posts without structure is crossed by many steps, the more the more dimensions, and a gap by few.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, diags_array

from basins.chance.prominence import by_mass, more_than_noise, nearest_part
from basins.space import Snapshot, Space
from basins.walks.graph import Walk, walk
from basins.walks.scan import scan_markov_times
from stpp.domain import Array, Box
from stpp.events import Events, Window
from stpp.partition import Partition

POSTS = 10_000
"""Posts, at most, that are thrown evenly into the box to see how well parts without structure hold a walk."""

THROWS = 3
"""Times that this is done: the least conductance hardly varies in many dimensions."""

MARGIN = 0.9
"""A region has to be left less often than this share of the least conductance seen."""


def least_conductance(box: Box, posts: int, cells: int, neighbours: int, rng: np.random.Generator) -> float:
    """The least conductance of any part, at any Markov time, of walks over ``posts`` posts that lie evenly in the box.

    A cut through n posts is crossed by a share ∝ n^{−1/d} of the steps; by this it is carried over from ``POSTS``.

    Parameters
    ----------
    box : the domain
    posts : in a window, ≥ 2
    cells : number of landmarks
    neighbours : of each post
    """
    n, least = min(posts, POSTS), 1.0
    for _ in range(THROWS):
        x = rng.uniform(box.low, box.high, size=(n, box.d))
        partition = Partition.around_landmarks(x, min(cells, n), box, rng)
        window = Window(0.0, 1.0)
        even = Space(partition, 1.0).see(Events(np.zeros(n), x), window)
        around = walk(even, neighbours=neighbours)
        scan = scan_markov_times(around, 8, 2, rng)
        for labels in scan.labels[:, 0]:
            flows = _flows_between(around.flows, labels)
            if len(flows) > 1:
                least = min(least, float(_conductances(flows).min()))
    return float(least * (n / posts) ** (1 / box.d))


def _flows_between(flows: csr_array[Any], labels: NDArray[np.int64]) -> Array:
    """(parts, parts) share of all steps from one part to another."""
    member = np.equal.outer(np.arange(int(labels.max()) + 1), labels).astype(float)
    return np.asarray(member @ (flows @ member.T))


def _conductances(flows: Array) -> Array:
    """(parts,) chance that a step leaves each part, or the rest where that is the smaller side."""
    size, stay = flows.sum(axis=1), np.diag(flows)
    smaller = np.minimum(size, flows.sum() - size)
    return np.asarray(np.divide(size - stay, smaller, out=np.full(len(size), np.inf), where=smaller > 0))


@dataclass(frozen=True, eq=False)
class ConductanceTest:
    """The walk of a window, and how well a part of it must hold it.

    Parameters
    ----------
    around : the walk
    totals : (cells,) weight per cell
    places : (cells,) places of posts per weight: a few heavy places in the noise are no dense region
    centres : (cells, d)
    share : (cells,) share of each cell's places that are more than noise
    most : conductance that a region stays below
    """

    around: Walk
    totals: Array
    places: Array
    centres: Array
    share: Array
    most: float

    @classmethod
    def of(
        cls, snapshot: Snapshot, around: Walk, volume: Array, least: float, rng: np.random.Generator
    ) -> ConductanceTest:
        """Of a window with posts and its walk.

        Parameters
        ----------
        snapshot, around : the window and its walk
        volume : (cells,) share of the box
        least : conductance without structure, see :func:`least_conductance`
        """
        cells = snapshot.space.partition
        once = _each_place_once(snapshot)
        share = more_than_noise(once, np.diag(1 / volume), volume, rng)  # cells are too far apart to be smoothed
        totals = snapshot.totals
        places = np.divide(once.totals, totals, out=np.zeros(len(cells)), where=totals > 0)
        return cls(around, totals, places, cells.centres, share, MARGIN * least)

    def standing(self, labels: NDArray[np.int64], totals: Array) -> NDArray[np.int64]:
        """Regions that hold the walk better than parts without structure do.

        The part of greatest conductance, unless it holds, joins the one that it is most often left for. A part most
        of which is noise is no region, and neither is the last one left unless it holds most of what is no noise.

        Parameters
        ----------
        labels : (cells,) part of each cell; −1 where there were no posts, which joins the nearest part
        totals : (cells,) weight per cell, some above 0

        Returns
        -------
        (cells,) regions, numbered by weight from the largest on; −1 where none
        """
        labels = nearest_part(labels, self.centres)
        scale = diags_array(np.sqrt(np.divide(totals, self.totals, out=np.zeros(len(totals)), where=self.totals > 0)))
        flows = csr_array(scale @ self.around.flows @ scale)
        while True:
            labels = np.unique(labels, return_inverse=True)[1]
            between = _flows_between(flows, labels)
            if len(between) == 1:
                break
            left = _conductances(between)
            worst = int(np.argmax(left))
            if left[worst] <= self.most:
                break
            np.fill_diagonal(between, -1.0)
            labels = np.where(labels == worst, int(np.argmax(between[worst])), labels)
        places = totals * self.places
        keep = np.bincount(labels, places * (self.share >= 0.5)) > 0.5 * np.bincount(labels, places)
        return by_mass(np.where(keep[labels], labels, -1), totals)


def _each_place_once(snapshot: Snapshot) -> Snapshot:
    """The same posts, with weights that sum to 1 at each place."""
    places, posts = snapshot.places, snapshot.posts
    total = places.weight[places.of_post]
    share = np.divide(posts.weight, total, out=np.zeros(len(posts)), where=total > 0)
    return replace(snapshot, posts=replace(posts, weight=share))
