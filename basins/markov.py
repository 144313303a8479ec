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

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array, diags_array, eye_array
from scipy.sparse.linalg import eigs, eigsh, spsolve
from scipy.spatial import cKDTree
from scipy.stats import poisson

from basins.basin import Finder, Found, describe
from basins.conductance import ConductanceTest, least_conductance
from basins.graph import Walk, checked_transition, flow_walk, walk
from basins.prominence import ProminenceTest
from basins.scan import Labels, scan_markov_times
from basins.space import Snapshot, Space, distinct_places
from stpp.blas import one_blas_thread
from stpp.domain import MAX_GRID_DIMENSIONS, Array, Box
from stpp.events import Events, Window
from stpp.partition import Partition

POSTS_PER_CELL, FEWEST_CELLS = 10, 50
"""Places of posts of a training window per cell, and the least number of cells."""

SMOOTHING = 1.4
"""Bandwidth, in distances between a cell and the nearest other one."""

ROBUST = 0.5
"""Nats of fragility up to which a scale counts as robust."""

MOST_SETS = 20
"""Most basins that PCCA+ is asked for: its search takes minutes for more."""

SMALL = 100
"""States up to which all eigenvalues are computed."""


def conductance(walk: Walk, membership: ArrayLike) -> float:
    """Probability that a step leaves a region, given that it starts on the smaller side of its border.

    Σ_ij m_i π_i P_ij (1 − m_j) / min(Σ_i m_i π_i, Σ_i (1 − m_i) π_i); for a set of cells of a reversible walk this is
    the conductance of a weighted graph. 0 is never left; for soft memberships, whose posts are partly the region's and
    partly not, even staying counts partly as leaving.

    Parameters
    ----------
    walk : the walk
    membership : (cells,) in [0, 1]

    Returns
    -------
    Conductance in [0, 1]; NaN where the region, or the rest, has no share of the walk
    """
    m = np.asarray(membership, dtype=float)
    inside = float(m @ walk.stationary)
    smaller = min(inside, float((1 - m) @ walk.stationary))
    if not smaller > 0:
        return math.nan
    return float((m * walk.stationary) @ (walk.transition @ (1 - m))) / smaller


def mean_first_passage_time(transition: csr_array[Any] | Array, states: ArrayLike) -> Array:
    """Mean first-passage time out of a set of states.

    Solves (I − P_BB) τ = 1 on the set B.

    Parameters
    ----------
    transition : (n, n) sparse array, row-stochastic, per Markov step
    states : (k,) int array, the set B

    Returns
    -------
    (k,) expected steps to leave B from each state; inf where the walk may stay in B for ever

    Raises
    ------
    ValueError
        if rows do not sum to 1 (the worst row and its sum are named)
    """
    matrix, inside = checked_transition(transition), np.asarray(states, dtype=np.int64)
    block = csr_array(matrix[inside][:, inside])
    block.eliminate_zeros()
    outside = np.setdiff1d(np.arange(matrix.shape[0]), inside)
    leaks = np.asarray(matrix[inside][:, outside].sum(axis=1)).ravel() > 0
    trapped = ~_can_reach(block, np.asarray(leaks))
    finite = np.flatnonzero(~_can_reach(block, trapped))
    out = np.full(len(inside), math.inf)
    if len(finite):
        system = eye_array(len(finite), format="csc") - block[finite][:, finite].tocsc()
        out[finite] = spsolve(system.tocsc(), np.ones(len(finite)))
    return out


def _can_reach(links: csr_array[Any], goal: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(n,) from where a goal can be reached along the links; the goals themselves among them."""
    reached = goal.copy()
    back = links.T.astype(bool).tocsr()
    frontier: NDArray[np.intp] = np.flatnonzero(goal)
    while len(frontier):
        found = np.unique(back[frontier].indices)
        frontier = found[~reached[found]].astype(np.intp)
        reached[frontier] = True
    return reached


def markov_stability(walk: Walk, memberships: ArrayLike, time: float) -> Array:
    """What each basin adds to the Markov stability of a partition: [Hᵀ (Π P(t) − ππᵀ) H]_bb [1]_.

    The chance to find the walk in the basin now and ``time`` steps later, less what two unrelated moments would give.

    Parameters
    ----------
    walk : the walk
    memberships : (B, cells) H transposed, in [0, 1]
    time : Markov time t ≥ 0, in steps on average; P(t) = e^{−t(I − P)}

    Returns
    -------
    (B,) stability; their sum is that of the partition
    """
    if not (math.isfinite(time) and time >= 0):
        raise ValueError(f"a Markov time is finite and ≥ 0; got {time:g}")
    h = np.atleast_2d(np.asarray(memberships, dtype=float)).T
    steps, later, ahead = np.arange(int(time + 10 * math.sqrt(time) + 20)), np.zeros(h.shape), h
    for chance in poisson.pmf(steps, time):  # e^{−t(I − P)} = Σ_k Poisson(k; t) Pᵏ
        later += chance * ahead
        ahead = walk.transition @ ahead
    return np.asarray((h * walk.stationary[:, None] * later).sum(axis=0) - (walk.stationary @ h) ** 2)


def eigenvalues(walk: Walk, k: int) -> NDArray[np.complex128]:
    """The ``k`` eigenvalues of P on the cells that the walk visits, largest modulus first; fewer if there are fewer."""
    cells = np.flatnonzero(walk.visited)
    matrix = walk.transition[cells][:, cells]
    if not len(cells):
        return np.zeros(0, dtype=complex)
    if walk.reversible:
        root = np.sqrt(walk.stationary[cells])
        matrix = diags_array(root) @ matrix @ diags_array(1 / root)
    if len(cells) <= max(SMALL, k + 2):
        values = np.linalg.eigvals(matrix.toarray())
    elif walk.reversible:
        start = np.random.default_rng(0).random(len(cells))  # a fixed start: same walk, same digits
        values = eigsh(matrix, k=k, which="LM", v0=start, return_eigenvectors=False)
    else:
        start = np.random.default_rng(0).random(len(cells))
        values = eigs(matrix, k=k, which="LM", v0=start, return_eigenvectors=False)
    values = np.asarray(values, dtype=complex)
    return np.asarray(values[np.argsort(-np.abs(values), kind="stable")][:k])


def spectral_gap(walk: Walk) -> float:
    """1 − |μ₂|: how fast the walk forgets where it was; 0 where a part cannot be left, NaN where nothing moves."""
    values = eigenvalues(walk, 2)
    return float(max(0.0, 1 - abs(values[1]))) if len(values) > 1 else math.nan


@one_blas_thread
def pcca_memberships(walk: Walk, k: int) -> Array:
    """Soft memberships of ``k`` metastable sets by PCCA+ [2]_ (deeptime), which work on one BLAS thread.

    Returns
    -------
    (sets, cells) in [0, 1], summing to 1 in each cell that the walk visits and 0 elsewhere. Sets that are no cell's
    first choice are left out and what is theirs goes to the others: the spectrum supports fewer than asked

    Raises
    ------
    ValueError
        if the walk is not reversible
    """
    if not walk.reversible:
        raise ValueError("PCCA+ needs a reversible walk; that of a flow is not: take the walk of a neighbour graph")
    cells = np.flatnonzero(walk.visited)
    slow = int((eigenvalues(walk, k).real[1:] > 1 / math.e).sum())  # what is over within a step holds nothing
    out = np.zeros((1 + min(k - 1, slow), len(cells)))
    matrix, pi = walk.transition[cells][:, cells].toarray(), walk.stationary[cells]
    if len(out) == 1:
        out[:] = 1.0
    else:
        try:
            from deeptime.markov import pcca
        except ImportError as error:
            raise ValueError("a number of basins needs the package deeptime: leave --basins out") from error

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it warns of splits that it makes none the worse
            try:
                out = np.clip(np.asarray(pcca(matrix, len(out), pi).memberships).T, 0.0, 1.0)
            except (ValueError, AssertionError, np.linalg.LinAlgError):  # no simplex in the eigenvectors
                return pcca_memberships(walk, len(out) - 1)
    chosen = np.bincount(out.argmax(axis=0), minlength=len(out)) > 0
    full = np.zeros((int(chosen.sum()), len(walk.stationary)))
    full[:, cells] = out[chosen] / out[chosen].sum(axis=0)
    return full


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

    transitions: Literal["graph", "flow"] = "graph"
    neighbours: int = 15
    landmarks: int = 1_000
    times: int = 20
    seeds: int = 4
    basins: int | None = None
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

    def find(self, snapshot: Snapshot, rng: np.random.Generator) -> Found:
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
