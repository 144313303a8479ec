"""Seventy daily windows over 2.5 million events: historical average, decaying KDE and Hawkes, fitted and scored.

The first user's prototype took 6.9 h for its historical average and 10.5 h for its drift field on such a backtest.
"""

from __future__ import annotations

import argparse
import csv
import resource
import time
from pathlib import Path

import numpy as np

from evaluation import Plan
from evaluation.backtests.backtest import backtest
from stpp import Box, Window
from stpp.models import MODELS
from stpp.simulation.branching import simulate_hawkes

RESULTS = Path(__file__).with_name("results_backtest.csv")
PROTOTYPE_SECONDS = {"historical-average": 24_967, "drift field": 37_799}


def main() -> None:
    """Print the table and write it beside this script."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=2_500_000)
    n = parser.parse_args().events
    events, _ = simulate_hawkes(n, seed=1)
    box = Box((0.0, 0.0), (1.0, 1.0))
    models = {name: MODELS[name](domain=box) for name in ("historical-average", "decaying-kde", "hawkes")}
    plan = Plan(train_start=0.0, test=Window(930.0, 1000.0), step=1.0, grid=100)
    began = time.perf_counter()
    result = backtest(events, models, plan, rng=np.random.default_rng(0))
    total = time.perf_counter() - began
    rows = [{"model": name, "seconds": round(v["seconds"], 1)} for name, v in result.to_json_dict()["models"].items()]
    rows.append({"model": "all", "seconds": round(total, 1)})
    for row in rows:
        row |= {"events": len(events), "windows": len(plan.windows)}
        row["peak_memory_mb"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
        row["share_of_prototype_time"] = round(row["seconds"] / sum(PROTOTYPE_SECONDS.values()), 4)
        print(row)
    with RESULTS.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
