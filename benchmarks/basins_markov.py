"""The walk and the Markov finder: neighbours, the scan of Markov times, and basins against a sweep of HDBSCAN.

Neighbours of 10⁶ places in 2 dimensions and 10⁵ in 16 (with the share of the true ones found), the scan of 20 Markov
times over a window of 10⁵ posts, and the adjusted Rand index (noise counted as a group) on planted worlds beside the
best of 20 settings of HDBSCAN, which sees the labels to choose. Seconds are of this process's CPU, compilation not
counted. Prints a table and writes ``results_basins_markov.csv`` beside this file. README.md says how to read it.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.cluster import HDBSCAN
from sklearn.metrics import adjusted_rand_score
from sklearn.neighbors import NearestNeighbors

from basins.finders.markov import MarkovFinder
from basins.walks.graph import nearest_neighbours, walk
from basins.walks.scan import scan_markov_times
from stpp.events import Window
from stpp.simulation.worlds import WORLDS, simulate_world

COLUMNS = ("job", "data", "n", "tool", "basins", "value", "seconds")
DAYS = Window(0.0, 59.0)


def timed(call: Callable[[], Any]) -> tuple[Any, float]:
    """What a call returns, and its CPU seconds."""
    began = time.process_time()
    out = call()
    return out, time.process_time() - began


def row(job: str, data: str, n: int, tool: str, seconds: float, value: float, basins: int | str = "") -> dict[str, Any]:
    values = (job, data, n, tool, basins, round(value, 4), round(seconds, 2))
    return dict(zip(COLUMNS, values, strict=True))


def neighbours(data: str, n: int) -> dict[str, Any]:
    """15 neighbours of each place; the value is the share of the true ones found, for 300 of the places."""
    x = simulate_world(data, n, 0)[0].x
    (found, _), seconds = timed(lambda: nearest_neighbours(x, 15))
    some = np.random.default_rng(0).choice(n, 300, replace=False)
    truth = NearestNeighbors(n_neighbors=16, algorithm="brute").fit(x).kneighbors(x[some])[1][:, 1:]
    shared = [len(np.intersect1d(a, b)) for a, b in zip(found[some], truth, strict=True)]
    return row("neighbours", data, n, "stpp", seconds, float(np.mean(shared)) / 15)


def scan(n: int) -> dict[str, Any]:
    """Walk and scan of 20 Markov times over all days at once; the value is the least fragility, in nats."""
    events, _ = simulate_world("static", n, 0)
    finder = MarkovFinder().fit(events, [DAYS], WORLDS["static"].box, np.random.default_rng(0))
    snapshot = finder.fixed.see(events, DAYS)
    found, seconds = timed(lambda: scan_markov_times(walk(snapshot), 20, finder.seeds, np.random.default_rng(0)))
    best = int(np.argmin(found.fragility))
    return row("scan", "static", n, "stpp", seconds, found.fragility[best], int(found.parts[best]))


def recovery(data: str, n: int, seed: int) -> list[dict[str, Any]]:
    """The finder, and the best of 20 settings of HDBSCAN; the value is the adjusted Rand index."""
    events, truth = simulate_world(data, n, seed)
    finder = MarkovFinder().fit(events, [DAYS], WORLDS[data].box, np.random.default_rng(seed))
    snapshot = finder.fixed.see(events, DAYS)
    found, seconds = timed(lambda: finder.find(snapshot, np.random.default_rng(seed)))
    label = np.full(len(finder.fixed.partition), -1)
    for basin in found.basins:
        label[basin.region] = basin.id
    value = adjusted_rand_score(truth["labels"], label[snapshot.cell])
    rows = [row("recovery", data, n, "stpp markov", seconds, value, len(found.basins))]

    def sweep() -> tuple[float, int]:
        scored = []
        for size, share, method in itertools.product((0.005, 0.01, 0.02, 0.04, 0.08), (0.25, 1.0), ("eom", "leaf")):
            least = max(5, round(size * n))
            cluster = HDBSCAN(least, max(2, round(share * least)), cluster_selection_method=method, copy=True)
            labels = cluster.fit_predict(events.x)
            scored.append((adjusted_rand_score(truth["labels"], labels), int(labels.max()) + 1))
        return max(scored)

    (best, clusters), seconds = timed(sweep)
    return [*rows, row("recovery", data, n, "best of 20 HDBSCAN", seconds, best, clusters)]


def main() -> None:
    """Run the jobs, print them and write the CSV."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--posts", type=int, default=5_000, help="of each world that HDBSCAN is compared on")
    parser.add_argument("--seeds", type=int, default=2, help="worlds of each kind")
    options = parser.parse_args()
    timed(lambda: recovery("static", 600, 0))  # compiles
    jobs: list[Callable[[], Any]] = [
        lambda: [neighbours("static", 1_000_000)],
        lambda: [neighbours("blobs16", 100_000)],
    ]
    jobs.append(lambda: [scan(100_000)])
    worlds = itertools.product(("static", "unequal", "blobs8", "blobs16"), range(options.seeds))
    jobs += [lambda data=data, seed=seed: recovery(data, options.posts, seed) for data, seed in worlds]
    rows: list[dict[str, Any]] = []
    for job in jobs:
        for measured in job():
            rows.append(measured)
            print("  ".join(f"{column} {measured[column]}" for column in COLUMNS), flush=True)
    with Path(__file__).with_name("results_basins_markov.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
