"""Coarse times and places: told, and spread out, so that no kernel is fitted to the rounding."""

from __future__ import annotations

import json

import numpy as np
import pytest

import stpp
from stpp.events import Events
from stpp.ingest.resolution import place_steps, spread_out, time_step
from stpp.simulation.branching import simulate_hawkes


def planted(n: int = 4000) -> Events:
    """A Hawkes process of branching ratio 0.6."""
    events, _ = simulate_hawkes(n, seed=3, branching=0.6, decay=1.0, bandwidth=0.03, duration=600.0)
    return Events(events.t, events.x)


@pytest.mark.parametrize("step", [1.0, 0.5, 0.25, 1 / 24])
def test_the_step_of_times_is_found_whatever_they_are_counted_from(step: float) -> None:
    rng = np.random.default_rng(0)
    t = np.floor(rng.uniform(0, 400, 500) / step) * step
    assert time_step(t + 0.123) == pytest.approx(step)
    assert time_step(rng.uniform(0, 400, 500)) == 0
    assert time_step(np.zeros(500)) == 0


def test_a_lattice_is_one_and_copies_are_none() -> None:
    rng = np.random.default_rng(0)
    x = rng.uniform(size=(1000, 2))
    x[:, 1] = np.round(x[:, 1], 1)
    assert place_steps(x) == pytest.approx([0, 0.1])
    copies = np.repeat(rng.uniform(size=(20, 2)), 50, axis=0)
    assert place_steps(copies).tolist() == [0, 0]


def test_events_stay_in_their_step_and_the_draw_is_the_same() -> None:
    events = planted(500)
    coarse = Events(np.floor(events.t), np.round(events.x, 1))
    finer, told = spread_out(coarse)
    again, _ = spread_out(coarse)
    np.testing.assert_array_equal(finer.t, again.t)
    np.testing.assert_array_equal(np.sort(np.floor(finer.t)), coarse.t)
    assert np.abs(np.sort(finer.x, axis=0) - np.sort(coarse.x, axis=0)).max() <= 0.05 + 1e-9
    assert len(told) == 2
    assert spread_out(events) == (events, [])


@pytest.mark.slow
@pytest.mark.parametrize("cut", ["days", "lattice"])
def test_a_planted_branching_ratio_survives_the_rounding(stpp_verb, cut: str, tmp_path) -> None:
    events = planted()
    coarse = (
        Events(np.floor(events.t), events.x) if cut == "days" else Events(events.t, np.round(events.x / 0.05) * 0.05)
    )
    stpp.write_events(coarse, tmp_path / "events.parquet")
    done = stpp_verb("fit", "hawkes", tmp_path / "events.parquet", "--json")
    assert 0.4 < json.loads(done.stdout)["branching_ratio"] < 0.8
    assert "are spread out over" in done.stderr
    assert "ties" in stpp_verb("describe", tmp_path / "events.parquet").stdout


@pytest.fixture
def stpp_verb(request: pytest.FixtureRequest):
    """The command line, under a name that leaves the package its own."""
    return request.getfixturevalue("stpp")
