"""Judging forecasts of what continues, grows and lasts: plain arrays and tables, whatever was forecast.

Probabilities are judged by whether they tell the two outcomes apart (AUROC), by proper scores (Brier, log loss), and by
whether a p comes true in a share p of the cases (calibration error).

References
----------
.. [1] Kumar, Liang & Ma (2019). Verified uncertainty calibration. NeurIPS 32. The debiased calibration error, §5.
.. [2] Brier (1950). Verification of forecasts expressed in terms of probability. Monthly Weather Review 78.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.special import xlogy
from scipy.stats import rankdata

from stpp.domain import Array

BINS = 10
"""Bins of equal numbers that calibration is judged in, where there are ``PER_BIN`` cases for each."""

PER_BIN = 10

LEAST = float(np.finfo(float).eps)
"""Probabilities nearer to 0 or 1 count as this near, so that the log of one that was wrong is finite."""

ROUNDING = 1e-9
"""Shares nearer than this are the same."""

KINDS = (
    ("continuation", "p_continue", "continues", "p"),
    ("direction", "p_grow", "grows", "p_grow"),
    ("sustained", "p_sustained", "sustained", "p_sustained"),
)
"""What is judged: kind, column of the forecast, label, prefix of the baselines' columns."""

COLUMNS = (
    *(f"{prefix}_{end}" for _, _, _, prefix in KINDS for end in ("base", "persist")),
    *("p_continue", "p_grow", "p_sustained", "continues", "sustained"),
    *("share", "next_share", "expected_share", "low", "high"),
)
"""Columns of a table that are read, where it has them."""

TOP = (0.1, 0.2)
"""Shares of the most probable cases whose precision is told."""


def auroc(p: ArrayLike, y: ArrayLike) -> float:
    """Probability that a case that came true had a higher forecast than one that did not; NaN with one kind only.

    Parameters
    ----------
    p : (n,) forecast
    y : (n,) outcome, 0 or 1; NaN where unknown, and left out, as in all of these scores
    """
    forecast, outcome = _known(p, y)
    ones = float(outcome.sum())
    if not 0 < ones < len(outcome):
        return math.nan
    ranks = float(rankdata(forecast) @ outcome)  # Mann & Whitney
    return (ranks - ones * (ones + 1) / 2) / (ones * (len(outcome) - ones))


def brier(p: ArrayLike, y: ArrayLike) -> float:
    """Mean squared difference between probability and outcome [2]_; lower is better, proper. NaN without cases."""
    forecast, outcome = _known(p, y)
    return float(((forecast - outcome) ** 2).mean()) if len(outcome) else math.nan


def log_score(p: ArrayLike, y: ArrayLike) -> float:
    """Mean negative log of the probability of what happened, nats; lower is better, proper. NaN without cases."""
    forecast, outcome = _known(p, y)
    if not len(outcome):
        return math.nan
    sure = np.clip(forecast, LEAST, 1 - LEAST)
    return float(-(xlogy(outcome, sure) + xlogy(1 - outcome, 1 - sure)).mean())


def reliability_table(p: ArrayLike, y: ArrayLike, bins: int = BINS) -> pd.DataFrame:
    """What was forecast and what came, in bins of equal numbers of cases; equal forecasts share a bin.

    Parameters
    ----------
    p, y : (n,) forecasts and outcomes
    bins : at most so many, and no more than leave ``PER_BIN`` cases for each

    Returns
    -------
    a row per bin: ``forecast`` (mean), ``came`` (share), ``cases``
    """
    forecast, came, cases = _binned(p, y, bins)
    return pd.DataFrame({"forecast": forecast, "came": came, "cases": cases})


def _binned(p: ArrayLike, y: ArrayLike, bins: int) -> tuple[Array, Array, NDArray[np.int64]]:
    """Mean forecast, share that came and number of cases of each bin that has any."""
    forecast, outcome = _known(p, y)
    n = len(forecast)
    wanted = max(1, min(bins, n // PER_BIN))
    number = np.searchsorted(np.sort(forecast), forecast) * wanted // max(1, n)
    cases = np.bincount(number)
    some = cases > 0
    sums = (np.bincount(number, weights=values)[some] for values in (forecast, outcome))
    mean, came = (total / cases[some] for total in sums)
    return mean, came, cases[some]


def calibration_error(p: ArrayLike, y: ArrayLike, bins: int = BINS) -> float:
    """Root mean square difference between forecast and share over bins of equal numbers, without the part of chance.

    The plain error is above 0 for perfect forecasts too, as shares of few cases differ from any probability; its
    expectation, Σ came (1 − came) / (cases − 1) over bins, is taken off [1]_. 0 where nothing is left, NaN with fewer
    than two cases. With some hundred cases it is still uncertain by several hundredths: see :func:`intervals`.
    """
    squared = _squared_calibration(p, y, bins)
    return math.sqrt(max(0.0, squared)) if math.isfinite(squared) else math.nan


def _squared_calibration(p: ArrayLike, y: ArrayLike, bins: int = BINS) -> float:
    forecast, came, cases = _binned(p, y, bins)
    if not (cases > 1).any():
        return math.nan
    chance = came * (1 - came) / np.maximum(cases - 1, 1)
    return float(np.average((forecast - came) ** 2 - chance, weights=np.where(cases > 1, cases, 0)))


def precision_at(p: ArrayLike, y: ArrayLike, share: float) -> tuple[float, float]:
    """Share of the most probable cases that came true, and its lift over chance, (P@k − π) / (1 − π).

    Parameters
    ----------
    p, y : (n,) forecasts and outcomes
    share : of the cases that are picked, at least one; of cases equally probable at the edge each counts in part

    Returns
    -------
    precision and lift: 0 as good as picking at random, 1 perfect; NaN without cases, the lift also where all came true
    """
    forecast, outcome = _known(p, y)
    if not len(outcome):
        return math.nan, math.nan
    k = max(1, round(share * len(outcome)))
    edge = np.sort(forecast)[-k]
    above, tied = forecast > edge, forecast == edge
    precision = float((outcome[above].sum() + (k - above.sum()) * outcome[tied].mean()) / k)
    rate = float(outcome.mean())
    return precision, (precision - rate) / (1 - rate) if rate < 1 else math.nan


def size_errors(expected: ArrayLike, came: ArrayLike) -> tuple[float, float]:
    """Mean absolute and root mean square error, in the unit of the sizes; NaN without cases."""
    forecast, size = _known(expected, came)
    if not len(size):
        return math.nan, math.nan
    return float(np.abs(forecast - size).mean()), float(np.sqrt(((forecast - size) ** 2).mean()))


def direction(p: ArrayLike, y: ArrayLike) -> tuple[float, float]:
    """Accuracy and F1 of calling it by p ≥ ½; NaN without cases, F1 also where nothing grew and none was called."""
    forecast, outcome = _known(p, y)
    if not len(outcome):
        return math.nan, math.nan
    called = forecast >= 0.5
    both = float(called.sum() + outcome.sum())
    return float((called == outcome).mean()), 2 * float(outcome[called].sum()) / both if both else math.nan


def continuation_scores(table: pd.DataFrame) -> dict[str, float]:
    """All scores of a table of forecasts; those whose columns are missing are left out.

    Parameters
    ----------
    table : a row per case; ``p_continue`` (and the baselines ``p_base``, ``p_persist``) is judged on ``continues``,
        ``p_grow`` (``p_grow_base``, ``p_grow_persist``) on ``next_share > share``, ``p_sustained``
        (``p_sustained_base``, ``p_sustained_persist``) on ``sustained``, ``expected_share`` (baseline: ``share``; with
        ``low`` and ``high``, its interval) on ``next_share``. Labels that are NaN are left out

    Returns
    -------
    ``cases``; ``auroc``, ``brier``, ``log_loss``, ``calibration_error`` of continuation; ``direction_accuracy``,
    ``direction_f1``, ``direction_auroc``, ``direction_brier``; ``sustained_cases``, ``sustained_auroc``,
    ``sustained_brier``, ``precision_at_10``, ``lift_at_10``, … (percent of the fledglings that are picked);
    ``size_mae``, ``size_rmse``; ``size_coverage`` of the interval. Those of the baselines end in ``_base`` and
    ``_persist``
    """
    return _scores(_columns(table))


def _columns(table: pd.DataFrame) -> dict[str, Array]:
    """What is scored, as arrays, with the label ``grows``."""
    columns = {name: table[name].to_numpy(dtype=float) for name in COLUMNS if name in table}
    if {"share", "next_share"} <= set(columns):
        share, came = columns["share"], columns["next_share"]
        columns["grows"] = np.where(np.isnan(came), np.nan, came > share)
    return columns


def _scores(columns: Mapping[str, Array]) -> dict[str, float]:
    out: dict[str, float] = {}
    for kind, column, outcome, prefix in KINDS:
        if outcome in columns and column in columns:
            if kind != "direction":
                cases = len(_known(columns[column], columns[outcome])[0])
                out["cases" if kind == "continuation" else "sustained_cases"] = float(cases)
            for suffix, name in {"": column, "_base": f"{prefix}_base", "_persist": f"{prefix}_persist"}.items():
                if name in columns:
                    scores = _JUDGES[kind](columns[name], columns[outcome])
                    out |= {f"{score}{suffix}": value for score, value in scores.items()}
    if {"expected_share", "next_share"} <= set(columns):
        out |= _sizes(columns)
    return out


def _continuation(p: Array, y: Array) -> dict[str, float]:
    scores = {"auroc": auroc(p, y), "brier": brier(p, y), "log_loss": log_score(p, y)}
    return scores | {"calibration_error": calibration_error(p, y)}


def _direction(p: Array, y: Array) -> dict[str, float]:
    accuracy, f1 = direction(p, y)
    scores = {"direction_accuracy": accuracy, "direction_f1": f1}
    return scores | {"direction_auroc": auroc(p, y), "direction_brier": brier(p, y)}


def _sustained(p: Array, y: Array) -> dict[str, float]:
    out = {"sustained_auroc": auroc(p, y), "sustained_brier": brier(p, y)}
    for share in TOP:
        precision, lift = precision_at(p, y, share)
        out |= {f"precision_at_{share * 100:.0f}": precision, f"lift_at_{share * 100:.0f}": lift}
    return out


_JUDGES: dict[str, Callable[[Array, Array], dict[str, float]]] = {
    "continuation": _continuation,
    "direction": _direction,
    "sustained": _sustained,
}


def _sizes(columns: Mapping[str, Array]) -> dict[str, float]:
    came, out = columns["next_share"], {}
    for suffix, name in (("", "expected_share"), ("_persist", "share")):
        if name in columns:
            out[f"size_mae{suffix}"], out[f"size_rmse{suffix}"] = size_errors(columns[name], came)
    if {"low", "high"} <= set(columns):
        low, high = columns["low"], columns["high"]
        known = np.isfinite(low) & np.isfinite(high) & np.isfinite(came)
        held = (low - ROUNDING <= came) & (came <= high + ROUNDING)
        out["size_coverage"] = float(held[known].mean()) if known.any() else math.nan
    return out


def intervals(
    table: pd.DataFrame, rng: np.random.Generator, *, resamples: int = 300, level: float = 0.95
) -> pd.DataFrame:
    """Scores with bootstrap intervals over windows, since basins of one window share what happens in it.

    Resamples of the calibration error are moved so that their mean is the error itself: drawing cases twice adds the
    noise of another sample.

    Parameters
    ----------
    table : as :func:`continuation_scores` takes it, with the column ``window``
    rng : draws the windows
    resamples : bootstrap samples of whole windows
    level : of the intervals

    Returns
    -------
    a row per score: ``score``, ``value``, ``low``, ``high`` (NaN where a score is, or with fewer than two windows)
    """
    columns = _columns(table)
    value, rows = _scores(columns), [np.asarray(part) for part in table.groupby("window").indices.values()]
    names = list(value)
    calibrated = {name: _calibrated_columns(name) for name in names if name.startswith("calibration_error")}
    draws = np.full((resamples, len(names)), np.nan)
    if len(rows) > 1:
        for b in range(resamples):
            picked = np.concatenate([rows[k] for k in rng.integers(len(rows), size=len(rows))])
            drawn = {name: column[picked] for name, column in columns.items()}
            scores = _scores(drawn)
            scores |= {name: _squared_calibration(drawn[p], drawn["continues"]) for name, p in calibrated.items()}
            draws[b] = [scores[name] for name in names]
    for j, name in enumerate(names):
        if name in calibrated and np.isfinite(draws[:, j]).any():
            squared = _squared_calibration(columns[calibrated[name]], columns["continues"])
            draws[:, j] = np.sqrt(np.maximum(0, draws[:, j] - np.nanmean(draws[:, j]) + squared))
    tails = [(1 - level) / 2, (1 + level) / 2]
    bounds = [np.quantile(d, tails) if len(d := column[np.isfinite(column)]) else (np.nan,) * 2 for column in draws.T]
    low, high = zip(*bounds, strict=True) if bounds else ((), ())
    return pd.DataFrame({"score": names, "value": list(value.values()), "low": low, "high": high})


def _calibrated_columns(name: str) -> str:
    return {"": "p_continue", "_base": "p_base", "_persist": "p_persist"}[name.removeprefix("calibration_error")]


def _known(p: ArrayLike, y: ArrayLike) -> tuple[Array, NDArray[np.float64]]:
    """Forecasts and outcomes where both are known.

    Raises
    ------
    ValueError
        if they differ in number
    """
    forecast, outcome = np.asarray(p, dtype=float).ravel(), np.asarray(y, dtype=float).ravel()
    if forecast.shape != outcome.shape:
        raise ValueError(f"{len(forecast)} forecasts, but {len(outcome)} outcomes: give one of each per case")
    known = np.isfinite(forecast) & np.isfinite(outcome)
    return forecast[known], outcome[known]
