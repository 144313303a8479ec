"""A scene from its parts: which windows, which axes, which grid, and what was observed."""

from __future__ import annotations

import dataclasses
import json
import math
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from stpp.compute.progress import Progress
from stpp.dates import in_words
from stpp.domain import Array, Box, Grid
from stpp.events import Events, Window
from stpp.ingest.storage import ingest_record
from stpp.maps.parts import Part
from stpp.maps.scene import Canvas, Fields, Scene, Scores
from stpp.runs.manifest import Source, sha256

MOST_WINDOWS = 10_000
"""That a map holds."""

LENGTHS = (1 / 1440, 1 / 96, 1 / 24, 0.25, 1.0, 7.0, 28.0, 91.0, 365.0)
"""Lengths of windows, in days, that are chosen from where none is given."""

ENOUGH = 20
"""Windows that a length has to give to be chosen."""

MOST_VALUES, MOST_CELLS, FEWEST_CELLS = 12_000_000, 100, 16
"""Values of all densities together, and cells per axis."""

FAR = 10.0
"""Interquartile ranges beyond the quartiles from which on a post is left outside the box, where none is given."""

WIDEST, FINEST = 0.03, 0.7
"""What smoothing is held between: a share of the smaller side of the map, and a share of a cell."""


def compose(
    parts: Sequence[Part],
    *,
    title: str | None = None,
    window: float | None = None,
    box: Box | None = None,
    axes: Sequence[str] | None = None,
    progress: Progress | None = None,
) -> tuple[Scene, NDArray[np.int64]]:
    """What some inputs show together.

    The windows are those of the part with the highest precedence among those that have any; else they follow each
    other over all events. The grid covers what all forecasts are of, or without any the parts' boxes together.

    Parameters
    ----------
    parts : of the same events
    title : of the page
    window : days of each window, where no part has its own; by default the longest that gives 20 of them
    box : what the densities cover, on the two axes that are drawn or on all; by default the parts' boxes together, or
        around the events
    axes : names of the two coordinates to draw; by default the first two
    progress : told about every forecast that has to be issued anew

    Returns
    -------
    the scene, and the rows of the events that it holds

    Raises
    ------
    ValueError
        if there are no parts, their events or windows differ, two of them bring a flow or basins, there are fewer than
        two coordinates, an axis is not known, the box does not fit, or there are too many windows
    """
    source, content = _same_events(parts)
    events, drawn = source.events, _drawn(source.events, axes)
    windows = _windows(parts, events, window)
    rows = _within(events, windows)
    contiguous = len(rows) and len(rows) == rows[-1] - rows[0] + 1
    seen = events.rows(int(rows[0]), int(rows[-1]) + 1) if contiguous else events.take(rows)
    fields = 1 + sum(len(part.models) for part in parts)
    grid = _grid(_box(parts, seen, drawn, box), len(windows) * fields)
    canvas = Canvas(seen, windows, grid, drawn)
    smoothing = _bandwidth(canvas)
    reference, forecasts, scores, remarks = _judged(parts, canvas, progress)
    scene = Scene(
        title=title or f"Map of {source.path.stem}",
        canvas=canvas,
        observed=_observed(canvas, smoothing),
        smoothing=smoothing,
        forecasts=forecasts,
        scores=scores,
        reference=reference,
        weight=_weight(source),
        source=f"{source.path.name} (SHA-256 {content})",
        arrows=_only(parts, "a flow", [part.arrows(canvas) for part in parts]),
        basins=_only(parts, "basins", [part.basins(canvas) for part in parts]),
        remarks=[*_remarks(canvas, len(events)), *remarks, *(r for part in parts for r in part.remarks(canvas))],
    )
    return scene, rows


def _same_events(parts: Sequence[Part]) -> tuple[Source, str]:
    """The events that all parts are of, and the SHA-256 of their file."""
    if not parts:
        raise ValueError("nothing to map: give an events file or a run directory")
    whence = Counter(part.run.resolve() for part in parts if part.run)
    if twice := next((path for path, count in whence.items() if count > 1), None):
        raise ValueError(f"{twice} is given twice: once is enough")
    source, *others = (part.source for part in parts)
    content = sha256(source.path)
    for part, other in zip(parts[1:], others, strict=True):
        one, two = source.events, other.events
        whose = f"{parts[0].name} ({source.path}) and {part.name} ({other.path})"
        if other.path != source.path and sha256(other.path) != content:
            raise ValueError(f"{whose} are of different events: map them apart, or run both on one file")
        same = all(np.array_equal(getattr(one, name), getattr(two, name)) for name in ("t", "x", "weight"))
        if not same or (one.axes, one.epoch) != (two.axes, two.epoch):
            raise ValueError(
                f"{whose} read their events differently: give both the same --time, --coords and --weight, or map the "
                "runs alone"
            )
    return source, content


def _drawn(events: Events, axes: Sequence[str] | None) -> tuple[int, int]:
    """The numbers of the two axes to draw."""
    if events.d < 2:
        raise ValueError(f"a map needs two coordinates, the events have one ({events.axes[0]}): name two by --coords")
    names = list(axes or events.axes[:2])
    known = ", ".join(events.axes)
    if len(names) != 2 or names[0] == names[1]:
        raise ValueError(f"a map has two different axes, got {', '.join(names)}: name two of {known}")
    for name in names:
        if name not in events.axes:
            raise ValueError(f"no coordinate '{name}'; there are: {known}")
    return events.axes.index(names[0]), events.axes.index(names[1])


def _windows(parts: Sequence[Part], events: Events, length: float | None) -> tuple[Window, ...]:
    own = sorted((part for part in parts if part.windows), key=lambda part: -part.precedence)
    if own and length is not None:
        raise ValueError(f"{own[0].name} has windows of its own: leave out --window, or map the events alone")
    for other in own[1:]:
        if other.precedence == own[0].precedence and other.windows != own[0].windows:
            raise ValueError(f"{own[0].name} and {other.name} have different windows: map them apart")
    if own:
        if len(own[0].windows) > MOST_WINDOWS:
            raise ValueError(
                f"{own[0].name} has {len(own[0].windows):,} windows, a map holds {MOST_WINDOWS:,}: run it with longer "
                "ones, or on a shorter time"
            )
        return own[0].windows
    return _rolling(events, length)


def _within(events: Events, windows: Sequence[Window]) -> NDArray[np.int64]:
    """The rows of the events that lie in any of the windows."""
    edges = np.searchsorted(events.t, [[window.start, window.end] for window in windows])
    change = np.zeros(len(events) + 1, dtype=np.int64)
    np.add.at(change, edges[:, 0], 1)
    np.add.at(change, edges[:, 1], -1)
    return np.flatnonzero(np.cumsum(change)[:-1] > 0)


def _rolling(events: Events, length: float | None) -> tuple[Window, ...]:
    """Windows over all events, one after the other; the first starts on a whole day, or a whole window if shorter."""
    first, last = (float(events.t[0]), float(events.t[-1])) if len(events) else (0.0, 0.0)
    if length is None:
        early, late = np.quantile(events.t, [0.05, 0.95]) if len(events) else (0.0, 0.0)  # most posts may be late
        fitting = [
            one for one in LENGTHS if (late - early) / one >= 0.9 * ENOUGH or (last - first) / one > MOST_WINDOWS
        ]
        length = (fitting[-1] if fitting else LENGTHS[0]) if last > first else 1.0
    unit = min(length, 1.0)
    start = math.floor(first / unit) * unit
    n = math.floor((last - start) / length) + 1
    if n > MOST_WINDOWS:
        raise ValueError(
            f"{n:,} windows of {in_words(length)} are too many, a map holds {MOST_WINDOWS:,}: take a longer --window"
        )
    edges = [start + k * length for k in range(n + 2)]
    return tuple(Window(*edge) for edge in pairwise(edges[: np.searchsorted(edges, last, side="right") + 1]))


def _box(parts: Sequence[Part], events: Events, drawn: tuple[int, int], box: Box | None) -> Box:
    """What the densities cover, on the two axes that are drawn.

    Where there are forecasts, what all of them are of: elsewhere there would be nothing to compare.
    """
    if box is not None and box.d not in (2, events.d):
        raise ValueError(f"--box has {box.d} axes: give it for the 2 that are drawn or for all {events.d}")

    def side(one: Box) -> tuple[Array, Array]:
        pick = list(drawn) if one.d == events.d else [0, 1]
        return np.array(one.low)[pick], np.array(one.high)[pick]

    forecast = [side(part.box) for part in parts if part.box is not None and part.models]
    if forecast or box is not None:
        lows, highs = zip(*forecast, *([side(box)] if box is not None else []), strict=True)
        low, high = np.max(lows, axis=0), np.min(highs, axis=0)
        if not (low < high).all():
            raise ValueError("the boxes that forecasts are of, and --box, have nothing in common: map the runs apart")
        return Box(tuple(low), tuple(high))
    if boxes := [side(part.box) for part in parts if part.box is not None]:
        lows, highs = zip(*boxes, strict=True)
        return Box(tuple(np.min(lows, axis=0)), tuple(np.max(highs, axis=0)))
    return _around(events.x[:, list(drawn)]) if len(events) else Box((0.0, 0.0), (1.0, 1.0))


def _around(x: Array) -> Box:
    """The box around places (n, 2), but for those so far off that all others would shrink to a dot."""
    low, high = np.quantile(x, [0.25, 0.75], axis=0)
    reach = np.where(high > low, FAR * (high - low), np.inf)
    return Box.around(x[((x >= low - reach) & (x <= high + reach)).all(axis=1)], 3 * WIDEST)  # smoothing ends inside


def _grid(box: Box, fields: int) -> Grid:
    """As fine as so many densities may be."""
    return Grid.over(box, min(MOST_CELLS, max(FEWEST_CELLS, math.isqrt(MOST_VALUES // fields))))


def _bandwidth(canvas: Canvas) -> float:
    """Standard deviation of the smoothing, map units.

    Silverman's rule in two dimensions, σ n^(−1/6), with the spread of all posts and the number of posts in a window,
    but at most some share of the map, and at least some share of a cell.
    """
    places, grid = canvas.places(canvas.events.x), canvas.grid
    inside = places[grid.box.contains(places)]
    finest = FINEST * float(grid.spacing.max())
    if not len(inside):
        return finest
    quartiles = np.diff(np.quantile(inside, [0.25, 0.75], axis=0), axis=0)[0] / 1.349
    spread = float(np.minimum(inside.std(axis=0), np.where(quartiles > 0, quartiles, np.inf)).mean())
    rule = spread * float(max(1.0, len(inside) / len(canvas.windows)) ** (-1 / 6))
    return max(finest, min(rule, WIDEST * float(grid.box.widths.min())))


def _observed(canvas: Canvas, smoothing: float) -> Fields:
    """The weight of each window's posts, smoothed with one Gaussian that the walls reflect; and their number."""
    events, grid = canvas.events, canvas.grid
    cell = grid.index(canvas.places(events.x))
    values, totals = np.zeros((len(canvas.windows), grid.cells), np.float32), np.zeros(len(canvas.windows))
    edges = np.searchsorted(events.t, [[window.start, window.end] for window in canvas.windows])
    for k, (first, stop) in enumerate(edges.tolist()):
        here = cell[first:stop]
        inside = here >= 0
        totals[k] = inside.sum()
        field = np.bincount(here[inside], events.weight[first:stop][inside], grid.cells)
        if field.any():
            values[k] = field * (grid.cells / field.sum())
    on_grid = values.reshape(-1, *grid.shape)
    sigma = np.minimum(smoothing / grid.spacing, 2 * np.array(grid.shape))  # twice the box evens out already
    gaussian_filter(on_grid, (0, *sigma), output=on_grid, mode="reflect")
    return Fields("observed", on_grid, totals)


def _judged(
    parts: Sequence[Part], canvas: Canvas, progress: Progress | None
) -> tuple[str, list[Fields], list[Scores], list[str]]:
    """The reference of the first part that has one, all forecasts and scores under names of their own, and remarks."""
    runs = Counter(part.name for part in parts)
    shared = {name for name, count in Counter(name for part in parts for name in set(part.models)).items() if count > 1}
    reference, forecasts, scores, remarks = "", list[Fields](), list[Scores](), list[str]()

    def named(part: Part, name: str) -> str:
        where = part.name if runs[part.name] == 1 else part.run
        return f"{name} ({where})" if name in shared else name

    for part in parts:
        forecasts += [dataclasses.replace(one, name=named(part, one.name)) for one in part.forecasts(canvas, progress)]
        against, found = part.scores(canvas)
        found = [dataclasses.replace(one, model=named(part, one.model)) for one in found]
        if found and not reference:
            reference = against
        elif found and against != reference:
            remarks.append(
                f"{part.name} measures information gain against {against}, not {reference}: its gains are not shown."
            )
            none = np.full(len(canvas.windows), np.nan)
            found = [dataclasses.replace(one, information_gain=none) for one in found]
        scores += found
    return reference, forecasts, scores, remarks


def _weight(source: Source) -> str:
    """What the weights of the events are, in words: as they were read just now, or when they were ingested."""
    record = ingest_record(source.path)
    kept = json.loads(record.read_text())["columns"].get("weight") if record.is_file() else None
    named = source.reading.get("weight") or kept or "uniform"
    return {"uniform": "weight", "linear": "weight (linear)", "log": "weight (log)"}.get(named, str(named))


def _only(parts: Sequence[Part], what: str, brought: Sequence[Any]) -> Any:
    """What one of the parts brings; None where none does."""
    whose = [part.name for part, one in zip(parts, brought, strict=True) if one is not None]
    if len(whose) > 1:
        raise ValueError(f"{whose[0]} and {whose[1]} both bring {what}: a map shows one, leave out the other")
    return next((one for one in brought if one is not None), None)


def _remarks(canvas: Canvas, known: int) -> list[str]:
    """Which posts are not counted."""
    n = len(canvas.events)
    if not known:
        return ["There are no posts: the events file is empty."]
    said = []
    if canvas.events.d > 2:
        drawn = " and ".join(canvas.names)
        said.append(f"Of {canvas.events.d} coordinates {drawn} are drawn; densities are summed over the others.")
    if not n:
        said.append("No post lies in these windows.")
    elif not canvas.events.weight.any():
        said.append("All posts have weight 0, so that nothing is observed: read them with another --weight.")
    if known > n > 0:
        said.append(f"In none of the windows: {known - n:,} of {known:,} posts, which are left out.")
    if outside := n - int(canvas.grid.box.contains(canvas.places(canvas.events.x)).sum()):
        said.append(f"Outside the box that the densities cover: {outside:,} of {n:,} posts, which are in no density.")
    return said
