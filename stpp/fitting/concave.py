"""Non-negative weights that maximise a concave log-likelihood."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import nnls

from stpp.compute.progress import Progress
from stpp.domain import Array

CHUNK = 65_536
"""Rows of the design matrix handled at a time, so that no copy of all of it is made."""

GAP = 1e-9
"""Nats per event; a concave fit that can gain less has converged."""

MAX_STEPS = 100
"""Newton steps of a concave fit; ten are plenty."""


@dataclass(frozen=True)
class ConcaveFit:
    """Non-negative weights at the one maximum of a concave log-likelihood.

    Parameters
    ----------
    weights : (K,)
    log_likelihood : at ``weights``
    information : (K, K) observed information, −∂²ℓ/∂w∂wᵀ
    gap : log-likelihood that the last quadratic model, under w ≥ 0, still saw to gain, nats per event
    """

    weights: Array
    log_likelihood: float
    information: Array
    gap: float

    @property
    def converged(self) -> bool:
        """Whether nothing is left to gain."""
        return self.gap < GAP

    def standard_errors(self) -> Array:
        """(K,) from the inverse information of the positive weights; NaN for those at 0."""
        out = np.full(len(self.weights), np.nan)
        free = np.flatnonzero(self.weights > 0)
        out[free] = np.sqrt(np.maximum(np.diag(np.linalg.pinv(self.information[np.ix_(free, free)])), 0.0))
        return out


def concave_weights(
    columns: Array,
    masses: Array,
    weight: Array | None = None,
    *,
    start: Array | None = None,
    progress: Progress | None = None,
) -> ConcaveFit:
    """Maximise ℓ(w) = Σ_i m_i log(Σ_k w_k F_ik) − Σ_k w_k C_k over w ≥ 0.

    ℓ is concave, so the optimum is global and needs no starting value. Each Newton step solves its quadratic model
    under w ≥ 0 exactly, as a non-negative least squares problem in the Cholesky factor of the information.

    Parameters
    ----------
    columns : (n, K) F ≥ 0, value of each dictionary element at each event
    masses : (K,) C ≥ 0, its compensator; an element without any gets weight 0
    weight : (n,) m_i, default 1
    start : (K,) w > 0 to begin at; only saves time
    progress : told how far the gap has closed, in percent of its orders of magnitude

    Raises
    ------
    ValueError
        if some event has no dictionary element above 0
    """
    n, k = columns.shape
    usable = masses > 0
    if not usable.all():
        fit = concave_weights(
            columns[:, usable],
            masses[usable],
            weight,
            start=None if start is None else start[usable],
            progress=progress,
        )
        weights, information = np.zeros(k), np.zeros((k, k))
        weights[usable], information[np.ix_(usable, usable)] = fit.weights, fit.information
        return replace(fit, weights=weights, information=information)
    m = np.ones(n) if weight is None else weight
    scale = m.sum() / masses  # w / scale are then the shares of the events that each element explains
    w = np.full(k, 1.0 / k) if start is None else start / scale
    value = _log_likelihood(columns, w * scale, m) - m.sum() * w.sum()
    if not math.isfinite(value):
        raise ValueError("an event lies where every dictionary element is 0: add a uniform background")
    closed, first = 0, math.nan
    for _ in range(MAX_STEPS):
        gradient, information = _derivatives(columns, w, scale, m)
        gradient -= m.sum()
        ridge = information + np.diag(1e-10 * np.diag(information) + 1e-12 * m.sum())
        factor = np.linalg.cholesky(ridge)
        target, _ = nnls(factor.T, np.linalg.solve(factor, ridge @ w + gradient), maxiter=100 * k)
        step = target - w
        slope = float(gradient @ step)
        if progress is not None:
            gap = max(slope / float(m.sum()), GAP)
            first = gap if math.isnan(first) else first
            way = math.log(first / GAP)
            closed = max(closed, round(100 * math.log(first / gap) / way) if way > 0 else 100)
            progress("weights", closed, 100)
        if slope < GAP * m.sum():
            break
        size = 1.0
        while size > 1e-8:
            trial = _log_likelihood(columns, (w + size * step) * scale, m) - m.sum() * float((w + size * step).sum())
            if trial >= value + 1e-4 * size * slope:
                w, value = w + size * step, trial
                break
            size /= 2
        else:
            break
    return ConcaveFit(w * scale, float(value), information / np.outer(scale, scale), slope / float(m.sum()))


def _log_likelihood(columns: Array, w: Array, m: Array) -> float:
    rate = columns @ w
    return float(m @ np.log(rate)) if rate.min() > 0 else -math.inf


def _derivatives(columns: Array, w: Array, scale: Array, m: Array) -> tuple[Array, Array]:
    """Gradient and information of the log term in the scaled weights, chunk by chunk."""
    k = columns.shape[1]
    gradient, information = np.zeros(k), np.zeros((k, k))
    for start in range(0, len(columns), CHUNK):
        part = columns[start : start + CHUNK]
        ratio = part * (scale / (part @ (w * scale))[:, None])
        some = m[start : start + CHUNK]
        gradient += some @ ratio
        information += ratio.T @ (ratio * some[:, None])
    return gradient, information
