"""Basins window by window: what is looked for and when, found in each window and followed from one to the next."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from basins.basin import Basin, Finder, Found
from basins.space import Snapshot
from basins.tracks.continuation import Predictions, examples, predict
from basins.tracks.tracking import Tracking, follow
from stpp.compute.progress import Progress, each
from stpp.dates import day_of
from stpp.domain import Array, Box, as_box
from stpp.events import Events, Window
from stpp.partition import Partition

if TYPE_CHECKING:
    import pandas as pd

FEWEST_WINDOWS = 2
"""Windows without which nothing can be followed: one to learn the space from, one to look at."""

AROUND = 2.0
"""Bandwidths around a place that count as its region where no basin is."""


@dataclass(frozen=True)
class Plan:
    """What is looked for, and when.

    Parameters
    ----------
    finder : unfitted, told the number of windows
    windows : in time order
    training : number of windows, the first ones, that the space, the bandwidth and the tuning are learned from
    box : the domain
    half_life : days after which a post counts for half; None: a window's posts count fully, earlier ones not at all
    link : how basins are followed, ``hungarian`` or ``soft``
    seed : of all randomness
    """

    finder: Finder
    windows: tuple[Window, ...]
    training: int
    box: Box
    half_life: float | None = None
    link: str = "hungarian"
    seed: int = 0

    @property
    def span(self) -> Window:
        """From the first window's start to the last one's end."""
        return Window(self.windows[0].start, self.windows[-1].end)


def windows_of(span: Window, length: float, split: float | None = None) -> tuple[tuple[Window, ...], int]:
    """Windows of one length, counted back from the end of the span, and how many are for training.

    The posts of a first piece that is shorter than a window are left out: the newest ones matter most.

    Parameters
    ----------
    span : that is analysed
    length : of a window, days
    split : training windows end by then; None: half of the windows train

    Raises
    ------
    ValueError
        if there are fewer than two windows, or none before the split or after it
    """
    n = math.floor(span.duration / length + 1e-9)
    if n < FEWEST_WINDOWS:
        raise ValueError(
            f"{round(span.duration, 2):g} days hold {n} windows of {length:g} days, and following basins needs "
            f"{FEWEST_WINDOWS}: take a shorter --window or a longer time"
        )
    windows = tuple(Window(span.end - (n - k) * length, span.end - (n - k - 1) * length) for k in range(n))
    training = n // 2 if split is None else sum(window.end <= split + 1e-9 for window in windows)
    if not 0 < training < n:
        raise ValueError(
            f"{training} of {n} windows lie before the start of the test: it has to leave one or more on both sides"
        )
    return windows, training


def set_up(
    events: Events,
    finder: Finder,
    *,
    window: float,
    start: str | float | None = None,
    end: str | float | None = None,
    test_start: str | float | None = None,
    box: Box | Sequence[float] | None = None,
    half_life: float | None = None,
    link: str = "hungarian",
    seed: int = 0,
) -> Plan:
    """A plan from dates.

    Parameters
    ----------
    events : all of them
    finder : unfitted
    window : days of each window
    start, end : dates; by default the first event and the last one
    test_start : date by which the training windows end; by default half of the windows train
    box : the domain; by default around the events of the training windows
    half_life, link, seed : as in :class:`Plan`

    Raises
    ------
    ValueError
        if there are too few windows, or no events in those for training
    """
    if not len(events):
        raise ValueError("no events, so no basins: ingest some")
    first = events.span.start if start is None else day_of(start, events.epoch)
    span = Window(first, events.span.end if end is None else day_of(end, events.epoch))
    split = None if test_start is None else day_of(test_start, events.epoch)
    windows, training = windows_of(span, window, split)
    domain = as_box(box)
    if domain is None:
        seen = events.between(Window(windows[0].start, windows[training - 1].end))
        if not len(seen):
            raise ValueError("no events in the training windows to take the domain from: move the dates")
        domain = Box.around(seen.x)
    return Plan(replace(finder, windows=len(windows)), windows, training, domain, half_life, link, seed)


@dataclass(frozen=True, eq=False)
class Course:
    """Basins found window by window and followed.

    Parameters
    ----------
    finder : fitted on the training windows
    snapshots, found : per window
    tracking : the basins' tracks
    """

    finder: Finder
    snapshots: tuple[Snapshot, ...]
    found: tuple[Found, ...]
    tracking: Tracking

    @property
    def basins(self) -> list[tuple[Basin, ...]]:
        """Per window."""
        return [one.basins for one in self.found]


def follow_basins(events: Events, plan: Plan, progress: Progress | None = None) -> Course:
    """Fix the space on the training windows, find the basins of every window, follow them.

    What is found in a window depends on posts before its end only, and on training windows.

    Raises
    ------
    ValueError
        if no training window has posts in the domain
    """
    training = plan.windows[: plan.training]
    if not len(events.between(Window(training[0].start, training[-1].end)).inside(plan.box)):
        raise ValueError("no posts inside the domain in the training windows: widen the box or move the dates")
    finder = plan.finder.fit(events, training, plan.box, np.random.default_rng([plan.seed, 0]))
    snapshots, found = [], []
    for k, window in enumerate(each(plan.windows, "basins", progress)):
        snapshots.append(finder.fixed.see(events, window, plan.half_life))
        found.append(finder.find(snapshots[-1], np.random.default_rng([plan.seed, 1, k])))
    tracking = follow(snapshots, [one.basins for one in found], method=plan.link)
    return Course(finder, tuple(snapshots), tuple(found), tracking)


def cases(course: Course, plan: Plan) -> pd.DataFrame:
    """What was known of every basin at the end of its window, and what came next."""
    return examples(course.snapshots, course.basins, course.tracking, plan.training)


def predicted(
    known: pd.DataFrame,
    plan: Plan,
    models: Sequence[str] = ("logistic", "boosting"),
    progress: Progress | None = None,
) -> Predictions:
    """Forecasts of continuation, size and growth of those :func:`cases`, from the end of training on."""
    return predict(known, plan.training - 1, seed=plan.seed, models=models, progress=progress)


def regions_before(
    events: Events, finder: Finder, *, at: float, window: float, box: Box, place: Sequence[float], seed: int = 0
) -> tuple[Partition, Array, list[str]]:
    """The basins in the last window before a time, as regions; and one around a place that lies in none of them.

    Parameters
    ----------
    events : nothing from ``at`` on is looked at
    finder : unfitted; its space is learned from the windows before
    at : end of the window
    window : days
    box : the domain
    place : (d,) of interest

    Returns
    -------
    the cells, (B, cells) memberships on them, and the regions' names

    Raises
    ------
    ValueError
        if there is no post in the domain before ``at``
    """
    past = events.before(at).inside(box)
    if not len(past):
        raise ValueError("no posts inside the model's domain before --at: choose a later date")
    n = max(1, math.floor((at - past.t[0]) / window))
    windows = [Window(at - (k + 1) * window, at - k * window) for k in reversed(range(n))]
    rng = np.random.default_rng(seed)
    fitted = finder.quick().fit(past, windows, box, rng)
    space, spot = fitted.fixed, np.asarray(place, dtype=float)
    found = fitted.find(space.see(past, windows[-1]), rng).basins
    regions = [basin.membership for basin in found]
    named = [f"the basin at {_point(basin.centre)}" for basin in found]
    home = space.partition.index(spot[None])[0]
    if home >= 0 and not any(region[home] >= 0.5 for region in regions):
        near = ((space.partition.centres - spot) ** 2).sum(axis=1) <= (AROUND * space.bandwidth) ** 2
        near[home] = True
        regions = [region * ~near for region in regions] + [near.astype(float)]
        named.append(f"around {_point(spot)}, where there is no basin")
    return space.partition, np.array(regions), named


def _point(x: Array) -> str:
    return "(" + ", ".join(f"{v:.3g}" for v in x) + ")"
