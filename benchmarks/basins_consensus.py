"""The consensus of HDBSCAN clusterings against one HDBSCAN and the best of a sweep of 20 settings, on planted basins.

Each setting of the sweep is judged on the very posts that it clusters, by the truth: no user can choose so well. ARI
counts noise as a label; the best possible on `static` is about 0.75. Prints a table and writes
``results_basins_consensus.csv`` beside this file.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import time
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.cluster import HDBSCAN
from sklearn.metrics import adjusted_rand_score

from basins.finders.consensus import ConsensusFinder
from stpp.domain import Box
from stpp.events import Window
from stpp.simulation.worlds import simulate_world

COLUMNS = ("world", "tool", "n", "basins", "planted", "ari", "seconds", "ratio_to_stpp")
SMALLEST, NEIGHBOURS = (20, 50, 100, 200, 400), (10, 50)
METHODS = ("eom", "leaf")


def consensus(events: Any, box: Box, window: Window) -> np.ndarray:
    finder = ConsensusFinder().fit(events, [window], box, np.random.default_rng(0))
    snapshot = finder.fixed.see(events, window)
    basins = finder.find(snapshot, np.random.default_rng(1)).basins
    if not basins:
        return np.full(len(events), -1)
    memberships = np.array([basin.membership for basin in basins])
    return np.where(memberships.max(axis=0) >= 0.5, memberships.argmax(axis=0), -1)[snapshot.cell]


def measure(world: str, n: int, seed: int) -> list[dict[str, Any]]:
    """Rows of one world: stpp, HDBSCAN as it comes, and the sweep's best setting with the time of all 20."""
    events, truth = simulate_world(world, n, seed)
    labels, box, window = np.asarray(truth["labels"]), Box.from_flat(truth["box"]), Window(*truth["window"])

    def row(tool: str, found: np.ndarray, seconds: float) -> dict[str, Any]:
        known = {"world": world, "tool": tool, "n": len(events), "planted": len(truth["basins"])}
        score = round(float(adjusted_rand_score(labels, found)), 3)
        return known | {"basins": int(found.max()) + 1, "ari": score, "seconds": round(seconds, 2)}

    def timed(tool: str, call: Any) -> dict[str, Any]:
        began = time.perf_counter()
        found = call()
        return row(tool, found, time.perf_counter() - began)

    rows = [timed("stpp consensus", lambda: consensus(events, box, window))]
    rows.append(timed("HDBSCAN", lambda: HDBSCAN(copy=True).fit(events.x).labels_))
    sweep = [
        timed(
            f"best of 20 HDBSCAN: {method}, {smallest}, {neighbours}",
            lambda m=method, s=smallest, k=neighbours: (
                HDBSCAN(min_cluster_size=s, min_samples=k, cluster_selection_method=m, copy=True).fit(events.x).labels_
            ),
        )
        for method, smallest, neighbours in itertools.product(METHODS, SMALLEST, NEIGHBOURS)
    ]
    best = max(sweep, key=lambda one: one["ari"])
    rows.append(best | {"seconds": round(sum(one["seconds"] for one in sweep), 2)})
    return [one | {"ratio_to_stpp": round(one["seconds"] / rows[0]["seconds"], 2)} for one in rows]


def main() -> None:
    """Run the worlds, print the rows and write the CSV."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--posts", type=int, default=7_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    measure("static", 500, 0)  # warm
    rows = [row for world in ("static", "unequal") for row in measure(world, options.posts, options.seed)]
    for row in rows:
        print("  ".join(f"{column} {row[column]}" for column in COLUMNS))
    with Path(__file__).with_name("results_basins_consensus.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
