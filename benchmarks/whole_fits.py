"""Whole Hawkes fits on simulated events of known truth: seconds, memory, distance from the truth.

No public peer that was tried finishes a spatio-temporal fit beyond 2,000 events (benchmarks/README.md), so the ratio
that counts here is time per event between sizes. Each row runs in a process of its own, JIT warm.
"""

from __future__ import annotations

import argparse
import csv
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

RESULTS = Path(__file__).with_name("results_whole_fits.csv")
RUNS = [("exponential", 100_000), ("exponential", 1_000_000), ("exponential", 2_200_000)]
RUNS += [("dictionary", 100_000), ("dictionary", 1_000_000)]


def measure(kernel: str, n: int) -> dict[str, float | str]:
    """One fit of ``n`` events, after a small one that compiles everything."""
    from stpp import Box, Window
    from stpp.models import Hawkes
    from stpp.simulation.branching import simulate_hawkes

    model = Hawkes(domain=Box((0.0, 0.0), (1.0, 1.0)), kernel=kernel)
    small, _ = simulate_hawkes(30_000, seed=2)
    model.fit(small, Window(0.0, 1000.0))
    events, truth = simulate_hawkes(n, seed=1)
    began = time.perf_counter()
    fitted = model.fit(events, Window(0.0, 1000.0))
    seconds = time.perf_counter() - began
    row: dict[str, float | str] = {
        "kernel": kernel,
        "n": len(events),
        "seconds": round(seconds, 2),
        "microseconds_per_event": round(1e6 * seconds / len(events), 2),
        "peak_memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "branching_ratio": round(fitted.branching_ratio, 4),
        "true_branching_ratio": truth["branching"],
        "converged": str(fitted.result is not None and fitted.result.converged),
    }
    if kernel == "exponential" and fitted.result is not None:
        true = {"background rate": truth["background_rate"], "branching ratio": truth["branching"]}
        true |= {"decay": truth["decay"], "bandwidth": truth["bandwidth"]}
        z = [
            (p.value - true[name]) / (p.standard_error or float("nan")) for name, p in fitted.result.parameters.items()
        ]
        row["largest_z"] = round(max(abs(v) for v in z), 2)
    return row


def main() -> None:
    """Print the table and write it beside this script."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--one", nargs=2, metavar=("KERNEL", "N"), help="measure one row and print it as JSON")
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(measure(arguments.one[0], int(arguments.one[1]))))
        return
    rows = []
    for kernel, n in RUNS:
        command = [sys.executable, __file__, "--one", kernel, str(n)]
        rows.append(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
        print(rows[-1], flush=True)
    columns = list(dict.fromkeys(name for row in rows for name in row))
    with RESULTS.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
