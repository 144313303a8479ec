"""How often 95 % intervals of a mean gain hold the truth, over windows that depend on one another.

Windows are AR(1) with Gaussian or exponential innovations; the table of ``evaluation/comparison.py`` is made here.
CSEP's T-test is given 400 events per window, which share a luck of 0.15 of an event's standard deviation.
"""

from __future__ import annotations

import argparse
import csv
import math
from pathlib import Path

import numpy as np
from scipy.signal import lfilter

from evaluation.comparison import block_length, bootstrap_interval, csep_t_test, diebold_mariano

RESULTS = Path(__file__).with_name("results_intervals.csv")
WINDOWS = (26, 52, 104, 208)
CORRELATIONS = (0.0, 0.3, 0.5, 0.7)
BURN_IN = 100
REPLICATES = 2_000
EVENTS, LUCK = 400, 0.15


def series(n: int, rho: float, skewed: bool, rng: np.random.Generator) -> np.ndarray:
    """AR(1) of mean 0 and variance 1."""
    noise = rng.exponential(size=n + BURN_IN) - 1 if skewed else rng.normal(size=n + BURN_IN)
    return lfilter([math.sqrt(1 - rho**2)], [1, -rho], noise)[BURN_IN:]


def overlapping(n: int, overlap: int, rng: np.random.Generator) -> np.ndarray:
    """Moving means of white noise, as of forecasts that look ``overlap`` steps ahead."""
    return np.convolve(rng.normal(size=n + overlap - 1), np.ones(overlap) / math.sqrt(overlap), "valid")


def holds(interval: tuple[float, float]) -> bool:
    return interval[0] <= 0 <= interval[1]


def measure(label: str, n: int, overlap: int, draw, sets: int) -> dict[str, float | int | str]:
    """Coverage of both intervals over simulated series."""
    rng = np.random.default_rng(n)
    length, hits = block_length(n, overlap), np.zeros(2)
    for _ in range(sets):
        values = draw(rng)
        starts = rng.integers(0, n, size=(REPLICATES, math.ceil(n / length)))
        hits += holds(bootstrap_interval(values, starts, length)), holds(diebold_mariano(values, overlap)[:2])
    percent = np.round(100 * hits / sets, 1).tolist()
    return {"series": label, "windows": n, "sets": sets, "bootstrap": percent[0], "diebold_mariano": percent[1]}


def measure_csep(sets: int, n: int = 78, rho: float = 0.5) -> dict[str, float | int | str]:
    """Coverage of CSEP's T-test beside both intervals, where events of one window share its luck."""
    rng, hits = np.random.default_rng(n), np.zeros(3)
    length = block_length(n, 1)
    for _ in range(sets):
        events = LUCK * series(n, rho, False, rng)[:, None] + rng.normal(size=(n, EVENTS))
        means = events.mean(axis=1)
        starts = rng.integers(0, n, size=(REPLICATES, math.ceil(n / length)))
        low, high = csep_t_test(events.ravel())[1:3]
        hits += (
            holds(bootstrap_interval(means, starts, length)), holds(diebold_mariano(means, 1)[:2]), holds((low, high))
        )  # fmt: skip
    percent = np.round(100 * hits / sets, 1).tolist()
    row = {"series": f"AR(1) {rho}, {EVENTS} events each", "windows": n, "sets": sets}
    return row | {"bootstrap": percent[0], "diebold_mariano": percent[1], "csep_t_test": percent[2]}


def main() -> None:
    """Print the table and write it beside this script."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sets", type=int, default=1_000, help="simulated series per row")
    sets = parser.parse_args().sets
    rows = []
    for rho in CORRELATIONS:
        for skewed in (False, True):
            for n in WINDOWS:
                label = f"AR(1) {rho}, {'exponential' if skewed else 'Gaussian'}"
                rows.append(measure(label, n, 1, lambda rng, n=n, r=rho, s=skewed: series(n, r, s, rng), sets))
                print(rows[-1], flush=True)
    for n in WINDOWS:
        rows.append(measure("overlap 7", n, 7, lambda rng, n=n: overlapping(n, 7, rng), sets))
        print(rows[-1], flush=True)
    rows.append(measure_csep(sets))
    print(rows[-1])
    columns = list(dict.fromkeys(name for row in rows for name in row))
    with RESULTS.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
