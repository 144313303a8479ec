"""Pictures in the house style: forecasts, alone, with the events that came, and against one another."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import matplotlib.style
import numpy as np
from matplotlib.colors import Normalize, PowerNorm
from matplotlib.ticker import FuncFormatter, MaxNLocator, MultipleLocator

from stpp.dates import in_words
from stpp.domain import Array, Box, Grid
from stpp.events import Events

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.collections import LineCollection, PathCollection
    from matplotlib.image import AxesImage
    from matplotlib.patches import StepPatch

    from stpp.intensity import Forecast

DENSITY_LABEL = "relative density (1 = uniform)"

FAINT = 0.999
"""Share of the cells that the colours of a map tell apart; the few highest cells, often one, share the last colour."""

CONTRAST = 3.0
"""Powers of 2 that the colours of a contrast reach to, at most."""

LARGEST = 8.0
"""How many times larger than the median event's a dot may be."""

LITTLE = 0.5
"""Relative density below which a contrast fades."""

RUG = 0.04
"""Height of a rug of events, as a share of the axes."""

SQUARE_WITHIN = 3.0
"""Axes are drawn to one scale while the longer is at most this many times the shorter."""


def house_style() -> AbstractContextManager[None]:
    """Context in which figures take the house style."""
    return matplotlib.style.context(Path(__file__).with_name("stpp.mplstyle"))


def plot_forecast(
    forecast: Forecast,
    events: Events | None = None,
    *,
    axes: Sequence[str] = (),
    top: float | None = None,
    ax: Axes | None = None,
) -> Axes:
    """The relative density of a forecast, with the events that came on top.

    A map in 2-d (colours on a square-root scale, so that the feet of peaks show too); in 1-d a line above a rug of
    events; in 3-d the map of the mean over the last axis.

    Parameters
    ----------
    forecast : on a grid
    events : what came; those outside the domain are not drawn
    axes : names of the coordinates; by default the events', or x0, x1, …
    top : density at which the colours end, for pictures to be compared; by default :func:`top_density` of the forecast
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
        ax.set_title(plain(_title(forecast, events, len(x), f", mean over {names[2]}" if d == 3 else "")))
        if d == 1:
            draw_line(forecast.density, forecast.grid, ax, names)
            draw_rug(x, ax)
            ax.set_ylim(0, top)
        else:
            field = flattened(forecast)
            draw_map(field, forecast.grid, ax, density_norm(top or top_density([field])), names, DENSITY_LABEL)
            draw_dots(x, ax)
    return ax


def plot_contrast(
    forecast: Forecast,
    reference: Forecast,
    events: Events,
    *,
    limit: float | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Where a forecast expects more, and less, than a reference: the ratio of their densities, in powers of 2.

    A map in 2-d and, of the means over the last axis, in 3-d; places fade where both expect little, since a ratio of
    two small numbers matters to no one. A line in 1-d.

    Parameters
    ----------
    forecast, reference : on the same grid
    events : what came; those outside the domain are not drawn
    limit : power of 2 that the colours reach to, for pictures to be compared; by default :func:`contrast_limit`
    ax : where to draw; by default a new figure

    Returns
    -------
    the axes drawn on
    """
    ratio, visible = _contrast(forecast, reference)
    reach = limit if limit is not None else contrast_limit(forecast, reference)
    label = plain(f"density / {reference.model}'s")
    x = events.inside(forecast.grid.box).x
    with house_style():
        ax = ax if ax is not None else plt.subplots()[1]
        if forecast.grid.box.d == 1:
            draw_line(ratio, forecast.grid, ax, events.axes, neutral=0.0, label=label)
            draw_rug(x, ax)
            ax.set_ylim(-1.1 * reach, 1.1 * reach)
            _in_times(ax.yaxis, reach)
            ax.set_title(plain(f"more (above 1×) and less (below)\nthan {reference.model}"))
        else:
            norm = Normalize(-reach, reach)
            image = draw_map(ratio, forecast.grid, ax, norm, events.axes, label, "PuOr_r", extend="both")
            assert image.colorbar is not None, "draw_map draws one"
            _in_times(image.colorbar.ax.yaxis, reach)
            image.set_alpha(visible.T)  # after the colour bar, which would fade with it
            draw_dots(x, ax)
            ax.set_title(plain(f"more (orange) and less (purple)\nthan {reference.model}"))
    return ax


def flattened(forecast: Forecast) -> Array:
    """(n,) or (n, m) relative density as it is drawn: in 3-d the mean over the last axis."""
    return forecast.density if forecast.grid.box.d < 3 else forecast.density.mean(axis=2)


def top_density(fields: Sequence[Array]) -> float:
    """The density at which colours end: the 99.9 % quantile over the cells of one or more maps."""
    return float(np.quantile(np.concatenate([field.ravel() for field in fields]), FAINT))


def density_norm(top: float) -> PowerNorm:
    """Colours on a square-root scale from 0 to ``top``."""
    return PowerNorm(0.5, vmin=0, vmax=top)


def contrast_limit(forecast: Forecast, reference: Forecast) -> float:
    """The power of 2 at which the colours of a contrast end: the 99.9 % quantile, between 0.1 and 3."""
    ratio, visible = _contrast(forecast, reference)
    return float(np.clip(np.quantile(np.abs(ratio) * visible, FAINT), 0.1, CONTRAST))


def _contrast(forecast: Forecast, reference: Forecast) -> tuple[Array, Array]:
    """The log2 ratio of two densities, far beyond any colour where one is 0; and how opaque it is drawn."""
    one, other = flattened(forecast), flattened(reference)
    tiny = np.finfo(float).tiny
    return np.log2(np.maximum(one, tiny) / np.maximum(other, tiny)), np.minimum(np.maximum(one, other) / LITTLE, 1)


def map_size(box: Box, panels: int) -> tuple[float, float]:
    """Width and height in inches of a figure of maps side by side, to the scale of a box."""
    width, height = box.widths[:2] if box.d > 1 else (4, 3)
    panel = 4.6 * float(np.clip(width / height, 1 / SQUARE_WITHIN, SQUARE_WITHIN))
    return panels * (panel + 2.2), 4.6 + 1.3


def _title(forecast: Forecast, events: Events | None, shown: int, how: str) -> str:
    """Two lines: which model (and how a third axis was taken away), then which window and how many events."""
    days = in_words(forecast.window.duration)
    if events is None:
        return f"{forecast.model}{how}\nforecast of {days}"
    start = events.date(forecast.window.start)
    when = f"{start:%Y-%m-%d}" if start.hour == start.minute == 0 else f"{start:%Y-%m-%d %H:%M}"
    return f"{forecast.model}{how}, {days} from {when}\nand the {shown:,} events that came"


def draw_line(
    values: Array,
    grid: Grid,
    ax: Axes,
    names: Sequence[str],
    *,
    neutral: float = 1.0,
    label: str = DENSITY_LABEL,
) -> StepPatch:
    """A step per cell of a 1-d grid, and a grey line where the value is neutral."""
    line = ax.stairs(values, grid.edges[0], baseline=None, linewidth=1.8)
    ax.axhline(neutral, color="0.6", linewidth=1)
    ax.set_xlim(grid.box.low[0], grid.box.high[0])
    ax.set_xlabel(plain(f"{names[0]} (map units)"))
    ax.set_ylabel(label)
    return line


def draw_rug(x: Array, ax: Axes) -> LineCollection:
    """A short stroke at the foot of the axes per event, (n, 1)."""
    rug = ax.vlines([], 0, RUG, transform=ax.get_xaxis_transform(), color="black", linewidth=1)
    set_rug(rug, x)
    return rug


def set_rug(rug: LineCollection, x: Array) -> None:
    """Give the rug of :func:`draw_rug` other events."""
    strokes = np.zeros((len(x), 2, 2))
    strokes[:, :, 0], strokes[:, 1, 1] = x[:, :1], RUG
    rug.set_segments(list(strokes))
    rug.set_alpha(opacity(len(x)))


def draw_map(
    field: Array,
    grid: Grid,
    ax: Axes,
    norm: Normalize,
    names: Sequence[str],
    label: str,
    cmap: str | None = None,
    extend: str = "max",
) -> AxesImage:
    """A field over the first two axes of a grid, with its colour bar; to scale unless one axis is much longer."""
    (left, bottom), (right, top) = grid.box.low[:2], grid.box.high[:2]
    image = ax.imshow(field.T, extent=(left, right, bottom, top), norm=norm, cmap=cmap, aspect="auto", origin="lower")
    ax.figure.colorbar(image, ax=ax, label=label, extend=extend)
    widths = grid.box.widths[:2]
    ax.set_aspect("equal" if widths.max() <= SQUARE_WITHIN * widths.min() else "auto")
    ax.spines[:].set_visible(True)
    ax.set_xlabel(plain(f"{names[0]} (map units)"))
    ax.set_ylabel(plain(f"{names[1]} (map units)"))
    return image


def draw_dots(x: Array, ax: Axes, weight: Array | None = None) -> PathCollection:
    """A dot per event, (n, ≥ 2), white in black to show on any colour; the more, the smaller and fainter.

    Dots of events with weights differ in area by them, at most ``LARGEST`` times the median one's.
    """
    dots = ax.scatter([], [], facecolors="white", edgecolors="black")
    set_dots(dots, x, weight)
    return dots


def set_dots(dots: PathCollection, x: Array, weight: Array | None = None) -> None:
    """Give the dots of :func:`draw_dots` other events."""
    n = max(len(x), 1)
    size = np.full(len(x), np.clip(2500 / n, 2.5, 30))
    if weight is not None and weight.any():
        size = size * np.clip(weight / np.median(weight[weight > 0]), 0.25, LARGEST)
    dots.set_offsets(x[:, :2])
    dots.set_sizes(size)
    dots.set_linewidth(float(np.clip(25 / n**0.5, 0.2, 0.5)))
    dots.set_alpha(opacity(n))


def plain(text: str) -> str:
    """Text that matplotlib draws as it is: without markup for mathematics, and in one paragraph per line."""
    return "".join(c if c.isprintable() or c == "\n" else " " for c in text).replace("$", r"\$")


def _in_times(axis: Axis, reach: float) -> None:
    """Label powers of 2 as factors: 4×, 1/4×; whole powers where the axis reaches that far."""
    axis.set_major_locator(MultipleLocator(1) if reach >= 1 else MaxNLocator(4))
    axis.set_major_formatter(
        FuncFormatter(lambda power, _: f"{2**power:.3g}×" if power >= 0 else f"1/{2**-power:.3g}×")
    )


def opacity(n: int) -> float:
    """Opacity of n marks: all to be seen when few, the field beneath when many."""
    return float(np.clip(30 / max(n, 1) ** 0.5, 0.25, 0.9))
