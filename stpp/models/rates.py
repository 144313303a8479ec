"""Rates over regions: what models of regions share, whatever the law that their rates follow."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import expm

from stpp.compute.progress import Progress
from stpp.domain import Array, Grid
from stpp.events import Events, Window
from stpp.fitting.mixture import bandwidth_ladder, fit_mixture, half_life_ladder
from stpp.intensity import AnyForecast, Forecast, IntensityModel, PointForecast
from stpp.kernels.background import KernelMixture, RunningMixture, between_events, decayed_intervals, interval_edges
from stpp.kernels.fields import decayed_totals
from stpp.partition import Partition
from stpp.simulation.branching import MAX_EVENTS, Places

SPILL_DRAWS = 4096
"""Places drawn per region to see in which regions its posts fall."""

LEAST_REST = 1e-9
"""Membership that the given regions leave over in some cell before the rest counts as a region of its own."""

SHORT_GAP = 0.25
"""Quantile of the gaps between events that the shortest half-life is."""

HALF_LIFE_STEP = 3.0
MOST_HALF_LIVES = 8
NEGLIGIBLE = 1e-5
"""Share of the events that a kernel must explain to be kept."""


def _none() -> Array:
    return np.zeros(0)


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class RegionRates(IntensityModel):
    """λ(t, x) = ν f(x | H_t) + Σ_r [ν_r + Σ_s Σ_c A_rsc Σ_{t_j < t} m_s(x_j) β_c e^{−β_c(t − t_j)}] f_r(x | H_t).

    f is the place density of the historical average, and f_r the same density of the posts of region r alone, each
    post weighted by its membership m_r. Memberships sum to 1, so Σ_r (share of r) f_r = f: constant rates in
    proportion to the regions' shares are the historical average itself. The density of a region needs its membership
    at posts only, so that every integral is as exact as for kernel densities, in any number of dimensions.

    Parameters
    ----------
    horizon : days ahead that f is learned for
    regions : how many hard regions to lay around landmarks of the training events where no membership is given
    seed : of the landmarks
    membership : (B, cells) share of each cell's posts that are region b's, summing to at most 1 in each cell; what is
        left is one more region, the last one. (0, 0): adaptive regions, one per cell
    cell_shape, cell_centres : the cells: those of a grid of this shape over the domain in C order, or else the places
        nearest to each of the (cells, d) centres
    place_bandwidths, place_shares : the mixture f
    even_rate : ν, events per day
    rates : (R,) ν_r, events per day
    decays : (C,) β_c, per day
    excitation : (R, R, C) A_rsc ≥ 0, expected direct offspring in r of a post in s by kernel c
    spill : (R, R) share of the posts born in region r that fall in region s: densities are smooth, borders are not
    """

    horizon: float = 1.0
    regions: int = 12
    seed: int = 0
    membership: Array = field(default_factory=lambda: np.zeros((0, 0)))
    cell_shape: tuple[int, ...] = ()
    cell_centres: Array = field(default_factory=lambda: np.zeros((0, 0)))
    place_bandwidths: Array = field(default_factory=_none)
    place_shares: Array = field(default_factory=_none)
    even_rate: float = 0.0
    rates: Array = field(default_factory=_none)
    decays: Array = field(default_factory=_none)
    excitation: Array = field(default_factory=lambda: np.zeros((0, 0, 0)))
    spill: Array = field(default_factory=lambda: np.zeros((0, 0)))

    def __post_init__(self) -> None:
        if self.regions < 1:
            raise ValueError(f"{self.name} needs at least one region; got {self.regions}")
        if not self.membership.size:
            return
        cells = math.prod(self.cell_shape) if self.cell_shape else len(self.cell_centres)
        if self.membership.ndim != 2 or self.membership.shape[1] != cells:
            raise ValueError(f"memberships are {self.membership.shape}; they need a column for each of {cells} cells")
        if self.membership.min() < 0 or self.membership.sum(axis=0).max() > 1 + 1e-6:
            raise ValueError("memberships must be ≥ 0 and sum to at most 1 in each cell")

    # -- regions --------------------------------------------------------------------------------------------------

    @cached_property
    def partition(self) -> Partition:
        """The cells that memberships are given on."""
        if self.cell_shape:
            return Partition.of_grid(Grid(self.domain, self.cell_shape))
        return Partition(self.domain, self.cell_centres)

    @property
    def own_regions(self) -> tuple[Partition, Array]:
        """Its cells, and their memberships."""
        return self.partition, self.cell_members.T

    @cached_property
    def cell_members(self) -> Array:
        """(cells, R) membership of each cell in each region, the rest included as the last one."""
        rest = 1 - self.membership.sum(axis=0)
        rows = [self.membership, rest[None]] if rest.max() > LEAST_REST else [self.membership]
        return np.ascontiguousarray(np.clip(np.concatenate(rows).T, 0, 1))

    def members(self, x: Array) -> Array:
        """(n, R) membership of each (n, d) place in each region; 0 outside the domain."""
        cell = self.partition.index(x)
        out = self.cell_members[cell]
        out[cell < 0] = 0.0
        return out

    @property
    def place(self) -> KernelMixture:
        """The place density f."""
        return KernelMixture(self.domain, np.zeros(len(self.place_shares)), self.place_bandwidths, self.place_shares)

    @property
    def offspring(self) -> Array:
        """(R, R) expected direct offspring that fall in region r (row) per post in region s (column)."""
        return np.asarray(self.spill.T @ self.excitation.sum(axis=2))

    @property
    def branching_ratio(self) -> float:
        """Spectral radius of :attr:`offspring`: below 1, every cascade dies out."""
        return float(np.abs(np.linalg.eigvals(self.offspring)).max()) if self.offspring.size else 0.0

    def with_places(self, past: Events, window: Window, progress: Progress | None = None) -> Self:
        """A copy with its regions and its place densities learned, and no rates yet."""
        model = self
        if not self.membership.size:
            rng = np.random.default_rng(self.seed)
            cells = Partition.around_landmarks(past.x, self.regions, self.domain, rng)
            model = replace(self, membership=np.eye(len(cells)), cell_shape=(), cell_centres=cells.centres)
        place, _ = fit_mixture(
            past, window, self.domain, [0.0], bandwidth_ladder(past), self.horizon, progress=progress
        )
        model = replace(model, place_bandwidths=place.bandwidths, place_shares=place.shares)
        rng = np.random.default_rng(self.seed)
        samplers = model._samplers(past, window.end)
        spill = np.array([model.members(draw(SPILL_DRAWS, rng)).mean(axis=0) for draw in samplers])
        return replace(model, spill=spill)

    def _of_regions(self, history: Events) -> Iterator[tuple[Events, Array]]:
        """For each region its posts, their weights those that they have in it, and (n,) which posts those are."""
        for m in self.members(history.x).T:
            some = m > 0
            part = history.take(some)
            yield replace(part, weight=part.weight * m[some]), some

    def _samplers(self, past: Events, t: float) -> list[Places]:
        return [self.place.sampler(part, t) for part, _ in self._of_regions(past)]

    def rates_at(self, t: Array, history: Events) -> Array:
        """(n, R) ν_r and excitation of each region at sorted times, events per day."""
        out = np.tile(self.rates, (len(t), 1))
        for s, m in enumerate(np.ascontiguousarray(self.members(history.x).T)):
            for c, decay in enumerate(self.decays):
                if self.excitation[:, s, c].any():
                    recent = decay * decayed_totals(history.t, m, t, decay)
                    out += recent[:, None] * self.excitation[:, s, c]
        return out

    def _intervals(self, window: Window, history: Events) -> Array:
        """(n + 1, R) ∫ of :meth:`rates_at` inside the window from each event until the next."""
        out = np.diff(interval_edges(window, history.t))[:, None] * self.rates
        for s, m in enumerate(np.ascontiguousarray(self.members(history.x).T)):
            for c, decay in enumerate(self.decays):
                if self.excitation[:, s, c].any():
                    recent = decayed_intervals(window, history.t, m, float(decay))
                    out += recent[:, None] * self.excitation[:, s, c]
        return out

    # -- the interface --------------------------------------------------------------------------------------------

    def intensity(self, t: Array, x: Array, history: Events) -> Array:
        """(n,) λ, at times in any order."""
        order = np.argsort(t, kind="stable")
        times, places = np.asarray(t, dtype=float)[order], np.asarray(x, dtype=float)[order]
        value = self.even_rate * self.place.at(times, places, history)
        for (part, _), rate in zip(self._of_regions(history), self.rates_at(times, history).T, strict=True):
            if rate.any():
                value += rate * self.place.at(times, places, part)
        out = np.empty(len(times))
        out[order] = value
        return out

    def compensator(self, window: Window, history: Events, grid: Grid) -> Array:
        """``grid.shape`` exact in time: between events no density changes."""
        past = history.before(window.end)
        even = self.even_rate * np.diff(interval_edges(window, past.t))
        out = self.place.integral(even, past, grid)
        for (part, some), pieces in zip(self._of_regions(past), self._intervals(window, past).T, strict=True):
            own = np.concatenate([[0], np.cumsum(some)])  # the region's last event before each interval
            out += self.place.integral(np.bincount(own, pieces, len(part) + 1).astype(float), part, grid)
        return out

    def total_compensator(self, window: Window, history: Events) -> float:
        """∫∫ λ over the domain: the densities integrate to 1."""
        past = history.before(window.end)
        return self.even_rate * window.duration + float(self._intervals(window, past).sum())

    def compensator_increments(self, window: Window, history: Events) -> Array:
        """(n + 1,) ∫∫ λ between the window's events, in closed form."""
        past = history.before(window.end)
        even = self.even_rate * np.diff(interval_edges(window, past.t))
        return between_events(even + self._intervals(window, past).sum(axis=1), window, past.t)

    def forecast(self, window: Window, history: Events, grid: Grid | None) -> AnyForecast:
        """E[N(cell × window) | history before it], offspring of offspring included; densities as at issue time."""
        return next(self.rolling_forecasts(history, [window], grid))

    def rolling_forecasts(
        self, events: Events, windows: Sequence[Window], grid: Grid | None, *, first: int = 0
    ) -> Iterator[AnyForecast]:
        """One pass over the events: densities and excitation are carried from window to window."""
        if grid is None:
            for window in windows[first:]:
                yield self._point_forecast(window, events.before(window.start))
            return
        running = RunningMixture(self.place)
        parts = [RunningMixture(self.place) for _ in self.rates]
        seen = 0
        for k, window in enumerate(windows):
            past = events.before(window.start)
            new = past.rows(seen, len(past))
            running.advance(new)
            for part, (own, _) in zip(parts, self._of_regions(new), strict=True):
                part.advance(own)
            seen = len(past)
            if k >= first:
                even, born = self.expected(window, past)
                counts = even * running.cell_shares(grid)
                for part, number in zip(parts, born, strict=True):
                    counts += number * part.cell_shares(grid)
                yield Forecast.of(window, grid, counts, self.name, self.floor)

    def _point_forecast(self, window: Window, past: Events) -> PointForecast:
        even, born = self.expected(window, past)
        counts = np.append(born, even)
        histories = [*(part for part, _ in self._of_regions(past)), past]
        samplers = [*self._samplers(past, window.start), self.place.sampler(past, window.start)]

        def density(x: Array) -> Array:
            t = np.full(len(x), window.start)
            parts = zip(counts, histories, strict=True)
            total = sum(n * self.place.at(t, x, history) for n, history in parts if n > 0)
            return np.asarray(total / counts.sum())

        def draw(n: int, rng: np.random.Generator) -> Array:
            return _drawn(rng.choice(len(counts), size=n, p=counts / counts.sum()), samplers, self.domain.d, rng)

        total = float(counts.sum())
        return PointForecast(window, self.domain, total, density, draw, self.name, self.floor)

    def expected(self, window: Window, past: Events) -> tuple[float, Array]:
        """ν · duration, and (R,) expected events born in each region beside those, given the history.

        Recent excitation Y_sc decays at β_c and grows by β_c for each post that falls in s: a linear differential
        equation with constant coefficients, which a matrix exponential solves exactly.
        """
        m = self.members(past.x)
        age = np.exp(-np.outer(window.start - past.t, self.decays))  # (n, C)
        now = (m.T @ age) * self.decays
        weight = past.weight @ m
        share = weight / weight.sum() if weight.sum() > 0 else np.full(len(self.rates), 1 / len(self.rates))
        state = np.concatenate([now.ravel(), self.rates, self.even_rate * share, np.zeros(len(self.rates))])
        with np.errstate(over="ignore", invalid="ignore"):  # what explodes is refused below
            after = self._propagator(window.duration) @ state
        if not np.isfinite(after).all():
            raise ValueError(f"the fitted {self.name} grows too fast to be forecast: its branching ratio is above 1")
        return self.even_rate * window.duration, np.maximum(after[-len(self.rates) :], 0.0)

    @cached_property
    def _propagators(self) -> dict[float, Array]:
        return {}

    def _propagator(self, duration: float) -> Array:
        """Of the state (Y, rates ν_r, even rates, events born in each region beside the even ones)."""
        if duration not in self._propagators:
            r, c = len(self.rates), len(self.decays)
            excite = self.excitation.reshape(r, r * c)
            feed = np.einsum("rs,c->scr", self.spill, self.decays).reshape(r * c, r)  # births in r → growth of Y_sc
            y, own, even, born = (slice(a, b) for a, b in _edges(r * c, r, r, r))
            step = np.zeros((born.stop, born.stop))
            step[y, y] = feed @ excite - np.diag(np.tile(self.decays, r))
            step[y, own] = step[y, even] = feed
            step[born, y], step[born, own] = excite, np.eye(r)
            self._propagators[duration] = expm(step * duration)
        return self._propagators[duration]

    def simulate(self, window: Window, history: Events, rng: np.random.Generator) -> Events:
        """Branching simulation; densities as they are at the start of the window. New posts have weight 1."""
        past = history.before(window.start)
        samplers = self._samplers(past, window.start)
        means = np.append(self.rates, self.even_rate) * window.duration
        born = np.repeat(np.arange(len(means)), rng.poisson(means))
        x = _drawn(born, [*samplers, self.place.sampler(past, window.start)], self.domain.d, rng)
        t = rng.uniform(window.start, window.end, len(born))
        immigrants = Events(t, x, epoch=history.epoch, axes=history.axes)
        parents = past.then(immigrants)
        later_t, later_x, _ = self._descendants(window, parents, samplers, rng)
        t, x = np.concatenate([immigrants.t, later_t]), np.concatenate([immigrants.x, later_x])
        return Events(t, x, epoch=history.epoch, axes=history.axes)

    def progeny(
        self, window: Window, parents: Events, history: Events, rng: np.random.Generator
    ) -> tuple[Events, NDArray[np.int64]]:
        """All posts in the window that descend from ``parents``, before it; and from which row of them each does.

        λ is linear in past posts, so this is exactly what they add to a simulation: see :mod:`stpp.planning.whatif`.
        """
        samplers = self._samplers(history.before(window.start), window.start)
        t, x, root = self._descendants(window, parents.before(window.start), samplers, rng)
        order = np.argsort(t, kind="stable")
        return Events(t[order], x[order], epoch=history.epoch, axes=history.axes), root[order]

    def _descendants(
        self, window: Window, parents: Events, samplers: list[Places], rng: np.random.Generator
    ) -> tuple[Array, Array, NDArray[np.int64]]:
        """Times, places and first ancestors of all offspring in the window, generation by generation."""
        times, places, roots = [np.zeros(0)], [np.zeros((0, self.domain.d))], [np.zeros(0, dtype=np.int64)]
        t, x, root, total = parents.t, parents.x, np.arange(len(parents)), 0.0
        while len(t) and self.excitation.any():
            since, m = np.maximum(t, window.start), self.members(x)
            births = []
            for c, decay in enumerate(self.decays):
                within = -np.expm1(-decay * (window.end - since))
                mean = (m @ self.excitation[:, :, c].T) * (np.exp(-decay * (since - t)) * within)[:, None]
                cumulative = np.cumsum(mean)  # the sum of the Poisson counts first, then whose and where they are
                total += cumulative[-1]
                if not total <= MAX_EVENTS:
                    raise ValueError(f"the fitted {self.name} grows too fast to be simulated: shorten the window")
                n = int(rng.poisson(cumulative[-1]))
                flat = np.searchsorted(cumulative, np.sort(rng.uniform(0, cumulative[-1], n)), side="right")
                parent, region = np.divmod(np.minimum(flat, mean.size - 1), mean.shape[1])
                delay = -np.log1p(-rng.uniform(size=n) * within[parent]) / decay
                child = np.maximum(since[parent] + delay, np.nextafter(t[parent], np.inf))
                spot = _drawn(region, samplers, self.domain.d, rng)
                inside = child < window.end
                births.append((child[inside], spot[inside], root[parent[inside]]))
            t, x, root = (np.concatenate(parts) for parts in zip(*births, strict=True))
            times.append(t)
            places.append(x)
            roots.append(root)
        return np.concatenate(times), np.concatenate(places), np.concatenate(roots)


def _edges(*sizes: int) -> Iterator[tuple[int, int]]:
    start = 0
    for size in sizes:
        yield start, start + size
        start += size


def _drawn(which: NDArray[np.int64], samplers: Sequence[Places], d: int, rng: np.random.Generator) -> Array:
    """(n, d) places, each from the sampler that it asks for by number."""
    out = np.empty((len(which), d))
    for k, draw in enumerate(samplers):
        rows = np.flatnonzero(which == k)
        if len(rows):
            out[rows] = draw(len(rows), rng)
    return out


def excitation_ladder(inside: Events, window: Window, most: int = MOST_HALF_LIVES) -> Array:
    """(C,) decays of candidate kernels: half-lives from a short gap between events to a quarter of the window."""
    gaps = np.diff(inside.t)
    gaps = gaps[gaps > 0]
    short = float(np.quantile(gaps, SHORT_GAP)) if len(gaps) else window.duration
    return math.log(2) / half_life_ladder(short, window.duration / 4, HALF_LIFE_STEP, most)


def reached(t: Array, weight: Array, window: Window, decay: float) -> float:
    """Σ over events of their weight and the share of a kernel that falls inside the window."""
    since = np.maximum(window.start - t, 0.0)
    return float(weight @ (np.exp(-decay * since) - np.exp(-decay * (window.end - t))))
