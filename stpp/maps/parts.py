"""What one input brings to a map: bare events, a fit or a flow; runs of other kinds bring theirs in the same way."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import KW_ONLY, dataclass
from itertools import pairwise
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from stpp.compute.progress import Progress
from stpp.domain import MAX_GRID_DIMENSIONS, Array, Box, Grid
from stpp.events import Window
from stpp.flow.flow import Flow
from stpp.intensity import Forecast, IntensityModel
from stpp.maps.scene import Arrows, Basins, Canvas, Fields, Scores
from stpp.models.flow import FlowModel
from stpp.runs.fits import load_run
from stpp.runs.manifest import Source, read_again

ARROWS, FEWEST_ARROWS = 24, 8
"""Arrows along an axis, at most; and at least, where there are many windows."""

MOST_ARROWS = 1_500_000
"""Arrows in all windows together that are aimed at."""

ROUNDING = 1e-9
"""Days by which two times that are the same may differ: windows are laid by adding up."""

UNSEEN = 32
"""Cells of a forecast along an axis that is not drawn, over which it is summed."""


@dataclass(frozen=True, eq=False)
class Part:
    """An input of a map; by default it brings nothing but its events.

    Parameters
    ----------
    source : the events
    run : the run directory; None for bare events
    windows : its own; empty where any will do
    box : the domain, in all dimensions of the events; None where any will do
    models : names of those whose forecasts it may bring
    """

    precedence: ClassVar[int] = 0
    """Of several parts with windows of their own, the map takes those of the part with the highest."""

    source: Source
    _: KW_ONLY
    run: Path | None = None
    windows: tuple[Window, ...] = ()
    box: Box | None = None
    models: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """What tells it from the other parts."""
        return (self.run or self.source.path).resolve().name

    def forecasts(self, canvas: Canvas, progress: Progress | None = None) -> list[Fields]:
        """The forecasts of its models in the map's windows, none of which saw anything from its window's start on."""
        return []

    def scores(self, canvas: Canvas) -> tuple[str, list[Scores]]:
        """The model that information gain is measured against, and how each model did."""
        return "", []

    def arrows(self, canvas: Canvas) -> Arrows | None:
        """Its flow."""
        return None

    def basins(self, canvas: Canvas) -> Basins | None:
        """Its basins."""
        return None

    def remarks(self, canvas: Canvas) -> tuple[str, ...]:
        """What a reader of the map should know about what it brings."""
        return ()


class EventsPart(Part):
    """Events alone."""


@dataclass(frozen=True, eq=False)
class FitPart(Part):
    """A run of ``stpp fit``: its forecasts of the windows after its training time, each from the posts before it.

    Parameters
    ----------
    model : fitted
    training : its training time
    """

    _: KW_ONLY
    model: IntensityModel
    training: Window

    @classmethod
    def of_run(cls, directory: Path) -> Self:
        """The part that a run directory brings.

        Raises
        ------
        ValueError
            as :func:`stpp.runs.fits.load_run`, and if its events are gone or not what they were
        """
        fitted = load_run(directory)
        model, source = fitted.model, read_again(fitted.manifest)
        names = (model.name,) if model.domain.d <= MAX_GRID_DIMENSIONS else ()
        return cls(source, run=directory, box=model.domain, models=names, model=model, training=fitted.window)

    def forecasts(self, canvas: Canvas, progress: Progress | None = None) -> list[Fields]:
        """Of the windows that start at or after the end of training; none if there are none."""
        late, domain = self._late(canvas), self.model.domain
        if not late or not self.models:
            return []
        windows = [canvas.windows[k] for k in late]
        shape = [UNSEEN] * domain.d
        for axis, n in zip(canvas.axes, canvas.grid.shape, strict=True):
            shape[axis] = n
        past = self.source.events.inside(domain).before(windows[-1].start)
        issued = self.model.rolling_forecasts(past, windows, Grid(domain, tuple(shape)))

        def each() -> Iterable[tuple[int, Forecast]]:
            for done, (k, forecast) in enumerate(zip(late, issued, strict=True), start=1):
                assert isinstance(forecast, Forecast), "there is a grid"
                yield k, forecast
                if progress is not None:
                    progress(self.model.name, done, len(late))

        return [fields_of(canvas, self.model.name, each())]

    def remarks(self, canvas: Canvas) -> tuple[str, ...]:
        """Which windows have no forecast, and why."""
        said = [f"{self.model.name} {self.model.remark}"] if self.model.remark else []
        if not self.models:
            said.append(
                f"No forecast of {self.model.name} is drawn: it has {self.model.domain.d} dimensions, and forecasts "
                f"are drawn for up to {MAX_GRID_DIMENSIONS}."
            )
        elif early := len(canvas.windows) - len(self._late(canvas)):
            trained = f"{canvas.events.date(self.training.end):%Y-%m-%d %H:%M}"
            all_ = early == len(canvas.windows)
            said.append(
                f"{self.model.name} was trained on posts before {trained} (UTC), so it has no forecast of "
                + ("any window here: fit it to an earlier --end." if all_ else f"the {early:,} windows before that.")
            )
        return tuple(said)

    def _late(self, canvas: Canvas) -> list[int]:
        return [k for k, window in enumerate(canvas.windows) if window.start >= self.training.end]


@dataclass(frozen=True, eq=False)
class FlowPart(Part):
    """A run of ``stpp flow``: in each window, the last flow measured by its end.

    Parameters
    ----------
    flows : in time order, on one grid
    model : name of the one that measured them
    """

    precedence: ClassVar[int] = 1

    _: KW_ONLY
    flows: Sequence[Flow]
    model: str

    @classmethod
    def of_run(cls, directory: Path) -> Self:
        """The part that a run directory brings; its windows lie between its flows, and go back before the first.

        Raises
        ------
        ValueError
            as :func:`stpp.runs.fits.load_run`, if it holds no flows, or its events are gone or not what they were
        """
        from stpp.flow.files import read_flows

        fitted = load_run(directory)
        file = directory / "flow.nc"
        if not file.is_file() or not isinstance(fitted.model, FlowModel):
            raise ValueError(f"{directory} holds no flows: give a directory that 'stpp flow -o' wrote")
        flows, step = read_flows(file), fitted.model.horizon
        last = flows[-1].time
        n = max(1, math.ceil((last - fitted.window.start) / step - 1e-9))
        edges = (last - step * np.arange(n + 1)[::-1]).tolist()
        windows = tuple(Window(start, end) for start, end in pairwise(edges))
        box, source = fitted.model.domain, read_again(fitted.manifest)
        return cls(source, run=directory, windows=windows, box=box, flows=flows, model=fitted.model.name)

    def arrows(self, canvas: Canvas) -> Arrows | None:
        """The last flow measured by the end of each window, until the next is due; none in more than two dimensions."""
        grid = self.flows[0].grid
        if grid.box.d != 2:
            return None
        fitting = math.isqrt(MOST_ARROWS // max(1, len(canvas.windows)))
        places = Grid(grid.box, tuple(min(n, max(FEWEST_ARROWS, min(ARROWS, fitting))) for n in grid.shape)).points()
        cell, drawn = grid.index(places), list(canvas.axes)
        velocity = np.full((len(canvas.windows), len(places), 2), np.nan)
        sure = np.zeros(velocity.shape[:2], dtype=bool)
        times = np.array([flow.time for flow in self.flows])
        shown, lasting = np.full(len(canvas.windows), -1), float(np.diff(times).max(initial=0.0))
        for k, window in enumerate(canvas.windows):
            newest = int(np.searchsorted(times, window.end + ROUNDING, side="right")) - 1
            if newest >= 0 and window.end - times[newest] < max(lasting, window.duration) - ROUNDING:
                shown[k] = newest
                velocity[k] = self.flows[newest].at(places)[0][:, drawn]
                sure[k] = self.flows[newest].significant().ravel()[cell]
        of = np.append(times, np.nan)[shown]
        before = known_at(canvas.edges[:, 0], shown, times)
        return Arrows(self.model, places[:, drawn], velocity, sure, of, before)

    def remarks(self, canvas: Canvas) -> tuple[str, ...]:
        """Why there are no arrows, if there are none."""
        d = self.flows[0].grid.box.d
        return () if d == 2 else (f"No arrows are drawn: the flow has {d} dimensions, a map has 2.",)


def known_at(times: Array, shown: NDArray[np.int64], ends: Array) -> NDArray[np.int64]:
    """(n,) which window of a map shows the newest of what was known at each time; −1 for none.

    Parameters
    ----------
    times : (n,) days
    shown : (windows,) number of what each window shows, −1 for nothing
    ends : increasing days, by number: when it was known
    """
    by_number = {number: k for k, number in reversed(list(enumerate(shown.tolist()))) if number >= 0}
    drawn = np.array(sorted(by_number), dtype=np.int64)
    newest = np.searchsorted(ends[drawn], times + ROUNDING, side="right") - 1
    return np.array([by_number[int(drawn[k])] if k >= 0 else -1 for k in newest], dtype=np.int64)


def fields_of(canvas: Canvas, name: str, forecasts: Iterable[tuple[int, Forecast]]) -> Fields:
    """Forecasts on the map's grid: what each cell of theirs expects is shared among the cells that it overlaps.

    What lies outside the map's grid is left out; axes that are not drawn are summed over.

    Parameters
    ----------
    canvas : of the map
    name : of the model
    forecasts : (number of the map's window, its forecast); one is in memory at a time
    """
    windows, grid = len(canvas.windows), canvas.grid
    values, totals = np.zeros((windows, *grid.shape), np.float32), np.full(windows, np.nan)
    known: Grid | None = None
    for k, forecast in forecasts:
        if forecast.grid != known:
            known = forecast.grid
            across, along = (
                shares(known.edges[axis], edges) for axis, edges in zip(canvas.axes, grid.edges, strict=True)
            )
        hidden = tuple(axis for axis in range(known.box.d) if axis not in canvas.axes)
        drawn = forecast.counts.sum(axis=hidden)
        counts = across @ (drawn if canvas.axes[0] < canvas.axes[1] else drawn.T) @ along.T
        totals[k] = counts.sum()
        if totals[k] > 0:
            values[k] = counts * (grid.cells / totals[k])
    return Fields(name, values, totals)


def shares(source: Array, target: Array) -> Array:
    """(m, n) share of each of the n intervals between edges ``source`` that lies in each of the m of ``target``."""
    low = np.maximum(source[:-1], target[:-1, None])
    high = np.minimum(source[1:], target[1:, None])
    return np.asarray(np.maximum(high - low, 0.0) / np.diff(source))
