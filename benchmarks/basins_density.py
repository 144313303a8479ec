"""The density finder on planted worlds: how many basins, how well labelled, how long, and how often by chance.

- ``static``: 10⁵ posts, the first 60 % of the time as one window (that trains too) and the last 40 % as another, five
  seeds; 30 bootstrap replicates in each. ``ari`` counts noise as a label; ``best_ari`` is that of the planted truth.
- ``weekly`` and ``short``: the same world in 8 weeks and in 26 windows; share of windows with exactly five basins.
- ``unequal``: basins of very unequal density, 7,000 posts, beside the best and the median of 20 HDBSCAN settings
  (scikit-learn), the best chosen by the truth.
- ``null``: uniform worlds of 8 windows; share of the worlds in which any window holds a basin.

Prints a table and writes ``results_basins_density.csv`` beside this file. ``--only`` takes some of the rows, and keeps
the others that were written before.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import resource
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import HDBSCAN
from sklearn.metrics import adjusted_rand_score

from basins.basin import Found
from basins.finders.density import DensityFinder
from basins.space import Snapshot
from stpp.domain import Array, Box
from stpp.events import Events, Window
from stpp.simulation.worlds import WORLDS, simulate_world

COLUMNS = ("job", "case", "windows", "basins", "planted", "exact_share", "ari", "best_ari", "seconds", "peak_memory_mb")
RESULTS = Path(__file__).with_name("results_basins_density.csv")
SWEEP = tuple(itertools.product((25, 50, 100, 200, 400), (5, 10, 25, 50)))  # min_cluster_size, min_samples
NULLS = {  # dimensions, posts per window, exponent of heavy-tailed weights, worlds
    "2-d, 50 posts": (2, 50, None, 100),
    "2-d, 1000 posts": (2, 1000, None, 100),
    "2-d, 1000 posts, heavy weights": (2, 1000, 1.2, 100),
    "1-d, 500 posts": (1, 500, None, 100),
    "3-d, 300 posts": (3, 300, None, 20),
}
Row = dict[str, object]


def planted_labels(world: str, x: Array) -> NDArray[np.int64]:
    """The most likely label of each place, −1 for noise, under the planted densities of a world that does not move."""
    basins, box = WORLDS[world].basins, WORLDS[world].box
    share = np.array([basin.height for basin in basins]) * (1 - WORLDS[world].noise)
    share /= sum(basin.height for basin in basins)
    rates = [
        p
        * np.exp(-((x - np.array(b.centre)) ** 2).sum(axis=1) / (2 * b.sd**2))
        / (2 * np.pi * b.sd**2) ** (x.shape[1] / 2)
        for p, b in zip(share, basins, strict=True)
    ]
    rates.append(np.full(len(x), WORLDS[world].noise / box.volume))
    best = np.argmax(rates, axis=0)
    return np.where(best == len(basins), -1, best)


def labels_of(found: Found, snapshot: Snapshot) -> NDArray[np.int64]:
    """The basin in whose region each post lies, −1 outside all."""
    labels = np.full(len(snapshot.posts), -1)
    for basin in found.basins:
        labels[basin.region[snapshot.cell]] = basin.id
    return labels


def look(world: str, n: int, seed: int, windows: Sequence[Window], training: int) -> list[Row]:
    """Each window of a world: basins, adjusted Rand index, seconds (the first row has those of the fit too)."""
    events, truth = simulate_world(world, n, seed)
    rng, start = np.random.default_rng(seed), time.perf_counter()
    finder = DensityFinder(windows=len(windows)).fit(events, windows[:training], WORLDS[world].box, rng)
    rows: list[Row] = []
    for window in windows:
        snapshot = finder.fixed.see(events, window)
        found = finder.find(snapshot, rng)
        seconds, start = time.perf_counter() - start, time.perf_counter()
        true = truth["labels"][snapshot.rows]
        ari = adjusted_rand_score(true, labels_of(found, snapshot))
        best = adjusted_rand_score(true, planted_labels(world, snapshot.posts.x))
        rows.append({"basins": len(found.basins), "ari": ari, "best_ari": best, "seconds": seconds})
        start = time.perf_counter()
    return rows


def summary(job: str, case: str, rows: Sequence[Row], planted: int) -> Row:
    """One row of the means over windows; memory is the most that the process has held so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
    mean = {key: float(np.mean([row[key] for row in rows])) for key in ("basins", "ari", "best_ari", "seconds")}
    exact = float(np.mean([row["basins"] == planted for row in rows]))
    return (
        {"job": job, "case": case, "windows": len(rows), "planted": planted, "exact_share": exact}
        | mean
        | {"peak_memory_mb": peak}
    )


def static() -> list[Row]:
    halves = [Window(0.0, 35.4), Window(35.4, 59.0)]
    parts = [look("static", 100_000, seed, halves, 1) for seed in range(5)]
    return [summary("static", name, [rows[k] for rows in parts], 5) for k, name in enumerate(("train", "test"))]


def rolling() -> list[Row]:
    out = []
    for job, step, seeds in (("weekly", 7.0, range(6)), ("short", 59 / 26, range(2))):
        windows = list(Window(0.0, 59.0).rolling(step))
        rows = [row for seed in seeds for row in look("static", 100_000, seed, windows, round(0.6 * len(windows)))]
        out.append(summary(job, f"{100_000 * step / 59:.0f} posts per window", rows, 5))
    return out


def unequal() -> list[Row]:
    planted, n, window = len(WORLDS["unequal"].basins), 7000, Window(0.0, WORLDS["unequal"].duration)
    parts = [look("unequal", n, seed, [window], 1)[0] for seed in range(3)]
    rows = [summary("unequal", "density", parts, planted)]
    sweep: list[list[Row]] = [[] for _ in SWEEP]
    for seed in range(3):
        events, truth = simulate_world("unequal", n, seed)
        best = adjusted_rand_score(truth["labels"], planted_labels("unequal", events.x))
        for (size, samples), results in zip(SWEEP, sweep, strict=True):
            start = time.perf_counter()
            labels = HDBSCAN(min_cluster_size=size, min_samples=samples, copy=True).fit_predict(events.x)
            seconds, ari = time.perf_counter() - start, adjusted_rand_score(truth["labels"], labels)
            results.append({"basins": labels.max() + 1, "ari": ari, "best_ari": best, "seconds": seconds})
    order = np.argsort([np.mean([row["ari"] for row in results]) for results in sweep])
    for name, k in (("best HDBSCAN of 20", order[-1]), ("median HDBSCAN of 20", order[len(order) // 2])):
        rows.append(summary("unequal", f"{name}: {SWEEP[k]}", sweep[k], planted))
    return rows


def null() -> list[Row]:
    return [nulls(case, *setting) for case, setting in NULLS.items()]


def nulls(case: str, d: int, posts: int, exponent: float | None, worlds: int) -> Row:
    """Share of uniform worlds of 8 windows without a basin in any."""
    box, windows, none, start = Box((-6.0,) * d, (6.0,) * d), list(Window(0, 56).rolling(7)), 0, time.perf_counter()
    for seed in range(worlds):
        rng = np.random.default_rng(1000 + seed)
        weight = None if exponent is None else (1 - rng.random(8 * posts)) ** (-1 / exponent)
        events = Events(rng.uniform(0, 56, 8 * posts), box.sample(8 * posts, rng), weight)
        finder = DensityFinder(windows=8, replicates=0).fit(events, windows[:5], box, rng)
        none += not any(finder.find(finder.fixed.see(events, window), rng).basins for window in windows)
    seconds = (time.perf_counter() - start) / worlds / len(windows)
    return {
        "job": "null",
        "case": case,
        "windows": worlds * 8,
        "planted": 0,
        "exact_share": none / worlds,
        "seconds": seconds,
    }


JOBS: dict[str, Callable[[], list[Row]]] = {"static": static, "rolling": rolling, "unequal": unequal, "null": null}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=[*JOBS, *NULLS], help="these jobs, or cases of null")
    chosen = parser.parse_args().only or list(JOBS)
    look("static", 500, 0, [Window(0.0, 59.0)], 1)  # compiles
    written = {}
    if RESULTS.exists():
        with RESULTS.open(newline="") as file:
            written = {(row["job"], row["case"]): row for row in csv.DictReader(file)}
    for name in chosen:
        for row in JOBS[name]() if name in JOBS else [nulls(name, *NULLS[name])]:
            text = {key: f"{v:.4g}" if isinstance(v := row.get(key, ""), float) else str(v) for key in COLUMNS}
            written[text["job"], text["case"]] = text
            print("  ".join(f"{key} {value}" for key, value in text.items() if value), flush=True)
    with RESULTS.open("w", newline="") as file:
        table = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        table.writeheader()
        table.writerows(written.values())


if __name__ == "__main__":
    main()
