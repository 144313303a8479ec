"""The `consensus` finder: what many HDBSCAN clusterings of a window's posts agree on, tested on posts they never saw.

One HDBSCAN [1]_ depends on its settings (ten of them found 2 to 60 clusters where five basins were planted) and keeps
only the tops of basins, because what lies below the saddle to the next one is noise to it. So a window is clustered
many times, each time on a random half of the posts and with other settings, and a basin is what most of the clusterings
contain:

1. the places of the posts (copies of a post at one place stay together) fall into two random halves, and the replicates
   take turns between them; each draws half of its half, with probability ∝ weight;
2. its clusters are the leaves of HDBSCAN's tree; the share of the posts that makes a cluster, and how many neighbours
   the density is measured with, are drawn anew for each replicate;
3. each cluster is grown from its top over the microstates down to the noise: the minimum spanning forest of the density
   [2]_, so that every microstate goes to the cluster that it reaches over the highest pass;
4. regions of different replicates are the same basin where they share most of their mass (average linkage on Jaccard
   similarity, cut at ½), and a basin is what more than half of the replicates contain: the majority rule of consensus
   trees [3]_. Two such regions lie side by side in at least one replicate, so that they hardly overlap;
5. the peak of each basin and the pass to the next are placed by one half, and their densities compared in the other.
   Where the peak is not higher beyond chance, the basin is joined to its neighbour over the pass, or dropped if the
   way leads through the noise.

All of it happens on some hundreds of microstates: posts × posts is never held. HDBSCAN is scikit-learn's, which is a
dependency already; others were not timed.
In more than some six dimensions HDBSCAN finds the tops of few basins or none, and so does this finder.

.. [1] Campello, Moulavi & Sander (2013), Density-based clustering based on hierarchical density estimates, PAKDD.
.. [2] Cousty, Bertrand, Najman & Couprie (2009), Watershed cuts: minimum spanning forests and the drop of water
   principle, IEEE TPAMI 31, 1362-1374.
.. [3] Margush & McMorris (1981), Consensus n-trees, Bulletin of Mathematical Biology 43, 239-244.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform
from scipy.stats import norm

from basins.basin import Finder, Found, describe
from basins.chance.surface import Cells, Labels, Rows, Surface, WayOut, predictive_bandwidth
from basins.space import Snapshot, Space, distinct_places
from stpp.domain import Array, Box
from stpp.events import Events, Window
from stpp.partition import Partition

LEVEL = 0.05
"""Chance of any false basin in all windows of a world without basins."""

FEWEST = 40
"""Places in a window below which no clustering is tried: a replicate would hold fewer than ten."""

SAMPLE = 4_000
"""Places per replicate, at most: the tree of HDBSCAN takes time ∝ places²."""

CLUSTER_SHARE = (0.005, 0.02)
"""Share of a replicate's places that makes a cluster; each replicate draws from this range, evenly in the logarithm."""

NEIGHBOURS = (0.15, 0.5)
"""Places that HDBSCAN measures its density with, in units of n^(4/(4 + d)), the rate at which the best number grows;
drawn likewise."""

WIDTHS = 2.0 ** np.arange(0, 3, 0.5)
"""Widths of the kernel that compares two places, in bandwidths; the posts that chose the places choose among them."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ConsensusFinder(Finder):
    """Basins that most of many HDBSCAN clusterings agree on.

    Posts count by ``snapshot.posts.weight``, which already holds engagement and age: w = 1 + ln(1 + RT + α·fav) is the
    reader's (``--weight log``) and e^{−λ·age} the space's (its half-life). Works in any number of dimensions.

    Parameters
    ----------
    landmarks : microstates, at most
    volume : (cells,) share of the box's volume that each microstate holds; measured by :meth:`fit`
    """

    name: ClassVar[str] = "consensus"
    replicated: ClassVar[bool] = True
    summary_line: ClassVar[str] = "what most of many HDBSCAN clusterings of random halves of the posts agree on"

    landmarks: int = 500
    volume: Array | None = None

    def fit(self, events: Events, training: Sequence[Window], box: Box, rng: np.random.Generator) -> Self:
        """Landmarks by k-means, and the bandwidth under which a window best predicts the next one's posts.

        Raises
        ------
        ValueError
            if there is no training window, or no post in one
        """
        if not training:
            raise ValueError("no training windows to lay landmarks by: start training earlier or make windows shorter")
        parts = [events.between(window).inside(box) for window in training]
        parts = [part.take(distinct_places(part.x, box)[0]) for part in parts]  # copies predict one another too well
        x = np.concatenate([part.x for part in parts])
        partition = Partition.around_landmarks(x, self.landmarks, box, rng)
        volume = partition.volumes(rng)
        return replace(self, space=Space(partition, predictive_bandwidth(parts, box, rng)), volume=volume)

    def look(self, snapshot: Snapshot, rng: np.random.Generator) -> Found:
        """The basins of a window; none where nothing stands out from its surroundings beyond chance."""
        places = snapshot.places
        rows = np.flatnonzero((places.cell >= 0) & (places.weight > 0))
        if len(np.unique(places.cell[rows])) == 1:
            return Found((), "all posts of the window lie in one microstate: there is nothing to tell apart")
        if len(rows) < FEWEST:
            return Found((), f"posts at {len(rows)} places in the window; HDBSCAN needs at least {FEWEST}")
        halves = np.array_split(rng.permutation(rows), 2)
        *sides, whole = Surface.of_halves(snapshot, halves, self._volume)
        labels = [self._regions(snapshot, halves[k % 2], sides[k % 2], rng) for k in range(max(2, self.replicates))]
        found = majority(labels, sides[0].totals + sides[1].totals)
        if not len(found):  # where HDBSCAN splits nothing reliably there may still be one basin
            found = np.array([[side.highest for side in sides]])
        found = self._tested(snapshot, halves, sides, found)
        memberships = found.mean(axis=1) * (1 - whole.noise_share)
        held = (memberships >= 0.5).any(axis=1)  # a basin holds most of the posts of some microstate
        if not held.any():
            return Found((), "no region stands out from its surroundings beyond chance")
        probability = found.any(axis=2).mean(axis=1)
        return Found(describe(snapshot, memberships[held], probability[held]))

    @property
    def _volume(self) -> Array:
        if self.volume is None:
            raise ValueError(f"{self.name} has no space yet: fit it to training windows")
        return self.volume

    def _regions(self, snapshot: Snapshot, seen: Rows, surface: Surface, rng: np.random.Generator) -> Labels:
        """(cells,) grown cluster of one replicate that each microstate belongs to; −1 noise."""
        from sklearn.cluster import HDBSCAN

        n = min(SAMPLE, max(len(seen) // 2, FEWEST // 4))
        places = snapshot.places
        weight = places.weight[seen]
        chosen = seen[np.sort(rng.choice(len(seen), n, replace=False, p=weight / weight.sum()))]
        smallest, neighbours = (np.exp(rng.uniform(*np.log(bounds))) for bounds in (CLUSTER_SHARE, NEIGHBOURS))
        d = snapshot.posts.d
        clustering = HDBSCAN(
            min_cluster_size=max(5, round(smallest * n)),
            min_samples=max(3, round(neighbours * n ** (4 / (4 + d)))),
            cluster_selection_method="leaf",
            copy=True,
        )
        label = clustering.fit(places.x[chosen]).labels_
        share = np.zeros((label.max() + 2, len(surface.density)))
        np.add.at(share, (label, places.cell[chosen]), 1.0)  # noise, −1, is counted in the last row
        tops = np.where(2 * share.max(axis=0) > share.sum(axis=0), share.argmax(axis=0), len(share) - 1)
        return surface.grown(np.where(tops == len(share) - 1, -1, tops))

    def _tested(self, snapshot: Snapshot, halves: Sequence[Labels], sides: Sequence[Surface], found: Cells) -> Cells:
        """The basins that stand above their way out and above the noise; those that do not are joined or dropped.

        Parameters
        ----------
        halves, sides : rows of the places of each half, and their surfaces
        found : (B, replicates, cells) regions; replicates take turns between the halves
        """
        bar = float(norm.isf(LEVEL / (self.windows * max(1, len(found)))))
        while len(found):
            votes = [found[:, k::2].mean(axis=1) for k in (0, 1)]
            owners = [np.where(vote.sum(axis=0) >= 0.5, vote.argmax(axis=0), -1) for vote in votes]
            tops = [
                [side.density[own == b].max(initial=0.0) for b in range(len(found))]
                for side, own in zip(sides, owners, strict=True)
            ]
            order = np.argsort(-np.sum(tops, axis=0), kind="stable").tolist()
            ways = [side.ways_out(own, order) for side, own in zip(sides, owners, strict=True)]
            heights = [
                height(snapshot, halves, sides, (first, second)) if first and second else -np.inf
                for first, second in zip(*ways, strict=True)
            ]
            weakest = int(np.argmin(heights))
            if heights[weakest] >= bar:
                break
            into = [way.into for side in ways if (way := side[weakest]) and way.into is not None]
            if into:
                found[into[0]] |= found[weakest]
            found = np.delete(found, weakest, axis=0)
        return found


def majority(labels: Sequence[Labels], mass: Array) -> Cells:
    """The regions that more than half of the replicates contain.

    Parameters
    ----------
    labels : per replicate, the (cells,) number of the region of each cell; −1 none
    mass : (cells,) weight of each cell

    Returns
    -------
    (B, replicates, cells) bool: the cells of each region in each replicate; all False where a replicate lacks it
    """
    replicate = np.array([r for r, label in enumerate(labels) for _ in np.unique(label[label >= 0])], dtype=np.int64)
    region = np.array([label == k for label in labels for k in np.unique(label[label >= 0])])
    if len(region) < 2:
        return np.zeros((0, len(labels), len(mass)), dtype=bool)
    shared = (region * mass) @ region.T.astype(float)
    union = np.add.outer(np.diag(shared), np.diag(shared)) - shared
    apart = np.maximum(0.0, 1 - np.divide(shared, union, out=np.zeros_like(shared), where=union > 0))  # not −ε
    np.fill_diagonal(apart, 0.0)
    group = fcluster(linkage(squareform(apart, checks=False), "average"), 0.5, "distance") - 1
    found = np.zeros((group.max() + 1, len(labels), len(mass)), dtype=bool)
    np.logical_or.at(found, (group, replicate), region)
    return np.asarray(found[found.any(axis=2).mean(axis=1) > 0.5])


def standing(snapshot: Snapshot, rows: Rows, peak: int, lowest: int, width: float) -> float:
    """By how many standard errors the density at one microstate is above that at another.

    Exact kernel sums at the two centres: standard normal over places that had no say in choosing them, where the
    density is the same.

    Parameters
    ----------
    rows : of the snapshot's places
    peak, lowest : microstates
    width : of the kernel, map units
    """
    x, weight = snapshot.places.x[rows], snapshot.places.weight[rows]
    ends = snapshot.space.partition.centres[[peak, lowest]]
    inside = snapshot.space.partition.box.kernel_mass(ends, width)
    kernel = np.exp(-0.5 * ((x[:, None] - ends) ** 2).sum(axis=2) / width**2) / inside
    return _standard_errors(weight * (kernel[:, 0] - kernel[:, 1]))


def above(snapshot: Snapshot, rows: Rows, peak: int, side: Surface, width: float) -> float:
    """By how many standard errors the density at a microstate is above the mean of what another half calls noise.

    Parameters
    ----------
    rows : of the snapshot's places that had no say
    peak : microstate
    side : surface of the other places, which say where the noise is
    width : of the kernel, map units
    """
    space, x, weight = snapshot.space, snapshot.places.x[rows], snapshot.places.weight[rows]
    centre, h, box = space.partition.centres[[peak]], width, space.partition.box
    kernel = np.exp(-0.5 * ((x - centre) ** 2).sum(axis=1) / h**2) / (2 * np.pi * h**2) ** (box.d / 2)
    held = float(side.volume[~side.above_noise].sum())
    noise = ~side.above_noise[snapshot.places.cell[rows]] / held if held > 0 else np.ones(len(x))
    return _standard_errors(weight * (kernel / box.kernel_mass(centre, h) - noise / box.volume))


def height(snapshot: Snapshot, halves: Sequence[Rows], sides: Sequence[Surface], ways: tuple[WayOut, WayOut]) -> float:
    """By how many standard errors a basin stands above its pass and above the noise, whichever is less.

    What each half chose is judged by the other half, and the two are added up.

    Parameters
    ----------
    halves, sides : rows of the places of each half, and their surfaces
    ways : the basin's way out as each half sees it
    """
    floor = over = 0.0
    for chose, judge, side, way in zip(halves, halves[::-1], sides, ways, strict=True):
        widths = snapshot.space.bandwidth * WIDTHS
        clear = max(widths, key=lambda w: above(snapshot, chose, way.peak, side, w))
        floor += above(snapshot, judge, way.peak, side, clear)
        lowest = way.lowest
        if lowest is None:  # the highest basin of all has the noise around it only
            over = np.inf
            continue
        best = max(widths, key=lambda w: standing(snapshot, chose, way.peak, lowest, w))
        over += standing(snapshot, judge, way.peak, lowest, best)
    return float(min(floor, over)) / math.sqrt(2)


def _standard_errors(contributions: Array) -> float:
    """A sum in units of its own standard error."""
    error = float(np.sqrt(contributions @ contributions))
    return float(contributions.sum()) / error if error > 0 else 0.0
