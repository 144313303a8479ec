"""Scores of forecasts of continuation: cases worked out by hand, calibration without the part of chance, bad input."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score, log_loss, roc_auc_score

from evaluation.continuation import (
    auroc,
    brier,
    calibration_error,
    continuation_scores,
    direction,
    intervals,
    log_score,
    precision_at,
    reliability_table,
    size_errors,
)
from stpp.domain import Array

P = [0.9, 0.6, 0.4, 0.2]
Y = [1.0, 0.0, 1.0, 0.0]


def table_of(p: Array, y: Array, windows: int = 10) -> pd.DataFrame:
    """Forecasts and outcomes, with sizes that halve where something ends."""
    n = len(p)
    frame = pd.DataFrame({"window": np.arange(n) * windows // max(n, 1), "p_continue": p, "continues": y, "share": 0.2})
    frame = frame.assign(next_share=np.where(np.isnan(y), np.nan, np.where(y == 1, 0.3, 0.05)), p_base=0.5)
    return frame.assign(expected_share=0.1, low=0.0, high=0.2, p_grow=p, p_sustained=p, sustained=y, p_persist=p)


def test_scores_by_hand() -> None:
    assert auroc(P, Y) == 0.75  # of four pairs, only 0.4 < 0.6 is in the wrong order
    assert brier(P, Y) == pytest.approx((0.01 + 0.36 + 0.36 + 0.04) / 4)
    assert log_score(P, Y) == pytest.approx(-np.log([0.9, 0.4, 0.4, 0.8]).mean())
    assert direction(P, Y) == (0.5, 0.5)  # called: 0.9 (right) and 0.6 (wrong); missed: 0.4
    assert size_errors([0.1, 0.4], [0.2, 0.1]) == pytest.approx((0.2, math.sqrt(0.05)))
    assert precision_at(P, Y, 0.25) == (1.0, 1.0)
    assert precision_at(P, Y, 0.5) == (0.5, 0.0)  # π is 0.5 as well


def test_ties_at_the_edge_count_in_part() -> None:
    assert precision_at([0.9, 0.5, 0.5, 0.1], [1, 1, 0, 0], 0.5) == (0.75, 0.5)
    assert precision_at([0.5] * 4, [1, 0, 0, 0], 0.5) == (0.25, 0.0)


def test_unknown_labels_are_left_out() -> None:
    p, y = [*P, 0.99, np.nan], [*Y, np.nan, 0.0]
    for score in (auroc, brier, log_score, calibration_error):
        assert score(p, y) == score(P, Y)
    assert size_errors([0.1, 1.0], [0.2, np.nan]) == pytest.approx((0.1, 0.1))
    assert continuation_scores(table_of(np.array(p[:5]), np.array(y[:5])))["cases"] == 4


def test_reliability_has_bins_of_equal_numbers_and_keeps_equal_forecasts_together() -> None:
    rng = np.random.default_rng(0)
    table = reliability_table(rng.uniform(size=200), rng.integers(0, 2, 200))
    assert table["cases"].tolist() == [20] * 10
    assert table["forecast"].is_monotonic_increasing
    assert len(reliability_table(np.full(200, 0.3), rng.integers(0, 2, 200))) == 1
    assert len(reliability_table(rng.uniform(size=35), rng.integers(0, 2, 35))) == 3


def test_the_calibration_error_is_that_of_the_forecast_not_that_of_chance() -> None:
    """Over 200 sets of 300 cases the plain error of perfect forecasts is about 0.08, this one about 0."""
    rng = np.random.default_rng(0)
    plain, right, wrong = [], [], []
    for _ in range(200):
        p = rng.uniform(size=300)
        y = (rng.uniform(size=300) < p).astype(float)
        bins = reliability_table(p, y)
        plain.append(float(((bins["forecast"] - bins["came"]) ** 2).mean()))
        right.append(calibration_error(p, y) ** 2)
        wrong.append(calibration_error(np.clip(p + 0.15, 0, 1), y) ** 2)
    assert np.sqrt(np.mean(plain)) > 0.07
    assert np.sqrt(np.mean(right)) < 0.04
    shift = np.mean((np.clip(np.arange(1000) / 1000 + 0.15, 0, 1) - np.arange(1000) / 1000) ** 2)
    assert np.mean(wrong) == pytest.approx(shift, rel=0.1)


def test_a_table_is_scored_beside_its_baselines() -> None:
    rng = np.random.default_rng(1)
    p = rng.uniform(size=400)
    scores = continuation_scores(table_of(p, (rng.uniform(size=400) < p).astype(float)))
    assert scores["auroc"] > 0.75 > scores["auroc_base"] == 0.5
    assert scores["brier"] < scores["brier_base"] == 0.25
    assert scores["direction_auroc"] == scores["auroc"]  # what continues here grows
    assert 0 < scores["lift_at_10"] <= 1
    assert scores["size_mae"] == pytest.approx(np.mean([0.2, 0.05]), abs=0.02)
    assert scores["size_coverage"] == pytest.approx(0.5, abs=0.1)
    plain = continuation_scores(pd.DataFrame({"p_continue": p, "continues": (p > 0.5).astype(float)}))
    assert set(plain) == {"cases", "auroc", "brier", "log_loss", "calibration_error"}
    assert plain["auroc"] == 1.0


def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    rng = np.random.default_rng(2)
    held = []
    for _ in range(20):
        p = rng.beta(2, 2, size=200)
        y = (rng.uniform(size=200) < p).astype(float)
        frame = pd.DataFrame({"window": np.arange(200) // 8, "p_continue": p, "continues": y})
        rows = intervals(frame, rng, resamples=40).set_index("score")
        assert (rows["low"] <= rows["high"]).all()
        held.append(
            [rows.loc["brier", "low"] <= 0.2 <= rows.loc["brier", "high"], rows.loc["calibration_error", "low"] == 0]
        )
    brier_held, calibrated = np.mean(held, axis=0)  # the Brier score of perfect forecasts is E p(1 − p) = 1/5
    assert brier_held >= 0.8
    assert calibrated >= 0.85


@pytest.mark.parametrize("y", [0.0, 1.0])
def test_one_kind_of_outcome_has_no_auroc_and_no_crash(y: float) -> None:
    scores = continuation_scores(table_of(np.array(P), np.full(4, y)))
    assert math.isnan(scores["auroc"])
    assert math.isfinite(scores["brier"])
    assert math.isfinite(scores["log_loss"])
    assert math.isnan(scores["lift_at_10"]) == (y == 1)


def test_nothing_known_is_not_a_number() -> None:
    for frame in (table_of(np.array(P), np.full(4, np.nan)), table_of(np.empty(0), np.empty(0))):
        scores = continuation_scores(frame)
        assert scores["cases"] == 0
        assert all(math.isnan(value) for name, value in scores.items() if "cases" not in name)
        assert intervals(frame, np.random.default_rng(0), resamples=5)["low"].isna().sum() >= len(scores) - 2


def test_lengths_that_differ_are_refused() -> None:
    with pytest.raises(ValueError, match="2 forecasts, but 1 outcomes"):
        brier([0.1, 0.2], [1])


@given(st.lists(st.tuples(st.sampled_from([0.0, 0.2, 0.5, 0.7, 1.0]), st.booleans()), min_size=1, max_size=30))
@settings(max_examples=40)
def test_scores_are_those_of_scikit_learn(cases: list[tuple[float, bool]]) -> None:
    p, y = np.array([c[0] for c in cases]), np.array([float(c[1]) for c in cases])
    assert log_score(p, y) == pytest.approx(log_loss(y, p, labels=[0, 1]), rel=1e-6)
    if 0 < y.sum() < len(y):
        assert auroc(p, y) == pytest.approx(roc_auc_score(y, p))
        assert direction(p, y)[1] == pytest.approx(f1_score(y, p >= 0.5))


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=60))
def test_scores_stay_in_their_ranges(cases: list[tuple[float, bool]]) -> None:
    p, y = np.array([c[0] for c in cases]), np.array([float(c[1]) for c in cases])
    assert 0 <= brier(p, y) <= 1
    assert log_score(p, y) >= 0
    assert np.isnan(auroc(p, y)) or 0 <= auroc(p, y) <= 1
    assert np.isnan(error := calibration_error(p, y)) or 0 <= error <= 1
    precision, lift = precision_at(p, y, 0.2)
    assert 0 <= precision <= 1
    assert np.isnan(lift) or lift <= 1
