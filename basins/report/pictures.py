"""Pictures of basins: where they lie in a window, what becomes of them, and whether forecasts kept their word."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from textwrap import wrap
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from basins.basin import Basin
from basins.report.colours import COLOURS, colours, ink
from basins.report.labels import spread_out
from basins.report.verdict import counted, when
from basins.space import Snapshot
from stpp.domain import Array, Grid, relative_density
from stpp.events import Events
from stpp.reports.plotting import (
    DENSITY_LABEL,
    density_norm,
    draw_line,
    draw_map,
    draw_rug,
    house_style,
    map_size,
    plain,
    top_density,
)
from stpp.reports.words import in_percent

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from basins.analysis import Analysis

DOTS = 1_500
"""Posts drawn on a map."""

NAMED = 9
"""Basins on a map up to which their names are written there; of more, the numbers."""

SMALL_MAPS = 12
"""Windows drawn as small maps, at most."""

ENOUGH = 20
"""Known outcomes from which on calibration is drawn."""

BINS = 5
"""Of the calibration picture, with equally many forecasts each."""


# -- maps ---------------------------------------------------------------------------------------------------------


def draw_window(analysis: Analysis, k: int, events: Events) -> Figure:
    """The map of a window: density, posts, regions with their names, and arrows to where their centres are next.

    In 1-d a line with the regions beneath it; in 3-d the mean over the last axis, with all that a region covers along
    it; where cells are landmarks, these, on the first two axes.

    Parameters
    ----------
    analysis : of all windows
    k : index of the window
    events : give dates
    """
    snapshot = analysis.snapshots[k]
    with house_style():
        box = snapshot.space.partition.box
        width, height = map_size(box, 1)
        figure = Figure(figsize=(width, height + 0.4))
        ax = figure.subplots()
        ax.set_title(plain(f"{when(analysis, k, events)}\n{counted(analysis, k)}"))
        _draw(analysis, k, ax, top=_top([snapshot]), named=True)
    return figure


def draw_small_maps(analysis: Analysis, windows: Sequence[int], events: Events) -> Figure:
    """Maps of several windows to one scale, with the numbers of the tracks."""
    columns = min(4, len(windows))
    rows = -(-len(windows) // columns)
    with house_style():
        figure = Figure(figsize=(2.9 * columns + 0.3, 3.1 * rows + 0.2))
        top = _top([analysis.snapshots[k] for k in windows])
        grid = figure.subplots(rows, columns, squeeze=False)
        for ax in grid.flat[len(windows) :]:
            ax.set_axis_off()
        for k, ax in zip(windows, grid.flat, strict=False):
            ax.set_title(f"{events.date(analysis.windows[k].start):%Y-%m-%d}", fontsize="medium")
            _draw(analysis, k, ax, top=top, named=False)
            ax.set(xlabel="", ylabel="", xticks=[], yticks=[])
    return figure


def chosen_windows(analysis: Analysis) -> list[int]:
    """The windows drawn as small maps: the newest, the first, and those in which most happened, in time order."""
    n = len(analysis.windows)
    happened = np.zeros(n)
    for track in analysis.tracking.tracks:
        for k in (track.birth, track.death):
            if k:  # tracks of the first window are not born in it
                happened[k] += 1
    happened[[0, n - 1]] += 1e9
    order = np.lexsort((-np.arange(n), -happened))
    return sorted(int(k) for k in order[:SMALL_MAPS])


def _flat_density(snapshot: Snapshot) -> Array:
    """Relative density as it is drawn: over the axes of the grid, of which a third is taken away by its mean."""
    grid = snapshot.space.partition.grid
    assert grid is not None, "only grids have maps"
    density = snapshot.density.reshape(grid.shape)
    if not density.any():
        return np.zeros(grid.shape[:2])
    field = relative_density(density)
    return field.mean(axis=2) if grid.box.d == 3 else field


def _top(snapshots: Sequence[Snapshot]) -> float:
    if snapshots[0].space.partition.grid is None:
        return 1.0
    return max(top_density([_flat_density(snapshot) for snapshot in snapshots]), 1.0)


def _draw(analysis: Analysis, k: int, ax: Axes, *, top: float, named: bool) -> None:
    snapshot, basins = analysis.snapshots[k], analysis.found[k].basins
    grid, axes = snapshot.space.partition.grid, snapshot.posts.axes
    labels = [_label(analysis, k, basin, named and len(basins) <= NAMED) for basin in basins]
    of_track = colours(analysis.tracking)
    shades = [of_track[analysis.tracking.track_of(k, basin.id)] for basin in basins]
    if grid is not None and grid.box.d == 1:
        _draw_line(snapshot, grid, basins, labels, shades, ax, top)
        return
    if grid is None:
        _draw_landmarks(snapshot, basins, shades, ax)
    else:
        _draw_field(snapshot, grid, basins, shades, ax, top, bar=named)
    _draw_arrows(analysis, k, ax, of_track)
    ax.set_xlabel(plain(f"{axes[0]} (map units)"))
    ax.set_ylabel(plain(f"{axes[1]} (map units)"))
    _write([basin.centre for basin in basins], labels, shades, ax)


def _label(analysis: Analysis, k: int, basin: Basin, named: bool) -> str:
    track = analysis.tracking.track_of(k, basin.id)
    if not named:
        return f"{track}"
    lines = wrap(f"{track} {analysis.names[track].text}", 20, max_lines=3, placeholder=" …")
    return "\n".join([*lines, f"{in_percent(basin.share)} of posts"])


def _draw_field(
    snapshot: Snapshot, grid: Grid, basins: Sequence[Basin], shades: Sequence[str], ax: Axes, top: float, bar: bool
) -> None:
    """Density in grey with its colour bar, dots and outlines; a line is the thicker, the surer the basin exists."""
    field, norm, axes = _flat_density(snapshot), density_norm(top), snapshot.posts.axes
    image = draw_map(field, grid, ax, norm, axes, DENSITY_LABEL, "Greys")
    if not bar and image.colorbar is not None:
        image.colorbar.remove()
    _dots(snapshot, ax, 0.25 if bar else 0.15)
    pads = [np.concatenate([[c[0] - h], c, [c[-1] + h]]) for c, h in zip(grid.centres[:2], grid.spacing, strict=False)]
    for basin, shade in zip(basins, shades, strict=True):
        inside = basin.membership.reshape(grid.shape)
        flat = np.pad(inside if grid.box.d == 2 else inside.max(axis=2), 1)
        ax.contourf(*pads, flat.T, levels=[0.5, 1.5], colors=[shade], alpha=0.15)
        ax.contour(*pads, flat.T, levels=[0.5], colors=[shade], linewidths=0.8 + 1.8 * basin.probability)
    ax.set_xlim(grid.box.low[0], grid.box.high[0])
    ax.set_ylim(grid.box.low[1], grid.box.high[1])


def _dots(snapshot: Snapshot, ax: Axes, alpha: float) -> None:
    x = snapshot.posts.x
    rows = np.linspace(0, len(x) - 1, min(len(x), DOTS)).astype(int)
    ax.plot(x[rows, 0], x[rows, 1], ".", color="black", markersize=2.5, markeredgewidth=0, alpha=alpha, zorder=1.5)


def _draw_landmarks(snapshot: Snapshot, basins: Sequence[Basin], shades: Sequence[str], ax: Axes) -> None:
    """The cells' centres on the first two axes, by weight and by basin; grey where they are nobody's."""
    cells = snapshot.space.partition
    painted = np.full((len(cells), 3), to_rgb("0.8"))
    for basin, shade in zip(basins, shades, strict=True):
        painted[basin.region] = to_rgb(shade)
    total = snapshot.totals
    size = 4 + 60 * total / max(float(total.max()), 1e-300)
    ax.scatter(cells.centres[:, 0], cells.centres[:, 1], s=size, c=painted, linewidths=0.3, edgecolors="white")
    ax.spines[:].set_visible(True)


def _draw_line(
    snapshot: Snapshot,
    grid: Grid,
    basins: Sequence[Basin],
    labels: Sequence[str],
    shades: Sequence[str],
    ax: Axes,
    top: float,
) -> None:
    field = _flat_density(snapshot)
    draw_line(field, grid, ax, snapshot.posts.axes).set_edgecolor("0.2")
    x = snapshot.posts.x
    draw_rug(x[np.linspace(0, len(x) - 1, min(len(x), DOTS)).astype(int)], ax)
    ax.set_ylim(0, 1.25 * top)
    edges = grid.edges[0]
    for basin, shade in zip(basins, shades, strict=True):
        inside = np.repeat(basin.region, 2)
        ax.fill_between(np.repeat(edges, 2)[1:-1], 0, np.repeat(field, 2), where=inside, color=shade, alpha=0.35, lw=0)
    peaks = [float(field[basin.region].max(initial=0)) for basin in basins]
    places = [np.array([basin.centre[0], peak + 0.06 * top]) for basin, peak in zip(basins, peaks, strict=True)]
    _write(places, labels, shades, ax)


def _draw_arrows(analysis: Analysis, k: int, ax: Axes, shades: Mapping[int, str]) -> None:
    """From each centre to where it is in the next window; too short ones would only hide the name."""
    for link in analysis.tracking.links:
        if link.window != k or link.kind != "continues":
            continue
        here = analysis.found[k].basins[link.source].centre[:2]
        there = analysis.found[k + 1].basins[link.target].centre[:2]
        shade = shades[analysis.tracking.track_of(k, link.source)]
        if np.linalg.norm(there - here) > 0.02 * float(analysis.finder.fixed.partition.box.widths[:2].max()):
            style = {"arrowstyle": "-|>", "color": shade, "linewidth": 2.2, "shrinkA": 0, "shrinkB": 0}
            ax.annotate("", tuple(there), tuple(here), arrowprops=style, zorder=4)


def _write(places: Sequence[Array], labels: Sequence[str], shades: Sequence[str], ax: Axes) -> None:
    """Labels in colour on a white edge, moved until none lies on another."""
    size = "small" if any("\n" in label for label in labels) else "medium"
    texts = [
        ax.text(
            float(place[0]), float(place[1]), plain(label), color=ink(shade), fontsize=size, fontweight="bold",
            ha="center", va="center", zorder=6, path_effects=[withStroke(linewidth=3, foreground="white")],
        )
        for place, label, shade in zip(places, labels, shades, strict=True)
    ]  # fmt: skip
    spread_out(texts, ax)


# -- forecasts ----------------------------------------------------------------------------------------------------


def known_outcomes(forecasts: pd.DataFrame) -> pd.DataFrame:
    """The forecasts of continuation whose outcome is known by now."""
    if not len(forecasts):
        return forecasts
    return forecasts[forecasts["continues"].notna() & forecasts["p_continue"].notna()]


def plot_calibration(forecasts: pd.DataFrame, ax: Axes) -> Axes:
    """How often basins went on, against the probability that was given for it, in bins of equally many forecasts.

    Parameters
    ----------
    forecasts : with ``p_continue`` and ``continues``, some of them known
    ax : where to draw
    """
    from statsmodels.stats.proportion import proportion_confint

    known = known_outcomes(forecasts)
    order = np.argsort(known["p_continue"].to_numpy(), kind="stable")
    said, came = (known[name].to_numpy(dtype=float)[order] for name in ("p_continue", "continues"))
    with house_style():
        ax.plot([0, 1], [0, 1], color="0.6", linewidth=1, label="as often as said")
        for part in np.array_split(np.arange(len(said)), min(BINS, max(1, len(said) // 8))):
            yes, mean = int(came[part].sum()), float(said[part].mean())
            low, high = proportion_confint(yes, len(part), method="wilson")
            ax.plot([mean, mean], [low, high], color=COLOURS[0])
            ax.plot(mean, yes / len(part), "o", color=COLOURS[0])
        ax.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
        ax.set_xlabel("probability given to going on")
        ax.set_ylabel("share that went on")
        ax.set_title(f"{len(said):,} forecasts of continuation")
        ax.legend(loc="upper left")
    return ax
