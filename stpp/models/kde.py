"""Densities of past posts: the historical average, which never forgets, and the decaying KDE, which does."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, Self

import numpy as np
from scipy.optimize import minimize_scalar

from stpp.compute.progress import Progress
from stpp.domain import Array, Grid
from stpp.events import Events, Window
from stpp.fitting.mixture import bandwidth_ladder, fit_mixture, memory_ladder
from stpp.fitting.results import FitResult, Parameter
from stpp.intensity import AnyForecast, Forecast, IntensityModel, PointForecast
from stpp.kernels.background import GroundRate, KernelMixture, RunningMixture, between_events
from stpp.kernels.fields import decayed_totals


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class HistoricalAverage(IntensityModel):
    """λ(t, x) = rate · Σ_c share_c f_c(x | H_t): a constant rate times the density of all posts so far.

    Several bandwidths are mixed convexly, and the shares maximise the predictive log score of training events
    ``horizon`` days ahead, so that this is the strongest honest baseline: each event is weighted by its importance.

    Parameters
    ----------
    horizon : days ahead that the shares are learned for
    bandwidths, decays, shares : (C,) the mixture, set by the fit
    rate, rate_share, rate_decay : the ground rate, see :class:`stpp.kernels.background.GroundRate`
    """

    name: ClassVar[str] = "historical-average"
    summary_line: ClassVar[str] = "a constant rate × the density of all past posts, bandwidths mixed"

    horizon: float = 1.0
    decays: Array = field(default_factory=lambda: np.zeros(0))
    bandwidths: Array = field(default_factory=lambda: np.zeros(0))
    shares: Array = field(default_factory=lambda: np.zeros(0))
    rate: float = float("nan")
    rate_share: float = 0.0
    rate_decay: float = 1.0

    def _decay_options(self, events: Events) -> list[float]:
        return [0.0]

    def _ground_rate(self, events: Events, window: Window) -> GroundRate:
        return GroundRate(len(events.between(window)) / window.duration)

    @property
    def mixture(self) -> KernelMixture:
        """The density part."""
        return KernelMixture(self.domain, self.decays, self.bandwidths, self.shares)

    @property
    def ground(self) -> GroundRate:
        """The rate part."""
        return GroundRate(self.rate, self.rate_share, self.rate_decay)

    def fit(self, events: Events, window: Window, *, progress: Progress | None = None) -> Self:
        """Shares of bandwidths (and memories) by predictive log score, ground rate by maximum likelihood."""
        began = time.perf_counter()
        past = events.before(window.end)
        n = len(self.training_events(past, window))
        ladder = bandwidth_ladder(past)
        decays = self._decay_options(past)
        mixture, score = fit_mixture(past, window, self.domain, decays, ladder, self.horizon, progress=progress)
        ground = self._ground_rate(past, window)
        fitted = replace(
            self,
            decays=mixture.decays,
            bandwidths=mixture.bandwidths,
            shares=mixture.shares,
            rate=ground.mean,
            rate_share=ground.share,
            rate_decay=ground.decay,
        )
        parameters = {"rate": Parameter(ground.mean, math.sqrt(n) / window.duration, "events/day")}
        if ground.share > 0:
            parameters["recent share of the rate"] = Parameter(ground.share)
            parameters["half-life of the recent rate"] = Parameter(math.log(2) / ground.decay, None, "days")
        parameters |= fitted.mixture_parameters()
        parameters["predictive log density per event"] = Parameter(score, None, "nats")
        result = FitResult(
            n_events=n,
            log_likelihood=fitted.log_likelihood(past, window),
            parameters=parameters,
            free_parameters=1 + len(mixture.shares) + (2 if ground.share > 0 else 0),
            background_rate=ground.mean,
            seconds=time.perf_counter() - began,
        )
        return replace(fitted, result=result)

    def mixture_parameters(self, of: float = 1.0) -> dict[str, Parameter]:
        """The shares of the density's components, by name; ``of``: what the density is a share of."""
        parameters = {}
        for decay, bandwidth, share in zip(self.decays, self.bandwidths, self.shares, strict=True):
            memory = f", half-life {math.log(2) / decay:.3g} d" if decay > 0 else ""
            parameters[f"share of bandwidth {bandwidth:.3g}{memory}"] = Parameter(of * share)
        parameters["share of uniform"] = Parameter(of * self.mixture.uniform)
        return parameters

    def intensity(self, t: Array, x: Array, history: Events) -> Array:
        """(n,) ground rate × density at sorted times."""
        order = np.argsort(t, kind="stable")
        out = np.empty(len(t))
        times, places = np.asarray(t)[order], np.asarray(x)[order]
        out[order] = self.ground.at(times, history) * self.mixture.at(times, places, history)
        return out

    def compensator(self, window: Window, history: Events, grid: Grid) -> Array:
        """``grid.shape`` exact time integral: between events neither density changes."""
        past = history.before(window.end)
        return self.mixture.integral(self.ground.intervals(window, past), past, grid)

    def total_compensator(self, window: Window, history: Events) -> float:
        """∫ of the ground rate: the density integrates to 1."""
        return float(self.ground.intervals(window, history.before(window.end)).sum())

    def compensator_increments(self, window: Window, history: Events) -> Array:
        """(n + 1,) ∫ of the ground rate between the window's events."""
        past = history.before(window.end)
        return between_events(self.ground.intervals(window, past), window, past.t)

    def forecast(self, window: Window, history: Events, grid: Grid | None) -> AnyForecast:
        """Expected total × the density at issue time."""
        return next(self.rolling_forecasts(history, [window], grid))

    def rolling_forecasts(
        self, events: Events, windows: Sequence[Window], grid: Grid | None, *, first: int = 0
    ) -> Iterator[AnyForecast]:
        """One pass over the events: the fields are carried from window to window."""
        if grid is None:
            for window in windows[first:]:
                yield self._point_forecast(window, events.before(window.start))
            return
        running, seen = RunningMixture(self.mixture), 0
        for k, window in enumerate(windows):
            past = events.before(window.start)
            running.advance(past.rows(seen, len(past)))
            seen = len(past)
            if k >= first:
                counts = self.ground.expected(window, past) * running.cell_shares(grid)
                yield Forecast.of(window, grid, counts, self.name, self.floor)

    def _point_forecast(self, window: Window, past: Events) -> PointForecast:
        mixture, total = self.mixture, self.ground.expected(window, past)
        return PointForecast(
            window,
            self.domain,
            total,
            lambda x: mixture.at(np.full(len(x), window.start), x, past),
            lambda n, rng: mixture.sample(n, past, window.start, rng),
            self.name,
            self.floor,
        )

    def simulate(self, window: Window, history: Events, rng: np.random.Generator) -> Events:
        """Times from the ground process, places from the density at the start of the window."""
        past = history.before(window.start)
        t = np.sort(self._simulate_times(window, past, rng))
        x = self.mixture.sample(len(t), past, window.start, rng)
        return Events(t, x, epoch=history.epoch, axes=history.axes)

    def _simulate_times(self, window: Window, past: Events, rng: np.random.Generator) -> Array:
        """Cluster simulation of the ground rate: each event adds share·e^{−δτ}δ, δ its decay."""
        ground = self.ground
        n = rng.poisson((1 - ground.share) * ground.mean * window.duration)
        births = [rng.uniform(window.start, window.end, n)]
        if ground.share > 0:
            start = np.array([window.start])
            carried = float(decayed_totals(past.t, np.ones(len(past)), start, ground.decay)[0])
            first = rng.poisson(ground.share * carried)
            births.append(window.start + rng.exponential(1 / ground.decay, first))
            generation = np.concatenate(births)
            while len(generation):
                children = np.repeat(generation, rng.poisson(ground.share, len(generation)))
                generation = children + rng.exponential(1 / ground.decay, len(children))
                generation = generation[generation < window.end]
                births.append(generation)
        t = np.concatenate(births)
        return t[t < window.end]


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class DecayingKDE(HistoricalAverage):
    """λ(t, x) = ground rate(t) · Σ_c share_c f_c(x | H_t), each f_c a kernel density that forgets at its own pace.

    Bandwidths and half-lives are learned as convex shares of a ladder of both, by predictive log score ``horizon``
    days ahead; the historical average is the end of the ladder that never forgets. The ground rate leans on the
    recent rate as far as the likelihood says.
    """

    name: ClassVar[str] = "decaying-kde"
    summary_line: ClassVar[str] = "a recent rate × the density of past posts that fades: w·exp(−(t − s)/τ)"

    def _decay_options(self, events: Events) -> list[float]:
        return memory_ladder(events, self.horizon)

    def _ground_rate(self, events: Events, window: Window) -> GroundRate:
        """The best of a few half-lives, its share by maximum likelihood (concave in the share)."""
        mean = len(events.between(window)) / window.duration
        inside = events.between(window)

        def loss(share: float, decay: float) -> float:
            rate = GroundRate(mean, share, decay)
            return float(rate.intervals(window, events).sum() - np.log(rate.at(inside.t, events)).sum())

        best = GroundRate(mean)
        lowest = loss(0.0, 1.0)
        for decay in self._decay_options(events)[1:]:
            found = minimize_scalar(loss, bounds=(0.0, 0.999), args=(decay,), method="bounded", options={"xatol": 1e-3})
            if found.fun < lowest - 2:  # two more parameters must earn their AIC
                lowest, best = found.fun, GroundRate(mean, float(found.x), float(decay))
        return best
