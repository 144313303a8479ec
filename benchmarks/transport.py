"""Optimal transport between snapshots: stpp's separable Sinkhorn beside POT's dense one, and what its motion is worth.

``solve``: one unbalanced plan on the unit square, ε 10⁻³ and penalty 0.01, between histograms of 20,000 posts in four
moving blobs, on grids of 5² to 200² cells; POT up to 50², and 100² (5 GB, half a minute) with ``--dense``. ε 3·10⁻⁴
with penalty 0.1 and balanced transport are for stpp alone. Each job has a process of its own; ``memory_mb`` is what the
solution needs beyond what is there before it. POT solves with its own stop rule of 10⁻⁶, on both threads.

``scene``: mass-weighted end-point error, in cells, on the scene of ``flow.py`` (no flow: 1.18), from one pair of
frames and from four pooled, held-out seeds. *displacement* is the plain barycentric displacement of the plan; *centred*
is half the way there less half the way back; *evidence* is that without its self-bias, ``transport_evidence``.
Each has the best ε and penalty of a small grid (in squared bandwidths of the snapshots) on the development seeds.
Prints a table and writes ``results_transport.csv`` beside this file. README.md says how to read it.
"""

from __future__ import annotations

import argparse
import csv
import importlib.util
import itertools
import math
import multiprocessing
import sys
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from flow import BLOB_SDS, DEVELOPMENT, GRID, HELD_OUT, Scene, scene

from stpp.compute.blas import one_blas_thread
from stpp.compute.memory import peak_memory_mb, reset_peak_memory
from stpp.domain import Array, Box, Grid
from stpp.flow.flow import pooled_pair
from stpp.flow.sinkhorn import sinkhorn, transport_evidence

COLUMNS = (
    *("job", "tool", "side", "blob_sd", "pairs", "epsilon", "penalty", "iterations", "mass", "epe", "epe_sd"),
    *("seconds", "cpu_seconds", "memory_mb", "time_ratio_to_stpp"),
)
MAIN, SHARP, BALANCED = (1e-3, 0.01), (3e-4, 0.1), (1e-3, math.inf)


def histograms(side: int) -> tuple[Array, Array, Grid]:
    """Two frames of 20,000 posts in four blobs, three of them moving, the fourth growing by half; 10 % is noise."""
    rng, grid = np.random.default_rng(0), Grid.over(Box((0.0, 0.0), (1.0, 1.0)), side)
    centres = np.array([(0.3, 0.3), (0.7, 0.3), (0.3, 0.7), (0.7, 0.7)])
    shift = np.array([(0.015, 0.0), (-0.01, 0.012), (0.006, -0.014), (0.0, 0.0)])
    frames = []
    for k in range(2):
        counts = [4500, 4500, 4500, 4500 + 2250 * k]
        places = np.repeat(centres + k * shift, counts, axis=0)
        places += rng.normal(0, 0.06, places.shape)
        # POT divides by the mass of every cell, hence a trace everywhere
        frames.append(grid.histogram(np.concatenate([places, rng.uniform(size=(2000, 2))])) + 1e-9)
    return frames[0], frames[1], grid


def solve(tool: str, side: int, epsilon: float, penalty: float) -> dict[str, Any]:
    """Time one plan: the shortest of the runs that fit into half a second."""
    warnings.simplefilter("ignore")

    def ours(before: Array, after: Array, grid: Grid) -> tuple[float, int]:
        share = before.sum() / after.sum() if penalty == math.inf else 1.0
        plan = sinkhorn(before, after * share, grid, epsilon=epsilon, penalty=penalty)
        return plan.mass, plan.iterations

    def pot(before: Array, after: Array, grid: Grid) -> tuple[float, int]:
        import ot

        scale = math.sqrt(before.sum() * after.sum())
        a, b = before.ravel() / scale, after.ravel() / scale
        cost = ot.dist(grid.points(), grid.points())
        plan, log = ot.unbalanced.sinkhorn_unbalanced(a, b, cost, epsilon, penalty, numItermax=10_000, log=True)
        return float(plan.sum() * scale), len(log["err"])

    run = ours if tool == "stpp" else pot
    run(*histograms(5))
    before, after, grid = histograms(side)
    reset_peak_memory()
    start, times = peak_memory_mb(), []
    while sum(wall for wall, _ in times) < 0.5:
        began, cpu = time.perf_counter(), time.process_time()
        mass, iterations = run(before, after, grid)
        times.append((time.perf_counter() - began, time.process_time() - cpu))
    seconds, cpu_seconds = np.min(times, axis=0)
    costs = {"seconds": seconds, "cpu_seconds": f"{cpu_seconds:.4g}", "memory_mb": round(peak_memory_mb() - start)}
    row = {"job": "solve", "tool": tool, "side": side, "epsilon": epsilon, "penalty": penalty, "iterations": iterations}
    return row | {"mass": f"{mass:.1f}"} | costs


Velocity = Callable[[Scene, float, float], Array]


def of_plan(name: str) -> Velocity:
    """Displacement of the plan between the pooled frames, plain or centred."""

    def velocity(s: Scene, epsilon: float, penalty: float) -> Array:
        before, after, _ = pooled_pair(s.frames)
        share = before.sum() / after.sum() if penalty == math.inf else 1.0
        unit = s.bandwidth**2
        plan = sinkhorn(before, after * share, GRID, epsilon=epsilon * unit, penalty=penalty * unit)
        return (plan.displacement - plan.origin) / 2 if name == "centred" else plan.displacement

    return velocity


def of_evidence(s: Scene, epsilon: float, penalty: float) -> Array:
    before, after, share = pooled_pair(s.frames)
    settings = {"frame": 1.0, "bandwidth": s.bandwidth, "epsilon": epsilon, "unbalance": penalty}
    found = transport_evidence(before, after, GRID, dispersion=share, **settings)
    information = np.einsum("ii...->i...", found.information)
    return np.divide(found.score, information, out=np.zeros_like(found.score), where=information > 0)[:2]


@one_blas_thread
def scene_rows() -> list[dict[str, Any]]:
    """Each way to a velocity, at its best setting on the development seeds, on the held-out seeds."""
    ways: dict[str, tuple[Velocity, list[tuple[float, float]]]] = {
        "no flow": (lambda s, *_: 0 * s.velocity, [(math.nan, math.nan)]),
        "balanced displacement": (of_plan("displacement"), [(1.0, math.inf), (10.0, math.inf)]),
    }
    settings = [(e, u) for e in (3.0, 10.0, 30.0) for u in (100.0, 300.0)]
    ways |= {name: (of_plan(name), settings) for name in ("displacement", "centred")}
    ways["evidence"] = (of_evidence, settings)
    out = []
    for blob_sd, pairs in itertools.product(BLOB_SDS, (1, 4)):
        trial, held_out = ([scene(seed, pairs, blob_sd) for seed in seeds] for seeds in (DEVELOPMENT, HELD_OUT))
        for name, (velocity, choices) in ways.items():
            errors = [np.mean([s.errors(velocity(s, *choice))[0] for s in trial]) for choice in choices]
            epsilon, penalty = choices[int(np.argmin(errors))]
            began = time.perf_counter()
            epe = [s.errors(velocity(s, epsilon, penalty))[0] for s in held_out]
            seconds = (time.perf_counter() - began) / len(held_out)
            row = {
                "job": "scene",
                "tool": name,
                "side": GRID.shape[0],
                "blob_sd": blob_sd,
                "pairs": pairs,
                "seconds": seconds,
            }
            row |= {
                "epsilon": epsilon,
                "penalty": penalty,
                "epe": f"{np.mean(epe):.3f}",
                "epe_sd": f"{np.std(epe):.3f}",
            }
            out.append(row)
            show(row)
    return out


def show(row: dict[str, Any]) -> None:
    row["seconds"] = f"{row['seconds']:.4g}"
    print("  ".join(f"{column} {row[column]}" for column in COLUMNS if column in row), flush=True)


def main() -> None:
    """Run the jobs, print them and write the CSV."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dense", action="store_true", help="POT on 100 × 100 cells, too: 5 GB, half a minute")
    most = 100 if parser.parse_args().dense else 50
    plan = [("stpp", side, *MAIN) for side in (5, 10, 20, 50, 100, 200)]
    plan += [("stpp", side, *SHARP) for side in (100, 200)] + [("stpp", 100, *BALANCED)]
    if importlib.util.find_spec("ot"):
        plan += [("POT", side, *MAIN) for side in (5, 10, 20, 50, 100) if side <= most]
    else:
        print("POT is not installed and left out: pip install pot", file=sys.stderr)
    rows: list[dict[str, Any]] = []
    own: dict[int, float] = {}
    for step in plan:
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as own_process:
            row = own_process.submit(solve, *step).result()
        if step[2:] == MAIN:
            own.setdefault(step[1], row["seconds"])
            row["time_ratio_to_stpp"] = f"{row['seconds'] / own[step[1]]:.3g}"
        rows.append(row)
        show(row)
    rows += scene_rows()
    with Path(__file__).with_name("results_transport.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
