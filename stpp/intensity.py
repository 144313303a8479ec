"""The one interface every model has, and what follows from it: likelihood, forecasts, scores' inputs."""

from __future__ import annotations

import dataclasses
import functools
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from stpp.dates import in_words
from stpp.domain import MAX_GRID_DIMENSIONS, Array, Box, Grid, relative_density
from stpp.events import Events, Window
from stpp.options import is_option

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr
    from matplotlib.axes import Axes

    from stpp.compute.progress import Progress
    from stpp.fitting.results import FitResult
    from stpp.partition import Partition

FLOOR = 1e-4
"""Share of every forecast spread evenly over the domain, so that no cell is impossible."""

DRAWS = 4096
"""Places drawn from a forecast without a grid, behind its mean square."""

SIMULATIONS = 200
"""Simulated catalogues behind a forecast that has no closed form."""


@dataclass(frozen=True, eq=False, repr=False)
class Forecast:
    """Expected number of events per grid cell over a window, given the history at its start.

    Parameters
    ----------
    window : the time it speaks of; ``window.start`` is the issue time
    grid : the cells
    counts : ``grid.shape`` float ≥ 0, expected counts, the floor included
    model : name of the model that issued it
    floor : share ε of the total that was spread evenly over the domain

    Examples
    --------
    >>> from stpp.domain import Box
    >>> grid = Grid.over(Box((0.0,), (1.0,)), 2)
    >>> forecast = Forecast.of(Window(0, 7), grid, np.array([1.0, 3.0]), "by hand", floor=0.0)
    >>> forecast
    <Forecast by by hand: 4.0 events in 7 days, 2 cells>
    >>> forecast.density.tolist()
    [0.5, 1.5]
    """

    window: Window
    grid: Grid
    counts: Array
    model: str
    floor: float = FLOOR

    @classmethod
    def of(cls, window: Window, grid: Grid, counts: Array, model: str, floor: float = FLOOR) -> Forecast:
        """Mix raw expected counts with the declared uniform floor: (1 − ε)·counts + ε·total/cells.

        Raises
        ------
        ValueError
            if the counts have no mass, or a value that is negative or not finite
        """
        total = float(counts.sum())
        relative_density(counts)
        return cls(window, grid, (1 - floor) * counts + floor * total / grid.cells, model, floor)

    def __repr__(self) -> str:
        shape = " × ".join(map(str, self.grid.shape))
        return (
            f"<Forecast by {self.model}: {self.total:,.1f} events in {in_words(self.window.duration)}, {shape} cells>"
        )

    @property
    def total(self) -> float:
        """Expected number of events in the window."""
        return float(self.counts.sum())

    @cached_property
    def density(self) -> Array:
        """``grid.shape`` relative density: mean 1 over the domain."""
        return relative_density(self.counts)

    def relative_at(self, x: Array) -> Array:
        """(n,) relative density at (n, d) places; NaN outside the domain."""
        flat = self.grid.index(x)
        return np.where(flat >= 0, self.density.ravel()[flat], np.nan)

    def mean_square(self) -> tuple[float, float]:
        """Mean over the domain of the squared relative density, and its standard error (0: exact)."""
        return float(np.mean(self.density**2)), 0.0

    def to_xarray(self, events: Events) -> xr.Dataset:
        """Counts and relative density with CF-1.11 coordinates; epoch and names of the axes are those of ``events``."""
        import xarray as xr

        names = list(events.axes)
        dims = ["issue_time", "lead", *reversed(names)]  # (…, y, x): the order in which maps are drawn
        shape = (1, 1, *reversed(self.grid.shape))
        issue = np.array([np.datetime64(events.date(self.window.start).replace(tzinfo=None), "ns")])
        coords: dict[str, Any] = {
            "issue_time": ("issue_time", issue, {"standard_name": "forecast_reference_time"}),
            "lead": ("lead", [self.window.duration], {"long_name": "length of the forecast window", "units": "days"}),
        }
        bounds = {}
        for name, centre, edge in zip(names, self.grid.centres, self.grid.edges, strict=True):
            attributes = {"long_name": name, "units": "map_units", "bounds": f"{name}_bounds"}
            coords[name] = (name, centre, attributes)
            bounds[f"{name}_bounds"] = ((name, "bound"), np.stack([edge[:-1], edge[1:]], axis=1))
        counted = {"long_name": "expected events per cell", "units": "1"}
        relative = {"long_name": "density over its mean", "units": "1"}
        fields = {
            "expected_count": (dims, self.counts.T.reshape(shape), counted),
            "relative_density": (dims, self.density.T.reshape(shape), relative),
        }
        title = f"stpp forecast by {self.model}"
        attrs = {"Conventions": "CF-1.11", "title": title, "model": self.model, "floor": self.floor}
        return xr.Dataset({**fields, **bounds}, coords, attrs)

    def plot(self, events: Events | None = None, *, axes: Sequence[str] = (), ax: Axes | None = None) -> Axes:
        """Map of the relative density (1-d: a line), with the events that came on top if given."""
        from stpp.reports.plotting import plot_forecast

        return plot_forecast(self, events, axes=axes, ax=ax)


Draw = Callable[[int, np.random.Generator], Array]
"""(n, rng) → (n, d) places drawn from a density."""


@dataclass(frozen=True, eq=False)
class PointForecast:
    """A forecast above 3 dimensions, where no grid fits: its density is evaluated where asked.

    Parameters
    ----------
    window, model, floor : as in :class:`Forecast`
    box : the domain
    total : expected number of events in the window
    raw_density : (m, d) places → (m,) density that integrates to 1 over ``box``
    draw_raw : draws places from ``raw_density``
    """

    window: Window
    box: Box
    total: float
    raw_density: Callable[[Array], Array]
    draw_raw: Draw
    model: str
    floor: float = FLOOR

    def relative_at(self, x: Array) -> Array:
        """(n,) relative density at (n, d) places; NaN outside the domain."""
        inside = self.box.contains(x)
        g = np.full(len(x), np.nan)
        if inside.any():
            g[inside] = (1 - self.floor) * self.box.volume * self.raw_density(np.asarray(x)[inside]) + self.floor
        return g

    @cached_property
    def draws(self) -> Array:
        """(``DRAWS``, d) places drawn from the forecast, the floor included; always the same."""
        rng = np.random.default_rng(0)
        places = self.draw_raw(DRAWS, rng)
        even = rng.uniform(size=DRAWS) < self.floor
        places[even] = rng.uniform(self.box.low, self.box.high, (int(even.sum()), self.box.d))
        return places

    def mean_square(self) -> tuple[float, float]:
        """Mean over the domain of the squared relative density, and its standard error.

        By seeded Monte Carlo over draws X from the forecast itself: the mean of g² over the domain is E g(X).
        """
        g = self.relative_at(self.draws)
        return float(g.mean()), float(g.std() / np.sqrt(len(g)))


AnyForecast = Forecast | PointForecast

ASKED = ("intensity", "compensator", "total_compensator", "forecast", "simulate")
"""What only a fitted model can tell."""


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class IntensityModel(ABC):
    """A conditional intensity λ(t, x | H_t) on ``domain``, in expected events per day per unit volume.

    A model is a frozen dataclass: its fields are its hyperparameters and, once fitted, its parameters. It is
    *predictable*: λ at t depends on events strictly before t only, so events with the same time stamp share a
    history and never excite one another.

    Parameters
    ----------
    domain : the box that events fall in; declared, or taken from training data once
    floor : share of every forecast spread evenly over the domain
    result : what the fit reports, None before it

    Examples
    --------
    >>> import stpp
    >>> events = stpp.read_events("data/planted.parquet")
    >>> model = stpp.make_models(["uniform"], stpp.Box.around(events.x))["uniform"]
    >>> fitted = model.fit(events, events.span)
    >>> fitted.result.n_events == len(events)
    True
    """

    name: ClassVar[str]
    summary_line: ClassVar[str]
    excites: ClassVar[bool] = False
    """Whether posts beget posts, one by one, so that each has a probable parent."""

    domain: Box
    floor: float = FLOOR
    result: FitResult | None = field(default=None, repr=False, compare=False)

    def __init_subclass__(cls, **how: Any) -> None:
        super().__init_subclass__(**how)
        for name in ASKED:
            if name in vars(cls):
                setattr(cls, name, _once_fitted(vars(cls)[name]))

    def __repr__(self) -> str:
        where = f"{self.domain.d}-d box {self.domain.to_list()}"
        if not self.fitted:
            return f"<{self.name}, not fitted, on a {where}>"
        told = f" to {self.result.n_events:,} events" if self.result is not None else ""
        return f"<{self.name} fitted{told} on a {where}>"

    @property
    def fitted(self) -> bool:
        """Whether it has what a fit finds: a result, an array, or a number that is NaN before."""
        if self.result is not None:
            return True
        found = [f for f in dataclasses.fields(self) if not is_option(f)]
        arrays = [getattr(self, f.name) for f in found if isinstance(getattr(self, f.name), np.ndarray)]
        numbers = [getattr(self, f.name) for f in found if f.default != f.default]  # NaN, which no fit leaves
        return not (arrays or numbers) or any(a.size for a in arrays) or any(n == n for n in numbers)

    @classmethod
    def members_of(cls, options: Mapping[str, object]) -> tuple[str, ...]:
        """Names of the models that it combines, for :func:`stpp.models.make_models` to make; most combine none."""
        return ()

    @abstractmethod
    def fit(self, events: Events, window: Window, *, progress: Progress | None = None) -> Self:
        """A fitted copy; uses events before ``window.end`` only, and those before ``window.start`` as history.

        Parameters
        ----------
        events : of all time
        window : that the model is trained on
        progress : told (stage, done, in all) as the work goes on
        """

    @abstractmethod
    def intensity(self, t: Array, x: Array, history: Events) -> Array:
        """(n,) λ at times ``t`` (n,) and places ``x`` (n, d), given the history strictly before each t_i."""

    @abstractmethod
    def compensator(self, window: Window, history: Events, grid: Grid) -> Array:
        """``grid.shape`` ∫∫ λ over each cell and the window, along the REALISED history.

        ``history`` holds all events, those inside the window too: each counts from its own time on.
        """

    @abstractmethod
    def simulate(self, window: Window, history: Events, rng: np.random.Generator) -> Events:
        """One draw of the events in ``window``, given the history before it."""

    def forecast(self, window: Window, history: Events, grid: Grid | None) -> AnyForecast:
        """E[number of events in cell × window | history before ``window.start``].

        By Monte Carlo over simulated catalogues unless a model has a closed form. ``grid`` is None above
        3 dimensions.
        """
        if grid is None:
            raise ValueError(f"{self.name} has no forecast above {MAX_GRID_DIMENSIONS} dimensions: use fewer --coords")
        rng = np.random.default_rng(0)
        past = history.before(window.start)
        counts = np.zeros(grid.shape)
        for _ in range(SIMULATIONS):
            counts += grid.histogram(self.simulate(window, past, rng).x) / SIMULATIONS
        return Forecast.of(window, grid, counts, self.name, self.floor)

    def rolling_forecasts(
        self, events: Events, windows: Sequence[Window], grid: Grid | None, *, first: int = 0
    ) -> Iterator[AnyForecast]:
        """The forecast of each window (in time order) from the events before its start.

        Those before number ``first`` are passed over, with the others exactly what they would be without it, so that
        an interrupted backtest goes on to the same bytes.
        """
        for window in windows[first:]:
            yield self.forecast(window, events.before(window.start), grid)

    @property
    def own_regions(self) -> tuple[Partition, Array] | None:
        """Cells and (B, cells) memberships of the regions that it is made of; most are made of none."""
        return None

    def trial_tables(self) -> dict[str, pd.DataFrame]:
        """Name of a table → every trial of a search for parameters; most models search for none."""
        return {}

    @property
    def remark(self) -> str:
        """What a reader of the fitted model's scores should know, if anything."""
        return ""

    def total_compensator(self, window: Window, history: Events) -> float:
        """∫∫ λ over the whole domain and the window, along the realised history."""
        return float(self.compensator(window, history, Grid.over(self.domain, 1)).sum())

    def compensator_increments(self, window: Window, history: Events) -> Array:
        """(n + 1,) ∫∫ λ over the whole domain from the window's start over its n events, one by one, to its end.

        By the random time change theorem (Daley & Vere-Jones 2003, theorem 7.4.I), those that end in an event are
        independent Exp(1) variables if the model is right. Here by one :meth:`total_compensator` each; models with a
        closed form need O(n) in all.
        """
        edges = [window.start, *history.between(window).t.tolist(), window.end]
        pieces = [
            self.total_compensator(Window(start, end), history) if end > start else 0.0
            for start, end in pairwise(edges)
        ]
        return np.array(pieces)

    def log_likelihood(self, events: Events, window: Window) -> float:
        """Σ log λ(t_i, x_i) over the window's events − ∫∫ λ (Daley & Vere-Jones 2003, eq. 7.2.2)."""
        inside = events.between(window)
        history = events.before(window.end)
        with np.errstate(divide="ignore"):
            logs = np.log(self.intensity(inside.t, inside.x, history))
        return float(logs.sum() - self.total_compensator(window, history))

    def training_events(self, events: Events, window: Window) -> Events:
        """The events of the window that a fit is judged on.

        Raises
        ------
        ValueError
            if there are none
        """
        inside = events.between(window)
        if len(inside) == 0:
            raise ValueError(f"no events between day {window.start:g} and {window.end:g} to fit {self.name} to")
        return inside

    # -- saving -----------------------------------------------------------------------------------------------

    def save(self, directory: Path) -> None:
        """Write ``model.json`` (and ``model.npz`` if it holds arrays) into ``directory``.

        A model that is part of another one is described inside it; its arrays are named FIELD.NUMBER.NAME.
        """
        arrays: dict[str, Array] = {}
        text = json.dumps({"format": 1, **_described(self, "", arrays), "arrays": sorted(arrays)}, indent=1)
        (directory / "model.json").write_text(text + "\n")
        if arrays:
            np.savez(directory / "model.npz", allow_pickle=False, **arrays)


def _once_fitted(method: Callable[..., Any]) -> Callable[..., Any]:
    """The method of a model, which says in words that the model is to be fitted first."""

    @functools.wraps(method)
    def asked(self: IntensityModel, *args: Any, **how: Any) -> Any:
        if not self.fitted:
            raise ValueError(f"{self.name} is not fitted yet: fit it first, model = model.fit(events, window)")
        return method(self, *args, **how)

    return asked


def _described(model: IntensityModel, prefix: str, arrays: dict[str, Array]) -> dict[str, Any]:
    """The JSON form of a model; its arrays are put into ``arrays``, their names after ``prefix``."""
    values: dict[str, Any] = {}
    for f in dataclasses.fields(model):
        value = getattr(model, f.name)
        if isinstance(value, np.ndarray):
            arrays[prefix + f.name] = value
        elif isinstance(value, Box):
            values[f.name] = value.to_list()
        elif dataclasses.is_dataclass(value) and not isinstance(value, type):
            values[f.name] = dataclasses.asdict(value)
            values[f.name].pop("seconds", None)  # the same fit shall write the same bytes
        elif isinstance(value, tuple) and any(isinstance(part, IntensityModel) for part in value):
            values[f.name] = [_described(part, f"{prefix}{f.name}.{k}.", arrays) for k, part in enumerate(value)]
        else:
            values[f.name] = value
    return {"model": model.name, "parameters": values}
