"""What a map shows: posts, and per window forecasts, what was observed, scores, flow and basins, as plain arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import ArrayLike, NDArray

from stpp.domain import Array, Grid
from stpp.events import Events, Window

DAY = 86_400_000.0
"""Milliseconds."""


@dataclass(frozen=True, eq=False)
class Canvas:
    """What the layers of one map share.

    Parameters
    ----------
    events : all that the map counts: those from the first window's start to the last one's end, in any dimensions
    windows : in time order, of the same length; they may overlap or leave gaps
    grid : 2-d, of the densities
    axes : numbers of the two coordinates that are drawn
    """

    events: Events
    windows: tuple[Window, ...]
    grid: Grid
    axes: tuple[int, int] = (0, 1)

    @property
    def names(self) -> tuple[str, str]:
        """Names of the two axes."""
        return self.events.axes[self.axes[0]], self.events.axes[self.axes[1]]

    @property
    def edges(self) -> Array:
        """(windows, 2) start and end of each window, days."""
        return np.array([[window.start, window.end] for window in self.windows]).reshape(-1, 2)

    def places(self, x: Array) -> Array:
        """(n, 2) the coordinates that are drawn, of places (n, d)."""
        return np.asarray(x[:, list(self.axes)])

    def milliseconds(self, days: ArrayLike) -> Array:
        """Days since the events' epoch as milliseconds since 1970, as browsers count."""
        return np.asarray(datetime.fromisoformat(self.events.epoch).timestamp() * 1000.0 + np.asarray(days) * DAY)


@dataclass(frozen=True, eq=False)
class Fields:
    """A density per window on the map's grid.

    Parameters
    ----------
    name : of the model, or ``observed``
    values : (windows, nx, ny) float32 relative to even over the map's grid (mean 1); 0 where there is none
    totals : (windows,) posts expected, or observed, on the grid; NaN where there is none
    """

    name: str
    values: NDArray[np.float32]
    totals: Array


@dataclass(frozen=True, eq=False)
class Scores:
    """How a model did, window by window; NaN where there is no score.

    Parameters
    ----------
    model : its name
    fds : (windows,) forecast density score, 1 = uniform; improper
    information_gain : (windows,) nats per event over the reference
    """

    model: str
    fds: Array
    information_gain: Array


@dataclass(frozen=True, eq=False)
class Arrows:
    """A velocity field per window, at some places.

    Parameters
    ----------
    name : of the model that measured it
    places : (m, 2) map units
    velocity : (windows, m, 2) map units per day; NaN where there is none
    sure : (windows, m) bool, beyond chance
    times : (windows,) days: the time that the arrows of each window are of; NaN where there are none
    before : (windows,) number of the window whose arrows were the newest known when each began; −1 for none
    """

    name: str
    places: Array
    velocity: Array
    sure: NDArray[np.bool_]
    times: Array
    before: NDArray[np.int64]


@dataclass(frozen=True)
class BasinSeen:
    """A basin in one window.

    Parameters
    ----------
    track : its number through time
    centre : on the map
    share : of the window's posts, in [0, 1]
    posts : that it holds
    probability : that it exists; share of bootstrap replicates
    barrier : how much denser its peak is than the pass of the easiest way out, as a log ratio; NaN if not known
    p_continue, p_grow : forecast for the next window; NaN where there is none
    """

    track: int
    centre: tuple[float, float]
    share: float
    posts: int
    probability: float
    barrier: float
    p_continue: float
    p_grow: float


@dataclass(frozen=True)
class TrackLine:
    """A basin through time.

    Parameters
    ----------
    id : its number
    name : readable
    birth, death : numbers of the map's windows: the first that it is in, and the first that it is no longer in; None
        where it was there before the first window, or is still there in the last
    colour : ``#rrggbb``, the same as in the run's other pictures
    """

    id: int
    name: str
    birth: int | None
    death: int | None
    colour: str


@dataclass(frozen=True, eq=False)
class Basins:
    """Basins per window.

    Parameters
    ----------
    method : of the finder
    grid : 2-d, of the outlines; None where basins have none in the plane
    regions : (windows, nx, ny) uint8 on ``grid``: 0 for no basin, i + 1 for the window's i-th; None without a grid
    found : per window, at most 255
    spans : (windows, 2) days: the time that the basins of each window were found in; NaN where there is none
    before, after : (windows,) number of the window whose basins were the newest known when each began, and when it
        was over: those of a week are not known in its midst; −1 for none
    tracks : all that occur
    of_event : (n,) track of the basin that each event of the canvas lies in, −1 for none
    """

    method: str
    grid: Grid | None
    regions: NDArray[np.uint8] | None
    found: tuple[tuple[BasinSeen, ...], ...]
    spans: Array
    before: NDArray[np.int64]
    after: NDArray[np.int64]
    tracks: tuple[TrackLine, ...]
    of_event: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Scene:
    """Everything on a map.

    Parameters
    ----------
    title : of the page
    canvas : what its layers share
    observed : density of the posts that came
    smoothing : standard deviation of the Gaussian that ``observed`` is smoothed with, map units
    forecasts : of each model
    scores : of each model
    reference : that information gain is measured against; empty where there are no scores
    arrows, basins : None where no run brings them
    remarks : what a reader should know
    weight : what the events' weights are, in words
    source : file that the events come from, and its SHA-256
    """

    title: str
    canvas: Canvas
    observed: Fields
    smoothing: float
    forecasts: Sequence[Fields] = ()
    scores: Sequence[Scores] = ()
    reference: str = ""
    arrows: Arrows | None = None
    basins: Basins | None = None
    remarks: Sequence[str] = ()
    weight: str = "weight"
    source: str = ""
