"""Forecasts issued again from a finished evaluation are those that it scored, and see nothing of the future."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from evaluation.backtests.backtest import BacktestResult
from evaluation.backtests.reissue import forecasts_of, reissued
from evaluation.backtests.runs import load_result
from stpp.domain import Box
from stpp.events import Events

pytestmark = pytest.mark.slow

MODELS = ("historical-average", "decaying-kde", "hawkes")

WORDS = {
    "fitted once": [],
    "refitted": ["--refit", 3],
    "looking back ten days": ["--refit", 3, "--history", "10d"],
    "overlapping windows": ["--refit", 4, "--horizon", "2d"],
}


@pytest.fixture(scope="module", params=list(WORDS))
def whole(request, stpp, events, tmp_path_factory) -> Path:
    """Of eight windows, all forecasts of which are kept."""
    path = tmp_path_factory.mktemp("reissue") / "run"
    words = ["--models", "decaying-kde,hawkes", "--test-start", "2020-01-31", "--test-end", "2020-02-08"]
    words += ["--grid", 12, *WORDS[request.param], "--keep-forecasts", "-o", path]
    done = stpp("evaluate", events, *words)
    assert done.exit_code == 0, done.stderr
    return path


def few(result: BacktestResult) -> BacktestResult:
    """The same where two windows were kept, as without --keep-forecasts."""
    kept = {(name, k): result.forecast(name, k) for name in MODELS for k in (0, 3)}
    return replace(result, forecasts=kept)


@pytest.mark.parametrize("model", MODELS)
def test_reissued_forecasts_are_those_that_were_scored(whole: Path, model: str) -> None:
    result, _ = load_result(whole)
    heard: list[tuple[str, int, int]] = []
    again = list(reissued(result, whole, model, progress=lambda *said: heard.append(said)))
    windows = result.plan.windows
    assert [one.window for one in again] == list(windows)
    assert heard == [(model, k, len(windows)) for k in range(1, len(windows) + 1)]
    for k, one in enumerate(again):
        kept = result.forecast(model, k)
        np.testing.assert_allclose(one.counts, kept.counts, rtol=3e-7)  # kept in single precision
        assert (one.grid, one.model, one.floor) == (kept.grid, model, kept.floor)
        scored = np.log(one.relative_at(result.scored(k).x))
        np.testing.assert_allclose(scored, result.log_density[model][k], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("model", ["decaying-kde", "hawkes"])
def test_what_comes_after_a_window_starts_changes_nothing_in_its_forecast(whole: Path, model: str) -> None:
    result, _ = load_result(whole)
    k, events = 4, result.events
    late = events.t >= result.plan.windows[k].start
    x = events.x.copy()
    x[late] = np.random.default_rng(0).uniform(x.min(axis=0), x.max(axis=0), (int(late.sum()), 2))
    scrambled = replace(result, events=Events(events.t, x, events.weight * np.where(late, 50, 1), axes=events.axes))
    pairs = zip(reissued(result, whole, model), reissued(scrambled, whole, model), strict=True)
    same = [np.array_equal(a.counts, b.counts) for a, b in pairs]
    assert all(same[: k + 1])
    assert not any(same[k + 2 :])  # not vacuous: later forecasts do look at what was changed


def test_what_was_kept_is_taken_and_what_was_not_is_issued_again(whole: Path, tmp_path: Path) -> None:
    result, _ = load_result(whole)
    kept = list(forecasts_of(result, None, "hawkes"))
    assert all(np.array_equal(one.counts, result.forecast("hawkes", k).counts) for k, one in enumerate(kept))
    part = few(result)
    for ours, one in zip(forecasts_of(part, whole, "hawkes"), kept, strict=True):
        np.testing.assert_allclose(ours.counts, one.counts, rtol=3e-7)
    with pytest.raises(ValueError, match=r"^forecasts of 2 of \d windows are kept: evaluate with --keep-forecasts$"):
        forecasts_of(part, None, "hawkes")
    with pytest.raises(ValueError, match="no model 'moon' was evaluated; there are: historical-average, decaying-kde"):
        forecasts_of(part, whole, "moon")
    with pytest.raises(ValueError, match="has no fits of 'hawkes'; there are: none"):
        forecasts_of(part, tmp_path, "hawkes")
    with pytest.raises(ValueError, match="none over 4 dimensions"):
        reissued(replace(result, domain=Box((0,) * 4, (1,) * 4)), whole, "hawkes")
