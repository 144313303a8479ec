"""A random walk over cells: from the nearest neighbours among posts, or from where the mass goes between two windows.

A reader moves from post to post: the nearer two posts are in place and time, and the more both weigh, the likelier the
step. The walk is coarse-grained to the cells at once, so that no array of posts × posts ever exists.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array, csr_array, diags_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree
from threadpoolctl import threadpool_limits

from basins.space import Snapshot
from stpp.domain import Array
from stpp.partition import Partition

TREE_DIMENSIONS = 8
"""Up to here a k-d tree finds neighbours faster than matrix products do."""

LISTS = 1_000
"""Lists of posts, at most, that the search for neighbours goes by in more dimensions."""

CANDIDATES = 30_000
"""Posts, at least, of the nearest lists that are searched for the neighbours of those of one list."""

SCALE_FLOOR = 0.1
"""Smallest spatial scale of a post, of the median one: identical texts have neighbours at distance 0."""

MAX_FLOW_CELLS = 2_000
"""Most cells that mass is transported between: the plan is a dense matrix."""

NEGLIGIBLE = 1e-100
"""Share of the busiest cell's flow below which a cell counts as empty."""

FLOW_ITERATIONS = 200
"""Of Sinkhorn's algorithm, at most: rows are divided by their sums anyway, so that the plan need not be exact."""


@dataclass(frozen=True, eq=False)
class Walk:
    """A random walk over cells.

    Parameters
    ----------
    transition : (cells, cells) row-stochastic, per step; a cell without posts keeps whoever is there
    stationary : (cells,) share of time spent in each cell, summing to 1; 0 in cells without posts
    reversible : whether detailed balance holds, π_i P_ij = π_j P_ji
    """

    transition: csr_array[Any]
    stationary: Array
    reversible: bool

    @classmethod
    def of_flows(cls, flows: csr_array[Any]) -> Walk:
        """The reversible walk whose stationary flows π_i P_ij are proportional to a symmetric matrix ≥ 0.

        Raises
        ------
        ValueError
            if the matrix is not symmetric
        """
        difference = abs(flows - flows.T)
        if difference.nnz and difference.max() > 1e-9 * flows.max():
            raise ValueError("flows of a reversible walk must be symmetric: add the transpose")
        strength = np.asarray(flows.sum(axis=1), dtype=float).ravel()
        seldom = strength < NEGLIGIBLE * strength.max(initial=0.0)
        if seldom.any():  # posts that a short half-life has all but wiped out: nobody is ever there
            keep = diags_array((~seldom).astype(float))
            flows = csr_array(keep @ flows @ keep)
            strength = np.asarray(flows.sum(axis=1), dtype=float).ravel()
        total = float(strength.sum())
        return cls(_stochastic(flows), strength / total if total > 0 else strength, True)

    @classmethod
    def of_transition(cls, transition: csr_array[Any] | Array) -> Walk:
        """The walk of a row-stochastic matrix, with its stationary distribution.

        Where the matrix has several closed sets of states, each is as likely as it is large; states that are left
        for good have no share.

        Raises
        ------
        ValueError
            if a row does not sum to 1 (the worst one and its sum are named)
        """
        matrix = checked_transition(transition)
        stationary = _stationary(matrix)
        flows = diags_array(stationary) @ matrix
        difference = abs(flows - flows.T)
        return cls(matrix, stationary, not difference.nnz or float(difference.max()) < 1e-10)

    @cached_property
    def visited(self) -> NDArray[np.bool_]:
        """(cells,) where the walk spends any time."""
        return self.stationary > 0

    @cached_property
    def flows(self) -> csr_array[Any]:
        """(cells, cells) share of all steps that go from one cell to another, π_i P_ij."""
        return csr_array(diags_array(self.stationary) @ self.transition)

    def within(self, cells: NDArray[np.bool_]) -> Walk:
        """The same walk that does not leave some of the cells: flows among them only, all others empty.

        Raises
        ------
        ValueError
            if the walk is not reversible: then the stationary distribution would change
        """
        if not self.reversible:
            raise ValueError("only a reversible walk can be restricted to some of its cells")
        keep = diags_array(cells.astype(float))
        return Walk.of_flows(csr_array(keep @ self.flows @ keep))


def checked_transition(transition: csr_array[Any] | Array) -> csr_array[Any]:
    """The matrix in sparse form.

    Raises
    ------
    ValueError
        if it is not square, has negative entries, or a row does not sum to 1 (the worst one and its sum are named)
    """
    matrix = csr_array(transition)
    if matrix.shape[0] != matrix.shape[1]:
        raise ValueError(f"a transition matrix is square; got {matrix.shape[0]} × {matrix.shape[1]}")
    sums = np.asarray(matrix.sum(axis=1)).ravel()
    if matrix.nnz and float(matrix.data.min()) < 0:
        raise ValueError(f"a transition matrix has no negative entries; the least is {matrix.data.min():g}")
    worst = int(np.argmax(np.abs(sums - 1))) if len(sums) else 0
    if len(sums) and not abs(sums[worst] - 1) < 1e-8:
        raise ValueError(f"rows of a transition matrix must sum to 1; row {worst} sums to {sums[worst]:g}")
    return matrix


def walk(snapshot: Snapshot, *, neighbours: int = 15) -> Walk:
    """The reversible walk over the cells along the neighbourhoods of a snapshot's posts.

    Copies of a post at one place count as one post of their whole weight, at their mean time: else they would be each
    other's neighbours, and nobody's else. Posts i and j, one among the nearest neighbours of the other, are joined with

        exp(−|x_i − x_j|²/(2 s_i s_j)) · exp(−|t_i − t_j|/T) · √(w_i w_j),

    counted twice where both are. s is the distance to a post's furthest neighbour (self-tuning, Zelnik-Manor & Perona
    2004 [1]_), so that thin and dense regions are joined alike, and T the length of the window. A reply is joined to
    the post that it answers as if both were at one place. Steps from post to post are ∝ these weights; the walk over
    the cells is their average at stationarity.

    Parameters
    ----------
    snapshot : posts with their weights at the window's end
    neighbours : of each post, ≥ 1; where there are fewer posts, all of them

    Returns
    -------
    Walk over the cells of the snapshot's space; stationary 0 everywhere if no post has weight

    References
    ----------
    .. [1] Zelnik-Manor & Perona (2004), Self-tuning spectral clustering, NIPS.
    """
    if neighbours < 1:
        raise ValueError(f"a walk needs at least 1 neighbour of each post; got {neighbours}")
    posts, cells, places, days = snapshot.posts, snapshot.space.partition, snapshot.places, snapshot.window.duration
    flows = csr_array((len(cells), len(cells)))
    heard = np.flatnonzero((places.weight > 0) & (places.cell >= 0))
    if len(heard) > 1:
        index, distance = nearest_neighbours(places.x[heard], min(neighbours, len(heard) - 1))
        one, other = np.repeat(heard, index.shape[1]), heard[index.ravel()]
        scale = _scales(distance)
        near = np.exp(-(distance**2) / (2 * scale[:, None] * scale[index])).ravel()
        total = np.bincount(places.of_post, posts.weight * posts.t, len(places))
        t = np.divide(total, places.weight, out=np.zeros(len(places)), where=places.weight > 0)
        flows = flows + _between(cells, places.cell, one, other, near, t, places.weight, days)
    if posts.parent is not None:
        counts = np.append((posts.weight > 0) & (snapshot.cell >= 0), False)  # the last slot answers for parent −1
        reply = np.flatnonzero(counts[:-1] & counts[posts.parent])
        joined = (reply, posts.parent[reply], np.ones(len(reply)))
        flows = flows + _between(cells, snapshot.cell, *joined, posts.t, posts.weight, days)
    alone = snapshot.totals * (np.asarray(flows.sum(axis=1)).ravel() == 0)  # posts that nothing is joined to stay
    return Walk.of_flows(csr_array(flows + flows.T + diags_array(alone)))


def _scales(distance: Array) -> Array:
    """(n,) spatial scale of each post: distance to its furthest neighbour, but not much below the common one."""
    furthest = distance[:, -1]
    positive = furthest[furthest > 0]
    floor = SCALE_FLOOR * float(np.median(positive)) if len(positive) else 1.0
    return np.maximum(furthest, floor)


def _between(
    cells: Partition,
    cell: NDArray[np.int64],
    one: NDArray[np.int64],
    other: NDArray[np.int64],
    kernel: Array,
    t: Array,
    weight: Array,
    duration: float,
) -> csr_array[Any]:
    """(cells, cells) sum of the weights of edges between posts (or places) ``one`` and ``other``."""
    weight = kernel * np.exp(-np.abs(t[one] - t[other]) / duration) * np.sqrt(weight[one] * weight[other])
    return csr_array(coo_array((weight, (cell[one], cell[other])), shape=(len(cells), len(cells))))


def nearest_neighbours(x: Array, k: int) -> tuple[NDArray[np.int64], Array]:
    """The k nearest other places of each place, the nearest first.

    Exact in up to ``TREE_DIMENSIONS`` dimensions and for up to ``CANDIDATES`` places. Else inverted lists: each place
    belongs to the nearest of ``LISTS`` places, and the lists nearest to its own are searched until they hold
    ``CANDIDATES`` places. Of the neighbours of 10⁵ places in 16 dimensions, 96 % are found where the places lie in
    blobs, and 91 % where they lie evenly.

    Parameters
    ----------
    x : (n, d)
    k : 1 ≤ k < n

    Returns
    -------
    (n, k) rows, and (n, k) distances
    """
    if x.shape[1] <= TREE_DIMENSIONS:
        distance, index = cKDTree(x).query(x, k + 1, workers=-1)
        return _without_self(np.asarray(index, dtype=np.int64), np.asarray(distance), np.arange(len(x)))
    from sklearn.neighbors import NearestNeighbors

    index, distance = np.empty((len(x), k), dtype=np.int64), np.empty((len(x), k))
    with threadpool_limits(limits=1):  # BLAS and OpenMP: two threads cost 4 times as much on these small products
        for rows, candidates in _inverted_lists(x, max(CANDIDATES, k + 1)):
            search = NearestNeighbors(n_neighbors=k + 1, algorithm="brute").fit(x[candidates])
            apart, found = search.kneighbors(x[rows])
            index[rows], distance[rows] = _without_self(candidates[found], apart, rows)
    return index, distance


def _inverted_lists(x: Array, enough: int) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Rows of the places of a list, and rows of the places among which their neighbours are looked for."""
    from sklearn.metrics import pairwise_distances_argmin

    every = np.arange(len(x))
    if len(x) <= enough:
        yield every, every
        return
    centres = x[:: -(-len(x) // LISTS)]
    member = pairwise_distances_argmin(x, centres)
    order, sizes = np.argsort(member, kind="stable"), np.bincount(member, minlength=len(centres))
    lists = np.split(order, np.cumsum(sizes)[:-1])
    for k in np.flatnonzero(sizes):
        near = np.argsort(((centres - centres[k]) ** 2).sum(axis=1), kind="stable")
        last = int(np.searchsorted(np.cumsum(sizes[near]), enough)) + 1
        yield lists[k], np.concatenate([lists[c] for c in near[:last]])


def _without_self(
    index: NDArray[np.int64], distance: Array, rows: NDArray[np.int64]
) -> tuple[NDArray[np.int64], Array]:
    """K of k + 1 neighbours: not the place itself, or (where k + 1 others are at the same place) not the last one."""
    own = index == rows[:, None]
    own[~own.any(axis=1), -1] = True
    shape = (len(rows), index.shape[1] - 1)
    return index[~own].reshape(shape).astype(np.int64), distance[~own].reshape(shape)


def flow_walk(before: Snapshot, after: Snapshot, *, blur: float = 2.0) -> Walk:
    """The walk of the mass from one window to the next: entropic optimal transport between the cells' shares.

    One step is one window. Mass goes where it costs least, squared distance, blurred by an entropy of ε = 2 (blur ·
    bandwidth)². The shares of both windows are given in full, growth is not told from motion: the walk says where the
    posts of the next window would come from if nobody came or left. Not reversible.

    Parameters
    ----------
    before, after : two windows seen in one space, in this order
    blur : standard deviation of the blur of the plan, in bandwidths, > 0

    Raises
    ------
    ValueError
        if the space has more than ``MAX_FLOW_CELLS`` cells, or the two are not seen in one space

    Returns
    -------
    Walk; a cell without posts before keeps whoever is there. Stationary 0 everywhere if a window is empty
    """
    cells = before.space.partition
    if before.space is not after.space:
        raise ValueError("the flow between two windows needs both seen in one space")
    if len(cells) > MAX_FLOW_CELLS:
        raise ValueError(f"a flow between {len(cells)} cells is too large: at most {MAX_FLOW_CELLS}; use fewer cells")
    a, b = before.totals, after.totals
    source, target = np.flatnonzero(a > 0), np.flatnonzero(b > 0)
    if not (len(source) and len(target)):
        return Walk(_stochastic(csr_array((len(cells), len(cells)))), np.zeros(len(cells)), False)
    import ot  # POT

    apart = cells.centres[source, None] - cells.centres[target]
    epsilon = 2 * (blur * before.space.bandwidth) ** 2
    plan = ot.bregman.sinkhorn_log(
        a[source] / a.sum(),
        b[target] / b.sum(),
        (apart**2).sum(axis=2),
        epsilon,
        numItermax=FLOW_ITERATIONS,
        stopThr=1e-6,
        warn=False,
    )
    rows, columns = np.repeat(source, len(target)), np.tile(target, len(source))
    flows = csr_array(coo_array((np.asarray(plan).ravel(), (rows, columns)), shape=(len(cells), len(cells))))
    transition = _stochastic(flows)
    stationary = _stationary(transition)
    return Walk(transition, stationary * (a + b > 0) / float(stationary[a + b > 0].sum()), False)


def _stochastic(flows: csr_array[Any]) -> csr_array[Any]:
    """Rows divided by their sums; a row without any stays where it is."""
    sums = np.asarray(flows.sum(axis=1)).ravel()
    inverse = np.divide(1.0, sums, out=np.zeros(len(sums)), where=sums > 0)
    return csr_array(diags_array(inverse) @ flows + diags_array((sums == 0).astype(float)))


def _stationary(transition: csr_array[Any]) -> Array:
    """(n,) stationary distribution, by a direct solution in each closed set of states."""
    count, member = connected_components(transition, directed=True, connection="strong")
    link = transition.tocoo()
    out = np.zeros(transition.shape[0])
    open_sets = np.unique(member[link.row[(member[link.row] != member[link.col]) & (link.data > 0)]])
    for group in np.setdiff1d(np.arange(count), open_sets):
        states = np.flatnonzero(member == group)
        block = transition[states][:, states].toarray() if len(states) > 1 else np.ones((1, 1))
        system = block.T - np.eye(len(states))
        system[-1] = 1.0  # one equation is redundant; the shares sum to 1
        right = np.zeros(len(states))
        right[-1] = 1.0
        out[states] = np.linalg.solve(system, right) * len(states) / transition.shape[0]
    total = float(out.sum())
    return out / total if total > 0 and math.isfinite(total) else out
