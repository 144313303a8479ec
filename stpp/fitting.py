"""What a fit reports, and the optimisers behind it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from stpp.background import KernelMixture, component_density
from stpp.domain import Array, Box
from stpp.events import Events, Window

CHUNK = 65_536
"""Rows of the design matrix handled at a time, so that no copy of all of it is made."""

MAX_TARGETS = 100_000
"""Events that a mixture's shares are learned from; more only cost time."""

GAP = 1e-9
"""Nats per event; a concave fit that can gain less has converged."""

MAX_STEPS = 100
"""Newton steps of a concave fit; ten are plenty."""

SCREEN_EVENTS = 100_000
"""Last events that decide which of a mixture's many candidates are worth computing over all events."""

LEAST_UNIFORM = 1e-6
"""Share of the uniform in every mixture, so that no place is impossible."""

BURN_IN = 0.2
"""Share of the training events that must have happened before one is used to judge a density."""


@dataclass(frozen=True)
class Parameter:
    """One estimated number: value, standard error (None where it has none), unit."""

    value: float
    standard_error: float | None = None
    unit: str = ""


@dataclass(frozen=True)
class FitResult:
    """What a fit reports, apart from the model itself.

    Parameters
    ----------
    n_events : events in the training window
    log_likelihood : at the optimum, in map units and days
    parameters : name → Parameter
    free_parameters : how many were estimated (those on a bound not counted)
    background_rate : events per day that no earlier event explains
    branching_ratio : expected direct offspring per event
    converged : whether the optimiser met its tolerance
    seconds : wall time of the fit
    """

    n_events: int
    log_likelihood: float
    parameters: dict[str, Parameter] = field(default_factory=dict)
    free_parameters: int = 0
    background_rate: float = 0.0
    branching_ratio: float = 0.0
    converged: bool = True
    seconds: float = 0.0

    def __post_init__(self) -> None:
        named = {k: v if isinstance(v, Parameter) else Parameter(**v) for k, v in self.parameters.items()}
        object.__setattr__(self, "parameters", named)

    @property
    def aic(self) -> float:
        """Akaike's information criterion, 2k − 2 log L."""
        return 2 * self.free_parameters - 2 * self.log_likelihood

    def summary(self, title: str) -> str:
        """A statistician's table: estimate, standard error, 95 % interval, log-likelihood, AIC."""
        lines = [
            title,
            f"events              {self.n_events:,}",
            f"log-likelihood      {self.log_likelihood:,.2f}",
            f"AIC                 {self.aic:,.2f}   ({self.free_parameters} free parameters)",
            f"background rate     {self.background_rate:,.4g} events/day",
            f"branching ratio     {self.branching_ratio:.4f}",
            f"converged           {'yes' if self.converged else 'NO'}   in {self.seconds:.2f} s",
            "",
        ]
        if self.parameters:
            width = max(len(name) for name in self.parameters)
            lines.append(f"{'':{width}}  {'estimate':>12} {'std. error':>11}   95 % interval")
            for name, p in self.parameters.items():
                row = f"{name:{width}}  {p.value:>12.5g}"
                if p.standard_error is not None:
                    low, high = p.value - 1.96 * p.standard_error, p.value + 1.96 * p.standard_error
                    row += f" {p.standard_error:>11.3g}   [{low:.5g}, {high:.5g}]"
                lines.append(f"{row}  {p.unit}".rstrip())
        return "\n".join(lines)


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
    columns: Array, masses: Array, weight: Array | None = None, *, start: Array | None = None
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

    Raises
    ------
    ValueError
        if some event has no dictionary element above 0
    """
    n, k = columns.shape
    usable = masses > 0
    if not usable.all():
        fit = concave_weights(
            columns[:, usable], masses[usable], weight, start=None if start is None else start[usable]
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
    for _ in range(MAX_STEPS):
        gradient, information = _derivatives(columns, w, scale, m)
        gradient -= m.sum()
        ridge = information + np.diag(1e-10 * np.diag(information) + 1e-12 * m.sum())
        factor = np.linalg.cholesky(ridge)
        target, _ = nnls(factor.T, np.linalg.solve(factor, ridge @ w + gradient), maxiter=100 * k)
        step = target - w
        slope = float(gradient @ step)
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


def spread_of(events: Events) -> float:
    """Root mean square of the axes' standard deviations, map units; 1 if all events are at one place."""
    spread = float(np.sqrt(events.x.var(axis=0).mean()))
    return spread if spread > 1e-12 * np.abs(events.x).max() else 1.0  # 0 but for rounding


def bandwidth_ladder(events: Events, step: float = math.sqrt(2)) -> Array:
    """Candidate bandwidths, a geometric ladder from the events' spread down to an eighth of Scott's rule.

    Scott's rule is spread·n^{−1/(d + 4)} (Scott 1992, Multivariate Density Estimation, eq. 6.42).
    """
    spread = spread_of(events)
    finest = spread * len(events) ** (-1 / (events.d + 4)) / 8
    count = math.ceil(math.log(spread / finest) / math.log(step))
    return spread * step ** -np.arange(count + 1.0)


def half_life_ladder(shortest: float, longest: float, step: float, most: int) -> Array:
    """Half-lives in days from the shortest to the longest, by factors of about ``step``, at most ``most`` of them."""
    ratio = max(longest / shortest, 1.0)
    return np.geomspace(shortest, shortest * ratio, min(most, 1 + round(math.log(ratio) / math.log(step))))


def memory_ladder(events: Events, horizon: float) -> list[float]:
    """Decays β that a density may forget at: never, and half-lives from a quarter of the horizon to the whole span."""
    span = max(float(events.t[-1] - events.t[0]), horizon)
    return [0.0, *(math.log(2) / half_life_ladder(horizon / 4, span, 3.0, 12))]


def window_numbers(t: Array, start: float, horizon: float) -> NDArray[np.int64]:
    """(n,) number k of the window [start + k·horizon, start + (k + 1)·horizon) that each time falls in.

    As the floats are: rounding puts no time outside its window, so none before its own issue time.
    """
    k = np.floor((t - start) / horizon).astype(np.int64)
    k -= start + k * horizon > t
    k += start + (k + 1) * horizon <= t
    return k


def issue_times(t: Array, start: float, horizon: float) -> Array:
    """(n,) start of the forecast window of length ``horizon`` that each time falls in, counted from ``start``."""
    return np.asarray(start + window_numbers(t, start, horizon) * horizon)


def training_targets(events: Events, window: Window) -> NDArray[np.int64]:
    """Rows of the events that a density is judged on: in the window, after the burn-in, at most ``MAX_TARGETS``.

    Raises
    ------
    ValueError
        if there are none
    """
    first = max(int(np.searchsorted(events.t, window.start)), int(BURN_IN * len(events)))
    rows = np.arange(first, len(events))
    if len(rows) < 2:
        raise ValueError(
            f"only {len(rows)} events to learn from between day {window.start:g} and {window.end:g}: "
            "start training earlier or take a longer window"
        )
    return rows[:: max(1, -(-len(rows) // MAX_TARGETS))]


def _screened(
    events: Events, window: Window, box: Box, pairs: list[tuple[float, float]], horizon: float
) -> list[tuple[float, float]]:
    """The candidates that the last events choose, and those they can't judge: memories longer than they span."""
    last = events.rows(len(events) - SCREEN_EVENTS, len(events))
    span = float(last.t[-1] - last.t[0])
    part = Window(max(window.start, float(last.t[0])), window.end)
    decays, bandwidths = sorted({b for b, _ in pairs}), sorted({h for _, h in pairs})
    chosen, _ = fit_mixture(last, part, box, decays, np.array(bandwidths), horizon)
    picked = set(zip(chosen.decays, chosen.bandwidths, strict=True))

    def beyond(decay: float, bandwidth: float) -> bool:
        return decay == 0 or (math.log(2) / decay > span and bandwidth in chosen.bandwidths)

    return [pair for pair in pairs if pair in picked or beyond(*pair)]


def fit_mixture(
    events: Events, window: Window, box: Box, decays: Sequence[float], bandwidths: Array, horizon: float
) -> tuple[KernelMixture, float]:
    """Shares of decayed kernel densities that maximise the predictive log score of the training events.

    Each event in the window is predicted from the history at the start of its own forecast window, ``horizon`` days
    long, as a forecast will be: cross-validation that respects time.

    Parameters
    ----------
    events : training events and those before, all before ``window.end``
    decays, bandwidths : every pair is one candidate

    Returns
    -------
    the mixture without its empty components, and its mean predictive log density per event
    """
    pairs = [(float(b), float(h)) for b in decays for h in bandwidths]
    if len(events) > SCREEN_EVENTS:
        pairs = _screened(events, window, box, pairs, horizon)
    rows = training_targets(events, window)
    t = issue_times(events.t[rows], window.start, horizon)
    x, weight = events.x[rows], events.weight[rows]
    if weight.sum() == 0:
        weight = np.ones(len(rows))
    columns = np.empty((len(rows), len(pairs) + 1))
    masses = {h: box.kernel_mass(events.x, h) for _, h in pairs}
    for k, (decay, bandwidth) in enumerate(pairs):
        columns[:, k] = component_density(events, t, x, decay, bandwidth, box, mass=masses[bandwidth])
    columns[:, -1] = 1 / box.volume
    fit = concave_weights(columns, np.full(len(pairs) + 1, weight.sum()), weight)
    shares = (1 - LEAST_UNIFORM) * fit.weights / fit.weights.sum()
    shares[-1] += LEAST_UNIFORM
    kept = np.flatnonzero(shares[:-1] > 1e-4)
    chosen = np.array([pairs[k] for k in kept]).reshape(-1, 2)
    score = float(weight @ np.log(columns @ shares) / weight.sum())
    return KernelMixture(box, chosen[:, 0], chosen[:, 1], shares[kept]), score
