"""A map from its parts: which windows, which grid, what was observed, what does not go together, and odd input."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from stpp.compute.progress import Progress
from stpp.domain import Box
from stpp.events import Events, Window
from stpp.maps.compose import FEWEST_CELLS, MOST_CELLS, MOST_VALUES, compose
from stpp.maps.html import write_map
from stpp.maps.parts import EventsPart, Part
from stpp.maps.scene import Arrows, Canvas, Fields, Scores
from stpp.runs.manifest import Source

UNIT = Box((0.0, 0.0), (1.0, 1.0))


def some(n: int = 500, d: int = 2, days: float = 40.0) -> Events:
    rng = np.random.default_rng(0)
    return Events(np.sort(rng.uniform(0, days, n)), rng.uniform(0.2, 0.8, (n, d)), rng.uniform(0, 3, n))


@dataclass(frozen=True, eq=False)
class Judged(Part):
    """Brings even forecasts, and scores."""

    precedence: ClassVar[int] = 3

    _: KW_ONLY
    reference: str = "average"

    def forecasts(self, canvas: Canvas, progress: Progress | None = None) -> list[Fields]:
        shape, n = canvas.grid.shape, len(canvas.windows)
        return [Fields(name, np.ones((n, *shape), np.float32), np.full(n, 5.0)) for name in self.models]

    def scores(self, canvas: Canvas) -> tuple[str, list[Scores]]:
        one = np.ones(len(canvas.windows))
        return self.reference, [Scores(name, 2 * one, 0.1 * one) for name in self.models]


@dataclass(frozen=True, eq=False)
class Flowing(Part):
    """Brings arrows, and daily windows."""

    precedence: ClassVar[int] = 1

    def arrows(self, canvas: Canvas) -> Arrows:
        n = len(canvas.windows)
        return Arrows(
            "drift", np.zeros((1, 2)), np.zeros((n, 1, 2)), np.zeros((n, 1), dtype=bool), np.zeros(n), np.arange(n) - 1
        )


@pytest.fixture
def source(tmp_path: Path) -> Source:
    path = tmp_path / "events.parquet"
    path.write_bytes(b"the same content")
    return Source(path, some(), None, {})


def weeks(n: int) -> tuple[Window, ...]:
    return tuple(Window(7.0 * k, 7.0 * k + 7) for k in range(n))


def alone(events: Events, **how: Any) -> Any:
    return compose([EventsPart(Source(Path(__file__), events, None, {}))], **how)  # a file, for the page tells its hash


# -- windows and grid ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("days", "length"),
    [(0.02, 1 / 1440), (0.9, 1 / 24), (6, 0.25), (30, 1), (200, 7), (800, 28), (4000, 91), (9000, 365)],
)
def test_windows_are_as_long_as_leaves_enough_of_them_and_hold_every_post(days: float, length: float) -> None:
    scene, rows = alone(some(days=days))
    windows = scene.canvas.windows
    assert windows[0].duration == pytest.approx(length)
    assert len(windows) >= 20
    assert (windows[0].start / min(length, 1.0)) % 1 == pytest.approx(0, abs=1e-9)
    assert all(one.end == two.start for one, two in pairwise(windows))
    np.testing.assert_array_equal(rows, np.arange(500))
    assert scene.observed.totals.sum() == 500


def test_the_length_of_windows_can_be_given_and_too_many_are_refused() -> None:
    assert [window.duration for window in alone(some(), window=10.0)[0].canvas.windows] == [10.0] * 4
    with pytest.raises(ValueError, match=r"57,[0-9]{3} windows of 1 minute are too many.*take a longer --window"):
        alone(some(), window=1 / 1440)


def test_windows_come_from_whoever_can_be_shown_in_no_others(source: Source) -> None:
    flow = Flowing(source, windows=tuple(Window(k, k + 1.0) for k in range(30)))
    judged = Judged(source, windows=weeks(4), models=("kde",))
    scene, rows = compose([flow, EventsPart(source), judged])
    assert scene.canvas.windows == weeks(4)
    assert scene.arrows is not None
    assert len(scene.arrows.velocity) == 4
    early = source.events.t < 28
    np.testing.assert_array_equal(rows, np.flatnonzero(early))
    assert any(f"In none of the windows: {(~early).sum()} of 500 posts" in remark for remark in scene.remarks)
    assert compose([flow, EventsPart(source)])[0].canvas.windows == flow.windows
    with pytest.raises(ValueError, match="have different windows"):
        compose([judged, replace(judged, windows=weeks(3), run=Path("other"))])
    with pytest.raises(ValueError, match="windows of its own: leave out --window"):
        compose([judged], window=1.0)
    with pytest.raises(ValueError, match="both bring a flow"):
        compose([flow, replace(flow, run=Path("other"))])


def test_too_many_windows_of_a_run_are_refused(source: Source) -> None:
    many = tuple(Window(k * 0.001, (k + 1) * 0.001) for k in range(10_001))
    with pytest.raises(ValueError, match="has 10,001 windows, a map holds 10,000"):
        compose([Judged(source, windows=many)])


def test_the_grid_covers_the_parts_or_what_is_asked_for(source: Source) -> None:
    boxes = [Box((0.0, -1.0), (1.0, 1.0)), Box((-2.0, 0.0), (0.5, 3.0))]
    parts = [Part(source, box=box) for box in boxes]
    assert compose(parts)[0].canvas.grid.box == Box((-2.0, -1.0), (1.0, 3.0))
    assert compose(parts, box=UNIT)[0].canvas.grid.box == UNIT
    assert compose([Part(source)])[0].canvas.grid.box == Box.around(source.events.x, 0.09)  # room for smoothing
    judged = [
        Judged(source, box=one, windows=weeks(3), models=("kde",), run=Path(f"{k}")) for k, one in enumerate(boxes)
    ]
    assert compose([*judged, Part(source, box=UNIT)])[0].canvas.grid.box == Box((0.0, 0.0), (0.5, 1.0))  # what all have
    assert compose(judged, box=Box((0.2, -9.0), (9.0, 9.0)))[0].canvas.grid.box == Box((0.2, 0.0), (0.5, 1.0))
    with pytest.raises(ValueError, match="nothing in common"):
        compose(judged, box=Box((7.0, 7.0), (8.0, 8.0)))
    with pytest.raises(ValueError, match="--box has 3 axes"):
        compose(parts, box=Box((0.0,) * 3, (1.0,) * 3))


@pytest.mark.slow
@pytest.mark.parametrize(("windows", "models"), [(5, 0), (5, 3), (900, 3), (10_000, 0), (10_000, 4)])
def test_densities_stay_within_their_budget(source: Source, windows: int, models: int) -> None:
    each = 40 / windows
    own = tuple(Window(k * each, (k + 1) * each) for k in range(windows))
    scene, _ = compose([Judged(source, windows=own, models=tuple(map(str, range(models))))])
    side = scene.canvas.grid.shape[0]
    assert FEWEST_CELLS <= side <= MOST_CELLS
    assert scene.observed.values.size * (1 + models) <= max(MOST_VALUES, 10_000 * 5 * FEWEST_CELLS**2)
    assert len(scene.forecasts) == models


def test_two_of_many_axes_are_drawn(source: Source) -> None:
    events = replace(some(d=4), axes=("a", "b", "c", "d"))
    box = Box((0.0, 0.1, 0.0, 0.0), (1.0, 0.9, 1.0, 2.0))
    part = Part(replace(source, events=events), box=box)
    scene, _ = compose([part], axes=("d", "b"))
    assert scene.canvas.names == ("d", "b")
    assert scene.canvas.grid.box == Box((0.0, 0.1), (2.0, 0.9))
    assert any("Of 4 coordinates d and b are drawn" in remark for remark in scene.remarks)
    assert compose([part])[0].canvas.axes == (0, 1)
    with pytest.raises(ValueError, match="no coordinate 'z'; there are: a, b, c, d"):
        compose([part], axes=("a", "z"))
    with pytest.raises(ValueError, match="two different axes"):
        compose([part], axes=("a", "a"))
    with pytest.raises(ValueError, match="a map needs two coordinates"):
        alone(some(d=1))


# -- what was observed --------------------------------------------------------------------------------------------


def test_what_was_observed_is_the_smoothed_weight_and_the_number_of_posts() -> None:
    events = some()
    scene, _ = alone(events, box=Box((0.0, 0.0), (1.0, 0.5)))
    grid, observed = scene.canvas.grid, scene.observed
    for k, window in enumerate(scene.canvas.windows):
        seen = events.between(window)
        inside = grid.box.contains(seen.x)
        assert observed.totals[k] == inside.sum()
        if inside.any():
            assert observed.values[k].mean() == pytest.approx(1, rel=1e-4)
            upper = seen.weight[inside & (seen.x[:, 0] > 0.5)].sum() / seen.weight[inside].sum()
            assert observed.values[k][50:].sum() / observed.values[k].sum() == pytest.approx(upper, abs=0.15)
    outside = len(events) - int(grid.box.contains(events.x).sum())
    assert any(f"densities cover: {outside} of 500 posts" in remark for remark in scene.remarks)


def test_one_post_is_a_hill_around_its_place_as_wide_as_is_said() -> None:
    scene, _ = alone(Events(np.array([3.2]), np.array([[0.3, 0.6]])), box=UNIT)
    (density,) = scene.observed.values
    grid = scene.canvas.grid
    places, share = grid.points(), density.ravel() / density.sum()
    np.testing.assert_allclose(share @ places, [0.3, 0.6], atol=0.006)
    spread = np.sqrt(share @ (places - share @ places) ** 2)
    np.testing.assert_allclose(spread, scene.smoothing, rtol=0.1)
    assert scene.smoothing >= 0.7 * grid.spacing.max()


def test_a_window_without_weight_has_posts_but_no_density() -> None:
    events = replace(some(40), weight=np.zeros(40))
    scene, _ = alone(events)
    assert scene.observed.totals.sum() == 40
    assert not scene.observed.values.any()


# -- what goes together -------------------------------------------------------------------------------------------


def test_parts_of_other_events_are_refused_with_both_files_named(source: Source, tmp_path: Path) -> None:
    other = tmp_path / "others.parquet"
    other.write_bytes(b"other content")
    with pytest.raises(ValueError, match=r"events.parquet.*others.parquet.*different events: map them apart"):
        compose([EventsPart(source), EventsPart(replace(source, path=other))])
    weighed = replace(source.events, weight=np.ones(500))
    with pytest.raises(ValueError, match="read their events differently"):
        compose([EventsPart(source), EventsPart(replace(source, events=weighed))])
    renamed = replace(source.events, axes=("a", "b"))
    with pytest.raises(ValueError, match="read their events differently"):
        compose([EventsPart(source), EventsPart(replace(source, events=renamed))])
    copy = tmp_path / "copy.parquet"
    copy.write_bytes(source.path.read_bytes())
    assert len(compose([EventsPart(source), EventsPart(replace(source, path=copy))])[1]) == 500
    with pytest.raises(ValueError, match="nothing to map"):
        compose([])


def test_models_of_the_same_name_are_told_apart_by_their_runs(source: Source) -> None:
    one = Judged(source, run=Path("first"), windows=weeks(3), models=("average", "kde"))
    two = Judged(source, run=Path("second"), windows=weeks(3), models=("average", "hawkes"))
    scene, _ = compose([one, two])
    names = ["average (first)", "kde", "average (second)", "hawkes"]
    assert [one.name for one in scene.forecasts] == [one.model for one in scene.scores] == names
    assert scene.reference == "average"
    same = [replace(one, run=Path("a/run")), replace(one, run=Path("b/run"))]
    assert [one.name for one in compose(same)[0].forecasts][::2] == [f"average ({Path(p)})" for p in ("a/run", "b/run")]


def test_gains_over_another_reference_are_left_out_and_it_is_said(source: Source) -> None:
    one = Judged(source, run=Path("first"), windows=weeks(3), models=("kde",))
    two = Judged(source, run=Path("second"), windows=weeks(3), models=("hawkes",), reference="uniform")
    scene, _ = compose([one, two])
    assert np.isfinite(scene.scores[0].information_gain).all()
    assert np.isnan(scene.scores[1].information_gain).all()
    assert np.isfinite(scene.scores[1].fds).all()
    assert any("gain against uniform, not average" in remark for remark in scene.remarks)


# -- odd input ----------------------------------------------------------------------------------------------------

ODD: dict[str, tuple[Sequence[float], Any]] = {
    "no post": ([], np.empty((0, 2))),
    "one post": ([5.5], [[0.3, 0.4]]),
    "one place": ([1, 2, 30], [[0.3, 0.4]] * 3),
    "one time": ([5.5] * 3, [[0.3, 0.4], [0.1, 0.9], [0.5, 0.5]]),
    "a tiny map": ([1, 2, 30], [[1e-9, 0], [0, 1e-9], [0, 0]]),
    "a tiny map far away": ([1, 2, 30], [[1e6 + 1e-9, 0], [1e6, 1e-9], [1e6, 0]]),
    "a huge map": ([1, 2, 30], [[1e9, 0], [0, 1e9], [-1e9, 0]]),
    "a line": ([1, 2, 30], [[1e9, 1e-9], [0, 0], [-1e9, 0]]),
    "one far away": (list(range(50)), [[1e9, 1e9]] + [[k / 50, k % 7] for k in range(49)]),
    "a long time": ([0, 2e5, 3e6], [[0.3, 0.4], [0.1, 0.9], [0.5, 0.5]]),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", ODD)
def test_odd_input_gives_a_page(name: str, tmp_path: Path) -> None:
    t, x = ODD[name]
    events = Events(np.array(t, dtype=float), np.array(x, dtype=float))
    scene, rows = alone(events)
    assert len(rows) == len(events)
    assert scene.observed.totals.sum() == scene.canvas.grid.box.contains(events.x).sum() >= len(events) - 1
    assert np.isfinite(scene.observed.values).all()
    assert np.isfinite(scene.smoothing)
    assert scene.smoothing > 0
    for density, total in zip(scene.observed.values, scene.observed.totals, strict=True):
        assert density.mean() == pytest.approx(1 if total else 0, rel=1e-3)
    assert write_map(scene, tmp_path / "map.html")["posts"] == len(events)
    assert any("no posts" in remark for remark in scene.remarks) == (name == "no post")


def test_posts_between_windows_are_left_out_and_told(source: Source) -> None:
    gaps = tuple(Window(7.0 * k, 7.0 * k + 2) for k in range(5))
    scene, rows = compose([Judged(source, windows=gaps)])
    inside = [int(((source.events.t >= one.start) & (source.events.t < one.end)).sum()) for one in gaps]
    assert len(rows) == len(scene.canvas.events) == sum(inside)
    assert scene.observed.totals.tolist() == inside
    assert any(f"In none of the windows: {500 - sum(inside)} of 500" in remark for remark in scene.remarks)


def test_one_post_far_away_does_not_shrink_all_others() -> None:
    x = np.concatenate([np.random.default_rng(0).normal(size=(400, 2)), [[1e6, 0.0]]])
    scene, _ = alone(Events(np.arange(401.0), x))
    assert scene.canvas.grid.box.widths.max() < 12
    assert any("Outside the box that the densities cover: 1 of 401" in remark for remark in scene.remarks)


def test_a_run_is_given_once(source: Source) -> None:
    one = Judged(source, windows=weeks(3), run=Path("run"))
    with pytest.raises(ValueError, match="run is given twice"):
        compose([one, one])
