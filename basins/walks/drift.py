"""Drift and diffusion of posts, estimated from windows of the past."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from basins.basin import Basin
from basins.space import Snapshot, Space
from basins.walks.diffusion import EPSILON, DriftDiffusion
from stpp.compute.blas import one_blas_thread
from stpp.domain import Array, Grid
from stpp.flow.flow import Flow, pooled_pair
from stpp.flow.motion import drift_evidence

SMOOTHING = 4.0
"""Standard deviation of the window that shares one velocity, in bandwidths: the best on moving blobs."""

SPREADS = (0.5, 1.0, 2.0, 4.0, 8.0)
"""√(2 D days) from one window to the next, in bandwidths: the diffusions that are tried."""

SHRINKAGES = (0.0, 0.05, 0.2, 1.0)
"""Prior standard deviations of the velocity that are tried, in bandwidths per window; 0: no drift."""

GROWTH = 1.0
"""Prior standard deviation of the relative growth from one window to the next."""

PAIRS = 4
"""Pairs of windows, the last ones, that are predicted to choose by."""

UNIFORM_SHARE = 0.01
"""Uniform share of the densities, so that a far post does not decide alone."""

FRAMES = 4
"""Parts of a window between which :class:`LyapunovFinder` looks for drift."""


@one_blas_thread
def estimate(snapshots: Sequence[Snapshot]) -> DriftDiffusion:
    """Drift and diffusion up to now.

    Parameters
    ----------
    snapshots : in time order, in one space on a grid; those without posts are left out

    Raises
    ------
    ValueError
        if fewer than 2 have posts, or their space is no grid
    """
    seen = [snapshot for snapshot in snapshots if snapshot.totals.sum() > 0]
    if len(seen) < 2:
        raise ValueError(f"drift needs at least 2 windows with posts; there are {len(seen)}: take shorter windows")
    scale = seen[0].space.bandwidth
    days = (seen[-1].window.end - seen[0].window.end) / (len(seen) - 1)
    spreads = [(scale * spread) ** 2 / (2 * days) for spread in SPREADS]
    # What is known before each of the last windows, and what then came.
    tests = [(_Past.of(seen[:k]), seen[k]) for k in range(max(1, len(seen) - PAIRS), len(seen))]
    diffusion = max(spreads, key=lambda d: math.fsum(past.score(d, 0.0, new) for past, new in tests))
    shrinkage = 0.0
    if len(seen) > 2:  # a velocity known before a window takes two windows, and that window a third
        shrinkage = max(SHRINKAGES, key=lambda s: math.fsum(past.score(diffusion, s, new) for past, new in tests))
    return _Past.of(seen).field(diffusion, shrinkage)


@dataclass(frozen=True, eq=False)
class _Past:
    """Windows up to a time, and what they say about motion; days from one to the next."""

    last: Snapshot
    frames: Array
    days: float
    dispersion: float

    @classmethod
    def of(cls, seen: Sequence[Snapshot]) -> _Past:
        mean = float(np.mean([snapshot.totals.sum() for snapshot in seen]))
        grid = _grid(seen[0].space)
        # All with the same mass: the share of the posts moves, not their number.
        frames = np.stack([snapshot.density.reshape(grid.shape) for snapshot in seen]) * mean * grid.cell_volume
        weight = np.concatenate([snapshot.places.weight for snapshot in seen])  # copies move as one
        days = (seen[-1].window.end - seen[0].window.end) / (len(seen) - 1) if len(seen) > 1 else 0.0
        return cls(seen[-1], frames, days, float(weight @ weight / weight.sum()))

    def flow(self, velocity_prior: float) -> Flow:
        """The motion over all windows, in bandwidths per window of prior velocity."""
        grid, h = _grid(self.last.space), self.last.space.bandwidth
        before, after, share = pooled_pair(self.frames)
        evidence = drift_evidence(
            before,
            after,
            grid,
            frame=self.days,
            bandwidth=h,
            window=SMOOTHING * h,
            dispersion=share * self.dispersion,
        )
        return Flow.solve(
            evidence,
            grid,
            self.last.window.end,
            self.days,
            self.frames[-1],
            velocity_prior=velocity_prior * h / self.days,
            growth_prior=GROWTH / self.days,
        )

    def field(self, diffusion: float, shrinkage: float) -> DriftDiffusion:
        """Drift and diffusion; v only where there are two windows and some prior."""
        grid = _grid(self.last.space)
        mean = self.frames.mean(axis=0).ravel()
        density = (1 - UNIFORM_SHARE) * mean / (mean.sum() * grid.cell_volume) + UNIFORM_SHARE / grid.box.volume
        velocity, growth = np.zeros((grid.box.d, grid.cells)), np.zeros(grid.cells)
        if len(self.frames) > 1:
            flow = self.flow(max(shrinkage, min(s for s in SHRINKAGES if s > 0)))
            growth = flow.growth.ravel()
            velocity = flow.velocity.reshape(grid.box.d, -1) if shrinkage > 0 else velocity
        return DriftDiffusion(grid, density, velocity, growth, diffusion, self.last.window.end, shrinkage)

    def score(self, diffusion: float, shrinkage: float, new: Snapshot) -> float:
        """Mean log density of the next window's posts, as predicted from here."""
        grid = _grid(self.last.space)
        ahead = self.field(diffusion, shrinkage).ahead(self.last.density, new.window.end - self.last.window.end)
        density = (1 - UNIFORM_SHARE) * ahead / (ahead.sum() * grid.cell_volume) + UNIFORM_SHARE / grid.box.volume
        return float(new.totals @ np.log(density)) / float(new.totals.sum())


def _grid(space: Space) -> Grid:
    if space.partition.grid is None:
        raise ValueError("drift and diffusion need a grid, in up to 3 dimensions; this space has landmarks")
    return space.partition.grid


@one_blas_thread
def growth_probability(
    fitted: DriftDiffusion,
    snapshots: Sequence[Snapshot],
    basins: Sequence[Basin],
    *,
    horizon: float,
    simulations: int,
    rng: np.random.Generator,
) -> Array:
    """The stochastic Lyapunov test: the probability that the share of the posts in each basin grows.

    Each simulation draws the posts of every window anew (each counts Poisson(1) times), measures velocity and growth
    again, carries the last window's density over the horizon by drift, diffusion and growth, and draws the posts of one
    more window there. A basin grows if its share of these is above its present one.

    Parameters
    ----------
    fitted : of the snapshots, by :func:`estimate`
    snapshots : as for :func:`estimate`
    basins : memberships over the same cells
    horizon : days
    simulations : ≥ 1

    Returns
    -------
    (B,) share of the simulations in which the basin grows; a tie counts half

    Raises
    ------
    ValueError
        if horizon or simulations are not above 0
    """
    if not (horizon > 0 and simulations > 0):
        raise ValueError(f"horizon and simulations must be above 0; got {horizon:g} and {simulations}")
    seen = [snapshot for snapshot in snapshots if snapshot.totals.sum() > 0]
    if not basins:
        return np.empty(0)
    memberships = np.array([basin.membership for basin in basins])
    past = _Past.of(seen)
    now = memberships @ seen[-1].totals / seen[-1].totals.sum()
    posts = float(seen[-1].totals.sum()) / past.dispersion  # as many independent posts as the weights amount to
    grown = np.zeros(len(basins))
    for _ in range(simulations):
        frames = np.stack([_redrawn(snapshot, mass, rng) for snapshot, mass in zip(seen, past.frames, strict=True)])
        field = replace(past, frames=frames).field(fitted.diffusion, fitted.shrinkage)
        last = frames[-1].ravel()
        ahead = replace(field, density=fitted.density).ahead(last, horizon) * np.exp(field.growth * horizon)
        # Relative to the smoothed density of now: smoothing alone carries mass out of every region.
        change = (memberships @ ahead / ahead.sum()) / np.maximum(memberships @ last / last.sum(), EPSILON)
        share = np.minimum(now * change, 1.0)  # where a draw left next to nothing in a basin, the ratio is unbounded
        then = rng.poisson(posts * share) / max(1, rng.poisson(posts))
        grown += np.where(then == now, 0.5, then > now)
    return grown / simulations


def _redrawn(snapshot: Snapshot, frame: Array, rng: np.random.Generator) -> Array:
    """A frame of the snapshot's posts drawn anew, of the same mass; the frame itself where none was drawn."""
    density = snapshot.space.density(snapshot.replicate(rng)).reshape(frame.shape)
    return np.asarray(density * (frame.sum() / density.sum())) if density.any() else frame
