"""Which region excites or inhibits which: unconstrained least squares with intervals that hold for all pairs at once.

A linear Hawkes process fitted with weights ≥ 0 can show no inhibition, and its intervals end at 0. The least-squares
contrast ∫ λ_r² dt − 2 Σ_i λ_r(t_i) needs no sign [1]_, [2]_: it is quadratic, so that the estimate is one linear
solve, and its error is a martingale whose variance is seen in the posts themselves (a sandwich, right whatever the
noise). The background may change over the window and with the hours of the day and the days of the week, so that
regions that merely wake up together are not taken to excite each other.

References
----------
.. [1] Reynaud-Bouret & Schbath (2010), Adaptive estimation for Hawkes processes, Annals of Statistics 38.
.. [2] Bacry, Gaïffas & Muzy (2015), A generalization error bound for sparse and low-rank multivariate Hawkes
   processes, eq. 6.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.stats import t as student

from stpp.compute.blas import one_blas_thread
from stpp.domain import Array
from stpp.events import Window
from stpp.kernels.background import HATS

LEVEL = 0.05
"""Chance that any interval of an analysis misses, or any pair is called certain where there is nothing."""

LEAST_POSTS = 30
"""A region with fewer posts in the window excites and is excited by an unknown amount."""

HALF_LIVES = 6
SHORTEST, LONGEST = 1 / 3000, 1 / 100
"""Half-lives that are tried, as shares of the window; the shortest is not below a quarter of the mean gap.

Longer ones cannot be told from a background that changes: the standard error of an influence is √(2τ/(T ln 2)).
"""

TREND_PIECES = 8
POSTS_PER_PIECE = 50
"""Posts (of all regions) that a piece of the background's trend needs."""

BIN = 1 / 24
"""Days; the background is constant within bins no longer than this where it follows the clock."""


@dataclass(frozen=True, eq=False)
class Influence:
    """Expected direct offspring in region r (row) of a post in region s (column): the integral of the kernel.

    Parameters
    ----------
    matrix : (R, R) estimates; below 0 where posts in s make posts in r rarer; NaN where there are too few posts
    error : (R, R) standard errors
    low, high : (R, R) intervals that hold for all pairs at once (Šidák) with probability 1 − level
    p_value : (R, R) of no influence, two-sided, adjusted for all pairs (Holm)
    level : of the intervals
    posts : (R,) posts of each region in the window, by membership
    half_lives : (C,) of the kernels, days
    behind : (R, R) how many posts each estimate rests on in effect, the degrees of freedom of its error
    tried : sets of half-lives that these are the best of
    """

    matrix: Array
    error: Array
    low: Array
    high: Array
    p_value: Array
    level: float
    posts: Array
    half_lives: Array
    behind: Array
    tried: int

    @property
    def excites(self) -> NDArray[np.bool_]:
        """(R, R) where the interval lies above 0."""
        return np.asarray(np.nan_to_num(self.low, nan=-1.0) > 0)

    @property
    def inhibits(self) -> NDArray[np.bool_]:
        """(R, R) where the interval lies below 0."""
        return np.asarray(np.nan_to_num(self.high, nan=1.0) < 0)


@one_blas_thread  # matrices of a few dozen rows: two threads only wait for each other
def influence(
    t: Array,
    members: Array,
    window: Window,
    *,
    half_lives: Sequence[float] | None = None,
    level: float = LEVEL,
) -> Influence:
    """Self- and cross-excitation between regions, inhibition included, with simultaneous intervals.

    λ_r(t) = background_r(t) + Σ_s Σ_c A_rsc Σ_{t_j < t} m_s(x_j) β_c e^{−β_c(t − t_j)}, and matrix_rs = Σ_c A_rsc.
    The work is O(n (R C)²).

    Parameters
    ----------
    t : (n,) sorted times, days; those before the window only excite
    members : (n, R) membership of each post in each region, in [0, 1]; ``np.eye(R)[region]`` for labels
    window : where posts are explained
    half_lives : of the exponentials that each kernel is a sum of, days. By default one, the best of six from the gaps
        between posts to a hundredth of the window; intervals then hold for all that were tried, so that the choice
        costs no more than their width
    level : chance that any interval misses

    Raises
    ------
    ValueError
        if shapes disagree, times are not sorted, or a half-life is not above 0
    """
    t, members = np.ascontiguousarray(t, dtype=float), np.ascontiguousarray(members, dtype=float)
    if t.ndim != 1 or members.ndim != 2 or len(members) != len(t) or (np.diff(t) < 0).any():
        raise ValueError(f"influence needs sorted times (n,) and members (n, R); got {t.shape} and {members.shape}")
    n = int(np.searchsorted(t, window.end))
    first, r = int(np.searchsorted(t, window.start)), members.shape[1]
    posts = members[first:n].sum(axis=0)
    tried = _half_lives(window, n - first)[:, None] if half_lives is None else np.array([half_lives], dtype=float)
    if not (tried.size and (tried > 0).all()):
        raise ValueError("half-lives must be above 0 days")
    known = posts >= LEAST_POSTS
    blank = np.full((r, r), np.nan)
    if not known.any():
        return Influence(blank, blank, blank, blank, blank, level, posts, tried[0], blank, len(tried))
    used = np.ascontiguousarray(members[:n, known])
    matrix, error, behind = blank.copy(), blank.copy(), blank.copy()
    pairs = np.ix_(known, known)
    fits = [_least_squares(t[:n], used, window, math.log(2) / taus) for taus in tried]
    best = int(np.argmax([fit.gain for fit in fits]))
    matrix[pairs], error[pairs], behind[pairs], _ = fits[best]
    return _judged(matrix, error, behind, level, posts, tried, best)


class _Fit(NamedTuple):
    """(R, R) estimates, standard errors and how many posts these are in effect estimated from; and log-likelihood."""

    matrix: Array
    error: Array
    behind: Array
    gain: float


def _least_squares(t: Array, members: Array, window: Window, decays: Array) -> _Fit:
    """The fit with given kernels.

    The background is projected out of what excites. A projection over the whole window knows of each post what it will
    do to the sums after it, which biases self-excitation down as a fitted mean does an autocorrelation; so each post is
    compared with a projection that leaves its own effect out, and the moments are unbiased.
    """
    inside, (r, c) = t >= window.start, (members.shape[1], len(decays))
    edges, base = _background(window, t[inside])
    gram, cross, between, sums = _moments(t, members, edges, base, decays)
    now, m = t[inside], members[inside]
    here = np.clip(np.searchsorted(edges, now, side="right") - 1, 0, len(base) - 1)
    solved = base @ np.linalg.pinv(gram, hermitian=True)  # (bins, P)
    excess = sums - (solved @ cross)[here]
    for k, decay in enumerate(decays):
        own = np.einsum("ip,ip->i", solved[here], _own_effect(now, here, edges, base, decay))
        excess[:, k::c] += own[:, None] * m
    left = np.linalg.pinv(between - cross.T @ np.linalg.pinv(gram, hermitian=True) @ cross, hermitian=True)
    reads = excess @ left.reshape(len(left), r, c).sum(axis=2)  # (n, R) what each post says of each source
    variance = m.T**2 @ reads**2
    behind = np.divide(variance**2, m.T**4 @ reads**4, out=np.ones_like(variance), where=variance > 0)
    moment, rate = m.T @ excess, m.sum(axis=0) / window.duration
    gain = float((np.einsum("rk,kl,rl->r", moment, left, moment) / rate).sum() / 2)  # Gaussian, each rate its own scale
    return _Fit(m.T @ reads, np.sqrt(variance), behind, gain)


def _own_effect(t: Array, here: NDArray[np.int64], edges: Array, base: Array, decay: float) -> Array:
    """(n, P) ∫ β e^{−β(s − t_i)} base(s) ds from each post to the end of the window."""
    kept = np.exp(-decay * np.diff(edges))
    after = np.zeros((len(edges), base.shape[1]))
    for b in range(len(base) - 1, -1, -1):
        after[b] = (1 - kept[b]) * base[b] + kept[b] * after[b + 1]
    fades = np.exp(-decay * (edges[here + 1] - t))[:, None]
    return np.asarray((1 - fades) * base[here] + fades * after[here + 1])


def _judged(
    matrix: Array, error: Array, behind: Array, level: float, posts: Array, tried: Array, best: int
) -> Influence:
    """Šidák's intervals, which hold for dependent estimates too, and Holm's p-values, both by Student's t."""
    known = np.isfinite(matrix) & (error > 0)
    tests = max(int(known.sum()), 1) * len(tried)
    wide = quantile(level, tests, behind)
    z = np.divide(matrix, error, out=np.full(matrix.shape, np.nan), where=known)
    adjusted = np.full(matrix.shape, np.nan)
    p = np.asarray(2 * student.sf(np.abs(z[known]), behind[known]), dtype=float)
    order = np.argsort(p)
    holm = np.empty(len(p))
    holm[order] = np.minimum(1, np.maximum.accumulate(len(tried) * p[order] * np.arange(len(p), 0, -1)))
    adjusted[known] = holm
    low, high = matrix - wide * error, matrix + wide * error
    return Influence(matrix, error, low, high, adjusted, level, posts, tried[best], behind, len(tried))


def quantile(level: float, tests: int, behind: Array) -> Array:
    """How many standard errors an interval reaches that holds for all of some tests, by Šidák and Student's t.

    Parameters
    ----------
    level : chance that any misses
    tests : how many
    behind : of each estimate, as in :class:`Influence`
    """
    return np.asarray(student.isf((1 - (1 - level) ** (1 / tests)) / 2, behind))


def _half_lives(window: Window, n: int) -> Array:
    longest = LONGEST * window.duration
    shortest = min(max(SHORTEST * window.duration, window.duration / (4 * max(n, 1))), longest / 2)
    return np.geomspace(shortest, longest, HALF_LIVES)


def _background(window: Window, t: Array) -> tuple[Array, Array]:
    """(B + 1,) edges of bins, and (B, P) what the background is made of in each.

    Always hats of the trend; the hours of the day from four days on, the days of the week from four weeks on, each
    without its last hat, which the trend's sum stands for. Cycles swing as widely as there are posts, by the trend of
    all regions together.
    """
    cycles = [(length, hats) for length, hats in HATS.items() if window.duration >= 4 * length]
    pieces = int(np.clip(len(t) // POSTS_PER_PIECE, 1, TREND_PIECES))
    bins = math.ceil(window.duration / BIN) if cycles else 10 * pieces
    edges = np.linspace(window.start, window.end, bins + 1)
    middle = (edges[1:] + edges[:-1]) / 2
    place = (middle - window.start) / window.duration * (pieces - 1)
    trend = np.maximum(0.0, 1 - np.abs(place[:, None] - np.arange(pieces)))
    level = np.maximum(trend @ np.linalg.lstsq(trend, np.histogram(t, edges)[0])[0], 0.0)[:, None]
    columns = [trend]
    for length, hats in cycles:
        phase = (middle / length * hats)[:, None] - np.arange(hats - 1)
        columns.append(
            level / max(level.max(), 1e-300) * np.maximum(0.0, 1 - np.abs((phase + hats / 2) % hats - hats / 2))
        )
    return edges, np.ascontiguousarray(np.concatenate(columns, axis=1))


@njit(cache=True, nogil=True)
def _moments(t: Array, m: Array, edges: Array, base: Array, decays: Array) -> tuple[Array, Array, Array, Array]:
    """(P, P), (P, K) and (K, K) integrals of products over the window, and (n, K) the sums at its posts.

    Of the background's P columns, which are constant in each bin, and of the K = R C sums g_sc(t) =
    Σ_{t_j < t} m_s(x_j) β_c e^{−β_c(t − t_j)}; all are exact.
    """
    r, p, c = m.shape[1], base.shape[1], len(decays)
    k, now, i, n = r * c, edges[0], 0, len(t)
    gram, cross, between = np.zeros((p, p)), np.zeros((p, k)), np.zeros((k, k))
    sums, one, both = np.zeros(k), np.empty(c), np.empty((c, c))
    while i < n and t[i] < now:  # the history
        for u in range(k):
            sums[u] += m[i, u // c] * decays[u % c] * math.exp(-decays[u % c] * (now - t[i]))
        i += 1
    start, out = i, np.empty((n - i, k))
    for b in range(len(edges) - 1):
        for u in range(p):
            for v in range(p):
                gram[u, v] += base[b, u] * base[b, v] * (edges[b + 1] - edges[b])
        while now < edges[b + 1]:
            until = t[i] if i < n and t[i] < edges[b + 1] else edges[b + 1]
            gap = until - now
            for e in range(c):
                one[e] = -math.expm1(-decays[e] * gap) / decays[e]
                for f in range(c):
                    both[e, f] = -math.expm1(-(decays[e] + decays[f]) * gap) / (decays[e] + decays[f])
            for u in range(k):
                for v in range(p):
                    cross[v, u] += base[b, v] * sums[u] * one[u % c]
                for v in range(u + 1):
                    between[u, v] += sums[u] * sums[v] * both[u % c, v % c]
            for u in range(k):
                sums[u] *= math.exp(-decays[u % c] * gap)
            now, first = until, i
            while i < n and t[i] == until and until < edges[b + 1]:  # posts of the same moment share a history
                out[i - start] = sums
                i += 1
            for j in range(first, i):
                for u in range(k):
                    sums[u] += m[j, u // c] * decays[u % c]
    for u in range(k):
        for v in range(u):
            between[v, u] = between[u, v]
    return gram, cross, between, out
