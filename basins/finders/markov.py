"""What a walk over cells says about basins: conductance, time to leave, Markov stability, relaxation, PCCA+.

A basin is a set of cells that a walk, once inside, seldom leaves. Time is counted in steps of the walk. Markov
stability runs in continuous time, P(t) = e^{−t(I − P)}, so that any time > 0 can be asked for; after many steps the
two agree.

References
----------
.. [1] Delvenne, Yaliraki & Barahona (2010), Stability of graph communities across time scales, PNAS 107.
.. [2] Röblitz & Weber (2013), Fuzzy spectral clustering by PCCA+, Advances in Data Analysis and Classification 7.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.spatial import cKDTree

from basins.basin import Finder, Found, describe
from basins.chance.conductance import ConductanceTest, least_conductance
from basins.chance.prominence import ProminenceTest
from basins.space import Snapshot, Space, distinct_places
from basins.walks.chain import pcca_memberships
from basins.walks.graph import Walk, flow_walk, walk
from basins.walks.scan import Labels, scan_markov_times
from stpp.domain import MAX_GRID_DIMENSIONS, Array, Box
from stpp.events import Events, Window
from stpp.options import option
from stpp.partition import Partition

POSTS_PER_CELL, FEWEST_CELLS = 10, 50
"""Places of posts of a training window per cell, and the least number of cells."""

SMOOTHING = 1.4
"""Bandwidth, in distances between a cell and the nearest other one."""

ROBUST = 0.5
"""Nats of fragility up to which a scale counts as robust."""

MOST_SETS = 20
"""Most basins that PCCA+ is asked for: its search takes minutes for more."""


@dataclass(frozen=True, kw_only=True, eq=False)
class MarkovFinder(Finder):
    """Regions that a walk among the posts seldom leaves, and that stand out of their passes further than chance.

    Parameters
    ----------
    transitions : what the walk follows: ``graph``, from post to neighbouring post and from post to reply, or ``flow``,
        the transport of density from the first to the second half of the window, there and back
    neighbours : of each post, that the walk on the graph may step to
    landmarks : cells, at most; a tenth of the places of its posts in a training window if that is less
    times, seeds : Markov times, and runs of Louvain's algorithm at each
    basins : number of basins to look for, by PCCA+; None: the robust scale of the Markov times says how many
    volume : (cells,) share of the box, fixed by :meth:`fit`
    least : conductance of parts without structure, in more than 3 dimensions, fixed by :meth:`fit`
    """

    name: ClassVar[str] = "markov"
    summary_line: ClassVar[str] = "regions that a walk among neighbouring posts seldom leaves; any number of dimensions"

    transitions: Literal["graph", "flow"] = option(
        "graph", "walk among posts, or along flow", choices=("graph", "flow")
    )
    neighbours: int = 15
    landmarks: int = 1_000
    times: int = 20
    seeds: int = 4
    basins: int | None = option(None, "so many, if the data support them", least=1, metavar="K")
    volume: Array | None = None
    least: float | None = None

    def __post_init__(self) -> None:
        if self.basins is not None and not 1 <= self.basins <= MOST_SETS:
            raise ValueError(
                f"{self.basins} basins cannot be asked for: PCCA+ looks for at least 1 and at most {MOST_SETS}; "
                "leave the number out, and the robust scale decides"
            )

    def fit(self, events: Events, training: Sequence[Window], box: Box, rng: np.random.Generator) -> Self:
        """A copy with landmarks laid through the posts of the training windows, and the cells' mean distance.

        Raises
        ------
        ValueError
            if no post of the training windows lies in the box
        """
        whole = events.between(Window(training[0].start, training[-1].end)).inside(box)
        per_window = [len(distinct_places(whole.between(window).x, box)[0]) for window in training]
        n = int(np.clip(np.median(per_window) / POSTS_PER_CELL, FEWEST_CELLS, self.landmarks))
        partition = Partition.around_landmarks(whole.x[distinct_places(whole.x, box)[0]], n, box, rng)
        space = Space(partition, SMOOTHING * _spacing(partition, whole.x))
        least = None
        if box.d > MAX_GRID_DIMENSIONS:
            least = least_conductance(box, max(2, int(np.median(per_window))), n, self.neighbours, rng)
        return replace(self, space=space, volume=partition.volumes(rng), least=least)

    def look(self, snapshot: Snapshot, rng: np.random.Generator) -> Found:
        """The parts of the walk at its most robust scale, less those that stand out of their passes by chance.

        A basin exists in a replicate if one of the replicate's basins (the parts that another seed found, judged by
        the replicate's posts) shares more than half of their joint mass with it.
        """
        if not (self.fixed and snapshot.totals.any()):
            return Found(())
        assert self.volume is not None  # fixed with the space
        around = self._walk(snapshot)
        if not around.visited.any():
            return Found((), "half of the window has no posts, so nothing can be said about flow")
        judge: ProminenceTest | ConductanceTest
        if self.least is None:
            judge = ProminenceTest.of(snapshot, self.volume, self.windows, rng)
        else:
            judge = ConductanceTest.of(snapshot, around, self.volume, self.least, rng)
        candidates = self._candidates(around, judge, rng)
        labels = judge.standing(candidates[0], snapshot.totals)
        count = int(labels.max()) + 1
        remark = ""
        if self.basins is not None and count < self.basins:
            remark = f"asked for {self.basins} basins, the posts support {count}"
        if not count:
            return Found((), remark or "no region stands out of its surroundings further than uniform posts would")
        memberships = (labels == np.arange(count)[:, None]) * judge.share
        found_again = np.zeros(count)
        for k in range(self.replicates):
            totals = snapshot.replicate(rng)
            if totals.any():
                again = judge.standing(candidates[k % len(candidates)], totals)
                found_again += _overlap(labels, again, snapshot.totals * judge.share)
        return Found(describe(snapshot, memberships, found_again / max(1, self.replicates)), remark)

    def _walk(self, snapshot: Snapshot) -> Walk:
        if self.transitions == "graph":
            return walk(snapshot, neighbours=self.neighbours)
        window = snapshot.window
        middle = (window.start + window.end) / 2
        parts = (snapshot.part(Window(window.start, middle)), snapshot.part(Window(middle, window.end)))
        flows = flow_walk(*parts).flows
        return Walk.of_flows(csr_array(flows + flows.T))

    def _candidates(
        self, around: Walk, judge: ProminenceTest | ConductanceTest, rng: np.random.Generator
    ) -> NDArray[np.int64]:
        """(seeds, cells) partitions: PCCA+ if a number is asked for, else those of the most telling robust scale.

        That is the one with the most parts that stand out; among several such, the least fragile.
        """
        if self.basins is not None:
            soft = pcca_memberships(around, self.basins)
            return np.where(around.visited, soft.argmax(axis=0), -1)[None]
        scan = scan_markov_times(around, self.times, self.seeds, rng)
        robust = np.flatnonzero(scan.fragility <= max(ROBUST, float(scan.fragility.min())))
        counts = np.array([judge.standing(scan.labels[k, 0], judge.totals).max() + 1 for k in robust])
        best = robust[counts == counts.max()]
        return np.asarray(scan.labels[best[np.argmin(scan.fragility[best])]])


def _spacing(partition: Partition, x: Array) -> float:
    """Distance from a cell to the nearest other one, the median over posts: cells count as their posts do."""
    if len(partition) < 2:
        return float(partition.box.widths.max())
    nearest = np.asarray(cKDTree(partition.centres).query(partition.centres, 2)[0])[:, 1]
    return float(np.median(nearest[partition.index(x)]))


def _overlap(labels: Labels, again: Labels, mass: Array) -> NDArray[np.bool_]:
    """(B,) which regions share more than half of their joint mass with one of another set of regions."""
    one = (labels == np.arange(labels.max() + 1)[:, None]) * mass
    other = again == np.arange(again.max() + 1)[:, None]
    common = one @ other.T.astype(float)
    joint = one.sum(axis=1)[:, None] + (other * mass).sum(axis=1) - common
    return np.asarray((common > 0.5 * joint).any(axis=1))
