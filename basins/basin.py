"""What a basin is, and what follows from its region: centre, mass, peak, saddle and top members."""

from __future__ import annotations

import heapq
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.sparse import csr_array

from basins.space import Snapshot, Space
from stpp.domain import Array, Box
from stpp.events import Events, Window

if TYPE_CHECKING:
    from stpp.influence.regions import Influence

TOP_MEMBERS = 10
"""Posts, at most, kept as the most typical ones of a basin."""


@dataclass(frozen=True, eq=False, repr=False)
class Basin:
    """A region that holds posts in one window.

    Parameters
    ----------
    id : its number in the window, 0 = the one of most mass
    window : the window
    membership : (cells,) share of each cell's posts that are the basin's, in [0, 1]; memberships of the basins of one
        window sum to at most 1 in each cell, and the rest is noise
    centre : (d,) mean place of its posts, map units
    mass : weight of its posts, Σ weight · membership
    share : of the window's whole weight
    posts : number of posts that are more its own than anything else's (membership ≥ ½)
    peak : highest density in its region, share of posts per unit volume
    saddle : density on the highest way out of the region (0 where there is none: no other basin and no noise)
    probability : of existence: share of bootstrap replicates in which it is found again
    members : rows (of all events) of the posts nearest to its peak, the nearest first; one of each place

    Examples
    --------
    >>> import basins
    >>> largest = basins.find("data/planted.parquet", window="20d", B=0).found[0].basins[0]
    >>> 0 < largest.share < 1
    True
    """

    id: int
    window: Window
    membership: Array
    centre: Array
    mass: float
    share: float
    posts: int
    peak: float
    saddle: float
    probability: float
    members: tuple[int, ...]

    def __repr__(self) -> str:
        place = ", ".join(f"{v:.3g}" for v in self.centre)
        return f"<Basin {self.id} at ({place}): {100 * self.share:.1f} % of the posts>"

    @cached_property
    def region(self) -> NDArray[np.bool_]:
        """(cells,) where most posts are the basin's."""
        return self.membership >= 0.5


@dataclass(frozen=True)
class Found:
    """What a finder found in one window.

    Parameters
    ----------
    basins : in order of mass, the largest first
    remark : what a reader should know, such as that fewer basins are supported than asked for

    Examples
    --------
    >>> len(Found(()).basins)
    0
    """

    basins: tuple[Basin, ...]
    remark: str = ""


@dataclass(frozen=True, kw_only=True, eq=False)
class Finder(ABC):
    """A way to find basins. A frozen dataclass: its fields are its options and, once fitted, its space.

    Parameters
    ----------
    replicates : bootstrap replicates behind the probability of existence
    windows : in how many windows basins will be looked for: the level of a test is shared among them
    space : fixed by :meth:`fit`

    Examples
    --------
    >>> from basins import make_finder
    >>> make_finder("markov", d=2, options={"basins": 3}).basins
    3
    """

    name: ClassVar[str]
    summary_line: ClassVar[str]
    replicated: ClassVar[bool] = False
    """Whether its basins are made of its replicates, so that without them it finds none."""

    replicates: int = 30
    windows: int = 1
    space: Space | None = None

    @abstractmethod
    def fit(self, events: Events, training: Sequence[Window], box: Box, rng: np.random.Generator) -> Self:
        """A copy with its space, and whatever else it learns, fixed on the training windows; nothing later is used.

        Parameters
        ----------
        events : all of them; those from the end of the last training window on are not looked at
        training : windows in time order, of the length in which basins will be looked for
        box : the domain
        """

    @abstractmethod
    def look(self, snapshot: Snapshot, rng: np.random.Generator) -> Found:
        """The basins of a window seen in this finder's space, by posts that are independent witnesses.

        None in a window without posts.
        """

    def find(self, snapshot: Snapshot, rng: np.random.Generator) -> Found:
        """The basins of a window: where they are by its witnesses, what they hold by all of its posts.

        Copies of a post weigh as posts in mass, and neither make a hill nor raise the bar for others.
        """
        found = self.look(snapshot.witnessed, rng)
        if snapshot.witnessed is snapshot or not found.basins:
            return found
        memberships = np.array([basin.membership for basin in found.basins])
        probability = np.array([basin.probability for basin in found.basins])
        return replace(found, basins=describe(snapshot, memberships, probability))

    def quick(self) -> Self:
        """The same finder for where basins are: without replicates, which say how probable they are, if it can."""
        return self if self.replicated else replace(self, replicates=0)

    def influences(self, snapshot: Snapshot, basins: Sequence[Basin]) -> Influence | None:
        """Which of the basins excite which, for a finder that looks for it."""
        return None

    @property
    def fixed(self) -> Space:
        """The space, once it is fixed."""
        if self.space is None:
            raise ValueError(f"{self.name} has no space yet: fit it to training windows")
        return self.space


def describe(snapshot: Snapshot, memberships: Array, probability: Array) -> tuple[Basin, ...]:
    """The basins of a window from their memberships, in order of mass. Those without mass are left out.

    Parameters
    ----------
    snapshot : the window
    memberships : (B, cells) in [0, 1], summing to at most 1 in each cell
    probability : (B,) of existence
    """
    posts, density, neighbours = snapshot.posts, snapshot.density, snapshot.space.partition.neighbours
    total = float(snapshot.totals.sum())
    mass = memberships @ snapshot.totals
    inside = np.flatnonzero(snapshot.cell >= 0)
    basins: list[Basin] = []
    for b in np.argsort(-mass, kind="stable"):
        own = memberships[b][snapshot.cell[inside]] * posts.weight[inside]
        if not mass[b] > 0:
            continue
        centre = own @ posts.x[inside] / own.sum()
        core = inside[memberships[b][snapshot.cell[inside]] >= 0.5]
        region = memberships[b] >= 0.5
        basins.append(
            Basin(
                id=len(basins),
                window=snapshot.window,
                membership=memberships[b],
                centre=centre,
                mass=float(mass[b]),
                share=float(mass[b]) / total,
                posts=len(core),
                peak=float(density[region].max(initial=0.0)),
                saddle=highest_way_out(density, region, neighbours),
                probability=float(probability[b]),
                members=_nearest_to_peak(snapshot, core, region),
            )
        )
    return tuple(basins)


def _nearest_to_peak(snapshot: Snapshot, core: NDArray[np.int64], region: NDArray[np.bool_]) -> tuple[int, ...]:
    """Rows (of all events) of the posts nearest to the densest cell of a region, one of each place.

    The mean place of a region that is no ball can lie where hardly any post does. Of posts at one place, and among
    places equally near, the one of most weight comes first.

    Parameters
    ----------
    core : posts of the snapshot to choose from
    """
    if not len(core):
        return ()
    peak = snapshot.space.partition.centres[np.argmax(np.where(region, snapshot.density, -np.inf))]
    apart = ((snapshot.posts.x[core] - peak) ** 2).sum(axis=1)
    order = core[np.lexsort((snapshot.rows[core], -snapshot.posts.weight[core], apart))]
    first_at_place = np.unique(snapshot.places.of_post[order], return_index=True)[1]
    return tuple(snapshot.rows[order[np.sort(first_at_place)[:TOP_MEMBERS]]].tolist())


def highest_way_out(density: Array, region: NDArray[np.bool_], neighbours: csr_array[Any]) -> float:
    """The density at the pass of the easiest way out of a region: the minimax path of −log density from its peak.

    A way out is a path of cells from the region's densest cell to any cell outside it. Its pass is its least dense
    cell; the easiest way is the one whose pass is densest. 0 where no cell outside can be reached.
    """
    if not region.any() or region.all():
        return 0.0
    start = int(np.flatnonzero(region)[np.argmax(density[region])])
    return float(_pass(density, region, start, neighbours.indptr, neighbours.indices))


@njit(cache=True, nogil=True)
def _pass(density: Array, region: NDArray[np.bool_], start: int, indptr: NDArray[Any], indices: NDArray[Any]) -> float:
    heap, seen = [(-density[start], start)], np.zeros(len(density), dtype=np.bool_)
    seen[start] = True
    while len(heap):
        level, cell = heapq.heappop(heap)
        if not region[cell]:
            return float(-level)
        for j in range(indptr[cell], indptr[cell + 1]):
            k = indices[j]
            if not seen[k]:
                seen[k] = True
                heapq.heappush(heap, (max(level, -density[k]), k))
    return 0.0
