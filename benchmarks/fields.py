"""Decayed kernel sums with derivatives: the two engines of stpp.kernels.fields, their speed and error, and which one to
take.

``speed``: simulated Hawkes processes of 10⁵ to 2.2·10⁶ events. ``choice``: uniform events, the bandwidth set so that an
event has a given number of neighbours; it shows where the pair engine becomes the faster one, and what ``auto`` costs
over the better of the two. Prints tables and writes ``results_fields.csv`` beside this file; README.md says how to read
it.
"""

from __future__ import annotations

import argparse
import csv
import math
import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from stpp.events import Events
from stpp.kernels.fields import Engine, Sums, decayed_sums
from stpp.kernels.pairs import radius
from stpp.simulation.branching import simulate_hawkes

DECAY, BRANCHING = 1.0, 0.6
SPEED = [(2, 100_000), (1, 100_000), (3, 100_000), (2, 1_000_000), (2, 2_200_000)]  # dimensions, events
MOST_FOR_PAIRS = 100_000
NEIGHBOURS = (1, 3, 10, 30, 100, 300, 1000)
CHOICE = [(1, 100_000), (2, 100_000), (3, 100_000), (2, 1_000), (2, 10_000)]
COLUMNS = (
    "job", "d", "n", "tol", "bandwidth", "neighbours", "seconds_grid", "seconds_pairs", "cpu_seconds_grid",
    "cpu_seconds_pairs", "cpu_ns_per_event_grid", "auto_is", "auto_over_best",
    "intensity_error_grid", "intensity_error_pairs", "peak_memory_mb",
)  # fmt: skip


def sums(events: Events, bandwidth: float, tol: float, engine: Engine) -> Sums:
    """Value, lag and bandwidth derivative at every event."""
    return decayed_sums(
        events.t, events.x, events.weight, events.t, events.x, DECAY, bandwidth,
        tol=tol, derivatives=True, engine=engine,
    )  # fmt: skip


def shortest(
    events: Events, bandwidth: float, tol: float, engines: list[Engine], repeats: int
) -> dict[Engine, tuple[float, float]]:
    """Shortest wall and processor seconds (all threads) of each engine, run in turn: other jobs can only add."""
    best = dict.fromkeys(engines, (math.inf, math.inf))
    for _ in range(repeats):
        for engine in engines:
            wall, cpu = time.perf_counter(), time.process_time()
            sums(events, bandwidth, tol, engine)
            spent = time.perf_counter() - wall, time.process_time() - cpu
            best[engine] = min(best[engine][0], spent[0]), min(best[engine][1], spent[1])
    return best


def neighbours(events: Events, bandwidth: float, tol: float) -> float:
    """Earlier events within the truncation radius and memory of an event, mean over a sample."""
    reach, memory = radius(events.d, bandwidth, tol), math.log(100 / tol) / DECAY
    counts = []
    for i in np.linspace(0, len(events) - 1, 300).astype(int):
        recent = events.x[np.searchsorted(events.t, events.t[i] - memory) : np.searchsorted(events.t, events.t[i])]
        counts.append(int((((recent - events.x[i]) ** 2).sum(axis=1) < reach**2).sum()))
    return float(np.mean(counts))


def intensity_error(events: Events, bandwidth: float, tol: float, engine: Engine, background: float) -> float:
    """Largest relative error of λ = background + 0.6 S over all events, against the pair sum at tol 10⁻¹³."""
    exact = background + BRANCHING * sums(events, bandwidth, 1e-13, "pairs").value
    got = background + BRANCHING * sums(events, bandwidth, tol, engine).value
    return float(np.abs(got / exact - 1).max())


def speed(seed: int) -> Iterator[dict[str, Any]]:
    """Simulated Hawkes processes."""
    bandwidth = 0.02
    for d, n in SPEED:
        events, truth = simulate_hawkes(n, seed, d=d, branching=BRANCHING, decay=DECAY, bandwidth=bandwidth)
        small = n <= MOST_FOR_PAIRS
        engines: list[Engine] = ["grid", "pairs"] if small else ["grid"]
        for tol in (1e-4, 1e-8):
            seconds = shortest(events, bandwidth, tol, engines, 7 if small else 4)
            row = {
                "job": "speed", "d": d, "n": len(events), "tol": tol, "bandwidth": bandwidth,
                "neighbours": neighbours(events, bandwidth, tol),
                "cpu_ns_per_event_grid": seconds["grid"][1] / len(events) * 1e9,
                "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if MACOS else 2**10),
            }  # fmt: skip
            for engine in engines:
                row[f"seconds_{engine}"], row[f"cpu_seconds_{engine}"] = seconds[engine]
                if small:
                    row[f"intensity_error_{engine}"] = intensity_error(
                        events, bandwidth, tol, engine, truth["background_rate"]
                    )
            yield row


def choice(seed: int) -> Iterator[dict[str, Any]]:
    """Uniform events with more and more neighbours."""
    rng, tol = np.random.default_rng(seed), 1e-4
    for d, n in CHOICE:
        events = Events(rng.uniform(0, 1000, n), rng.uniform(size=(n, d)))
        recent = n / 1000 * math.log(100 / tol) / DECAY
        ball = math.pi ** (d / 2) / math.gamma(d / 2 + 1)
        for wanted in NEIGHBOURS:
            if wanted > recent / 3:
                continue
            bandwidth = (wanted / recent / ball) ** (1 / d) / radius(d, 1.0, tol)
            seconds = shortest(events, bandwidth, tol, ["grid", "pairs", "auto"], 3)
            same = np.array_equal(
                sums(events, bandwidth, tol, "auto").value, sums(events, bandwidth, tol, "grid").value
            )
            row = {
                "job": "choice", "d": d, "n": n, "tol": tol, "bandwidth": bandwidth,
                "neighbours": neighbours(events, bandwidth, tol),
                "auto_is": "grid" if same else "pairs",
                "auto_over_best": seconds["auto"][1] / min(seconds["grid"][1], seconds["pairs"][1]),
            }  # fmt: skip
            for engine in ("grid", "pairs"):
                row[f"seconds_{engine}"], row[f"cpu_seconds_{engine}"] = seconds[engine]
            yield row


MACOS = sys.platform == "darwin"  # which counts memory in bytes, others in KiB


def main() -> None:
    """Run both jobs, print the table, write the CSV."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()

    warm = simulate_hawkes(1_000, options.seed)[0]
    for engine in ("grid", "pairs", "auto"):
        sums(warm, 0.02, 1e-4, engine)
    print("  ".join(f"{column:>10.10}" for column in COLUMNS))
    rows = []
    for row in (*speed(options.seed), *choice(options.seed)):
        rows.append({k: f"{v:.3g}" if isinstance(v, float) else v for k, v in row.items()})
        print("  ".join(f"{rows[-1].get(column, ''):>10}" for column in COLUMNS), flush=True)
    plane = {
        (row["tol"], row["n"]): float(row["cpu_ns_per_event_grid"])
        for row in rows
        if (row["job"], row["d"]) == ("speed", 2)
    }
    for tol in sorted({tol for tol, _ in plane}, reverse=True):
        sizes = sorted(n for this, n in plane if this == tol)
        growth = plane[tol, sizes[-1]] / plane[tol, sizes[0]]
        print(f"tol {tol}: processor time per event at {sizes[-1]} over that at {sizes[0]} events: {growth:.2f}")

    path = Path(__file__).with_name("results_fields.csv")
    temporary = path.with_suffix(".tmp")
    with temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    temporary.replace(path)


if __name__ == "__main__":
    main()
