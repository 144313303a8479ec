"""How strong basins are: measures of one region by hand, tables that never crash, and trends that are seldom false."""

import math
from dataclasses import replace

import numpy as np
import pytest

from basins.basin import Basin, describe
from basins.measures import (
    MEASURES,
    barrier,
    circularity,
    cohesion,
    escape_time,
    inward_fraction,
    measure,
    trend,
)
from basins.space import Snapshot, Space
from basins.walks.graph import Walk, walk
from stpp.domain import Box, Grid
from stpp.events import Events, Window
from stpp.partition import Partition

BOX = Box((-4.0, -4.0), (4.0, 4.0))
SPACE = Space(Partition.of_grid(Grid.over(BOX, 24)), 0.4)


def two_hills(n: int = 600, days: float = 7.0, parent: np.ndarray | None = None, d: int = 2) -> Events:
    """Posts around (±2, 0, …)."""
    rng = np.random.default_rng(0)
    x = rng.normal(0, 0.6, (n, d))
    x[:, 0] += np.where(rng.random(n) < 0.6, -2, 2)
    return Events(np.sort(rng.uniform(0, days, n)), np.clip(x, -4, 4), parent=parent)


def halves(snapshot: Snapshot) -> tuple[Basin, ...]:
    """The left and the right half as basins."""
    left = snapshot.space.partition.centres[:, 0] < 0
    return describe(snapshot, np.stack([left, ~left]).astype(float), np.ones(2))


@pytest.fixture(scope="module")
def snapshot() -> Snapshot:
    return SPACE.see(two_hills(), Window(0, 7))


# -- of one region -------------------------------------------------------------------------------------------------


def test_escape_from_two_states_takes_as_long_as_the_geometric_distribution_says() -> None:
    step = np.array([[0.9, 0.1], [0.2, 0.8]])
    assert escape_time(Walk.of_transition(step), np.array([True, False])) == pytest.approx(10)
    assert escape_time(Walk.of_transition(step), np.array([False, True])) == pytest.approx(5)


def test_nothing_is_left_where_there_is_nothing_outside() -> None:
    step = Walk.of_transition(np.array([[0.9, 0.1], [0.2, 0.8]]))
    assert math.isnan(escape_time(step, np.array([True, True])))
    assert math.isnan(escape_time(step, np.array([False, False])))
    apart = Walk.of_transition(np.eye(3))
    assert escape_time(apart, np.array([True, False, False])) == math.inf


def test_two_regions_taken_for_one_do_not_cohere() -> None:
    flows = np.kron(np.eye(2), np.ones((3, 3)))
    flows[2, 3] = flows[3, 2] = 0.01
    whole = Walk.of_transition(flows / flows.sum(axis=1, keepdims=True))
    assert cohesion(whole, np.arange(6) < 3) == pytest.approx(1, abs=0.01)
    assert cohesion(whole, np.ones(6, dtype=bool)) < 0.01
    assert math.isnan(cohesion(whole, np.zeros(6, dtype=bool)))


def test_a_barrier_is_the_log_of_peak_over_saddle(snapshot: Snapshot) -> None:
    basin = halves(snapshot)[0]
    assert barrier(replace(basin, peak=0.6, saddle=0.3)) == pytest.approx(math.log(2))
    assert barrier(replace(basin, peak=0.6, saddle=0.0)) == math.inf
    assert math.isnan(barrier(replace(basin, peak=0.0, saddle=0.0)))


@pytest.mark.slow
@pytest.mark.parametrize("d", [2, 3, 5])
def test_circularity_of_an_ellipsoid(d: int) -> None:
    rng = np.random.default_rng(0)
    box = Box((-9.0,) * d, (9.0,) * d)
    x = rng.normal(0, 1, (4000, d))
    x[:, 0] *= 2
    cells = Partition.around_landmarks(x, 30, box, rng)
    seen = Space(cells, 0.5).see(Events(np.linspace(0, 1, 4000), np.clip(x, -9, 9)), Window(0, 2))
    basin = describe(seen, np.ones((1, len(cells))), np.ones(1))[0]
    assert circularity(seen, basin) == pytest.approx(4 ** (1 / d) / ((4 + d - 1) / d), rel=0.03)


def test_circularity_of_a_point_and_of_too_few_posts_is_unknown() -> None:
    for x in (np.ones((50, 2)), np.array([[0.0, 0.0], [1.0, 0.0]])):
        seen = SPACE.see(Events(np.linspace(0, 1, len(x)), x), Window(0, 2))
        assert math.isnan(circularity(seen, describe(seen, np.ones((1, len(SPACE.partition))), np.ones(1))[0]))


# -- replies -------------------------------------------------------------------------------------------------------


def replies(rng: np.random.Generator, pull: float, n: int = 4000, stay: float = 0.0) -> Snapshot:
    """Posts of a standard normal, each with a reply that keeps ``stay`` of its place and is drawn in by ``pull``."""
    parents = rng.normal(0, 1, (n, 2))
    answers = stay * parents + math.sqrt(1 - stay**2) * rng.normal(0, 1, (n, 2))
    x = np.concatenate([parents, (1 - pull) * answers])
    row = np.concatenate([np.full(n, -1), np.arange(n)])
    return SPACE.see(Events(np.linspace(0, 6.9, 2 * n), np.clip(x, -4, 4), parent=row), Window(0, 7))


def core(seen: Snapshot, radius: float = 1.0) -> Basin:
    near = np.linalg.norm(SPACE.partition.centres, axis=1) < radius
    return describe(seen, near[None].astype(float), np.ones(1))[0]


@pytest.mark.parametrize("stay", [0.0, 0.8])
def test_replies_that_only_regress_to_the_mean_do_not_look_pulled(stay: float) -> None:
    seen = replies(np.random.default_rng(1), 0.0, stay=stay)
    share, low, high = inward_fraction(seen, core(seen))
    assert low < 0.5 < high
    assert share == pytest.approx(0.5, abs=0.03)
    outer = np.linalg.norm(seen.posts.x[:4000], axis=1) > 1.2  # what would be said of far posts alone
    answer, asked = (np.linalg.norm(seen.posts.x[rows], axis=1) for rows in (np.arange(4000, 8000), np.arange(4000)))
    assert (answer < asked)[outer].mean() > 0.6


def test_replies_that_are_drawn_in_look_pulled() -> None:
    seen = replies(np.random.default_rng(2), 0.2)
    assert inward_fraction(seen, core(seen))[1] > 0.5


def test_replies_at_the_same_place_and_no_replies_say_nothing(snapshot: Snapshot) -> None:
    assert all(map(math.isnan, inward_fraction(snapshot, halves(snapshot)[0])))
    same = Events(np.arange(4.0), np.zeros((4, 2)), parent=np.array([-1, 0, 0, 1]))
    seen = SPACE.see(same, Window(0, 7))
    assert all(map(math.isnan, inward_fraction(seen, core(seen))))


def test_the_interval_of_a_share_is_wilsons() -> None:
    x = np.array([[1.5, 0.0], [0.5, 0.0], [1.5, 0.1], [0.4, 0.0]])  # both replies land nearer: 2 of 2
    seen = SPACE.see(Events(np.arange(4.0), x, parent=np.array([-1, 0, -1, 2])), Window(0, 7))
    basin = replace(core(seen), centre=np.zeros(2))
    assert inward_fraction(seen, basin) == pytest.approx((1, 2 / (2 + 1.959964**2), 1))


# -- the table -----------------------------------------------------------------------------------------------------


def test_every_measure_of_two_hills(snapshot: Snapshot) -> None:
    table = measure(snapshot, halves(snapshot), walk(snapshot), [], rng=np.random.default_rng(0))
    assert list(table["basin"]) == [0, 1]
    assert set(MEASURES) <= set(table.columns)
    assert table["share"].sum() == pytest.approx(1)
    assert (table["conductance"] < 0.1).all()
    assert (table["escape_time"] > 10).all()
    assert (table["markov_stability"] > 0.1).all()
    assert (table["circularity"] > 0.8).all()
    assert (table["barrier"] > 0.5).all()
    assert (
        table[["escape_rate", "lyapunov_probability", "inward_fraction"]].isna().all(axis=None)
    )  # no past, no replies


def test_a_past_gives_drift_and_the_same_seed_the_same_numbers() -> None:
    events = two_hills(3000, 28.0)
    seen = [SPACE.see(events, window) for window in Window(0, 28).rolling(7)]
    one, other = (
        measure(seen[-1], halves(seen[-1]), walk(seen[-1]), seen[:-1], rng=np.random.default_rng(0)) for _ in range(2)
    )
    assert one.equals(other)
    assert one["lyapunov_probability"].between(0, 1).all()
    assert (one["escape_rate"] >= 0).all()


@pytest.mark.parametrize("case", ["no basin", "no posts", "one place", "one post", "no weight", "landmarks"])
def test_no_input_breaks_the_table(case: str) -> None:
    space, window, events = SPACE, Window(0, 7), two_hills(40)
    if case == "no posts":
        window = Window(100, 107)
    elif case == "one place":
        events = Events(events.t, np.full_like(events.x, 1.0))
    elif case == "one post":
        events = events.take([0])
    elif case == "no weight":
        events = replace(events, weight=np.zeros(len(events)))
    elif case == "landmarks":
        events = two_hills(200, d=5)
        box = Box((-4.0,) * 5, (4.0,) * 5)
        space = Space(Partition.around_landmarks(events.x, 20, box, np.random.default_rng(0)), 0.5)
    seen = space.see(events, window)
    basins = () if case == "no basin" else halves(seen)
    table = measure(seen, basins, walk(seen), [space.see(events, Window(-7, 0))], rng=np.random.default_rng(0))
    assert len(table) == len(basins)
    assert set(MEASURES) <= set(table.columns)
    if case == "landmarks":
        assert table["escape_rate"].isna().all()
        assert table["conductance"].notna().all()


# -- trends --------------------------------------------------------------------------------------------------------


def test_a_trend_is_the_slope_of_log_share_per_week() -> None:
    weeks = np.arange(8)
    fit = trend(7.0 * weeks, 0.1 * np.exp(0.15 * weeks), np.full(8, 5000))
    assert fit.slope == pytest.approx(0.15, rel=1e-3)
    assert fit.low < 0.15 < fit.high
    assert fit.r2 > 0.99
    assert str(fit).startswith("grows by 16 % a week [+")
    assert trend(-7.0 * weeks, 0.1 * np.exp(0.15 * weeks), np.full(8, 5000)).direction == "shrinks"


def test_what_is_always_everything_or_always_the_same_is_steady() -> None:
    for share in (1.0, 0.2):
        fit = trend(np.arange(6.0), np.full(6, share), np.full(6, 100))
        assert fit.slope == pytest.approx(0, abs=1e-9)
        assert fit.direction == "steady"
        assert fit.r2 == 0
        assert fit.p == pytest.approx(1)


@pytest.mark.parametrize(
    ("shares", "counts"),
    [([0.1, 0.2], [10, 10]), ([0.0] * 5, [10] * 5), ([0.1, 0.2, 0.3, 0.4], [10, 0, 0, 10]), ([], [])],
)
def test_too_little_has_no_trend(shares: list[float], counts: list[float]) -> None:
    fit = trend(7.0 * np.arange(len(shares)), shares, counts)
    assert math.isnan(fit.slope)
    assert fit.direction == "steady"
    assert str(fit) == "too few windows for a trend"


def test_windows_without_posts_are_left_out() -> None:
    times, shares, counts = 7.0 * np.arange(6), np.array([0.1, 0.12, np.nan, 0.14, 0.13, 0.16]), np.full(6, 400.0)
    counts[2] = 0
    kept = np.arange(6) != 2
    assert trend(times, shares, counts) == trend(times[kept], shares[kept], counts[kept])


@pytest.mark.slow
@pytest.mark.parametrize("windows", [4, 8, 20])
@pytest.mark.parametrize("dispersion", [0.0, 0.3])
def test_false_trends_are_rare_in_static_worlds(windows: int, dispersion: float) -> None:
    """Five tracks of constant expected share, with and without noise between windows beyond counting; after Holm."""
    rng, worlds, alarms = np.random.default_rng(windows), 150, 0
    share = np.array([0.3, 0.2, 0.15, 0.15, 0.05, 0.15])
    for _ in range(worlds):
        counts = rng.poisson(400, windows) + 1
        varied = share * np.exp(rng.normal(0, dispersion, (windows, 6)))
        posts = np.array([rng.multinomial(n, p / p.sum()) for n, p in zip(counts, varied, strict=True)])
        p = [trend(7.0 * np.arange(windows), posts[:, b] / counts, counts).p for b in range(5)]
        alarms += min(p) <= 0.05 / 5  # when Holm rejects anything at all
    assert alarms / worlds <= 0.05 + 2.5 * math.sqrt(0.05 * 0.95 / worlds)  # several such tests: none by bad luck


def test_a_true_trend_is_seen_through_noise_between_windows() -> None:
    rng, seen = np.random.default_rng(0), 0
    for _ in range(40):
        share = 0.1 * np.exp(0.12 * np.arange(10) + rng.normal(0, 0.15, 10))
        seen += trend(7.0 * np.arange(10), rng.binomial(500, share) / 500, np.full(10, 500)).direction == "grows"
    assert seen >= 36
