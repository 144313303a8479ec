"""Time-shuffles with a full Hawkes refit: seconds for 199 of them on 25,000 events, and how the time grows with n.

Each null world is a whole backtest: the historical average and Hawkes (dictionary kernel) fitted from scratch to the
first 80 % of the time, twenty forecasts on 100 × 100 cells, scores. The peer is the plain loop that a script would
have, the same statistic world by world in one process with all cores to each: its ratio is what running worlds side
by side on one core each is worth.
"""

from __future__ import annotations

import csv
import time
from pathlib import Path

import numpy as np

RESULTS = Path(__file__).with_name("results_nulls.csv")
ALL = (25_000, 199)
GROWTH = ((5_000, 19), (10_000, 19), (25_000, 19), (50_000, 19), (100_000, 19))
LOOP = 6
"""Worlds of the plain loop, at 25,000 events."""


def main() -> None:
    """Print the table and write it beside this script."""
    from evaluation.backtests.plan import Plan
    from evaluation.nulls import NULLS
    from evaluation.nulls.significance import significance
    from evaluation.nulls.statistics import make_statistic
    from evaluation.nulls.worlds import analysed
    from stpp.events import Window
    from stpp.models import make_models
    from stpp.simulation.branching import simulate_hawkes

    def case(n: int):
        events, _ = simulate_hawkes(n, seed=1)
        plan = Plan(0, Window(800, 1000), 10.0)
        models = make_models(["historical-average", "hawkes"], plan.domain(events), plan.step)
        inside, context = analysed(events, plan.domain(events), plan)
        return make_statistic("information-gain", models, plan), inside, context

    def run(n: int, worlds: int) -> dict[str, float | int | str]:
        statistic, events, context = case(n)
        began = time.perf_counter()
        found = significance(statistic, events, ["time-shuffle"], context, B=worlds)[0]
        seconds = time.perf_counter() - began
        return {
            "job": f"{worlds} time-shuffles",
            "n": len(events),
            "worlds": worlds,
            "seconds": round(seconds, 1),
            "seconds_per_world": round(seconds / worlds, 2),
            "observed": round(found.observed, 4),
            "null_mean": round(found.mean, 5),
            "p_value": found.p_value,
        }

    statistic, events, context = case(2_000)
    significance(statistic, events, ["time-shuffle"], context, B=19)  # compiles everything
    rows = [run(*ALL)]
    print(rows[-1], flush=True)
    statistic, events, context = case(ALL[0])
    world = NULLS["time-shuffle"].world(events, context)
    began = time.perf_counter()
    for b in range(LOOP):
        statistic(world(np.random.default_rng(b)))
    each = (time.perf_counter() - began) / LOOP
    rows.append({"job": "plain loop", "n": len(events), "worlds": LOOP, "seconds_per_world": round(each, 2)})
    rows[-1]["ratio"] = round(each / float(rows[0]["seconds_per_world"]), 2)
    print(rows[-1], flush=True)
    for n, worlds in GROWTH:
        rows.append(run(n, worlds))
        print(rows[-1], flush=True)
    columns = list(dict.fromkeys(name for row in rows for name in row))
    with RESULTS.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
