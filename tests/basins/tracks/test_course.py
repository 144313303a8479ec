"""Windows, plans, and basins followed through them: nothing leaks back, and chance is told from change."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from basins.basin import describe
from basins.finders import FINDERS, make_finder
from basins.space import Space
from basins.tracks.course import Course, Plan, cases, follow_basins, predicted, set_up, windows_of
from basins.tracks.fates import fates
from basins.tracks.significance import BasinStatistic, judge, statistics
from basins.tracks.tracking import follow
from evaluation.continuation import continuation_scores
from stpp.domain import Box, Grid
from stpp.events import Events, Window
from stpp.partition import Partition
from stpp.simulation.worlds import simulate_world

BOX = Box((-6.0, -6.0), (6.0, 6.0))


@cache
def world(name: str = "lifecycle", n: int = 20_000) -> tuple[Events, dict[str, Any]]:
    return simulate_world(name, n, 1)


def plan_of(events: Events, **settings: Any) -> Plan:
    return set_up(events, make_finder("density", 2), window=7.0, start="3", end="59", box=BOX, **settings)


@cache
def course(name: str = "lifecycle") -> Course:
    events = world(name)[0]
    return follow_basins(events, plan_of(events))


def test_windows_are_counted_back_from_the_end() -> None:
    windows, training = windows_of(Window(0.0, 31.0), 7.0)
    assert [(w.start, w.end) for w in windows] == [(3.0, 10.0), (10.0, 17.0), (17.0, 24.0), (24.0, 31.0)]
    assert training == 2
    assert windows_of(Window(0.0, 31.0), 7.0, split=24.0)[1] == 3
    with pytest.raises(ValueError, match="shorter --window"):
        windows_of(Window(0.0, 13.9), 7.0)
    for split in (0.0, 9.9, 31.0):
        with pytest.raises(ValueError, match="one or more on both sides"):
            windows_of(Window(0.0, 31.0), 7.0, split=split)


def test_a_plan_takes_its_box_from_the_training_windows_only() -> None:
    events, _ = world()
    free = set_up(events, make_finder("density", 2), window=7.0, start="3", end="59")
    moved = replace(events, x=np.where((events.t >= 31)[:, None], 3 * events.x, events.x))
    again = set_up(moved, make_finder("density", 2), window=7.0, start="3", end="59")
    assert free.box == again.box
    assert free.training == 4
    assert free.finder.windows == 8
    with pytest.raises(ValueError, match="no events"):
        set_up(events.rows(0, 0), make_finder("density", 2), window=7.0)
    with pytest.raises(ValueError, match="training windows"):
        follow_basins(events, replace(plan_of(events), box=Box((50.0, 50.0), (60.0, 60.0))))


def test_finders_by_name() -> None:
    assert {make_finder(name, 2).name for name in FINDERS} == set(FINDERS)
    assert make_finder(None, 3).name == "density"
    assert make_finder(None, 4).name == "markov"
    with pytest.raises(ValueError, match="no method 'kmeans'"):
        make_finder("kmeans", 2)
    assert make_finder("markov", 2, {"basins": 3, "transitions": None}).basins == 3
    with pytest.raises(ValueError, match="--basins does not apply to density"):
        make_finder("density", 2, {"basins": 3})


@pytest.mark.slow
@pytest.mark.parametrize("link", ["hungarian", "soft"])
def test_the_lives_of_planted_basins(link: str) -> None:
    events, truth = world()
    found = course() if link == "hungarian" else follow_basins(events, plan_of(events, link=link))
    centres = [np.array(basin["centre"]) for basin in truth["basins"]]
    rates = np.array([basin["rate"] for basin in truth["basins"]])
    middles = [round((s.window.start + s.window.end) / 2) for s in found.snapshots]
    tracks = [t for t in found.tracking.tracks if len(t.basins) > 1]
    assert len(tracks) == 5
    for track in tracks:
        k, b = track.basins[len(track.basins) // 2]
        planted = int(np.argmin([np.hypot(*(found.basins[k][b].centre - c[middles[k]])) for c in centres]))
        alive = [k for k, day in enumerate(middles) if rates[planted][day] > 0.15 * rates[planted].max()]
        assert abs(track.birth - alive[0]) <= 1
        last = track.basins[-1][0]
        assert abs(last - alive[-1]) <= 1
        assert (track.death is None) == (last == 7)


@pytest.mark.slow
def test_scrambling_the_future_changes_no_window_link_or_forecast_before_it() -> None:
    events, _ = world()
    whole = course()
    cut = whole.snapshots[5].window.end
    rng = np.random.default_rng(0)
    late = events.t >= cut
    x = np.where(late[:, None], BOX.sample(len(events), rng), events.x)
    scrambled = follow_basins(replace(events, x=x), plan_of(events))
    for one, two in zip(whole.basins[:6], scrambled.basins[:6], strict=True):
        assert [b.membership.tobytes() for b in one] == [b.membership.tobytes() for b in two]
        assert [b.probability for b in one] == [b.probability for b in two]
    before = [link for link in whole.tracking.links if link.window < 5]
    assert before == [link for link in scrambled.tracking.links if link.window < 5]
    assert any(link.window < 5 for link in before)
    plan = plan_of(events)
    first, second = (predicted(cases(c, plan), plan).table.query("window <= 5") for c in (whole, scrambled))
    columns = [c for c in first if c.startswith(("p_", "expected", "low", "high")) or c in ("window", "basin", "share")]
    assert len(first) > 3
    np.testing.assert_array_equal(first[columns].to_numpy(dtype=float), second[columns].to_numpy(dtype=float))


def a_course(places: list[np.ndarray], regions: int, window: float = 1.0) -> SimpleNamespace:
    """Windows of posts at whole places 0, 1, …, evenly in time, and one lasting basin at each of the first of them."""
    line = Space(Partition.of_grid(Grid(Box((-0.5,), (regions + 0.5,)), (regions + 1,))), 0.1)
    t = np.concatenate([k * window + (np.arange(len(x)) + 0.5) / len(x) * window for k, x in enumerate(places)])
    events = Events(t, np.concatenate(places)[:, None].astype(float))
    ends = [Window(k * window, (k + 1) * window) for k in range(len(places))]
    snapshots = [line.see(events, end) for end in ends]
    basins = [describe(s, np.eye(regions + 1)[:regions], np.ones(regions)) for s in snapshots]
    return SimpleNamespace(snapshots=snapshots, basins=basins, tracking=follow(snapshots, basins))


def test_change_by_hand() -> None:
    # one region of 20 and 40 of 100 posts, the rest elsewhere: expected 30, (100 + 100) / 30 / (2 − 1) = 6.67
    spread = [np.tile([0] * n + [1] * (10 - n), 10) for n in (2, 4)]
    fate = fates(a_course(spread, 1))[0]
    assert fate.share.tolist() == [0.2, 0.4]
    assert fate.change == pytest.approx(200 / 30, rel=0.2)  # the quarters of a window are not quite alike
    assert np.isnan(fates(a_course([np.zeros(50), np.zeros(60)], 1))[0].change)  # it is everything, always


def test_one_storm_changes_nothing_for_the_others() -> None:
    calm = np.tile(np.arange(5), 40)
    storm = np.random.default_rng(0).permutation(np.concatenate([calm, np.full(300, 4)]))
    changes = sorted(f.change for f in fates(a_course([calm, calm, storm, calm], 5)))
    assert changes[-1] > 100
    assert max(changes[:-1]) < 1


def test_what_comes_and_goes_within_a_window_is_no_change() -> None:
    rng = np.random.default_rng(0)
    steady = [rng.permutation(np.repeat([0, 1, 2], 80)) for _ in range(8)]
    bursts = [
        np.concatenate([rng.permutation(np.repeat([0, 1, 2], 80)), np.zeros(rng.integers(0, 80))]) for _ in steady
    ]
    calm, burst = (max(f.change for f in fates(a_course(w, 3))) for w in (steady, bursts))
    assert calm < 3
    assert burst < 6


@pytest.mark.slow
def test_tracks_are_judged_by_the_largest_of_null_worlds() -> None:
    alone = judge(course())
    assert set(alone["verdict"]) == {"not tested"}
    judged = judge(course(), [1.5] * 19, [2.0] * 19)
    grows = judged.loc[judged["trend_slope"].idxmax()]
    assert grows["verdict"] == "grows beyond chance"
    assert grows["trend_p_adjusted"] == 1 / 20
    assert (judged["change_p"] >= 1 / 20).all()
    huge = judge(course(), [1e9] * 19, [1e9] * 19)
    assert set(huge["verdict"]) == {"no change beyond chance"}


@pytest.mark.slow
def test_lives_beat_the_shuffled_and_static_basins_do_not() -> None:
    rng = np.random.default_rng(3)
    found = {}
    for name in ("lifecycle", "static"):
        events = world(name)[0]
        plan = plan_of(events)
        shuffled = replace(events, t=rng.permutation(events.t))
        found[name] = [statistics(course(name)), statistics(follow_basins(shuffled, plan))]
    lives, lives_shuffled = found["lifecycle"]
    assert lives["largest change"] > 50 * lives_shuffled["largest change"]
    assert lives["births and deaths"] >= 4
    assert lives_shuffled["births and deaths"] <= 2
    still, still_shuffled = found["static"]
    assert min(still["persistent basins"], still_shuffled["persistent basins"]) >= 4
    assert still["largest change"] < 4
    assert still["stability"] > 0.6


@pytest.mark.slow
def test_the_pipeline_is_a_statistic_whatever_the_events() -> None:
    events, _ = world()
    statistic = BasinStatistic(plan_of(events), continuation_scores)
    values = statistic(events)
    assert values == statistic(events)
    assert 0 <= values["continuation AUROC"] <= 1
    noise, _ = simulate_world("null", 3000, 0)
    nothing = BasinStatistic(plan_of(noise), continuation_scores)(noise)
    assert nothing == dict.fromkeys(values, 0.0) | {"continuation AUROC": 0.5}
    assert len(judge(follow_basins(noise, plan_of(noise)))) == 0
