"""Forecasts of whether basins continue, on worlds whose basins are born, live for 2 to 8 weeks and die.

Each world plants other storms; 10⁵ posts in 26 weeks, of which the first half trains. Basins are found and followed by
the default pipeline, forecasts are made from the past only, and the same is done with the posts' times permuted. Prints
the scores of the forecasts beside the base rate's and persistence's, pooled over worlds with bootstrap intervals over
windows, and writes ``results_basins_continuation.csv`` beside this file.
"""

from __future__ import annotations

import argparse
import math
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from basins.finders.density import DensityFinder
from basins.tracks.continuation import examples, predict
from basins.tracks.course import Plan, follow_basins, windows_of
from evaluation.continuation import intervals, reliability_table
from stpp.events import Events, Window
from stpp.simulation.worlds import WORLDS, PlantedBasin, simulate_world

POSTS = 100_000
FORECASTS = {"model": "", "persistence": "_persist", "base rate": "_base"}
SCORES = ("auroc", "brier", "log_loss", "calibration_error", "direction_accuracy", "direction_f1", "direction_auroc")
SIZES = (
    "size_mae",
    "size_rmse",
    "size_coverage",
    "sustained_auroc",
    "sustained_brier",
    "precision_at_10",
    "lift_at_10",
)


def storms(seed: int, n: int = 44, apart: float = 2.4) -> tuple[PlantedBasin, ...]:
    """Storms as in the world ``storms``, drawn anew: none so near another of its time that the two would be one."""
    rng, days, drawn = np.random.default_rng(seed), WORLDS["storms"].duration, list[PlantedBasin]()
    while len(drawn) < n:
        birth, life = rng.uniform(-28, days - 7), rng.uniform(14, 56)
        centre, peak, height = rng.uniform(-5, 5, 2), rng.uniform(0.25, 0.6), rng.uniform(0.5, 1.5)
        rivals = [s for s in drawn if s.birth < birth + life and birth < s.death]
        if all(math.dist(centre, s.centre) >= apart for s in rivals):
            name, place = f"storm {len(drawn)}", (float(centre[0]), float(centre[1]))
            drawn.append(PlantedBasin(name, place, (), 0.6, birth, birth + peak * life, birth + life, height))
    return tuple(drawn)


def known(events: Events) -> tuple[pd.DataFrame, int]:
    """The examples that the default pipeline makes, and the last training window."""
    windows, training = windows_of(Window(0.0, WORLDS["storms"].duration), 7.0)
    course = follow_basins(events, Plan(DensityFinder(), windows, training, WORLDS["storms"].box))
    return examples(course.snapshots, course.basins, course.tracking, training), training - 1


def main() -> None:
    """Run the worlds, print the scores and write the CSV."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--worlds", type=int, default=10)
    parser.add_argument("--shuffled", type=int, default=3, help="of these, how many are also run with permuted times")
    parser.add_argument("--first", type=int, default=201, help="seed of the first world")
    asked = parser.parse_args()
    parts: dict[str, list[pd.DataFrame]] = {"logistic or boosting": [], "logistic only": [], "times permuted": []}
    seconds: dict[str, list[float]] = {name: [] for name in parts}
    usual = WORLDS["storms"]
    for k in range(asked.worlds):
        seed = asked.first + k
        WORLDS["storms"] = replace(usual, basins=storms(seed))
        events, _ = simulate_world("storms", POSTS, seed)
        table, first = known(events)
        runs = {"logistic or boosting": (table, ("logistic", "boosting")), "logistic only": (table, ("logistic",))}
        if k < asked.shuffled:
            permuted = Events(np.random.default_rng(seed).permutation(events.t), events.x)
            runs["times permuted"] = (known(permuted)[0], ("logistic", "boosting"))
        for name, (rows, models) in runs.items():
            began = time.perf_counter()
            table = predict(rows, first, seed=0, models=models).table
            seconds[name].append(time.perf_counter() - began)
            parts[name].append(table.assign(window=table["window"] + 1000 * k))
    judged = []
    for name, tables in parts.items():
        if not tables:
            continue
        pooled = pd.concat(tables, ignore_index=True)
        scores = intervals(pooled, np.random.default_rng(0)).set_index("score")
        for forecast, suffix in FORECASTS.items():
            for score in (*SCORES, *SIZES):
                if (key := score + suffix) in scores.index:
                    row = {"data": name, "forecast": forecast, "score": score} | scores.loc[key].round(4).to_dict()
                    judged.append(row | {"worlds": len(tables), "cases": int(scores.loc["cases", "value"])})
        print(f"\n{name}: {np.median(seconds[name]):.2f} s per world for the forecasts")
        print(reliability_table(pooled["p_continue"], pooled["continues"]).round(3).to_string(index=False))
    result = pd.DataFrame(judged).round(4)
    result.to_csv(Path(__file__).with_name("results_basins_continuation.csv"), index=False)
    print(result.to_string(index=False))


if __name__ == "__main__":
    main()
