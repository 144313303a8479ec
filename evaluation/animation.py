"""Animations of a backtest: every forecast alone, then with the events that came."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from evaluation.backtest import BacktestResult
from evaluation.numbers import signed
from stpp.domain import MAX_GRID_DIMENSIONS
from stpp.intensity import Forecast
from stpp.movies import FORMATS, Pixels, check_movies, palette_of, pixels_of, write_movie
from stpp.plotting import (
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
from stpp.tuning import Progress

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
    stage, halves = _Stage(result, model), HALF_SECONDS * len(result.kept)
    return write_movie(stage.frames(progress), halves, stage.palette, directory, model, formats=formats, force=force)


class _Stage:
    """One figure, drawn once; every frame only changes what it shows."""

    def __init__(self, result: BacktestResult, model: str) -> None:
        self.result, self.model = result, model
        mine = result.table[result.table["model"] == model].set_index("window")
        self.rows: dict[int, dict[str, Any]] = {k: dict(mine.loc[k]) for k in result.kept}
        fields = [flattened(self._forecast(k)) for k in result.kept]
        first, self.d, axes = self._forecast(result.kept[0]), result.domain.d, result.events.axes
        nowhere = np.empty((0, self.d))
        with house_style():
            figure = Figure(figsize=map_size(result.domain, 1), dpi=100)
            self.canvas = FigureCanvasAgg(figure)
            ax = figure.subplots()
            self.title = figure.suptitle("two\nlines", x=0.01, ha="left", fontsize=13)
            if self.d == 1:
                self.line = draw_line(fields[0], first.grid, ax, axes)
                self.rug = draw_rug(nowhere, ax)
                self.moving: list[Artist] = [self.line, self.rug]
                ax.set_ylim(0, 1.05 * max(float(field.max()) for field in fields))
            else:
                label = DENSITY_LABEL + (plain(f", mean over {axes[2]}") if self.d == 3 else "")
                self.image = draw_map(fields[0], first.grid, ax, density_norm(top_density(fields)), axes, label)
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
        for done, k in enumerate(self.rows, start=1):
            yield self.forecast(k)
            yield self.outcome(k)
            if progress is not None:
                progress(self.model, done, len(self.rows))

    def palette(self) -> Image.Image:
        """Colours for every frame, from the window with most events; its colour bar shows all that a map can have."""
        busiest = max(self.rows, key=lambda k: int(self.rows[k]["events"]))
        return palette_of(np.concatenate([self.forecast(busiest), self.outcome(busiest)]))

    def forecast(self, k: int) -> Pixels:
        """The forecast of window ``k`` alone."""
        field = flattened(self._forecast(k))
        if self.d == 1:
            self.line.set_data(field)
        else:
            self.image.set_data(field.T)
        expected = f"{self.rows[k]['expected_count']:,.1f} events expected"
        return self._frame(k, np.empty((0, self.d)), None, expected)

    def outcome(self, k: int) -> Pixels:
        """The same, with what came."""
        came, row = self.result.scored(k), self.rows[k]
        text = f"{len(came):,} events came"
        if row["weight"] > 0:
            text += f"; FDS {row['fds']:.2f}, information gain {signed(row['information_gain'], 3)} nats per event"
        return self._frame(k, came.x, came.weight, text)

    def _frame(self, k: int, x: Array, weight: Array | None, text: str) -> Pixels:
        if self.d == 1:
            set_rug(self.rug, x)
        else:
            set_dots(self.dots, x, weight)
        self.title.set_text(plain(f"{self.model}, {_dates(self.rows[k])}\n{text}"))
        self.canvas.restore_region(self.still)  # type: ignore[no-untyped-call]
        for artist in self.moving:
            artist.draw(self.canvas.renderer)
        return pixels_of(self.canvas)

    def _forecast(self, k: int) -> Forecast:
        return self.result.forecast(self.model, k)


def _dates(row: Mapping[str, Any]) -> str:
    """The window: dates where it begins and ends at midnight, else with the time."""
    whole = all(day == day.normalize() for day in (row["start"], row["end"]))
    form = "%Y-%m-%d" if whole else "%Y-%m-%d %H:%M"
    return f"{row['start']:{form}} to {row['end']:{form}} UTC"
