"""The triggering kernel: productivity(marks) × exponential in time × Gaussian in space."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from stpp.domain import Array, Box
from stpp.events import Events, Window

MAGNITUDES = ("mag", "magnitude")
"""Marks that are logarithms already, to base 10; any other mark is a count."""


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
        """Half-life of the excitation, ln 2 / β, days."""
        return math.log(2) / self.decay

    @property
    def anywhere(self) -> bool:
        """Whether offspring fall anywhere, with the background's density."""
        return math.isinf(self.bandwidth)

    def mass_in(self, window: Window, t: Array) -> Array:
        """(n,) share of the offspring of events at ``t`` (before ``window.end``) that come inside the window."""
        start = np.exp(-self.decay * np.maximum(window.start - t, 0.0))
        return np.asarray(start - np.exp(-self.decay * (window.end - t)))

    def box_mass(self, x: Array, box: Box) -> Array:
        """(n,) share of the offspring of events at ``x`` that fall inside the box (erf, not 1, near its edges)."""
        return np.ones(len(x)) if self.anywhere else box.kernel_mass(x, self.bandwidth)

    def sample_displacements(self, n: int, d: int, rng: np.random.Generator) -> Array:
        """(n, d) displacements in map units (finite bandwidth)."""
        return rng.normal(0.0, self.bandwidth, size=(n, d))


def log_mark(events: Events, mark: str) -> Array:
    """(n,) u, the logarithm that productivities are powers of: ln 10·m for a magnitude, ln(1 + c) for a count.

    Raises
    ------
    ValueError
        if the mark is missing, not a number, or a count is negative (how many rows is said)
    """
    try:
        values = np.asarray(events.mark(mark), dtype=float)
    except KeyError as error:
        raise ValueError(f"productivity: {error.args[0]}") from None
    except (TypeError, ValueError):
        raise ValueError(f"productivity: mark '{mark}' is not a number; choose a numeric mark") from None
    bad = ~np.isfinite(values) | ((values < 0) & (mark.lower() not in MAGNITUDES))
    if bad.any():
        raise ValueError(f"productivity: mark '{mark}' is missing or negative in {bad.sum()} rows; choose another mark")
    return math.log(10) * values if mark.lower() in MAGNITUDES else np.log1p(values)


def mark_of(log: Array, mark: str) -> Array:
    """(n,) the mark whose logarithm :func:`log_mark` gave."""
    return log / math.log(10) if mark.lower() in MAGNITUDES else np.maximum(np.expm1(log), 0.0)
