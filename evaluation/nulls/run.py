"""A null test from end to end: what the verb does, for scripts and notebooks as well."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Unpack

from evaluation.backtests.plan import Contest, Plan, set_up
from evaluation.nulls import chosen_nulls
from evaluation.nulls.families import draw_nulls
from evaluation.nulls.files import save_nulls
from evaluation.nulls.interaction import close_scales
from evaluation.nulls.significance import check_request, significance
from evaluation.nulls.statistics import make_statistic
from evaluation.nulls.worlds import NullResult, analysed
from stpp.compute.progress import Progress
from stpp.dates import duration, in_words
from stpp.events import Events
from stpp.intensity import IntensityModel
from stpp.runs.manifest import Source, arguments_of, describe_run, resumed, source_of, write_manifest

logger = logging.getLogger(__name__)


def null_test(
    events: Events | Source | str | Path,
    model: str = "hawkes",
    *,
    null: Sequence[str] = ("time-shuffle",),
    statistic: str = "information-gain",
    distance: float | None = None,
    delay: str | float | None = None,
    options: Mapping[str, object] | None = None,
    B: int = 199,
    backend: str = "loky",
    scheduler: str | None = None,
    output: str | Path | None = None,
    seed: int = 0,
    jobs: int | None = None,
    force: bool = False,
    progress: Progress | None = None,
    **contest: Unpack[Contest],
) -> list[NullResult]:
    """Is it chance? Test a statistic, refit included, against null worlds without the structure it measures.

    With ``output`` a run directory with all values and their picture. Interrupted, the same call goes on from its last
    finished world.

    Parameters
    ----------
    events : as in :func:`evaluate`
    model : whose statistic is tested
    null : keys of :data:`evaluation.NULLS`, or ``all``
    statistic : a key of :data:`evaluation.nulls.statistics.STATISTICS`
    distance, delay : knox: what counts as near in place and time; the closest 1 % of pairs by default
    options, B, backend, scheduler, output, seed, jobs, force, progress : as in :func:`evaluation.evaluate`
    contest : when to train, what to forecast and where to score, as in :func:`evaluation.evaluate`

    Returns
    -------
    one result per null × value of the statistic

    Raises
    ------
    ValueError
        in one sentence with the way out

    Examples
    --------
    >>> null_test("data/planted.parquet", B=3)
    Traceback (most recent call last):
    ValueError: 3 null worlds allow no p of 0.05 or below: take -B 19 or more
    """
    started, arguments = time.perf_counter(), arguments_of(null_test, locals())
    output = None if output is None else Path(output)
    check_request(names := chosen_nulls(null), B, backend, scheduler)
    source = source_of(events, output)
    plan, models = set_up(source.events, [model], seed=seed, options=options, **contest)
    description = describe_run("null", seed, source, arguments, B=B)
    with resumed(output, description, force=force) as directory:
        journal = directory / "nulls.jsonl" if directory else None
        tested = against_nulls(
            source.events,
            names,
            models,
            plan,
            statistic=statistic,
            distance=distance,
            delay=None if delay is None else duration(delay),
            B=B,
            seed=seed,
            jobs=jobs,
            backend=backend,
            scheduler=scheduler,
            journal=journal,
            progress=progress,
        )
        if directory:
            write_nulls(tested, directory)
            write_manifest(directory, description, source, started)
    return tested


def against_nulls(
    events: Events,
    nulls: Sequence[str],
    models: Mapping[str, IntensityModel],
    plan: Plan,
    *,
    statistic: str = "information-gain",
    distance: float | None = None,
    delay: float | None = None,
    B: int,
    seed: int,
    jobs: int | None,
    backend: str,
    scheduler: str | None,
    journal: Path | None,
    progress: Progress | None,
) -> list[NullResult]:
    """A statistic of models against null worlds, with what it needs found where it is not given."""
    seen, context = analysed(events, models[plan.reference].domain, plan)
    if statistic in ("knox", "modified-knox") and None in (distance, delay):
        near = close_scales(seen)
        distance, delay = near[0] if distance is None else distance, near[1] if delay is None else delay
        logger.info("near means within %.3g map units and %s", distance, in_words(delay))
    tested = make_statistic(statistic, dict(models), plan, distance=distance, delay=delay)
    how: dict[str, Any] = {"B": B, "seed": seed, "jobs": jobs, "backend": backend, "scheduler": scheduler}
    return significance(tested, seen, nulls, context, journal=journal, progress=progress, **how)


def write_nulls(tested: Sequence[NullResult], directory: Path) -> None:
    """What a null test found, into its run directory; its journal is done with."""
    save_nulls(tested, directory / "nulls.json")
    draw_nulls(tested).savefig(directory / "nulls.png")
    (directory / "nulls.jsonl").unlink()
