"""Drift and diffusion of a density on a grid: the generator, where it leads, the quasi-potential, escape.

Finite volumes with exponential fitting [1]_ keep mass, positivity and, without further drift, the density exactly.

References
----------
.. [1] Scharfetter & Gummel (1969), Large-signal analysis of a silicon Read diode oscillator, IEEE Trans. Electron
   Devices 16, 64-77.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array, csc_array, csr_array, diags_array, eye_array
from scipy.sparse.linalg import splu

from stpp.domain import Array, Grid
from stpp.flow.flow import derivative

STEPS = 4
"""Backward Euler steps that :meth:`DriftDiffusion.ahead` takes."""

EPSILON = float(np.finfo(float).tiny)
"""What keeps a quotient or a logarithm finite where there is no mass."""


@dataclass(frozen=True, eq=False)
class DriftDiffusion:
    """Drift and diffusion of the density of posts.

    Parameters
    ----------
    grid : its cells, in C order
    density : (cells,) ρ > 0, share of the posts per unit volume, that diffusion alone leads to
    velocity : (d, cells) v, of the density as it moves, map units per day
    growth : (cells,) r, relative growth as it moves, per day
    diffusion : D, map units² per day
    time : end of the last window; nothing from then on was looked at
    shrinkage : prior standard deviation of v that was chosen, in bandwidths per window; 0: no drift
    """

    grid: Grid
    density: Array
    velocity: Array
    growth: Array
    diffusion: float
    time: float
    shrinkage: float = 0.0

    @property
    def drift(self) -> Array:
        """(d, cells) D ∇ log ρ + v, map units per day."""
        log = np.log(self.density).reshape(self.grid.shape)
        slope = np.stack([derivative(log, k, h).ravel() for k, h in enumerate(self.grid.spacing)])
        return np.asarray(self.diffusion * slope + self.velocity)

    @cached_property
    def generator(self) -> csr_array[Any]:
        """(cells, cells) rates at which mass goes from one cell (row) to another, per day; rows sum to 0.

        Over a face of normal k: D/h² · B(−(log ρ_j − log ρ_i) − v h/D) with B(z) = z/(eᶻ − 1); nothing crosses walls.
        """
        number = np.arange(self.grid.cells).reshape(self.grid.shape)
        log, rows, columns, rates = np.log(self.density), [], [], []
        for axis, h in enumerate(self.grid.spacing):
            here = np.take(number, np.arange(self.grid.shape[axis] - 1), axis).ravel()
            there = np.take(number, np.arange(1, self.grid.shape[axis]), axis).ravel()
            carried = (self.velocity[axis, here] + self.velocity[axis, there]) / 2 * h / self.diffusion
            lift = log[there] - log[here] + carried
            rows += [here, there]
            columns += [there, here]
            rates += [self.diffusion / h**2 * _bernoulli(-lift), self.diffusion / h**2 * _bernoulli(lift)]
        entries = (np.concatenate(rates), (np.concatenate(rows), np.concatenate(columns)))
        jumps = csr_array(coo_array(entries, shape=(self.grid.cells, self.grid.cells)))
        return csr_array(jumps - diags_array(jumps.sum(axis=1)))

    @cached_property
    def stationary(self) -> Array:
        """(cells,) density that drift and diffusion lead to, summing to 1 over the box."""
        if not self.velocity.any():
            share = self.density
        else:  # inverse iteration: one long implicit step forgets all that decays
            share, step = self.density, _step(self, 1e6 * float(self.grid.box.widths.max()) ** 2 / self.diffusion)
            for _ in range(3):
                share = np.maximum(step.solve(share), EPSILON)
        return np.asarray(share / (share.sum() * self.grid.cell_volume))

    @cached_property
    def potential(self) -> Array:
        """(cells,) quasi-potential U = −D log ρ_s, map units² per day."""
        return np.asarray(-self.diffusion * np.log(self.stationary))

    def escape_rate(self, membership: Array) -> float:
        """The rate at which mass leaves a region for good, per day, once it has settled in it.

        The smallest eigenvalue of the generator restricted to the cells of membership ½ or more, with its sign turned:
        the reciprocal of the mean exit time from the quasi-stationary distribution.

        Raises
        ------
        ValueError
            if no cell is a member
        """
        inside = _inside(membership)
        if inside.all():
            return 0.0
        rates = csc_array(-self.generator[inside][:, inside].T)
        solve, share, rate = splu(rates), np.full(int(inside.sum()), 1 / inside.sum()), 0.0
        for _ in range(1000):
            out = solve.solve(share)
            new = 1 / float(out.sum())
            share = out * new
            if abs(new - rate) <= 1e-10 * new:
                break
            rate = new
        return new

    def ahead(self, share: Array, days: float) -> Array:
        """(cells,) where the mass (cells,) of now is after some days of drift and diffusion; its sum stays."""
        step = _step(self, days / STEPS)
        for _ in range(STEPS):
            share = step.solve(share)
        return np.maximum(share, 0.0)


def _inside(membership: Array) -> NDArray[np.bool_]:
    inside = np.asarray(membership) >= 0.5
    if not inside.any():
        raise ValueError("the region has no cell of membership ½ or more, so nothing can leave it")
    return inside


def _bernoulli(z: Array) -> Array:
    """z/(eᶻ − 1), 1 at 0."""
    clipped = np.clip(z, -500.0, 500.0)
    small = np.abs(clipped) < 1e-8
    return np.where(small, 1 - clipped / 2, clipped / np.expm1(np.where(small, 1.0, clipped)))


def _step(field: DriftDiffusion, days: float) -> Any:
    """Factors of one backward Euler step of the Fokker–Planck equation: p ← (1 − Δt Gᵀ)⁻¹ p."""
    return splu(csc_array(eye_array(field.grid.cells) - days * field.generator.T))
