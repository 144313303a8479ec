"""The backtest on models simple enough to score by hand, and the promise that no forecast sees its future."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np
import pytest

from evaluation import Plan, leaderboard
from evaluation.backtests.backtest import backtest
from stpp.compute.progress import Progress
from stpp.domain import Array, Box, Grid
from stpp.events import Events, Window
from stpp.intensity import AnyForecast, Forecast, IntensityModel, PointForecast
from stpp.models import MODELS, make_models

UNIT = Box((0.0, 0.0), (1.0, 1.0))
PLAN = Plan(train_start=0, test=Window(10, 20), step=1, grid=4, reference="flat")


@dataclass(frozen=True, kw_only=True)
class Fake(IntensityModel):
    """Forecasts from the counts of the last ``memory`` days; records every history that it is shown."""

    name: ClassVar[str] = "fake"
    summary_line: ClassVar[str] = "for tests"

    memory: float = math.inf
    seen: list[tuple[str, float, Events]] = field(default_factory=list, compare=False)

    def fit(self, events: Events, window: Window, *, progress: Progress | None = None) -> Fake:
        self.seen.append(("fit", window.end, events))
        return replace(self)

    def forecast(self, window: Window, history: Events, grid: Grid | None) -> AnyForecast:
        self.seen.append(("forecast", window.start, history))
        recent = history.between(Window(window.start - min(self.memory, 1e6), window.start))
        if grid is None:
            return PointForecast(window, self.domain, 1.0, self.tilted, self.draw, self.name, self.floor)
        return Forecast.of(window, grid, grid.histogram(recent.x) + 1e-9, self.name, self.floor)

    def tilted(self, x: Array) -> Array:
        """Density 2·x0 on a box that starts at 0: integrates to 1 on the unit box."""
        return 2 * x[:, 0]

    def draw(self, n: int, rng: np.random.Generator) -> Array:
        """Places of that density."""
        x = rng.uniform(size=(n, self.domain.d))
        x[:, 0] = np.sqrt(x[:, 0])
        return x

    def intensity(self, t: Array, x: Array, history: Events) -> Array:
        raise NotImplementedError

    def compensator(self, window: Window, history: Events, grid: Grid) -> Array:
        raise NotImplementedError

    def simulate(self, window: Window, history: Events, rng: np.random.Generator) -> Events:
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class Flat(Fake):
    """Uniform, one event a day."""

    name: ClassVar[str] = "flat"

    def forecast(self, window: Window, history: Events, grid: Grid | None) -> AnyForecast:
        if grid is None:
            flat = lambda n, rng: rng.uniform(size=(n, self.domain.d))  # noqa: E731
            return PointForecast(window, self.domain, 1.0, lambda x: np.ones(len(x)), flat, self.name, self.floor)
        return Forecast.of(window, grid, np.full(grid.shape, window.duration / grid.cells), self.name, self.floor)


@dataclass(frozen=True, kw_only=True)
class Corner(Flat):
    """Three quarters of the events in the lower half of the first axis."""

    def forecast(self, window: Window, history: Events, grid: Grid | None) -> AnyForecast:
        assert grid is not None
        counts = np.ones(grid.shape)
        counts[: grid.shape[0] // 2] = 3
        return Forecast.of(window, grid, counts / counts.sum(), self.name, 0.0)


def drifting(n: int = 2000, days: float = 20, seed: int = 0) -> Events:
    """A blob that moves across the unit box."""
    rng = np.random.default_rng(seed)
    t = np.sort(rng.uniform(0, days, n))
    centre = np.column_stack([0.2 + 0.6 * t / days, np.full(n, 0.5)])
    x = np.clip(centre + rng.normal(0, 0.08, (n, 2)), 0, 1)
    return Events(t, x, rng.integers(1, 5, n).astype(float), axes=("x", "y"))


def run(events: Events, plan: Plan = PLAN, domain: Box = UNIT, **more: IntensityModel):  # type: ignore[no-untyped-def]
    models = {"flat": Flat(domain=domain), **more}
    return backtest(events, models, plan, rng=np.random.default_rng(0))


def test_scores_by_hand() -> None:
    # Corner: g = 1.5 below x0 = ½, 0.5 above; mean(g²) = (2.25 + 0.25)/2 = 1.25
    # window 10–11: events at x0 = .1 (m = 3) and .9 (m = 1): fds = (3·1.5 + .5)/4 = 1.25, log = (3 ln 1.5 + ln .5)/4
    #   quadratic = 2.5 − 1.25 = 1.25; spherical = 1.25/√1.25; overconfidence 0; gain over flat = log − 0
    # window 11–12: one event at .1 and one outside the domain, which no score counts: fds = 1.5, log = ln 1.5
    # window 12–13: no event, no score
    t = [1.0, 10.2, 10.5, 11.5, 11.7]
    x = [[0.5, 0.5], [0.1, 0.3], [0.9, 0.3], [0.1, 0.9], [1.7, 0.5]]
    plan = replace(PLAN, test=Window(10, 13))
    result = run(Events(t, x, [1, 3, 1, 2, 9]), plan, corner=Corner(domain=UNIT))
    table = result.table[result.table["model"] == "corner"].set_index("window")
    log = (3 * math.log(1.5) + math.log(0.5)) / 4
    np.testing.assert_allclose(table["fds"], [1.25, 1.5, math.nan])
    np.testing.assert_allclose(table["log_score"], [log, math.log(1.5), math.nan])
    np.testing.assert_allclose(table["information_gain"], [log, math.log(1.5), math.nan])
    np.testing.assert_allclose(table["quadratic_fds"], [1.25, 1.75, math.nan])
    np.testing.assert_allclose(table["spherical_fds"], [math.sqrt(1.25), 1.5 / math.sqrt(1.25), math.nan])
    np.testing.assert_allclose(table["overconfidence"], [0, -0.25, math.nan])
    assert table["events"].tolist() == [2, 1, 0]
    assert table["outside"].tolist() == [0, 1, 0]
    assert table["weight"].tolist() == [4, 2, 0]
    # counts: λ = 1.5/16 per low cell, .5/16 per high one; −Σλ = −1 a window, n! = 1
    poisson = [math.log(1.5 / 16) + math.log(0.5 / 16) - 1, math.log(1.5 / 16) - 1, -1]
    np.testing.assert_allclose(table["poisson_log_likelihood"], poisson)
    row = result.summary().loc["corner"]
    assert row["fds"] == pytest.approx((1.25 + 1.5) / 2)  # mean over windows
    assert row["fds_pooled"] == pytest.approx((4 * 1.25 + 2 * 1.5) / 6)  # by weight
    assert row["information_gain"] == pytest.approx((log + math.log(1.5)) / 2)
    assert row["pooled"] == pytest.approx((4 * log + 2 * math.log(1.5)) / 6)
    assert row["poisson_log_likelihood"] == pytest.approx(np.mean(poisson))
    assert result.counts == {"planned": 3, "scored": 2, "empty": 1, "events": 3, "outside": 1}


def test_zoom_renormalises_within_its_box() -> None:
    # Zoom to x0 in [0, .75]: two thirds of it has g = 1.5, a third .5: mean (1 + 1/6) = 7/6, so g' = 9/7 and 3/7
    # mean(g'²) = (2/3)·81/49 + (1/3)·9/49 = 57/49; share of the total = 7/6 · .75 = .875
    zoom = Box((0, 0), (0.75, 1))
    events = Events([1.0, 10.1, 10.2, 10.3], [[0.5, 0.5], [0.1, 0.5], [0.6, 0.5], [0.9, 0.5]])
    plan = replace(PLAN, test=Window(10, 11), zoom=zoom)
    row = run(events, plan, corner=Corner(domain=UNIT)).table.set_index("model").loc["corner"]
    assert row["events"] == 2  # the one at .9 is not in the zoom box
    assert row["fds"] == pytest.approx((9 / 7 + 3 / 7) / 2)
    assert row["quadratic_fds"] == pytest.approx(2 * 6 / 7 - 57 / 49)
    assert row["expected_count"] == pytest.approx(0.875)
    assert row["information_gain"] == pytest.approx(math.log(27 / 49) / 2)  # flat is uniform in any zoom box
    # a zoom box that cuts cells (4 cells of .25; the box ends at .6): (.5·1.5 + .1·.5)/.6 = 4/3
    cut = run(events, replace(plan, zoom=Box((0, 0), (0.6, 1))), corner=Corner(domain=UNIT)).table.set_index("model")
    assert cut.loc["corner", "fds"] == pytest.approx((1.5 / (4 / 3) + 0.5 / (4 / 3)) / 2)


def test_the_whole_domain_as_zoom_changes_nothing() -> None:
    events = drifting()
    whole, zoomed = run(events), run(events, replace(PLAN, zoom=UNIT))
    columns = [c for c in whole.table.columns if c not in ("model", "seconds", "start", "end")]
    np.testing.assert_allclose(whole.table[columns].astype(float), zoomed.table[columns].astype(float), rtol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("history", [None, 3.0])
@pytest.mark.parametrize("refit", [None, 3])
def test_no_forecast_sees_its_future(history: float | None, refit: int | None) -> None:
    """Whatever a fit or forecast is shown ends before its window, and scrambling the future changes no forecast."""
    plan = replace(PLAN, history=history, refit=refit, horizon=2)
    events = drifting()
    rng = np.random.default_rng(3)
    for cut in (10.0, 14.0):
        future = events.t >= cut
        x = np.where(future[:, None], rng.uniform(0, 1, (len(events), 2)), events.x)
        scrambled = Events(np.where(future, rng.uniform(cut, 25, len(events)), events.t), x, events.weight)
        issued = [
            [f.counts for f in _issued(e, plan) if isinstance(f, Forecast) and f.window.start <= cut]
            for e in (events, scrambled)
        ]
        assert len(issued[0]) == cut - 9
        for one, other in zip(*issued, strict=True):
            np.testing.assert_array_equal(one, other)


def _issued(events: Events, plan: Plan) -> Iterator[AnyForecast]:
    """The forecasts that a backtest makes the fake model issue."""
    model = Recorder(domain=UNIT, memory=5)
    run(events, plan, fake=model)
    shown_until = [(when, history.t[-1]) for _, when, history in model.seen if len(history)]
    assert all(last < when for when, last in shown_until)
    return iter(model.issued)


@dataclass(frozen=True, kw_only=True)
class Recorder(Fake):
    """A fake that keeps its forecasts."""

    issued: list[AnyForecast] = field(default_factory=list, compare=False)

    def forecast(self, window: Window, history: Events, grid: Grid | None) -> AnyForecast:
        made = super().forecast(window, history, grid)
        self.issued.append(made)
        return made


CHEAP: dict[str, dict[str, Any]] = {
    "drift": {"trials": 3},
    "transport": {"trials": 3},
    "ensemble": {"members": ("decaying-kde", "hawkes")},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_no_registered_model_sees_its_future(name: str) -> None:
    """Scores of windows that end before a cut do not change when everything after it is scrambled."""
    plan = replace(PLAN, test=Window(10, 16), refit=2, grid=16)
    events = drifting(400)
    rng = np.random.default_rng(3)
    future = events.t >= 14
    x = np.where(future[:, None], rng.uniform(0, 1, (len(events), 2)), events.x)
    scrambled = Events(np.where(future, rng.uniform(14, 25, len(events)), events.t), x, events.weight)
    columns = ["fds", "log_score", "expected_count"]
    one, other = (
        run(e, plan, model=make_models([name], UNIT, options=CHEAP.get(name))[name]).table.query(
            "model == 'model' and window < 4"
        )[columns]
        for e in (events, scrambled)
    )
    assert len(one) == 4
    np.testing.assert_array_equal(one, other)


def test_refit_and_history_show_the_model_what_they_say() -> None:
    events = drifting()
    fake = Fake(domain=UNIT)
    run(events, replace(PLAN, train_start=2, refit=4, history=3), fake=fake)
    fits = [(when, history.t[0]) for kind, when, history in fake.seen if kind == "fit"]
    assert [when for when, _ in fits] == [10, 14, 18]
    assert all(first >= when - 3 for when, first in fits)
    forecasts = [(when, history.t[0]) for kind, when, history in fake.seen if kind == "forecast"]
    assert [when for when, _ in forecasts] == list(range(10, 20))
    assert all(first >= when - 3 for when, first in forecasts)
    once = Fake(domain=UNIT)
    run(events, PLAN, fake=once)
    assert [when for kind, when, _ in once.seen if kind == "fit"] == [10]


def test_learning_beats_uniform_and_recency_beats_all_time() -> None:
    result = run(drifting(6000), replace(PLAN, grid=8), always=Fake(domain=UNIT), recent=Fake(domain=UNIT, memory=3))
    assert result.summary().index.tolist() == ["recent", "always", "flat"]
    assert result.gains["recent"].low > 0
    assert result.gains["flat"].mean == 0
    assert not result.table.drop(columns=["start", "end"]).isna().any().any()


def test_same_seed_same_result() -> None:
    first, second = (run(drifting(), fake=Fake(domain=UNIT)) for _ in "ab")
    assert first.gains == second.gains
    assert first.table.equals(second.table)


def test_events_outside_the_domain_feed_no_model() -> None:
    half = Box((0.0, 0.0), (0.5, 1.0))
    fake = Fake(domain=half)
    result = run(drifting(), domain=half, fake=fake)
    assert all(half.contains(history.x).all() for _, _, history in fake.seen)
    assert result.counts["outside"] + result.counts["events"] == len(drifting().between(PLAN.test))
    assert result.counts["outside"] > 0
    assert "events outside the domain" in leaderboard(result)


def test_above_three_dimensions_scores_need_no_grid() -> None:
    # Density 2·x0 on the unit box: mean(g²) = ∫ 4u² du = 4/3; the floor of 1e-4 changes it by less than 1e-4
    rng = np.random.default_rng(0)
    box = Box((0,) * 5, (1,) * 5)
    x = rng.uniform(size=(400, 5))
    x[:, 0] = np.sqrt(x[:, 0])  # events that follow the density
    result = run(Events(np.linspace(0, 20, 400, endpoint=False), x), domain=box, fake=Fake(domain=box))
    row = result.table[result.table["model"] == "fake"].iloc[0]
    inside = x[(np.linspace(0, 20, 400, endpoint=False) >= 10) & (np.linspace(0, 20, 400, endpoint=False) < 11)]
    assert row["fds"] == pytest.approx(np.mean(2 * inside[:, 0]), rel=1e-3)
    claimed = row["overconfidence"] + row["fds"]
    assert 0 < row["mean_square_error"] < 0.03
    assert abs(claimed - 4 / 3) < 4 * row["mean_square_error"]
    assert math.isnan(row["poisson_log_likelihood"])
    # zoom to x0 in [½, 1]: g' = g/1.5, mean(g'²) = 2·∫_½^1 (4u²)/2.25 du = 28/27
    plan = replace(PLAN, zoom=Box((0.5, 0, 0, 0, 0), (1,) * 5))
    zoomed = run(Events(np.linspace(0, 20, 400, endpoint=False), x), plan, domain=box, fake=Fake(domain=box)).table
    row = zoomed[zoomed["model"] == "fake"].iloc[0]
    assert row["expected_count"] == pytest.approx(0.75, abs=0.03)  # 4,096 draws: standard error 0.007
    assert abs(row["overconfidence"] + row["fds"] - 28 / 27) < 4 * row["mean_square_error"]
    assert row["mean_square_error"] < 0.01


def test_json_is_the_contract() -> None:
    result = run(drifting(), fake=Fake(domain=UNIT))
    out = json.loads(json.dumps(result.to_json_dict(), allow_nan=False))
    assert list(out) == ["reference", "windows", "events", "models"]
    assert (out["reference"], out["windows"]) == ("flat", 10)
    assert set(out["models"]) == {"flat", "fake"}
    keys = ["fds", "log_score", "quadratic_fds", "overconfidence", "information_gain", "seconds", "peak_memory_mb"]
    assert list(out["models"]["fake"]) == keys
    assert list(out["models"]["fake"]["information_gain"]) == ["mean", "low", "high", "pooled"]
    # a single window has no interval, and JSON no infinity
    single = run(drifting(), replace(PLAN, test=Window(10, 11)), fake=Fake(domain=UNIT)).to_json_dict()
    assert single["models"]["fake"]["information_gain"]["low"] is None


def test_progress_hears_of_every_window() -> None:
    heard: list[tuple[str, int, int]] = []
    models = {"flat": Flat(domain=UNIT)}
    backtest(drifting(), models, PLAN, rng=np.random.default_rng(0), progress=lambda m, k, n: heard.append((m, k, n)))
    assert heard == [("flat", k, 10) for k in range(1, 11)]


def test_plan_arithmetic() -> None:
    plan = Plan(train_start=0, test=Window(10, 20), step=1, horizon=2.5, history=4)
    assert plan.windows[-1] == Window(17, 19.5)  # the next one would end after the test
    assert plan.overlap == 3
    assert plan.training == Window(6, 10)
    assert PLAN.training == Window(0, 10)
    assert PLAN.overlap == 1
    assert replace(PLAN, step=0.1, horizon=0.3).overlap == 3  # not 4 by rounding


def test_the_domain_comes_from_training_events_only() -> None:
    events = Events([-1.0, 1.0, 2.0, 11.0], [[9.0, 9], [0, 0], [1, 2], [5, 5]])
    box = PLAN.domain(events)
    assert box.low == pytest.approx((-0.02, -0.04))
    assert box.high == pytest.approx((1.02, 2.04))
    with pytest.raises(ValueError, match="no training events from 1970-01-01"):
        PLAN.domain(events.between(Window(11, 12)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"step": 0.0}, "step must be longer than 0 days"),
        ({"step": math.nan}, "step must be longer"),
        ({"horizon": -1.0}, "horizon must be longer"),
        ({"history": 0.0}, "history must be longer"),
        ({"grid": 0}, "at least 1 cell"),
        ({"refit": 0}, "refit counts windows"),
        ({"train_start": 10.0}, "training must start before the test"),
        ({"horizon": 11.0}, "holds no window of 11 days"),
    ],
)
def test_impossible_plans_are_refused(change: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(PLAN, **change)  # type: ignore[arg-type]


def test_impossible_backtests_are_refused() -> None:
    events = drifting()
    with pytest.raises(ValueError, match="reference 'best' is not among the models"):
        run(events, replace(PLAN, reference="best"))
    with pytest.raises(ValueError, match="another domain"):
        run(events, fake=Fake(domain=Box((0, 0), (2, 2))))
    with pytest.raises(ValueError, match="domain has 1 dimensions, the events 2"):
        run(events, domain=Box((0,), (1,)))
    with pytest.raises(ValueError, match="does not lie in the domain"):
        run(events, replace(PLAN, zoom=Box((0, 0), (2, 1))))
    with pytest.raises(ValueError, match="does not lie in the domain"):
        run(events, replace(PLAN, zoom=Box((0,), (1,))))
    with pytest.raises(ValueError, match="no training events"):
        run(events.between(Window(10, 20)))
    with pytest.raises(ValueError, match="none of the 10 test windows has events"):
        run(events.before(10))


def test_a_reference_that_rules_out_what_happened_is_refused() -> None:
    class Half(Corner):
        """Puts nothing above x0 = ½."""

        def forecast(self, window: Window, history: Events, grid: Grid | None) -> AnyForecast:
            assert grid is not None
            counts = np.zeros(grid.shape)
            counts[: grid.shape[0] // 2] = 1
            return Forecast.of(window, grid, counts, "half", 0.0)

    with pytest.raises(ValueError, match="reference 'half' gave density 0 to an event in the window from 1970-01-1"):
        run(drifting(), replace(PLAN, reference="half"), half=Half(domain=UNIT))
    worse = run(drifting(), half=Half(domain=UNIT))
    assert worse.gains["half"].mean == -math.inf
    assert worse.to_json_dict()["models"]["half"]["log_score"] is None
    with pytest.raises(ValueError, match="'half' forecasts nothing in the zoom box"):
        run(drifting(), replace(PLAN, zoom=Box((0.6, 0), (1, 1))), half=Half(domain=UNIT))


def test_a_model_that_skips_a_window_is_caught() -> None:
    class Lazy(Flat):
        """Forgets its last window."""

        def rolling_forecasts(
            self, events: Events, windows: Sequence[Window], grid: Grid | None, *, first: int = 0
        ) -> Iterator[AnyForecast]:
            return super().rolling_forecasts(events, windows[:-1], grid, first=first)

    with pytest.raises(ValueError, match="shorter"):
        run(drifting(), lazy=Lazy(domain=UNIT))
