"""What became of the basins, and whether chance does as much: each track judged, and the pipeline as a statistic."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import norm

from basins.measures import Trend, trend
from basins.tracks.course import Course, Plan, cases, follow_basins, predicted
from basins.tracks.fates import fates
from stpp.chance import monte_carlo_p
from stpp.events import Events

LEVEL = 0.05
"""Chance of a false alarm among all tracks up to which a change is called one."""


def judge(course: Course, null_changes: Sequence[float] = (), null_trends: Sequence[float] = ()) -> pd.DataFrame:
    """What became of each track's region, and whether chance does as much.

    With null worlds, p is the share of worlds (the data among them) in which *any* track changes as much, or has as
    clear a trend (the largest statistic, Westfall & Young 1993). That is the chance of even one false discovery, so
    that it bounds their rate too, as far as a track's statistic does not depend on what other tracks do: see
    :func:`basins.tracks.fates.fates`. A trend is named only where there is a change.

    Parameters
    ----------
    course : the basins
    null_changes, null_trends : largest change and |z| of a trend in each null world

    Returns
    -------
    a row per track: track, windows (seen in), probability (highest), change, change_p, trend_slope, trend_low,
    trend_high, trend_r2, trend_p (own, two-sided), trend_z, trend_p_adjusted, verdict; NaN where unknown
    """
    times = np.array([(snapshot.window.start + snapshot.window.end) / 2 for snapshot in course.snapshots])
    seen, rows = fates(course), []
    for track, fate in zip(course.tracking.tracks, seen, strict=True):
        fit = trend(times, fate.share, fate.posts)
        z = _z(fit)
        row = {
            "track": track.id,
            "windows": len(track.basins),
            "probability": max(course.basins[k][b].probability for k, b in track.basins),
            "change": fate.change,
            "change_p": float(monte_carlo_p(fate.change, null_changes)),
            "trend_slope": fit.slope,
            "trend_low": fit.low,
            "trend_high": fit.high,
            "trend_r2": fit.r2,
            "trend_p": fit.p,
            "trend_z": z,
            "trend_p_adjusted": float(monte_carlo_p(abs(z), null_trends)),
        }
        rows.append(row | {"verdict": _verdict(row)})
    columns = ["track", "windows", "probability", "change", "change_p", "trend_slope", "trend_low", "trend_high"]
    return pd.DataFrame(rows, columns=[*columns, "trend_r2", "trend_p", "trend_z", "trend_p_adjusted", "verdict"])


def _z(fit: Trend) -> float:
    """The standard normal value of a trend's p, signed; NaN where there is none."""
    return math.copysign(float(norm.isf(max(fit.p, 1e-300) / 2)), fit.slope)


def _verdict(row: Mapping[str, Any]) -> str:
    if math.isnan(row["change_p"]):
        return "not tested"
    if row["change_p"] > LEVEL:
        return "no change beyond chance"
    if row["trend_p_adjusted"] <= LEVEL:
        return "grows beyond chance" if row["trend_slope"] > 0 else "shrinks beyond chance"
    return "comes and goes beyond chance"


@dataclass(frozen=True)
class BasinStatistic:
    """The whole pipeline as a statistic for null worlds: fixed anew, found, followed and predicted each time.

    Parameters
    ----------
    plan : of the analysis
    score : table of forecasts → named scores; its ``auroc`` is reported, 0.5 where it is not defined
    """

    plan: Plan
    score: Callable[[pd.DataFrame], Mapping[str, float]]

    def __call__(self, events: Events) -> dict[str, float]:
        """Named values, the larger the more structure (lifetimes excepted, which are long where nothing changes)."""
        course = follow_basins(events, self.plan)
        return statistics(course) | {"continuation AUROC": self._auroc(course)}

    def _auroc(self, course: Course) -> float:
        if not course.tracking.tracks:
            return 0.5
        auroc = float(self.score(predicted(cases(course, self.plan), self.plan, models=("logistic",)).table)["auroc"])
        return auroc if math.isfinite(auroc) else 0.5


def statistics(course: Course) -> dict[str, float]:
    """What a course of basins comes to, in numbers that null worlds have too.

    ``persistent basins``: tracks that live for half of the windows or more; ``mean lifetime`` in windows;
    ``stability``: mean overlap of links; ``births and deaths`` after the first window; ``largest change`` and
    ``largest trend`` (|z|) of a track, see :func:`judge`. Zero where there is no basin. A null world in which nothing
    moves has more persistent, longer-lived and stabler basins than data in which something does: then p is near 1.
    """
    tracks, found = course.tracking.tracks, judge(course)
    ends = sum((track.birth > 0) + (track.death is not None) for track in tracks)
    overlaps = [link.overlap for link in course.tracking.links if link.kind == "continues"]
    return {
        "persistent basins": float(sum(2 * len(track.basins) >= len(course.found) for track in tracks)),
        "mean lifetime": float(np.mean([len(track.basins) for track in tracks])) if tracks else 0.0,
        "stability": float(np.mean(overlaps)) if overlaps else 0.0,
        "births and deaths": float(ends),
        "largest change": float(np.nanmax([0.0, *found["change"]])),
        "largest trend": float(np.nanmax([0.0, *np.abs(found["trend_z"])])),
    }
