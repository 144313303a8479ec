"""The temporal exponential Hawkes process: likelihood, exact derivatives and maximum likelihood in O(n) passes.

λ(t) = μ + α Σ_{t_j < t} β e^{−β(t − t_j)}: background rate μ, branching ratio α, decay β (Hawkes 1971). Events with
the same time stamp share a history and never excite one another. Events before the window are history: they
excite, but are not scored.
"""

from __future__ import annotations

import math
import time
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import ArrayLike

from stpp.domain import Array
from stpp.events import Window
from stpp.fitting.results import FitResult, Parameter

Sums = tuple[float, float, float]

MAX_STEPS = 100
STEP_TOLERANCE = 1e-7  # relative change of every parameter; standard errors are never below 1/√n of it
LONGEST_STEP = 2.0  # in log parameters: no parameter moves by more than e² at once
ROUNDING = 1e-12  # of the log-likelihood, nats per event: a step that changes less is not worse
WARM_START_EVENTS = 50_000


class LogLikelihood(NamedTuple):
    """A log-likelihood (nats, with time in days) and its derivatives in (μ, α, β)."""

    value: float
    gradient: Array
    hessian: Array


@njit(cache=True, nogil=True)
def _history(t: Array, start: float, beta: float) -> tuple[Sums, int]:
    """Σ u^k e^{−βu} at ``start`` over the events before it, u their age, k = 0, 1, 2; and the row after them."""
    s0, s1, s2, i = 0.0, 0.0, 0.0, 0
    while i < len(t) and t[i] < start:
        age = start - t[i]
        weight = math.exp(-beta * age)
        s0 += weight
        s1 += age * weight
        s2 += age * age * weight
        i += 1
    return (s0, s1, s2), i


@njit(cache=True, nogil=True)
def _decayed(sums: Sums, pending: int, gap: float, beta: float) -> Sums:
    """The sums of :func:`_history` carried over a gap that ``pending`` new events begin."""
    fade = math.exp(-beta * gap)
    s0, s1, s2 = sums
    s0 += pending
    return fade * s0, fade * (s1 + gap * s0), fade * (s2 + gap * (2.0 * s1 + gap * s0))


@njit(cache=True, nogil=True)
def _likelihood(t: Array, start: float, end: float, mu: float, alpha: float, beta: float) -> tuple[float, Array, Array]:
    """Log-likelihood, gradient and Hessian in one pass; ``t`` is increasing and before ``end``."""
    before, first = _history(t, start, beta)
    sums, now, pending = before, start, 0
    logs = l_m = l_a = l_b = l_bb = 0.0
    h_mm = h_ma = h_mb = h_aa = h_ab = h_bb = 0.0
    for i in range(first, len(t)):
        if t[i] > now:
            sums = _decayed(sums, pending, t[i] - now, beta)
            now, pending = t[i], 0
        pending += 1
        s0, s1, s2 = sums
        rate = mu + alpha * beta * s0
        m = 1.0 / rate  # ∂ log λ / ∂μ
        a = m * beta * s0  # ∂ log λ / ∂α
        b = m * alpha * (s0 - beta * s1)  # ∂ log λ / ∂β
        logs += math.log(rate)
        l_m += m
        l_a += a
        l_b += b
        l_bb += m * (beta * s2 - 2.0 * s1)  # ∂²λ/∂β² / (αλ)
        h_mm += m * m
        h_ma += m * a
        h_mb += m * b
        h_aa += a * a
        h_ab += a * b
        h_bb += b * b

    after = _decayed(sums, pending, end - now, beta)
    offspring = len(t) - first + before[0] - after[0]  # the compensator is μ (end − start) + α × this
    d_offspring = after[1] - before[1]
    value = logs - mu * (end - start) - alpha * offspring
    gradient = np.array([l_m - (end - start), l_a - offspring, l_b - alpha * d_offspring])
    h_ab -= l_b / alpha - d_offspring
    h_bb -= alpha * (l_bb - before[2] + after[2])
    return value, gradient, -np.array([[h_mm, h_ma, h_mb], [h_ma, h_aa, h_ab], [h_mb, h_ab, h_bb]])


@njit(cache=True, nogil=True)
def _compensator(at: Array, t: Array, start: float, mu: float, alpha: float, beta: float) -> Array:
    """∫ λ from ``start`` to each of the increasing times ``at``."""
    before, first = _history(t, start, beta)
    sums, now, pending, i = before, start, 0, first
    out = np.empty(len(at))
    for k in range(len(at)):
        while i < len(t) and t[i] < at[k]:
            sums = _decayed(sums, pending, t[i] - now, beta)
            now, pending = t[i], 1
            i += 1
        left = _decayed(sums, pending, at[k] - now, beta)[0]
        out[k] = mu * (at[k] - start) + alpha * (i - first + before[0] - left)
    return out


def log_likelihood(t: ArrayLike, window: Window, mu: float, alpha: float, beta: float) -> LogLikelihood:
    """Σ log λ(t_i) − ∫ λ over the window (Ozaki 1979), with exact gradient and Hessian, in one pass.

    Parameters
    ----------
    t : (n,) increasing event times, days; those before the window are history, those after it are ignored
    window : where events are scored
    mu : background rate > 0, events per day
    alpha : branching ratio > 0, expected direct offspring per event
    beta : decay > 0, per day

    Raises
    ------
    ValueError
        if times are not finite and increasing, or a parameter is not above 0
    """
    _check_parameters(mu, alpha, beta)
    past = _history_to(t, window.end)
    return LogLikelihood(*_likelihood(past, window.start, window.end, float(mu), float(alpha), float(beta)))


def compensator(at: ArrayLike, t: ArrayLike, start: float, mu: float, alpha: float, beta: float) -> Array:
    """(k,) expected number of events ∫ λ from ``start`` to each time, along the realised history.

    At the events themselves the values form a unit-rate Poisson process if the model is right (time rescaling;
    Brown et al. 2002).

    Parameters
    ----------
    at : (k,) increasing times ≥ ``start``, days
    t : (n,) increasing event times, days; each counts from just after its own time on
    start, mu, alpha, beta : as in :func:`log_likelihood`

    Raises
    ------
    ValueError
        if times are not finite and increasing, one of ``at`` is before ``start``, or a parameter is not above 0
    """
    _check_parameters(mu, alpha, beta)
    times = _history_to(at, math.inf)
    if len(times) and times[0] < start:
        raise ValueError(f"the compensator counts from day {start:g}; it is asked for at day {times[0]:g}, before that")
    past = _history_to(t, math.inf)
    return np.asarray(_compensator(times, past, float(start), float(mu), float(alpha), float(beta)))


def fit(t: ArrayLike, window: Window) -> FitResult:
    """Maximum-likelihood background rate, branching ratio and decay, with standard errors.

    Newton's method on the logarithms of the parameters, so that all stay above 0 and the units of time do not
    matter; standard errors from the observed information. Large sets start from the optimum of their first
    events. ``converged`` is False, and the standard errors absent, where the likelihood has no maximum inside:
    data without self-excitation (α → 0) or without background (μ → 0), or a decay that they cannot tell. A
    branching ratio ≥ 1 is reported as it is: on a finite window the estimate may be explosive.

    Parameters
    ----------
    t : (n,) increasing event times, days; those before the window are history, those after it are ignored
    window : the observation window; end it where observation ended, not at the last event

    Raises
    ------
    ValueError
        if times are not finite and increasing, or fewer than 3 different ones are in the window
    """
    clock = time.perf_counter()
    past = _history_to(t, window.end)
    inside = past[np.searchsorted(past, window.start) :]
    distinct = 1 + np.count_nonzero(np.diff(inside)) if len(inside) else 0
    if distinct < 3:
        raise ValueError(
            f"3 parameters need 3 different event times in [{window.start:g}, {window.end:g}); got {distinct} from "
            f"{len(inside)} events: widen the window"
        )
    rate = len(inside) / window.duration
    theta = np.log([rate / 2, 0.5, rate])
    if len(inside) > 2 * WARM_START_EVENTS and inside[WARM_START_EVENTS] > window.start:
        part = Window(window.start, float(inside[WARM_START_EVENTS]))
        warm, _, reached = _maximise(_history_to(past, part.end), part, theta)
        theta = theta if reached is None else warm
    theta, best, errors = _maximise(past, window, theta)

    mu, alpha, beta = np.exp(theta).tolist()
    error_mu, error_alpha, error_beta = [None] * 3 if errors is None else errors.tolist()
    return FitResult(
        n_events=len(inside),
        log_likelihood=best.value,
        parameters={
            "background_rate": Parameter(mu, error_mu, "events/day"),
            "branching_ratio": Parameter(alpha, error_alpha),
            "decay": Parameter(beta, error_beta, "1/day"),
        },
        free_parameters=3,
        background_rate=mu,
        branching_ratio=alpha,
        converged=errors is not None,
        seconds=time.perf_counter() - clock,
    )


def _maximise(past: Array, window: Window, theta: Array) -> tuple[Array, LogLikelihood, Array | None]:
    """Safeguarded Newton ascent in log parameters, from ``theta``.

    Returns
    -------
    (3,) log parameters, the log-likelihood there, and (3,) standard errors of the parameters, from the observed
    information; None where no maximum was reached
    """

    def at(theta: Array) -> LogLikelihood:
        return LogLikelihood(*_likelihood(past, window.start, window.end, *np.exp(theta)))

    here = at(theta)
    for _ in range(MAX_STEPS):
        scale = np.exp(theta)
        gradient = here.gradient * scale
        hessian = here.hessian * np.outer(scale, scale) + np.diag(gradient)
        curvature, axes = np.linalg.eigh(hessian)
        # |curvature|, so that the step ascends where the likelihood is not concave, and no division by zero
        damped = np.maximum(np.abs(curvature), 1e-12 * np.abs(curvature).max())
        step = axes @ (axes.T @ gradient / damped)
        if np.abs(step).max() < STEP_TOLERANCE:
            errors = scale * np.sqrt(axes**2 @ (1 / damped))
            return theta, here, errors if curvature.max() < 0 else None
        step *= min(1.0, LONGEST_STEP / np.abs(step).max())
        gain = gradient @ step
        while not (there := at(theta + step)).value >= here.value + 1e-4 * gain - ROUNDING * len(past):
            step, gain = step / 2, gain / 2
            if np.abs(step).max() < STEP_TOLERANCE:
                return theta, here, None
        theta, here = theta + step, there
    return theta, here, None


def _history_to(t: ArrayLike, end: float) -> Array:
    """Event times before ``end``, read-only so that numba compiles one specialisation only.

    Raises
    ------
    ValueError
        if they are not one column, finite and increasing (the first offending row is named)
    """
    times = np.ascontiguousarray(t, dtype=np.float64).view()
    times.flags.writeable = False
    if times.ndim != 1:
        raise ValueError(f"event times must be one column; got an array of shape {times.shape}")
    unusable = np.flatnonzero(~np.isfinite(times))
    if len(unusable):
        raise ValueError(
            f"event times must be finite; row {unusable[0]} is {times[unusable[0]]}: drop {len(unusable)} rows"
        )
    falls = np.flatnonzero(times[1:] < times[:-1])
    if len(falls):
        raise ValueError(f"event times must increase; row {falls[0] + 1} is earlier than the row before it: sort them")
    return times[: np.searchsorted(times, end)]


def _check_parameters(mu: float, alpha: float, beta: float) -> None:
    """Raise ValueError unless all three are finite and above 0."""
    for name, value in (("background rate", mu), ("branching ratio", alpha), ("decay", beta)):
        if not (math.isfinite(value) and value > 0):
            raise ValueError(f"the {name} must be above 0 and finite; got {value:g}")
