"""Entropic optimal transport between two densities on one grid, and what it says about motion and growth.

The plan π minimises, for the squared Euclidean distance c in map units (Chizat et al. 2018 [1]_, the "kl" of POT),

    Σ c π + ε KL(π | a⊗b/s) + ρ KL(π1 | a) + ρ KL(πᵀ1 | b),    s = √(mass of a · mass of b).

ρ = ∞ is balanced transport. With this s the plan does not depend on the size of the cells, and the plan of k·a and k·b
is k times that of a and b. The optimum is π = e^{(f + g − c)/ε} a⊗b/s, found by Sinkhorn's alternating updates of the
potentials f and g. exp(−c/ε) is a product over axes, so an update is one small matrix product per axis and the plan
itself is never formed.

References
----------
.. [1] Chizat, Peyré, Schmitzer & Vialard (2018), Scaling algorithms for unbalanced optimal transport problems,
   Mathematics of Computation 87.
.. [2] Thibault, Chizat, Dossal & Papadakis (2021), Overrelaxed Sinkhorn–Knopp algorithm for regularized optimal
   transport, Algorithms 14.
.. [3] Séjourné, Vialard & Peyré (2022), Faster unbalanced optimal transport: translation invariant Sinkhorn and 1-D
   Frank–Wolfe, AISTATS.
.. [4] Feydy, Séjourné, Vialard, Amari, Trouvé & Peyré (2019), Interpolating between optimal transport and MMD using
   Sinkhorn divergences, AISTATS.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from stpp.compute.blas import one_blas_thread
from stpp.domain import Array, Grid
from stpp.flow.flow import Evidence

MAX_SIDE = 5_000
"""Most cells along one axis: a kernel holds (side)² numbers per axis."""

PATIENCE = 30
"""Iterations without progress after which the over-relaxation is halved."""

_REACH = 300.0
"""Largest exponent inside a matrix product: then terms down to e⁻³⁷ of a sum are e⁻⁶³⁷ or more, not yet underflow."""


class _AxisKernel:
    """log Σ_j exp(h_j − (x_i − x_j)²/ε) along one axis, to rounding for any h, by matrix products.

    With x₀ the middle of a block of x_i, −(x_i − x_j)² = −(x_j − x₀)² + [2 (x_i − x₀)(x_j − x₀) − (x_i − x₀)²]. The
    first part joins h_j, whose maximum is then taken out; the second is a fixed matrix. Blocks are so narrow that it
    stays within e^{±300}. Large ε needs one block; for very small ε each x_i is one, as in a plain logsumexp.
    """

    def __init__(self, x: Array, epsilon: float) -> None:
        extent = float(x[-1] - x[0])
        parts = min(len(x), math.ceil(extent**2 / (_REACH * epsilon)) or 1)
        self.blocks = []
        for block in np.array_split(x, parts):
            source, here = x - block.mean(), block - block.mean()
            matrix = np.exp((2 * np.outer(source, here) - here**2) / epsilon)
            self.blocks.append((-(source**2) / epsilon, matrix, np.subtract.outer(source, here)))

    def log_sum(self, h: Array) -> Array:
        """(rows, n) the sum for each row of h; −∞ for a row of −∞."""
        out = []
        for offset, matrix, _ in self.blocks:
            top, terms = _scaled(h + offset)
            with np.errstate(divide="ignore"):
                out.append(np.log(terms @ matrix) + top)
        return np.concatenate(out, axis=-1)

    def mean_step(self, h: Array) -> Array:
        """(rows, n) mean of x_j − x_i under the terms of the sum; 0 for a row of −∞."""
        out = []
        for offset, matrix, step in self.blocks:
            terms = _scaled(h + offset)[1]
            total = terms @ matrix
            out.append(np.divide(terms @ (matrix * step), total, out=np.zeros_like(total), where=total > 0))
        return np.concatenate(out, axis=-1)


def _scaled(h: Array) -> tuple[Array, Array]:
    """(rows, 1) the largest value of each row, and exp(h) over the exp of it; a row of −∞ stays without mass."""
    top = h.max(axis=-1, keepdims=True)
    top[np.isneginf(top)] = 0.0
    h -= top
    return top, np.exp(h, out=h)


def _log_total(h: Array) -> float:
    top, terms = _scaled(h.reshape(1, -1))
    return float(top[0, 0]) + math.log(terms.sum())


def _along(function: Callable[[Array], Array], h: Array, axis: int) -> Array:
    rows = np.moveaxis(h, axis, -1)
    return np.moveaxis(function(rows.reshape(-1, rows.shape[-1])).reshape(rows.shape), -1, axis)


class _Kernel:
    """exp(−c/ε) on a grid, applied in the logarithmic domain one axis after the other."""

    def __init__(self, grid: Grid, epsilon: float) -> None:
        side = max(grid.shape)
        if side > MAX_SIDE:
            raise ValueError(
                f"transport along a side of {side} cells needs a kernel of {side} × {side} = {8 * side**2 / 2**30:.3g} "
                f"GiB; the limit is {MAX_SIDE} cells a side: use a coarser grid"
            )
        self.axes = [_AxisKernel(x, epsilon) for x in grid.centres]

    def log_sum(self, h: Array) -> Array:
        """``grid.shape`` log Σ_y exp(h(y) − c(x, y)/ε)."""
        for k, axis in enumerate(self.axes):
            h = _along(axis.log_sum, h, k)
        return h

    def mean_step(self, h: Array) -> Array:
        """(d, *grid.shape) mean of y − x under exp(h(y) − c(x, y)/ε), map units."""
        steps = []
        for k, axis in enumerate(self.axes):
            summed = h
            for j, other in enumerate(self.axes):
                if j != k:
                    summed = _along(other.log_sum, summed, j)
            steps.append(_along(axis.mean_step, summed, k))
        return np.stack(steps)


@dataclass(frozen=True, eq=False)
class Transport:
    """A plan π between masses a and b on a grid, held as its potentials.

    Parameters
    ----------
    grid : its cells
    source, target : ``grid.shape`` a and b, mass per cell
    epsilon : ε, map units²
    penalty : ρ, map units²; ∞ for balanced transport
    f, g : ``grid.shape`` dual potentials, map units²; defined where there is no mass, too
    iterations : updates of both potentials
    converged : whether the last of them changed less than the tolerance
    """

    grid: Grid
    source: Array
    target: Array
    epsilon: float
    penalty: float
    f: Array
    g: Array
    iterations: int
    converged: bool

    @cached_property
    def _kernel(self) -> _Kernel:
        return _Kernel(self.grid, self.epsilon)

    @cached_property
    @one_blas_thread
    def marginals(self) -> tuple[Array, Array]:
        """Mass that leaves and that reaches each cell, ``grid.shape`` each."""
        leaving, reaching = _log(self.source) + self.f / self.epsilon, _log(self.target) + self.g / self.epsilon
        scale = 0.5 * (math.log(self.source.sum()) + math.log(self.target.sum()))
        return (
            np.exp(leaving + self._kernel.log_sum(reaching) - scale),
            np.exp(reaching + self._kernel.log_sum(leaving) - scale),
        )

    @property
    def mass(self) -> float:
        """Total mass transported."""
        return float(self.marginals[0].sum())

    @cached_property
    @one_blas_thread
    def displacement(self) -> Array:
        """(d, *grid.shape) E_π[y | x] − x, map units: how far the mass of each cell goes, on average."""
        return self._kernel.mean_step(_log(self.target) + self.g / self.epsilon)

    @cached_property
    @one_blas_thread
    def origin(self) -> Array:
        """(d, *grid.shape) E_π[x | y] − y, map units: where the mass of each cell comes from, on average."""
        return self._kernel.mean_step(_log(self.source) + self.f / self.epsilon)


def _log(mass: Array) -> Array:
    with np.errstate(divide="ignore"):
        return np.log(mass)


@one_blas_thread
def sinkhorn(
    source: Array,
    target: Array,
    grid: Grid,
    *,
    epsilon: float,
    penalty: float,
    tol: float = 1e-6,
    max_iterations: int = 1_000,
) -> Transport:
    """The entropic optimal transport plan between two densities.

    The updates f ← −κ ε log Σ_y e^{(g − c)/ε} b/s and alike for g, κ = ρ/(ρ + ε) [1]_, are over-relaxed [2]_ by Young's
    factor ω = 2/(1 + √(1 − θ)) for a system of two blocks, where θ is the rate at which plain updates converge. The
    slowest deviation is a constant added to f and taken from g; the best constant is known in closed form [3]_ and
    set each time. The next slowest is a wave as long as the box is wide, L: θ = κ² e^{−ε(π/L)²/2}. That is for even
    densities; where the change does not fall for ``PATIENCE`` iterations, ω goes half the way to 1, which converges.

    Parameters
    ----------
    source, target : ``grid.shape`` mass ≥ 0 per cell
    epsilon : ε > 0, map units²: the plan is blurred over about √(ε/2)
    penalty : ρ > 0, map units²; ∞ for balanced transport, between equal masses
    tol : mean change of f/ε over the mass of ``source`` in the last iteration
    max_iterations : where to give up; the result says whether it converged

    Raises
    ------
    ValueError
        if a density has no mass, or cells that are negative, not finite or not on the grid; if ε or ρ is not above 0;
        if balanced transport is asked for between unequal masses; if a side of the grid has too many cells
    """
    masses = [float(_checked(mass, grid).sum()) for mass in (source, target)]
    if not (0 < epsilon < math.inf and penalty > 0):
        raise ValueError(f"epsilon and penalty must be above 0, epsilon finite; got {epsilon:g} and {penalty:g}")
    if penalty == math.inf and not math.isclose(*masses, rel_tol=1e-9):
        raise ValueError(f"balanced transport needs equal masses, got {masses[0]:g} and {masses[1]:g}: scale one")
    scale = 0.5 * (math.log(masses[0]) + math.log(masses[1]))
    log_a, log_b = _log(source) - scale, _log(target) - scale
    kernel = _Kernel(grid, epsilon)
    keep = 1 / (1 + epsilon / penalty)
    slowest = keep**2 * math.exp(-epsilon * (math.pi / max(grid.box.widths)) ** 2 / 2)
    relaxation = 2 / (1 + math.sqrt(1 - slowest))
    f, g, share = np.zeros(grid.shape), np.zeros(grid.shape), source / masses[0]  # f and g in units of ε
    iteration, change, best = 0, math.inf, (math.inf, 0)
    while iteration < max_iterations and not change < tol:
        step = -keep * kernel.log_sum(g + log_b) - f
        f += relaxation * step
        if penalty < math.inf:
            lost, made = _log_total(log_a - f * (epsilon / penalty)), _log_total(log_b - g * (epsilon / penalty))
            constant = penalty / (2 * epsilon) * (lost - made)
            f += constant
            g -= constant
        g += relaxation * (-keep * kernel.log_sum(f + log_a) - g)
        iteration, change = iteration + 1, float(np.sum(share * np.abs(step)))
        if change < best[0]:
            best = change, iteration
        elif iteration - best[1] >= PATIENCE:
            relaxation, best = (1 + relaxation) / 2, (change, iteration)
    return Transport(grid, source, target, epsilon, penalty, epsilon * f, epsilon * g, iteration, change < tol)


def _checked(mass: Array, grid: Grid) -> Array:
    total = float(mass.sum())
    if mass.shape != grid.shape or not (math.isfinite(total) and total > 0 and float(mass.min()) >= 0):
        raise ValueError(
            f"transport needs a mass ≥ 0 in each of the grid's {grid.shape} cells and some mass in all; got shape "
            f"{mass.shape}, sum {total:g}"
        )
    return mass


def _stay(mass: Array, kernel: _Kernel, keep: float, tol: float = 1e-6) -> Array:
    """(d, *shape) displacement of the transport from a density to itself.

    Both potentials are one, and the average of a potential and its update at least halves the error each time [4]_.
    """
    log_mass = _log(mass / mass.sum())
    f, share = np.zeros(mass.shape), mass / mass.sum()
    for _ in range(100):
        step = -keep * kernel.log_sum(f + log_mass) - f
        f += step / 2
        if float(np.sum(share * np.abs(step))) < tol:
            break
    return kernel.mean_step(f + log_mass)


@one_blas_thread
def transport_evidence(
    before: Array,
    after: Array,
    grid: Grid,
    *,
    frame: float,
    bandwidth: float,
    epsilon: float,
    unbalance: float,
    dispersion: float = 1.0,
) -> Evidence:
    """What the optimal transport between two consecutive snapshots says about motion and growth.

    Motion is half the way from ``before`` to ``after`` minus half the way back, so that it belongs to the time
    between the frames. Blurring draws every displacement towards the mass near by; the displacement that a snapshot
    has onto itself is just this, and is subtracted, as in a Sinkhorn divergence [4]_. A wave of wave number k then
    keeps (z/2)/sinh(z/2) ≈ 1 − z²/24 of its motion, z = εk²/2, where it would otherwise lose z/4. Growth is the log
    ratio of mass created to mass destroyed, (g − f)/ρ.

    The information is that of Poisson noise. Where the density is even, an error δ of log(after/before) moves the
    solution, to first order and with K = e^{−εk²/4}, κ = ρ/(ρ + ε), by

        displacement: i k (ε/2) K/(1 − κ²K²) · δ,        growth: (1 − κ) K/(1 − κK) · δ.

    A snapshot of ``n`` events per unit volume, smoothed by h, has noise of power e^{−h²k²}/n. Summed over the box's
    waves, that is the variance of both: a constant times (1/n_before + 1/n_after), the effective number of events
    within the kernels. n is the weight of the snapshots over ``dispersion``, smoothed by √(ε/2) for motion and by
    √((ε + ρ)/2) for growth, the widths of the two responses. Velocity and growth at one place are not correlated.
    On noise without motion, estimate over standard error has a standard deviation of about 1 (tested).

    Parameters
    ----------
    before, after : ``grid.shape`` weight per cell in two frames of equal length, see :func:`stpp.flow.flow.snapshots`
    frame : days from one to the other
    bandwidth : h that they were smoothed with, map units
    epsilon : ε in units of h²; 3 to 30 was best for moving blobs; below 1 slow and no better
    unbalance : ρ in units of h²: mass is moved rather than made anew up to about h·√unbalance; try 10 to 1,000;
        ∞ is balanced
    dispersion : Σw²/Σw of the weights, 1 for plain counts

    Returns
    -------
    Evidence; none at all where a frame is empty, or where the plan has not converged after 1,000 iterations

    Raises
    ------
    ValueError
        if a snapshot, ε or ρ is out of range (see :func:`sinkhorn`)
    """
    masses = float(before.sum()), float(after.sum())
    if min(masses) == 0:
        return Evidence.none(grid)
    epsilon, penalty = epsilon * bandwidth**2, unbalance * bandwidth**2
    middle = math.sqrt(masses[0]) * math.sqrt(masses[1])
    growth_of_all = math.log(masses[1] / masses[0]) if penalty == math.inf else 0.0
    shares = [middle / mass if penalty == math.inf else 1.0 for mass in masses]
    plan = sinkhorn(before * shares[0], after * shares[1], grid, epsilon=epsilon, penalty=penalty)
    if not plan.converged:
        return Evidence.none(grid)
    kernel, keep = _Kernel(grid, epsilon), 1 / (1 + epsilon / penalty)
    way = plan.displacement - _stay(before, kernel, keep) - plan.origin + _stay(after, kernel, keep)
    growth = growth_of_all + (plan.g - plan.f) / penalty
    estimate = np.concatenate([way / 2, growth[None]]) / frame

    near, far = (_pairs_of_events(before, after, grid, blur) / dispersion for blur in (epsilon, epsilon + penalty))
    noise = _noise(grid, bandwidth, epsilon, keep) / frame**2
    information = np.zeros((len(noise), *estimate.shape))
    for k in np.flatnonzero(noise):  # along an axis of one cell nothing can be seen
        information[k, k] = (near if k < grid.box.d else far) / noise[k]
    return Evidence(information, np.einsum("ii...->i...", information) * estimate)


def _pairs_of_events(before: Array, after: Array, grid: Grid, epsilon: float) -> Array:
    """``grid.shape`` 1/(1/n_before + 1/n_after), n the weight per unit volume smoothed by √(ε/2); 0 without mass."""
    kernel = _Kernel(grid, epsilon)
    one = kernel.log_sum(np.zeros(grid.shape))
    a, b = (np.exp(kernel.log_sum(_log(mass)) - one) / grid.cell_volume for mass in (before, after))
    return np.divide(a * b, a + b, out=np.zeros(grid.shape), where=a + b > 0)


def _noise(grid: Grid, bandwidth: float, epsilon: float, keep: float) -> Array:
    """(d + 1,) variance of the displacement per axis, and of the growth, times the density of events.

    The sum over the cosine waves of the box, up to those of two cells.
    """
    waves = [(math.pi * np.arange(n) / w) ** 2 for n, w in zip(grid.shape, grid.box.widths, strict=True)]
    squares = np.stack(np.meshgrid(*waves, indexing="ij"))
    k2 = squares.sum(axis=0)
    spread, power = np.exp(-epsilon * k2 / 4), np.exp(-(bandwidth**2) * k2)
    left, left_square = 1 - keep * spread, 1 - (keep * spread) ** 2
    # the constant wave moves nothing and grows by just δ, in the limit of balanced transport, too
    moved = np.divide(epsilon / 2 * spread, left_square, out=np.zeros(grid.shape), where=k2 > 0) ** 2 * power
    grown = np.divide((1 - keep) * spread, left, out=np.ones(grid.shape), where=k2 > 0) ** 2 * power
    return np.append((squares * moved).reshape(grid.box.d, -1).sum(axis=1), grown.sum()) / grid.box.volume
