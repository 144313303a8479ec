"""Space–time interaction by pairs: stpp against pointpats, and 10⁵ to 10⁶ events that no n × n matrix could hold.

Simulated Hawkes processes (branching 0.3, one event per 0.01 days), at the distance and delay of the closest 1 % of
pairs. Every job runs in a process of its own, so that its peak memory is its own; compilation is not timed. Prints a
table and writes ``results_interaction.csv`` beside this file. README.md says how to read it.
"""

from __future__ import annotations

import argparse
import csv
import multiprocessing
import sys
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from evaluation.nulls.interaction import close_scales, knox, knox_test, modified_knox
from stpp.compute.memory import peak_memory_mb, reset_peak_memory
from stpp.simulation.branching import simulate_hawkes

COLUMNS = ("job", "tool", "n", "permutations", "value", "seconds", "peak_memory_mb", "ratio_to_stpp")
PERMUTATIONS = 99


def jobs(tool: str, permutations: int) -> dict[str, Callable[..., float]]:
    """Statistic by statistic, what the tool calls; each takes events, distance and delay."""
    if tool == "stpp":
        rng = np.random.default_rng(0)
        return {
            "knox": knox,
            "modified knox": modified_knox,
            "knox test": lambda e, d, t: knox_test(e, d, t, permutations=permutations, rng=rng).pairs.item(),
        }
    import pointpats

    def columns(e: Any) -> tuple[Any, Any]:
        return e.x.copy(), e.t[:, None].copy()

    return {
        "knox": lambda e, d, t: pointpats.knox(*columns(e), d, t, permutations=0)["stat"],
        "modified knox": lambda e, d, t: pointpats.modified_knox(*columns(e), d, t, permutations=0),
        "knox test": lambda e, d, t: pointpats.knox(*columns(e), d, t, permutations=permutations)["stat"],
    }


def measure(job: str, tool: str, n: int) -> dict[str, Any]:
    """Time one job; its peak memory counts from the moment the events are there, the interpreter's share included."""
    warnings.simplefilter("ignore")
    small, _ = simulate_hawkes(300, 1, branching=0.3, duration=3.0)
    events, _ = simulate_hawkes(n, 0, branching=0.3, duration=n / 100)
    call = jobs(tool, PERMUTATIONS)[job]
    call(small, *close_scales(small))
    scales = close_scales(events)
    reset_peak_memory()
    began = time.perf_counter()
    value = float(call(events, *scales))
    seconds = time.perf_counter() - began
    permutations = PERMUTATIONS if job == "knox test" else 0
    row = {"job": job, "tool": tool, "n": len(events), "permutations": permutations, "value": f"{value:.10g}"}
    return row | {"seconds": round(seconds, 4), "peak_memory_mb": round(peak_memory_mb())}


def main() -> None:
    """Run the jobs, print them and write the CSV."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shared", type=int, default=5_000, help="events of the comparison with pointpats")
    shared = parser.parse_args().shared
    try:
        import pointpats  # noqa: F401

        tools = ["stpp", "pointpats"]
    except ImportError:
        print("pointpats is not installed and left out: pip install pointpats", file=sys.stderr)
        tools = ["stpp"]
    plan = [(job, tool, shared) for job in ("knox", "modified knox", "knox test") for tool in tools]
    plan += [(job, "stpp", n) for n in (100_000, 1_000_000) for job in ("knox", "modified knox", "knox test")]
    plan = [step for step in plan if step[2] < 1_000_000 or step[0] == "knox"]
    rows: list[dict[str, Any]] = []
    for job, tool, n in plan:
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as own_process:
            row = own_process.submit(measure, job, tool, n).result()
        own = next((r["seconds"] for r in rows if (r["job"], r["n"], r["tool"]) == (job, row["n"], "stpp")), None)
        row["ratio_to_stpp"] = round(row["seconds"] / own, 1) if own else 1.0
        rows.append(row)
        print("  ".join(f"{column} {row[column]}" for column in COLUMNS), flush=True)
    path = Path(__file__).with_name("results_interaction.csv")
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
