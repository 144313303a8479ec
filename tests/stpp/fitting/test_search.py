"""Learning by trial: the search itself, and the rehearsals that give a trial its score."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator

import numpy as np
import pytest

from stpp.domain import Array, Box
from stpp.events import Events, Window
from stpp.fitting.rehearsal import STAGES, Rehearsal
from stpp.fitting.search import PRUNE_AFTER, Between, Study, search
from stpp.kernels.background import KernelMixture, component_density

SPACE = {
    "x": Between(-2.0, 3.0),
    "scale": Between(1e-3, 1e3, log=True),
    "count": Between(2, 10, whole=True),
    "kind": (0.5, 2.0, 8.0),
}
BEST = {"x": 1.0, "scale": 10.0, "count": 7.0, "kind": 2.0}


def height(found: dict[str, float]) -> float:
    """0 at ``BEST``, below everywhere else."""
    off = (found["x"] - 1) ** 2 + math.log10(found["scale"] / 10) ** 2 + ((found["count"] - 7) / 4) ** 2
    return -off - (found["kind"] != 2.0)


def hill(found: dict[str, float]) -> Iterator[float]:
    """Three stages, each nearer to the height."""
    for short in (0.2, 0.1, 0.0):
        yield height(found) - short


def climbed(trials: int = 60, seed: int = 3) -> Study:
    return search(hill, SPACE, trials=trials, seed=seed)


# -- the search ----------------------------------------------------------------------------------------------------


def test_the_best_of_a_known_function_is_found() -> None:
    study = climbed(100)
    assert study.best is not None
    assert study.score > -0.3
    assert study.best["kind"] == 2.0
    assert study.best["x"] == pytest.approx(1, abs=0.5)
    assert 1 < study.best["scale"] < 100


def test_the_same_seed_gives_the_same_table_and_another_seed_another() -> None:
    first, again, other = climbed(30), climbed(30), climbed(30, seed=4)
    np.testing.assert_array_equal(first.trials, again.trials)
    assert first.best == again.best
    assert not np.array_equal(first.trials, other.trials, equal_nan=True)


def test_trials_lie_in_their_space_and_every_one_is_kept() -> None:
    study = climbed()
    assert study.names == tuple(SPACE)
    assert study.trials.shape == (60, 5)
    x, scale, count, kind = study.trials[:, :4].T
    assert ((x >= -2) & (x <= 3)).all()
    assert ((scale >= 1e-3) & (scale <= 1e3)).all()
    assert set(count) <= set(range(2, 11))
    assert set(kind) == {0.5, 2.0, 8.0}
    done = np.isfinite(study.trials[:, -1])
    for row in study.trials[done]:
        assert row[-1] == pytest.approx(height(dict(zip(study.names, row, strict=False))), abs=1e-8)
    assert study.score == np.nanmax(study.trials[:, -1])
    assert list(study.best.values()) == list(study.trials[np.nanargmax(study.trials[:, -1]), :-1])


def test_hopeless_trials_are_given_up_and_marked() -> None:
    stages: list[int] = []

    def counted(found: dict[str, float]) -> Iterator[float]:
        stages.append(0)
        for value in hill(found):
            stages[-1] += 1
            yield value

    study = search(counted, SPACE, trials=60, seed=0)
    given_up = np.isnan(study.trials[:, -1])
    assert 5 < given_up.sum() < 55
    assert not given_up[:PRUNE_AFTER].any()
    assert min(stages) == 1
    assert (np.array(stages)[~given_up] == 3).all()
    heights = np.array([height(dict(zip(study.names, row, strict=False))) for row in study.trials])
    assert heights[given_up].max() < study.score


def test_it_stops_when_its_seconds_are_over() -> None:
    def slow(found: dict[str, float]) -> Iterator[float]:
        time.sleep(0.02)
        yield -abs(found["x"])

    study = search(slow, {"x": SPACE["x"]}, trials=10_000, seed=0, seconds=0.3)
    assert 1 <= len(study.trials) <= 15
    assert search(slow, {"x": SPACE["x"]}, trials=5, seed=0, seconds=0).best is None


def test_no_trials_find_nothing() -> None:
    study = search(hill, SPACE, trials=0, seed=0, start=[BEST])
    assert study.best is None
    assert math.isnan(study.score)
    assert study.trials.shape == (0, 5)


def test_it_begins_where_it_is_told_to() -> None:
    start = [BEST, BEST | {"x": 2.0}]
    study = search(hill, SPACE, trials=5, seed=0, start=start)
    np.testing.assert_allclose(study.trials[:2, :4], [list(one.values()) for one in start])
    assert study.score == pytest.approx(0, abs=1e-9)
    assert len(search(hill, SPACE, trials=1, seed=0, start=start).trials) == 1


def test_progress_is_told_of_every_trial() -> None:
    told: list[tuple[str, int, int]] = []
    search(hill, SPACE, trials=4, seed=0, progress=lambda *what: told.append(what))
    assert told == [("learning", done, 4) for done in (1, 2, 3, 4)]


def test_a_search_leaves_the_global_generator_alone() -> None:
    np.random.seed(5)  # noqa: NPY002
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    climbed(12)
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002


# -- rehearsals ----------------------------------------------------------------------------------------------------

BOX = Box((0.0,), (1.0,))
WIDE = KernelMixture(BOX, np.array([0.1]), np.array([0.3]), np.array([0.9]))


def world(n: int = 300, seed: int = 0, weights: bool = True) -> Events:
    """Posts of thirty days around one place."""
    rng = np.random.default_rng(seed)
    x = np.clip(rng.normal(0.4, 0.08, (n, 1)), 0, 1)
    return Events(np.sort(rng.uniform(0, 30, n)), x, rng.uniform(0.5, 3, n) if weights else None)


def truth(t: Array, x: Array, history: Events) -> Array:
    """The density that the posts were drawn from."""
    return np.exp(-0.5 * ((x[:, 0] - 0.4) / 0.08) ** 2) / (0.08 * math.sqrt(2 * math.pi))


def rehearsal(events: Events, horizon: float = 1.0, start: float = 0.0) -> Rehearsal:
    return Rehearsal.of(events, Window(start, 30.0), WIDE, horizon)


@pytest.mark.parametrize("start", [0.0, 5.3, -2.0])
@pytest.mark.parametrize("horizon", [1.0, 1 / 24, 7.0])
def test_every_target_is_forecast_from_before_its_window(horizon: float, start: float) -> None:
    events = world()
    found = rehearsal(events, horizon, start)
    assert 100 < len(found) <= 240
    place = {float(x): k for k, x in enumerate(events.x[:, 0])}  # all different: they tell the targets
    rows = np.array([place[float(x)] for x in found.x[:, 0]])
    assert (np.diff(rows) > 0).all()
    late = events.t[rows] - found.issue
    assert (late >= 0).all()
    assert (late < horizon * (1 + 1e-9)).all()
    np.testing.assert_allclose((found.issue - start) / horizon, np.round((found.issue - start) / horizon), atol=1e-6)
    assert found.weight.mean() == pytest.approx(1)
    assert (np.diff(found.issue) >= 0).all()


@pytest.mark.parametrize("shift", [-1, 0, 1])
def test_posts_on_the_hour_are_not_forecast_from_themselves(shift: int) -> None:
    """Rounding must not put an issue time after the post that it is to forecast."""
    t = 0.1 + np.arange(1, 3000) / 24
    t = np.nextafter(t, shift * np.inf) if shift else t
    events = Events(t, np.random.default_rng(0).uniform(size=(len(t), 1)))
    found = Rehearsal.of(events, Window(0.1, t[-1] + 1), WIDE, 1 / 24)
    issued = {float(x): issue for x, issue in zip(found.x[:, 0], found.issue, strict=True)}
    assert all(issued.get(float(x), -math.inf) <= now for now, x in zip(events.t, events.x[:, 0], strict=True))


def test_stages_are_spread_over_the_whole_time() -> None:
    found = rehearsal(world())
    assert set(found.stage) == set(range(STAGES))
    for stage in range(STAGES):
        issues = found.issue[found.stage == stage]
        assert issues.min() < 12
        assert issues.max() > 26
    one_window = [len(set(found.stage[found.issue == issue])) for issue in np.unique(found.issue)]
    assert set(one_window) == {1}


def test_what_is_there_already_is_the_mixture_and_the_uniform() -> None:
    events = world()
    found = rehearsal(events)
    density = component_density(events, found.issue, found.x, 0.1, 0.3, BOX)
    np.testing.assert_allclose(found.columns, np.column_stack([density, np.ones(len(found))]), rtol=1e-6)


def test_a_column_that_is_the_truth_gains_what_it_is_better_by() -> None:
    found = rehearsal(world())
    gains = list(found.gains(truth, BOX, "log-score"))
    assert len(gains) == STAGES
    assert min(gains) > 0.2
    shares, total, chance = found.shares(truth)
    assert len(shares) == 2
    assert shares[-1] > 0.9
    assert shares.sum() <= 1
    assert total == pytest.approx(gains[-1] * len(found), rel=1e-6)
    before, after = mixtures(found)
    assert found.weight @ np.log(after / before) == pytest.approx(total, rel=1e-3)
    assert 1 <= chance < 3


def mixtures(found: Rehearsal) -> tuple[Array, Array]:
    """The best densities without and with the truth beside what is there already, by trying all shares."""
    right = truth(found.issue, found.x, found.past)
    kernel, even = found.columns.T

    def best(share: float) -> Array:
        ladder = np.linspace(0, 1 - 1e-6, 400)[:, None]
        values = share * right + (1 - share) * (ladder * kernel + (1 - ladder) * even)
        return values[np.argmax(np.log(values) @ found.weight)]

    shares = np.linspace(0, 1 - 1e-6, 200)
    return best(0.0), max((best(share) for share in shares), key=lambda value: np.log(value) @ found.weight)


def test_what_chance_gains_is_more_where_posts_come_together() -> None:
    """1 nat per parameter for independent posts; in bunches of ten at one place, ten times that."""
    alone, rng = world(weights=False), np.random.default_rng(5)
    t = np.repeat(alone.t, 10) + rng.uniform(0, 1e-3, 3000)
    order = np.argsort(t, kind="stable")
    together = Events(t[order], np.repeat(alone.x, 10, axis=0)[order])
    chances = [rehearsal(events, 1 / 24).shares(truth)[2] for events in (alone, together)]
    assert 1 <= chances[0] < 1.5
    assert chances[1] == pytest.approx(10, rel=0.3)


def nonsense(t: Array, x: Array, history: Events) -> Array:
    """The density where no post is."""
    return np.where(x[:, 0] > 0.9, 10.0, 1e-9)


def again(t: Array, x: Array, history: Events) -> Array:
    """What is there already."""
    return component_density(history, t, x, 0.1, 0.3, BOX)


@pytest.mark.parametrize("density", [nonsense, again])
def test_a_column_that_adds_nothing_loses_nothing(density) -> None:
    found = rehearsal(world())
    for gain in found.gains(density, BOX, "log-score"):
        assert -1e-9 < gain < 2e-4
    assert found.shares(density)[1] > -1e-6


def test_each_stage_looks_at_more_and_asks_for_the_new_only() -> None:
    asked: list[int] = []

    def density(t: Array, x: Array, history: Events) -> Array:
        asked.append(len(t))
        assert (np.diff(t) >= 0).all()
        return truth(t, x, history)

    found = rehearsal(world())
    for stage, _ in enumerate(found.gains(density, BOX, "log-score")):
        assert sum(asked) == (found.stage <= stage).sum()
    assert sum(asked) == len(found)


def test_the_improper_score_is_the_difference_of_relative_densities() -> None:
    found = rehearsal(world())
    *_, gain = found.gains(truth, BOX, "fds")
    before, after = mixtures(found)
    assert gain == pytest.approx(np.average(after - before, weights=found.weight), rel=0.02)


@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_few_posts_may_leave_nothing_to_rehearse(n: int) -> None:
    events = Events(np.linspace(0, 0.9, n), np.full((n, 1), 0.4))
    found = rehearsal(events)
    assert len(found) == 0
    assert list(found.gains(truth, BOX, "log-score")) == []


def test_posts_without_importance_are_rehearsed_as_if_they_had_some_or_left_out() -> None:
    rng = np.random.default_rng(1)
    t, x = np.sort(rng.uniform(0, 30, 90)), np.clip(rng.normal(0.4, 0.08, (90, 1)), 0, 1)
    none = rehearsal(Events(t, x, np.zeros(90)))
    np.testing.assert_array_equal(none.weight, 1)
    assert min(none.gains(truth, BOX, "log-score")) > 0
    weight = np.zeros(90)
    weight[[0, -1]] = 1  # so that some stages see no importance at all
    gains = list(rehearsal(Events(t, x, weight)).gains(truth, BOX, "log-score"))
    assert 1 <= len(gains) < STAGES
    assert np.isfinite(gains).all()


def test_many_posts_are_rehearsed_on_a_part_of_their_windows() -> None:
    events = world(60_000, weights=False)
    found = rehearsal(events, 1 / 24)
    windows = np.unique(found.issue)
    assert 12 <= len(windows) <= 200
    assert len(found) <= 20_000
    assert windows.min() < 8
    assert windows.max() > 28
