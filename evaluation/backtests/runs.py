"""Run directories of evaluations: what a backtest found, written, and read back."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from evaluation.backtests.backtest import BacktestResult, best_and_worst
from evaluation.backtests.plan import Plan
from evaluation.backtests.store import Store
from evaluation.comparison import information_gain_intervals
from stpp.domain import Array, Box
from stpp.events import Window
from stpp.intensity import IntensityModel
from stpp.models.stored import load_model
from stpp.runs.forecasts import read_forecasts, write_forecasts
from stpp.runs.manifest import read_again, read_manifest

WORK = "work"
"""Folder inside an unfinished run directory for what a resumed backtest needs."""

DONE = "work.done"
"""What it is called while it is removed, so that no run goes on from half of it."""


def open_store(directory: Path) -> Store:
    """The store of an unfinished run directory, new or as an interrupted backtest left it."""
    shutil.rmtree(directory / DONE, ignore_errors=True)
    work = directory / WORK
    work.mkdir(exist_ok=True)
    return Store(work)


def save_result(result: BacktestResult, directory: Path, *, keep_forecasts: bool) -> None:
    """Write what a backtest found, and remove the working files.

    ``scores.parquet`` (the table), ``log_density.parquet`` (a row per scored event, a column per model: ln g),
    ``forecasts.nc`` (where there is a grid) and the fitted models under ``models/NAME/FIRST WINDOW/``.

    Parameters
    ----------
    result : of a backtest with a store from :func:`open_store`
    directory : the unfinished run directory
    keep_forecasts : write every forecast rather than those of the windows that the report maps
    """
    result.table.to_parquet(directory / "scores.parquet", index=False)
    _write_log_density(directory / "log_density.parquet", result.log_density)
    kept = result.kept if keep_forecasts else sorted(best_and_worst(result))
    if result.kept:
        names = list(result.log_density)
        write_forecasts(directory / "forecasts.nc", result.forecasts, names, kept, result.events)
    shutil.copytree(directory / WORK / "models", directory / "models", dirs_exist_ok=True)
    shutil.rmtree((directory / WORK).rename(directory / DONE))


def plan_record(plan: Plan) -> dict[str, Any]:
    """The plan as JSON values, for the manifest."""
    zoom = None if plan.zoom is None else plan.zoom.to_list()
    return asdict(plan) | {"test": [plan.test.start, plan.test.end], "zoom": zoom}


def load_result(directory: Path) -> tuple[BacktestResult, dict[str, Any]]:
    """What ``stpp evaluate -o`` wrote, and its manifest. Only the forecasts that were kept are there.

    Raises
    ------
    ValueError
        if a file is missing or cannot be read (it is named), or the events file is not what it was
    """
    manifest = read_manifest(directory, "stpp evaluate -o")
    events = read_again(manifest).events
    try:
        record = manifest["plan"]
        zoom = None if record["zoom"] is None else Box.from_flat(record["zoom"])
        plan = Plan(**(record | {"test": Window(*record["test"]), "zoom": zoom}))
        domain = Box.from_flat(manifest["box"])
        table = pd.read_parquet(directory / "scores.parquet")
        log_density = _read_log_density(directory / "log_density.parquet", len(plan.windows))
        kept = directory / "forecasts.nc"
        forecasts = read_forecasts(kept, plan.windows) if kept.is_file() else {}
    except (KeyError, TypeError, OSError, pa.ArrowException) as error:
        raise ValueError(f"{directory} is not a run of 'stpp evaluate -o' ({error!s:.80}): evaluate again") from error
    gains = {str(name): part["information_gain"].to_numpy() for name, part in table.groupby("model", sort=False)}
    weight = table.loc[table["model"] == plan.reference, "weight"].to_numpy()
    rng = np.random.default_rng(manifest["seed"])
    intervals = information_gain_intervals(gains, weight, overlap=plan.overlap, rng=rng)
    cost = pd.DataFrame.from_dict(manifest["cost"], orient="index").loc[list(gains)]
    last = {name: load_fits(directory, name, plan.windows)[-1][0].remark for name in gains}
    remarks = {name: remark for name, remark in last.items() if remark}
    inside = events.inside(domain)
    result = BacktestResult(plan, domain, inside, table, intervals, log_density, cost, forecasts, remarks)
    return result, manifest


def load_fits(directory: Path, model: str, windows: Sequence[Window]) -> list[tuple[IntensityModel, Sequence[Window]]]:
    """The fits of a model, each with the windows that it forecast.

    Raises
    ------
    ValueError
        if the run has no such model
    """
    there = sorted(path.name for path in (directory / "models").glob("*"))
    if model not in there:
        raise ValueError(f"{directory} has no fits of '{model}'; there are: {', '.join(there) or 'none'}")
    folders = sorted((directory / "models" / model).glob("*"))
    firsts = [int(folder.name) for folder in folders]
    ends = [*firsts[1:], len(windows)]
    return [(load_model(folder), windows[first:end]) for folder, first, end in zip(folders, firsts, ends, strict=True)]


def _write_log_density(path: Path, log_density: Mapping[str, Sequence[Array]]) -> None:
    per_window = next(iter(log_density.values()))
    window = np.repeat(np.arange(len(per_window), dtype=np.int32), [len(values) for values in per_window])
    columns = {name: np.concatenate(values) for name, values in log_density.items()}
    pq.write_table(pa.table({"window": window, **columns}), path)


def _read_log_density(path: Path, windows: int) -> dict[str, list[Array]]:
    table = pd.read_parquet(path)
    edges = np.searchsorted(table["window"].to_numpy(), np.arange(1, windows))
    return {name: np.split(table[name].to_numpy(), edges) for name in table.columns[1:]}
