"""The flows of a fitted flow model."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from stpp.compute.progress import Progress
from stpp.dates import duration, in_words
from stpp.domain import Box
from stpp.events import Events, Window
from stpp.files.outputs import new_run
from stpp.flow.files import check_axes
from stpp.flow.flow import Flow
from stpp.flow.pages import animate_flows, write_pages
from stpp.flow.report import flow_facts
from stpp.intensity import IntensityModel
from stpp.models.flow import FlowModel
from stpp.reports.movies import check_movies
from stpp.runs.fits import train, write_trials
from stpp.runs.manifest import Source, arguments_of, describe_run, source_of, write_manifest

logger = logging.getLogger(__name__)

MOST_FLOWS = 1000
"""Flows, and pages of them, that one command makes."""


@dataclass(frozen=True, eq=False)
class Flows:
    """What :func:`find_flows` found.

    Parameters
    ----------
    flows : in time order
    facts : of each, as JSON values
    model : that measured them, fitted
    """

    flows: tuple[Flow, ...]
    facts: tuple[dict[str, Any], ...]
    model: IntensityModel


def find_flows(
    events: Events | Source | str | Path,
    model: str = "drift",
    *,
    step: str | float = "1d",
    start: str | float | None = None,
    end: str | float | None = None,
    box: Box | Sequence[float] | None = None,
    options: Mapping[str, object] | None = None,
    movie: bool = False,
    output: str | Path | None = None,
    seed: int = 0,
    force: bool = False,
    progress: Progress | None = None,
) -> Flows:
    """Where does discourse move, gather, spread, grow and fade? One flow per step.

    Each flow is measured from the posts before it, with parameters that are learned from all posts from ``start`` to
    ``end``. With ``output`` a run directory: a page per flow, all numbers in ``flow.nc``, a summary in ``flows.csv``,
    the model and its trials.

    Parameters
    ----------
    events : a file that :func:`stpp.ingest` wrote or reads, or events in memory
    model : ``drift`` or ``transport``
    step : from one flow to the next: days, or a word such as ``7d``
    start, end : dates; by default the first and the last event
    box : the domain; by default around the events
    options : of the model, see ``stpp fit drift --help``
    movie : animate the density and its arrows too
    output : the run directory
    seed : of all randomness
    force : replace what exists
    progress : told (stage, done, in all)

    Raises
    ------
    ValueError
        in one sentence with the way out

    Examples
    --------
    >>> import stpp
    >>> how = {"trials": 0, "frame": "5d", "history_window": 2}
    >>> found = stpp.find_flows("data/planted.parquet", "drift", step="20d", options=how)
    >>> len(found.flows)
    3
    """
    began, arguments = time.perf_counter(), arguments_of(find_flows, locals())
    output = None if output is None else Path(output)
    if movie and not output:
        raise ValueError("--movie needs -o RUN")
    with new_run(output, force=force) if output else nullcontext() as directory:
        source = source_of(events, output)
        if directory:
            check_axes(source.events)
            check_movies(directory, ["flow"] if movie else [])
        when: dict[str, Any] = {"start": start, "end": end, "box": box, "horizon": duration(step)}
        fitted, window, notes = train(model, source.events, seed=seed, progress=progress, options=options, **when)
        flows, smoothness, title = flows_of(fitted, source.events, window)
        facts = [flow_facts(one, source.events, window=smoothness) for one in flows]
        if directory:
            fitted.save(directory)
            write_trials(directory, fitted)
            remark = f"{model} {fitted.remark}"
            write_pages(flows, facts, source.events, directory, title, smoothness, remark=remark, progress=progress)
            if movie:
                animate_flows(flows, source.events, directory, title)
            settings = {"window": [window.start, window.end], "box": fitted.domain.to_list()}
            write_manifest(directory, describe_run("flow", seed, source, arguments, **settings), source, began)
    for note in notes:
        logger.info("%s", note)
    return Flows(tuple(flows), tuple(facts), fitted)


def flows_of(model: IntensityModel, events: Events, window: Window) -> tuple[list[Flow], float, str]:
    """The flows of a fitted flow model, one per horizon, from when its history window is full.

    They are shown as they were measured: with so weak a prior (a tenth of the map per frame, and a growth of e per
    frame) that it does not shrink the arrows where there is mass, as the learned one does that serves forecasts.

    Returns
    -------
    the flows in time order, the distance in map units over which their errors go together, and a title

    Raises
    ------
    ValueError
        if the model has no flow, its history window is longer than the data, or there would be too many flows
    """
    if not isinstance(model, FlowModel):
        raise ValueError(f"'{model.name}' has no flow: take drift or transport")
    speed = 0.1 * float(model.domain.widths.max()) / model.frame
    estimator = replace(model, velocity_prior=speed, growth_prior=1 / model.frame).estimator
    unit = min(model.horizon, 1.0)
    latest = math.floor(window.end / unit + 0.01) * unit  # whole days, or whole steps if shorter
    if latest - window.start < estimator.reach:
        latest = window.end
    model.refuse_longer_than(latest - window.start)
    count = math.floor((latest - window.start - estimator.reach) / model.horizon + 1e-9) + 1
    if count > MOST_FLOWS:
        raise ValueError(f"{count:,} flows, and a page for each, are too many: take a longer --step, or --start, --end")
    times = latest - model.horizon * np.arange(count)[::-1]
    inside = events.before(window.end).inside(model.domain)
    title = f"{model.name}, {model.history_window} frames of {in_words(model.frame)}"
    return [estimator.flow(inside, float(time)) for time in times], model.smoothness, title
