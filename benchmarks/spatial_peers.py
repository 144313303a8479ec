"""Two spatial sums under every model: stpp's field engine against its peers, with accuracy, in one run.

1. *Density on a grid*: 10⁵ events, a Gaussian at each, over 100 × 100 cells: what a historical average costs.
2. *Excitation at the events*: Σ_{t_j < t_i} e^{−β(t_i − t_j)} φ_h(x_i − x_j) at 10⁵ and 3·10⁵ Hawkes events: what one
   likelihood of a spatio-temporal Hawkes process costs.

Prints a table and writes ``results_spatial.csv`` beside this file. See README.md for how to read it.
"""

from __future__ import annotations

import argparse
import csv
import math
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from statistics import median

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray
from scipy.special import ndtr

from stpp.domain import Box, Grid
from stpp.events import Events
from stpp.kernels.fields import DecayedField, Engine, decayed_sums
from stpp.simulation.branching import simulate_hawkes

Array = NDArray[np.float64]
Job = dict[str, tuple[str, Callable[[], Array], Array]]  # label → distribution, what to time, exact answer

REPEATS = 3  # after a first run that warms and checks
PATIENCE = 20.0  # seconds after which a tool is not run again
BOX = Box((0.0, 0.0), (1.0, 1.0))
GRID = Grid.over(BOX, 100)
SMOOTHING = 0.03  # standard deviation of the density's kernel
DECAY, BANDWIDTH, BRANCHING = 1.0, 0.02, 0.6  # of the Hawkes process
NEGLIGIBLE = 36.0  # a pair weighs e^−exponent; e^−36 is below rounding


def density_jobs(x: Array) -> Job:
    """The density on the grid by each tool; peers give it at cell centres, stpp its mean over each cell."""
    n = len(x)
    centres = np.stack(np.meshgrid(*GRID.centres, indexing="ij"), axis=-1).reshape(-1, 2)
    bumps = [np.exp(-0.5 * ((c[:, None] - u) / SMOOTHING) ** 2) for c, u in zip(GRID.centres, x.T, strict=True)]
    at_centres = bumps[0] @ bumps[1].T / (2 * math.pi * SMOOTHING**2 * n)
    masses = [np.diff(ndtr((e[:, None] - u) / SMOOTHING), axis=0) for e, u in zip(GRID.edges, x.T, strict=True)]
    over_cells = masses[0] @ masses[1].T / (GRID.spacing.prod() * n)

    def field(tol: float) -> Array:
        running = DecayedField(BOX, 0.0, SMOOTHING, tol)
        running.advance(np.zeros(n), x, np.full(n, 1 / n), 1.0)
        return running.cell_means(GRID)

    jobs: Job = {
        "stpp, tol 1e-4": ("stpp", lambda: field(1e-4), over_cells),
        "stpp, tol 1e-8": ("stpp", lambda: field(1e-8), over_cells),
    }
    from sklearn.neighbors import KernelDensity  # one of stpp's own requirements

    def tree(rtol: float) -> Array:
        fitted = KernelDensity(bandwidth=SMOOTHING, rtol=rtol).fit(x)
        return np.exp(fitted.score_samples(centres)).reshape(GRID.shape)

    jobs["KernelDensity, exact"] = ("scikit-learn", lambda: tree(0.0), at_centres)
    jobs["KernelDensity, rtol 1e-4"] = ("scikit-learn", lambda: tree(1e-4), at_centres)
    try:
        from KDEpy import FFTKDE
    except ImportError as error:
        print(f"KDEpy: not installed ({error})")
        return jobs

    pad = math.ceil(5 * SMOOTHING / GRID.spacing[0])  # FFTKDE wants a grid that reaches past the data
    axis = GRID.centres[0][0] + GRID.spacing[0] * np.arange(-pad, GRID.shape[0] + pad)
    wide = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(-1, 2)

    def transform() -> Array:
        square = FFTKDE(kernel="gaussian", bw=SMOOTHING).fit(x).evaluate(wide).reshape(len(axis), -1)
        return square[pad:-pad, pad:-pad]

    jobs["FFTKDE on the same cells"] = ("KDEpy", transform, at_centres)
    return jobs


@njit(parallel=True, cache=True)
def _exact_excitation(t: Array, x: Array, decay: float, bandwidth: float) -> Array:
    """The sum as its definition has it, over all pairs that weigh anything, on all cores."""
    out = np.zeros(len(t))
    sharp = 0.5 / bandwidth**2
    for i in prange(len(t)):
        total, j = 0.0, i - 1
        while j >= 0 and decay * (t[i] - t[j]) < NEGLIGIBLE:
            square = (x[i, 0] - x[j, 0]) ** 2 + (x[i, 1] - x[j, 1]) ** 2
            exponent = decay * (t[i] - t[j]) + sharp * square
            if exponent < NEGLIGIBLE and t[j] < t[i]:
                total += math.exp(-exponent)
            j -= 1
        out[i] = total / (2 * math.pi * bandwidth**2)
    return out


def excitation_jobs(events: Events, background: float) -> Job:
    """λ at every event by each engine."""
    t, x, weight = events.t, np.ascontiguousarray(events.x), np.full(len(events), BRANCHING * DECAY)

    def field(tol: float, engine: Engine = "grid") -> Array:
        return background + decayed_sums(t, x, weight, t, x, DECAY, BANDWIDTH, tol=tol, engine=engine).value

    def pairs() -> Array:
        return background + BRANCHING * DECAY * _exact_excitation(t, x, DECAY, BANDWIDTH)

    exact = pairs()
    return {
        "stpp, tol 1e-4": ("stpp", lambda: field(1e-4), exact),
        "stpp, tol 1e-8": ("stpp", lambda: field(1e-8), exact),
        "stpp pairs, tol 1e-12": ("stpp", lambda: field(1e-12, "pairs"), exact),
        "exact truncated pairs": ("numba", pairs, exact),
    }


def measure(job: str, n: int, tools: Job) -> list[dict[str, object]]:
    """One row per tool: median seconds over interleaved repeats, and the largest relative error."""
    seconds: dict[str, list[float]] = {label: [] for label in tools}
    error: dict[str, float] = {}
    for _ in range(1 + REPEATS):
        for label, (_, run, exact) in tools.items():
            if sum(seconds[label]) > PATIENCE:
                continue
            clock = time.perf_counter()
            answer = run()
            seconds[label].append(time.perf_counter() - clock)
            error[label] = float(np.max(np.abs(answer / exact - 1)))
    typical = {label: median(runs[1:] or runs) for label, runs in seconds.items()}
    ours = typical["stpp, tol 1e-4"]
    return [
        {
            "job": job,
            "peer": label,
            "version": f"{distribution} {version(distribution)}",
            "n": n,
            "seconds_median": f"{typical[label]:.4f}",
            "ratio_to_stpp": f"{typical[label] / ours:.1f}",
            "max_relative_error": f"{error[label]:.1g}",
        }
        for label, (distribution, _, _) in tools.items()
    ]


def main() -> None:
    """Run both jobs, print the table, write the CSV."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[100_000, 300_000], help="events of the second job")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()

    events, _ = simulate_hawkes(100_000, options.seed, decay=DECAY, bandwidth=BANDWIDTH, branching=BRANCHING)
    rows = measure("density on a grid", len(events), density_jobs(events.x))
    for n in options.sizes:
        events, truth = simulate_hawkes(n, options.seed, decay=DECAY, bandwidth=BANDWIDTH, branching=BRANCHING)
        rows += measure("excitation at events", len(events), excitation_jobs(events, truth["background_rate"]))
    widths = {column: max(len(column), *(len(str(row[column])) for row in rows)) for column in rows[0]}
    print("  ".join(f"{column:>{width}}" for column, width in widths.items()))
    for row in rows:
        print("  ".join(f"{row[column]!s:>{width}}" for column, width in widths.items()))
    path = Path(__file__).with_name("results_spatial.csv")
    temporary = path.with_suffix(".tmp")
    with temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    temporary.replace(path)


if __name__ == "__main__":
    main()
