"""Carried densities against the plain sum that their formula says, and against what stays where it was."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import ndtr

from stpp.domain import Array, Box, Grid
from stpp.events import Events, Window
from stpp.flow import carried
from stpp.flow.carried import MOST_GROWTH, CarriedDensity, RunningCarried
from stpp.flow.flow import Evidence, FlowEstimator
from stpp.flow.motion import drift_evidence
from stpp.kernels.background import GroundRate, KernelMixture, RunningMixture, component_density

TOLERANCE = 1e-4
"""Of the engines, relative to the peak of a kernel."""


def box(d: int) -> Box:
    return Box((-1.0, 0.0, 2.0)[:d], (3.0, 2.0, 5.0)[:d])


def measured(d: int, *, frame: float = 1.0, frames: int = 3, importance: float = 1.0) -> FlowEstimator:
    """A flow by density Lucas–Kanade."""
    grid = Grid.over(box(d), {1: 40, 2: 16, 3: 8}[d])

    def pair(before: Array, after: Array, dispersion: float) -> Evidence:
        return drift_evidence(before, after, grid, frame=frame, bandwidth=0.4, window=0.8, dispersion=dispersion)

    return FlowEstimator(
        grid, frame, frames, 0.4, 0.9, velocity_prior=0.3, growth_prior=0.3, importance=importance, pair=pair
    )


def planted(d: int, velocity: tuple[float, ...], growth: float = 0.0, **sizes: float) -> FlowEstimator:
    """The same velocity and growth everywhere and always, known almost for sure."""
    known = 1e10

    def pair(before: Array, after: Array, dispersion: float) -> Evidence:
        ones = np.ones(before.shape)
        truth = np.array([*velocity, growth])
        return Evidence(known * np.multiply.outer(np.eye(d + 1), ones), known * np.multiply.outer(truth, ones))

    return replace(measured(d, **sizes), pair=pair)


def moving(estimator: FlowEstimator, **changes: float) -> CarriedDensity:
    values = {"decay": 0.4, "bandwidth": 0.3, "drift_scale": 1.2, "diffusion": 0.02, "growth_scale": 0.8}
    values |= {"origin": 0.3, "horizon": 1.0}
    return CarriedDensity(box=estimator.grid.box, estimator=estimator, **values | changes)


def still(estimator: FlowEstimator, **changes: float) -> CarriedDensity:
    return moving(estimator, **{"drift_scale": 0.0, "diffusion": 0.0, "growth_scale": 0.0} | changes)


def world(d: int, n: int = 60, seed: int = 0) -> Events:
    """Weighted events over twelve days with a day of silence, some at the same time, moving along the first axis."""
    rng = np.random.default_rng([d, n, seed])
    t = np.round(np.concatenate([rng.uniform(0, 6, n // 2), rng.uniform(7, 12, n - n // 2)]), 1)
    x = box(d).sample(n, rng)
    x[:, 0] = np.clip(0.3 * x[:, 0] + 0.15 * t, box(d).low[0], box(d).high[0])
    return Events(t, x, rng.uniform(0.5, 2, n))


def mass(box: Box, x: Array, h: float) -> float:
    return float(np.prod(ndtr((np.array(box.high) - x) / h) - ndtr((np.array(box.low) - x) / h)))


def plainly(density: CarriedDensity, t: float, x: Array, history: Events) -> float:
    """f(x | H_t) as the head of the module writes it, event by event; bandwidths rounded to their levels."""
    past = history.before(t)
    if not len(past):
        return 1 / density.box.volume
    issue = density.origin + math.floor((t - density.origin) / density.horizon) * density.horizon
    flow = density.estimator.flow(history.before(issue), issue)
    velocity, error, growth = flow.at(past.x)
    above = below = 0.0
    for j in range(len(past)):
        there, h, gain = past.x[j], density.bandwidth, 1.0
        if issue - density.estimator.reach <= past.t[j] < issue:
            age = issue + density.horizon / 2 - past.t[j]
            there = np.clip(there + density.drift_scale * velocity[j] * age, density.box.low, density.box.high)
            gain = math.exp(np.clip(density.growth_scale * growth[j] * age, -MOST_GROWTH, MOST_GROWTH))
            wider = 2 * density.diffusion * age + (density.drift_scale * error[j] * age) ** 2
            h *= 2 ** (round(math.log2(1 + wider / h**2)) / 2)
        weight = past.weight[j] * gain * math.exp(-density.decay * (past.t[-1] - past.t[j]))
        kernel = math.exp(-((x - there) ** 2).sum() / (2 * h**2)) / (2 * math.pi * h**2) ** (len(x) / 2)
        above += weight * kernel / mass(density.box, there, h)
        below += weight
    return above / below


def peak(density: CarriedDensity) -> float:
    return 1 / (2 * math.pi * density.bandwidth**2) ** (density.box.d / 2) / 0.25**density.box.d


def some_targets(d: int, n: int, start: float = -0.5, end: float = 14.0) -> tuple[Array, Array]:
    rng = np.random.default_rng(n)
    return np.sort(np.round(rng.uniform(start, end, n), 1)), box(d).sample(n, rng)


# -- the plain sum -------------------------------------------------------------------------------------------------

SHAPES = {
    "days": {},
    "hours": {"horizon": 1 / 24, "origin": 0.1},
    "a horizon longer than the history window": {"horizon": 5.0},
    "steep decay": {"decay": 8.0},
    "no diffusion": {"diffusion": 0.0},
    "much diffusion": {"diffusion": 1.0},
}


@pytest.mark.slow
@pytest.mark.parametrize("d", [1, 2, 3])
@pytest.mark.parametrize("shape", SHAPES)
def test_it_is_the_sum_that_its_formula_says(d: int, shape: str) -> None:
    """Targets in many forecast windows at once: with events that stay (too old, or since the flow was looked at)."""
    density, history = moving(measured(d), **SHAPES[shape]), world(d)
    t, x = some_targets(d, 40)
    value = density.at(t, x, history)
    wanted = [plainly(moving(measured(d), **SHAPES[shape]), *target, history) for target in zip(t, x, strict=True)]
    np.testing.assert_allclose(value, wanted, rtol=1e-3, atol=TOLERANCE * peak(density))


@pytest.mark.parametrize("most", [0, 7, 40, 10**6])
def test_the_size_of_a_batch_changes_nothing(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    density, history = moving(measured(2)), world(2)
    t, x = some_targets(2, 80)
    value = density.at(t, x, history)
    monkeypatch.setattr(carried, "BATCH", most)
    np.testing.assert_allclose(density.at(t, x, history), value, rtol=1e-3, atol=TOLERANCE * peak(density))


def test_long_silences_lose_nothing() -> None:
    """After 3,000 time constants nothing is left of a decayed sum, but the density is that at the last event."""
    density, seen = moving(measured(1)), world(1)
    later = Events(seen.t + 8000, seen.x, seen.weight)
    history = seen.then(later)
    t = np.array([11.9, 12.5, 5000.0, 8000.2, 8003.0, 8012.5, 20000.0])
    x = np.full((len(t), 1), 1.0)
    value = density.at(t, x, history)
    wanted = [plainly(density, *target, history) for target in zip(t, x, strict=True)]
    np.testing.assert_allclose(value, wanted, rtol=1e-3)
    assert value[2] == pytest.approx(component_density(history, t[2:3], x[2:3], 0.4, 0.3, box(1))[0], rel=1e-3)


@pytest.mark.parametrize("d", [1, 2])
def test_it_integrates_to_one(d: int) -> None:
    density, history, grid = moving(measured(d)), world(d), Grid.over(box(d), {1: 400, 2: 80}[d])
    for t in (0.05, 3.0, 6.9, 12.5, 300.0):
        value = density.at(np.full(grid.cells, t), grid.points(), history)
        assert value.mean() * box(d).volume == pytest.approx(1, abs=2e-3)
        assert (value >= 0).all()


def test_without_events_it_is_uniform() -> None:
    density, nothing = moving(measured(2)), world(2).rows(0, 0)
    t, x = some_targets(2, 9)
    np.testing.assert_array_equal(density.at(t, x, nothing), np.full(9, 1 / 8))
    assert (RunningCarried(density).cell_shares(nothing, Window(0, 1), Grid.over(box(2), 4)) == 1 / 16).all()
    np.testing.assert_array_equal(density.at(t, x, replace(world(2), weight=np.zeros(60))), np.full(9, 1 / 8))


def test_events_without_weight_move_nothing_and_are_uniform_alone() -> None:
    density, history, grid = moving(measured(2)), world(2), Grid.over(box(2), 6)
    silent = Events(history.t, history.x[::-1], np.zeros(60))
    order = np.argsort(np.concatenate([history.t, silent.t]), kind="stable")
    columns = ((history.t, silent.t), (history.x, silent.x), (history.weight, silent.weight))
    both = Events(*(np.concatenate(pair)[order] for pair in columns))
    t, x = some_targets(2, 30)
    np.testing.assert_allclose(density.at(t, x, both), density.at(t, x, history), rtol=1e-3, atol=1e-4)
    alone = RunningCarried(moving(measured(2))).cell_shares(silent, Window(12.3, 13.3), grid)
    np.testing.assert_array_equal(alone, np.full(grid.shape, 1 / 36))


# -- without motion it is the decaying kernel density --------------------------------------------------------------


@pytest.mark.parametrize("d", [1, 2, 3])
def test_without_velocity_it_is_the_decaying_kernel_density(d: int) -> None:
    """Places to the tolerance of the sums, which may come from different engines; cells and integrals to 1e-12."""
    density, history, grid = still(measured(d)), world(d), Grid.over(box(d), 8)
    mixture = KernelMixture(box(d), np.array([0.4]), np.array([0.3]), np.array([1.0]))
    t, x = some_targets(d, 60)
    value = density.at(t, x, history)
    np.testing.assert_allclose(value, mixture.at(t, x, history), rtol=1e-4, atol=TOLERANCE * peak(density))

    window, ground = Window(4.1, 9.7), GroundRate(3.0, 0.4, 2.0)
    past, total = history.before(window.end), np.zeros(grid.shape)
    for piece in density.pieces(window):
        before = history.before(piece.end)
        total += density.integral(ground.intervals(piece, before), before, piece, grid)
    wanted = mixture.integral(ground.intervals(window, past), past, grid)
    np.testing.assert_allclose(total, wanted, rtol=1e-12, atol=1e-12 * wanted.max())

    running, reference, seen = RunningCarried(density), RunningMixture(mixture), 0
    for start in np.arange(-0.7, 15, 1.0):
        past = history.before(start)
        running.advance(past, start)
        reference.advance(past.rows(seen, len(past)))
        seen = len(past)
        found = running.cell_shares(past, Window(start, start + 1), grid)
        np.testing.assert_allclose(found, reference.cell_shares(grid), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(("name", "value"), [("drift_scale", 1.0), ("growth_scale", 1.0), ("diffusion", 0.5)])
def test_each_of_the_three_moves_it(name: str, value: float) -> None:
    history, grid, window = world(2), Grid.over(box(2), 12), Window(12.0, 13.0)
    shares = [
        RunningCarried(still(measured(2), **change)).cell_shares(history, window, grid)
        for change in ({}, {name: value})
    ]
    assert np.abs(shares[1] - shares[0]).max() > 0.01 * shares[0].max()


# -- what is carried where -----------------------------------------------------------------------------------------


def test_events_of_the_history_window_are_carried_and_no_others() -> None:
    density = moving(planted(2, (0.1, -0.05), growth=0.2), drift_scale=0.5, growth_scale=2.0, diffusion=0.03)
    past = Events(np.array([3.0, 5.0, 6.0, 7.9, 8.0, 8.2]), np.full((6, 2), 1.0))
    moved = density.carry(past, density.estimator.flow(past, 8.0), 8.5)
    age = np.array([0, 3.5, 2.5, 0.6, 0, 0])  # the first is older than 3 frames of a day, the last two are too new
    np.testing.assert_allclose(moved.x, 1 + 0.5 * age[:, None] * [0.1, -0.05], atol=1e-6)
    np.testing.assert_allclose(moved.weight, np.exp(2 * 0.2 * age), rtol=1e-6)
    np.testing.assert_allclose(moved.level, np.rint(np.log2(1 + 2 * 0.03 * age / 0.3**2)))
    np.testing.assert_array_equal(moved.t, past.t)


def test_nothing_is_carried_out_of_the_box_and_growth_and_width_have_an_end() -> None:
    density = moving(planted(1, (50.0,), growth=100.0), diffusion=1e6)
    past = Events(np.array([7.0]), np.array([[1.0]]), np.array([2.0]))
    moved = density.carry(past, density.estimator.flow(past, 8.0), 8.5)
    assert moved.x[0, 0] == 3.0
    assert moved.weight[0] == pytest.approx(2 * math.exp(MOST_GROWTH))
    assert density.level_bandwidth(int(moved.level[0])) <= 2 * box(1).widths.max()


def test_rounded_bandwidths_are_within_a_fifth() -> None:
    density = moving(planted(1, (0.0,)), diffusion=0.07)
    past = Events(np.linspace(5, 8, 50, endpoint=False), np.full((50, 1), 1.0))
    moved = density.carry(past, density.estimator.flow(past, 8.0), 8.5)
    exact = np.sqrt(0.3**2 + 2 * 0.07 * (8.5 - past.t))
    ratio = np.array([density.level_bandwidth(int(level)) for level in moved.level]) / exact
    assert len(np.unique(moved.level)) > 2
    assert (np.abs(np.log(ratio)) < math.log(2) / 4 + 1e-6).all()


def test_doubt_about_the_velocity_spreads_what_it_carries() -> None:
    sure, unsure = planted(1, (0.1,)), measured(1)
    past = Events(np.array([6.0]), np.array([[1.0]]))
    for estimator, wider in ((sure, False), (unsure, True)):
        density = moving(estimator, diffusion=0.0, drift_scale=1.0)
        moved = density.carry(past, estimator.flow(past, 8.0), 8.5)
        assert (moved.level[0] > 0) == wider


# -- forecasts and integrals ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("d", [1, 2])
def test_a_forecast_is_the_density_at_its_issue_time(d: int) -> None:
    density, history = moving(measured(d), origin=0.0), world(d)
    fine, coarse = Grid.over(box(d), {1: 640, 2: 128}[d]), Grid.over(box(d), 8)
    running = RunningCarried(density)
    for start in (2.0, 3.0, 7.0, 12.0):
        past = history.before(start)
        running.advance(past, start)
        shares = running.cell_shares(past, Window(start, start + 1), coarse)
        value = density.at(np.full(fine.cells, start), fine.points(), history) * fine.cell_volume
        np.testing.assert_allclose(shares, coarse.histogram(fine.points(), value), atol=2e-3 * shares.max())
        assert shares.sum() == pytest.approx(1)


def test_a_forecast_does_not_depend_on_those_before_it() -> None:
    density, history, grid = moving(measured(2)), world(2), Grid.over(box(2), 9)
    running = RunningCarried(density)
    for start in np.arange(1.0, 20.0):
        past, window = history.before(start), Window(start, start + 1)
        running.advance(past, start)
        alone = RunningCarried(moving(measured(2)))
        alone.advance(past, start)
        found = running.cell_shares(past, window, grid)
        np.testing.assert_allclose(found, alone.cell_shares(past, window, grid), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("d", [1, 2])
def test_the_integral_is_that_of_the_density_over_time(d: int) -> None:
    """At a constant rate: the time since each event, times the density until the next one."""
    density, history, grid = moving(measured(d)), world(d), Grid.over(box(d), {1: 64, 2: 24}[d])
    window = Window(5.8, 8.9)
    found = np.zeros(grid.shape)
    for piece in density.pieces(window):
        past = history.before(piece.end)
        found += density.integral(GroundRate(2.0).intervals(piece, past), past, piece, grid)
    cuts = [piece.start for piece in density.pieces(window)] + history.between(window).t.tolist()
    wanted = np.zeros(grid.cells)
    for a, b in itertools.pairwise([*np.unique(cuts), window.end]):
        middle = np.full(grid.cells, (a + b) / 2)
        wanted += 2.0 * (b - a) * density.at(middle, grid.points(), history) * grid.cell_volume
    assert found.sum() == pytest.approx(2 * window.duration, rel=1e-3)
    np.testing.assert_allclose(found.ravel(), wanted, atol=0.01 * wanted.max())


def test_draws_fall_where_the_forecast_is() -> None:
    density, history, grid = moving(measured(2)), world(2), Grid.over(box(2), 4)
    window, rng, n = Window(8.3, 9.3), np.random.default_rng(3), 40_000
    past = history.before(window.start)
    shares = RunningCarried(density).cell_shares(past, window, grid)
    drawn = grid.histogram(density.sampler(past, window)(n, rng))
    assert drawn.sum() == n
    assert (np.abs(drawn - n * shares) < 5 * np.sqrt(n * shares) + 1e-3 * n).all()


def test_draws_without_any_history_or_weight_are_uniform() -> None:
    density, grid = moving(measured(2)), Grid.over(box(2), 2)
    for past in (world(2).rows(0, 0), replace(world(2), weight=np.zeros(60))):
        drawn = grid.histogram(density.sampler(past, Window(13, 14))(4000, np.random.default_rng(1)))
        np.testing.assert_allclose(drawn, 1000, atol=150)


# -- when the flow is looked at ------------------------------------------------------------------------------------


@given(
    origin=st.floats(-2e4, 2e4),
    horizon=st.sampled_from([1.0, 7.0, 1 / 24, 0.1, 1 / 1440]),
    k=st.integers(-50, 20_000),
    off=st.sampled_from([0, -1, 1]),
)
def test_a_time_falls_in_the_window_that_holds_it(origin: float, horizon: float, k: int, off: int) -> None:
    """At exact multiples, and one float to either side of them."""
    density = moving(planted(1, (0.0,)), origin=origin, horizon=horizon)
    edge = origin + k * horizon
    t = np.array([np.nextafter(edge, off * np.inf) if off else edge])
    found = int(density.issue(t)[0])
    assert found == (k - 1 if off < 0 else k)
    assert origin + found * horizon <= t[0] < origin + (found + 1) * horizon


@given(
    start=st.floats(0, 40), duration=st.floats(1e-3, 5), horizon=st.sampled_from([1.0, 1 / 24, 3.0]), on=st.booleans()
)
def test_pieces_tile_a_window(start: float, duration: float, horizon: float, on: bool) -> None:
    density = moving(planted(1, (0.0,)), origin=0.3, horizon=horizon)
    begin = 0.3 + round(start) * horizon if on else start
    window = Window(begin, begin + (max(1, round(duration)) * horizon if on else duration))
    pieces = density.pieces(window)
    assert (pieces[0].start, pieces[-1].end) == (window.start, window.end)
    assert all(a.end == b.start for a, b in itertools.pairwise(pieces))
    for piece in pieces:
        first, last = density.issue(np.array([piece.start, np.nextafter(piece.end, -np.inf)]))
        assert first == last
    assert len(pieces) <= duration / horizon + 2 or on


# -- what feeds it -------------------------------------------------------------------------------------------------


def scrambled(events: Events, before: float = -math.inf, since: float = math.inf) -> Events:
    """Other places and weights before one time, and other times as well from another on."""
    rng = np.random.default_rng(7)
    other = (events.t < before) | (events.t >= since)
    n = int(other.sum())
    x, weight, t = events.x.copy(), events.weight.copy(), events.t.copy()
    x[other], weight[other] = box(events.d).sample(n, rng), rng.uniform(3, 9, n)
    late = t >= since
    t[late] += np.sort(rng.uniform(0, 5, int(late.sum())))
    return Events(t, x, weight)


@pytest.mark.parametrize("importance", [1.0, 0.5, 0.0])
def test_only_the_history_window_feeds_a_flow(importance: float) -> None:
    events, now, reach = world(2, n=200), 10.0, 3.0
    flow = measured(2, importance=importance).flow(events, now)
    for other in (scrambled(events, before=now - reach), scrambled(events, since=now)):
        again = measured(2, importance=importance).flow(other, now)
        for name in ("density", "velocity", "velocity_error", "growth", "growth_error"):
            np.testing.assert_array_equal(getattr(again, name), getattr(flow, name))
    inside = measured(2, importance=importance).flow(scrambled(events, before=now - reach + 0.5), now)
    assert np.abs(inside.velocity - flow.velocity).max() > 0


def test_importance_counts_only_where_it_shall() -> None:
    events = world(2, n=200)
    even = replace(events, weight=np.ones(len(events)))
    flows = {kind: measured(2, importance=kind).flow(events, 9.0) for kind in (1.0, 0.0)}
    np.testing.assert_array_equal(flows[False].velocity, measured(2).flow(even, 9.0).velocity)
    assert np.abs(flows[True].velocity - flows[False].velocity).max() > 1e-3


def test_frames_that_flows_share_are_what_they_are_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stpp.flow.flow.KEPT_FRAMES", 4)
    events, shared = world(2, n=200), measured(2, frame=0.5, frames=6)
    for time in (5.0, 5.5, 6.0, 11.0, 5.0):
        flow, alone = shared.flow(events, time), measured(2, frame=0.5, frames=6).flow(events, time)
        np.testing.assert_array_equal(flow.velocity, alone.velocity)
        assert len(shared._known) <= 4


def test_a_density_sees_nothing_of_what_is_to_come() -> None:
    events, density = world(2, n=200), moving(measured(2))
    now = 9.3
    other = scrambled(events, since=now)
    t, x = some_targets(2, 50, end=now)
    np.testing.assert_allclose(
        density.at(t, x, other), moving(measured(2)).at(t, x, events.before(now)), rtol=1e-3, atol=1e-4
    )
