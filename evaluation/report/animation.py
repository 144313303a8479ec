"""Animations of forecasts: every one alone, then with the events that came."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from evaluation.backtests.backtest import BacktestResult
from evaluation.backtests.reissue import forecasts_of
from evaluation.backtests.runs import load_result
from evaluation.backtests.scoring import score_window
from evaluation.diagnosis.held_out import load_held_out
from stpp.compute.progress import Progress
from stpp.domain import MAX_GRID_DIMENSIONS, Grid
from stpp.events import Events
from stpp.flow.files import read_flows
from stpp.flow.pages import animate_flows
from stpp.intensity import Forecast
from stpp.models.stored import load_model
from stpp.reports.movies import FORMATS, Pixels, check_movies, palette_of, pixels_of, write_movie
from stpp.reports.plotting import (
    DENSITY_LABEL,
    density_norm,
    draw_dots,
    draw_line,
    draw_map,
    draw_rug,
    flattened,
    house_style,
    map_size,
    plain,
    set_dots,
    set_rug,
    top_density,
)
from stpp.reports.words import signed
from stpp.runs.manifest import kind_of, read_again, read_manifest

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from PIL import Image

    from stpp.domain import Array

HALF_SECONDS = (1, 2)
"""How long a forecast is shown alone, and how long with what came."""


def check_animation(
    models: Sequence[str],
    known: Sequence[str],
    directory: Path,
    d: int,
    *,
    formats: Sequence[str] = FORMATS,
    force: bool = False,
) -> None:
    """Refuse animations that could not be written, before a long evaluation rather than after it.

    Raises
    ------
    ValueError
        if there is no such model or format, no map in ``d`` dimensions, a file exists and ``force`` is not given, or
        MP4 is wanted and there is nothing to write it with
    """
    for model in models:
        if model not in known:
            raise ValueError(f"no model '{model}' was evaluated; there are: {', '.join(known)}")
    if models and d > MAX_GRID_DIMENSIONS:
        raise ValueError(f"animations need forecasts on a grid, and there is none over {d} dimensions: leave them out")
    check_movies(directory, models, formats=formats, force=force)


def animate(
    result: BacktestResult,
    model: str,
    directory: Path,
    *,
    formats: Sequence[str] = FORMATS,
    force: bool = False,
    progress: Progress | None = None,
) -> list[Path]:
    """Write ``MODEL.gif`` and ``MODEL.mp4``: for each window the forecast alone, then with the events that came.

    Map and colours stay the same throughout. Dots differ in area by the events' weights. In 1-d lines are drawn, in 3-d
    the mean over the last axis. The same result gives the same GIF, byte for byte.

    Parameters
    ----------
    result : of a backtest; windows whose forecasts are not kept are left out
    model : whose forecasts
    directory : made where it does not exist
    formats : of ``gif`` and ``mp4``
    force : overwrite
    progress : told about every finished window

    Returns
    -------
    the paths written, in the order of ``formats``

    Raises
    ------
    ValueError
        before any work is done, if there is no such model or format, no forecast of it to draw, a file exists, or MP4
        is wanted and there is nothing to write it with
    """
    check_animation([model], list(result.gains), directory, result.domain.d, formats=formats, force=force)
    if not result.kept:
        raise ValueError("nothing to animate: no forecasts were kept; evaluate with --keep-forecasts")
    shown = _scored(result, model, ((k, result.forecast(model, k)) for k in result.kept))
    return _write(model, shown, directory, model, formats, force, progress)


def animate_run(
    run: Path,
    output: Path,
    *,
    model: str | None = None,
    step: float = 1.0,
    cells: int = 100,
    force: bool = False,
    progress: Progress | None = None,
) -> Path:
    """Write one GIF or MP4 of what a run shows, as its suffix says.

    Of ``stpp evaluate``: the forecasts of all windows, two frames each as in :func:`animate`; those that were not kept
    are issued again. Of ``stpp fit``: the same, of the windows after its training. Of ``stpp flow``: the density and
    its arrows, a frame per flow.

    Parameters
    ----------
    run : the directory
    output : of the animation; its folder is made where it does not exist
    model : of an evaluation, whose forecasts; None: of the highest information gain beside the reference
    step, cells : of a fit, days per window and cells per axis; the others have their own
    force : overwrite
    progress : told about every window that is issued, then drawn

    Returns
    -------
    ``output``

    Raises
    ------
    ValueError
        before any work is done, if the suffix is neither ``.gif`` nor ``.mp4``, the file exists, MP4 is wanted and
        there is nothing to write it with, the directory is no such run or its events changed, it has no such model, or
        there is nothing to draw: no grid, no flows, or no events after the training
    """
    formats = [output.suffix.removeprefix(".")]
    check_movies(output.parent, [output.stem], formats=formats, force=force)
    manifest = read_manifest(run, "stpp evaluate, fit, flow or basins … -o RUN")
    if kind_of(manifest) == "evaluate":
        name, shown = _of_evaluation(run, model, progress)
    else:
        name = load_model(run).name
        if model not in (None, name):
            raise ValueError(f"{run} is a run of {name}, not of {model}: leave --model out")
        if kind_of(manifest) == "flow":
            found, events = read_flows(run / "flow.nc"), read_again(manifest).events
            tell = partial(progress, name) if progress is not None else None
            where: dict[str, Any] = {"name": output.stem, "formats": formats, "force": force}
            animate_flows(found, events, output.parent, name, progress=tell, **where)
            return output
        shown = _of_fit(run, step, cells, progress)
    _write(name, shown, output.parent, output.stem, formats, force, progress)
    return output


@dataclass(frozen=True, eq=False)
class _Prediction:
    """One forecast as it is drawn, and what came.

    Parameters
    ----------
    dates : of the window
    field : (n,) or (n, m) relative density
    expected : events
    came : those that it is judged on
    scores : in words; empty where there are none
    """

    dates: str
    field: Array
    expected: float
    came: Events
    scores: str


@dataclass(frozen=True, eq=False)
class _Predictions:
    """All that an animation shows, on one grid."""

    grid: Grid
    axes: tuple[str, ...]
    all: list[_Prediction]


def _scored(result: BacktestResult, model: str, forecasts: Iterable[tuple[int, Forecast]]) -> _Predictions:
    """Forecasts of a backtest by window number, with the scores that it gave them."""
    rows = result.table[result.table["model"] == model].set_index("window")
    shown = []
    for k, forecast in forecasts:
        row: dict[str, Any] = dict(rows.loc[k])
        words = ""
        if row["weight"] > 0:
            words = f"FDS {row['fds']:.2f}, information gain {signed(row['information_gain'], 3)} nats per event"
        dates = _dates(row["start"], row["end"])
        shown.append(_Prediction(dates, flattened(forecast), row["expected_count"], result.scored(k), words))
    return _Predictions(forecast.grid, result.events.axes, shown)


def _of_evaluation(run: Path, model: str | None, progress: Progress | None) -> tuple[str, _Predictions]:
    """The model that is shown of an evaluation, and its forecasts of all windows."""
    result, _ = load_result(run)
    if model is None:
        ranked = list(result.summary().index)
        model = next((str(name) for name in ranked if name != result.plan.reference), result.plan.reference)
    return model, _scored(result, model, enumerate(forecasts_of(result, run, model, progress)))


def _of_fit(run: Path, step: float, cells: int, progress: Progress | None) -> _Predictions:
    """Forecasts of the windows after the training of a fit; there is no reference, so gains are over uniform."""
    held = load_held_out(run, None, step)
    (fitted, windows), events = held.segments[0], held.events
    if fitted.domain.d > MAX_GRID_DIMENSIONS:
        raise ValueError(f"animations need forecasts on a grid, and there is none over {fitted.domain.d} dimensions")
    grid, shown = Grid.over(fitted.domain, cells), []
    for forecast in fitted.rolling_forecasts(events, windows, grid):
        assert isinstance(forecast, Forecast), "there is a grid"
        window = forecast.window
        came, words = events.between(window), ""
        row, _ = score_window(forecast, came, None)
        if came.weight.sum() > 0:
            words = f"FDS {row['fds']:.2f}, information gain {signed(row['log_score'], 3)} nats per event over uniform"
        dates = _dates(events.date(window.start), events.date(window.end))
        shown.append(_Prediction(dates, flattened(forecast), forecast.total, came, words))
        if progress is not None:
            progress(fitted.name, len(shown), len(windows))
    return _Predictions(grid, events.axes, shown)


def _write(
    model: str,
    shown: _Predictions,
    directory: Path,
    name: str,
    formats: Sequence[str],
    force: bool,
    progress: Progress | None,
) -> list[Path]:
    stage, halves = _Stage(model, shown), HALF_SECONDS * len(shown.all)
    return write_movie(stage.frames(progress), halves, stage.palette, directory, name, formats=formats, force=force)


class _Stage:
    """One figure, drawn once; every frame only changes what it shows."""

    def __init__(self, model: str, shown: _Predictions) -> None:
        self.model, self.shown, self.d = model, shown.all, shown.grid.box.d
        fields = [one.field for one in self.shown]
        nowhere = np.empty((0, self.d))
        with house_style():
            figure = Figure(figsize=map_size(shown.grid.box, 1), dpi=100)
            self.canvas = FigureCanvasAgg(figure)
            ax = figure.subplots()
            self.title = figure.suptitle("three\nlines\nin all", x=0.01, ha="left", fontsize=13)
            if self.d == 1:
                self.line = draw_line(fields[0], shown.grid, ax, shown.axes)
                self.rug = draw_rug(nowhere, ax)
                self.moving: list[Artist] = [self.line, self.rug]
                ax.set_ylim(0, 1.05 * max(float(field.max()) for field in fields))
            else:
                label = DENSITY_LABEL + (plain(f", mean over {shown.axes[2]}") if self.d == 3 else "")
                norm = density_norm(top_density(fields))
                self.image = draw_map(fields[0], shown.grid, ax, norm, shown.axes, label)
                self.dots = draw_dots(nowhere, ax)
                self.moving = [self.image, self.dots, *ax.spines.values()]  # the map covers half of its frame
            self.moving.append(self.title)
            figure.draw_without_rendering()
            figure.set_layout_engine("none")  # laid out once: nothing jumps from frame to frame
            for artist in self.moving:
                artist.set_animated(True)
            self.canvas.draw()  # type: ignore[no-untyped-call]
            self.still = self.canvas.copy_from_bbox(figure.bbox)  # type: ignore[no-untyped-call]
            # all that every frame shares, drawn once

    def frames(self, progress: Progress | None) -> Iterator[Pixels]:
        """Two per window."""
        for done, one in enumerate(self.shown, start=1):
            yield self.forecast(one)
            yield self.outcome(one)
            if progress is not None:
                progress(self.model, done, len(self.shown))

    def palette(self) -> Image.Image:
        """Colours for every frame, from the window with most events; its colour bar shows all that a map can have."""
        busiest = max(self.shown, key=lambda one: len(one.came))
        return palette_of(np.concatenate([self.forecast(busiest), self.outcome(busiest)]))

    def forecast(self, one: _Prediction) -> Pixels:
        """The forecast alone."""
        if self.d == 1:
            self.line.set_data(one.field)
        else:
            self.image.set_data(one.field.T)
        return self._frame(one, np.empty((0, self.d)), None, f"{one.expected:,.1f} events expected\n")

    def outcome(self, one: _Prediction) -> Pixels:
        """The same, with what came."""
        text = f"{len(one.came):,} events came, {one.expected:,.1f} expected"
        return self._frame(one, one.came.x, one.came.weight, f"{text}\n{one.scores}")

    def _frame(self, one: _Prediction, x: Array, weight: Array | None, text: str) -> Pixels:
        if self.d == 1:
            set_rug(self.rug, x)
        else:
            set_dots(self.dots, x, weight)
        self.title.set_text(plain(f"{self.model}, {one.dates}\n{text}"))
        self.canvas.restore_region(self.still)  # type: ignore[no-untyped-call]
        for artist in self.moving:
            artist.draw(self.canvas.renderer)
        return pixels_of(self.canvas)


def _dates(start: datetime, end: datetime) -> str:
    """A window in words: dates where it begins and ends at midnight, else with the time."""
    form = "%Y-%m-%d" if start.time() == end.time() == time() else "%Y-%m-%d %H:%M"
    return f"{start:{form}} to {end:{form}} UTC"
