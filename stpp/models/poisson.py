"""The homogeneous Poisson process: the same rate everywhere, always."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np

from stpp.compute.progress import Progress
from stpp.domain import Array, Grid
from stpp.events import Events, Window
from stpp.fitting.results import FitResult, Parameter
from stpp.intensity import AnyForecast, Forecast, IntensityModel, PointForecast
from stpp.kernels.background import interval_edges


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Uniform(IntensityModel):
    """λ(t, x) = rate / |domain|.

    Parameters
    ----------
    rate : events per day over the whole domain; NaN before a fit
    """

    name: ClassVar[str] = "uniform"
    summary_line: ClassVar[str] = "the same rate everywhere, always (homogeneous Poisson)"

    rate: float = float("nan")

    def fit(self, events: Events, window: Window, *, progress: Progress | None = None) -> Self:
        """Rate = events in the window over its length."""
        began = time.perf_counter()
        n = len(self.training_events(events, window))
        rate = n / window.duration
        log_likelihood = n * np.log(rate / self.domain.volume) - n
        parameters = {"rate": Parameter(rate, float(np.sqrt(n) / window.duration), "events/day")}
        seconds = time.perf_counter() - began
        result = FitResult(n, float(log_likelihood), parameters, 1, rate, 0.0, True, seconds)
        return replace(self, rate=rate, result=result)

    def intensity(self, t: Array, x: Array, history: Events) -> Array:
        """(n,) the constant."""
        return np.full(len(t), self.rate / self.domain.volume)

    def compensator(self, window: Window, history: Events, grid: Grid) -> Array:
        """``grid.shape`` expected counts, the same in every cell."""
        return np.full(grid.shape, self.rate * window.duration / grid.cells)

    def total_compensator(self, window: Window, history: Events) -> float:
        """Rate × length of the window."""
        return self.rate * window.duration

    def compensator_increments(self, window: Window, history: Events) -> Array:
        """(n + 1,) rate × time between the window's events."""
        return self.rate * np.diff(interval_edges(window, history.between(window).t))

    def forecast(self, window: Window, history: Events, grid: Grid | None) -> AnyForecast:
        """The compensator: nothing depends on history."""
        if grid is None:
            box, total = self.domain, self.rate * window.duration
            return PointForecast(
                window,
                box,
                total,
                lambda x: np.full(len(x), 1 / box.volume),
                box.sample,
                self.name,
                self.floor,
            )
        return Forecast.of(window, grid, self.compensator(window, history, grid), self.name, self.floor)

    def simulate(self, window: Window, history: Events, rng: np.random.Generator) -> Events:
        """A Poisson number of events, uniform in time and place."""
        n = rng.poisson(self.rate * window.duration)
        t = np.sort(rng.uniform(window.start, window.end, n))
        x = self.domain.sample(n, rng)
        return Events(t, x, epoch=history.epoch, axes=history.axes)
