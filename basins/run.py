"""Analyses of basins from end to end: what the verbs do, for scripts and notebooks as well.

The same call gives the same run directory, whether a script or the command line makes it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from basins.analysis import Analysis, analyse, tested
from basins.finders import make_finder
from basins.report.map_part import BasinsPart
from basins.report.report import write_report
from basins.report.tables import write_tables
from basins.tracks.course import Plan, regions_before, set_up
from basins.tracks.significance import BasinStatistic
from evaluation.continuation import continuation_scores, intervals
from evaluation.nulls import chosen_nulls
from evaluation.nulls.run import write_nulls
from evaluation.nulls.significance import check_request, significance
from evaluation.nulls.worlds import Context, NullResult
from stpp.compute.progress import Progress
from stpp.dates import day_of, duration
from stpp.domain import Box
from stpp.events import Events, Window
from stpp.ingest.columns import texts_of
from stpp.maps.run import draw_run
from stpp.planning.whatif import what_if as what_if_model
from stpp.planning.whatif_report import WhatIf
from stpp.runs.fits import load_run
from stpp.runs.manifest import Source, arguments_of, describe_run, read_again, resumed, source_of, write_manifest

FEW_WORLDS = 19
"""Null worlds by default, for the finder that is quick enough for them."""


def find(
    events: Events | Source | str | Path,
    method: str | None = None,
    *,
    window: str | float = "7d",
    half_life: str | float | None = None,
    link: str = "hungarian",
    start: str | float | None = None,
    end: str | float | None = None,
    test_start: str | float | None = None,
    box: Box | Sequence[float] | None = None,
    options: Mapping[str, object] | None = None,
    texts: bool = False,
    null: Sequence[str] = ("time-shuffle",),
    B: int | None = None,
    output: str | Path | None = None,
    seed: int = 0,
    jobs: int | None = None,
    force: bool = False,
    progress: Progress | None = None,
) -> Analysis:
    """Which regions hold and attract discourse in each window, how strong are they, and which will persist?

    Basins are found in every window, measured, followed from window to window, named, and held against null worlds.
    With ``output`` a run directory: a report, a map, tables. Interrupted, the same call goes on from its last finished
    null world.

    Parameters
    ----------
    events : a file that :func:`stpp.ingest` wrote or reads, or events in memory
    method : a key of :data:`basins.FINDERS`; ``density`` up to 3 dimensions by default, else ``markov``
    window : length of the time windows: days, or a word such as ``7d``
    half_life : earlier posts count too, half after so long
    link : how basins are followed: ``hungarian`` or ``soft``
    start, end : dates; the first event and the last by default
    test_start : space and tuning are learned before; half of the way by default
    box : the domain; around the training events by default
    options : of the finder, see ``stpp basins --help``
    texts : quote the posts nearest to the peaks in the report
    null : keys of :data:`evaluation.NULLS`, or ``all``
    B : null worlds, 0 for none; 19 for ``density`` and 0 for the others by default
    output : the run directory
    seed : of all randomness; the same seed gives the same bytes
    jobs : processor cores for null worlds; all by default
    force : replace what exists
    progress : told (stage, done, in all)

    Returns
    -------
    windows with their basins, tracks, forecasts, scores and tests

    Raises
    ------
    ValueError
        in one sentence with the way out: no such method, option or null, too few windows, an output that exists

    Examples
    --------
    >>> from basins import find
    >>> found = find("data/planted.parquet", window="20d", B=0)
    >>> [len(one.basins) for one in found.found]
    [5, 7]
    """
    started, arguments = time.perf_counter(), arguments_of(find, locals())
    output = None if output is None else Path(output)
    source = source_of(events, output)
    finder = make_finder(method, source.events.d, options)
    plan = set_up(
        source.events,
        finder,
        window=duration(window),
        half_life=None if half_life is None else duration(half_life),
        link=link,
        start=start,
        end=end,
        test_start=test_start,
        box=box,
        seed=seed,
    )
    B = (FEW_WORLDS if finder.name == "density" else 0) if B is None else B
    if B:
        check_request(null := chosen_nulls(null), B, "loky", None)
    windows, domain = len(plan.windows), plan.box.to_list()
    description = describe_run("basins", seed, source, arguments, worlds=B, windows=windows, box=domain)
    with resumed(output, description, force=force) as directory:
        words, title = texts_of(source.events), f"Basins of {source.path.name}"
        found = analyse(source.events, plan, title=title, texts=words, progress=progress)
        journal = directory / "nulls.jsonl" if directory else None
        how: dict[str, Any] = {"seed": seed, "jobs": jobs, "journal": journal, "progress": progress}
        against = _against_nulls(source.events, plan, null, B=B, **how) if B else []
        values = [one.to_json_dict() | {"values": one.values} for one in against]
        sure = intervals(found.forecasts, np.random.default_rng(seed))
        found = tested(found, continuation_scores(found.forecasts), sure, values)
        if directory:
            write_tables(found, source.events, directory)
            linked = draw_run(BasinsPart.of(directory, source), directory, title, progress)
            write_report(found, source.events, directory, texts=texts, linked=linked)
            if journal:
                journal.unlink(missing_ok=True)
            write_manifest(directory, description, source, started)
    return found


def null_test(
    events: Events | Source | str | Path,
    method: str = "density",
    *,
    null: Sequence[str] = ("time-shuffle",),
    window: str | float = "7d",
    train_start: str | float | None = None,
    test_start: str | float | None = None,
    test_end: str | float | None = None,
    box: Box | Sequence[float] | None = None,
    B: int = 199,
    backend: str = "loky",
    scheduler: str | None = None,
    output: str | Path | None = None,
    seed: int = 0,
    jobs: int | None = None,
    force: bool = False,
    progress: Progress | None = None,
) -> list[NullResult]:
    """Is it chance? The whole analysis of basins, made anew on every null world.

    Parameters
    ----------
    events, null, B, backend, scheduler, output, seed, jobs, force, progress : as in :func:`evaluation.null_test`
    method : a key of :data:`basins.FINDERS`
    window : length of the time windows
    train_start, test_start, test_end, box : as ``start``, ``test_start``, ``end`` and ``box`` in :func:`find`

    Returns
    -------
    one result per null × statistic

    Raises
    ------
    ValueError
        as :func:`find`

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
    finder = make_finder(method, source.events.d)
    plan = set_up(
        source.events,
        finder,
        window=duration(window),
        start=train_start,
        test_start=test_start,
        end=test_end,
        box=box,
        seed=seed,
    )
    asked = {"basins": arguments.pop("method", method), **arguments}
    description = describe_run("null", seed, source, asked, worlds=B)
    with resumed(output, description, force=force) as directory:
        journal = directory / "nulls.jsonl" if directory else None
        how: dict[str, Any] = {"seed": seed, "jobs": jobs, "backend": backend, "scheduler": scheduler}
        found = _against_nulls(source.events, plan, names, B=B, journal=journal, progress=progress, **how)
        if directory:
            write_nulls(found, directory)
            write_manifest(directory, description, source, started)
    return found


def _against_nulls(events: Events, plan: Plan, nulls: Sequence[str], **how: Any) -> list[NullResult]:
    """The whole pipeline of basins against null worlds; ``how`` as in :func:`significance`."""
    first = plan.span.start if plan.half_life is None else min(plan.span.start, float(events.t[0]))
    span = Window(first, plan.span.end)
    seen = events.between(span).inside(plan.box)
    context = Context(plan.box, span, plan.windows[0].duration, plan.windows[0].start)
    return significance(BasinStatistic(plan, continuation_scores), seen, nulls, context, **how)


def what_if(
    run: str | Path,
    *,
    add: int,
    at: str | float,
    place: Sequence[float],
    weight: float = 1.0,
    step: str | float = "1d",
    steps: int = 7,
    window: str | float = "7d",
    simulations: int = 200,
    p: float = 0.5,
    seed: int = 0,
    force: bool = False,
    progress: Progress | None = None,
) -> WhatIf:
    """What would N more posts change? Simulate a fitted model with and without them, by common random numbers.

    Parameters
    ----------
    run : directory of a fit
    add : posts
    at : when; nothing from then on is looked at
    place : (d,) where, in map units
    weight : of each post; the mark of a productivity
    step, steps : length of a step, and how many to look ahead
    window : basins are those of so long before
    simulations : of each future
    p : continuation that counts as sustained
    seed : of all randomness
    force : ask even of a time that the model has seen
    progress : told of every future

    Raises
    ------
    ValueError
        if the model has seen the time, or the place is none of its domain; in one sentence with the way out

    Examples
    --------
    >>> import stpp, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = stpp.fit("data/planted.parquet", "uniform", end=40, output=f"{folder}/run")
    ...     found = what_if(f"{folder}/run", add=10, at=40, place=(0.5, 0.5), simulations=10)
    >>> found.extra.mean
    0.0
    """
    fitted = load_run(Path(run))
    model, events = fitted.model, read_again(fitted.manifest).events.inside(fitted.model.domain)
    if (when := day_of(at, events.epoch)) < fitted.window.end and not force:
        raise ValueError(f"the model has seen what comes after {at}: choose a later --at, or --force it")
    if len(place) != model.domain.d:
        raise ValueError(f"--place has {len(place)} coordinates, the model {model.domain.d}: give one per axis")
    before, spot = duration(window), tuple(place)
    near: dict[str, Any] = {"at": when, "window": before, "place": spot, "seed": seed}
    partition, regions, names = regions_before(events, make_finder(None, model.domain.d), box=model.domain, **near)
    return what_if_model(
        model,
        events,
        at=when,
        before=when - before,
        n=add,
        place=spot,
        weight=weight,
        step=duration(step),
        steps=steps,
        simulations=simulations,
        p=p,
        partition=partition,
        memberships=regions,
        names=tuple(names),
        rng=seed,
        progress=progress,
    )
