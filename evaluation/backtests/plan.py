"""The plan of a backtest: when to train, what to forecast, where to score."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, TypedDict, Unpack

from stpp.dates import day_of, duration
from stpp.domain import Box, as_box
from stpp.events import Events, Window
from stpp.intensity import IntensityModel
from stpp.models import MODELS, make_models


@dataclass(frozen=True)
class Plan:
    """When to train, what to forecast and where to score.

    Parameters
    ----------
    train_start : days; likelihoods start here, earlier events serve as history only
    test : the time to forecast; windows that would end after it are left out
    step : days from one issue time to the next
    horizon : days that each forecast covers; None: the step
    history : days before its issue time that a fit and a forecast may see (sliding); None: everything (expanding)
    grid : cells per axis over the domain; above 3 dimensions there is none, and densities are evaluated at the events
    zoom : the box in which events are scored, None for the whole domain; training sees everything either way
    refit : fit anew every so many windows; None: once, before the first
    reference : the model that information gain is measured against

    Raises
    ------
    ValueError
        if a length is not positive, training does not start before the test, or no window fits the test time

    Examples
    --------
    >>> plan = Plan(train_start=0, test=Window(10, 14), step=1, horizon=2)
    >>> [window.start for window in plan.windows]
    [10.0, 11.0, 12.0]
    """

    train_start: float
    test: Window
    step: float
    horizon: float | None = None
    history: float | None = None
    grid: int = 100
    zoom: Box | None = None
    refit: int | None = None
    reference: str = "historical-average"

    def __post_init__(self) -> None:
        for name in ("step", "horizon", "history"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value > 0):
                raise ValueError(f"{name} must be longer than 0 days, got {value:g}: write it like 6h, 1d or 7d")
        if self.grid < 1:
            raise ValueError(f"a grid needs at least 1 cell per axis, got {self.grid}: --grid 100 is usual")
        if self.refit is not None and self.refit < 1:
            raise ValueError(f"refit counts windows and must be ≥ 1, got {self.refit}: leave it out to fit once")
        if not self.train_start < self.test.start:
            raise ValueError(
                f"training starts at day {self.train_start:g}, the test at day {self.test.start:g}: "
                "training must start before the test, move one of them"
            )
        if not self.windows:
            raise ValueError(
                f"the test time of {self.test.duration:g} days holds no window of {self.horizon or self.step:g} days: "
                "end the test later or shorten the horizon"
            )

    @cached_property
    def windows(self) -> tuple[Window, ...]:
        """The forecast windows, in time order."""
        return tuple(self.test.rolling(self.step, self.horizon))

    @property
    def training(self) -> Window:
        """The time that the first fit trains on; the domain, where none is declared, comes from its events."""
        return self.past(self.test.start)

    @property
    def overlap(self) -> int:
        """How many successive windows share a point of time: ⌈horizon / step⌉."""
        return math.ceil((self.horizon or self.step) / self.step - 1e-9)

    def past(self, issue: float) -> Window:
        """The training time of a fit made at ``issue``."""
        start = self.train_start if self.history is None else max(self.train_start, issue - self.history)
        return Window(start, issue)

    def known(self, events: Events, issue: float) -> Events:
        """The events that a fit or a forecast made at ``issue`` may see: all before it, or the sliding last ones."""
        return events.before(issue) if self.history is None else events.between(Window(issue - self.history, issue))

    def domain(self, events: Events) -> Box:
        """The box around the TRAINING events, for when none is declared; test events never widen it.

        Raises
        ------
        ValueError
            if there are no training events
        """
        return Box.around(training_events(events, self.training).x)


def training_events(events: Events, window: Window) -> Events:
    """The events in a training window.

    Raises
    ------
    ValueError
        if there are none
    """
    inside = events.between(window)
    if not len(inside):
        raise ValueError(
            f"no training events from {events.date(window.start):%Y-%m-%d %H:%M} to "
            f"{events.date(window.end):%Y-%m-%d %H:%M}: move the training start or the test start, or widen the box"
        )
    return inside


class Contest(TypedDict, total=False):
    """When to train, what to forecast and where to score, as users say it; what is left out is at its default.

    ``train_start``, ``test_start``, ``test_end`` : dates; by default the first event, two thirds of the way to the
    last, and that. ``step`` (1 day), ``horizon`` (the step), ``history`` (everything), ``grid`` (100), ``zoom``,
    ``refit``, ``reference`` (historical-average) : as in :class:`Plan`; lengths are days, or words such as ``6h``.
    ``box`` : the domain; around the training events by default.
    """

    train_start: str | float | None
    test_start: str | float | None
    test_end: str | float | None
    step: str | float
    horizon: str | float | None
    history: str | float | None
    grid: int
    box: Box | Sequence[float] | None
    zoom: Box | Sequence[float] | None
    refit: int | None
    reference: str


def set_up(
    events: Events,
    models: Iterable[str],
    *,
    seed: int = 0,
    options: Mapping[str, object] | None = None,
    **contest: Unpack[Contest],
) -> tuple[Plan, dict[str, IntensityModel]]:
    """A plan from dates, and unfitted models for it, the reference first.

    Parameters
    ----------
    events : all of them
    models : names
    seed, options : of the models, see :func:`stpp.models.make_models`
    contest : see :class:`Contest`

    Raises
    ------
    ValueError
        as :class:`Plan`, :func:`stpp.models.make_models` and :func:`stpp.dates.day_of`
    """
    asked: Contest = {"step": "1d", "grid": 100, "reference": "historical-average", **contest}
    names = dict.fromkeys((asked["reference"], *models))
    MODELS.check(*names)
    span = events.span

    def day(name: Literal["train_start", "test_start", "test_end"], otherwise: float) -> float:
        when = asked.get(name)
        return otherwise if when is None else day_of(when, events.epoch)

    def length(name: Literal["horizon", "history"]) -> float | None:
        given = asked.get(name)
        return None if given is None else duration(given)

    first, end = day("train_start", span.start), day("test_end", span.end)
    plan = Plan(
        first,
        Window(day("test_start", first + (end - first) * 2 / 3), end),
        duration(asked["step"]),
        horizon=length("horizon"),
        history=length("history"),
        grid=asked["grid"],
        zoom=as_box(asked.get("zoom")),
        refit=asked.get("refit"),
        reference=asked["reference"],
    )
    ahead = plan.horizon or plan.step
    return plan, make_models(names, as_box(asked.get("box")) or plan.domain(events), ahead, seed, options)
