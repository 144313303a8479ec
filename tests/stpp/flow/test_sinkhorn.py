"""Optimal transport between snapshots: the same plan as POT, and motion that is motion."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stpp.domain import Array, Box, Grid
from stpp.events import Events
from stpp.flow.flow import Evidence, snapshots
from stpp.flow.sinkhorn import MAX_SIDE, Transport, sinkhorn, transport_evidence

in_any_dimension = pytest.mark.parametrize("d", [1, 2, 3])
SIDES = {1: 60, 2: 24, 3: 12}


def unit(d: int, side: int | None = None) -> Grid:
    return Grid.over(Box((0.0,) * d, (1.0,) * d), side or SIDES[d])


def blob(grid: Grid, centre: Array | list[float], sd: float = 0.1, mass: float = 1000.0) -> Array:
    field = np.exp(-((grid.points() - np.asarray(centre)) ** 2).sum(axis=1) / (2 * sd**2)).reshape(grid.shape)
    return mass * field / field.sum()


def some_fields(seed: int, grid: Grid) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    a, b = rng.gamma(0.5, 1.0, (2, *grid.shape))
    a[rng.uniform(size=grid.shape) < 0.3] = 0.0
    return a, 2 * b


def dense(plan: Transport) -> Array:
    """(cells, cells) the plan itself."""
    places = plan.grid.points()
    cost = ((places[:, None] - places) ** 2).sum(axis=-1)
    a, b = plan.source.ravel(), plan.target.ravel()
    exponent = (plan.f.reshape(-1, 1) + plan.g.ravel() - cost) / plan.epsilon
    return np.exp(exponent) * np.outer(a, b) / math.sqrt(a.sum() * b.sum())


def evidence(before: Array, after: Array, grid: Grid, **other: Any) -> Evidence:
    options = {"frame": 1.0, "bandwidth": 0.05, "epsilon": 3.0, "unbalance": 100.0} | other
    return transport_evidence(before, after, grid, **options)


def estimate(found: Evidence) -> Array:
    """(d + 1, *shape) velocity and growth without a prior."""
    information = np.einsum("ii...->i...", found.information)
    return np.divide(found.score, information, out=np.zeros_like(found.score), where=information > 0)


def weighted(field: Array, mass: Array) -> Array:
    return np.asarray((field * mass).reshape(len(field), -1).sum(axis=1) / mass.sum())


# -- the plan -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("epsilon", "penalty"), [(0.02, 0.1), (0.1, 1.0), (0.01, 0.02)])
def test_an_unbalanced_plan_is_the_one_of_pot(epsilon: float, penalty: float) -> None:
    ot = pytest.importorskip("ot", reason="POT, the reference, is not installed: pip install pot")
    grid = unit(2, 20)
    a, b = (field + 0.01 for field in some_fields(0, grid))  # POT divides by the mass of every cell
    ours = sinkhorn(a, b, grid, epsilon=epsilon, penalty=penalty, tol=1e-12)
    assert ours.converged
    cost, s = ot.dist(grid.points(), grid.points()), math.sqrt(a.sum() * b.sum())
    options = {"reg_type": "kl", "c": np.outer(a, b) / s, "numItermax": 20_000, "stopThr": 1e-13}
    theirs = ot.unbalanced.sinkhorn_unbalanced(a.ravel(), b.ravel(), cost, epsilon, penalty, **options)
    np.testing.assert_allclose(dense(ours), theirs, rtol=1e-6, atol=1e-6 * theirs.max())
    # POT's own reference measure, a ⊗ b, is the same one where both masses are 1 on geometric average
    theirs = ot.unbalanced.sinkhorn_unbalanced(
        a.ravel() / s, b.ravel() / s, cost, epsilon, penalty, reg_type="kl", numItermax=20_000, stopThr=1e-13
    )
    np.testing.assert_allclose(dense(ours) / s, theirs, rtol=1e-6, atol=1e-6 * theirs.max())


@pytest.mark.parametrize("epsilon", [0.02, 0.1])
def test_a_balanced_plan_is_the_one_of_pot(epsilon: float) -> None:
    ot = pytest.importorskip("ot", reason="POT, the reference, is not installed: pip install pot")
    grid = unit(2, 20)
    a, b = ((field + 0.01) / (field + 0.01).sum() for field in some_fields(1, grid))
    ours = sinkhorn(a, b, grid, epsilon=epsilon, penalty=math.inf, tol=1e-12)
    cost = ot.dist(grid.points(), grid.points())
    theirs = ot.sinkhorn(a.ravel(), b.ravel(), cost, epsilon, numItermax=20_000, stopThr=1e-13)
    np.testing.assert_allclose(dense(ours), theirs, rtol=1e-6, atol=1e-6 * theirs.max())


@in_any_dimension
@pytest.mark.parametrize("penalty", [0.05, math.inf])
def test_marginals_and_displacements_are_those_of_the_dense_plan(d: int, penalty: float) -> None:
    grid = Grid(Box((0.0,) * d, (1.0, 2.0, 0.5)[:d]), (9, 7, 5)[:d])
    a, b = some_fields(d, grid)
    if penalty == math.inf:
        b *= a.sum() / b.sum()
    ours = sinkhorn(a, b, grid, epsilon=0.02, penalty=penalty, tol=1e-10)
    plan, places = dense(ours), grid.points()
    np.testing.assert_allclose(ours.marginals[0].ravel(), plan.sum(axis=1), rtol=1e-10, atol=1e-14)
    np.testing.assert_allclose(ours.marginals[1].ravel(), plan.sum(axis=0), rtol=1e-10, atol=1e-14)
    assert ours.mass == pytest.approx(plan.sum(), rel=1e-10)
    here, there = a.ravel() > 0, b.ravel() > 0
    ahead = (plan @ places)[here] / plan.sum(axis=1)[here, None] - places[here]
    back = (plan.T @ places)[there] / plan.sum(axis=0)[there, None] - places[there]
    np.testing.assert_allclose(ours.displacement.reshape(d, -1).T[here], ahead, atol=1e-10)
    np.testing.assert_allclose(ours.origin.reshape(d, -1).T[there], back, atol=1e-10)


@in_any_dimension
def test_balanced_transport_keeps_the_mass_of_every_cell(d: int) -> None:
    grid = unit(d, 8)
    a, b = some_fields(d, grid)
    plan = sinkhorn(a, b * a.sum() / b.sum(), grid, epsilon=0.05, penalty=math.inf, tol=1e-12)
    np.testing.assert_allclose(plan.marginals[0], plan.source, rtol=1e-9)
    np.testing.assert_allclose(plan.marginals[1], plan.target, rtol=1e-9)
    assert plan.mass == pytest.approx(a.sum())


def test_k_times_the_masses_is_k_times_the_plan_and_units_of_length_do_not_matter() -> None:
    grid = unit(2, 12)
    a, b = some_fields(4, grid)
    plan = sinkhorn(a, b, grid, epsilon=0.02, penalty=0.1)
    more = sinkhorn(7 * a, 7 * b, grid, epsilon=0.02, penalty=0.1)
    np.testing.assert_allclose(more.marginals[0], 7 * plan.marginals[0], rtol=1e-6)
    far = Grid.over(Box((-500.0, 300.0), (500.0, 1300.0)), 12)
    wide = sinkhorn(a, b, far, epsilon=0.02e6, penalty=0.1e6)
    np.testing.assert_allclose(wide.displacement, 1e3 * plan.displacement, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(wide.f, 1e6 * plan.f, rtol=1e-6, atol=1e-3)


def test_a_narrow_kernel_neither_under_nor_overflows() -> None:
    grid = unit(1, 100)  # e^{−c/ε} is 10⁻¹⁷⁰⁰ from one blob to the other, and 0 to a computer
    plan = sinkhorn(blob(grid, [0.1], 0.01), blob(grid, [0.9], 0.01), grid, epsilon=1.6e-4, penalty=math.inf)
    assert plan.converged
    assert weighted(plan.displacement, plan.source)[0] == pytest.approx(0.8, abs=1e-6)
    apart = sinkhorn(blob(grid, [0.1], 0.01), blob(grid, [0.9], 0.01), grid, epsilon=1e-4, penalty=1e-2)
    assert 0 < apart.mass < 1e-9  # of 1000: it is cheaper to make mass anew, 0.01 a unit, than to move it, 0.8²


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    d=st.integers(1, 3),
    epsilon=st.floats(-3, 0.5),
    penalty=st.one_of(st.floats(-3, 1.5), st.just(math.inf)),
    sparse=st.sampled_from([1, 2, 5, 1000]),
)
def test_all_is_finite_whatever_the_masses(seed: int, d: int, epsilon: float, penalty: float, sparse: int) -> None:
    rng, grid = np.random.default_rng(seed), unit(d, (30, 10, 5)[d - 1])
    masses = np.zeros((2, grid.cells))
    for mass in masses:
        mass[rng.integers(grid.cells, size=sparse)] = 10.0 ** rng.uniform(-6, 6, sparse)
    a, b = masses.reshape(2, *grid.shape)
    if penalty == math.inf:
        b *= a.sum() / b.sum()
    plan = sinkhorn(a, b, grid, epsilon=10**epsilon, penalty=10**penalty, max_iterations=100)
    for field in (plan.f, plan.g, *plan.marginals, plan.displacement, plan.origin):
        assert np.isfinite(field).all()
    assert abs(plan.displacement).max() <= 1
    found = evidence(a, b, grid, bandwidth=10 ** (epsilon / 2), epsilon=1.0, unbalance=10 ** (penalty - epsilon))
    assert np.isfinite(found.information).all()
    assert np.isfinite(found.score).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"source": np.zeros((5, 5))}, "some mass"),
        ({"source": -np.ones((5, 5))}, "mass ≥ 0"),
        ({"source": np.full((5, 5), np.nan)}, "mass ≥ 0"),
        ({"source": np.ones((5, 4))}, "shape"),
        ({"epsilon": 0.0}, "above 0"),
        ({"penalty": math.nan}, "above 0"),
        ({"penalty": math.inf}, "equal masses"),
    ],
)
def test_what_cannot_be_transported_is_refused(change: dict[str, Any], message: str) -> None:
    good = {"source": np.ones((5, 5)), "target": 2 * np.ones((5, 5)), "epsilon": 0.1, "penalty": 1.0}
    with pytest.raises(ValueError, match=message):
        sinkhorn(grid=unit(2, 5), **(good | change))


def test_a_side_too_fine_for_memory_is_refused_with_the_arithmetic() -> None:
    grid, side = unit(1, 20_000), 20_000
    assert side > MAX_SIDE
    with pytest.raises(ValueError, match=r"20000 × 20000 = 2.98 GiB.*coarser"):
        sinkhorn(np.ones(side), np.ones(side), grid, epsilon=0.1, penalty=1.0)


# -- what it says about motion ------------------------------------------------------------------------------------


@in_any_dimension
def test_a_blob_that_moves_right_gives_arrows_to_the_right(d: int) -> None:
    grid = unit(d)
    before, after = blob(grid, [0.45] + [0.5] * (d - 1)), blob(grid, [0.50] + [0.5] * (d - 1))
    way = weighted(estimate(evidence(before, after, grid, frame=2.0)), before + after)
    assert 0.5 * 0.025 < way[0] < 1.2 * 0.025  # it moves 0.05 in 2 days; some of it is taken for growth
    np.testing.assert_allclose(way[1:], 0, atol=1e-3)
    clear = weighted(estimate(evidence(before, after, grid, frame=2.0, unbalance=3000.0)), before + after)
    assert clear[0] == pytest.approx(0.025, rel=0.1)


@in_any_dimension
def test_a_blob_that_grows_does_not_move(d: int) -> None:
    grid = unit(d)
    before = blob(grid, [0.5] * d) + 1e-6
    found = estimate(evidence(before, 1.5 * before, grid, frame=0.5))
    assert abs(found[:d]).max() < 1e-5
    np.testing.assert_allclose(found[d], math.log(1.5) / 0.5, rtol=1e-3)


def test_one_blob_that_grows_beside_one_that_does_not_hardly_moves() -> None:
    grid = unit(2, 40)
    still, growing = blob(grid, [0.3, 0.5], 0.07), blob(grid, [0.7, 0.5], 0.07)
    found = estimate(evidence(still + growing, still + 1.5 * growing, grid, bandwidth=0.03, unbalance=10.0))
    growth = weighted(found[2:], growing)[0]
    assert 0.7 * math.log(1.5) < growth < 1.1 * math.log(1.5)
    assert abs(weighted(found[2:], still)[0]) < 0.1
    assert np.hypot(*weighted(found[:2], growing)) < 0.003  # a tenth of a cell


@in_any_dimension
def test_time_reversed_is_the_opposite_motion_and_growth(d: int) -> None:
    grid = unit(d, 10)
    a, b = some_fields(d, grid)
    there, back = evidence(a + 1, b + 1, grid), evidence(b + 1, a + 1, grid)
    scale = abs(estimate(there)).max()
    np.testing.assert_allclose(estimate(there), -estimate(back), atol=1e-4 * scale)
    np.testing.assert_allclose(there.information, back.information, rtol=1e-9)


def test_the_self_bias_is_gone() -> None:
    grid = unit(1, 200)
    before, after = blob(grid, [0.49]), blob(grid, [0.51])
    plan = sinkhorn(before, after, grid, epsilon=0.02, penalty=10.0)
    middle = (before + after) > 0.2 * (before + after).max()
    # blurred, what lies right of the blob's centre goes left: the plain displacement is wrong by more than the motion
    assert np.ptp(plan.displacement[0][middle]) > 0.02
    found = estimate(evidence(before, after, grid, bandwidth=0.05, epsilon=8.0, unbalance=4000.0))[0]
    np.testing.assert_allclose(found[middle], 0.02, rtol=0.1)


def test_units_of_length_time_and_weight() -> None:
    grid, wide = unit(2, 16), Grid.over(Box((10.0, 10.0), (110.0, 110.0)), 16)
    a, b = (field + 0.1 for field in some_fields(5, grid))
    one = evidence(a, b, grid)
    other = evidence(3 * a, 3 * b, wide, frame=4.0, bandwidth=5.0, dispersion=3.0)
    v = 100 / 4
    np.testing.assert_allclose(estimate(other)[:2], v * estimate(one)[:2], rtol=1e-4, atol=1e-4 * v * 0.01)
    np.testing.assert_allclose(estimate(other)[2], estimate(one)[2] / 4, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(other.information[0, 0], one.information[0, 0] / v**2, rtol=1e-6)
    np.testing.assert_allclose(other.information[2, 2], one.information[2, 2] * 16, rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(("epsilon", "unbalance"), [(3.0, 100.0), (10.0, 100.0), (30.0, 1000.0)])
@pytest.mark.parametrize("weighted_events", [False, True])
def test_on_noise_the_standard_errors_are_right(epsilon: float, unbalance: float, weighted_events: bool) -> None:
    grid, h = unit(2, 25), 0.05
    rng = np.random.default_rng(0)
    ratios, masses = [], []
    dispersion = 2.0 if weighted_events else 1.0  # of exponential weights
    for _ in range(12):
        frames = []
        for _ in range(2):
            blobs = np.clip(rng.normal(0.4, 0.15, (rng.poisson(600), 2)), 0, 1)
            x = np.concatenate([blobs, rng.uniform(size=(rng.poisson(400), 2))])
            w = rng.exponential(size=len(x)) if weighted_events else np.ones(len(x))
            events = Events(rng.uniform(0, 1, len(x)), x, w)
            frames.append(snapshots(events, np.array([1.0]), 1.0, grid, h)[0])
        settings = {"epsilon": epsilon, "unbalance": unbalance, "bandwidth": h, "dispersion": dispersion}
        found = evidence(*frames, grid, **settings)
        ratios.append(found.score / np.sqrt(np.einsum("ii...->i...", found.information)))
        masses.append(frames[0] + frames[1])
    square, mass = np.square(ratios), np.array(masses)[:, None]
    sd = np.sqrt((square * mass).sum(axis=(0, 2, 3)) / mass.sum(axis=(0, 2, 3)))
    assert (sd[:2] > 0.6).all()
    assert (sd[:2] < 1.25).all()
    assert sd[2] < 1.3


@in_any_dimension
def test_frames_without_events_say_nothing(d: int) -> None:
    grid = unit(d, 6)
    some, nothing = blob(grid, [0.5] * d), np.zeros(grid.shape)
    for a, b in ((some, nothing), (nothing, some), (nothing, nothing)):
        found = evidence(a, b, grid)
        assert not found.information.any()
        assert not found.score.any()


@in_any_dimension
@pytest.mark.parametrize("unbalance", [1.0, 100.0, math.inf])
def test_one_event_or_one_cell_is_finite(d: int, unbalance: float) -> None:
    grid = unit(d, 8)
    here, there = np.zeros(grid.shape), np.zeros(grid.shape)
    here.flat[0], there.flat[-1] = 1.0, 50.0
    for a, b in ((here, there), (here, 3 * here), (here, np.ones(grid.shape)), (there, 1e-300 * here)):
        found = evidence(a, b, grid, unbalance=unbalance, bandwidth=0.1)
        assert np.isfinite(found.information).all()
        assert np.isfinite(found.score).all()
    flat = Grid(Box((0.0,) * d, (1.0,) * d), (1,) * d)
    found = evidence(np.ones(flat.shape), 2 * np.ones(flat.shape), flat, unbalance=unbalance)
    assert np.isfinite(found.information).all()
    np.testing.assert_allclose(estimate(found)[:d], 0)
    np.testing.assert_allclose(estimate(found)[d], math.log(2), rtol=1e-5)
