"""The pictures of a report on basins, with what is said beneath them and to who cannot see them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matplotlib.figure import Figure

from basins.report.lifecycle import draw_lifecycle
from basins.report.pictures import (
    ENOUGH,
    SMALL_MAPS,
    chosen_windows,
    draw_small_maps,
    draw_window,
    known_outcomes,
    plot_calibration,
)
from basins.report.verdict import when
from stpp.events import Events
from stpp.reports.pages import Picture
from stpp.reports.plotting import house_style

if TYPE_CHECKING:
    from basins.analysis import Analysis


def lifecycle_picture(analysis: Analysis, events: Events) -> Picture | None:
    """The bands of all basins; None where there never was one."""
    if not analysis.tracking.tracks:
        return None
    alt = "A band per basin along time, as wide as its share of the posts; the numbers are in basins.csv."
    caption = (
        "A band is as wide as the basin's share of the posts in each window. Bands begin and end in a point where "
        "basins are born and die; faint bands lead from or into others where they split or merge. Hatched: expected in "
        "the next window."
    )
    return Picture.of("lifecycle.png", draw_lifecycle(analysis, events), alt, caption)


def map_picture(analysis: Analysis, k: int, events: Events) -> Picture:
    """The map of a window; ``newest.png`` of the newest, ``last.png`` of an earlier one."""
    alt = f"Where basins lie in the window of {when(analysis, k, events)}; centres are in basins.csv."
    box = analysis.finder.fixed.partition
    shown = "Grey: density of posts; dots: posts, thinned; outlines: basins, the thicker the surer they exist."
    if box.grid is None:
        shown = f"Landmarks on the first two of {box.box.d} axes, larger where there is more, coloured by basin."
    elif box.box.d == 3:
        shown += f" Seen along {events.axes[2]}."
    elif box.box.d == 1:
        shown = "Line: density of posts; strokes: posts, thinned; coloured: basins."
    name = "newest.png" if k == len(analysis.windows) - 1 else "last.png"
    return Picture.of(name, draw_window(analysis, k, events), alt, shown)


def windows_picture(analysis: Analysis, events: Events) -> Picture | None:
    """Small maps of several windows; None with a single window."""
    windows = chosen_windows(analysis)
    if len(analysis.windows) < 2:
        return None
    out = len(analysis.windows) - len(windows)
    left = (
        f" Shown are the first window, the newest and those with most births and deaths, {SMALL_MAPS} at most; left "
        f"out: {out}."
        if out
        else ""
    )
    caption = f"Windows by their first day, to one scale; arrows lead to where a centre is in the next window.{left}"
    alt = "Small maps of the basins in several windows; the numbers are in basins.csv."
    return Picture.of("windows.png", draw_small_maps(analysis, windows, events), alt, caption)


def calibration_picture(analysis: Analysis) -> Picture | None:
    """Whether forecasts kept their word; None where too few outcomes are known."""
    if len(known_outcomes(analysis.forecasts)) < ENOUGH:
        return None
    with house_style():
        figure = Figure(figsize=(5.4, 5.4))
        plot_calibration(analysis.forecasts, figure.subplots())
    alt = "Share of basins that went on against the probability given for it; the numbers are in forecasts.csv."
    caption = (
        "Forecasts in groups of equal size with 95 % intervals; on the grey line they are right as often as they say."
    )
    return Picture.of("calibration.png", figure, alt, caption)
