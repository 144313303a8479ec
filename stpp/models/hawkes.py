"""The Hawkes process: a background and triggering kernels; every post makes others likelier, nearby and for a while."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from stpp.compute.blas import one_blas_thread
from stpp.compute.progress import Progress
from stpp.domain import Array, Grid
from stpp.events import Events, Window
from stpp.fitting.hawkes import fit_dictionary, fit_exponential
from stpp.intensity import AnyForecast, Forecast, IntensityModel, PointForecast
from stpp.kernels.background import (
    HATS,
    KernelMixture,
    RunningMixture,
    between_events,
    cycle_columns,
    cycle_integrals,
    decayed_intervals,
    interval_edges,
)
from stpp.kernels.fields import DecayedField, decayed_sums, decayed_totals, in_threads
from stpp.kernels.renewal import Blur, Excitation, expected_counts
from stpp.kernels.triggering import TriggeringKernel, log_mark, mark_of
from stpp.options import option
from stpp.simulation.branching import BranchingSample, Productivity, simulate_branching

KERNELS = ("dictionary", "exponential")


def _none() -> Array:
    return np.zeros(0)


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Hawkes(IntensityModel):
    """λ = uniform + cycle(t)·f(x | H_t) + Σ_k c_k Σ_{t_j < t} p_k(m_j) β_k e^{−β_k(t − t_j)} φ_{h_k}(x − x_j).

    f is a density of past places that may fade (a convex mixture, learned ``horizon`` days ahead); kernels of infinite
    bandwidth drop offspring anywhere, with density f. By default rates and coefficients are found together, over a
    dictionary of kernels, at the one maximum of the concave log-likelihood.

    Parameters
    ----------
    horizon : days ahead that f is learned for
    kernel : ``dictionary``, or ``exponential``: one kernel with free β and h over a uniform background, with standard
        errors
    productivity : name of a mark; productivity then follows powers of it, p = exp(a·(u − ū)), with u = ln 10 · m for a
        magnitude and ln(1 + c) for a count. Only for marks known when the event happens: engagement that
        accumulates later would leak the future
    uniform_rate : events per day, spread evenly
    cycle_rates : (14,) events per day, spread as f: constant, six four-hour hats of the day, seven days of the week
    decays, bandwidths, exponents, coefficients : (K,) β_k per day, h_k map units, a_k, c_k expected direct offspring
    mean_productivity : (K,) mean of p_k over the training events
    mark_mean : ū
    place_decays, place_bandwidths, place_shares : the mixture f

    References
    ----------
    Hawkes (1971), Spectra of some self-exciting and mutually exciting point processes; Ogata (1998), Space-time
    point-process models for earthquake occurrences.
    """

    name: ClassVar[str] = "hawkes"
    excites: ClassVar[bool] = True
    summary_line: ClassVar[str] = (
        "background + self-excitation: every post makes others likelier, nearby and for a while"
    )

    horizon: float = 1.0
    kernel: str = option("dictionary", "many kernels, or one with standard errors", choices=KERNELS)
    productivity: str = option("", "events trigger more, the larger this mark", metavar="MARK")
    uniform_rate: float = float("nan")
    cycle_rates: Array = field(default_factory=_none)
    decays: Array = field(default_factory=_none)
    bandwidths: Array = field(default_factory=_none)
    exponents: Array = field(default_factory=_none)
    coefficients: Array = field(default_factory=_none)
    mean_productivity: Array = field(default_factory=_none)
    mark_mean: float = 0.0
    place_decays: Array = field(default_factory=_none)
    place_bandwidths: Array = field(default_factory=_none)
    place_shares: Array = field(default_factory=_none)

    def __post_init__(self) -> None:
        if self.kernel not in KERNELS:
            raise ValueError(f"no kernel '{self.kernel}'; there are: {', '.join(KERNELS)}")
        if self.kernel == "exponential" and self.productivity:
            raise ValueError("the exponential kernel has no mark productivity; use the dictionary with --productivity")

    @property
    def place(self) -> KernelMixture:
        """The background's density f."""
        return KernelMixture(self.domain, self.place_decays, self.place_bandwidths, self.place_shares)

    @property
    def branching_ratio(self) -> float:
        """Expected direct offspring per event, before edge losses."""
        return float(self.coefficients @ self.mean_productivity)

    @property
    def kernels(self) -> list[TriggeringKernel]:
        """The K triggering kernels."""
        return [TriggeringKernel(float(b), float(h)) for b, h in zip(self.decays, self.bandwidths, strict=True)]

    def powers(self, events: Events) -> Array:
        """(n, K) p_k, each event's productivity by each kernel; 1 without a productivity mark."""
        if not self.productivity:
            return np.ones((len(events), len(self.exponents)))
        return np.exp((log_mark(events, self.productivity) - self.mark_mean)[:, None] * self.exponents)

    def productivities(self, events: Events) -> Array:
        """(n, K) c_k p_k, expected direct offspring of each event by each kernel, before edge losses."""
        return self.coefficients * self.powers(events)

    def cycle(self, t: Array) -> Array:
        """(n,) background rate that is spread with density f, events per day."""
        if not len(self.cycle_rates):
            return np.zeros(len(t))
        return np.asarray(self.cycle_rates[0] + cycle_columns(t) @ self.cycle_rates[1:])

    def cycle_integrals(self, edges: Array) -> Array:
        """(len(edges) − 1,) ∫ of :meth:`cycle` between consecutive edges."""
        if not len(self.cycle_rates):
            return np.zeros(len(edges) - 1)
        return np.asarray(self.cycle_rates[0] * np.diff(edges) + cycle_integrals(edges) @ self.cycle_rates[1:])

    def cycle_after(self, start: float) -> Callable[[Array], Array]:
        """:meth:`cycle_integrals` of edges in days after ``start``."""
        return lambda edges: self.cycle_integrals(start + edges)

    # -- the interface ------------------------------------------------------------------------------------------

    def fit(self, events: Events, window: Window, *, progress: Progress | None = None) -> Self:
        """Maximum likelihood over the window; events before it only excite.

        Raises
        ------
        ValueError
            if there are no events in the window, or the productivity mark is missing
        """
        began = time.perf_counter()
        past = events.before(window.end)
        self.training_events(past, window)
        if self.kernel == "exponential":
            parameters, result = fit_exponential(past, window, self.domain, progress=progress)
        else:
            log = log_mark(past, self.productivity) if self.productivity else np.zeros(len(past))
            how = (self.horizon, self.productivity, log)
            parameters, result = fit_dictionary(past, window, self.domain, *how, progress=progress)
        values = {f.name: getattr(parameters, f.name) for f in dataclasses.fields(parameters)}
        return replace(self, **values, result=replace(result, seconds=time.perf_counter() - began))

    def intensity(self, t: Array, x: Array, history: Events) -> Array:
        """(n,) λ, at times in any order."""
        order = np.argsort(t, kind="stable")
        times, places = np.asarray(t, dtype=float)[order], np.asarray(x, dtype=float)[order]
        background, excited, _ = self.parts(times, places, history)
        out = np.empty(len(times))
        out[order] = background + excited
        return out

    def parts(self, t: Array, x: Array, history: Events) -> tuple[Array, Array, Array]:
        """(n,) background rate and (n,) self-excitation at sorted times, λ being their sum, and (n,) the density f."""
        density = self.place.at(t, x, history)
        background = self.uniform_rate / self.domain.volume + self.cycle(t) * density
        excited = np.zeros(len(t))
        offspring = self.productivities(history)
        for k, kernel in enumerate(self.kernels):
            weight = np.ascontiguousarray(offspring[:, k]) * kernel.decay
            if kernel.anywhere:
                excited += density * decayed_totals(history.t, weight, t, kernel.decay)
            else:
                excited += decayed_sums(history.t, history.x, weight, t, x, kernel.decay, kernel.bandwidth).value
        return background, excited, density

    def compensator(self, window: Window, history: Events, grid: Grid) -> Array:
        """``grid.shape``, exact in time; in space erf at the box's edges and grid-engine accurate inside."""
        past = history.before(window.end)
        intervals = self.cycle_integrals(interval_edges(window, past.t))
        out = np.full(grid.shape, self.uniform_rate * window.duration / grid.cells)
        offspring = self.productivities(past)
        for k, kernel in enumerate(self.kernels):
            if kernel.anywhere:
                intervals = intervals + decayed_intervals(window, past.t, offspring[:, k].copy(), kernel.decay)
            else:
                field_ = DecayedField(self.domain, 0.0, kernel.bandwidth)
                field_.advance(past.t, past.x, offspring[:, k] * kernel.mass_in(window, past.t), 0.0)
                out += field_.cell_means(grid) * grid.cell_volume
        return out + self.place.integral(intervals, past, grid)

    def total_compensator(self, window: Window, history: Events) -> float:
        """∫∫ λ over the domain in closed form."""
        past = history.before(window.end)
        edges = np.array([window.start, window.end])
        total = self.uniform_rate * window.duration + float(self.cycle_integrals(edges)[0])
        offspring = self.productivities(past)
        for k, kernel in enumerate(self.kernels):
            total += float(offspring[:, k] @ (kernel.mass_in(window, past.t) * kernel.box_mass(past.x, self.domain)))
        return total

    def compensator_increments(self, window: Window, history: Events) -> Array:
        """(n + 1,) ∫∫ λ between the window's events, in closed form."""
        past = history.before(window.end)
        edges = interval_edges(window, past.t)
        out = self.uniform_rate * np.diff(edges) + self.cycle_integrals(edges)
        offspring = self.productivities(past)
        for k, kernel in enumerate(self.kernels):
            weight = offspring[:, k] * kernel.box_mass(past.x, self.domain)
            out += decayed_intervals(window, past.t, weight, kernel.decay)
        return between_events(out, window, past.t)

    def forecast(self, window: Window, history: Events, grid: Grid | None) -> AnyForecast:
        """E[N(cell × window) | history before it], offspring of offspring included, in closed form on the grid.

        The background's density stays as it is at issue time. Above 3 dimensions, future events are taken to lose as
        many offspring over the edge as past ones do, and these to fall as the background and the direct offspring of
        past events.
        """
        return next(self.rolling_forecasts(history, [window], grid))

    def rolling_forecasts(
        self, events: Events, windows: Sequence[Window], grid: Grid | None, *, first: int = 0
    ) -> Iterator[AnyForecast]:
        """One pass over the events: the fields are carried from window to window; see :mod:`stpp.kernels.renewal`."""
        if grid is None:
            for window in windows[first:]:
                yield self._point_forecast(window, events.before(window.start))
            return
        state = _State(self, grid)
        for k, window in enumerate(windows):
            state.advance(events, window.start)
            if k >= first:
                yield state.forecast(window)

    def _point_forecast(self, window: Window, past: Events) -> PointForecast:
        now = np.array([window.start])
        even = self.uniform_rate * window.duration
        by_density = float(self.cycle_integrals(np.array([window.start, window.end]))[0])
        offspring = self.productivities(past)
        direct: list[tuple[float, Array, float]] = []  # bandwidth, weight of each past event, their mass in the box
        excitations = []
        for k, kernel in enumerate(self.kernels):
            weight = offspring[:, k] * kernel.mass_in(window, past.t)
            stays = kernel.box_mass(past.x, self.domain)
            rate = kernel.decay * decayed_totals(past.t, offspring[:, k] * stays, now, kernel.decay)
            born = self._mean_offspring(k) * (float(stays.mean()) if len(past) else 1.0)
            excitations.append(Excitation(kernel.decay, math.inf, born, float(rate[0])))
            if kernel.anywhere:
                by_density += float(weight.sum())
            else:
                direct.append((kernel.bandwidth, weight, float(weight @ stays)))
        total = expected_counts(
            window.duration, np.array([even]), np.ones(1), excitations, {}, self.cycle_after(window.start)
        )
        parts = np.array([even, by_density, *(mass for _, _, mass in direct)])

        def density(x: Array) -> Array:
            t = np.full(len(x), window.start)
            out = even / self.domain.volume + by_density * self.place.at(t, x, past)
            for bandwidth, weight, _ in direct:
                out += decayed_sums(past.t, past.x, weight, t, x, 0.0, bandwidth).value
            return np.asarray(out / parts.sum())

        def draw(n: int, rng: np.random.Generator) -> Array:
            part = rng.choice(len(parts), size=n, p=parts / parts.sum())
            out = self.place.sample(n, past, window.start, rng)
            out[part == 0] = self.domain.sample(int((part == 0).sum()), rng)
            for k, (bandwidth, weight, _) in enumerate(direct, start=2):
                rows = np.flatnonzero(part == k)
                if len(rows):
                    mass = weight * self.domain.kernel_mass(past.x, bandwidth)
                    parents = rng.choice(len(past), size=len(rows), p=mass / mass.sum())
                    out[rows] = self.domain.scatter(past.x[parents], bandwidth, rng)
            return out

        return PointForecast(window, self.domain, float(total.sum()), density, draw, self.name, self.floor)

    def _mean_offspring(self, k: int) -> float:
        return float(self.coefficients[k] * self.mean_productivity[k])

    def simulate(self, window: Window, history: Events, rng: np.random.Generator) -> Events:
        """Branching simulation; places of the background as its density is at the start of the window.

        New events carry the productivity mark, drawn from the history's.
        """
        past = history.before(window.start)
        sample, draw_logs = self._branching(window, self._immigrants(window, past, rng), past, past, rng)
        marks = None
        if self.productivity:
            top = int(np.argmax(self.exponents)) if len(self.exponents) else -1
            if top >= 0 and self.exponents[top] > 0:
                log = np.log(sample.productivity[:, top]) / self.exponents[top]
            else:
                log = draw_logs(len(sample.t), rng)
            marks = pa.table({self.productivity: mark_of(log + self.mark_mean, self.productivity)})
        return Events(sample.t, sample.x, marks=marks, epoch=history.epoch, axes=history.axes)

    def progeny(
        self, window: Window, parents: Events, history: Events, rng: np.random.Generator
    ) -> tuple[Events, NDArray[np.int64]]:
        """All posts in the window that descend from ``parents``, before it; and from which row of them each does.

        λ is linear in past posts but for the density f, which stays that of ``history``: see
        :mod:`stpp.planning.whatif`.
        """
        none = np.zeros(0), np.zeros((0, self.domain.d))
        sample, _ = self._branching(window, none, parents, history.before(window.start), rng)
        root = sample.history_parent
        for generation in range(2, int(sample.generation.max(initial=0)) + 1):
            rows = sample.generation == generation
            root[rows] = root[sample.parent[rows]]
        return Events(sample.t, sample.x, epoch=history.epoch, axes=history.axes), root

    def _branching(
        self, window: Window, immigrants: tuple[Array, Array], parents: Events, past: Events, rng: np.random.Generator
    ) -> tuple[BranchingSample, Productivity]:
        """Immigrants and all offspring of theirs and of ``parents``, in places and with marks as ``past`` has them."""
        logs = log_mark(past, self.productivity) - self.mark_mean if self.productivity else np.zeros(0)

        def draw_logs(n: int, g: np.random.Generator) -> Array:
            return g.choice(logs, size=n) if len(logs) else np.zeros(n)

        sample = simulate_branching(
            window,
            self.domain,
            list(zip(self.kernels, self.coefficients.tolist(), strict=True)),
            immigrants,
            parents,
            lambda n, g: np.exp(draw_logs(n, g)[:, None] * self.exponents),
            rng,
            history_productivity=self.powers(parents),
            anywhere=self.place.sampler(past, window.start),
            allow_supercritical=True,
        )
        return sample, draw_logs

    def _immigrants(self, window: Window, past: Events, rng: np.random.Generator) -> tuple[Array, Array]:
        """Times and places of the background events, the cycle by thinning."""
        even = rng.poisson(self.uniform_rate * window.duration)
        highest = 0.0
        if len(self.cycle_rates):  # each cycle's hats sum to 1, so their mean is at most the largest
            day, week = np.split(self.cycle_rates[1:], [HATS[1.0]])
            highest = float(self.cycle_rates[0] + day.max() + week.max())
        t = rng.uniform(window.start, window.end, rng.poisson(highest * window.duration))
        t = t[rng.uniform(0, highest, len(t)) < self.cycle(t)]
        times = np.concatenate([rng.uniform(window.start, window.end, even), t])
        places = np.concatenate([self.domain.sample(even, rng), self.place.sample(len(t), past, window.start, rng)])
        return times, places


class _State:
    """What the past adds to each kernel, at an issue time that moves forward."""

    def __init__(self, model: Hawkes, grid: Grid) -> None:
        self._model, self._grid, self._kernels = model, grid, model.kernels
        self._place = RunningMixture(model.place)
        self._fields = [None if k.anywhere else DecayedField(model.domain, k.decay, k.bandwidth) for k in self._kernels]
        self._totals = np.zeros(len(self._kernels))
        self._blurs = {k.bandwidth: Blur(grid, k.bandwidth) for k in self._kernels if not k.anywhere}
        self._seen, self._time = 0, -math.inf

    def advance(self, events: Events, until: float) -> None:
        past = events.before(until)
        new = past.rows(self._seen, len(past))
        offspring = self._model.productivities(new)
        lapse = until - self._time

        def move(k: int) -> None:
            running, kernel = self._fields[k], self._kernels[k]
            if running is not None:
                running.advance(new.t, new.x, np.ascontiguousarray(offspring[:, k]), until)
            else:
                kept = self._totals[k] * math.exp(-kernel.decay * lapse) if self._totals[k] else 0.0
                self._totals[k] = kept + float(offspring[:, k] @ np.exp(-kernel.decay * (until - new.t)))

        in_threads(move, range(len(self._kernels)))
        self._place.advance(new)
        self._seen, self._time = len(past), until

    @one_blas_thread
    def forecast(self, window: Window) -> Forecast:
        model, grid = self._model, self._grid
        density = self._place.cell_shares(grid)
        background = np.full(grid.shape, model.uniform_rate * window.duration / grid.cells)
        excitations = []
        for k, kernel in enumerate(self._kernels):
            running = self._fields[k]
            now = self._totals[k] if running is None else running.cell_means(grid) * grid.cell_volume
            excitations.append(Excitation(kernel.decay, kernel.bandwidth, model._mean_offspring(k), kernel.decay * now))
        counts = expected_counts(
            window.duration, background, density, excitations, self._blurs, model.cycle_after(window.start)
        )
        return Forecast.of(window, grid, counts, model.name, model.floor)
