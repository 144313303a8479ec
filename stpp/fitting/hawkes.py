"""Maximum likelihood for Hawkes processes: the convex dictionary, and one kernel with free decay and bandwidth."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize

from stpp.compute.progress import Progress, each
from stpp.dates import format_days
from stpp.domain import Array, Box
from stpp.events import Events, Window
from stpp.fitting.concave import concave_weights
from stpp.fitting.mixture import SCREEN_EVENTS, bandwidth_ladder, fit_mixture, half_life_ladder, memory_ladder
from stpp.fitting.results import FitResult, Parameter
from stpp.kernels.background import CYCLES, HATS, KernelMixture, cycle_columns, cycle_integrals
from stpp.kernels.fields import decayed_sums, decayed_totals
from stpp.kernels.triggering import TriggeringKernel

EXPONENTS = (0.0, 0.5, 1.0)
"""Powers of a mark that an event's productivity may follow."""

LOCAL = 1.2
"""Largest bandwidth of a local kernel, as a share of the mean bandwidth of the background's density.

A Gaussian displacement wider than that ignores where posts fall at all and only blurs forecasts; kernels of infinite
bandwidth, whose offspring follow the density, say it better.
"""

SHORT_GAP = 0.25
"""Quantile of the gaps between events that the shortest half-life is."""

HALF_LIFE_STEP = 2.0
"""Coarser steps leave part of the self-excitation to a density that fades: branching 0.47 where 0.6 was true."""

MOST_HALF_LIVES = 16
MOST_BANDWIDTHS = 5
NEGLIGIBLE = 1e-5
"""Share of the events that a kernel must explain to be kept."""

MAX_DESCENTS = 50
"""Steps of a classical fit over all events; five are usual."""

START_EVENTS, WARM_EVENTS = 4_000, 20_000
"""Last events of the window that a classical fit searches for its start, and is first fitted to."""


Element = tuple[TriggeringKernel, float]
"""A kernel, and the power of the mark that its productivity follows."""


@dataclass(frozen=True)
class HawkesParameters:
    """Background and kernels; the fields of :class:`stpp.models.Hawkes` that carry the same names.

    Parameters
    ----------
    uniform_rate : events per day, spread evenly
    cycle_rates : (0,) or (14,) events per day, spread as the density: constant, then the hats of the cycles
    decays, bandwidths, exponents, coefficients : (K,)
    mean_productivity : (K,) over the training events
    mark_mean : mean logarithm of the mark over the training events
    place_decays, place_bandwidths, place_shares : the density's mixture
    """

    uniform_rate: float
    cycle_rates: Array
    decays: Array
    bandwidths: Array
    exponents: Array
    coefficients: Array
    mean_productivity: Array
    mark_mean: float
    place_decays: Array
    place_bandwidths: Array
    place_shares: Array


def fit_dictionary(
    past: Events,
    window: Window,
    box: Box,
    horizon: float,
    mark: str,
    log: Array,
    *,
    progress: Progress | None = None,
) -> tuple[HawkesParameters, FitResult]:
    """The non-negative weights of backgrounds and kernels at the one maximum of the concave log-likelihood.

    Of more than ``SCREEN_EVENTS`` events, the last so many say which kernels are worth computing over all.

    Parameters
    ----------
    past : events before ``window.end``; those before ``window.start`` only excite
    horizon : days ahead that the density of places is learned for
    mark : name of the productivity mark, for labels; "" for none
    log : (n,) logarithm of the mark, zeros without one
    progress : told of every density and kernel, and how far the weights are
    """
    inside = past.between(window)
    memories = memory_ladder(past, horizon)
    place, _ = fit_mixture(past, window, box, memories, bandwidth_ladder(past), horizon, progress=progress)
    kernels = _dictionary(past, inside, window, place)
    powers = EXPONENTS if mark else (0.0,)
    elements = [(kernel, a) for a in powers for kernel in kernels]
    productivity = {a: np.exp(a * (log - log.mean())) for a in powers}
    if len(inside) > SCREEN_EVENTS:
        elements = _screened(past, window, place, elements, productivity, progress)
    columns, masses = _design(past, window, place, elements, productivity, progress)
    base = columns.shape[1] - len(elements)

    fit = concave_weights(columns, masses, progress=progress)
    explained = fit.weights * masses / len(inside)
    kept = base + np.flatnonzero(explained[base:] > NEGLIGIBLE)
    means = np.array([productivity[a].mean() for _, a in elements])[kept - base]
    parameters = HawkesParameters(
        uniform_rate=float(fit.weights[0]),
        cycle_rates=fit.weights[1:base].copy(),
        decays=np.array([elements[k - base][0].decay for k in kept]),
        bandwidths=np.array([elements[k - base][0].bandwidth for k in kept]),
        exponents=np.array([elements[k - base][1] for k in kept]),
        coefficients=fit.weights[kept],
        mean_productivity=means,
        mark_mean=float(log.mean()),
        place_decays=place.decays,
        place_bandwidths=place.bandwidths,
        place_shares=place.shares,
    )
    errors = fit.standard_errors()
    labels = [*_background_labels(), *(_label(kernel, a, mark) for kernel, a in elements)]
    shown = [*np.flatnonzero(fit.weights[:base] > 0), *kept]
    units = ["events/day"] * base + ["offspring"] * len(elements)
    result = FitResult(
        n_events=len(inside),
        log_likelihood=fit.log_likelihood,
        parameters={labels[k]: Parameter(float(fit.weights[k]), float(errors[k]), units[k]) for k in shown},
        free_parameters=int((fit.weights > 0).sum()),
        background_rate=float((fit.weights * masses)[:base].sum() / window.duration),
        branching_ratio=float(parameters.coefficients @ means),
        converged=fit.converged,
    )
    return parameters, result


def _design(
    past: Events,
    window: Window,
    place: KernelMixture,
    elements: list[Element],
    productivity: dict[float, Array],
    progress: Progress | None,
) -> tuple[Array, Array]:
    """(n, K) value of each background and kernel at each event of the window, and (K,) their compensators."""
    inside, box = past.between(window), place.box
    base = 2 + CYCLES
    columns = np.empty((len(inside), base + len(elements)))
    masses = np.empty(columns.shape[1])
    density = place.at(inside.t, inside.x, past)
    columns[:, 0], columns[:, 1] = 1 / box.volume, density
    columns[:, 2:base] = density[:, None] * cycle_columns(inside.t)
    masses[:2] = window.duration
    masses[2:base] = cycle_integrals(np.array([window.start, window.end]))[0]
    in_box = {h: TriggeringKernel(1.0, h).box_mass(past.x, box) for h in {k.bandwidth for k, _ in elements}}
    for k, (kernel, a) in enumerate(each(elements, "kernels", progress), start=base):
        p = productivity[a]
        if kernel.anywhere:
            value = density * decayed_totals(past.t, p, inside.t, kernel.decay)
        else:
            value = decayed_sums(past.t, past.x, p, inside.t, inside.x, kernel.decay, kernel.bandwidth).value
        columns[:, k] = kernel.decay * value
        masses[k] = p @ (kernel.mass_in(window, past.t) * in_box[kernel.bandwidth])
    return columns, masses


def _screened(
    past: Events,
    window: Window,
    place: KernelMixture,
    elements: list[Element],
    productivity: dict[float, Array],
    progress: Progress | None,
) -> list[Element]:
    """The kernels that the last events of the window give weight to, and those too slow for them to judge."""
    first = len(past) - SCREEN_EVENTS
    last = past.rows(first, len(past))
    part = Window(float(last.t[0]), window.end)
    recent = {a: p[first:] for a, p in productivity.items()}
    columns, masses = _design(last, part, place, elements, recent, progress)
    weights = concave_weights(columns, masses, progress=progress).weights[-len(elements) :]
    chosen = weights * masses[-len(elements) :] > NEGLIGIBLE * SCREEN_EVENTS
    return [e for e, some in zip(elements, chosen, strict=True) if some or e[0].half_life > part.duration / 4]


def _dictionary(past: Events, inside: Events, window: Window, place: KernelMixture) -> list[TriggeringKernel]:
    """Half-lives from a short gap between events to a quarter of the window × local bandwidths, and anywhere."""
    gaps = np.diff(inside.t)
    gaps = gaps[gaps > 0]
    short = float(np.quantile(gaps, SHORT_GAP)) if len(gaps) else window.duration
    half_lives = half_life_ladder(short, window.duration / 4, HALF_LIFE_STEP, MOST_HALF_LIVES)
    ladder = bandwidth_ladder(past)
    local = ladder
    if len(place.shares):
        widest = LOCAL * float(place.shares @ place.bandwidths) / float(place.shares.sum())
        local = ladder[ladder <= widest] if (ladder <= widest).any() else ladder[-1:]
    bandwidths = [*local[:MOST_BANDWIDTHS], math.inf]
    return [TriggeringKernel(math.log(2) / tau, float(h)) for h in bandwidths for tau in half_lives]


def _background_labels() -> list[str]:
    hours = [f"  at {24 * k // HATS[1.0]:02d}:00 UTC" for k in range(HATS[1.0])]
    days = [f"  on {_weekday(k)} 00:00 UTC" for k in range(HATS[7.0])]
    return ["background, uniform", "background, by density", *hours, *days]


def _weekday(k: int) -> str:
    return ("Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed")[k]  # 1 January 1970, day 0, was a Thursday


def _label(kernel: TriggeringKernel, exponent: float, mark: str) -> str:
    where = "anywhere" if kernel.anywhere else f"bandwidth {kernel.bandwidth:.3g}"
    power = f", {mark}^{exponent:g}" if mark else ""
    return f"kernel half-life {format_days(kernel.half_life)}, {where}{power}"


# -- one exponential kernel ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Evaluation:
    """Log-likelihood of μ/|B| + κ β Σ e^{−βτ} φ_h at (β, h), with μ and κ at or near their best."""

    columns: Array
    masses: Array
    weights: Array
    value: float
    gradient: Array


@dataclass(frozen=True)
class _ExponentialLikelihood:
    """The likelihood of one data set; events of ``past`` before the window only excite."""

    past: Events
    window: Window
    box: Box
    tol: float
    progress: Progress | None = None

    def at(self, decay: float, bandwidth: float, weights: Array | None = None, *, fixed: bool = False) -> _Evaluation:
        """Value and gradient in (μ, κ, β, h); μ and κ maximise it, searched from ``weights``, unless ``fixed``."""
        past, inside = self.past, self.past.between(self.window)
        ones = np.ones(len(past))
        sums = decayed_sums(past.t, past.x, ones, inside.t, inside.x, decay, bandwidth, tol=self.tol, derivatives=True)
        columns = np.column_stack([np.full(len(inside), 1 / self.box.volume), decay * sums.value])
        kernel = TriggeringKernel(decay, bandwidth)
        in_time = kernel.mass_in(self.window, past.t)
        in_box, d_box = self.box.kernel_mass_and_derivative(past.x, bandwidth)
        masses = np.array([self.window.duration, in_time @ in_box])
        if weights is None or not fixed:
            start = weights if weights is not None and weights.min() > 0 else None
            weights = concave_weights(columns, masses, start=start).weights
        rate = columns @ weights
        before, until = np.maximum(self.window.start - past.t, 0.0), self.window.end - past.t
        d_time = until * np.exp(-decay * until) - before * np.exp(-decay * before)
        gradient = np.array(
            [
                *((1 / rate) @ columns - masses),
                weights[1] * (((sums.value - decay * sums.lag) / rate).sum() - d_time @ in_box),
                weights[1] * ((decay * sums.d_bandwidth / rate).sum() - in_time @ d_box),
            ]
        )
        value = float(np.log(rate).sum() - masses @ weights)
        return _Evaluation(columns, masses, weights, value, gradient)

    def maximise(self, decay: float, bandwidth: float, whiten: Array | None = None) -> tuple[float, float, bool]:
        """(β, h) of the maximum, μ and κ profiled out, and whether the search converged.

        ``whiten`` (2, 2) maps unit steps to steps in (log β, log h) that change the likelihood alike; it saves steps.
        """
        n = len(self.past.between(self.window))
        origin, scale = np.log([decay, bandwidth]), np.eye(2) if whiten is None else whiten
        last: Array | None = None
        looked: list[float] = []

        def loss(z: Array) -> tuple[float, Array]:
            nonlocal last
            place = np.exp(origin + np.clip(scale @ z, -7, 7))
            found = self.at(float(place[0]), float(place[1]), last)
            last = found.weights
            if self.progress is not None:
                looked.append(found.value)
                self.progress("likelihoods", len(looked), 0)
            return -found.value / n, -scale.T @ (found.gradient[2:] * place) / n

        close = 0.01 / math.sqrt(n)  # a hundredth of a standard error, in whitened steps
        if whiten is None:
            found = minimize(loss, np.zeros(2), jac=True, method="L-BFGS-B", options={"ftol": 0.0, "gtol": close})
            z, slope = found.x, np.asarray(found.jac, dtype=float)
        else:
            z, slope = _descend(loss, close)
        decay, bandwidth = np.exp(origin + np.clip(scale @ z, -7, 7))
        return float(decay), float(bandwidth), bool(np.abs(slope).max() < 10 * close)

    def whitening(self, decay: float, bandwidth: float) -> Array | None:
        """What :meth:`maximise` wants for more events of the same process; None where the likelihood is not peaked."""
        best = self.at(decay, bandwidth)
        both = self.information(decay, bandwidth, best) / len(self.past.between(self.window))
        if np.linalg.eigvalsh(both).min() <= 0:
            return None
        profile = both[2:, 2:] - both[2:, :2] @ np.linalg.solve(both[:2, :2], both[:2, 2:])
        unit = np.array([decay, bandwidth])
        return np.asarray(np.linalg.inv(np.linalg.cholesky(profile * np.outer(unit, unit))).T)

    def information(self, decay: float, bandwidth: float, best: _Evaluation) -> Array:
        """(4, 4) observed information in (μ, κ, β, h): exact in the weights, else differences of the gradient."""
        ratio = best.columns / (best.columns @ best.weights)[:, None]
        out = np.zeros((4, 4))
        out[:2, :2] = ratio.T @ ratio
        for k, (b, h) in enumerate(((1e-3 * decay, 0.0), (0.0, 1e-3 * bandwidth)), start=2):
            up = self.at(decay + b, bandwidth + h, best.weights, fixed=True).gradient
            down = self.at(decay - b, bandwidth - h, best.weights, fixed=True).gradient
            out[:, k] = -(up - down) / (2 * (b + h))
        out[2:, :2] = out[:2, 2:].T
        return (out + out.T) / 2


def _descend(loss: Callable[[Array], tuple[float, Array]], close: float) -> tuple[Array, Array]:
    """Minimise a function of two whitened variables; the place and its gradient, below ``close`` if it converged.

    BFGS [1]_ that starts from the identity, which is near the Hessian of a whitened function. Library searches spend
    their first step, here a pass over millions of events, on finding its length.

    References
    ----------
    .. [1] Nocedal & Wright (2006), Numerical Optimization, algorithm 6.1.
    """
    z, inverse = np.zeros(2), np.eye(2)
    value, slope = loss(z)
    for _ in range(MAX_DESCENTS):
        if np.abs(slope).max() < close:
            break
        step = -inverse @ slope
        step /= max(1.0, float(np.linalg.norm(step)))
        trial, after = loss(z + step)
        while trial > value and np.abs(after).max() > np.abs(slope).max() and np.linalg.norm(step) > 1e-9:
            step = step / 4
            trial, after = loss(z + step)
        change = after - slope
        z, value, slope = z + step, trial, after
        along = float(step @ change)
        if along > 0:
            left = np.eye(2) - np.outer(step, change) / along
            inverse = left @ inverse @ left.T + np.outer(step, step) / along
    return z, slope


def fit_exponential(
    past: Events, window: Window, box: Box, *, progress: Progress | None = None
) -> tuple[HawkesParameters, FitResult]:
    """One kernel κ β e^{−βτ} φ_h over a uniform background: joint maximum likelihood of μ, κ, β, h.

    Given β and h the likelihood is concave in μ and κ, so these are profiled out and only two parameters are searched,
    first on the last events of the window. Standard errors come from the observed information.
    """
    inside = past.between(window)
    slice_of = _last(inside, window, START_EVENTS)
    rough = _ExponentialLikelihood(*slice_of, box, 1e-4)
    gap = slice_of[1].duration / len(slice_of[0])
    half_lives = half_life_ladder(gap, slice_of[1].duration / 4, 4.0, 7)
    bandwidths = bandwidth_ladder(inside, 2.0)
    trials = [(math.log(2) / tau, float(h)) for tau in half_lives for h in bandwidths]
    decay, bandwidth = max(each(trials, "starts", progress), key=lambda pair: rough.at(*pair).value)
    whiten = None
    if len(inside) > WARM_EVENTS:
        warm = _ExponentialLikelihood(*_last(inside, window, WARM_EVENTS), box, 1e-6, progress)
        decay, bandwidth, _ = warm.maximise(decay, bandwidth)
        whiten = warm.whitening(decay, bandwidth)
    whole = _ExponentialLikelihood(past, window, box, 1e-6, progress)
    decay, bandwidth, converged = whole.maximise(decay, bandwidth, whiten)
    exact = _ExponentialLikelihood(past, window, box, 1e-8)
    best = exact.at(decay, bandwidth)
    errors: list[float | None] = [None] * 4
    information = exact.information(decay, bandwidth, best)
    if best.weights.min() > 0 and np.linalg.eigvalsh(information).min() > 0:
        errors = [float(v) for v in np.sqrt(np.diag(np.linalg.inv(information)))]
    mu, kappa = (float(v) for v in best.weights)
    none = np.zeros(0)
    one = np.ones(1)
    parameters = HawkesParameters(
        mu, none, decay * one, bandwidth * one, 0 * one, kappa * one, one, 0.0, none, none, none
    )
    table = {
        "background rate": Parameter(mu, errors[0], "events/day"),
        "branching ratio": Parameter(kappa, errors[1], "offspring"),
        "decay": Parameter(decay, errors[2], "1/day"),
        "bandwidth": Parameter(bandwidth, errors[3], "map units"),
    }
    result = FitResult(len(inside), best.value, table, 4, mu, kappa, converged)
    return parameters, result


def _last(inside: Events, window: Window, n: int) -> tuple[Events, Window]:
    """The last ``n`` events of the window and the window they fill."""
    if len(inside) <= n:
        return inside, window
    part = inside.rows(len(inside) - n, len(inside))
    return part, Window(float(part.t[0]), window.end)
