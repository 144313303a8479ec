"""The whole pipeline of basins: 99 time-shuffles, false basins and trends where there are none, 2.5 million posts."""

from __future__ import annotations

import argparse
import csv
import resource
import time
from pathlib import Path
from typing import Any

import numpy as np

from basins.finders import make_finder
from basins.tracks.course import Plan, follow_basins, set_up
from basins.tracks.significance import BasinStatistic, judge
from evaluation.continuation import continuation_scores
from evaluation.nulls.significance import significance
from evaluation.nulls.worlds import Context
from stpp import Box, Events
from stpp.simulation.worlds import simulate_world

RESULTS = Path(__file__).with_name("results_basins_pipeline.csv")
BOX = Box((-6.0, -6.0), (6.0, 6.0))


def plan_of(events: Events, start: float, end: float) -> Plan:
    """Weekly windows, density basins."""
    return set_up(events, make_finder("density", 2), window=7.0, start=str(start), end=str(end), box=BOX)


def shuffles(n: int, B: int) -> dict[str, Any]:
    """The whole pipeline on a world of storms and on B time-shuffles of it."""
    events, _ = simulate_world("storms", n, 0)
    plan = plan_of(events, 0, 182)
    follow_basins(events.rows(0, 20_000), plan_of(events.rows(0, 20_000), 0, 21))  # compiled before anything is timed
    context = Context(BOX, plan.span, 7.0, 0.0)
    began = time.perf_counter()
    found = significance(BasinStatistic(plan, continuation_scores), events, ["time-shuffle"], context, B=B)
    seconds = time.perf_counter() - began
    row: dict[str, Any] = {"job": f"{B} time-shuffles, storms", "posts": n, "windows": 26, "seconds": seconds}
    for one in found:
        print(
            f"  {one.statistic:20} {one.observed:8.3f}   shuffled {one.mean:8.3f} ± {one.sd:.3f}   p {one.p_value:.3f}"
        )
    auroc = next(one for one in found if one.statistic == "continuation AUROC")
    return row | {"observed": auroc.observed, "null": auroc.mean}


def false_alarms(world: str, n: int, seeds: int) -> dict[str, Any]:
    """In how many of many worlds without dynamics is there a basin too many, a birth or death, or a trend?"""
    began, planted = time.perf_counter(), 0 if world == "null" else 5
    basins = trends = lives = 0
    for seed in range(seeds):
        events, _ = simulate_world(world, n, seed)
        course = follow_basins(events, plan_of(events, 3, 59))
        p = np.sort(judge(course)["trend_p"].to_numpy())
        basins += any(len(found) > planted for found in course.basins)
        lives += any(track.birth > 0 or track.death is not None for track in course.tracking.tracks)
        trends += bool((p * (len(p) - np.arange(len(p))) <= 0.05).any())
    print(
        f"  {world}: of {seeds} worlds {basins} have a false basin, {lives} a birth or death, {trends} a trend (Holm)"
    )
    row = {"job": f"false alarms, {world}", "posts": n, "windows": 8, "seconds": time.perf_counter() - began}
    return row | {"worlds": seeds, "false_basins": basins, "births_or_deaths": lives, "false_trends": trends}


def large(n: int) -> dict[str, Any]:
    """Finding and following basins in as many posts as the first user has."""
    events, _ = simulate_world("storms", n, 0)
    began = time.perf_counter()
    course = follow_basins(events, plan_of(events, 0, 182))
    judge(course)
    seconds = time.perf_counter() - began
    return {"job": "found and followed, storms", "posts": n, "windows": 26, "seconds": seconds}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--worlds", type=int, default=100)
    parser.add_argument("-B", type=int, default=99)
    options = parser.parse_args()
    rows = [shuffles(100_000, options.B)]
    rows += [false_alarms("null", 20_000, options.worlds), false_alarms("static", 20_000, options.worlds)]
    rows.append(large(2_500_000))
    for row in rows:
        row["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"{row['job']:32} {row['posts']:>9,} posts  {row['seconds']:7.1f} s  {row['peak_mb']:6.0f} MB")
    columns = list(dict.fromkeys(key for row in rows for key in row))
    with RESULTS.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows({k: round(v, 4) if isinstance(v, float) else v for k, v in row.items()} for row in rows)


if __name__ == "__main__":
    main()
