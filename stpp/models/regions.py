"""Multivariate Hawkes over regions: posts in one region make others likelier there, and in the regions it excites."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import ClassVar, NamedTuple, Self

import numpy as np

from stpp.compute.blas import one_blas_thread
from stpp.compute.progress import Progress, each
from stpp.domain import Array
from stpp.events import Events, Window
from stpp.fitting.concave import concave_weights
from stpp.fitting.results import FitResult, Parameter
from stpp.kernels.fields import decayed_totals
from stpp.models.rates import NEGLIGIBLE, RegionRates, excitation_ladder, reached

KERNELS = 3
"""Exponentials per pair of regions, at most: the ones that the pooled excitation uses most."""

LEAST_POSTS = 30
"""A region with fewer posts in the training window has the excitation that all regions share."""

PENALTIES = (0.0, 0.5, 1.0, 2.0, 4.0, np.inf)
"""L1 penalties of cross-excitation to choose from, in standard deviations of the score under none."""

EARLY = 2 / 3
"""Share of the window's posts that penalties are compared on by how well the rest is then predicted."""


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class HawkesRegions(RegionRates):
    """λ(t, x) = Σ_r [ν_r + Σ_s Σ_c A_rsc Σ_{t_j < t} m_s(x_j) β_c e^{−β_c(t − t_j)}] f_r(x | H_t).

    Given the regions, each region's rate is fitted by itself: a concave likelihood in ν_r and A_r.. ≥ 0 [1]_. Which
    regions excite which is chosen by an L1 penalty on cross-excitation with data-driven weights [2]_, its strength by
    the likelihood of the last third of the window's posts; what is chosen is then fitted without penalty, so that
    rates are not biased. Regions of fewer than ``LEAST_POSTS`` posts take the excitation that all regions share. For
    inhibition, which a rate ≥ 0 cannot add up, see :func:`stpp.influence.regions.influence`.

    See :class:`stpp.models.rates.RegionRates` for the fields.

    References
    ----------
    .. [1] Bacry, Bompaire, Gaïffas & Muzy (2020), Sparse and low-rank multivariate Hawkes processes, eq. 1–4.
    .. [2] Hansen, Reynaud-Bouret & Rivoirard (2015), Lasso and probabilistic inequalities for multivariate point
       processes, Bernoulli 21, eq. 2.9.
    """

    name: ClassVar[str] = "hawkes-regions"
    summary_line: ClassVar[str] = (
        "multivariate Hawkes: posts excite their own region and, where the data say so, others"
    )

    def fit(self, events: Events, window: Window, *, progress: Progress | None = None) -> Self:
        """Place densities by predictive log score, rates by penalised maximum likelihood over the window.

        Raises
        ------
        ValueError
            if there are too few events in the window
        """
        began = time.perf_counter()
        past = events.before(window.end)
        inside = self.training_events(past, window)
        model = self.with_places(past, window, progress)
        members = np.ascontiguousarray(model.members(past.x).T)
        decays, shared = pooled_excitation(past, members, window)
        penalty = _best_penalty(past, members, window, decays, shared, progress)
        rates, excitation, free = _fit_rates(past, members, window, decays, shared, penalty)
        used = excitation.any(axis=(0, 1))
        model = replace(model, rates=rates, decays=decays[used], excitation=excitation[:, :, used])
        born = model.excitation.sum(axis=2)
        own = np.eye(len(rates), dtype=bool)
        n = members[:, len(past) - len(inside) :].sum(axis=1)
        result = FitResult(
            n_events=len(inside),
            log_likelihood=model.log_likelihood(past, window),
            parameters={
                "offspring in the own region": Parameter(float(n @ born.diagonal() / n.sum()), None, "per post"),
                "offspring in others": Parameter(float((born * ~own).sum(axis=0) @ n / n.sum()), None, "per post"),
                "pairs of regions with cross-excitation": Parameter(float((born * ~own > 0).sum())),
                "penalty of cross-excitation": Parameter(penalty, None, "standard deviations of the score"),
                "regions": Parameter(float(len(rates))),
            },
            free_parameters=free,
            background_rate=float(rates.sum()),
            branching_ratio=model.branching_ratio,
            seconds=time.perf_counter() - began,
        )
        return replace(model, result=result)


def pooled_excitation(past: Events, members: Array, window: Window) -> tuple[Array, Array]:
    """(C,) decays and (C,) offspring of the excitation within regions, as if it were the same in all of them.

    Parameters
    ----------
    members : (R, n) membership of each event of ``past`` in each region
    """
    inside = past.between(window)
    decays = excitation_ladder(inside, window)
    now = members[:, len(past) - len(inside) :]
    share = now.sum(axis=1) / max(now.sum(), 1e-300)
    columns = np.zeros((len(inside), 1 + len(decays)))
    columns[:, 0] = share @ now
    for own, m in zip(now, members, strict=True):
        for c, decay in enumerate(decays, start=1):
            columns[:, c] += own * decay * decayed_totals(past.t, m, inside.t, decay)
    masses = [window.duration, *(reached(past.t, members.sum(axis=0), window, decay) for decay in decays)]
    some = columns[:, 0] > 0
    fit = concave_weights(columns[some], np.array(masses))
    explained = fit.weights[1:] * masses[1:]
    most = np.sort(np.argsort(-explained, kind="stable")[:KERNELS])
    kept = most[explained[most] > NEGLIGIBLE * len(inside)]
    kept = kept if len(kept) else most[:1]  # a kernel without offspring, so that regions may still differ
    return decays[kept], fit.weights[1 + kept] * (fit.weights[1:].sum() / max(fit.weights[1 + kept].sum(), 1e-300))


class Design(NamedTuple):
    """What the rate of one region is made of.

    Parameters
    ----------
    columns : (n, 1 + R C) constant 1, then the recent posts of each region by each kernel, at posts of this region
    masses : (1 + R C,) their integrals over the window
    weight : (n,) membership of those posts in this region
    """

    columns: Array
    masses: Array
    weight: Array


def design(past: Events, members: Array, window: Window, decays: Array, region: int) -> Design:
    """Everything that the likelihood of a region's rate needs; O(n R C)."""
    first = len(past.before(window.start))
    rows = first + np.flatnonzero(members[region, first:] > 0)
    columns = np.ones((len(rows), 1 + len(members) * len(decays)))
    masses = np.full(columns.shape[1], window.duration)
    for s, m in enumerate(members):
        for c, decay in enumerate(decays):
            k = 1 + s * len(decays) + c
            columns[:, k] = decay * decayed_totals(past.t, m, past.t[rows], decay)
            masses[k] = reached(past.t, m, window, decay)
    return Design(columns, masses, members[region, rows])


def sparse_rates(given: Design, own: slice, penalty: float) -> Array:
    """(1 + R C,) weights ≥ 0 that maximise the likelihood over those that the penalty leaves.

    Parameters
    ----------
    own : columns of self-excitation, which are not penalised
    penalty : of the others, in standard deviations of the score in each when it has no weight; inf leaves none
    """
    free = np.zeros(len(given.masses), dtype=bool)
    free[0] = free[own] = True
    if penalty > 0 and np.isfinite(penalty):
        mean = given.weight.sum() / given.masses[0]
        noise = np.sqrt((given.weight[:, None] * given.columns**2).sum(axis=0)) / mean
        masses = given.masses + np.where(free, 0.0, penalty * noise)
        free |= concave_weights(given.columns, masses, given.weight).weights * masses > NEGLIGIBLE * given.weight.sum()
    elif penalty == 0:
        free[:] = True
    weights = np.zeros(len(free))
    weights[free] = concave_weights(given.columns[:, free], given.masses[free], given.weight).weights
    return weights


@one_blas_thread
def _fit_rates(
    past: Events, members: Array, window: Window, decays: Array, shared: Array, penalty: float
) -> tuple[Array, Array, int]:
    """(R,) constant rates, (R, R, C) offspring, and how many of them were estimated."""
    r, c = len(members), len(decays)
    rates, excitation, free = np.zeros(r), np.zeros((r, r, c)), int(shared.any()) * c
    posts = members[:, len(past.before(window.start)) :].sum(axis=1)
    for region, n in enumerate(posts):
        if n < LEAST_POSTS:
            explained = shared @ [reached(past.t, members[region], window, decay) for decay in decays]
            rates[region] = max(n - explained, 0.0) / window.duration
            excitation[region, region] = shared
            free += 1
            continue
        own = slice(1 + region * c, 1 + (region + 1) * c)
        weights = sparse_rates(design(past, members, window, decays, region), own, penalty)
        rates[region], excitation[region] = weights[0], weights[1:].reshape(r, c)
        free += int((weights > 0).sum())
    return rates, excitation, free


@one_blas_thread  # the fits are of a few dozen weights each
def _best_penalty(
    past: Events, members: Array, window: Window, decays: Array, shared: Array, progress: Progress | None
) -> float:
    """The penalty whose rates, fitted to the first posts of the window, predict the others best."""
    first = len(past.before(window.start))
    split = float(past.t[first + int(EARLY * (len(past) - first))])
    if not window.start < split < window.end:
        return np.inf
    early, late = Window(window.start, split), Window(split, window.end)
    known = len(past.before(split))
    best, highest = np.inf, -np.inf
    c = len(decays)
    tests = [design(past, members, late, decays, region) for region in range(len(members))]
    learned = [design(past.rows(0, known), members[:, :known].copy(), early, decays, k) for k in range(len(members))]
    for penalty in each(PENALTIES[::-1], "penalties", progress):  # of equals, the sparsest
        score = 0.0
        for region, (given, test) in enumerate(zip(learned, tests, strict=True)):
            if given.weight.sum() < LEAST_POSTS:
                continue  # these share their excitation, whatever the penalty
            weights = sparse_rates(given, slice(1 + region * c, 1 + (region + 1) * c), penalty)
            rate = np.maximum(test.columns @ weights, 1e-12)
            score += float(test.weight @ np.log(rate) - test.masses @ weights)
        if score > highest + 1e-9 * len(past):
            best, highest = penalty, score
    return best
