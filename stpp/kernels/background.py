"""What happens without self-excitation: densities of past places, ground rates, daily and weekly cycles."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache

import numpy as np
from numba import njit

from stpp.compute.blas import one_blas_thread
from stpp.domain import Array, Box, Grid
from stpp.events import Events, Window
from stpp.kernels.fields import DecayedField, decayed_sums, decayed_totals, in_threads

HATS = {1.0: 6, 7.0: 7}
"""Cycle length in days → number of hat functions on it: four-hour steps of the day, days of the week."""

CYCLES = sum(HATS.values())


def component_density(
    history: Events, t: Array, x: Array, decay: float, bandwidth: float, box: Box, *, mass: Array | None = None
) -> Array:
    """(n,) one decayed, weighted kernel density of the places before each sorted t_i; integrates to 1 over the box.

    f(x | H_t) = Σ_{t_j < t} w_j e^{−β(t − t_j)} φ_h(x − x_j)/M_j over Σ_{t_j < t} w_j e^{−β(t − t_j)}, M_j the
    kernel's mass inside the box (computed unless given); uniform where there is no history.
    """
    inside = box.kernel_mass(history.x, bandwidth) if mass is None else mass
    now = _just_after_last(history.t, t)
    sums = decayed_sums(history.t, history.x, history.weight / inside, now, x, decay, bandwidth).value
    total = decayed_totals(history.t, history.weight, now, decay)
    return np.asarray(np.divide(sums, total, out=np.full(len(t), 1 / box.volume), where=total > 0))


def _just_after_last(history_t: Array, t: Array) -> Array:
    """(n,) the moment after the last event before each sorted t_i, or t_i where there is none.

    A normalised density is the same there, and however long the silence since, nothing has decayed to 0.
    """
    last = np.searchsorted(history_t, t, side="left") - 1
    if not len(history_t):
        return t
    return np.asarray(np.where(last >= 0, np.nextafter(history_t[last], np.inf), t))


@dataclass(frozen=True)
class KernelMixture:
    """A convex mixture of decayed kernel densities and the uniform: where posts fall, given where posts fell.

    Parameters
    ----------
    box : the domain
    decays : (C,) β_c ≥ 0, per day; 0 never forgets
    bandwidths : (C,) h_c, map units
    shares : (C,) ≥ 0; what they leave to 1 is uniform
    """

    box: Box
    decays: Array
    bandwidths: Array
    shares: Array

    @property
    def uniform(self) -> float:
        """Share of the uniform density."""
        return max(0.0, 1.0 - float(np.sum(self.shares)))

    def at(self, t: Array, x: Array, history: Events) -> Array:
        """(n,) density at sorted times and places, from the history strictly before each."""
        out = np.full(len(t), self.uniform / self.box.volume)
        for decay, bandwidth, share in zip(self.decays, self.bandwidths, self.shares, strict=True):
            out += share * component_density(history, t, x, decay, bandwidth, self.box)
        return out

    def integral(self, intervals: Array, history: Events, grid: Grid) -> Array:
        """``grid.shape`` ∫ r(t) ∫_cell f(x | H_t) dx dt along the realised history.

        Parameters
        ----------
        intervals : (n + 1,) ∫ r(t) dt over the time before the first event of ``history``, then after each event
            until the next one; 0 outside the window in question
        history : (n) all events, each counted from its own time on

        Between events a normalised decayed density does not change, so the integral is a weighted density.
        """
        total = float(intervals.sum())
        out = np.full(grid.shape, self.uniform * total / grid.cells)
        for decay, bandwidth, share in zip(self.decays, self.bandwidths, self.shares, strict=True):
            weights, lost = interval_weights(history.t, history.weight, intervals, decay)
            running = DecayedField(self.box, 0.0, bandwidth)
            mass = self.box.kernel_mass(history.x, bandwidth)
            running.advance(history.t, history.x, weights * history.weight / mass, 0.0)
            out += share * (running.cell_means(grid) * grid.cell_volume + lost / grid.cells)
        return out

    def sample(self, n: int, history: Events, t: float, rng: np.random.Generator) -> Array:
        """(n, d) places drawn from the density at time ``t``, given the history before it."""
        return self.sampler(history, t)(n, rng)

    def sampler(self, history: Events, t: float) -> Callable[[int, np.random.Generator], Array]:
        """(n, rng) → (n, d) places, as :meth:`sample` draws them: for many small draws from one density."""
        past = history.before(t)
        shares = np.append(self.shares, self.uniform) / (float(np.sum(self.shares)) + self.uniform)

        @cache
        def cumulative(decay: float) -> Array:
            weight = past.weight * np.exp(-decay * (past.t[-1] - past.t))
            return np.cumsum(weight)

        def draw(n: int, rng: np.random.Generator) -> Array:
            out = self.box.sample(n, rng)
            if len(past) == 0:
                return out
            component = rng.choice(len(shares), size=n, p=shares)
            for c, (decay, bandwidth) in enumerate(zip(self.decays, self.bandwidths, strict=True)):
                rows = np.flatnonzero(component == c)
                if len(rows) == 0 or cumulative(decay)[-1] <= 0:
                    continue
                heights = cumulative(decay)[-1] * rng.random(len(rows))
                centre = np.searchsorted(cumulative(decay), heights, side="right")
                out[rows] = self.box.scatter(past.x[np.minimum(centre, len(past) - 1)], bandwidth, rng)
            return out

        return draw


@njit(cache=True, nogil=True)
def _totals_after(t: Array, weight: Array, decay: float) -> Array:
    out = np.empty(t.size)
    total = 0.0
    for j in range(t.size):
        total = (total * math.exp(-decay * (t[j] - t[j - 1])) if j else 0.0) + weight[j]
        out[j] = total
    return out


@njit(cache=True, nogil=True)
def interval_weights(t: Array, weight: Array, intervals: Array, decay: float) -> tuple[Array, float]:
    """Time-integrated share of each event per unit weight, and the integral with nothing to spread it on.

    C_j = I_j/W_j + e^{−β(t_{j+1} − t_j)} C_{j+1}, W_j the decayed total weight just after event j.
    """
    n = t.size
    totals = _totals_after(t, weight, decay)
    out = np.zeros(n)
    lost, carried = intervals[0], 0.0
    for j in range(n - 1, -1, -1):
        if j < n - 1:
            carried *= math.exp(-decay * (t[j + 1] - t[j]))
        if totals[j] > 0:
            carried += intervals[j + 1] / totals[j]
        else:
            lost += intervals[j + 1]
        out[j] = carried
    return out, lost


@dataclass
class RunningMixture:
    """The fields of a mixture, moved forward through time once for any number of forecasts."""

    mixture: KernelMixture
    _fields: list[DecayedField] = field(default_factory=list)
    _totals: list[float] = field(default_factory=list)
    _time: float = -math.inf

    def __post_init__(self) -> None:
        m = self.mixture
        self._fields = [DecayedField(m.box, b, h) for b, h in zip(m.decays, m.bandwidths, strict=True)]
        self._totals = [0.0] * len(self._fields)

    def advance(self, new: Events) -> None:
        """Take in the events since the last call; the density does not change after the last of them."""
        if len(new) == 0:
            return
        now = float(new.t[-1])
        lapse = now - self._time

        def move(c: int) -> None:
            decay, bandwidth = self.mixture.decays[c], self.mixture.bandwidths[c]
            mass = self.mixture.box.kernel_mass(new.x, bandwidth)
            self._fields[c].advance(new.t, new.x, new.weight / mass, now)
            kept = self._totals[c] * math.exp(-decay * lapse) if self._totals[c] else 0.0
            self._totals[c] = kept + float(np.sum(new.weight * np.exp(-decay * (now - new.t))))

        in_threads(move, range(len(self._fields)))
        self._time = now

    @one_blas_thread
    def cell_shares(self, grid: Grid) -> Array:
        """``grid.shape`` share of the density in each cell; sums to 1."""
        out = np.full(grid.shape, self.mixture.uniform / grid.cells)
        for running, total, share in zip(self._fields, self._totals, self.mixture.shares, strict=True):
            out += share * (running.cell_means(grid) * (grid.cell_volume / total) if total > 0 else 1 / grid.cells)
        return np.asarray(out / out.sum())


@dataclass(frozen=True)
class GroundRate:
    """Events per day over the whole domain: (1 − a)·mean + a·(exponentially weighted recent rate).

    Parameters
    ----------
    mean : long-run rate, per day
    share : a in [0, 1)
    decay : 1/τ of the recent rate R(t) = Σ_{t_j < t} e^{−(t − t_j)/τ}/τ, per day; not used where a = 0
    """

    mean: float
    share: float = 0.0
    decay: float = 1.0

    def at(self, t: Array, history: Events) -> Array:
        """(n,) rate at sorted times, per day."""
        if self.share == 0:
            return np.full(len(t), self.mean)
        recent = self.decay * decayed_totals(history.t, np.ones(len(history)), t, self.decay)
        return np.asarray((1 - self.share) * self.mean + self.share * recent)

    def intervals(self, window: Window, history: Events) -> Array:
        """(n + 1,) ∫ of the rate inside the window before the first event and after each event until the next."""
        out = (1 - self.share) * self.mean * np.diff(interval_edges(window, history.t))
        if self.share > 0:
            out += self.share * decayed_intervals(window, history.t, np.ones(len(history)), self.decay)
        return out

    def expected(self, window: Window, history: Events) -> float:
        """E[number of events in the window | history before it]: the recent rate relaxes to the mean at (1 − a)/τ."""
        if self.share == 0:
            return self.mean * window.duration
        now = np.array([window.start])
        excess = self.decay * float(decayed_totals(history.t, np.ones(len(history)), now, self.decay)[0]) - self.mean
        pace = (1 - self.share) * self.decay
        return self.mean * window.duration - self.share * excess * math.expm1(-pace * window.duration) / pace


def interval_edges(window: Window, t: Array) -> Array:
    """(n + 2,) the window's start, the event times and its end, all clipped to the window."""
    return np.asarray(np.clip(np.concatenate([[window.start], t, [window.end]]), window.start, window.end))


def decayed_intervals(window: Window, t: Array, weight: Array, decay: float) -> Array:
    """(n + 1,) ∫ Σ_{t_j < t} w_j β e^{−β(t − t_j)} dt inside the window, from each event until the next.

    The first entry, before any event, is 0.
    """
    edges = interval_edges(window, t)
    out = np.zeros(len(t) + 1)
    if len(t):
        from_event, to_event = edges[1:-1] - t, edges[2:] - t
        out[1:] = _totals_after(t, weight, decay) * (np.exp(-decay * from_event) - np.exp(-decay * to_event))
    return out


def between_events(intervals: Array, window: Window, t: Array) -> Array:
    """(m + 1,) integrals between the m events inside the window, of (n + 1,) such integrals between all n events.

    What lies in the window before its first event is one piece, whatever number of events came before it.
    """
    first = int(np.searchsorted(t, window.start, side="left")) + 1
    return np.concatenate([[intervals[:first].sum()], intervals[first:]])


def cycle_columns(t: Array) -> Array:
    """(n, 13) daily and weekly hat functions at times ``t``; each cycle's hats are ≥ 0 and sum to 1."""
    columns = []
    for length, hats in HATS.items():
        phase = (np.asarray(t) / length * hats)[:, None] - np.arange(hats)
        distance = np.abs((phase + hats / 2) % hats - hats / 2)
        columns.append(np.maximum(0.0, 1 - distance))
    return np.concatenate(columns, axis=1)


def cycle_integrals(edges: Array) -> Array:
    """(len(edges) − 1, 13) ∫ of each hat function between consecutive edges, exact."""
    columns = []
    for length, hats in HATS.items():
        # ∫ of the hat centred at 0 from −1 to u, in hat widths, then whole cycles added
        u = (np.asarray(edges) / length * hats)[:, None] - np.arange(hats) + 1
        cycles = np.floor(u / hats)
        rest = np.clip(u - cycles * hats, 0, 2)
        area = np.where(rest < 1, rest**2 / 2, 1 - (2 - rest) ** 2 / 2)
        columns.append((cycles + area) * length / hats)
    return np.diff(np.concatenate(columns, axis=1), axis=0)
