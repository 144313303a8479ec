"""The drift estimator: which way, how far, growth apart from motion, and whether its standard errors are honest."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stpp.domain import Array, Box, Grid
from stpp.events import Events
from stpp.flow.flow import Evidence, Flow, pooled_pair, snapshots
from stpp.flow.motion import drift_evidence

SHAPES = {1: (100,), 2: (40, 36), 3: (20, 18, 16)}
SD, BANDWIDTH, WINDOW = 3.0, 1.5, 5.0  # cells


def a_grid(d: int, unit: float = 1.0) -> Grid:
    """Cells of one map unit, or of ``unit``."""
    shape = SHAPES[d]
    return Grid(Box((0.0,) * d, tuple(unit * n for n in shape)), shape)


def blob(grid: Grid, centre: Array, sd: float, mass: float) -> Array:
    """Expected weight per cell of a Gaussian blob on little noise."""
    x = np.stack(np.meshgrid(*[(e[1:] + e[:-1]) / 2 for e in grid.edges], indexing="ij"), axis=-1)
    density = np.exp(-((x - centre) ** 2).sum(axis=-1) / (2 * sd**2)) / (math.sqrt(2 * math.pi) * sd) ** grid.box.d
    return np.asarray(mass * density * grid.cell_volume + 0.02 * mass / grid.cells)


def solved(evidence: Evidence, grid: Grid) -> Flow:
    """Hardly any prior."""
    return Flow.solve(evidence, grid, 0.0, 1.0, np.ones(grid.shape), velocity_prior=1e4, growth_prior=1e4)


def noisy_frames(rng: np.random.Generator, grid: Grid, densities: list[Array], bandwidth: float) -> Array:
    """Snapshots of Poisson events, one frame per expected density."""
    t, x = [], []
    for frame, density in enumerate(densities):
        cells = np.repeat(np.arange(grid.cells), rng.poisson(density.ravel()))
        corner = np.stack(np.unravel_index(cells, grid.shape), axis=1) * grid.spacing + grid.box.low
        x.append(corner + rng.uniform(0, grid.spacing, corner.shape))
        t.append(np.full(len(cells), frame + 0.5))
    events = Events(np.concatenate(t), np.concatenate(x))
    return snapshots(events, np.arange(len(densities)) + 1.0, 1.0, grid, bandwidth)


def flow_of(frames: Array, grid: Grid, window: float, bandwidth: float) -> Flow:
    before, after, share = pooled_pair(frames)
    evidence = drift_evidence(before, after, grid, frame=1.0, bandwidth=bandwidth, window=window, dispersion=share)
    return solved(evidence, grid)


# -- direction and size --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(("d", "axis"), [(1, 0), (2, 0), (2, 1), (3, 0), (3, 1), (3, 2)])
def test_a_blob_that_moves_forward_gives_arrows_forward(d: int, axis: int, sign: int) -> None:
    grid, speed = a_grid(d), 1.2
    middle, step = grid.box.widths / 2, np.zeros(d)
    step[axis] = sign * speed / 2
    before, after = (blob(grid, middle + way * step, SD, 5000.0) for way in (-1, 1))
    flow = solved(drift_evidence(before, after, grid, frame=1.0, bandwidth=BANDWIDTH, window=WINDOW), grid)
    mass = (before + after) / (before + after).sum()
    means = (flow.velocity * mass).sum(axis=tuple(range(1, d + 1)))
    assert means[axis] == pytest.approx(sign * speed, rel=0.08)
    np.testing.assert_allclose(np.delete(means, axis), 0, atol=0.01)
    heavy = mass > 0.1 * mass.max()
    assert (sign * flow.velocity[axis][heavy] > 0.8 * speed).all()
    assert flow.significant()[heavy].all()


@pytest.mark.parametrize("share", [0.5, 1.0])
def test_a_blob_may_move_by_its_own_width(share: float) -> None:
    grid = a_grid(1)
    before, after = (blob(grid, np.array([50 + way * share * 2.0]), 4.0, 1000.0) for way in (-1, 1))
    flow = solved(drift_evidence(before, after, grid, frame=1.0, bandwidth=1.0, window=6.0), grid)
    assert flow.velocity[0, 50] == pytest.approx(4.0 * share, rel=0.1)


@pytest.mark.parametrize("d", [1, 2, 3])
def test_a_static_blob_that_grows_by_half_grows_and_does_not_move(d: int) -> None:
    grid, rng = a_grid(d), np.random.default_rng(d)
    density = blob(grid, grid.box.widths / 2, SD, 4000.0)
    frames = noisy_frames(rng, grid, [density, 1.5 * density], BANDWIDTH)
    flow = flow_of(frames, grid, WINDOW, BANDWIDTH)
    heavy = density > 0.2 * density.max()
    assert (np.abs(flow.velocity) < 3.3 * flow.velocity_error)[:, heavy].all()
    assert np.abs(flow.velocity[:, heavy]).mean() < 0.2
    growth = np.average(flow.growth[heavy], weights=density[heavy])
    assert growth == pytest.approx(math.log(1.5), abs=3 * flow.growth_error[heavy].mean() + 0.01)
    assert (flow.growth > 3 * flow.growth_error)[heavy].all()


def test_more_pairs_tell_more() -> None:
    """Two blobs, one up and one to the left, that never rest; the error falls to less than half."""
    grid = a_grid(2)
    starts = np.array([[12.0, 12.0], [28.0, 24.0]])
    speeds = np.array([[0.0, 0.6], [-0.6, 0.0]])
    errors: list[list[float]] = [[], []]
    for seed in range(4):
        for pairs, out in zip((1, 4), errors, strict=True):
            times = np.arange(pairs + 1) - pairs / 2
            parts = [[blob(grid, c + v * t, SD, 2000.0) for t in times] for c, v in zip(starts, speeds, strict=True)]
            frames = noisy_frames(np.random.default_rng(seed), grid, [a + b for a, b in zip(*parts, strict=True)], 1.0)
            flow = flow_of(frames, grid, 5.0, 1.0)
            masses = np.array([blob(grid, c, SD, 2000.0) for c in starts])
            truth = np.einsum("bk,bxy->kxy", speeds, masses) / masses.sum(axis=0)
            out.append(float(np.average(np.hypot(*(flow.velocity - truth)), weights=masses.sum(axis=0))))
    assert np.mean(errors[0]) < 0.3
    assert np.mean(errors[1]) < 0.5 * np.mean(errors[0])


# -- uncertainty ---------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("frames", [2, 5])
@pytest.mark.parametrize(("d", "shape"), [(1, "uniform"), (2, "uniform"), (2, "blob"), (3, "uniform")])
def test_pure_noise_covers_zero(d: int, shape: str, frames: int) -> None:
    """The ratio of velocity to its standard error is that of a standard normal; that of growth is at most so wide."""
    grid, seeds = a_grid(d), {1: 40, 2: 16, 3: 10}[d]
    density = np.full(grid.shape, 8000.0 / grid.cells)
    if shape == "blob":
        density = blob(grid, grid.box.widths / 2, 6.0, 8000.0)
    bandwidth, window = (1.0, 3.0) if d < 3 else (1.0, 2.5)
    ratios = []
    for seed in range(seeds):
        maps = noisy_frames(np.random.default_rng(seed), grid, [density] * frames, bandwidth)
        flow = flow_of(maps, grid, window, bandwidth)
        ratios.append(np.stack([*(flow.velocity / flow.velocity_error), flow.growth / flow.growth_error]))
    z = np.array(ratios).reshape(seeds, d + 1, -1)
    mass = density.ravel() / density.sum()
    *velocity, growth = np.sqrt(((z**2) @ mass).mean(axis=0))
    np.testing.assert_allclose(velocity, 1.0, atol=0.17)
    assert 0.5 < growth < 1.17  # the error of ∇·v, which growth contains, is on the safe side
    outside = ((np.abs(z) > 1.96) @ mass).mean(axis=0)
    assert (outside[:-1] > 0.015).all()
    assert (outside < 0.085).all()


def test_weights_count_through_their_dispersion() -> None:
    """Events that weigh c each are the same evidence as events that weigh 1; ragged weights say less."""
    grid = a_grid(2)
    density = blob(grid, grid.box.widths / 2, SD, 500.0)
    before, after = noisy_frames(np.random.default_rng(5), grid, [density, density], BANDWIDTH)

    def evidence(weight: float, dispersion: float) -> Evidence:
        return drift_evidence(
            weight * before,
            weight * after,
            grid,
            frame=1.0,
            bandwidth=BANDWIDTH,
            window=WINDOW,
            dispersion=dispersion,
        )

    plain, heavy, ragged = evidence(1.0, 1.0), evidence(7.0, 7.0), evidence(1.0, 4.0)
    np.testing.assert_allclose(heavy.information, plain.information, rtol=1e-9)
    np.testing.assert_allclose(heavy.score, plain.score, rtol=1e-9, atol=1e-9 * np.abs(plain.score).max())
    middle = tuple(n // 2 for n in grid.shape)
    ratio = solved(ragged, grid).velocity_error[(0, *middle)] / solved(plain, grid).velocity_error[(0, *middle)]
    assert ratio == pytest.approx(2.0, rel=0.1)  # √4, and a little for what one event is held to weigh


# -- units and bad input -------------------------------------------------------------------------------------------


@settings(max_examples=15, deadline=None)
@given(
    d=st.integers(1, 3),
    unit=st.floats(1e-6, 1e6),
    frame=st.floats(1e-3, 1e3),
    seed=st.integers(0, 100),
)
def test_velocity_scales_with_units(d: int, unit: float, frame: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    before, after = rng.gamma(2.0, 1.0, (2, *SHAPES[d]))
    plain, scaled = (
        drift_evidence(before, after, a_grid(d, u), frame=f, bandwidth=BANDWIDTH * u, window=WINDOW * u, dispersion=1.3)
        for u, f in ((1.0, 1.0), (unit, frame))
    )
    factor = np.array([unit / frame] * d + [1 / frame])
    wide = factor.reshape(-1, *[1] * d)
    expected = plain.score / wide
    np.testing.assert_allclose(scaled.score, expected, rtol=1e-6, atol=1e-6 * np.abs(expected).max())
    np.testing.assert_allclose(scaled.information * wide * wide[:, None], plain.information, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("d", [1, 2, 3])
@pytest.mark.parametrize("content", ["empty", "one event", "one event, then none", "all in one cell", "a few"])
def test_poor_frames_give_finite_flows(d: int, content: str) -> None:
    grid, rng = a_grid(d), np.random.default_rng(7)
    n = {"empty": 0, "one event": 1, "one event, then none": 1, "all in one cell": 3000, "a few": 5}[content]
    t = rng.uniform(0, 1 if content == "one event, then none" else 2, n)
    x = np.full((n, d), 3.3) if content == "all in one cell" else grid.box.sample(n, rng)
    frames = snapshots(Events(t, x), np.array([1.0, 2.0]), 1.0, grid, BANDWIDTH)
    evidence = drift_evidence(frames[0], frames[1], grid, frame=1.0, bandwidth=BANDWIDTH, window=WINDOW)
    for speed in (0.1, 1e5):
        flow = Flow.solve(evidence, grid, 2.0, 1.0, frames[1], velocity_prior=speed, growth_prior=speed)
        for values in (flow.velocity, flow.velocity_error, flow.growth, flow.growth_error):
            assert np.isfinite(values).all()
        assert (flow.velocity_error <= speed * (1 + 1e-9)).all()
    if content == "empty":
        assert (evidence.information == 0).all()
        assert (evidence.score == 0).all()


@pytest.mark.parametrize(
    ("shape", "bandwidth", "window"), [((30, 1), 1.0, 3.0), ((6, 5), 40.0, 90.0), ((9, 8), 0.1, 0.3)]
)
def test_odd_grids_and_scales_give_finite_flows(shape: tuple[int, int], bandwidth: float, window: float) -> None:
    grid = Grid(Box((0.0, 0.0), (float(shape[0]), float(shape[1]))), shape)
    frames = snapshots(
        Events(np.arange(200.0) / 100, grid.box.sample(200, np.random.default_rng(1))),
        np.array([1.0, 2.0]),
        1.0,
        grid,
        bandwidth,
    )
    evidence = drift_evidence(frames[0], frames[1], grid, frame=1.0, bandwidth=bandwidth, window=window)
    assert np.isfinite(evidence.information).all()
    flow = solved(evidence, grid)
    assert np.isfinite(flow.velocity).all()
    if shape[1] == 1:  # nothing is known across, and the rest is as on a line
        np.testing.assert_allclose(flow.velocity_error[1], 1e4)
        assert (flow.velocity_error[0] < 10).all()


def test_information_is_a_precision() -> None:
    grid = a_grid(2)
    before, after = noisy_frames(np.random.default_rng(3), grid, [np.full(grid.shape, 0.5)] * 2, BANDWIDTH)
    information = drift_evidence(before, after, grid, frame=1.0, bandwidth=BANDWIDTH, window=WINDOW).information
    np.testing.assert_array_equal(information, information.swapaxes(0, 1))
    assert (np.linalg.eigvalsh(np.moveaxis(information, (0, 1), (-2, -1))) > 0).all()
