"""The Hawkes process: a background and a dictionary of triggering kernels, fitted to the one global optimum."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, Self

import numpy as np

from stpp.background import (
    KernelMixture,
    RunningMixture,
    cycle_columns,
    cycle_integrals,
    decayed_intervals,
    interval_edges,
)
from stpp.domain import Array, Grid
from stpp.events import Events, Window
from stpp.fields import DecayedField, decayed_sums, decayed_totals, in_threads
from stpp.fitting import (
    FitResult,
    Parameter,
    bandwidth_ladder,
    concave_weights,
    fit_mixture,
    half_life_ladder,
    memory_ladder,
)
from stpp.intensity import AnyForecast, Forecast, IntensityModel, PointForecast
from stpp.kernels import TriggeringKernel
from stpp.renewal import Blur, Excitation, expected_counts

EXPONENTS = (0.0, 0.5, 1.0)
"""Powers of a mark that an event's productivity may follow."""


def _empty() -> Array:
    return np.zeros(0)


@dataclass(frozen=True, kw_only=True)
class Hawkes(IntensityModel):
    """λ = uniform + cycle(t)·f(x | H_t) + Σ_k c_k Σ_{t_j < t} p_k(m_j) β_k e^{−β_k(t − t_j)} φ_{h_k}(x − x_j).

    f is a density of past places that may fade (a convex mixture, learned ``horizon`` days ahead); kernels of infinite
    bandwidth drop offspring anywhere, with density f. All rates and coefficients c ≥ 0 are found together at the one
    maximum of the concave log-likelihood.

    Parameters
    ----------
    horizon : days ahead that f is learned for
    kernel : ``dictionary`` (default) or ``exponential``: one kernel with free β and h over a uniform background
    productivity : name of a mark; an event's productivity then follows powers of it, p = exp(a·(u − ū)) with
        u = ln 10 · magnitude for ``mag``/``magnitude``, log(1 + count) otherwise
    uniform_rate : events per day, spread evenly
    cycle_rates : (14,) events per day, spread as f: constant, six four-hour hats of the day, seven days of the week
    decays, bandwidths, exponents, coefficients : (K,) β_k per day, h_k map units, a_k, c_k expected direct offspring
    mean_productivity, mark_mean : (K,) mean of p_k and ū over the training events
    place_decays, place_bandwidths, place_shares : the mixture f
    """

    name: ClassVar[str] = "hawkes"
    summary_line: ClassVar[str] = "background + self-excitation: every post makes others likelier, nearby and for a while"

    horizon: float = 1.0
    kernel: str = "dictionary"
    productivity: str = ""
    uniform_rate: float = float("nan")
    cycle_rates: Array = field(default_factory=_empty)
    decays: Array = field(default_factory=_empty)
    bandwidths: Array = field(default_factory=_empty)
    exponents: Array = field(default_factory=_empty)
    coefficients: Array = field(default_factory=_empty)
    mean_productivity: Array = field(default_factory=_empty)
    mark_mean: float = 0.0
    place_decays: Array = field(default_factory=_empty)
    place_bandwidths: Array = field(default_factory=_empty)
    place_shares: Array = field(default_factory=_empty)

    # -- parts --------------------------------------------------------------------------------------------------

    @property
    def place(self) -> KernelMixture:
        """The background's density f."""
        return KernelMixture(self.domain, self.place_decays, self.place_bandwidths, self.place_shares)

    @property
    def branching_ratio(self) -> float:
        """Expected direct offspring per event, before edge losses."""
        return float(self.coefficients @ self.mean_productivity)

    def kernels(self) -> list[TriggeringKernel]:
        """The K triggering kernels."""
        return [TriggeringKernel(float(b), float(h)) for b, h in zip(self.decays, self.bandwidths, strict=True)]

    def productivities(self, events: Events, exponents: Array) -> Array:
        """(n, K) p_k of each event."""
        if not self.productivity or events.marks is None:
            return np.ones((len(events), len(exponents)))
        return np.exp((_log_mark(events, self.productivity) - self.mark_mean)[:, None] * exponents)

    # -- the interface ------------------------------------------------------------------------------------------

    def intensity(self, t: Array, x: Array, history: Events) -> Array:
        """(n,) λ; any order of times."""
        order = np.argsort(t, kind="stable")
        times, places = np.asarray(t, dtype=float)[order], np.asarray(x, dtype=float)[order]
        anywhere = self._cycle(times)
        local = np.full(len(times), self.uniform_rate / self.domain.volume)
        p = self.productivities(history, self.exponents)
        for k, kernel in enumerate(self.kernels()):
            rate = self.coefficients[k] * kernel.decay
            if math.isinf(kernel.bandwidth):
                anywhere += rate * decayed_totals(history.t, p[:, k].copy(), times, kernel.decay)
            else:
                local += rate * decayed_sums(
                    history.t, history.x, p[:, k].copy(), times, places, kernel.decay, kernel.bandwidth
                ).value
        if anywhere.any():
            local += anywhere * self.place.at(times, places, history)
        out = np.empty(len(times))
        out[order] = local
        return out

    def _cycle(self, t: Array) -> Array:
        if not len(self.cycle_rates):
            return np.zeros(len(t))
        return self.cycle_rates[0] + cycle_columns(t) @ self.cycle_rates[1:]

    def compensator(self, window: Window, history: Events, grid: Grid) -> Array:
        """``grid.shape`` exact in time, erf in space at the box's edges, grid-engine accurate inside."""
        past = history.before(window.end)
        out = np.full(grid.shape, self.uniform_rate * window.duration / grid.cells)
        intervals = np.zeros(len(past) + 1)
        if len(self.cycle_rates):
            edges = interval_edges(window, past.t)
            intervals += self.cycle_rates[0] * np.diff(edges) + cycle_integrals(edges) @ self.cycle_rates[1:]
        p = self.productivities(past, self.exponents)
        for k, kernel in enumerate(self.kernels()):
            weight = self.coefficients[k] * p[:, k]
            if math.isinf(kernel.bandwidth):
                intervals += decayed_intervals(window, past.t, weight, kernel.decay)
            else:
                masses = weight * _masses(kernel, window, past)
                running = DecayedField(self.domain, 0.0, kernel.bandwidth)
                running.advance(past.t, past.x, masses, 0.0)
                out += running.cell_means(grid) * grid.cell_volume
        return out + self.place.integral(intervals, past, grid)

    def total_compensator(self, window: Window, history: Events) -> float:
        """∫∫ λ in closed form."""
        past = history.before(window.end)
        total = self.uniform_rate * window.duration
        if len(self.cycle_rates):
            cycles = cycle_integrals(np.array([window.start, window.end]))[0]
            total += self.cycle_rates[0] * window.duration + float(cycles @ self.cycle_rates[1:])
        p = self.productivities(past, self.exponents)
        for k, kernel in enumerate(self.kernels()):
            total += self.coefficients[k] * float(
                p[:, k] @ (_masses(kernel, window, past) * kernel.box_mass(past.x, self.domain))
            )
        return total

    def rolling_forecasts(self, events: Events, windows: Sequence[Window], grid: Grid | None) -> Iterator[AnyForecast]:
        """Closed form on the grid, one pass over the events; see :mod:`stpp.renewal`."""
        if grid is None:
            for window in windows:
                yield self._point_forecast(window, events.before(window.start))
            return
        state = _State(self, grid)
        for window in windows:
            state.advance(events, window.start)
            yield state.forecast(window)

    def forecast(self, window: Window, history: Events, grid: Grid | None) -> AnyForecast:
        """E[N(cell × window) | history before it], offspring of offspring included.

        The background's density stays as at issue time; above 3 dimensions offspring of future events are taken to
        fall as those of past events do.
        """
        return next(self.rolling_forecasts(history, [window], grid))

    # -- fitting ------------------------------------------------------------------------------------------------

    def fit(self, events: Events, window: Window) -> Self:
        """Maximum likelihood over the window; events before it are history.

        Raises
        ------
        ValueError
            if there are no events in the window
        """
        past = events.before(window.end)
        if len(past.between(window)) == 0:
            raise ValueError(f"no events between day {window.start:g} and {window.end:g} to fit {self.name} to")
        began = time.perf_counter()
        fitted = self._fit_dictionary(past, window)
        result = replace(fitted.result, seconds=time.perf_counter() - began)
        return replace(fitted, result=result)

    def _fit_dictionary(self, past: Events, window: Window) -> Self:
        inside = past.between(window)
        place, _ = fit_mixture(
            past, window, self.domain, memory_ladder(past, self.horizon), bandwidth_ladder(past), self.horizon
        )
        kernels, exponents = self._dictionary(past, window)
        mark_mean = float(_log_mark(past, self.productivity).mean()) if self.productivity else 0.0
        base = replace(self, mark_mean=mark_mean)
        p = base.productivities(past, exponents)
        n_base = 2 + 13
        columns = np.empty((len(inside), n_base + len(kernels)))
        masses = np.empty(columns.shape[1])
        density = place.at(inside.t, inside.x, past)
        columns[:, 0] = 1 / self.domain.volume
        columns[:, 1] = density
        columns[:, 2:n_base] = density[:, None] * cycle_columns(inside.t)
        masses[:2] = window.duration
        masses[2:n_base] = cycle_integrals(np.array([window.start, window.end]))[0]
        for k, kernel in enumerate(kernels):
            weight = p[:, k].copy()
            if math.isinf(kernel.bandwidth):
                value = density * decayed_totals(past.t, weight, inside.t, kernel.decay)
            else:
                value = decayed_sums(past.t, past.x, weight, inside.t, inside.x, kernel.decay, kernel.bandwidth).value
            columns[:, n_base + k] = kernel.decay * value
            masses[n_base + k] = weight @ (_masses(kernel, window, past) * kernel.box_mass(past.x, self.domain))
        useful = masses > 1e-12 * len(inside)
        fit = concave_weights(columns[:, useful] if not useful.all() else columns, masses[useful])
        weights, errors = np.zeros(len(masses)), np.full(len(masses), np.nan)
        weights[useful], errors[useful] = fit.weights, fit.standard_errors()
        explained = weights * masses / len(inside)
        kept = np.flatnonzero(explained[n_base:] > 1e-5)
        chosen = [kernels[k] for k in kept]
        fitted = replace(
            base,
            uniform_rate=float(weights[0]),
            cycle_rates=weights[1:n_base].copy(),
            decays=np.array([k.decay for k in chosen]),
            bandwidths=np.array([k.bandwidth for k in chosen]),
            exponents=exponents[kept],
            coefficients=weights[n_base:][kept],
            mean_productivity=p[:, kept].mean(axis=0) if len(past) else np.ones(len(kept)),
            place_decays=place.decays,
            place_bandwidths=place.bandwidths,
            place_shares=place.shares,
        )
        names = ["uniform background", "background", *(f"cycle {i}" for i in range(13))]
        parameters = {
            names[i]: Parameter(float(weights[i]), float(errors[i]), "events/day") for i in range(n_base) if weights[i] > 0
        }
        for k in kept:
            label = _label(kernels[k], exponents[k], self.productivity)
            parameters[label] = Parameter(float(weights[n_base + k]), float(errors[n_base + k]), "offspring")
        result = FitResult(
            n_events=len(inside),
            log_likelihood=fit.log_likelihood,
            parameters=parameters,
            free_parameters=int((weights > 0).sum()),
            background_rate=float((weights * masses)[:n_base].sum() / window.duration),
            branching_ratio=fitted.branching_ratio,
            converged=fit.converged,
        )
        return replace(fitted, result=result)

    def _dictionary(self, past: Events, window: Window) -> tuple[list[TriggeringKernel], Array]:
        """Half-lives from the mean gap to a quarter of the window × bandwidths, plus anywhere; × powers of the mark."""
        gap = max(window.duration / max(len(past.between(window)), 1), 1e-6 * window.duration)
        half_lives = half_life_ladder(gap, window.duration / 4, 4.0, 8)
        bandwidths = [*bandwidth_ladder(past)[1:], math.inf]
        powers = EXPONENTS if self.productivity else (0.0,)
        out = [(TriggeringKernel(math.log(2) / tau, float(h)), a) for a in powers for h in bandwidths for tau in half_lives]
        return [kernel for kernel, _ in out], np.array([a for _, a in out])

    def simulate(self, window, history, rng):
        raise NotImplementedError


def _masses(kernel: TriggeringKernel, window: Window, past: Events) -> Array:
    """(n,) ∫ of the temporal kernel inside the window, after each event."""
    return kernel.temporal_mass(np.maximum(window.start - past.t, 0.0), window.end - past.t)


def _log_mark(events: Events, name: str) -> Array:
    values = np.asarray(events.mark(name), dtype=float)
    if name.lower() in ("mag", "magnitude"):
        return math.log(10) * values
    return np.log1p(np.nan_to_num(values))


def _label(kernel: TriggeringKernel, exponent: float, mark: str) -> str:
    where = "anywhere" if math.isinf(kernel.bandwidth) else f"bandwidth {kernel.bandwidth:.3g}"
    power = f", {mark}^{exponent:g}" if mark else ""
    return f"kernel half-life {_duration(kernel.half_life)}, {where}{power}"


def _duration(days: float) -> str:
    if days >= 1:
        return f"{days:.3g} d"
    return f"{days * 24:.3g} h" if days * 24 >= 1 else f"{days * 1440:.3g} min"


class _State:
    """What the past adds to each kernel at a moving issue time."""

    def __init__(self, model: Hawkes, grid: Grid) -> None:
        self._model, self._grid = model, grid
        self._place = RunningMixture(model.place)
        self._kernels = model.kernels()
        self._fields = [
            None if math.isinf(k.bandwidth) else DecayedField(model.domain, k.decay, k.bandwidth) for k in self._kernels
        ]
        self._totals = np.zeros(len(self._kernels))
        self._blurs = {k.bandwidth: Blur(grid, k.bandwidth) for k in self._kernels if math.isfinite(k.bandwidth)}
        self._seen, self._time = 0, -math.inf

    def advance(self, events: Events, until: float) -> None:
        past = events.before(until)
        new = past.rows(self._seen, len(past))
        p = self._model.productivities(new, self._model.exponents)
        lapse = until - self._time

        def move(k: int) -> None:
            running, kernel = self._fields[k], self._kernels[k]
            if running is not None:
                running.advance(new.t, new.x, p[:, k].copy(), until)
            else:
                kept = self._totals[k] * math.exp(-kernel.decay * lapse) if self._totals[k] else 0.0
                self._totals[k] = kept + float(p[:, k] @ np.exp(-kernel.decay * (until - new.t)))

        in_threads(move, range(len(self._kernels)))
        self._place.advance(new, until)
        self._seen, self._time = len(past), until

    def forecast(self, window: Window) -> Forecast:
        model, grid = self._model, self._grid
        density = self._place.cell_shares(grid)
        background = np.full(grid.shape, model.uniform_rate * window.duration / grid.cells)
        if len(model.cycle_rates):
            cycles = cycle_integrals(np.array([window.start, window.end]))[0]
            total = model.cycle_rates[0] * window.duration + cycles @ model.cycle_rates[1:]
            background = background + total * density
        excitations = []
        for k, kernel in enumerate(self._kernels):
            rate = model.coefficients[k] * kernel.decay
            running = self._fields[k]
            now = rate * self._totals[k] if running is None else rate * running.cell_means(grid) * grid.cell_volume
            offspring = float(model.coefficients[k] * model.mean_productivity[k])
            excitations.append(Excitation(kernel.decay, kernel.bandwidth, offspring, now))
        counts = expected_counts(window.duration, background, density, excitations, self._blurs)
        return Forecast.of(window, grid, counts, model.name, model.floor)
