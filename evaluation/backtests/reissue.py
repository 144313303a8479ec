"""The forecasts of a finished evaluation: those that it kept, or issued again from its fitted models."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import cast

from evaluation.backtests.backtest import BacktestResult, issue
from evaluation.backtests.runs import load_fits
from stpp.compute.progress import Progress
from stpp.domain import MAX_GRID_DIMENSIONS, Grid
from stpp.intensity import Forecast


def forecasts_of(
    result: BacktestResult, directory: Path | None, model: str, progress: Progress | None = None
) -> Iterator[Forecast]:
    """The forecasts of ALL windows of an evaluation by one of its models, in time order.

    Whoever shows forecasts window by window takes them from here: the map and the animations.

    Parameters
    ----------
    result : of :func:`evaluation.backtests.runs.load_result`, or of a backtest with a store
    directory : of the run, whose fits issue what was not kept; None: there are none
    model : one of the result's
    progress : told about every window

    Raises
    ------
    ValueError
        at once, if there is no such model, there is no grid, or forecasts are missing and there are no fits of it
    """
    refuse_no_forecasts(result, model)
    windows = result.plan.windows
    if len(result.kept) == len(windows):
        return _told((result.forecast(model, k) for k in range(len(windows))), model, len(windows), progress)
    if directory is None:
        raise ValueError(
            f"forecasts of {len(result.kept)} of {len(windows)} windows are kept: evaluate with --keep-forecasts"
        )
    return reissued(result, directory, model, progress)


def reissued(
    result: BacktestResult, directory: Path, model: str, progress: Progress | None = None
) -> Iterator[Forecast]:
    """The forecasts of all windows, issued again as the backtest issued them, from the models that it fitted.

    Parameters
    ----------
    result : of :func:`evaluation.backtests.runs.load_result`
    directory : of the run
    model : one of the result's
    progress : told about every window

    Raises
    ------
    ValueError
        at once, if there is no such model, there is no grid, or there are no fits of it
    """
    refuse_no_forecasts(result, model)
    plan, grid = result.plan, Grid.over(result.domain, result.plan.grid)
    fits = load_fits(directory, model, plan.windows)
    issued = (one for fitted, batch in fits for one in issue(fitted, result.events, batch, plan, grid))
    return _told(cast(Iterator[Forecast], issued), model, len(plan.windows), progress)


def refuse_no_forecasts(result: BacktestResult, model: str) -> None:
    """Raise ValueError if there is no such model, or no forecast can be drawn since there is no grid."""
    if model not in result.gains:
        raise ValueError(f"no model '{model}' was evaluated; there are: {', '.join(result.gains)}")
    if result.domain.d > MAX_GRID_DIMENSIONS:
        raise ValueError(f"maps need forecasts on a grid, and there is none over {result.domain.d} dimensions")


def _told(forecasts: Iterator[Forecast], model: str, total: int, progress: Progress | None) -> Iterator[Forecast]:
    for done, forecast in enumerate(forecasts, start=1):
        yield forecast
        if progress is not None:
            progress(model, done, total)
