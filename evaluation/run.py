"""Evaluations, null tests and diagnoses from end to end: what the verbs do, for scripts and notebooks as well.

The same call gives the same run directory, whether a script or the command line makes it.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from evaluation.backtests.backtest import BacktestResult, backtest
from evaluation.backtests.plan import set_up
from evaluation.backtests.runs import load_result, open_store, plan_record, save_result
from evaluation.diagnosis.held_out import Judgement, judge, load_held_out
from evaluation.nulls import chosen_nulls
from evaluation.nulls.families import null_lines
from evaluation.nulls.files import load_nulls, save_nulls
from evaluation.nulls.run import against_nulls
from evaluation.nulls.significance import check_request
from evaluation.nulls.worlds import NullResult
from evaluation.report.animation import animate as animate_model
from evaluation.report.animation import check_animation
from evaluation.report.diagnosis_page import draw
from evaluation.report.map_part import EvaluationPart
from evaluation.report.report import leaderboard, write_report
from stpp.compute.progress import Progress
from stpp.dates import duration
from stpp.domain import Box
from stpp.events import Events
from stpp.files.outputs import new_file, unfinished
from stpp.maps import links
from stpp.maps.run import draw_run
from stpp.runs.manifest import Source, arguments_of, describe_run, essence, resumed, source_of, write_manifest

logger = logging.getLogger(__name__)

MODELS = ("historical-average", "decaying-kde", "hawkes")
"""What is compared where nothing is named."""


@dataclass(frozen=True, eq=False, repr=False)
class Evaluation:
    """What :func:`evaluate` found.

    Parameters
    ----------
    result : the backtest: scores of every model and window, forecasts that were kept
    nulls : gains held against null worlds, if any were asked for
    output : the run directory, if one was

    Examples
    --------
    >>> when = {"test_start": 40, "test_end": 42, "grid": 10, "reference": "uniform"}
    >>> print(str(evaluate("data/planted.parquet", ["uniform"], **when)).splitlines()[1][:7])
    uniform
    """

    result: BacktestResult
    nulls: tuple[NullResult, ...] = ()
    output: Path | None = None

    def __str__(self) -> str:
        told = ["", *null_lines(self.nulls)] if self.nulls else self._whose
        return "\n".join([leaderboard(self.result), *told])

    def __repr__(self) -> str:
        return str(self)

    @property
    def _whose(self) -> list[str]:
        """Where authors are known, which null tells who posts what from interaction, with the command."""
        rivals = [name for name in self.result.gains if name not in (self.result.plan.reference, "uniform")]
        if len(self.result.events.authors) < 2 or not rivals:
            return []
        command = f"stpp null EVENTS --model {rivals[0]} --null within-author"
        return [f"a gain may be who posts what rather than interaction: '{command}' tells them apart"]

    def _repr_html_(self) -> str:
        return self.leaderboard().to_html(float_format="{:.4f}".format)

    def leaderboard(self) -> pd.DataFrame:
        """Models by information gain: see :meth:`evaluation.BacktestResult.leaderboard`."""
        return self.result.leaderboard()

    def to_json_dict(self) -> dict[str, Any]:
        """What ``stpp evaluate --json`` prints."""
        extra = {"nulls": [one.to_json_dict() for one in self.nulls]} if self.nulls else {}
        return self.result.to_json_dict() | extra


def evaluate(
    events: Events | Source | str | Path,
    models: Sequence[str] = MODELS,
    *,
    train_start: str | float | None = None,
    test_start: str | float | None = None,
    test_end: str | float | None = None,
    step: str | float = "1d",
    horizon: str | float | None = None,
    history: str | float | None = None,
    grid: int = 100,
    box: Box | Sequence[float] | None = None,
    zoom: Box | Sequence[float] | None = None,
    refit: int | None = None,
    reference: str = "historical-average",
    options: Mapping[str, object] | None = None,
    nulls: Sequence[str] = (),
    B: int = 199,
    backend: str = "loky",
    scheduler: str | None = None,
    keep_forecasts: bool = False,
    animate: Sequence[str] = (),
    images: str | Path = "image_outputs",
    output: str | Path | None = None,
    seed: int = 0,
    jobs: int | None = None,
    force: bool = False,
    progress: Progress | None = None,
) -> Evaluation:
    """Backtest models on rolling forecasts and rank them by information gain.

    With ``output`` a run directory: scores, forecasts, fitted models, a report and a map. Interrupted, the same call
    goes on from its last finished window.

    Parameters
    ----------
    events : a file that :func:`stpp.ingest` wrote or reads, or events in memory
    models : names in :data:`stpp.MODELS`; ``basins:METHOD`` is a finder's
    train_start : training starts; earlier events are history only. ISO date or days since the events' epoch
    test_start : first forecast; two thirds of the way by default
    test_end : the last forecast window ends by then; the last event by default
    step : from one forecast to the next: days, or a word such as ``6h``
    horizon : length of each forecast; the step by default
    history : how far to look back; everything by default
    grid : cells per axis
    box : the domain; around the training events by default
    zoom : score events in this box only; training sees all
    refit : fit anew every so many windows; only once by default
    reference : gain is measured against it
    options : of the models, see ``stpp fit MODEL --help``
    nulls : test the gains against these null worlds, keys of :data:`evaluation.NULLS` or ``all``
    B : null worlds; the smallest p is 1/(B + 1)
    backend, scheduler : where null worlds are computed: ``loky``, or ``dask`` and its address
    keep_forecasts : keep every forecast, not only those that the report shows
    animate, images : films of these models' forecasts, and the folder for them
    output : the run directory
    seed : of all randomness; the same seed gives the same bytes
    jobs : processor cores for null worlds; all by default
    force : replace what exists
    progress : told (stage, done, in all)

    Returns
    -------
    the scores with their intervals, and the null tests

    Raises
    ------
    ValueError
        in one sentence with the way out: no such model, option or null, dates that leave nothing to train on or to
        forecast, an output that exists

    Examples
    --------
    >>> from evaluation import evaluate
    >>> found = evaluate("data/planted.parquet", ["uniform"], train_start=0, test_start=40, test_end=42, grid=20)
    >>> found.leaderboard()["information_gain"].round(1).tolist()
    [0.0, -0.7]
    """
    started, arguments = time.perf_counter(), arguments_of(evaluate, locals())
    output, images = None if output is None else Path(output), Path(images)
    if (animate or keep_forecasts) and not output:
        raise ValueError("--animate and --keep-forecasts need -o RUN: name an output")
    source = source_of(events, output)
    plan, contenders = set_up(
        source.events,
        models,
        train_start=train_start,
        test_start=test_start,
        test_end=test_end,
        step=step,
        horizon=horizon,
        history=history,
        grid=grid,
        box=box,
        zoom=zoom,
        refit=refit,
        reference=reference,
        seed=seed,
        options=options,
    )
    again = force or (output is not None and unfinished(output).exists())
    check_animation(animate, list(contenders), images, source.events.d, force=again)
    learning = {name: model for name, model in contenders.items() if name != "uniform" or name == plan.reference}
    if nulls:
        check_request(nulls := chosen_nulls(nulls), B, backend, scheduler)
        if len(learning) == 1:
            raise ValueError("null worlds test models that learn from the past: name one beside the reference")
    domain = contenders[plan.reference].domain.to_list()
    names = list(contenders)
    description = describe_run("evaluate", seed, source, arguments, plan=plan_record(plan), box=domain, models=names)
    with resumed(output, description, force=force) as directory:
        store, rng = open_store(directory) if directory else None, np.random.default_rng(seed)
        result = backtest(source.events, contenders, plan, rng=rng, progress=progress, store=store)
        journal = store.directory / "nulls.jsonl" if store else None
        where: dict[str, Any] = {"backend": backend, "scheduler": scheduler, "jobs": jobs}
        tested = (
            against_nulls(
                source.events, nulls, learning, plan, B=B, seed=seed, journal=journal, progress=progress, **where
            )
            if nulls
            else []
        )
        if directory:
            _films(result, animate, images, force=again, progress=progress)
            title = f"Forecasts of {source.path.name}"
            linked = draw_run(EvaluationPart.of(result, source), directory, title, progress=progress)
            write_report(result, directory, title=title, manifest=essence(description), nulls=tested, linked=linked)
            if tested:
                save_nulls(tested, directory / "nulls.json")
            save_result(result, directory, keep_forecasts=keep_forecasts)
            write_manifest(directory, description, source, started, cost=result.cost.to_dict(orient="index"))
    return Evaluation(result, tuple(tested), output)


def diagnose(
    run: str | Path,
    *,
    model: str | None = None,
    step: str | float = "1d",
    mark: str | None = None,
    grid: int = 100,
    seed: int = 0,
    progress: Progress | None = None,
) -> Judgement:
    """Check a fit, or a model of an evaluation, on the events after its training: residuals and calibration.

    Draws one page, ``RUN/diagnosis-MODEL.png``, and writes the numbers beside it.

    Parameters
    ----------
    run : directory of a fit or an evaluation
    model : of an evaluation; the first beside the reference by default
    step : window after a fit's training time
    mark : test the distribution of this numeric mark, such as a magnitude
    grid : cells per axis
    seed, progress : as in :func:`evaluate`

    Raises
    ------
    ValueError
        if it is no such run, or nothing came after its training

    Examples
    --------
    >>> diagnose("data")
    Traceback (most recent call last):
    ValueError: data/manifest.json is missing: give a directory that 'stpp fit -o' wrote
    """
    held = load_held_out(Path(run), model, duration(step))
    rng = np.random.default_rng(seed)
    found = judge(held, cells=grid, mark=mark, rng=rng, progress=progress)
    page = Path(run) / f"diagnosis-{found.diagnosis.model}.png"
    with new_file(page, force=True) as picture, new_file(page.with_suffix(".json"), force=True) as numbers:
        draw(found.diagnosis).savefig(picture, format="png")
        numbers.write_text(json.dumps(found.to_json_dict(), indent=1) + "\n")
    return found


def report_run(
    run: str | Path,
    *,
    animate: Sequence[str] = (),
    images: str | Path = "image_outputs",
    force: bool = False,
    progress: Progress | None = None,
) -> BacktestResult:
    """Write the report of an evaluation anew, and animate its forecasts.

    Parameters
    ----------
    run : directory of an evaluation
    animate, images, force, progress : as in :func:`evaluate`

    Raises
    ------
    ValueError
        if it is no such run, or its events are gone

    Examples
    --------
    >>> report_run("data")
    Traceback (most recent call last):
    ValueError: data/manifest.json is missing: give a directory that 'stpp evaluate -o' wrote
    """
    run = Path(run)
    result, manifest = load_result(run)
    title = f"Forecasts of {Path(manifest['input']['path']).name}"
    beside: dict[str, Any] = {"nulls": load_nulls(run / "nulls.json"), "linked": (run / links.NAME).is_file()}
    write_report(result, run, title=title, manifest=essence(manifest), **beside)
    _films(result, animate, Path(images), force=force, progress=progress)
    return result


def _films(
    result: BacktestResult, models: Sequence[str], images: Path, *, force: bool, progress: Progress | None
) -> None:
    if models and len(result.kept) < len(result.plan.windows):
        kept = f"{len(result.kept)} of {len(result.plan.windows)} windows are kept"
        logger.info("%s, and only these can be animated: evaluate with --keep-forecasts for all", kept)
    for model in models:
        for path in animate_model(result, model, images, force=force, progress=progress):
            logger.info("animation  %s", path)
