"""Densities whose recent events are carried along by a flow, as weather is: what moved there will be further on.

f(x | H_t) = Σ_j w_j e^{−β(t − t_j)} G_j φ_{h_j}(x − X_j) / Σ_j w_j e^{−β(t − t_j)} G_j. Events older than the flow's
history window stay where they were (X_j = x_j, h_j = h, G_j = 1), and so do those since the flow was last looked at.
The others have moved until the middle of the forecast window, τ days after they happened: X_j = x_j + s v(x_j) τ;
G_j = exp(a r(x_j) τ) grew with the mass around them, and h_j² = h² + 2Dτ + (s σ(x_j) τ)² is wider by diffusion and by
what is not known of the velocity, rounded to whole powers of √2 times h. What would leave the box piles up at its wall.
This is a semi-Lagrangian step [1]_ on the events themselves: no grid blurs it,
and without velocity, growth and diffusion it is the decaying kernel density, exactly. The velocity of an event is that
of its own place and does not change on its way.

References
----------
.. [1] Germann & Zawadzki (2002), Scale-dependence of the predictability of precipitation from continental radar
   images, Monthly Weather Review 130, 2859.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stpp.compute.blas import one_blas_thread
from stpp.domain import Array, Box, Grid
from stpp.events import Events, Window
from stpp.fitting.mixture import window_numbers
from stpp.flow.flow import APART, Flow, FlowEstimator
from stpp.kernels.background import interval_weights
from stpp.kernels.fields import DecayedField, decayed_sums, decayed_totals

BATCH = 1_000_000
"""Carried events held in memory at once."""

MOST_GROWTH = 3.0
"""Largest |log growth| of an event's weight; beyond it an extrapolated rate means nothing."""


class Carried(NamedTuple):
    """Events of a history where they are by now: (n,) days, (n, d) places, (n,) weights, (n,) levels of bandwidth.

    A kernel of level k has bandwidth h·2^{k/2}, rounded so that few fields hold them all.
    """

    t: Array
    x: Array
    weight: Array
    level: NDArray[np.int64]

    @classmethod
    def joined(cls, parts: list[Carried]) -> Carried:
        """Several, one after the other."""
        return cls(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))

    def levels(self) -> Iterator[tuple[int, NDArray[np.int64]]]:
        """Each level that occurs, with its rows."""
        for level in np.unique(self.level):
            yield int(level), np.flatnonzero(self.level == level)


@dataclass(frozen=True, eq=False)
class CarriedDensity:
    """A decayed kernel density that moves.

    Parameters
    ----------
    box : the domain
    decay : β > 0, per day
    bandwidth : h, map units
    estimator : of the flow
    drift_scale : s, the share of the velocity that is believed
    diffusion : D, map units² per day
    growth_scale : a, the share of the growth that is believed
    origin, horizon : the flow is looked at on day origin + k·horizon, for the horizon days from then on
    """

    box: Box
    decay: float
    bandwidth: float
    estimator: FlowEstimator
    drift_scale: float
    diffusion: float
    growth_scale: float
    origin: float
    horizon: float

    def level_bandwidth(self, level: int) -> float:
        """Bandwidth of kernels of a level, map units."""
        return self.bandwidth * 2 ** (level / 2)

    def issue(self, t: Array) -> NDArray[np.int64]:
        """(n,) number k of the forecast window that each time falls in."""
        return window_numbers(t, self.origin, self.horizon)

    def pieces(self, window: Window) -> list[Window]:
        """The window cut at the times at which the flow is looked at."""
        first, last = self.issue(np.array([window.start, np.nextafter(window.end, -np.inf)]))
        cuts = self.origin + np.arange(first + 1, last + 1) * self.horizon
        edges = [window.start, *cuts.tolist(), window.end]
        return [Window(a, b) for a, b in pairwise(edges) if b > a]

    def carry(self, past: Events, flow: Flow, until: float) -> Carried:
        """All of ``past``: the history window before the flow's time moved to ``until``, the rest where it was."""
        n = len(past)
        first, last = np.searchsorted(past.t, [flow.time - self.estimator.reach, flow.time])
        moving = slice(int(first), int(last))
        x, weight, level = past.x.copy(), past.weight.copy(), np.zeros(n, dtype=np.int64)
        age = until - past.t[moving]
        velocity, error, growth = flow.at(past.x[moving])
        low, high = self.box.low, self.box.high
        x[moving] = np.clip(past.x[moving] + self.drift_scale * age[:, None] * velocity, low, high)
        weight[moving] *= np.exp(np.clip(self.growth_scale * growth * age, -MOST_GROWTH, MOST_GROWTH))
        spread = 2 * self.diffusion * age + (self.drift_scale * error * age) ** 2
        widest = 2 * math.log2(max(1.0, self.box.widths.max() / self.bandwidth))
        level[moving] = np.rint(np.minimum(np.log2(1 + spread / self.bandwidth**2), widest)).astype(np.int64)
        return Carried(past.t, x, weight, level)

    def at(self, t: Array, x: Array, history: Events) -> Array:
        """(n,) density at sorted times and places, from the history strictly before each; uniform without any."""
        out = np.full(len(t), 1 / self.box.volume)
        last = np.searchsorted(history.t, t, side="left") - 1
        rows = np.flatnonzero(last >= 0)
        if len(rows) == 0:
            return out
        k = self.issue(t[rows])
        now = history.t[last[rows]]  # a normalised density does not change after the last event
        cutoff = self.origin + k * self.horizon - self.estimator.reach
        read = np.minimum(cutoff, np.nextafter(now, np.inf))
        faded = np.exp(-self.decay * np.maximum(now - read, 0.0))
        places = x[rows]
        weight = history.weight / self.box.kernel_mass(history.x, self.bandwidth)
        value = faded * decayed_sums(history.t, history.x, weight, read, places, self.decay, self.bandwidth).value
        total = faded * decayed_totals(history.t, history.weight, read, self.decay)
        for batch, sources, offset in self._batches(history, k, last[rows]):
            then = np.nextafter(now[batch] + offset, np.inf)
            total[batch] += decayed_totals(sources.t, sources.weight, then, self.decay)
            for level, some in sources.levels():
                h, there = self.level_bandwidth(level), sources.x[some]
                mass = self.box.kernel_mass(there, h)
                sums = decayed_sums(
                    sources.t[some], there, sources.weight[some] / mass, then, places[batch], self.decay, h
                )
                value[batch] += sums.value
        out[rows] = np.divide(value, total, out=out[rows], where=total > 0)
        return out

    def _batches(
        self, history: Events, k: NDArray[np.int64], last: NDArray[np.int64]
    ) -> Iterator[tuple[slice, Carried, Array]]:
        """Targets of several forecast windows at once, with what was carried for each window far apart in time.

        Yields
        ------
        rows of the targets, their sources, and (rows,) days that the targets are put off, as their sources are
        """
        far = APART / self.decay + self.horizon
        parts: list[Carried] = []
        offset = np.zeros(len(k))
        start, held = 0, 0
        edges = np.flatnonzero(np.diff(k, prepend=k[0] - 1))
        for left, right in zip(edges, [*edges[1:], len(k)], strict=True):
            issue = self.origin + k[left] * self.horizon
            begin, ready = np.searchsorted(history.t, [issue - self.estimator.reach, issue])
            recent = history.rows(int(begin), int(last[right - 1]) + 1)
            offset[left:right] = far * len(parts)
            if len(recent):
                flow = self.estimator.flow(recent, issue)
                moved = self.carry(recent, flow, issue + self.horizon / 2)
                at_issue = max(int(ready - begin), 1)
                latest = recent.t[at_issue - 1]  # nothing is decayed further than to the last event: silence is no loss
                lag = np.maximum(latest - recent.t, 0.0)
                parts.append(
                    moved._replace(
                        t=np.maximum(recent.t, latest) + far * len(parts),
                        weight=moved.weight * np.exp(-self.decay * lag),
                    )
                )
                held += len(recent)
            if parts and (held > BATCH or right == len(k)):
                yield slice(int(start), int(right)), Carried.joined(parts), offset[start:right]
                parts, start, held = [], right, 0

    def integral(self, intervals: Array, past: Events, piece: Window, grid: Grid) -> Array:
        """``grid.shape`` ∫ r(t) ∫_cell f dx dt along the realised history over one piece of time.

        Parameters
        ----------
        intervals : (n + 1,) ∫ r(t) dt inside the piece, see :meth:`stpp.kernels.background.KernelMixture.integral`
        past : (n,) events before its end
        piece : one of :meth:`pieces`
        """
        issue = self.origin + float(self.issue(np.array([piece.start]))[0]) * self.horizon
        flow = self.estimator.flow(past, issue)
        moved = self.carry(past, flow, issue + self.horizon / 2)
        shares, lost = interval_weights(moved.t, moved.weight, intervals, self.decay)
        out = np.full(grid.shape, lost / grid.cells)
        for level, rows in moved.levels():
            h, x = self.level_bandwidth(level), moved.x[rows]
            there = DecayedField(self.box, 0.0, h)
            there.advance(moved.t[rows], x, shares[rows] * moved.weight[rows] / self.box.kernel_mass(x, h), 0.0)
            out += there.cell_means(grid) * grid.cell_volume
        return np.asarray(out)

    def sampler(self, past: Events, window: Window) -> Callable[[int, np.random.Generator], Array]:
        """(n, rng) → (n, d) places drawn from the density that a forecast of the window, issued at its start, has."""
        if len(past) == 0:
            return self.box.sample
        moved = self.carry(past, self.estimator.flow(past, window.start), (window.start + window.end) / 2)
        cumulative = np.cumsum(moved.weight * np.exp(-self.decay * (past.t[-1] - past.t)))

        def draw(n: int, rng: np.random.Generator) -> Array:
            if cumulative[-1] <= 0:
                return self.box.sample(n, rng)
            chosen = np.searchsorted(cumulative, cumulative[-1] * rng.random(n), side="right")
            chosen = np.minimum(chosen, len(past) - 1)
            out: Array = moved.x[chosen]
            for level in np.unique(moved.level[chosen]):
                rows = np.flatnonzero(moved.level[chosen] == level)
                out[rows] = self.box.scatter(out[rows], self.level_bandwidth(int(level)), rng)
            return out

        return draw


@dataclass
class RunningCarried:
    """The part of a carried density that stays, moved forward through time once for any number of forecasts."""

    density: CarriedDensity
    _field: DecayedField = field(init=False)
    _levels: dict[int, DecayedField] = field(default_factory=dict)
    _taken: int = 0
    _total: float = 0.0
    _time: float = -math.inf
    _step: float = 0.0

    def __post_init__(self) -> None:
        self._field = DecayedField(self.density.box, self.density.decay, self.density.bandwidth)

    def advance(self, past: Events, issue: float) -> None:
        """Take in the events of ``past`` that a flow at ``issue`` does not move any more."""
        density = self.density
        stay = int(np.searchsorted(past.t, issue - density.estimator.reach))
        new = past.rows(self._taken, stay)
        if len(new) == 0:
            return
        now = float(new.t[-1])
        kept = self._total * math.exp(-density.decay * (now - self._time)) if self._total else 0.0
        self._field.advance(new.t, new.x, new.weight / density.box.kernel_mass(new.x, density.bandwidth), now)
        self._total = kept + float(np.sum(new.weight * np.exp(-density.decay * (now - new.t))))
        self._taken, self._time = stay, now

    @one_blas_thread
    def cell_shares(self, past: Events, window: Window, grid: Grid) -> Array:
        """``grid.shape`` share of each cell in the forecast of a window from the ``past`` before it; sums to 1."""
        density = self.density
        if len(past) == 0:
            return np.full(grid.shape, 1 / grid.cells)
        now = float(past.t[-1])
        faded = math.exp(-density.decay * (now - self._time)) if self._total else 0.0
        out, total = self._field.cell_means(grid) * faded, self._total * faded
        recent = past.rows(self._taken, len(past))
        if len(recent):
            flow = density.estimator.flow(recent, window.start)
            moved = density.carry(recent, flow, (window.start + window.end) / 2)
            weight = moved.weight * np.exp(-density.decay * (now - moved.t))
            total += float(weight.sum())
            self._step += APART
            for level, rows in moved.levels():
                h, x = density.level_bandwidth(level), moved.x[rows]
                level_field = self._levels.setdefault(level, DecayedField(density.box, 1.0, h))
                at = np.full(len(rows), self._step)
                level_field.advance(at, x, weight[rows] / density.box.kernel_mass(x, h), self._step)
                out += level_field.cell_means(grid)
        if total <= 0:
            return np.full(grid.shape, 1 / grid.cells)
        return np.asarray(out / out.sum())
