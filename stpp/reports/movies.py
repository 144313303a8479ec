"""Moving pictures: frames of pixels to GIF, and to MP4 as browsers play it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from itertools import chain
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from numpy.typing import NDArray
from PIL import Image

from stpp.files.outputs import new_file

FORMATS = ("gif", "mp4")

FRAMES_PER_SECOND = 2
"""How long a frame is shown is counted in halves of a second."""

Pixels = NDArray[np.uint8]
"""(height, width, 3) a frame; both sides even, as H.264 asks."""


def check_movies(
    directory: Path, names: Sequence[str], *, formats: Sequence[str] = FORMATS, force: bool = False
) -> None:
    """Refuse movies that could not be written, before long work rather than after it.

    Raises
    ------
    ValueError
        if there is no such format, a file exists and ``force`` is not given, or MP4 is wanted and there is nothing to
        write it with
    """
    unknown = [name for name in formats if name not in FORMATS]
    if unknown or not formats:
        raise ValueError(f"no animation in the format {', '.join(unknown) or '(none)'}: there are gif and mp4")
    for path in (directory / f"{name}.{suffix}" for name in names for suffix in formats):
        if path.exists() and not force:
            raise ValueError(f"{path} exists: --force overwrites it")
    if names and "mp4" in formats:
        _mp4_writer()


def write_movie(
    frames: Iterator[Pixels],
    halves: Sequence[int],
    palette: Callable[[], Image.Image],
    directory: Path,
    name: str,
    *,
    formats: Sequence[str] = FORMATS,
    force: bool = False,
) -> list[Path]:
    """Write ``NAME.gif`` and ``NAME.mp4``; every frame is drawn once, and one is in memory at a time.

    Parameters
    ----------
    frames : at least one, all of one size
    halves : how long each of them is shown, in halves of a second
    palette : the colours of the GIF, asked for only when one is written; see :func:`palette_of`
    directory : made where it does not exist
    name : of the files, without suffix
    formats : of ``gif`` and ``mp4``
    force : overwrite

    Returns
    -------
    the paths written, in the order of ``formats``

    Raises
    ------
    ValueError
        as :func:`check_movies`, before any frame is drawn
    """
    check_movies(directory, [name], formats=formats, force=force)
    directory.mkdir(parents=True, exist_ok=True)
    paths = {suffix: directory / f"{name}.{suffix}" for suffix in formats}
    with ExitStack() as stack:
        unfinished = {suffix: stack.enter_context(new_file(path, force=force)) for suffix, path in paths.items()}
        if "mp4" in formats:
            frames = _mp4_writer()(frames, halves, unfinished["mp4"])
        if "gif" in formats:
            _write_gif(frames, halves, palette(), unfinished["gif"])
        else:
            for _ in frames:
                pass
    return list(paths.values())


def pixels_of(canvas: FigureCanvasAgg) -> Pixels:
    """What was drawn, less a line where a side is odd."""
    pixels = np.asarray(canvas.buffer_rgba())  # type: ignore[no-untyped-call]
    height, width, _ = pixels.shape
    return pixels[: height - height % 2, : width - width % 2, :3].copy()


def palette_of(frame: Pixels) -> Image.Image:
    """Colours for every frame from one that has them all.

    One of 256 is left free, for what does not change from frame to frame.
    """
    return Image.fromarray(frame).quantize(255, dither=Image.Dither.NONE)


def _write_gif(frames: Iterator[Pixels], halves: Sequence[int], palette: Image.Image, path: Path) -> None:
    """All frames in one palette: nothing flickers, and what does not change between two frames is not stored again."""
    images = (Image.fromarray(frame).quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames)
    durations = [1000 // FRAMES_PER_SECOND * many for many in halves]
    first = next(images)
    first.save(path, "GIF", save_all=True, append_images=images, duration=durations, loop=0)


def _mp4_writer() -> Callable[[Iterator[Pixels], Iterable[int], Path], Iterator[Pixels]]:
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

    def write(frames: Iterator[Pixels], halves: Iterable[int], path: Path) -> Iterator[Pixels]:
        first = next(frames)
        height, width, _ = first.shape
        to_play = ["-r", "10", "-movflags", "+faststart"]  # some players stumble over fewer frames a second
        encoder = write_frames(
            path,
            (width, height),
            fps=FRAMES_PER_SECOND,
            codec="libx264",
            quality=7,
            macro_block_size=2,
            ffmpeg_log_level="error",
            output_params=[*to_play, "-preset", "veryfast", "-bitexact"],
        )
        with closing(encoder):
            encoder.send(None)
            for frame, many in zip(chain([first], frames), halves, strict=True):
                for _ in range(many):
                    encoder.send(frame)
                yield frame

    return write
