"""Where a fitted model goes wrong, on one page: residuals and calibration over held-out windows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd

from evaluation import scores
from evaluation.comparison import ENOUGH_WINDOWS, GainInterval, information_gain_intervals
from evaluation.diagnosis.calibration import Reliability, claimed_fds, reliability
from evaluation.diagnosis.residuals import (
    Statistic,
    SuperThinned,
    TimeRescaling,
    clustered_uniformity,
    density_levels,
    join,
    rescaled_times,
    super_thinning,
    time_rescaling,
)
from stpp.compute.progress import Progress
from stpp.domain import Array, Grid
from stpp.events import Events, Window
from stpp.files.jsonable import jsonable
from stpp.intensity import Forecast, IntensityModel
from stpp.reports.words import p_in_words

Segment = tuple[IntensityModel, Sequence[Window]]
"""A fitted model and the held-out windows that it forecasts, in time order."""

SIGNIFICANT = 0.01
"""A p-value below it is called a misfit; not 0.05, since a page holds several and a right model should pass all."""

MANY = 100_000
"""With more events every model is rejected, however small its misfit."""

MOST_CELLS = 20_000_000
"""Cells of all windows together whose forecasts and counts are held for their reliability: about 1 GB."""


@dataclass(frozen=True, eq=False)
class Diagnosis:
    """What the held-out events say of a model.

    Parameters
    ----------
    model : its name
    axes : names of the coordinates
    start, end : of the held-out time (UTC)
    times : rescaled times, pooled over the windows
    thinned : super-thinned residuals, pooled over the windows
    levels : (n,) spatial PIT of every event, see :func:`evaluation.diagnosis.residuals.density_levels`
    level : mean over windows of their mean level less ½, with a block-bootstrap interval
    levels_ks : distance of ``levels`` from uniform, its p-value by a block bootstrap over windows
    table : one row per window: ``model``, ``start`` (UTC), ``events``, ``weight``, ``expected_count``, ``fds``,
        ``overconfidence``, ``level``
    fds : claimed against realised FDS, the row of :func:`evaluation.diagnosis.calibration.claimed_fds`
    cells : reliability of the forecasts' cells; None above 3 dimensions, where there are none
    """

    model: str
    axes: tuple[str, ...]
    start: datetime
    end: datetime
    times: TimeRescaling
    thinned: SuperThinned
    levels: Array
    level: GainInterval
    levels_ks: Statistic
    table: pd.DataFrame
    fds: dict[str, float]
    cells: Reliability | None

    def to_json_dict(self) -> dict[str, Any]:
        """What ``stpp diagnose --json`` prints; a number that is not finite is None (JSON has none)."""
        times, thinned, cells = self.times, self.thinned, self.cells
        added = int(thinned.added.sum())
        found: dict[str, Any] = {
            "model": self.model,
            "start": self.start.isoformat(),
            "end": self.end.isoformat(),
            "windows": len(self.table),
            "events": times.n,
            "times": {
                "expected": times.expected,
                "ks_distance": times.ks.value,
                "ks_band": times.ks_band,
                "ks_p_value": times.ks.p_value,
                "lag_correlation": times.lag.value,
                "lag_p_value": times.lag.p_value,
            },
            "super_thinning": {
                "rate": thinned.rate,
                "expected": thinned.expected,
                "kept": len(thinned.added) - added,
                "added": added,
                "cells_chi_square": thinned.cells.value,
                "cells_p_value": thinned.cells.p_value,
                "times_ks_distance": thinned.times.value,
                "times_p_value": thinned.times.p_value,
            },
            "places": {
                "mean_level": 0.5 + self.level.mean,
                "low": 0.5 + self.level.low,
                "high": 0.5 + self.level.high,
                "ks_distance": self.levels_ks.value,
                "ks_p_value": self.levels_ks.p_value,
            },
            "fds": self.fds,
        }
        if cells is not None:
            names = ("score", "miscalibration", "discrimination", "uncertainty")
            found["cells"] = {name: getattr(cells, name) for name in names}
            found["cells"]["p_value_if_poisson"] = cells.p_value
        return dict(jsonable(found))

    def lines(self) -> list[str]:
        """The same in words."""
        times, thinned, level, fds = self.times, self.thinned, self.level, self.fds
        span = f"{self.start:%Y-%m-%d %H:%M} to {self.end:%Y-%m-%d %H:%M} UTC"
        share = times.n / times.expected - 1
        came = f"{100 * abs(share):.1f} % {'more' if share > 0 else 'fewer'} than"
        kept = len(thinned.added) - int(thinned.added.sum())
        lines = [
            f"{self.model}, held out {span}: {len(self.table)} windows, {times.n:,} events",
            f"times    {times.n:,} events came, {came} the {times.expected:,.1f} that the model expected on the way",
            f"         gaps: KS D = {times.ks.value:.3f} (a right model: under {times.ks_band:.3f}), "
            f"{p_in_words(times.ks.p_value)}: {_verdict(times.ks.p_value, 'misfit')}; "
            f"they vary {times.variation:.2f} times as much as they should",
            f"         correlation of successive gaps {times.lag.value:+.3f}, {p_in_words(times.lag.p_value)}: "
            + _verdict(times.lag.p_value, "bursts and lulls are left that it does not foresee"),
            f"both     super-thinned: {len(thinned.added):,} points left ({kept:,} events kept), "
            f"{thinned.expected:,.0f} expected",
            f"         evenly spread over cells: {p_in_words(thinned.cells.p_value)}, over time: "
            f"{p_in_words(thinned.times.p_value)}: "
            + _verdict(min(1.0, 2 * min(thinned.cells.p_value, thinned.times.p_value)), "misfit"),
            f"places   mean density level of events {0.5 + level.mean:.3f} [{0.5 + level.low:.3f}, "
            f"{0.5 + level.high:.3f}], 0.5 if right; KS D = {self.levels_ks.value:.3f}, "
            f"{p_in_words(self.levels_ks.p_value)}: {_verdict(self.levels_ks.p_value, 'misfit')}",
            f"         FDS claimed {fds['claimed']:.3f}, realised {fds['realised']:.3f}, difference "
            f"{fds['overconfidence']:+.3f} [{fds['low']:+.3f}, {fds['high']:+.3f}]: "
            + _side(fds["low"], fds["high"], "they claim too much", "they claim too little"),
        ]
        if self.cells is not None:
            lines.append(
                f"cells    correcting expected counts by the curve would gain {self.cells.miscalibration:.3f} nats per "
                f"event; they tell cells apart by {self.cells.discrimination:.3f}"
            )
        if times.n > MANY:
            lines.append("With so many events any model is rejected: read the sizes, not the p-values.")
        if level.windows < ENOUGH_WINDOWS:
            lines.append(f"Intervals are approximate: {level.windows} windows, fewer than {ENOUGH_WINDOWS}.")
        return lines


def diagnose(
    segments: Sequence[Segment],
    events: Events,
    grid: Grid | None,
    *,
    rng: np.random.Generator,
    progress: Progress | None = None,
) -> Diagnosis:
    """Residuals and calibration of fitted models over the windows that they were not fitted to, pooled.

    Where windows overlap, residuals take each moment once, as part of the later window.

    Parameters
    ----------
    segments : one for a single fit, one per refit of a backtest; all of one kind of model on one domain
    events : history and held-out events; those outside the domain are left out
    grid : over the domain; None above 3 dimensions
    rng : thins, adds, breaks ties, resamples
    progress : told (model, windows done, windows in all)

    Raises
    ------
    ValueError
        if there are no windows, or no events in them
    """
    windows = [window for _, batch in segments for window in batch]
    if not windows:
        raise ValueError("no held-out windows to diagnose: leave time after the training window")
    model = segments[0][0]
    inside = events.inside(model.domain)
    spans = _spans(segments)
    days = sum(span.duration for _, span in spans)
    n = sum(len(inside.between(span)) for _, span in spans)
    if not n:
        raise ValueError(f"no events in the {len(windows)} held-out windows: leave more time after the training window")
    rate = n / (model.domain.volume * days)
    increments = [rescaled_times(fitted, inside, span, rng) for fitted, span in spans]
    parts = [super_thinning(fitted, inside, span, rng, rate) for fitted, span in spans]
    thinned = parts[0]
    for part in parts[1:]:
        thinned = thinned.then(part)
    table, levels, cells = _forecasts(segments, inside, grid, rng, progress)
    overlap = max(sum(w.start <= v.start < w.end - 1e-9 for v in windows) for w in windows)
    level = information_gain_intervals({"": table["level"] - 0.5}, table["events"], overlap=overlap, rng=rng)[""]
    row = claimed_fds(table, overlap=overlap, rng=rng).iloc[0]
    levels_ks = clustered_uniformity(levels, level.block_length, rng)
    claims = {str(name): float(value) for name, value in row.items()}
    ends = events.date(min(w.start for w in windows)), events.date(max(w.end for w in windows))
    times = time_rescaling(join(increments))
    return Diagnosis(
        model.name, events.axes, *ends, times, thinned, np.concatenate(levels), level, levels_ks, table, claims, cells
    )


def _spans(segments: Sequence[Segment]) -> list[tuple[IntensityModel, Window]]:
    """The held-out time in pieces that do not overlap, adjoining windows of one model in one piece."""
    pieces = [(model, window) for model, batch in segments for window in batch]
    spans: list[tuple[IntensityModel, Window]] = []
    following = [*(window.start for _, window in pieces[1:]), math.inf]
    for (model, window), limit in zip(pieces, following, strict=True):
        end = min(window.end, limit)
        if spans and spans[-1][0] is model and window.start - spans[-1][1].end < 1e-9:
            spans[-1] = (model, Window(spans[-1][1].start, end))
        else:
            spans.append((model, Window(window.start, end)))
    return spans


def _forecasts(
    segments: Sequence[Segment],
    events: Events,
    grid: Grid | None,
    rng: np.random.Generator,
    progress: Progress | None,
) -> tuple[pd.DataFrame, list[Array], Reliability | None]:
    """The table of windows, their events' density levels, and the reliability of all cells."""
    rows, levels, expected, observed = [], [], [], []
    planned = sum(len(batch) for _, batch in segments)
    if grid is not None and planned * grid.cells > MOST_CELLS:
        raise ValueError(f"{planned} windows of {grid.cells:,} cells are too many to hold: take a coarser --grid")
    for model, batch in segments:
        if not batch:
            continue
        known = events.before(batch[-1].start)
        for window, forecast in zip(batch, model.rolling_forecasts(known, batch, grid), strict=True):
            came = events.between(window)
            level = density_levels(forecast, came.x, rng)
            row: dict[str, Any] = {"model": model.name, "start": events.date(window.start), "events": len(came)}
            row |= {"weight": came.weight.sum(), "expected_count": forecast.total}
            row |= {"fds": math.nan, "overconfidence": math.nan, "level": level.mean() if len(came) else math.nan}
            if row["weight"] > 0:
                g = forecast.relative_at(came.x)
                row["fds"] = scores.fds(g, came.weight)
                row["overconfidence"] = scores.overconfidence(g, came.weight, forecast.mean_square()[0])
            rows.append(row)
            levels.append(level)
            if isinstance(forecast, Forecast):
                expected.append(forecast.counts)
                observed.append(forecast.grid.histogram(came.x))
            if progress is not None:
                progress(model.name, len(rows), planned)
    cells = reliability(np.stack(expected), np.stack(observed), rng) if expected else None
    return pd.DataFrame(rows), levels, cells


def _verdict(p_value: float, misfit: str) -> str:
    if not math.isfinite(p_value):
        return "too few events to say"
    return misfit if p_value < SIGNIFICANT else "no misfit shown"


def _side(low: float, high: float, above: str, below: str) -> str:
    """In words: on which side of 0 an interval lies."""
    return above if low > 0 else below if high < 0 else "no misfit shown"
