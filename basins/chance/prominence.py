"""How far regions of cells stand out of the passes to their neighbours, judged against posts without structure.

In up to 3 dimensions. The density, relative to posts laid evenly, is the weight over the room under one kernel, read at
the cells' centres and half way between neighbouring cells; its root has about the same standard error at any density.
The relief of a region is how far the root at its peak exceeds that at the highest pass to another region.

What chance reaches is read off chance: as many posts are thrown evenly into the box, and the merge tree of their
density is built. A peak of such a tree stands out at least as far as any region around it does, however the region was
chosen. The range of the density and the relief of the second peak give two levels, one that there be anything at all,
and one for each region.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array, csr_array, triu

from basins.chance.noise import noise_level
from basins.chance.persistence import MergeTree, extreme_quantile
from basins.space import Snapshot, gaussian
from stpp.compute.blas import one_blas_thread
from stpp.domain import Array
from stpp.partition import Partition

LEVEL = 0.05
"""Probability of a false basin in any of the windows looked at, if there is nothing to be found."""

THROWS = 100
"""Times that as many posts are thrown evenly into the box, to see what chance does."""


@dataclass(frozen=True, eq=False)
class ProminenceTest:
    """The density of a window over cells of any shape, and how high chance piles up posts.

    Parameters
    ----------
    partition : the cells
    totals : (cells,) weight per cell
    posts : effective number of posts at places of their own, (Σw)²/Σw² of the weights of the places
    kernel : (cells + pairs, cells) of the cells' centres, and of the middles of neighbouring cells
    one, other : (pairs,) the two neighbouring cells
    share : (cells,) share of each cell's posts that are more than noise
    anything : range of the root of the density that even posts pass with probability ``LEVEL`` in any of the windows
    region : the same for the relief of their second peak
    """

    partition: Partition
    totals: Array
    posts: float
    kernel: Array
    one: NDArray[np.int64]
    other: NDArray[np.int64]
    share: Array
    anything: float
    region: float

    @classmethod
    @one_blas_thread
    def of(cls, snapshot: Snapshot, volume: Array, windows: int, rng: np.random.Generator) -> ProminenceTest:
        """Of a window with posts.

        Parameters
        ----------
        snapshot : the window
        volume : (cells,) share of the box
        windows : that share the level
        """
        cells, posts = snapshot.space.partition, snapshot.places.effective
        one, other = (half.astype(np.int64) for half in triu(cells.neighbours).tocoo().coords)
        places = np.concatenate([cells.centres, (cells.centres[one] + cells.centres[other]) / 2])
        kernel = gaussian(places, cells.centres, snapshot.space.bandwidth)
        room = kernel @ volume
        share = more_than_noise(snapshot, kernel[: len(cells)] / room[: len(cells), None], volume, rng)
        kernel *= np.median(room) / room[:, None]  # so that cells of unequal size make no hills
        number = np.arange(len(cells), len(places))  # a pass lies between its two cells
        rows, columns = np.concatenate([one, other]), np.concatenate([number, number])
        links = coo_array((np.ones(len(rows)), (rows, columns)), shape=(len(places), len(places))).tocsr()
        links = csr_array(links + links.T)
        thrown = rng.multinomial(max(1, round(posts)), volume, size=THROWS)
        reached = np.zeros((THROWS, 2))
        for k, root in enumerate(np.sqrt(kernel @ thrown.T.astype(float)).T):
            persistence = MergeTree.of(np.ascontiguousarray(root), links).persistence
            reached[k] = persistence[0], persistence[1:].max(initial=0.0)
        anything, region = extreme_quantile(reached, LEVEL / windows).tolist()
        return cls(cells, snapshot.totals, posts, kernel, one, other, share, anything, region)

    def root(self, totals: Array) -> Array:
        """(cells + pairs,) root of the density, in posts, at the cells and half way between neighbours."""
        return np.asarray(np.sqrt(self.kernel @ (totals * (self.posts / float(totals.sum())))))

    @cached_property
    def ends(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Both cells of each pair, and the same the other way round."""
        return np.concatenate([self.one, self.other]), np.concatenate([self.other, self.one])

    @one_blas_thread
    def standing(self, labels: NDArray[np.int64], totals: Array) -> NDArray[np.int64]:
        """Regions that stand out further than chance, from parts that may not.

        The part of least relief, unless it stands out, joins the one across its highest pass.

        Parameters
        ----------
        labels : (cells,) part of each cell; −1 where there were no posts, which joins the nearest part
        totals : (cells,) weight per cell, some above 0

        Returns
        -------
        (cells,) regions, numbered by weight from the largest on; −1 everywhere if nothing stands out
        """
        root = self.root(totals)
        if not root.max() - root.min() > self.anything:
            return np.full(len(labels), -1)
        labels = nearest_part(labels, self.partition.centres)
        one, other = self.ends
        peak, passes = root[: len(labels)], np.minimum(root[one], root[other])
        passes = np.minimum(passes, np.tile(root[len(labels) :], 2))
        parts = np.unique(labels).tolist()
        while len(parts) > 1:
            relief, across = np.full(len(parts), math.inf), np.full(len(parts), -1)
            for k, part in enumerate(parts):
                out = np.flatnonzero((labels[one] == part) & (labels[other] != part))
                if len(out):  # a part that no pass leads out of stands out
                    way = out[np.argmax(passes[out])]
                    relief[k], across[k] = peak[labels == part].max() - passes[way], labels[other[way]]
            least = int(np.argmin(relief))
            if relief[least] > self.region:
                break
            labels = np.where(labels == parts[least], across[least], labels)
            del parts[least]
        return by_mass(labels, totals)


def more_than_noise(snapshot: Snapshot, smoothing: Array, volume: Array, rng: np.random.Generator) -> Array:
    """(cells,) share of the posts that lie above the density of the quietest part of the box.

    Parameters
    ----------
    snapshot : a window with posts
    smoothing : (cells, cells) kernel that posts are smoothed with, divided by the room under it
    volume : (cells,) share of the box
    """
    per_room = 1 / (float(snapshot.totals.sum()) * snapshot.space.partition.box.volume)

    def density(totals: Array) -> Array:
        return np.asarray(smoothing @ totals * per_room)

    level = noise_level(snapshot, density, volume, rng)
    seen = density(snapshot.totals)
    return np.divide(np.maximum(seen - level, 0.0), seen, out=np.zeros(len(seen)), where=seen > 0)


def by_mass(labels: NDArray[np.int64], mass: Array) -> NDArray[np.int64]:
    """(cells,) the same parts, numbered by mass from the largest on; −1 stays."""
    parts = np.unique(labels[labels >= 0])
    heaviest = parts[np.argsort([-mass[labels == part].sum() for part in parts], kind="stable")]
    out = np.full(len(labels), -1)
    for k, part in enumerate(heaviest):
        out[labels == part] = k
    return out


def nearest_part(labels: NDArray[np.int64], centres: Array) -> NDArray[np.int64]:
    """(cells,) labels, with that of the nearest labelled cell where there is none."""
    from sklearn.metrics import pairwise_distances_argmin

    known, unknown = np.flatnonzero(labels >= 0), np.flatnonzero(labels < 0)
    if not len(unknown) or not len(known):
        return labels
    out = labels.copy()
    out[unknown] = labels[known[pairwise_distances_argmin(centres[unknown], centres[known])]]
    return out
