"""Are the p-values honest? Uniform where there is no signal, small where self-excitation is planted.

No-signal worlds are inhomogeneous Poisson processes: times with a trend and a daily cycle, places from a mixture of
three Gaussians and an even part, authors at random, all independent. Planted worlds are Hawkes processes.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
from joblib import Parallel, delayed
from scipy import stats

from evaluation.nulls import NULLS
from evaluation.nulls.interaction import Knox
from evaluation.nulls.significance import significance
from evaluation.nulls.statistics import LogLikelihoodGain, Statistic
from evaluation.nulls.worlds import Context
from stpp import Box, Events, Window
from stpp.models import make_models
from stpp.simulation.branching import simulate_hawkes

RESULTS = Path(__file__).with_name("results_calibration.csv")
BOX = Box((0.0, 0.0), (1.0, 1.0))
SPAN = Window(0.0, 100.0)
CONTEXT = Context(BOX, SPAN, 5.0, 50.0)


def no_signal(n: int, seed: int) -> Events:
    """Poisson(n) posts whose places know nothing of their times."""
    rng = np.random.default_rng([seed, 1])
    t = np.empty(0)
    while len(t) < (count := rng.poisson(n)):
        more = rng.uniform(SPAN.start, SPAN.end, 4 * n)
        rate = (0.5 + more / SPAN.end) * (1 + 0.6 * np.sin(2 * np.pi * more)) / 2.4
        t = more[rng.uniform(size=len(more)) < rate]
    part = rng.integers(0, 4, count)
    centre = np.array([[0.3, 0.3], [0.7, 0.4], [0.5, 0.8]])[np.minimum(part, 2)]
    x = BOX.scatter(centre, 0.07, rng)
    x[part == 3] = BOX.sample(int((part == 3).sum()), rng)
    return Events(t[:count], x, author=rng.integers(0, 30, count), authors=tuple(f"user{k}" for k in range(30)))


def planted(n: int, seed: int) -> Events:
    """About n posts of a Hawkes process with branching ratio 0.3."""
    return simulate_hawkes(n, seed=seed, branching=0.3, duration=SPAN.duration)[0]


def hawkes() -> Statistic:
    """Log-likelihood of a Hawkes process over the historical average's, both fitted anew."""
    models = make_models(["historical-average", "hawkes"], BOX, CONTEXT.step)
    return LogLikelihoodGain(
        (("hawkes", models["hawkes"]),), ("historical-average", models["historical-average"]), SPAN
    )


def p_values(
    world: Callable[[int, int], Events], n: int, worlds: int, statistic: Statistic, nulls: list[str], B: int, jobs: int
) -> np.ndarray:
    """(worlds, nulls) p-values."""

    def of_world(seed: int) -> list[float]:
        results = significance(statistic, world(n, seed), nulls, CONTEXT, B=B, seed=seed, jobs=1)
        return [r.p_value for r in results]

    return np.array(Parallel(jobs)(delayed(of_world)(seed) for seed in range(worlds)))


def measure(
    what: str, world: Callable[[int, int], Events], n: int, worlds: int, name: str, nulls: list[str], B: int, jobs: int
) -> None:
    """One row per null, in the table from then on."""
    statistic = hawkes() if name == "hawkes log-likelihood gain" else Knox(0.05, 1.0)
    p = p_values(world, n, worlds, statistic, nulls, B, jobs)
    # p lies on steps of 1/(B + 1); less a uniform share of a step it is uniform where the test is exact
    smooth = p - np.random.default_rng(0).uniform(0, 1 / (B + 1), p.shape)
    for k, null in enumerate(nulls):
        row = {"world": what, "events": str(n), "statistic": name, "null": null, "worlds": str(worlds), "B": str(B)}
        row["rejected_at_5_percent"] = str(round(100 * float((p[:, k] <= 0.05).mean()), 1))
        row["ks_p"] = f"{stats.kstest(smooth[:, k], 'uniform').pvalue:.3g}"
        print(row, flush=True)
        keep(row)


def keep(row: dict[str, str]) -> None:
    """Put a row into the table, in place of an older one of the same kind."""
    rows = []
    if RESULTS.exists():
        with RESULTS.open(newline="") as file:
            rows = list(csv.DictReader(file))
    kind = ("world", "events", "statistic", "null")
    rows = [old for old in rows if any(old[key] != row[key] for key in kind)] + [row]
    with RESULTS.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(row))
        writer.writeheader()
        writer.writerows(rows)


def main() -> None:
    """Print the rows and write them beside this script."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--worlds", type=int, default=200, help="no-signal worlds; 0: none")
    parser.add_argument("--planted", type=int, default=20, help="planted worlds; 0: none")
    parser.add_argument("--events", type=int, default=5_000, help="expected events in a planted world")
    parser.add_argument("--jobs", type=int, default=-1, help="worlds at once; -1: one per core")
    a = parser.parse_args()
    both = ["time-shuffle", "background"]
    if a.worlds:
        measure("no-signal", no_signal, 300, a.worlds, "Knox", list(NULLS), 99, a.jobs)
        measure("no-signal", no_signal, 300, a.worlds, "hawkes log-likelihood gain", both, 19, a.jobs)
    if a.planted:
        measure("planted", planted, a.events, a.planted, "Knox", both, 99, a.jobs)
        measure("planted", planted, a.events, a.planted, "hawkes log-likelihood gain", both, 19, a.jobs)


if __name__ == "__main__":
    main()
