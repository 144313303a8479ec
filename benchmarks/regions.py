"""Multivariate Hawkes over regions, kernels of sums of exponentials with given decays: stpp against tick, in one run.

Both are given the same posts, regions and decays. stpp chooses its penalty by forward-chained likelihood; tick's least
squares is run over a ladder of penalties, of which the one that is nearest to the truth is shown: more than a user of
it can know. Prints a table and writes ``results_regions.csv`` beside this file.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from statistics import median

import numpy as np

from stpp.domain import Array
from stpp.events import Events, Window
from stpp.influence.regions import influence
from stpp.models.regions import _best_penalty, _fit_rates, pooled_excitation

REGIONS = 8
DECAYS = np.array([0.5, 3.0, 20.0])
RATE = 5.0
PENALTIES = (10.0, 100.0, 1e3, 1e4)
REPEATS = 2

Fitter = Callable[[Array, Array, float], Array]
"""(times, (n, R) labels, end) → (R, R) expected offspring in the row's region per post in the column's."""


def truth() -> Array:
    """Sparse: every region excites itself, and three pairs of regions each other."""
    matrix = 0.35 * np.eye(REGIONS)
    for a, b in ((0, 1), (2, 3), (4, 5)):
        matrix[a, b] = matrix[b, a] = 0.2
    return matrix


def simulate(n: int, seed: int) -> tuple[Array, Array, float]:
    """About ``n`` posts, delays exponential with the middle decay; their regions; and the end."""
    rng, matrix = np.random.default_rng(seed), truth()
    end = n / float(np.linalg.solve(np.eye(REGIONS) - matrix, np.full(REGIONS, RATE)).sum())
    region = np.repeat(np.arange(REGIONS), rng.poisson(RATE * end, REGIONS))
    t = rng.uniform(0, end, len(region))
    times, regions = [t], [region]
    while len(t):
        counts = rng.poisson(matrix[:, region].T)
        parent, child = np.nonzero(counts)
        number = counts[parent, child]
        t = np.repeat(t[parent], number) + rng.exponential(1 / DECAYS[1], number.sum())
        region = np.repeat(child, number)[t < end]
        t = t[t < end]
        times.append(t)
        regions.append(region)
    order = np.argsort(np.concatenate(times))
    return np.concatenate(times)[order], np.eye(REGIONS)[np.concatenate(regions)[order]], end


def fit_stpp(t: Array, members: Array, end: float) -> Array:
    """Maximum likelihood; the penalty of cross-excitation is chosen by it."""
    past, rows, window = Events(t, np.zeros((len(t), 1))), np.ascontiguousarray(members.T), Window(0.0, end)
    _, shared = pooled_excitation(past, rows, window)
    share = np.full(len(DECAYS), shared.sum() / len(DECAYS))
    penalty = _best_penalty(past, rows, window, DECAYS, share)
    _, excitation, _ = _fit_rates(past, rows, window, DECAYS, share, penalty)
    return np.asarray(excitation.sum(axis=2))


def fit_influence(t: Array, members: Array, end: float) -> Array:
    """Unconstrained least squares; no sign is assumed, the half-life is found. What is not certain counts as 0."""
    found = influence(t, members, Window(0.0, end))
    return np.where(found.excites | found.inhibits, found.matrix, 0.0)


def fit_tick(penalty: str, strength: float) -> Fitter:
    """tick's HawkesSumExpKern: least squares under a penalty, weights ≥ 0."""
    from tick.hawkes import HawkesSumExpKern

    def fit(t: Array, members: Array, end: float) -> Array:
        more = {"elastic_net_ratio": 0.5} if penalty == "elasticnet" else {}
        learner = HawkesSumExpKern(DECAYS, penalty=penalty, C=strength, tol=1e-7, max_iter=200, **more)
        learner.fit([np.ascontiguousarray(t[m == 1]) for m in members.T])
        return np.asarray(learner.adjacency.sum(axis=2))

    return fit


def measure(name: str, fitter: Fitter, data: tuple[Array, Array, float]) -> dict[str, object]:
    """One row: median seconds, and how far from the truth the estimates are."""
    seconds, found = [], np.zeros((REGIONS, REGIONS))
    for _ in range(REPEATS):
        clock = time.perf_counter()
        found = fitter(*data)
        seconds.append(time.perf_counter() - clock)
    matrix, cross = truth(), ~np.eye(REGIONS, dtype=bool)
    none = cross & (matrix == 0)
    return {
        "peer": name,
        "n": len(data[0]),
        "seconds_median": round(median(seconds), 3),
        "rms_error": round(float(np.sqrt(((found - matrix) ** 2).mean())), 4),
        "pairs_found_of_6": int((found[cross & (matrix > 0)] > 0.05).sum()),
        "false_pairs_of_50": int((np.abs(found[none]) > 0.05).sum()),
        "bias_of_planted_pairs": round(float((found - matrix)[cross & (matrix > 0)].mean()), 3),
    }


def main() -> None:
    """Run all sizes, print the table, write the CSV."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[5_000, 20_000])
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    rows: list[dict[str, object]] = []
    for n in options.sizes:
        data = simulate(n, options.seed)
        for name, fitter in {"stpp": fit_stpp, "stpp influence": fit_influence}.items():
            fitter(*simulate(1_000, 0))  # compiled and warm
            rows.append(measure(name, fitter, data))
        try:
            label = f"tick {version('tick')}"
            for penalty in ("l1", "elasticnet"):
                tried = [measure(f"{label} {penalty} C={c:g}", fit_tick(penalty, c), data) for c in PENALTIES]
                rows.append(min(tried, key=lambda row: float(str(row["rms_error"]))))
        except ImportError as error:
            print(f"tick: not installed ({error})")
    print("  ".join(f"{column:>22}" for column in rows[0]))
    for row in rows:
        print("  ".join(f"{value!s:>22}" for value in row.values()))
    path = Path(__file__).with_name("results_regions.csv")
    temporary = path.with_suffix(".tmp")
    with temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    temporary.replace(path)


if __name__ == "__main__":
    main()
