"""Animations of a backtest: every forecast alone, then with the events that came."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from itertools import chain, cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from evaluation.backtest import BacktestResult, Progress
from evaluation.numbers import signed
from stpp.domain import MAX_GRID_DIMENSIONS
from stpp.intensity import Forecast
from stpp.outputs import new_file
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

if TYPE_CHECKING:
    from matplotlib.artist import Artist

    from stpp.domain import Array

FORMATS = ("gif", "mp4")

HALF_SECONDS = (1, 2)
"""How long a forecast is shown alone, and how long with what came."""

Pixels = NDArray[np.uint8]
"""(height, width, 3) a frame; both sides even, as H.264 asks."""


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
    unknown = [name for name in formats if name not in FORMATS]
    if unknown or not formats:
        raise ValueError(f"no animation in the format {', '.join(unknown) or '(none)'}: there are gif and mp4")
    for model in models:
        if model not in known:
            raise ValueError(f"no model '{model}' was evaluated; there are: {', '.join(known)}")
        for name in formats:
            if (directory / f"{model}.{name}").exists() and not force:
                raise ValueError(f"{directory / f'{model}.{name}'} exists: --force overwrites it")
    if models and d > MAX_GRID_DIMENSIONS:
        raise ValueError(f"animations need forecasts on a grid, and there is none over {d} dimensions: leave them out")
    if models and "mp4" in formats:
        _mp4_writer()


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
    write_mp4 = _mp4_writer() if "mp4" in formats else None
    directory.mkdir(parents=True, exist_ok=True)
    paths = {name: directory / f"{model}.{name}" for name in formats}
    with ExitStack() as stack:
        unfinished = {name: stack.enter_context(new_file(path, force=force)) for name, path in paths.items()}
        stage = _Stage(result, model)
        frames = stage.frames(progress)
        if write_mp4:
            frames = write_mp4(frames, unfinished["mp4"])
        if "gif" in formats:
            _write_gif(frames, len(result.kept), stage.palette(), unfinished["gif"])
        else:
            for _ in frames:
                pass
    return list(paths.values())


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
        """Colours for every frame, from the window with most events; its colour bar shows all that a map can have.

        One of 256 is left free, for what does not change from frame to frame.
        """
        busiest = max(self.rows, key=lambda k: int(self.rows[k]["events"]))
        both = np.concatenate([self.forecast(busiest), self.outcome(busiest)])
        return Image.fromarray(both).quantize(255, dither=Image.Dither.NONE)

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
        pixels = np.asarray(self.canvas.buffer_rgba())  # type: ignore[no-untyped-call]
        height, width, _ = pixels.shape
        return pixels[: height - height % 2, : width - width % 2, :3].copy()

    def _forecast(self, k: int) -> Forecast:
        return self.result.forecast(self.model, k)


def _write_gif(frames: Iterator[Pixels], windows: int, palette: Image.Image, path: Path) -> None:
    """All frames in one palette: nothing flickers, and what does not change between two frames is not stored again."""
    images = (Image.fromarray(frame).quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames)
    durations = [500 * halves for halves in HALF_SECONDS] * windows
    first = next(images)
    first.save(path, "GIF", save_all=True, append_images=images, duration=durations, loop=0)


def _mp4_writer() -> Callable[[Iterator[Pixels], Path], Iterator[Pixels]]:
    """What writes frames to an MP4 while they pass through, in the H.264 and yuv420p that all browsers play.

    Raises
    ------
    ValueError
        if the package that brings the encoder is not installed
    """
    try:
        from imageio_ffmpeg import write_frames
    except ImportError as error:
        raise ValueError("MP4 needs the package imageio-ffmpeg: pip install imageio-ffmpeg") from error

    def write(frames: Iterator[Pixels], path: Path) -> Iterator[Pixels]:
        first = next(frames)
        height, width, _ = first.shape
        to_play = ["-r", "10", "-movflags", "+faststart"]  # some players stumble over fewer frames a second
        encoder = write_frames(
            path,
            (width, height),
            fps=2,
            codec="libx264",
            quality=7,
            macro_block_size=2,
            ffmpeg_log_level="error",
            output_params=[*to_play, "-preset", "veryfast", "-bitexact"],
        )
        with closing(encoder):
            encoder.send(None)
            for frame, halves in zip(chain([first], frames), cycle(HALF_SECONDS), strict=False):
                for _ in range(halves):
                    encoder.send(frame)
                yield frame

    return write


def _dates(row: Mapping[str, Any]) -> str:
    """The window: dates where it begins and ends at midnight, else with the time."""
    whole = all(day == day.normalize() for day in (row["start"], row["end"]))
    form = "%Y-%m-%d" if whole else "%Y-%m-%d %H:%M"
    return f"{row['start']:{form}} to {row['end']:{form}} UTC"
