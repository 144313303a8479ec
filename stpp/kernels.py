"""The triggering kernel: productivity(marks) × exponential in time × Gaussian in space."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from stpp.domain import Array, Box


@dataclass(frozen=True)
class TriggeringKernel:
    """κ(m)·β e^{−βτ}·φ_h(x − x′): the intensity that an event of productivity κ adds after a delay τ > 0.

    Parameters
    ----------
    decay : β > 0, per day
    bandwidth : h > 0, standard deviation per axis in map units; inf means that offspring fall anywhere, with
        the background's density
    """

    decay: float
    bandwidth: float

    @property
    def half_life(self) -> float:
        """ln 2 / β, days."""
        return math.log(2) / self.decay

    def temporal_mass(self, start: Array, end: Array) -> Array:
        """(n,) ∫ β e^{−βτ} from delay ``start`` to delay ``end``, (n,) days ≥ 0."""
        return np.exp(-self.decay * start) - np.exp(-self.decay * end)

    def box_mass(self, x: Array, box: Box) -> Array:
        """(n,) share of the offspring of events at ``x`` that fall inside the box (erf, not 1, near its edges)."""
        return np.ones(len(x)) if math.isinf(self.bandwidth) else box.kernel_mass(x, self.bandwidth)

    def sample_delays(self, n: int, rng: np.random.Generator) -> Array:
        """(n,) delays in days."""
        return rng.exponential(1 / self.decay, size=n)

    def sample_displacements(self, n: int, d: int, rng: np.random.Generator) -> Array:
        """(n, d) displacements in map units (finite bandwidth)."""
        return rng.normal(0.0, self.bandwidth, size=(n, d))
