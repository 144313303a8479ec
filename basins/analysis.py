"""From posts to an account of their basins: found, followed, measured, named, predicted and judged."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from basins.basin import Basin, Finder, Found
from basins.excitation import influence_graph
from basins.measures import measure
from basins.space import Snapshot
from basins.tracks.continuation import coefficients
from basins.tracks.course import Course, Plan, cases, follow_basins, predicted
from basins.tracks.naming import Name, names
from basins.tracks.significance import judge
from basins.tracks.tracking import Tracking
from basins.walks.graph import walk
from stpp.compute.progress import Progress
from stpp.events import Events, Window

if TYPE_CHECKING:
    import networkx as nx


@dataclass(frozen=True, eq=False, repr=False)
class Analysis:
    """Everything that a report says.

    Parameters
    ----------
    method : name of the finder
    title : of the report
    finder, snapshots, found, tracking : as in :class:`Course`
    windows, training : as in :class:`Plan`
    measures : a row per basin and window: window, basin, track, start, end, centre_AXIS, mass, share, posts,
        probability, peak, saddle, and the measures of strength
    forecasts : a row per basin and window from the end of training on, see :func:`basins.tracks.continuation.predict`;
        those of the last window speak of the time after it
    tuning : hyperparameters tried
    significance : a row per track, see :func:`judge`
    names : track → name
    scores : of the forecasts, by whoever judges them
    score_intervals : a row per score: score, value, low, high; empty if none
    coefficients : what forecasts of continuation go by, see :func:`basins.tracks.continuation.coefficients`
    tests : a row per statistic and null: null, statistic, observed, null_mean, null_sd, p_value, B; empty if none
    influence : who excites whom, where the finder says so
    remarks : what a reader should know

    Examples
    --------
    >>> import basins
    >>> found = basins.find("data/planted.parquet", window="20d", B=0)
    >>> found.method, len(found.windows)
    ('density', 2)
    """

    method: str
    title: str
    finder: Finder
    windows: tuple[Window, ...]
    training: int
    snapshots: tuple[Snapshot, ...]
    found: tuple[Found, ...]
    tracking: Tracking
    measures: pd.DataFrame
    forecasts: pd.DataFrame
    tuning: pd.DataFrame
    significance: pd.DataFrame
    names: dict[int, Name]
    scores: Mapping[str, float]
    score_intervals: pd.DataFrame = dataclasses.field(default_factory=pd.DataFrame)
    coefficients: pd.DataFrame = dataclasses.field(default_factory=pd.DataFrame)
    tests: pd.DataFrame = dataclasses.field(default_factory=pd.DataFrame)
    influence: nx.DiGraph | None = None
    remarks: tuple[str, ...] = ()

    def __repr__(self) -> str:
        newest = len(self.found[-1].basins)
        tracks = f"{len(self.tracking.tracks)} tracks through {len(self.windows)} windows"
        return f"<Analysis by {self.method}: {tracks}, {newest} basins in the newest>"


def analyse(
    events: Events, plan: Plan, *, title: str, texts: Sequence[str] | None = None, progress: Progress | None = None
) -> Analysis:
    """Find, measure, follow, name and predict; without null worlds.

    Parameters
    ----------
    events : all of them
    plan : what is looked for, and when
    title : of the report
    texts : of all events, for key words; None where there are none
    progress : told about every window
    """
    course = follow_basins(events, plan, progress)
    table = measured(course, plan, progress)
    known = cases(course, plan)
    predictions = predicted(known, plan, progress=progress)
    named = names(course.snapshots, course.basins, course.tracking, texts, events.axes)
    return Analysis(
        method=plan.finder.name,
        title=title,
        finder=course.finder,
        windows=plan.windows,
        training=plan.training,
        snapshots=course.snapshots,
        found=course.found,
        tracking=course.tracking,
        measures=table,
        forecasts=predictions.table,
        tuning=predictions.tuning,
        significance=judge(course),
        names=named,
        scores={},
        coefficients=coefficients(known),
        influence=_influences(course, events, plan, named),
        remarks=_remarks(course),
    )


def _remarks(course: Course) -> tuple[str, ...]:
    """What was remarked on windows, each remark once."""
    said = Counter(one.remark for one in course.found if one.remark)
    return tuple(f"{remark} (in {n} of {len(course.found)} windows)" for remark, n in said.items())


def _influences(course: Course, events: Events, plan: Plan, named: Mapping[int, Name]) -> nx.DiGraph | None:
    """Which of the newest basins excite which, by the posts of all windows; for the finder that looks for it."""
    last = max((k for k, basins in enumerate(course.basins) if basins), default=None)
    if last is None:
        return None
    basins = course.basins[last]
    measured = course.finder.influences(course.finder.fixed.see(events, plan.span), basins)
    if measured is None:
        return None
    return influence_graph(measured, [named[course.tracking.track_of(last, basin.id)].text for basin in basins])


def tested(
    analysis: Analysis, scores: Mapping[str, float], intervals: pd.DataFrame, tests: Sequence[Mapping[str, Any]]
) -> Analysis:
    """The analysis with the scores of its forecasts, and its tracks judged by null worlds.

    Parameters
    ----------
    analysis : without either
    scores, intervals : of its forecasts
    tests : per statistic and null: null, statistic, observed, values (of the null worlds), null_mean, null_sd,
        p_value, B; tracks are judged by the first null
    """
    table = pd.DataFrame([{key: value for key, value in one.items() if key != "values"} for one in tests])
    values = {one["statistic"]: one["values"] for one in reversed(tests)}
    course = Course(analysis.finder, analysis.snapshots, analysis.found, analysis.tracking)
    judged = judge(course, values.get("largest change", ()), values.get("largest trend", ()))
    return dataclasses.replace(analysis, scores=scores, score_intervals=intervals, tests=table, significance=judged)


def measured(course: Course, plan: Plan, progress: Progress | None = None) -> pd.DataFrame:
    """The measures of every basin in every window."""
    axes, rows = course.snapshots[0].posts.axes, []
    for k, (snapshot, basins) in enumerate(zip(course.snapshots, course.basins, strict=True)):
        if basins:
            rng = np.random.default_rng([plan.seed, 2, k])
            strength = measure(snapshot, basins, walk(snapshot), course.snapshots[:k], rng=rng)
            known = pd.DataFrame([_row(k, basin, course.tracking.track_of(k, basin.id), axes) for basin in basins])
            rows.append(
                known.merge(strength.drop(columns=known.columns.intersection(strength.columns[1:])), on="basin")
            )
        if progress is not None:
            progress("measures", k + 1, len(plan.windows))
    empty = pd.DataFrame(columns=["window", "basin", "track", "start", "end", *(f"centre_{axis}" for axis in axes)])
    return pd.concat(rows, ignore_index=True) if rows else empty


def _row(k: int, basin: Basin, track: int, axes: Sequence[str]) -> dict[str, Any]:
    centre = {f"centre_{axis}": float(value) for axis, value in zip(axes, basin.centre, strict=True)}
    return {
        "window": k,
        "basin": basin.id,
        "track": track,
        "start": basin.window.start,
        "end": basin.window.end,
        **centre,
        "mass": basin.mass,
        "share": basin.share,
        "posts": basin.posts,
        "probability": basin.probability,
        "peak": basin.peak,
        "saddle": basin.saddle,
    }
