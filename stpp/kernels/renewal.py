"""The expected future of a linear self-exciting process on a grid, offspring of offspring included.

The mean of λ given the history obeys a linear renewal equation. With exponential kernels it is a linear ordinary
differential equation for one field per kernel; in space each kernel is a separable blur that loses what leaves the
box. It is stepped exactly for λ linear within a step (product integration; Linz 1985, Analytical and Numerical Methods
for Volterra Equations, ch. 8) on a mesh that is fine where fast kernels fade.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import correlate1d
from scipy.sparse.linalg import LinearOperator, gmres
from scipy.stats import norm

from stpp.domain import Array, Grid

STEP_GROWTH = 1.3
LARGEST_STEP = 1 / 8
"""Longest step, as a share of the window."""

WIDE = 8
"""Blur half-width in cells above which a dense product is faster than a convolution."""


@dataclass(frozen=True)
class Excitation:
    """One kernel's part in the future.

    Parameters
    ----------
    decay : β, per day
    bandwidth : map units; inf: offspring fall with the background's density
    offspring : expected direct offspring of a new event, before edge losses
    now : ``grid.shape`` events per day per cell that past events add at issue time (for inf, the total as a float)
    """

    decay: float
    bandwidth: float
    offspring: float
    now: Array | float


class Blur:
    """Gaussian displacement from cells to cells of a grid; what leaves the box is lost."""

    def __init__(self, grid: Grid, bandwidth: float) -> None:
        self._rows = []
        for axis, (n, width) in enumerate(zip(grid.shape, grid.spacing, strict=True)):
            reach = min(n - 1, math.ceil(6 * bandwidth / width) + 1)
            # mean over a cell of a Gaussian spread evenly over another, from the second integral of the density
            z = width * np.arange(-reach - 1, reach + 2) / bandwidth
            second = bandwidth * (z * norm.cdf(z) + norm.pdf(z))
            row = np.diff(second, 2) / width
            dense = None
            if reach > WIDE:
                offset = np.arange(n)[:, None] - np.arange(n)[None, :]
                dense = np.where(np.abs(offset) <= reach, row[np.clip(offset, -reach, reach) + reach], 0.0)
            self._rows.append((axis, row, dense))

    def __call__(self, field: Array) -> Array:
        """``grid.shape`` where the mass of a field of that shape goes."""
        for axis, row, dense in self._rows:
            if dense is None:
                field = correlate1d(field, row, axis=axis, mode="constant")
            else:
                field = np.moveaxis(np.tensordot(dense, field, axes=(1, axis)), 0, axis)
        return field


def expected_counts(
    duration: float,
    background: Array,
    density: Array,
    excitations: list[Excitation],
    blurs: dict[float, Blur],
    cycle: Callable[[Array], Array] | None = None,
) -> Array:
    """Expected events per cell over ``duration`` days.

    Parameters
    ----------
    duration : length of the window, days
    background : ``grid.shape`` expected immigrants per cell over the window, at an even pace
    density : ``grid.shape`` share of the background's density in each cell, sums to 1
    excitations : the kernels and what the past adds to each
    blurs : bandwidth → Blur on the same grid, for every finite bandwidth
    cycle : edges in days after the start → further immigrants between them, which fall by the density

    Returns
    -------
    ``grid.shape`` expected counts

    Raises
    ------
    ValueError
        if the process grows too fast to be stepped through the window
    """

    def spread(kernel: Excitation, value: Array | float) -> Array:
        return density * value if math.isinf(kernel.bandwidth) else np.asarray(value)

    counts = background.copy()
    if cycle is not None:
        counts += density * cycle(np.array([0.0, duration]))[0]
    for kernel in excitations:
        counts += spread(kernel, kernel.now) * (-math.expm1(-kernel.decay * duration) / kernel.decay)
    active = [kernel for kernel in excitations if kernel.offspring > 0]
    if not active:
        return counts

    def given(t: float) -> Array:
        return np.asarray(sum(spread(k, k.now) * math.exp(-k.decay * t) for k in excitations))

    bandwidths = sorted({k.bandwidth for k in active})
    response: list[Array | float] = [0.0 * np.asarray(k.now) for k in active]
    mesh = _mesh(duration, max(k.decay for k in active))
    edges = np.array([start for start, _ in mesh] + [duration])
    paces = np.zeros(len(mesh)) if cycle is None else cycle(edges) / np.diff(edges)
    excited = given(0.0)  # λ without the immigrants, whose pace is even within a step
    for (start, step), pace in zip(mesh, paces, strict=True):
        immigrants = background / duration + density * pace
        rate = immigrants + excited
        z = np.array([k.decay * step for k in active])
        late = 1 + np.expm1(-z) / z  # weights of λ at the end and at the start of the step
        early = -np.expm1(-z) - late
        base = immigrants + given(start + step)
        moved = _moved(rate, bandwidths, blurs)
        kept = [
            math.exp(-zk) * x + k.offspring * a * moved[k.bandwidth]
            for k, x, zk, a in zip(active, response, z, early, strict=True)
        ]
        fixed = base + sum(spread(k, v) for k, v in zip(active, kept, strict=True))
        feedback = dict.fromkeys(bandwidths, 0.0)
        for k, b in zip(active, late, strict=True):
            feedback[k.bandwidth] += k.offspring * b
        after = _solve(fixed, rate, feedback, density, blurs)
        again = _moved(after, bandwidths, blurs)
        for i, k in enumerate(active):
            end = kept[i] + k.offspring * late[i] * again[k.bandwidth]
            born = k.offspring * step * 0.5 * (moved[k.bandwidth] + again[k.bandwidth])
            counts += spread(k, born - (end - response[i]) / k.decay)
            response[i] = end
        excited = after - immigrants
    return np.maximum(counts, 0.0)


def _moved(rate: Array, bandwidths: list[float], blurs: dict[float, Blur]) -> dict[float, Array | float]:
    return {h: float(rate.sum()) if math.isinf(h) else blurs[h](rate) for h in bandwidths}


def _solve(fixed: Array, guess: Array, feedback: dict[float, float], density: Array, blurs: dict[float, Blur]) -> Array:
    """λ with λ = fixed + Σ_h feedback_h · blur_h(λ), by GMRES."""

    def excess(flat: Array) -> Array:
        rate = flat.reshape(fixed.shape)
        moved = _moved(rate, list(feedback), blurs)
        offspring = sum(b * (density * moved[h] if math.isinf(h) else moved[h]) for h, b in feedback.items())
        return np.asarray(rate - offspring).ravel()

    system = LinearOperator((fixed.size, fixed.size), matvec=excess, dtype=float)
    solution, failed = gmres(system, fixed.ravel(), x0=guess.ravel(), rtol=1e-6, restart=30, maxiter=10)
    if failed or sum(feedback.values()) >= 1:  # λ would have to feed more than itself within one step
        raise ValueError("the fitted process grows too fast to be forecast: its branching ratio is far above 1")
    return solution.reshape(fixed.shape)


def _mesh(duration: float, fastest: float) -> list[tuple[float, float]]:
    """(start, step) pairs that cover the window, short at first."""
    step = min(0.15 / fastest, LARGEST_STEP * duration)
    start, out = 0.0, []
    while start < duration * (1 - 1e-12):
        step = min(step, LARGEST_STEP * duration, duration - start)
        out.append((start, step))
        start, step = start + step, step * STEP_GROWTH
    return out
