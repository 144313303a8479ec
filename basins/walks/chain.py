"""A Markov chain over microstates: conductance, passage times, stability, spectrum, PCCA+."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array, diags_array, eye_array
from scipy.sparse.linalg import eigs, eigsh, spsolve
from scipy.stats import poisson

from basins.walks.graph import Walk, checked_transition
from stpp.compute.blas import one_blas_thread
from stpp.domain import Array

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
