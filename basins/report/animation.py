"""Basins as a moving picture: in each window what was expected of those of the window before, then what came."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from basins.report.colours import ink
from basins.report.labels import spread_out
from basins.report.map_part import BasinsPart
from stpp.compute.progress import Progress
from stpp.maps.compose import compose
from stpp.maps.scene import Basins, BasinSeen, Scene
from stpp.reports.movies import Pixels, check_movies, palette_of, pixels_of, write_movie
from stpp.reports.plotting import (
    DENSITY_LABEL,
    density_norm,
    draw_dots,
    draw_map,
    house_style,
    map_size,
    plain,
    top_density,
)
from stpp.reports.words import in_percent

if TYPE_CHECKING:
    from matplotlib.axes import Axes

HALF_SECONDS = (2, 2)
"""How long is shown what was expected, and what came."""

DOTS = 1_500
"""Posts drawn, at most."""

NAMED = 9
"""Basins up to which names are written; of more, shares alone."""


def animate_basins(run: Path, output: Path, *, force: bool = False, progress: Progress | None = None) -> Path:
    """Write one GIF or MP4 of a run of ``stpp basins``, as its suffix says: two frames per window.

    The first shows the basins of the window before, and how likely each was to go on; the second what came: density,
    posts, and the basins found. The same run gives the same GIF, byte for byte.

    Parameters
    ----------
    run : the directory
    output : of the animation
    force : overwrite
    progress : told about every window

    Returns
    -------
    ``output``

    Raises
    ------
    ValueError
        before any frame is drawn, if the suffix is neither ``.gif`` nor ``.mp4``, the file exists, MP4 is wanted and
        there is nothing to write it with, the directory is no such run or its events changed, or there is one
        coordinate only
    """
    formats = [output.suffix.removeprefix(".")]
    check_movies(output.parent, [output.stem], formats=formats, force=force)
    scene, _ = compose([BasinsPart.of_run(run)], title=f"Basins of {run.resolve().name}")
    windows = range(len(scene.canvas.windows))
    top = max(top_density([*scene.observed.values]), 1.0)

    def frames() -> Iterator[Pixels]:
        for k in windows:
            if k:
                yield _frame(scene, k, top, came=False)
            yield _frame(scene, k, top, came=True)
            if progress is not None:
                progress("frame", k + 1, len(windows))

    fullest = max(windows, key=lambda k: len(_basins(scene).found[k]))
    halves = list(chain(HALF_SECONDS[1:], *(HALF_SECONDS for _ in windows[1:])))
    write_movie(
        frames(),
        halves,
        lambda: palette_of(_frame(scene, fullest, top, came=True)),
        output.parent,
        output.stem,
        formats=formats,
        force=force,
    )
    return output


def _basins(scene: Scene) -> Basins:
    assert scene.basins is not None, "a run of basins brings them"
    return scene.basins


def _frame(scene: Scene, k: int, top: float, *, came: bool) -> Pixels:
    """One frame of window ``k``: what came, or what was expected by the window before."""
    canvas, shown = scene.canvas, k if came else k - 1
    with house_style():
        width, height = map_size(canvas.grid.box, 1)
        figure = Figure(figsize=(width, height + 0.6), dpi=100)
        agg = FigureCanvasAgg(figure)
        ax = figure.subplots()
        field = scene.observed.values[shown].astype(float)
        draw_map(field, canvas.grid, ax, density_norm(top), canvas.names, DENSITY_LABEL, "Greys")
        if came:
            x = canvas.places(canvas.events.between(canvas.windows[k]).x)
            draw_dots(x[np.linspace(0, len(x) - 1, min(len(x), DOTS)).astype(int)], ax)
        _draw_basins(_basins(scene), shown, ax, came=came)
        figure.suptitle(plain(_heading(scene, k, came=came)), x=0.01, ha="left", fontsize=13)
        agg.draw()  # type: ignore[no-untyped-call]
    return pixels_of(agg)


def _draw_basins(basins: Basins, k: int, ax: Axes, *, came: bool) -> None:
    """Outlines, dashed where they are only expected, and words."""
    tracks = {track.id: track for track in basins.tracks}
    found = basins.found[k]
    for i, basin in enumerate(found):
        if basins.regions is not None and basins.grid is not None:
            grid, shade = basins.grid, tracks[basin.track].colour
            pads = [
                np.concatenate([[c[0] - h], c, [c[-1] + h]]) for c, h in zip(grid.centres, grid.spacing, strict=True)
            ]
            inside = np.pad((basins.regions[k] == i + 1).astype(float), 1)
            style = "solid" if came else "dashed"
            ax.contour(*pads, inside.T, levels=[0.5], colors=[shade], linewidths=2, linestyles=style)
    texts = [
        ax.text(
            *basin.centre,
            plain(_label(basin, tracks[basin.track].name if len(found) <= NAMED else "", came=came)),
            color=ink(tracks[basin.track].colour),
            fontsize="small",
            fontweight="bold",
            ha="center",
            va="center",
            zorder=6,
            path_effects=[withStroke(linewidth=3, foreground="white")],
        )
        for basin in found
    ]
    spread_out(texts, ax)


def _label(basin: BasinSeen, name: str, *, came: bool) -> str:
    if came:
        said = f"{in_percent(basin.share)} of posts"
    else:
        said = "no forecast" if math.isnan(basin.p_continue) else f"goes on: {in_percent(basin.p_continue)}"
    return "\n".join(filter(None, [f"{basin.track} {name}".rstrip(), said]))


def _heading(scene: Scene, k: int, *, came: bool) -> str:
    window, basins = scene.canvas.windows[k], _basins(scene)
    dates = [f"{scene.canvas.events.date(t):%Y-%m-%d %H:%M}" for t in (window.start, window.end)]
    when = " to ".join(date.removesuffix(" 00:00") for date in dates)
    if not came:
        return f"{when} UTC, as expected before\nbasins of the window before, and whether they go on"
    here, before = ({one.track for one in found} for found in (basins.found[k], basins.found[k - 1] if k else ()))
    told = (
        _counts([(len(here & before), "went on"), (len(here - before), "new"), (len(before - here), "gone")])
        if k
        else ""
    )
    n = len(scene.canvas.events.between(window))
    return f"{when} UTC, what came\n{n:,} posts; basins: {told or len(here)}"


def _counts(told: Sequence[tuple[int, str]]) -> str:
    return ", ".join(f"{n} {what}" for n, what in told)
