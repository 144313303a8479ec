"""Pictures in the house style: a forecast with the events that came, and scores window by window."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import matplotlib.style
import numpy as np
from matplotlib.colors import Normalize, PowerNorm
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.ticker import FuncFormatter

from stpp.columns import in_words
from stpp.domain import Array, Box, Grid
from stpp.events import Events

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from stpp.intensity import Forecast

DENSITY_LABEL = "relative density (1 = uniform)"

LABELS = {
    "fds": "FDS (1 = uniform)",
    "information_gain": "information gain\n(nats per event)",
    "log_score": "log score\n(nats per event)",
    "quadratic_fds": "quadratic FDS (1 = uniform)",
    "spherical_fds": "spherical FDS (1 = uniform)",
    "overconfidence": "overconfidence\n(claimed − realised FDS)",
}

DIFFERENCES = ("information_gain", "overconfidence")
"""Scores whose 0 means something: a grey line marks it."""

MARKERS = "os^Dv<>"

FAINT = 0.999
"""Share of the cells that the colours of a map tell apart; the few highest cells, often one, share the last colour."""

CONTRAST = 3.0
"""Powers of 2 that the colours of a contrast reach to, at most."""

LITTLE = 0.5
"""Relative density below which a contrast fades."""

SQUARE_WITHIN = 3.0
"""Axes are drawn to one scale while the longer is at most this many times the shorter."""


def house_style() -> AbstractContextManager[None]:
    """Context in which figures take the house style."""
    return matplotlib.style.context(Path(__file__).with_name("stpp.mplstyle"))


def plot_forecast(
    forecast: Forecast, events: Events | None = None, *, axes: Sequence[str] = (), ax: Axes | None = None
) -> Axes:
    """The relative density of a forecast, with the events that came on top.

    A map in 2-d (colours on a square-root scale, so that the feet of peaks show too, and up to the 99.9 % quantile);
    in 1-d a line above a rug of events; in 3-d the map of the mean over the last axis.

    Parameters
    ----------
    forecast : on a grid
    events : what came; those outside the domain are not drawn
    axes : names of the coordinates; by default the events', or x0, x1, …
    ax : where to draw; by default a new figure

    Returns
    -------
    the axes drawn on
    """
    d = forecast.grid.box.d
    names = tuple(axes) or (events.axes if events is not None else tuple(f"x{k}" for k in range(d)))
    x = np.empty((0, d)) if events is None else events.inside(forecast.grid.box).x
    with house_style():
        ax = ax if ax is not None else plt.subplots()[1]
        ax.set_title(_title(forecast, events, len(x), f", mean over {names[2]}" if d == 3 else ""))
        ax.set_xlabel(f"{names[0]} (map units)")
        if d == 1:
            _draw_line(forecast, x, ax)
        else:
            field = forecast.density if d == 2 else forecast.density.mean(axis=2)
            norm = PowerNorm(0.5, vmin=0, vmax=float(np.quantile(field, FAINT)))
            _draw_map(field, forecast.grid, x, ax, norm, DENSITY_LABEL, extend="max")
            ax.set_ylabel(f"{names[1]} (map units)")
    return ax


def plot_contrast(forecast: Forecast, reference: Forecast, events: Events, *, ax: Axes | None = None) -> Axes:
    """Where a 2-d forecast expects more, and less, than a reference: the ratio of their densities, in powers of 2.

    Places fade where both expect little, since a ratio of two small numbers matters to no one.

    Parameters
    ----------
    forecast, reference : on the same 2-d grid, both positive (a floor sees to it)
    events : what came; those outside the domain are not drawn
    ax : where to draw; by default a new figure

    Returns
    -------
    the axes drawn on
    """
    ratio = np.log2(forecast.density / reference.density)
    opacity = np.minimum(np.maximum(forecast.density, reference.density) / LITTLE, 1)
    limit = float(np.clip(np.quantile(np.abs(ratio) * opacity, FAINT), 0.1, CONTRAST))
    norm, label = Normalize(-limit, limit), f"density / {reference.model}'s"
    with house_style():
        ax = ax if ax is not None else plt.subplots()[1]
        ax.set_title(f"more (orange) and less (purple)\nthan {reference.model}")
        ax.set_xlabel(f"{events.axes[0]} (map units)")
        x = events.inside(forecast.grid.box).x
        _draw_map(ratio, forecast.grid, x, ax, norm, label, cmap="PuOr_r", extend="both", ticks=_times, alpha=opacity)
    return ax


def map_size(box: Box, panels: int) -> tuple[float, float]:
    """Width and height in inches of a figure of maps side by side, to the scale of a box."""
    width, height = box.widths[:2] if box.d > 1 else (4, 3)
    panel = 4.6 * float(np.clip(width / height, 1 / SQUARE_WITHIN, SQUARE_WITHIN))
    return panels * (panel + 2.2), 4.6 + 1.3


def plot_windows(table: pd.DataFrame, score: str = "information_gain", *, ax: Axes | None = None) -> Axes:
    """One score window by window: a mark per window and model, dashes at each model's mean.

    Parameters
    ----------
    table : a backtest's table: columns ``model``, ``start`` (UTC) and the score; missing scores are not drawn
    score : the column to draw
    ax : where to draw; by default a new figure

    Returns
    -------
    the axes drawn on

    Raises
    ------
    ValueError
        if the table has no such score
    """
    if score not in table.columns:
        raise ValueError(f"the table has no column '{score}'; there are: {', '.join(map(str, table.columns))}")
    with house_style():
        ax = ax if ax is not None else plt.subplots(figsize=(9, 3.6))[1]
        if score in DIFFERENCES:
            ax.axhline(0.0, color="0.6", linewidth=1)
        for k, (name, part) in enumerate(table.groupby("model", sort=False)):
            known = part[np.isfinite(part[score].to_numpy())]
            shape = MARKERS[k % len(MARKERS)]
            (marks,) = ax.plot(known["start"], known[score], shape, markersize=4.5, alpha=0.8, label=str(name))
            if len(known):
                ax.axhline(float(known[score].mean()), color=marks.get_color(), linewidth=1.2, linestyle="--")
        ax.set_ylabel(LABELS.get(score, score))
        ax.set_xlabel("start of the window (UTC)")
        locator = AutoDateLocator(minticks=3, maxticks=7)  # type: ignore[no-untyped-call]
        ax.xaxis.set_major_locator(locator)
        ax.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]
        ax.legend(
            loc="lower left", bbox_to_anchor=(0, 1), ncols=4, handletextpad=0.1, borderaxespad=0.1, columnspacing=1
        )
    return ax


def _title(forecast: Forecast, events: Events | None, shown: int, how: str) -> str:
    """Two lines: which model (and how a third axis was taken away), then which window and how many events."""
    days = in_words(forecast.window.duration)
    if events is None:
        return f"{forecast.model}{how}\nforecast of {days}"
    start = events.date(forecast.window.start)
    when = f"{start:%Y-%m-%d}" if start.hour == start.minute == 0 else f"{start:%Y-%m-%d %H:%M}"
    return f"{forecast.model}{how}, {days} from {when}\nand the {shown:,} events that came"


def _draw_line(forecast: Forecast, x: Array, ax: Axes) -> None:
    ax.stairs(forecast.density, forecast.grid.edges[0], baseline=None, linewidth=1.8)
    ax.axhline(1.0, color="0.6", linewidth=1)
    ax.set_ylim(bottom=0)
    ax.vlines(x[:, 0], 0, 0.04, transform=ax.get_xaxis_transform(), color="black", linewidth=1, alpha=_alpha(len(x)))
    ax.set_xlim(forecast.grid.box.low[0], forecast.grid.box.high[0])
    ax.set_ylabel(DENSITY_LABEL)


def _draw_map(
    field: Array,
    grid: Grid,
    x: Array,
    ax: Axes,
    norm: Normalize,
    label: str,
    extend: str,
    cmap: str | None = None,
    ticks: Callable[[float, int], str] | None = None,
    alpha: Array | None = None,
) -> None:
    mesh = ax.pcolormesh(grid.edges[0], grid.edges[1], field.T, norm=norm, cmap=cmap, rasterized=True)
    ax.figure.colorbar(mesh, ax=ax, label=label, extend=extend, format=ticks and FuncFormatter(ticks))
    if alpha is not None:
        mesh.set_alpha(alpha.T.tolist())  # after the colour bar, which would fade with it
    size = float(np.clip(2000 / max(len(x), 1), 4, 30))
    ax.scatter(x[:, 0], x[:, 1], s=size, facecolors="white", edgecolors="black", linewidths=0.5, alpha=_alpha(len(x)))
    ax.set_xlim(grid.box.low[0], grid.box.high[0])
    ax.set_ylim(grid.box.low[1], grid.box.high[1])
    widths = grid.box.widths[:2]
    ax.set_aspect("equal" if widths.max() <= SQUARE_WITHIN * widths.min() else "auto")
    ax.spines[:].set_visible(True)


def _times(power: float, _: int) -> str:
    """A power of 2 in words: 4×, 1/4×."""
    return f"{2**power:.3g}×" if power >= 0 else f"1/{2**-power:.3g}×"


def _alpha(n: int) -> float:
    """Opacity of n marks: all to be seen when few, the field beneath when many."""
    return float(np.clip(30 / max(n, 1) ** 0.5, 0.25, 0.9))
