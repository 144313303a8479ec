"""Velocity of density between two snapshots: density Lucas–Kanade with growth, and how sure it is.

Where velocity v and growth r hardly change within a window, the continuity equation of :mod:`stpp.flow.flow` is linear
in v and in q = r − ∇·v, growth of the density as it moves: ∂ρ/∂t = −v·∇ρ + qρ. Least squares over a Gaussian window
[1]_, weighted by the variance of a Poisson count, gives normal equations A (v, q) = b in each cell. They are centred in
time, so their error is of second order: below 8 % where a blob moves by its own standard deviation between two frames.
Smoothing makes the errors of neighbouring cells depend on one another, so A is not the inverse covariance of the
estimate: the evidence returned is A B⁻¹ A, with B the covariance of b under the kernel (the sandwich, [2]_).

.. [1] Lucas & Kanade (1981), An iterative image registration technique, IJCAI 674-679.
.. [2] White (1982), Maximum likelihood estimation of misspecified models, Econometrica 50, theorem 3.2.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numba import njit

from stpp.domain import Array, Grid
from stpp.flow.flow import Evidence, derivative

WINDOW_REACH = 4.0
"""Standard deviations after which the window is cut off."""

KERNEL_REACH = 4.0
"""The same for the narrow kernel that noise is seen through."""

RIDGE = 1e-6
"""Added to the diagonal of the noise, relative to it: where a cell sees the flank of one event, directions merge."""

LEAST_NOISE = 1e-200
"""Variance below which it is as good as none; a share ``RIDGE`` of it would be no number any more."""


def drift_evidence(
    before: Array, after: Array, grid: Grid, *, frame: float, bandwidth: float, window: float, dispersion: float = 1.0
) -> Evidence:
    """What two snapshots say about velocity and growth in each cell, at the time between them.

    Parameters
    ----------
    before, after : ``grid.shape`` kernel-smoothed weight per cell (:func:`stpp.flow.flow.snapshots`): two consecutive
        frames, or many as :func:`stpp.flow.flow.pooled_pair` makes them
    frame : days from one to the other
    bandwidth : of the Gaussian kernel of the snapshots, map units
    window : standard deviation of the Gaussian window that shares one velocity, map units
    dispersion : variance of the weight in a cell per unit of it: Σw²/Σw over events, 1 for counts; times the share
        that :func:`stpp.flow.flow.pooled_pair` returns
    """
    d, step = grid.box.d, grid.spacing
    mean = (before + after) / 2
    # The weights are 1/variance, and the variance of a cell without events is not 0: that of one event at least.
    one_event = dispersion * np.prod(step / np.hypot(math.sqrt(2 * math.pi) * bandwidth, step))
    design = np.stack([*(-derivative(mean, axis, step[axis]) for axis in range(d)), mean])
    effect = design / (mean + one_event)
    upper = np.triu_indices(d + 1)

    def windowed(fields: Array, sd: float) -> Array:
        return _blurred(fields, sd / step, WINDOW_REACH * window / sd)

    normal = windowed(effect[upper[0]] * design[upper[1]], window)
    score = windowed(effect * ((after - before) / frame), window)
    # b(x) = Σ_y w(x − y) c(y) δ(y) with the window w and the effect c, and δ is a sum of kernels around events z, with
    # variance 2·mean per cell. Window times kernel is a wider Gaussian in z − x times a narrower kernel around the
    # point z' = x + (z − x) window²/spread²: substituting z' for z turns B(x) into a windowed field again.
    spread = math.hypot(window, bandwidth)
    inner = window**2 / (math.sqrt(2) * spread)
    narrow = bandwidth * window / spread / step
    blurred = _blurred(effect, narrow, KERNEL_REACH) / _blurred(np.ones((1, *grid.shape)), narrow, KERNEL_REACH)
    noise = windowed(blurred[upper[0]] * blurred[upper[1]] * mean, inner)
    # The filter's weights sum to 1, where those of B are exp(−|x − z'|²/(2 inner²)), and those of A and b the like.
    noise *= 2 * dispersion / frame**2 * _weights(inner / step) / _weights(window / step) ** 2
    known = _sandwich(normal.reshape(len(normal), -1), noise.reshape(len(noise), -1), score)
    return Evidence(*known, window=window)


def _blurred(fields: Array, sd: Array, reach: float) -> Array:
    """Each of (m, *shape) fields through a Gaussian window of (d,) standard deviations in cells; nothing is outside.

    On the small grids of flows one matrix product per axis is many times faster than a convolution with wide windows.
    """
    out = fields
    for axis, s in enumerate(sd, start=1):
        out = np.moveaxis(np.tensordot(_window(fields.shape[axis], float(s), reach), out, (1, axis)), 0, axis)
    return np.ascontiguousarray(out)


@lru_cache(maxsize=64)
def _window(n: int, sd: float, reach: float) -> Array:
    """(n, n) weight of cell j in the mean around cell i: a Gaussian cut off at ``reach`` standard deviations."""
    radius = int(reach * sd + 0.5)
    distance = np.arange(-max(n, radius), max(n, radius) + 1)
    weight = np.where(np.abs(distance) <= radius, np.exp(-0.5 * (distance / sd) ** 2), 0.0)
    weight /= weight.sum()
    return np.asarray(weight[np.subtract.outer(np.arange(n), np.arange(n)) + max(n, radius)])


def _weights(sd: Array) -> float:
    """Sum of exp(−|i|²/(2 sd²)) over cells i, sd in cells per axis."""
    return float(np.prod([np.exp(-0.5 * (np.arange(-int(9 * s) - 1, int(9 * s) + 2) / s) ** 2).sum() for s in sd]))


def _sandwich(normal: Array, noise: Array, score: Array) -> tuple[Array, Array]:
    """A B⁻¹ A and A B⁻¹ b per cell from the upper triangles of A and B, row by row."""
    m = len(score)
    information, evidence = np.zeros((m, m, *score.shape[1:])), np.zeros(score.shape)
    _sandwich_cells(normal, noise, score.reshape(m, -1), information.reshape(m, m, -1), evidence.reshape(m, -1))
    return information, evidence


@njit(cache=True, nogil=True)
def _sandwich_cells(normal: Array, noise: Array, score: Array, information: Array, evidence: Array) -> None:
    """Add to ``information`` and ``evidence``, cell by cell."""
    m = len(score)
    root, half = np.zeros((m, m)), np.zeros((m, m + 1))
    for cell in range(score.shape[1]):
        entry = 0
        for i in range(m):
            for j in range(i, m):
                root[j, i] = noise[entry, cell]
                half[i, j] = half[j, i] = normal[entry, cell]
                entry += 1
            # no noise: nothing is seen either
            root[i, i] = root[i, i] * (1 + RIDGE) if root[i, i] > LEAST_NOISE else 1.0
            half[i, m] = score[i, cell]
        for j in range(m):  # B = L Lᵀ, and (A, b) becomes L⁻¹ (A, b)
            floor = 0.5 * RIDGE * root[j, j]
            for k in range(j):
                root[j, j] -= root[j, k] ** 2
            root[j, j] = math.sqrt(max(root[j, j], floor))
            for i in range(j + 1, m):
                for k in range(j):
                    root[i, j] -= root[i, k] * root[j, k]
                root[i, j] /= root[j, j]
            for column in range(m + 1):
                for k in range(j):
                    half[j, column] -= root[j, k] * half[k, column]
                half[j, column] /= root[j, j]
        for k in range(m):
            for i in range(m):
                for j in range(m):
                    information[i, j, cell] += half[k, i] * half[k, j]
                evidence[i, cell] += half[k, i] * half[k, m]
