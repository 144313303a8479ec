"""How density moves: snapshots of it, pooled as one pair, what that says about motion, and the flow that follows.

The density ρ(x, t) of posts obeys ∂ρ/∂t + ∇·(ρv) = rρ + noise: mass moves with velocity v and is created or destroyed
at the relative rate r, so that growth is not taken for motion. Estimators of (v, r) from a pair of snapshots
(:mod:`stpp.flow.motion`, :mod:`stpp.flow.sinkhorn`) give *evidence*; a :class:`Flow` is what it says, with its
uncertainty.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import pairwise

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates
from scipy.stats import chi2

from stpp.compute.blas import one_blas_thread
from stpp.domain import Array, Grid
from stpp.events import Events, Window
from stpp.kernels.fields import DecayedField

APART = 1000.0
"""Time constants after which a decayed sum is exactly 0 in a float64: what keeps separate histories in one field."""


def snapshots(events: Events, ends: Array, frame: float, grid: Grid, bandwidth: float) -> Array:
    """(K, *grid.shape) kernel-smoothed weight of the events of each frame [end − frame, end), per cell.

    Parameters
    ----------
    events : in the grid's box
    ends : (K,) days
    frame : days that each snapshot covers
    grid : up to 3 dimensions
    bandwidth : of the Gaussian kernel, map units; kernels are renormalised inside the box, so each frame sums to the
        weight of its events
    """
    return _smoothed([events.between(Window(end - frame, end)) for end in ends], grid, bandwidth)


def _smoothed(frames: Sequence[Events], grid: Grid, bandwidth: float) -> Array:
    out = np.zeros((len(frames), *grid.shape))
    kernels = DecayedField(grid.box, 1.0, bandwidth)
    for k, new in enumerate(frames):
        if len(new):
            now = APART * k  # so long after the last frame that nothing is left of it
            weight = new.weight / grid.box.kernel_mass(new.x, bandwidth)
            kernels.advance(np.full(len(new), now), new.x, weight, now)
            out[k] = kernels.cell_means(grid) * grid.cell_volume
    return out


def pooled_pair(frames: Array, momentum: float = 1.0) -> tuple[Array, Array, float]:
    """Many snapshots as one pair, whose difference is their trend, and what that does to the noise.

    The trend is the slope of a regression on time with weight momentumᵃᵍᵉ per frame. It is Σ_k p_k (frame_{k+1} −
    frame_k) with Σ_k p_k = 1; for momentum 1, p_k ∝ k (K − k) for the kth of K − 1 differences. Neighbouring
    differences share a frame, so the noise of the trend is far below that of a mean of independent differences: pooled
    frames give the right standard errors, which pooled evidence of pairs does not. The noise of the trend is
    uncorrelated with that of the mean (before + after)/2, from which the gradients come, for any p.

    Parameters
    ----------
    frames : (K, *shape) K ≥ 2 snapshots at equal distances in time, oldest first
    momentum : weight of a frame relative to the next one, in (0, 1]

    Returns
    -------
    before, after : Σ_k p_k frame_k and Σ_k p_k frame_{k+1}
    share : variance of after − before, relative to that of a single pair: a factor for the dispersion
    """
    weight = momentum ** np.arange(len(frames) - 1.0, -1.0, -1.0)
    lag = np.arange(len(frames)) - weight @ np.arange(len(frames)) / weight.sum()
    slope = weight * lag / (weight @ lag**2)
    p = -np.cumsum(slope)[:-1]
    return np.tensordot(p, frames[:-1], 1), np.tensordot(p, frames[1:], 1), float(slope @ slope) / 2


@dataclass(frozen=True, eq=False)
class Evidence:
    """What snapshots say about the motion in each cell: information · (v_1, …, v_d, r) = score.

    Parameters
    ----------
    information : (d + 1, d + 1, *shape) symmetric ≥ 0: the inverse covariance of velocity (map units per day) and
        relative growth (per day)
    score : (d + 1, *shape)
    window : map units; where > 0, one velocity was taken to hold over so wide a window, so that the growth is that of
        the density as it moves, r − ∇·v
    """

    information: Array
    score: Array
    window: float = 0.0

    @classmethod
    def none(cls, grid: Grid) -> Evidence:
        """Nothing is known anywhere."""
        m = grid.box.d + 1
        return cls(np.zeros((m, m, *grid.shape)), np.zeros((m, *grid.shape)))


@dataclass(frozen=True, eq=False)
class Flow:
    """Where the density is moving, and how surely; plain arrays on a grid.

    Parameters
    ----------
    grid : its cells
    time : the end of the last frame, days; nothing from then on was looked at
    frame : days per frame
    density : ``grid.shape`` weight per day and unit volume in the last frame
    velocity : (d, *grid.shape) map units per day
    velocity_error : (d, *grid.shape) standard errors
    growth : ``grid.shape`` relative growth r of the mass as it moves, per day
    growth_error : ``grid.shape`` standard error
    """

    grid: Grid
    time: float
    frame: float
    density: Array
    velocity: Array
    velocity_error: Array
    growth: Array
    growth_error: Array

    @classmethod
    def solve(
        cls,
        evidence: Evidence,
        grid: Grid,
        time: float,
        frame: float,
        density: Array,
        *,
        velocity_prior: float,
        growth_prior: float,
    ) -> Flow:
        """The posterior mean and standard deviation under independent normal priors with mean 0.

        The prior is the local regularisation: where the evidence is weak, there is no motion.

        Parameters
        ----------
        velocity_prior : prior standard deviation of each component of the velocity, map units per day
        growth_prior : prior standard deviation of the growth, per day
        """
        d = grid.box.d
        scale = np.array([velocity_prior] * d + [growth_prior])  # in units of the prior all is well conditioned
        cells = np.ascontiguousarray(evidence.information.reshape(d + 1, d + 1, -1))
        mean, error = _posterior(cells, evidence.score.reshape(d + 1, -1), scale)
        mean, error = mean.reshape(d + 1, *grid.shape), error.reshape(d + 1, *grid.shape)
        flow = cls(grid, time, frame, density, mean[:d], error[:d], mean[d], error[d])
        if evidence.window > 0:
            growth = flow.growth + flow.divergence
            flow = replace(flow, growth=growth, growth_error=np.hypot(error[d], flow.divergence_error(evidence.window)))
        return flow

    @classmethod
    def still(cls, grid: Grid, time: float, frame: float) -> Flow:
        """No motion and no growth, known for sure."""
        zero, vector = np.zeros(grid.shape), np.zeros((grid.box.d, *grid.shape))
        return cls(grid, time, frame, zero, vector, vector, zero, zero)

    @cached_property
    def divergence(self) -> Array:
        """``grid.shape`` ∇·v, per day: > 0 where mass spreads (a source), < 0 where it gathers (a basin's pull)."""
        return np.asarray(
            sum(derivative(v, k, h) for k, (v, h) in enumerate(zip(self.velocity, self.grid.spacing, strict=True)))
        )

    def divergence_error(self, window: float) -> Array:
        """``grid.shape`` standard error of ∇·v, per day, on the safe side.

        White noise seen through a Gaussian window of standard deviation s has a derivative of variance 1/(2s²) per
        unit of its own. Errors of a velocity also change from place to place, though, and on worlds without motion
        that variance called some divergence beyond chance in 20 to 50 % of maps; twice as much, which is used here,
        in 1 to 3 %.

        Parameters
        ----------
        window : s, map units: standard deviation of the window that shares one velocity
        """
        return np.asarray(np.sqrt((self.velocity_error**2).sum(axis=0)) / window)

    def significant(self, level: float = 0.95) -> NDArray[np.bool_]:
        """``grid.shape`` cells whose velocity is not 0: outside the ellipse that holds ``level`` of chance arrows."""
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = np.where(self.velocity_error > 0, self.velocity / self.velocity_error, 0.0)
        return np.asarray((ratio**2).sum(axis=0) > chi2.ppf(level, self.grid.box.d))

    def at(self, x: Array) -> tuple[Array, Array, Array]:
        """Velocity (n, d), its standard error (n,) as a root mean square over axes, and growth (n,) at places (n, d).

        Linear between cell centres, constant beyond the outermost.
        """
        index = ((x - np.asarray(self.grid.box.low)) / self.grid.spacing - 0.5).T
        error = np.sqrt((self.velocity_error**2).mean(axis=0))
        fields = [map_coordinates(f, index, order=1, mode="nearest") for f in (*self.velocity, error, self.growth)]
        d = self.grid.box.d
        return np.stack(fields[:d], axis=1), fields[d], fields[d + 1]


@njit(cache=True, nogil=True)
def _posterior(information: Array, score: Array, scale: Array) -> tuple[Array, Array]:
    """(m, n) means and standard deviations per cell under a prior N(0, scale²), by Gauss–Jordan elimination."""
    m, n = score.shape
    mean, error = np.empty((m, n)), np.empty((m, n))
    work = np.empty((m, 2 * m))
    for cell in range(n):
        for i in range(m):
            for j in range(m):
                work[i, j] = information[i, j, cell] * scale[i] * scale[j] + (1.0 if i == j else 0.0)
                work[i, m + j] = 1.0 if i == j else 0.0
        for k in range(m):  # positive definite: no pivoting
            pivot = work[k, k]
            for j in range(2 * m):
                work[k, j] /= pivot
            for i in range(m):
                if i != k:
                    factor = work[i, k]
                    for j in range(2 * m):
                        work[i, j] -= factor * work[k, j]
        for i in range(m):
            total = 0.0
            for j in range(m):
                total += work[i, m + j] * score[j, cell] * scale[j]
            mean[i, cell] = total * scale[i]
            error[i, cell] = math.sqrt(max(work[i, m + i], 0.0)) * scale[i]
    return mean, error


KEPT_FRAMES = 500
"""Snapshots that an estimator keeps, for the flows that share them."""

PairEstimator = Callable[[Array, Array, float], Evidence]
"""(before, after, dispersion Σw²/Σw) → what two consecutive snapshots say."""


@dataclass(frozen=True, eq=False)
class FlowEstimator:
    """Flows from events: snapshots of the last frames, their trend, and the motion that it shows.

    Parameters
    ----------
    grid : of the snapshots and the flow
    frame : days per frame
    frames : the history window; no more of the past feeds a flow
    bandwidth : of the snapshots, map units
    momentum : weight of a frame relative to the next one, in (0, 1]
    velocity_prior, growth_prior : prior standard deviations of velocity and growth, see :meth:`Flow.solve`
    importance : how far events count by their weight, wᵅ: 0 all alike, 1 as they weigh
    pair : what two snapshots say
    """

    grid: Grid
    frame: float
    frames: int
    bandwidth: float
    momentum: float
    velocity_prior: float
    growth_prior: float
    importance: float
    pair: PairEstimator
    _known: dict[tuple[float, ...], Array] = field(default_factory=dict, init=False, repr=False)

    @property
    def reach(self) -> float:
        """Days of history that a flow is estimated from."""
        return self.frame * self.frames

    @one_blas_thread
    def flow(self, events: Events, time: float) -> Flow:
        """The flow at ``time`` from the events in the history window before it.

        Parameters
        ----------
        events : in the grid's box
        time : days; frames are counted back from it
        """
        recent = events.between(Window(time - self.reach, time))
        if self.importance != 1:
            recent = replace(recent, weight=recent.weight**self.importance)
        edges = (time - self.frame * np.arange(self.frames, -1.0, -1.0)).tolist()  # neighbours share theirs
        parts = [recent.between(Window(start, end)) for start, end in pairwise(edges)]
        keys = [self._key(part, end) for part, end in zip(parts, edges[1:], strict=True)]
        missing = [k for k, key in enumerate(keys) if key not in self._known]
        new = _smoothed([parts[k] for k in missing], self.grid, self.bandwidth)
        self._known.update((keys[k], one) for k, one in zip(missing, new, strict=True))
        frames = np.stack([self._known[key] for key in keys])
        while len(self._known) > KEPT_FRAMES:
            del self._known[next(iter(self._known))]
        before, after, share = pooled_pair(frames, self.momentum)
        weight = recent.weight
        dispersion = float(weight @ weight / weight.sum()) if weight.sum() > 0 else 1.0
        density = frames[-1] / (self.grid.cell_volume * self.frame)
        evidence = self.pair(before, after, share * dispersion)
        return Flow.solve(
            evidence,
            self.grid,
            time,
            self.frame,
            density,
            velocity_prior=self.velocity_prior,
            growth_prior=self.growth_prior,
        )

    @staticmethod
    def _key(events: Events, end: float) -> tuple[float, ...]:
        """What a snapshot is known by: its end and its events."""
        return end, len(events), float(events.t.sum()), float(events.x.sum()), float(events.weight.sum())


def derivative(field: Array, axis: int, step: float) -> Array:
    """Central differences; 0 along an axis of one cell."""
    if field.shape[axis] < 2:
        return np.zeros_like(field)
    return np.asarray(np.gradient(field, step, axis=axis))
