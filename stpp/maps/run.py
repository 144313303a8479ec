"""Maps and films of runs from end to end: what the verbs do, for scripts and notebooks as well."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stpp.compute.progress import Progress
from stpp.dates import duration
from stpp.domain import Box
from stpp.files.outputs import new_file
from stpp.ingest.columns import texts_of
from stpp.maps import links
from stpp.maps.atlas_parquet import write_atlas_parquet
from stpp.maps.compose import compose
from stpp.maps.html import write_map
from stpp.maps.parts import EventsPart, Part
from stpp.registry import Registry
from stpp.runs.manifest import kind_of, read_manifest, read_source

logger = logging.getLogger(__name__)

MADE_BY = "stpp evaluate, basins, flow or fit … -o RUN"

PARTS: Registry[Any] = Registry(
    "map of a run of",
    {
        "evaluate": "evaluation.report.map_part:EvaluationPart",
        "basins": "basins.report.map_part:BasinsPart",
        "flow": "stpp.maps.parts:FlowPart",
        "fit": "stpp.maps.parts:FitPart",
    },
)
"""Kind of run → the layers that it brings to a map; known by name, so that runs of other packages are no import."""

FILMS: Registry[Callable[..., Path]] = Registry(
    "film of a run of",
    {
        "evaluate": "evaluation.report.animation:animate_run",
        "basins": "basins.report.animation:animate_basins",
        "flow": "evaluation.report.animation:animate_run",
        "fit": "evaluation.report.animation:animate_run",
    },
)
"""Kind of run → what films it."""


@dataclass(frozen=True)
class Drawn:
    """A map that was written.

    Parameters
    ----------
    output : where
    facts : ``posts`` that it shows, ``bytes`` of the file, and what else there is to say, as JSON values
    remarks : what its reader should know
    """

    output: Path
    facts: dict[str, Any]
    remarks: tuple[str, ...]


def draw_map(
    inputs: Sequence[str | Path],
    output: str | Path,
    *,
    time: str | None = None,
    coords: Sequence[str] | None = None,
    weight: str | None = None,
    window: str | float | None = None,
    box: Box | None = None,
    axes: Sequence[str] | None = None,
    colours: Sequence[str] = (),
    texts: bool = False,
    max_posts: int = 1_000_000,
    title: str | None = None,
    form: str = "html",
    force: bool = False,
    progress: Progress | None = None,
) -> Drawn:
    """Draw the weather map: one HTML page that plays posts, forecasts, flow and basins through time.

    Parameters
    ----------
    inputs : an events file, or run directories of evaluate, basins, flow and fit on the same events
    output : the page to write
    time, coords, weight : columns of an events file; runs read theirs as they did before
    window : length of the time windows, where no run has any
    box : what is drawn; by default the runs' domain, or all events
    axes : names of the two coordinates to draw; the first two by default
    colours : marks to colour posts by
    texts : put texts and authors into the page, for whoever opens it
    max_posts : of more, a sample is drawn; every count stays true
    title : of the page
    form : ``html``, or ``atlas-parquet``: posts for embedding-atlas
    force : overwrite
    progress : told about every forecast that is issued anew

    Raises
    ------
    ValueError
        if the output exists, or the inputs do not go together; in one sentence with the way out

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     drawn = draw_map(["data/planted.parquet"], f"{folder}/map.html", window="10d")
    >>> drawn.facts["windows"]
    6
    """
    paths, output = [Path(path) for path in inputs], Path(output)
    reading = {"time": time, "coords": None if coords is None else tuple(coords), "weight": weight}
    if any(reading.values()) and all(path.is_dir() for path in paths):
        raise ValueError("--time, --coords and --weight are for events; runs read theirs as they did before")
    with new_file(output, force=force) as temporary:
        parts = [_part(path, reading) for path in paths]
        words = texts_of(parts[0].source.events) if texts else None
        if texts and words is None:
            raise ValueError(f"{parts[0].source.path} has no column of texts: leave --texts out")
        days = None if window is None else duration(window)
        scene, rows = compose(parts, title=title, window=days, box=box, axes=axes, progress=progress)
        kept = None if words is None else [words[row] for row in rows]
        if form == "html":
            facts = write_map(scene, temporary, most=max_posts, texts=kept, colours=colours)
        else:
            facts = write_atlas_parquet(scene, temporary, texts=kept)
    return Drawn(output, facts, tuple(scene.remarks))


def _part(path: Path, reading: Mapping[str, Any]) -> Part:
    """What an input of a map brings."""
    if not path.is_dir():
        return EventsPart(read_source(path, reading))
    kind = kind_of(read_manifest(path, MADE_BY))
    if kind not in PARTS:
        raise ValueError(f"{path} has nothing to draw: give events, or a run of stpp evaluate, basins, flow or fit")
    part: Part = PARTS[kind].of_run(path)
    return part


def draw_run(part: Part, directory: Path, title: str, progress: Progress | None = None) -> bool:
    """Draw the map of a run into its directory, or say why there is none.

    Returns
    -------
    whether it was drawn
    """
    try:
        scene, _ = compose([part], title=title, progress=progress)
    except ValueError as error:  # of one coordinate, or of too many windows
        logger.info("no map: %s", error)
        return False
    write_map(scene, directory / links.NAME)
    return True


def animate(
    run: str | Path,
    output: str | Path,
    *,
    model: str | None = None,
    step: str | float | None = None,
    grid: int | None = None,
    force: bool = False,
    progress: Progress | None = None,
) -> Path:
    """Animate a run of evaluate, fit, basins or flow: what was expected of each window, then what came.

    Parameters
    ----------
    run : its directory
    output : ``.gif`` or ``.mp4``
    model : of an evaluation; the best beside the reference by default
    step, grid : of a fit, window after its training time (1 day) and cells per axis (100); the others have their own
    force : overwrite
    progress : told about every window

    Raises
    ------
    ValueError
        if there is nothing to draw, or an option does not apply; in one sentence with the way out

    Examples
    --------
    >>> animate("data", "film.gif")
    Traceback (most recent call last):
    ValueError: data/manifest.json is missing: give a directory that 'stpp evaluate, basins, flow or fit … -o RUN' wrote
    """
    run, output = Path(run), Path(output)
    kind = kind_of(read_manifest(run, MADE_BY))
    if kind not in FILMS:
        raise ValueError(f"{run} has nothing to animate: give a run of stpp evaluate, basins, flow or fit")
    if (step or grid) and kind != "fit":
        raise ValueError(f"--step and --grid are for runs of 'stpp fit': {run} has its own")
    if model and kind == "basins":
        raise ValueError(f"{run} is a run of basins and has no forecasts of models: leave --model out")
    asked: dict[str, Any] = {"model": model, "step": None if step is None else duration(step), "cells": grid}
    given = {name: value for name, value in asked.items() if value is not None}
    return FILMS[kind](run, output, force=force, progress=progress, **given)
