"""The page finds nothing wrong with the truth, names what is wrong with a wrong model, and draws."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from evaluation.diagnosis.diagnosis import Diagnosis, diagnose
from evaluation.report.diagnosis_page import draw
from stpp.domain import Box, Grid
from stpp.events import Events, Window
from stpp.models import Hawkes, HistoricalAverage, Uniform

BOX = Box((0.0, 0.0), (2.0, 1.0))
GRID = Grid.over(BOX, 12)
WINDOWS = list(Window(60.0, 120.0).rolling(1.0))
QUAKES = Path("../shared/data/quakes_japan25_earthquakenpp.parquet")


def hawkes(branching: float = 0.7) -> Hawkes:
    one = np.ones(1)
    return Hawkes(
        domain=BOX,
        uniform_rate=4.0,
        decays=10 * one,
        bandwidths=0.08 * one,
        exponents=0 * one,
        coefficients=branching * one,
        mean_productivity=one,
    )


@pytest.fixture(scope="module")
def excited() -> Events:
    """Sixty days of history and sixty held out."""
    return hawkes().simulate(Window(0.0, 120.0), Events([], np.empty((0, 2))), np.random.default_rng(8))


@pytest.fixture(scope="module")
def right(excited: Events) -> Diagnosis:
    return diagnose([(hawkes(), WINDOWS)], excited, GRID, rng=np.random.default_rng(0))


@pytest.fixture(scope="module")
def wrong(excited: Events) -> Diagnosis:
    """A Poisson process of the right mean rate."""
    model = Uniform(domain=BOX, rate=len(excited.between(Window(60.0, 120.0))) / 60)
    return diagnose([(model, WINDOWS)], excited, GRID, rng=np.random.default_rng(0))


def test_the_truth_passes(right: Diagnosis, excited: Events) -> None:
    assert right.times.n == len(excited.between(Window(60.0, 120.0))) == len(right.levels)
    assert right.times.ks.p_value > 0.01
    assert right.times.lag.p_value > 0.01
    assert right.thinned.cells.p_value > 0.01
    assert right.level.low < 0 < right.level.high
    assert right.levels_ks.p_value > 0.01
    assert right.fds["low"] < 0 < right.fds["high"]
    assert right.cells is not None
    assert right.cells.discrimination > right.cells.miscalibration
    assert right.table["expected_count"].sum() == pytest.approx(right.times.n, rel=0.2)


def test_poisson_fitted_to_self_exciting_events_fails(wrong: Diagnosis, right: Diagnosis) -> None:
    assert wrong.times.ks.p_value < 1e-6
    assert wrong.times.lag.p_value < 1e-3
    assert wrong.times.variation > 1.2
    assert wrong.thinned.cells.p_value < 1e-6
    assert wrong.fds["claimed"] == pytest.approx(1)
    text = "\n".join(wrong.lines())
    assert "bursts and lulls are left" in text
    assert "misfit;" in text
    assert "bursts and lulls" not in "\n".join(right.lines())


def test_words_and_json_say_the_same(right: Diagnosis) -> None:
    found = json.loads(json.dumps(right.to_json_dict(), allow_nan=False))
    assert found["model"] == "hawkes"
    assert (found["windows"], found["events"]) == (60, right.times.n)
    assert found["super_thinning"]["kept"] + found["super_thinning"]["added"] == len(right.thinned.x)
    cells = found["cells"]
    assert cells["score"] == pytest.approx(cells["miscalibration"] - cells["discrimination"] + cells["uncertainty"])
    text = "\n".join(right.lines())
    assert f"KS D = {found['times']['ks_distance']:.3f}" in text
    assert f"{found['places']['mean_level']:.3f}" in text
    assert "1970-03-02 00:00 to 1970-05-01 00:00 UTC: 60 windows" in text


def test_refits_pool_to_one(right: Diagnosis, excited: Events) -> None:
    """Two segments of the same model say of times and places what one says."""
    told: list[tuple[str, int, int]] = []
    halves = [(hawkes(), WINDOWS[:25]), (hawkes(), []), (hawkes(), WINDOWS[25:])]
    found = diagnose(halves, excited, GRID, rng=np.random.default_rng(0), progress=lambda *state: told.append(state))
    np.testing.assert_allclose(found.times.gaps, right.times.gaps, atol=1e-9)
    np.testing.assert_allclose(found.table["fds"], right.table["fds"])
    assert found.thinned.duration == pytest.approx(60)
    assert found.thinned.rate == pytest.approx(right.thinned.rate)
    assert told[-1] == ("hawkes", 60, 60)


def test_overlapping_windows_count_each_event_once_in_residuals(right: Diagnosis, excited: Events) -> None:
    found = diagnose(
        [(hawkes(), list(Window(60.0, 120.0).rolling(1.0, 3.0)))], excited, GRID, rng=np.random.default_rng(0)
    )
    np.testing.assert_allclose(found.times.gaps, right.times.gaps, atol=1e-9)
    assert len(found.levels) > 2 * found.times.n
    assert found.level.block_length >= 3


def test_gaps_between_windows_are_left_out(excited: Events) -> None:
    windows = list(Window(60.0, 120.0).rolling(2.0, 1.0))
    found = diagnose([(hawkes(), windows)], excited, GRID, rng=np.random.default_rng(0))
    assert found.times.n == sum(len(excited.between(w)) for w in windows)
    assert found.thinned.duration == pytest.approx(30)


def test_same_seed_same_page(right: Diagnosis, excited: Events) -> None:
    again = diagnose([(hawkes(), WINDOWS)], excited, GRID, rng=np.random.default_rng(0))
    assert again.to_json_dict() == right.to_json_dict()


@pytest.mark.slow
def test_a_page_is_drawn(right: Diagnosis, wrong: Diagnosis, tmp_path: Path) -> None:
    for diagnosis in (right, wrong):
        figure = draw(diagnosis)
        assert len(figure.axes) == 6
        for ax in figure.axes:
            assert ax.get_xlabel()
            assert ax.get_ylabel()
            assert ax.get_title(loc="left")
        figure.savefig(tmp_path / "page.png", dpi=40)
        assert (tmp_path / "page.png").stat().st_size > 10_000


@pytest.mark.slow
@pytest.mark.parametrize("d", [1, 4])
def test_other_dimensions(d: int, tmp_path: Path) -> None:
    box, rng = Box((0.0,) * d, (1.0,) * d), np.random.default_rng(1)
    events = Events(np.sort(rng.uniform(0, 30, 300)), box.sample(300, rng))
    grid = Grid.over(box, 20) if d == 1 else None
    windows = list(Window(10.0, 30.0).rolling(1.0))
    found = diagnose([(Uniform(domain=box, rate=10.0), windows)], events, grid, rng=rng)
    assert (found.cells is None) == (d == 4)
    assert ("cells" in found.to_json_dict()) == (d == 1)
    assert not any(line.startswith("cells") for line in found.lines()) or d == 1
    draw(found).savefig(tmp_path / "page.png", dpi=40)


def test_a_window_without_weight_has_no_fds(excited: Events) -> None:
    quiet = excited.take((excited.t < 70) | (excited.t > 72))
    found = diagnose([(hawkes(), WINDOWS)], quiet, GRID, rng=np.random.default_rng(0))
    empty = int((found.table["events"] == 0).sum())
    assert empty >= 2
    assert found.table["fds"].isna().sum() == found.level.excluded == empty
    assert found.fds["windows"] == 60 - empty


def test_nothing_to_diagnose_is_an_error(excited: Events) -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="no held-out windows"):
        diagnose([(hawkes(), [])], excited, GRID, rng=rng)
    with pytest.raises(ValueError, match="no events in the 1 held-out windows"):
        diagnose([(hawkes(), [Window(500.0, 501.0)])], excited, GRID, rng=rng)


@pytest.mark.skipif(not QUAKES.is_file(), reason="needs the Japanese earthquakes in ../shared/data")
def test_on_earthquakes_a_historical_average_misses_the_bursts() -> None:
    import pandas as pd

    frame = pd.read_parquet(QUAKES)
    days = (frame["t"] - frame["t"].iloc[0]).dt.total_seconds() / 86400
    events = Events(days.to_numpy(), frame[["x0", "x1"]].to_numpy()).between(Window(2000.0, 3100.0))
    events = events.inside(box := Box.around(events.before(2735.0).x))
    past = Window(2000.0, 2735.0)
    model = HistoricalAverage(domain=box, horizon=7.0).fit(events.before(past.end), past)
    windows = list(Window(2735.0, 3099.0).rolling(7.0))
    found = diagnose([(model, windows)], events, Grid.over(box, 40), rng=np.random.default_rng(0))
    assert len(found.table) == 52
    assert found.times.ks.p_value < 1e-6
    assert found.times.lag.p_value < 0.01
    assert found.thinned.cells.p_value < 1e-6
