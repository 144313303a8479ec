"""How density moves: snapshots of it, what pairs of them say about motion, and the flow that this adds up to.

The density ρ(x, t) of posts obeys ∂ρ/∂t + ∇·(ρv) = rρ + noise: mass moves with velocity v and is created or destroyed
at the relative rate r, so that growth is not taken for motion. Estimators of (v, r) from two consecutive snapshots
(:mod:`stpp.motion`, :mod:`stpp.sinkhorn`) give *evidence*, which adds up over pairs of frames; a :class:`Flow` is what
all evidence says together, with its uncertainty.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates
from scipy.stats import chi2

from stpp.domain import Array, Grid
from stpp.events import Events, Window
from stpp.fields import DecayedField


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
    out = np.zeros((len(ends), *grid.shape))
    for k, end in enumerate(ends):
        new = events.between(Window(end - frame, end))
        if len(new):
            field = DecayedField(grid.box, 0.0, bandwidth)
            field.advance(new.t, new.x, new.weight / grid.box.kernel_mass(new.x, bandwidth), end)
            out[k] = field.cell_means(grid) * grid.cell_volume
    return out


@dataclass(frozen=True, eq=False)
class Evidence:
    """What snapshots say about the motion in each cell: information · (v_1, …, v_d, r) = score.

    Parameters
    ----------
    information : (d + 1, d + 1, *shape) symmetric ≥ 0: the inverse covariance of velocity (map units per day) and
        relative growth (per day)
    score : (d + 1, *shape)
    """

    information: Array
    score: Array

    @classmethod
    def none(cls, grid: Grid) -> Evidence:
        """Nothing is known anywhere."""
        m = grid.box.d + 1
        return cls(np.zeros((m, m, *grid.shape)), np.zeros((m, *grid.shape)))

    @classmethod
    def pooled(cls, pairs: Iterable[Evidence], weights: Iterable[float], grid: Grid) -> Evidence:
        """The weighted sum over pairs of frames, for one flow that they share."""
        out = cls.none(grid)
        for pair, weight in zip(pairs, weights, strict=True):
            out.information[...] += weight * pair.information
            out.score[...] += weight * pair.score
        return out


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
        cls, evidence: Evidence, grid: Grid, time: float, frame: float, density: Array, *, speed: float, pace: float
    ) -> Flow:
        """The posterior mean and standard deviation under independent N(0, speed²) and N(0, pace²) priors.

        The prior is the local regularisation: where the evidence is weak, there is no motion.

        Parameters
        ----------
        speed : prior standard deviation of each component of the velocity, map units per day
        pace : prior standard deviation of the growth, per day
        """
        d = grid.box.d
        prior = np.array([speed**-2.0] * d + [pace**-2.0])
        scale = 1 / np.sqrt(prior)  # in units of the prior, so that all is well conditioned
        information = np.moveaxis(evidence.information, (0, 1), (-2, -1)) * np.outer(scale, scale) + np.eye(d + 1)
        covariance = np.linalg.inv(information)
        mean = (covariance @ (np.moveaxis(evidence.score, 0, -1) * scale)[..., None])[..., 0] * scale
        error = np.sqrt(np.einsum("...ii->...i", covariance)) * scale
        mean, error = np.moveaxis(mean, -1, 0), np.moveaxis(error, -1, 0)
        return cls(grid, time, frame, density, mean[:d], error[:d], mean[d], error[d])

    @classmethod
    def still(cls, grid: Grid, time: float, frame: float) -> Flow:
        """No motion and no growth, known for sure."""
        zero, vector = np.zeros(grid.shape), np.zeros((grid.box.d, *grid.shape))
        return cls(grid, time, frame, zero, vector, vector, zero, zero)

    @cached_property
    def divergence(self) -> Array:
        """``grid.shape`` ∇·v, per day: > 0 where mass spreads (a source), < 0 where it gathers (a basin's pull)."""
        return np.asarray(
            sum(_derivative(v, k, h) for k, (v, h) in enumerate(zip(self.velocity, self.grid.spacing, strict=True)))
        )

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


def _derivative(field: Array, axis: int, step: float) -> Array:
    """Central differences; 0 along an axis of one cell."""
    if field.shape[axis] < 2:
        return np.zeros_like(field)
    return np.asarray(np.gradient(field, step, axis=axis))
