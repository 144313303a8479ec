"""What runs bring to a map: forecasts that lose no mass and know no future, flows, and basins as they were found."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from basins.analysis import Analysis, analyse
from basins.finders import make_finder
from basins.report.map_part import BasinsPart
from basins.report.regions_file import NAME, Regions, read_regions, regions_of, write_regions
from basins.report.report import write_report
from basins.report.tables import write_tables
from basins.tracks.course import set_up
from evaluation.backtests.backtest import backtest, best_and_worst
from evaluation.backtests.plan import Plan
from evaluation.backtests.runs import load_result
from evaluation.backtests.store import Store
from evaluation.report.map_part import EvaluationPart
from stpp.domain import Box, Grid
from stpp.events import Events, Window
from stpp.flow.flow import Flow
from stpp.intensity import Forecast
from stpp.maps.parts import EventsPart, FitPart, FlowPart, fields_of, shares
from stpp.maps.scene import Canvas
from stpp.models import make_models
from stpp.partition import Partition
from stpp.runs.manifest import Source

UNIT = Box((0.0, 0.0), (1.0, 1.0))
SIDE = st.tuples(st.floats(-2, 2), st.floats(0.1, 3))


def some(n: int = 300, d: int = 2, days: float = 40.0, seed: int = 0) -> Events:
    rng = np.random.default_rng(seed)
    place = 0.3 + 0.4 * rng.integers(0, 2, size=(n, 1)) + rng.normal(0, 0.05, (n, d))
    axes = ("sincerity", "charity", "heat", "hope")[:d]
    return Events(np.sort(rng.uniform(0, days, n)), np.clip(place, 0, 1), rng.uniform(0.5, 2, n), axes=axes)


def from_file(events: Events) -> Source:
    return Source(Path("events.parquet"), events, None, {})


def weekly(events: Events, cells: int = 12, weeks: int = 5, **more: Any) -> Canvas:
    windows = tuple(Window(7.0 * k, 7.0 * k + 7) for k in range(weeks))
    return Canvas(events, windows, Grid.over(UNIT, cells), **more)


# -- forecasts on the map's grid ----------------------------------------------------------------------------------


@settings(max_examples=50, deadline=None)
@given(sides=st.tuples(SIDE, SIDE), cells=st.tuples(st.integers(1, 9), st.integers(1, 9)), seed=st.integers(0, 99))
def test_resampling_keeps_all_mass_inside_the_map(
    sides: tuple[tuple[float, float], ...], cells: tuple[int, int], seed: int
) -> None:
    low, width = zip(*sides, strict=True)
    grid = Grid(Box(tuple(low), tuple(a + b for a, b in sides)), cells)
    counts = np.random.default_rng(seed).uniform(0.1, 3, cells)
    forecast = Forecast(Window(0, 7), grid, counts, "any")
    wide = Canvas(some(), (Window(0, 7),), Grid(Box((-3, -3), (6, 6)), (7, 11)))
    found = fields_of(wide, "any", [(0, forecast)])
    assert found.totals[0] == pytest.approx(counts.sum())
    assert found.values[0].mean() == pytest.approx(1, rel=1e-5)
    half = Grid(Box(tuple(low), (low[0] + width[0] / 2, low[1] + width[1])), (5, 3))  # cuts the map in the middle
    even = Forecast(Window(0, 7), grid, np.ones(cells), "even")
    kept = fields_of(Canvas(some(), (Window(0, 7),), half), "even", [(0, even)])
    assert kept.totals[0] == pytest.approx(np.prod(cells) / 2)
    np.testing.assert_allclose(kept.values, 1, rtol=1e-5)


def test_a_forecast_on_the_maps_own_grid_is_shown_as_it_is() -> None:
    canvas = weekly(some())
    counts = np.random.default_rng(0).uniform(size=canvas.grid.shape)
    forecast = Forecast(canvas.windows[3], canvas.grid, counts, "kde")
    found = fields_of(canvas, "kde", [(3, forecast)])
    np.testing.assert_array_equal(found.values[3], forecast.density.astype(np.float32))
    assert found.totals[3] == pytest.approx(forecast.total)
    assert np.isnan(found.totals[[0, 1, 2, 4]]).all()
    assert not found.values[[0, 1, 2, 4]].any()


def test_axes_are_drawn_in_the_order_asked_for_and_others_summed_over() -> None:
    counts = np.random.default_rng(0).uniform(size=(4, 5, 6))
    forecast = Forecast(Window(0, 7), Grid(Box((0.0,) * 3, (1.0,) * 3), counts.shape), counts, "kde")
    for axes in ((0, 1), (1, 0), (2, 0), (1, 2)):
        grid = Grid(UNIT, (counts.shape[axes[0]], counts.shape[axes[1]]))
        found = fields_of(Canvas(some(d=3), (Window(0, 7),), grid, axes), "kde", [(0, forecast)])
        summed = np.einsum(counts, [0, 1, 2], list(axes))
        np.testing.assert_allclose(found.values[0], summed / summed.mean(), rtol=1e-6)


def test_shares_of_intervals() -> None:
    # [0, 2) lies half in each of [-1, 1) and [1, 3); [2, 4) half in [1, 3), the rest outside
    np.testing.assert_allclose(shares(np.array([0.0, 2, 4]), np.array([-1.0, 1, 3])), [[0.5, 0], [0.5, 0.5]])


# -- fits ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def fitted() -> FitPart:
    events = some()
    model = make_models(["decaying-kde"], UNIT)["decaying-kde"]
    trained = Window(0.0, 14.0)
    model = model.fit(events, trained)
    return FitPart(from_file(events), box=UNIT, models=(model.name,), model=model, training=trained)


def test_a_fit_forecasts_the_windows_after_its_training_time(fitted: FitPart) -> None:
    canvas = weekly(fitted.source.events)
    (found,) = fitted.forecasts(canvas)
    assert np.isnan(found.totals[:2]).all()
    for k in (2, 3, 4):
        window = canvas.windows[k]
        alone = fitted.model.forecast(window, fitted.source.events.before(window.start), canvas.grid)
        assert isinstance(alone, Forecast)
        np.testing.assert_allclose(found.values[k], alone.density, rtol=1e-4)
        assert found.totals[k] == pytest.approx(alone.total)
    (remark,) = (one for one in fitted.remarks(canvas) if "trained" in one)
    assert "2 windows" in remark


def test_the_forecast_of_a_window_knows_nothing_from_its_start_on(fitted: FitPart) -> None:
    events = fitted.source.events
    (before,) = fitted.forecasts(weekly(events))
    later = events.t >= 21.0  # the fourth window's start
    rng = np.random.default_rng(1)
    scrambled = dataclasses.replace(events, x=np.where(later[:, None], rng.uniform(size=events.x.shape), events.x))
    part = dataclasses.replace(fitted, source=from_file(scrambled))
    (after,) = part.forecasts(weekly(scrambled))
    np.testing.assert_array_equal(before.values[:4], after.values[:4])
    np.testing.assert_array_equal(before.totals[:4], after.totals[:4])
    assert not np.array_equal(before.values[4], after.values[4])


def test_a_fit_to_everything_says_that_it_has_nothing_to_show(fitted: FitPart) -> None:
    part, canvas = dataclasses.replace(fitted, training=Window(0.0, 99.0)), weekly(fitted.source.events)
    assert part.forecasts(canvas) == []
    assert any("earlier --end" in remark for remark in part.remarks(canvas))


def test_a_fit_is_read_from_its_run(run: Path) -> None:
    part = FitPart.of_run(run)
    assert part.models == ("historical-average",)
    start = part.training.end
    canvas = Canvas(part.source.events, (Window(start - 5, start), Window(start, start + 5)), Grid.over(part.box, 8))
    (found,) = part.forecasts(canvas)
    assert np.isnan(found.totals[0])
    assert found.totals[1] > 0


def test_bare_events_bring_nothing_else() -> None:
    part, canvas = EventsPart(from_file(some())), weekly(some())
    assert (part.forecasts(canvas), part.scores(canvas), part.arrows(canvas)) == ([], ("", []), None)
    assert (part.basins(canvas), part.remarks(canvas), part.name) == (None, (), "events.parquet")


# -- flows --------------------------------------------------------------------------------------------------------


def flow(time: float, d: int = 2) -> Flow:
    """Moves by its time along the first axis, and that is certain where the first coordinate is above a half."""
    grid = Grid.over(Box((0.0,) * d, (1.0,) * d), 30 if d == 2 else 4)
    velocity, error = np.zeros((d, *grid.shape)), np.full((d, *grid.shape), 1e3)
    velocity[0], error[:, grid.shape[0] // 2 :] = time, 1e-3
    return Flow(grid, time, 1.0, np.ones(grid.shape), velocity, error, np.zeros(grid.shape), np.ones(grid.shape))


def test_a_window_shows_the_last_flow_that_was_measured_by_its_end() -> None:
    part = FlowPart(from_file(some()), flows=[flow(t) for t in (3.0, 7.0, 9.0, 13.5)], model="drift")
    found = part.arrows(weekly(some()))
    assert found is not None
    assert found.velocity.shape == (5, 24 * 24, 2)
    np.testing.assert_allclose(found.velocity[0, :, 0], 7.0)  # at its very end, so of nothing but its posts
    np.testing.assert_allclose(found.velocity[1, :, 0], 13.5)
    assert np.isnan(found.velocity[2:]).all()
    np.testing.assert_array_equal(found.sure[0], found.places[:, 0] > 0.5)
    np.testing.assert_array_equal(found.times, [7.0, 13.5, np.nan, np.nan, np.nan])
    np.testing.assert_array_equal(found.before, [-1, 0, 1, 1, 1])  # what was known when each began
    days = Canvas(some(), tuple(Window(k, k + 1.0) for k in range(16)), Grid.over(UNIT, 8))
    daily = part.arrows(days)
    assert daily is not None
    np.testing.assert_array_equal(daily.times[[1, 2, 5, 6, 8, 12, 13, 15]], [np.nan, 3, 3, 7, 9, 9, 13.5, 13.5])
    np.testing.assert_array_equal(daily.times[daily.before[[3, 7, 10]]], [3, 7, 9])
    turned = part.arrows(weekly(some(), axes=(1, 0)))
    assert turned is not None
    np.testing.assert_allclose(turned.velocity[0, :, 1], 7.0)


def test_a_flow_in_three_dimensions_is_not_drawn_and_it_is_said() -> None:
    part = FlowPart(from_file(some(d=3)), flows=[flow(3.0, 3)], model="drift")
    assert part.arrows(weekly(some(d=3))) is None
    assert "3 dimensions" in part.remarks(weekly(some(d=3)))[0]


@pytest.mark.slow
def test_a_flow_is_read_from_its_run(events: Path, stpp: Callable[..., Any], tmp_path: Path) -> None:
    run = tmp_path / "flow"
    done = stpp("flow", events, "--trials", 0, "--step", "10d", "--history-window", 4, "--frame", "2d", "-o", run)
    assert done.exit_code == 0, done.stderr
    part = FlowPart.of_run(run)
    canvas = Canvas(part.source.events, part.windows, Grid.over(UNIT, 8))
    found = part.arrows(canvas)
    assert found is not None
    shown = np.isfinite(found.velocity).all(axis=(1, 2))
    assert shown.sum() == len(part.flows)  # each in a window of its own, which ends when it was measured
    assert [window.end for window, one in zip(part.windows, shown, strict=True) if one] == [f.time for f in part.flows]
    (run / "flow.nc").unlink()
    with pytest.raises(ValueError, match="holds no flows"):
        FlowPart.of_run(run)


# -- evaluations --------------------------------------------------------------------------------------------------

PLAN = Plan(train_start=0.0, test=Window(20.0, 40.0), step=5.0, grid=10)


def test_an_evaluation_shows_its_forecasts_and_its_scores(tmp_path: Path) -> None:
    models = make_models(["historical-average", "uniform"], UNIT)
    result = backtest(some(), models, PLAN, rng=np.random.default_rng(0), store=Store(tmp_path))
    part = EvaluationPart.of(result, from_file(some()))
    assert (part.windows, part.box, part.models) == (PLAN.windows, UNIT, ("historical-average", "uniform"))
    canvas = Canvas(some(), part.windows, Grid.over(UNIT, 10))
    average, even = part.forecasts(canvas)
    for k in range(len(PLAN.windows)):
        np.testing.assert_allclose(average.values[k], result.forecast("historical-average", k).density, rtol=1e-6)
    np.testing.assert_allclose(even.values, 1, rtol=1e-6)
    reference, scores = part.scores(canvas)
    assert reference == "historical-average"
    for one in scores:
        mine = result.table[result.table["model"] == one.model]
        np.testing.assert_array_equal(one.fds, mine["fds"])
        np.testing.assert_array_equal(one.information_gain, mine["information_gain"])


@pytest.mark.slow
def test_an_evaluation_that_kept_few_forecasts_issues_all_again(
    events: Path, stpp: Callable[..., Any], tmp_path: Path
) -> None:
    common = ("evaluate", events, "--models", "decaying-kde", "--step", "3d", "--grid", 10, "--refit", 2)
    assert stpp(*common, "-o", tmp_path / "few").exit_code == 0
    assert stpp(*common, "-o", tmp_path / "all", "--keep-forecasts").exit_code == 0
    few, everything = EvaluationPart.of_run(tmp_path / "few"), EvaluationPart.of_run(tmp_path / "all")
    result, _ = load_result(tmp_path / "few")
    assert len(result.kept) < len(few.windows)
    said = (tmp_path / "few" / "report.md").read_text()
    assert "[Open the map of all windows](map.html)" in said
    for name, k in zip(("best", "worst"), best_and_worst(result), strict=True):
        assert f"[Open the {name} window on the map](map.html#w={k})" in said
    canvas = Canvas(few.source.events, few.windows, Grid.over(few.box, 10))
    for one, other in zip(few.forecasts(canvas), everything.forecasts(canvas), strict=True):
        assert one.name == other.name
        np.testing.assert_allclose(one.values, other.values, rtol=1e-5)
        np.testing.assert_allclose(one.totals, other.totals, rtol=1e-6)


# -- basins -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def basin_events() -> Events:
    """Two places of talk; the second falls silent after three of five weeks."""
    rng = np.random.default_rng(0)
    t = np.sort(rng.uniform(0, 35, 1500))
    second = (rng.uniform(size=1500) < 0.5) & (t < 21)
    x = np.where(second[:, None], [0.75, 0.7], [0.25, 0.3]) + rng.normal(0, 0.05, (1500, 2))
    return Events(t, np.clip(x, 0, 1), axes=("sincerity", "charity"))


@pytest.fixture(scope="module")
def analysis(basin_events: Events) -> Analysis:
    finder = dataclasses.replace(make_finder("density", 2), replicates=5)
    plan = set_up(basin_events, finder, window=7.0, start="0", end="35", box=UNIT)
    return analyse(basin_events, plan, title="Basins")


@pytest.fixture(scope="module")
def basin_part(analysis: Analysis, basin_events: Events, tmp_path_factory: pytest.TempPathFactory) -> BasinsPart:
    directory = tmp_path_factory.mktemp("basins")
    write_tables(analysis, basin_events, directory)
    return BasinsPart.of(directory, from_file(basin_events))


@pytest.mark.slow
def test_regions_come_back_as_they_were_found(analysis: Analysis, basin_events: Events, tmp_path: Path) -> None:
    regions = regions_of(analysis)
    assert sum(len(one.basins) for one in analysis.found) > 5
    for k, found in enumerate(analysis.found):
        for basin in found.basins:
            mine = regions.track[k] == analysis.tracking.track_of(k, basin.id)
            np.testing.assert_array_equal(mine, basin.membership >= 0.5)
    write_regions(tmp_path / "one.nc", regions, basin_events)
    write_regions(tmp_path / "two.nc", regions, basin_events)
    assert (tmp_path / "one.nc").read_bytes() == (tmp_path / "two.nc").read_bytes()
    again = read_regions(tmp_path / "one.nc")
    assert (again.windows, again.method) == (analysis.windows, "density")
    assert again.partition.grid == analysis.finder.fixed.partition.grid
    np.testing.assert_array_equal(again.track, regions.track)


@pytest.mark.parametrize(
    ("d", "axes"), [(1, ("track",)), (3, ("time", "bound", "a/b")), (4, ("landmark", "b", "c", "d"))]
)
def test_regions_of_other_spaces_and_hostile_axes_come_back(d: int, axes: tuple[str, ...], tmp_path: Path) -> None:
    rng, box = np.random.default_rng(0), Box((0.0,) * d, tuple(1.0 + k for k in range(d)))
    grid = Grid(box, tuple(range(2, 2 + d))) if d < 4 else None
    partition = Partition.of_grid(grid) if grid else Partition(box, rng.uniform(size=(9, d)))
    windows = (Window(0.1, 0.3), Window(0.3, 0.5))
    regions = Regions("graph", windows, partition, rng.integers(-1, 3, (2, len(partition)), dtype=np.int32))
    write_regions(tmp_path / NAME, regions, Events(np.zeros(1), np.zeros((1, d)), axes=axes))
    again = read_regions(tmp_path / NAME)
    np.testing.assert_array_equal(again.track, regions.track)
    np.testing.assert_array_equal(again.partition.centres, partition.centres)
    assert (again.partition.grid, again.partition.box, again.windows) == (grid, box, windows)


def test_a_run_without_regions_is_refused_with_the_way_out(basin_part: BasinsPart, tmp_path: Path) -> None:
    assert basin_part.run is not None
    old = shutil.copytree(basin_part.run, tmp_path / "old")
    (old / NAME).write_bytes(b"no netcdf")
    with pytest.raises(ValueError, match=r"regions.nc holds no regions.*stpp basins"):
        BasinsPart.of(old, basin_part.source)
    (old / NAME).unlink()
    with pytest.raises(ValueError, match=r"regions.nc is missing.*run 'stpp basins -o' again"):
        BasinsPart.of(old, basin_part.source)


def test_each_event_lies_in_the_basin_that_the_finder_saw(
    basin_part: BasinsPart, analysis: Analysis, basin_events: Events
) -> None:
    canvas = Canvas(basin_events, basin_part.windows, Grid.over(UNIT, 20))
    found = basin_part.basins(canvas)
    expected = np.full(len(basin_events), -1)
    for k, snapshot in enumerate(analysis.snapshots):
        for basin in analysis.found[k].basins:
            expected[snapshot.rows[basin.membership[snapshot.cell] >= 0.5]] = analysis.tracking.track_of(k, basin.id)
            seen = found.found[k][basin.id]
            assert (seen.posts, seen.centre) == (basin.posts, pytest.approx(tuple(basin.centre)))
    np.testing.assert_array_equal(found.of_event, expected)
    assert [(one.id, one.birth, one.death) for one in found.tracks] == [
        (one.id, one.birth or None, one.death) for one in analysis.tracking.tracks
    ]  # those of the first window are not born in it
    assert found.grid is not None
    assert found.regions is not None
    for k, basins in enumerate(found.found):
        for i, seen in enumerate(basins):
            own = basin_part.regions.track[k].reshape(found.grid.shape) == seen.track
            np.testing.assert_array_equal(found.regions[k] == i + 1, own)
    ahead = pd.read_csv(basin_part.run / "forecasts.csv").set_index(["window", "basin"])["p_continue"]
    for (k, basin), p in ahead.items():
        assert found.found[k][basin].p_continue == pytest.approx(p, nan_ok=True)
    assert np.isnan(found.found[0][0].p_continue)


def test_other_windows_show_the_basins_of_their_middle(basin_part: BasinsPart, basin_events: Events) -> None:
    windows = tuple(Window(-2.0 + 4 * k, 2.0 + 4 * k) for k in range(11))  # middles 0, 4, 8, … 40
    shown = [0, 0, 1, 1, 2, 2, 3, 4, 4, None, None]
    canvas = Canvas(basin_events, windows, Grid.over(UNIT, 20))
    own = basin_part.basins(Canvas(basin_events, basin_part.windows, Grid.over(UNIT, 20)))
    found = basin_part.basins(canvas)
    expected = tuple(own.found[k] if k is not None else () for k in shown)
    assert repr(found.found) == repr(expected)  # what is not known is NaN, which equals nothing
    assert found.regions is not None
    assert own.regions is not None
    np.testing.assert_array_equal(found.regions[:9], own.regions[[k for k in shown if k is not None]])
    assert not found.regions[9:].any()
    np.testing.assert_array_equal(found.of_event, own.of_event)  # an event has its own time
    for mine, line in zip(found.tracks, own.tracks, strict=True):
        assert mine.birth == (None if line.birth is None else shown.index(line.birth))
        assert mine.death == (None if line.death is None else shown.index(line.death))
    assert any("middle" in remark for remark in basin_part.remarks(canvas))
    late = basin_part.basins(Canvas(basin_events, windows[4:6], Grid.over(UNIT, 20)))
    assert {line.birth for line in late.tracks} == {
        None if k < 2 else 0 for k in (t.birth or 0 for t in own.tracks) if k <= 2
    }


def test_basins_of_a_week_are_not_known_in_its_midst(basin_part: BasinsPart, basin_events: Events) -> None:
    days = tuple(Window(k, k + 1.0) for k in range(35))
    found = basin_part.basins(Canvas(basin_events, days, Grid.over(UNIT, 20)))
    np.testing.assert_array_equal(found.spans[[0, 6, 7, 34]], [[0, 7], [0, 7], [7, 14], [28, 35]])
    for k, (before, after) in enumerate(zip(found.before, found.after, strict=True)):
        assert before == -1 if k < 7 else found.spans[before][1] == 7 * (k // 7)
        assert after == -1 if k < 6 else found.spans[after][1] == 7 * ((k + 1) // 7)


def test_swapped_axes_and_many_windows_keep_the_outlines_right(basin_part: BasinsPart, basin_events: Events) -> None:
    plain = basin_part.basins(Canvas(basin_events, basin_part.windows, Grid.over(UNIT, 20)))
    swapped = basin_part.basins(Canvas(basin_events, basin_part.windows, Grid.over(UNIT, 20), (1, 0)))
    assert plain.regions is not None
    assert swapped.regions is not None
    np.testing.assert_array_equal(swapped.regions, plain.regions.transpose(0, 2, 1))
    assert swapped.found[0][0].centre == plain.found[0][0].centre[::-1]
    np.testing.assert_array_equal(swapped.of_event, plain.of_event)
    many = tuple(Window(0.0035 * k, 0.0035 * (k + 1)) for k in range(10_000))
    coarse = basin_part.basins(Canvas(basin_events, many, Grid.over(UNIT, 20)))
    assert coarse.regions is not None
    assert coarse.regions.size <= 12_000_000
    share, finer = (coarse.regions[0] > 0).mean(), (plain.regions[0] > 0).mean()
    assert share == pytest.approx(finer, abs=0.05)


def test_basins_around_landmarks_have_centres_but_no_outlines(tmp_path: Path) -> None:
    events = some(d=4)
    centres = np.array([[0.3] * 4, [0.7] * 4])
    regions = Regions(
        "graph", (Window(0, 40),), Partition(Box((0.0,) * 4, (1.0,) * 4), centres), np.array([[5, -1]], np.int32)
    )
    write_regions(tmp_path / NAME, regions, events)
    centre = {f"centre_{name}": [0.3 + k / 100] for k, name in enumerate(events.axes)}
    row = {"window": [0], "basin": [0], "track": [5], "share": [0.5], "posts": [150], "probability": [0.9]}
    pd.DataFrame(row | centre).to_csv(tmp_path / "basins.csv", index=False)
    track = {"id": [5], "name": ["NA"], "birth": [0], "death": [None], "colour": ["#0a5c96"]}
    pd.DataFrame(track).to_csv(tmp_path / "tracks.csv", index=False)
    part = BasinsPart.of(tmp_path, from_file(events))
    canvas = Canvas(events, part.windows, Grid.over(UNIT, 20), (0, 2))
    found = part.basins(canvas)
    assert (found.grid, found.regions) == (None, None)
    assert found.found[0][0].centre == (0.3, 0.32)
    assert np.isnan(found.found[0][0].p_grow)
    assert found.tracks[0].name == "NA"  # a name, and not a gap
    np.testing.assert_array_equal(found.of_event, np.where(events.x.mean(axis=1) < 0.5, 5, -1))
    assert any("no outlines" in remark for remark in part.remarks(canvas))


# -- links --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_report_on_basins_links_its_windows_to_the_map(
    analysis: Analysis, basin_events: Events, tmp_path: Path
) -> None:
    plain, linked = tmp_path / "plain", tmp_path / "linked"
    for directory in (plain, linked):
        directory.mkdir()
        write_report(analysis, basin_events, directory, linked=directory == linked)
    last = len(analysis.windows) - 1
    for name in ("report.html", "report.md"):
        text = (linked / name).read_text()
        assert "Open the map of all windows" in text
        for k in range(last + 1):
            assert text.count(f"map.html#w={k}") == 1
        assert "map.html" not in (plain / name).read_text()
