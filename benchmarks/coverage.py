"""How often the 95 % intervals of the classical Hawkes fit hold the truth: simulated sets of 5,000 events."""

from __future__ import annotations

import argparse
import csv
import math
from pathlib import Path

import numpy as np

from stpp import Box, Window
from stpp.models import Hawkes
from stpp.simulation.branching import simulate_hawkes

RESULTS = Path(__file__).with_name("results_coverage.csv")
TRUTH = {
    "background rate": "background_rate",
    "branching ratio": "branching",
    "decay": "decay",
    "bandwidth": "bandwidth",
}


def measure(sets: int, n: int) -> list[dict[str, float | str]]:
    """One row per parameter: share of intervals that hold the truth, and the errors in standard errors."""
    model, window = Hawkes(domain=Box((0.0, 0.0), (1.0, 1.0)), kernel="exponential"), Window(0.0, 1000.0)
    z = np.empty((sets, len(TRUTH)))
    for seed in range(sets):
        events, truth = simulate_hawkes(n, seed=seed)
        result = model.fit(events, window).result
        assert result is not None
        for k, (name, key) in enumerate(TRUTH.items()):
            p = result.parameters[name]
            z[seed, k] = (p.value - truth[key]) / (p.standard_error or math.nan)
    return [
        {
            "parameter": name,
            "sets": sets,
            "events": n,
            "coverage_percent": round(100 * float(np.mean(np.abs(z[:, k]) < 1.96)), 1),
            "mean_z": round(float(z[:, k].mean()), 3),
            "sd_z": round(float(z[:, k].std(ddof=1)), 3),
        }
        for k, name in enumerate(TRUTH)
    ]


def main() -> None:
    """Print the table and write it beside this script."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sets", type=int, default=100, help="simulated sets")
    parser.add_argument("--events", type=int, default=5_000, help="expected events in each")
    arguments = parser.parse_args()
    rows = measure(arguments.sets, arguments.events)
    for row in rows:
        print(
            f"{row['parameter']:<16} {row['coverage_percent']:>5} % of {row['sets']} intervals hold the truth;"
            f" error/s.e. has mean {row['mean_z']:+.2f}, sd {row['sd_z']:.2f}"
        )
    with RESULTS.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
