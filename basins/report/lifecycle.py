"""The lifecycle picture: a band per basin over the windows, as wide as its share of the posts, and what is expected."""

from __future__ import annotations

import math
from itertools import pairwise
from textwrap import shorten
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Polygon
from matplotlib.patheffects import withStroke
from matplotlib.ticker import PercentFormatter

from basins.report.colours import colours, ink
from basins.report.labels import stack
from basins.report.verdict import current_forecasts
from basins.tracks.tracking import Track
from stpp.domain import Array
from stpp.events import Events
from stpp.reports.plotting import house_style, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from basins.analysis import Analysis

BAR = 0.16
"""Half width of a window's bar, in windows: bands are level there, and bend between bars."""

TICKS = 6
"""Dates along time, at most."""

Span = tuple[float, float]
"""Bottom and top of a band in one window, as shares of the posts."""


def draw_lifecycle(analysis: Analysis, events: Events) -> Figure:
    """A strip of bands: births come to a point on the left, deaths on the right; faint bands lead to and from
    others where basins merge or split.

    On the right, hatched, the sizes expected in the next window.

    Parameters
    ----------
    analysis : of all windows
    events : give dates
    """
    n = len(analysis.windows)
    spans, expected, shades = _spans(analysis), current_forecasts(analysis), colours(analysis.tracking)
    with house_style():
        figure = Figure(figsize=(min(max(9.0, 5.5 + 0.5 * n), 13.0), 5.6))
        ax = figure.subplots()
        for track in analysis.tracking.tracks:
            _draw_track(ax, track, spans, n, shades[track.id])
        for track in analysis.tracking.tracks:
            _draw_kin(ax, track, spans, shades[track.id])
        ends = _draw_expected(ax, expected, spans, n - 1, shades)
        _set_axes(ax, analysis, events, bool(expected))
        _name(ax, analysis, spans, ends, shades)
    return figure


def _order(tracks: tuple[Track, ...]) -> list[int]:
    """Tracks from the bottom up: kin side by side, so that bands that merge or split do not cross others."""
    first: dict[int, tuple[int, ...]] = {}
    for track in tracks:
        relative = min([*track.parents, track.id])
        heir = track.heir if track.heir is not None and track.heir < track.id else relative
        first[track.id] = (*first.get(min(relative, heir), (min(relative, heir),)), track.id)
    return sorted(first, key=lambda track: first[track])


def _spans(analysis: Analysis) -> dict[tuple[int, int], Span]:
    """(window, track) → its band in that window: shares stacked in the order of the tracks."""
    spans: dict[tuple[int, int], Span] = {}
    level = np.zeros(len(analysis.windows))
    by_track = {track.id: track for track in analysis.tracking.tracks}
    for number in _order(analysis.tracking.tracks):
        for k, b in by_track[number].basins:
            share = analysis.found[k].basins[b].share
            spans[k, number] = (float(level[k]), float(level[k]) + share)
            level[k] += share
    return spans


def _draw_track(ax: Axes, track: Track, spans: dict[tuple[int, int], Span], n: int, shade: str) -> None:
    """One outline through all windows of a track, with its points."""
    x, low, high = [], [], []
    windows = [k for k, _ in track.basins]

    def add(at: float, span: Span) -> None:
        x.append(at)
        low.append(span[0])
        high.append(span[1])

    first, last = windows[0], windows[-1]
    middle = sum(spans[first, track.id]) / 2
    if first > 0 and not track.parents:
        add(first - 0.5, (middle, middle))
    for k in windows:
        add(k - BAR, spans[k, track.id])
        add(k + BAR, spans[k, track.id])
    middle = sum(spans[last, track.id]) / 2
    if last < n - 1 and track.heir is None:
        add(last + 0.5, (middle, middle))
    _fill(ax, x, low, high, facecolor=shade, edgecolor="white", linewidth=0.8, alpha=0.85)


def _draw_kin(ax: Axes, track: Track, spans: dict[tuple[int, int], Span], shade: str) -> None:
    """From the parents to where a track began, and from where it ended to its heir."""
    first, last = track.basins[0][0], track.basins[-1][0]
    style = {"facecolor": shade, "linewidth": 0, "alpha": 0.4, "zorder": 1.5}
    for parent in track.parents:
        if (first - 1, parent) in spans:
            _join(ax, first - 1, spans[first - 1, parent], spans[first, track.id], style)
    if track.heir is not None and (last + 1, track.heir) in spans:
        _join(ax, last, spans[last, track.id], spans[last + 1, track.heir], style)


def _join(ax: Axes, k: int, left: Span, right: Span, style: dict[str, object]) -> None:
    """A band from one window to the next, as wide as the smaller end and on the side where the other one is."""
    width = min(left[1] - left[0], right[1] - right[0])

    def part(span: Span, other: Span) -> Span:
        return (span[0], span[0] + width) if sum(other) < sum(span) else (span[1] - width, span[1])

    a, b = part(left, right), part(right, left)
    _fill(ax, [k + BAR, k + 1 - BAR], [a[0], b[0]], [a[1], b[1]], **style)


def _fill(ax: Axes, x: list[float], low: list[float], high: list[float], **style: object) -> Polygon:
    """A band through (x, low) and (x, high) that is level at the given points."""
    curve = [_smooth(x, side) for side in (low, high)]
    patch = Polygon(np.concatenate([curve[0], curve[1][::-1]]), closed=True, **style)
    ax.add_patch(patch)
    return patch


def _smooth(x: list[float], y: list[float]) -> Array:
    """(m, 2) points of a curve that is level at (x, y) and bends like a cosine between."""
    step = np.linspace(0, 1, 20)
    bend = (1 - np.cos(np.pi * step)) / 2
    parts = [
        np.column_stack([a + (b - a) * step, c + (d - c) * bend])
        for (a, b), (c, d) in zip(pairwise(x), pairwise(y), strict=True)
    ]
    return np.concatenate(parts)


# -- what is expected ---------------------------------------------------------------------------------------------


def _draw_expected(
    ax: Axes, expected: dict[int, dict[str, Any]], spans: dict[tuple[int, int], Span], last: int, shades: dict[int, str]
) -> dict[int, Span]:
    """Hatched bands to the next window; the band in which each living track ends."""
    ends = {track: span for (k, track), span in spans.items() if k == last}
    if not expected:
        return ends
    level, out = 0.0, {}
    rows = [(track, span) for track, span in sorted(ends.items(), key=lambda end: end[1]) if track in expected]
    for track, span in rows:
        row = expected[track]
        share = float(row["expected_share"])
        top = level + (share if math.isfinite(share) else span[1] - span[0])
        shade = shades[track]
        x = [last + BAR, last + 1 - BAR, last + 1 + BAR]
        band = {"facecolor": "white", "edgecolor": shade, "hatch": "////", "linewidth": 0.8, "alpha": 0.9}
        _fill(ax, x, [span[0], level, level], [span[1], top, top], **band)
        out[track], level = (level, top), top
    return out


# -- words --------------------------------------------------------------------------------------------------------


def _set_axes(ax: Axes, analysis: Analysis, events: Events, forecast: bool) -> None:
    n = len(analysis.windows)
    ax.set_xlim(-0.55, n - 0.3 + forecast)
    ax.set_ylim(0, max(0.05, 1.02 * ax.dataLim.y1))
    ax.set_yticks([tick for tick in ax.get_yticks() if tick <= 1])
    shown = np.arange(n - 1, -1, -max(1, -(-n // TICKS)))[::-1]
    ax.set_xticks(shown, [f"{events.date(analysis.windows[k].start):%Y-%m-%d}" for k in shown], fontsize="small")
    ax.set_xlabel("first day of the window (UTC)")
    ax.set_ylabel("share of the window's posts, stacked")
    ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
    split = analysis.training - 0.5
    ax.axvline(split, color="0.3", linewidth=1, linestyle=":")
    ax.text(
        split, 1.0, "← learned from ", transform=ax.get_xaxis_transform(), ha="right", va="bottom", fontsize="small"
    )
    ax.text(split, 1.0, " tested on →", transform=ax.get_xaxis_transform(), ha="left", va="bottom", fontsize="small")
    if forecast:
        ax.text(n, 1.0, "next", transform=ax.get_xaxis_transform(), ha="center", va="bottom", fontsize="small")


def _name(
    ax: Axes, analysis: Analysis, spans: dict[tuple[int, int], Span], ends: dict[int, Span], shades: dict[int, str]
) -> None:
    """Names beside the bands that live, and inside the others where they fit; else their numbers."""
    living, (left, right) = [], ax.get_xlim()
    figure = ax.get_figure(root=True)
    assert figure is not None, "axes are on a figure"
    character = (right - left) / (12 * figure.get_figwidth())
    for track in analysis.tracking.tracks:
        name = plain(f"{track.id} {shorten(analysis.names[track.id].text, 36, placeholder=' …')}")
        if track.id in ends:
            y, shade = sum(ends[track.id]) / 2, shades[track.id]
            living.append(ax.text(right, y, name, color=ink(shade), ha="left", va="center", fontsize="small"))
            continue
        own = {k: spans[k, track.id] for k, _ in track.basins}
        rooms = {text: _roomiest(own, len(text) * character / 2) for text in (name, f"{track.id}")}
        rooms[f"{track.id} "] = _roomiest(own, 0)  # over the edges of a tall band rather than not at all
        for (text, (k, low, high)), least in zip(rooms.items(), (0.04, 0.04, 0.3), strict=True):
            if high - low > least * ax.get_ylim()[1]:
                halo = [withStroke(linewidth=2.5, foreground="white")]
                middle = (low + high) / 2
                ax.text(
                    k, middle, text.strip(), ha="center", va="center", fontsize="small", path_effects=halo, zorder=6
                )
                break
    stack(living, ax)


def _roomiest(own: dict[int, Span], reach: float) -> tuple[int, float, float]:
    """The window around which a band is highest over a text that reaches so far, and bottom and top of that room."""
    best = (0, 0.0, -1.0)
    for k in own:
        near = range(math.ceil(k - reach), math.floor(k + reach) + 1)
        if k - reach < min(own) - BAR or k + reach > max(own) + BAR:
            continue
        low, high = max(own[j][0] for j in near), min(own[j][1] for j in near)
        if high - low > best[2] - best[1]:
            best = (k, low, high)
    return best
