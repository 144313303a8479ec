"""Pictures of flows: arrows on the density, where it gathers and spreads, where it grows, and how sure that is."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import ListedColormap, Normalize
from numpy.typing import NDArray
from scipy.special import ndtri

from stpp.domain import Array, Box, Grid
from stpp.events import Events
from stpp.flow.flow import Flow
from stpp.flow.report import LEVEL, PRESENT, gathers_or_spreads, grows, moves, relative_mass, speed
from stpp.reports.plotting import DENSITY_LABEL, FAINT, density_norm, draw_map, house_style, plain, top_density

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.image import AxesImage

ARROWS = 20
"""Arrows along the longer side of a map."""

FADED = 0.2
"""Opacity of what is within chance."""

PALE, DARK = ("white", "0.55", 0.7), ("black", "white", 0.4)
"""Face, edge and width of the outline of an arrow."""

DENSITY_COLOURS = ListedColormap(mpl.colormaps["Blues"](np.linspace(0, 0.62, 256)), "density beneath arrows")
"""White where nothing is, and nowhere so dark that a black arrow is lost."""

FOG = ListedColormap(mpl.colormaps["Greys"](np.linspace(0, 0.7, 256)), "the darker, the less sure")

SPREAD_LABEL = "divergence of the velocity (per day)"
GROWTH_LABEL = "growth of the mass (per day)"
UNSURE_LABEL = "standard error of the velocity\n(map units per day)"
VELOCITY_LABEL = "velocity (map units per day)"

TITLES = {
    "flow": "where it moves: dark arrows\nbeyond chance, pale ones not\n",  # the key stands in the third line
    "divergence": "gathers (orange), spreads (purple);\nfaded where it may be chance",
    "growth": "grows (orange), shrinks (purple);\nfaded where it may be chance",
    "unsure": "how sure the arrows are:\nthe darker, the less sure",
}

LINE_TITLES = {
    "flow": TITLES["flow"],
    "divergence": "gathers (below 0), spreads (above);\nblack beyond chance, band 95 %",
    "growth": "grows (above 0), shrinks (below);\nblack beyond chance, band 95 %",
    "unsure": "velocity: black beyond chance,\nband 95 %",
}
"""In 1-d."""


def plot_flow(
    flow: Flow,
    events: Events | None = None,
    *,
    axes: Sequence[str] = (),
    top: float | None = None,
    fastest: float | None = None,
    ax: Axes | None = None,
) -> Axes:
    """The density and its motion: dark arrows are beyond chance among all of the map, pale ones are not.

    In 2-d a map; in 3-d of the mean over the last axis; in 1-d a curve with arrows along it. Arrows are drawn where the
    density is at least half its mean.

    Parameters
    ----------
    flow : of one window
    events : give the names of the axes
    axes : names of the coordinates; by default the events', or x0, x1, …
    top : relative density at which the colours end, for pictures to be compared; by default :func:`top_of`
    fastest : speed of an arrow as long as arrows are apart, map units per day, likewise; by default :func:`fastest_of`
    ax : where to draw; by default a new figure

    Returns
    -------
    the axes drawn on
    """
    with house_style():
        panel = _Panel(flow, events, axes, ax)
        if panel.begin("flow", DENSITY_LABEL):
            density, most = relative_mass(panel.flow), top_of([flow]) if top is None else top
            if panel.grid.box.d == 1:
                panel.ax.stairs(density, panel.grid.edges[0], fill=True, color=DENSITY_COLOURS(0.6))
                panel.along(DENSITY_LABEL, 0, 1.25 * max(most, float(density.max())))
            else:
                norm = density_norm(most)
                panel.map(density, norm, DENSITY_LABEL).set_cmap(DENSITY_COLOURS)
            _draw_arrows(panel.flow, density, fastest_of([flow]) if fastest is None else fastest, panel.ax)
    return panel.ax


def plot_divergence(
    flow: Flow,
    events: Events | None = None,
    *,
    window: float,
    axes: Sequence[str] = (),
    limit: float | None = None,
    ax: Axes | None = None,
) -> Axes:
    """∇·v: where mass gathers (< 0, a candidate basin) and spreads (> 0); fades with the mass and within chance.

    Where most gathers and spreads, beyond chance, is marked. In 1-d a line with its 95 % band.

    Parameters
    ----------
    flow, events, axes, ax : as in :func:`plot_flow`
    window : of the estimator, map units: see :meth:`stpp.flow.flow.Flow.divergence_error`
    limit : per day, where the colours end on both sides; by default :func:`divergence_limit`

    Returns
    -------
    the axes drawn on
    """
    with house_style():
        panel = _Panel(flow, events, axes, ax)
        if panel.begin("divergence", SPREAD_LABEL):
            sure, error = gathers_or_spreads(panel.flow, window), panel.flow.divergence_error(window)
            reach = divergence_limit([flow], window) if limit is None else limit
            panel.signed(panel.flow.divergence, error, sure, reach, SPREAD_LABEL, "PuOr")
            if panel.grid.box.d == 2:
                _mark_extremes(panel.flow, sure, panel.ax)
    return panel.ax


def plot_growth(
    flow: Flow,
    events: Events | None = None,
    *,
    axes: Sequence[str] = (),
    limit: float | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Growth and decay of the mass as it moves; fades with the mass and within chance. In 1-d with its 95 % band.

    Parameters
    ----------
    flow, events, axes, ax : as in :func:`plot_flow`
    limit : per day, where the colours end on both sides; by default :func:`growth_limit`

    Returns
    -------
    the axes drawn on
    """
    with house_style():
        panel = _Panel(flow, events, axes, ax)
        if panel.begin("growth", GROWTH_LABEL):
            reach = growth_limit([flow]) if limit is None else limit
            growth, error = panel.flow.growth, panel.flow.growth_error
            panel.signed(growth, error, grows(panel.flow), reach, GROWTH_LABEL, "PuOr_r")
    return panel.ax


def plot_uncertainty(
    flow: Flow,
    events: Events | None = None,
    *,
    axes: Sequence[str] = (),
    limit: float | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Standard error of the velocity (root mean square over axes); in 1-d the velocity with its 95 % band.

    Parameters
    ----------
    flow, events, axes, ax : as in :func:`plot_flow`
    limit : map units per day of the last colour, in 1-d of the end of the axis; by default :func:`fastest_of`, and
        at least the largest error where there is mass

    Returns
    -------
    the axes drawn on
    """
    with house_style():
        panel = _Panel(flow, events, axes, ax)
        label = VELOCITY_LABEL if panel.grid.box.d == 1 else UNSURE_LABEL
        if panel.begin("unsure", label):
            if panel.grid.box.d == 1:
                velocity, error = panel.flow.velocity[0], panel.flow.velocity_error[0]
                reach = fastest_of([flow]) if limit is None else limit
                panel.signed(velocity, error, moves(panel.flow), reach, label, "PuOr")
            else:
                norm = Normalize(0, error_limit([flow]) if limit is None else limit)
                panel.map(_velocity_error(panel.flow), norm, label).set_cmap(FOG)
    return panel.ax


def top_of(flows: Sequence[Flow]) -> float:
    """The relative density at which colours end: the 99.9 % quantile over the cells of some flows; 1 without any."""
    return top_density([relative_mass(flattened_flow(flow)) for flow in flows]) or 1.0


def fastest_of(flows: Sequence[Flow]) -> float:
    """The speed, map units per day, whose arrow is as long as arrows are apart: few are longer where there is mass.

    It is a standard error at least: what is known so badly that it cannot be told from no motion stays short.
    """
    return _reach(flows, speed, _velocity_error, quantile=0.95)


def divergence_limit(flows: Sequence[Flow], window: float) -> float:
    """The divergence, per day, at which colours end: the largest where there is mass, and at least a standard error."""
    return _reach(flows, lambda flow: np.abs(flow.divergence), lambda flow: flow.divergence_error(window))


def growth_limit(flows: Sequence[Flow]) -> float:
    """The growth, per day, at which colours end: the largest where there is mass, and at least a standard error."""
    return _reach(flows, lambda flow: np.abs(flow.growth), lambda flow: flow.growth_error)


def error_limit(flows: Sequence[Flow]) -> float:
    """The standard error of the velocity, map units per day, at which colours end: the largest where there is mass."""
    return _reach(flows, _velocity_error)


class _Panel:
    """One picture of a flow: what of it is drawn, and on which axes."""

    def __init__(self, flow: Flow, events: Events | None, axes: Sequence[str], ax: Axes | None) -> None:
        d = flow.grid.box.d
        self.names = tuple(axes) or (events.axes if events is not None else tuple(f"x{k}" for k in range(d)))
        self.flow = flattened_flow(flow)
        self.grid = self.flow.grid
        self.over = plain(f"\nmean over {self.names[2]}") if d == 3 else ""
        self.ax = ax if ax is not None else plt.subplots()[1]

    def begin(self, picture: str, label: str) -> bool:
        """The title. Where there are no events that is said, on axes like all others, and nothing is left to draw."""
        lines = LINE_TITLES if self.grid.box.d == 1 else TITLES
        self.ax.set_title(lines[picture])
        if self.flow.density.any():
            return True
        if self.grid.box.d == 1:
            self.along(label, 0, 1)
            self.ax.set_yticks([])
        else:
            nothing = self.map(np.zeros(self.grid.shape), Normalize(0, 1), label)
            nothing.set_alpha(0.0)
            assert nothing.colorbar is not None, "draw_map draws one"
            nothing.colorbar.ax.set_visible(False)  # keeps its room, so that pictures in a row do not jump
        self.ax.annotate("no events in this frame", (0.5, 0.5), xycoords="axes fraction", ha="center", color="0.35")
        return False

    def map(self, field: Array, norm: Normalize, label: str, cmap: str | None = None, extend: str = "max") -> AxesImage:
        """A map with its colour bar."""
        return draw_map(field, self.grid, self.ax, norm, self.names, label + self.over, cmap, extend)

    def along(self, label: str, bottom: float, top: float) -> None:
        """The axes of a 1-d picture."""
        self.ax.set_xlim(self.grid.box.low[0], self.grid.box.high[0])
        self.ax.set_ylim(bottom, top)
        self.ax.set_xlabel(plain(f"{self.names[0]} (map units)"))
        self.ax.set_ylabel(label)

    def signed(self, value: Array, error: Array, sure: NDArray[np.bool_], limit: float, label: str, cmap: str) -> None:
        """A quantity around 0: a map that fades with the mass and within chance, or a line with its 95 % band."""
        if self.grid.box.d > 1:
            norm = Normalize(-limit, limit)
            image = self.map(value, norm, label, cmap, "both")
            mass = np.minimum(relative_mass(self.flow) / PRESENT, 1.0)
            image.set_alpha((mass * np.where(sure, 1.0, FADED)).T)  # after the colour bar, which would fade with it
            return
        here, half = relative_mass(self.flow) >= PRESENT, ndtri(1 - LEVEL / 2) * error
        centres = self.grid.centres[0]
        self.ax.axhline(0.0, color="0.6", linewidth=1)
        self.ax.fill_between(centres, value - half, value + half, where=here, color="0.85", linewidth=0)
        self.ax.plot(centres, np.where(here, value, np.nan), color="0.6")
        self.ax.plot(centres, np.where(here & sure, value, np.nan), color="black", linewidth=2.6)
        self.along(label, -2 * limit, 2 * limit)


def _draw_arrows(flow: Flow, density: Array, fastest: float, ax: Axes) -> None:
    """Arrows on a thinned lattice where there is mass, and one of a round speed to compare them with."""
    grid, d = flow.grid, flow.grid.box.d
    step = max(1, math.ceil(max(grid.shape) / ARROWS))
    some = tuple(slice((n - 1) % step // 2, None, step) for n in grid.shape)
    here = np.zeros(grid.shape, dtype=bool)
    here[some] = True
    here &= density >= PRESENT
    places = grid.points().reshape(*grid.shape, d)[here]
    arrows = np.moveaxis(flow.velocity, 0, -1)[here]
    if d == 1:  # along the curve
        places, arrows = (
            np.column_stack([places[:, 0], density[here]]),
            np.column_stack([arrows, np.zeros(len(arrows))]),
        )
    width = grid.box.widths[0]
    scale = fastest / float(step * grid.spacing[:2].max())  # speed per map unit of arrow
    sure = moves(flow)[here]
    for chosen, (face, edge, outline) in ((~sure, PALE), (sure, DARK)):
        quiver = ax.quiver(
            *places[chosen].T,
            *arrows[chosen].T,
            angles="xy" if d > 1 else "uv",
            scale_units="x",
            scale=scale,
            units="x",
            width=0.005 * width,
            minlength=0.5,
            zorder=3,
            facecolor=face,
            edgecolor=edge,
            linewidth=outline,
        )
    key = _round(fastest)
    ax.quiverkey(
        quiver, 0.05, 1.03, key, f"{key:g} map units per day", labelpos="E", color="black", fontproperties={"size": 12}
    )


def _mark_extremes(flow: Flow, sure: NDArray[np.bool_], ax: Axes) -> None:
    """A mark at the strongest sink and source beyond chance, with a legend in plain words."""
    here = sure & (relative_mass(flow) >= PRESENT)
    points = flow.grid.points()
    for sign, marker, word in ((-1, "v", "most gathers here"), (1, "^", "most spreads here")):
        among = here & (sign * flow.divergence > 0)
        if among.any():
            place = points[np.argmax(np.where(among, sign * flow.divergence * flow.density, -np.inf))]
            ax.plot(*place, marker, color="black", markeredgecolor="white", markersize=10, linestyle="", label=word)
    if ax.get_legend_handles_labels()[0]:
        ax.legend(loc="upper right", frameon=True, framealpha=0.8, edgecolor="none", handletextpad=0.1)


def flattened_flow(flow: Flow) -> Flow:
    """The flow as it is drawn: in 3-d its mean over the last axis, weighted by mass; errors as if all went together."""
    if flow.grid.box.d < 3:
        return flow
    box = flow.grid.box
    mass = flow.density.sum(axis=2)
    weight = np.divide(
        flow.density, mass[..., None], out=np.full(flow.grid.shape, 1 / flow.grid.shape[2]), where=mass[..., None] > 0
    )

    def mean(field: Array) -> Array:
        return np.asarray((weight * field).sum(axis=-1))

    return Flow(
        Grid(Box(box.low[:2], box.high[:2]), flow.grid.shape[:2]),
        flow.time,
        flow.frame,
        mass * flow.grid.spacing[2],
        mean(flow.velocity[:2]),
        mean(flow.velocity_error[:2]),
        mean(flow.growth),
        mean(flow.growth_error),
    )


def _velocity_error(flow: Flow) -> Array:
    return np.asarray(np.sqrt((flow.velocity_error**2).mean(axis=0)))


def _reach(flows: Sequence[Flow], *of: Callable[[Flow], Array], quantile: float = FAINT) -> float:
    """A quantile of the largest of some quantities over the cells with mass of some flows; 1 without any."""
    values = [
        np.max([field(flow) for field in of], axis=0)[relative_mass(flow) >= PRESENT]
        for flow in map(flattened_flow, flows)
    ]
    together = np.concatenate(values)
    return (float(np.quantile(together, quantile)) if len(together) else 0.0) or 1.0


def _round(value: float) -> float:
    """The largest 1, 2 or 5 times a power of ten that is not above a value > 0."""
    power = 10.0 ** math.floor(math.log10(value))
    return power * max(k for k in (1, 2, 5) if k * power <= value * (1 + 1e-12))
