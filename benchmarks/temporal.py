"""Maximum likelihood of a temporal exponential Hawkes process with free decay: stpp against its peers, in one run.

Prints a table and writes ``results_temporal.csv`` beside this file. See README.md for how to read it.
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
from numpy.typing import NDArray
from scipy.optimize import minimize, minimize_scalar

from stpp.events import Window
from stpp.fitting import temporal

Times = NDArray[np.float64]
Estimate = tuple[float, float, float]  # background rate, branching ratio, decay
Fitter = Callable[[Times, float, Estimate], Estimate]

TRUTH: Estimate = (1.0, 0.6, 2.0)
SIZES = (10_000, 100_000, 1_000_000)
MIN_REPEATS, MAX_REPEATS = 3, 15  # small sets take milliseconds: more repeats for a steady median


def simulate(n: int, seed: int) -> tuple[Times, float]:
    """About ``n`` events of the true process on [0, end), by generations, and the end."""
    mu, alpha, beta = TRUTH
    rng = np.random.default_rng(seed)
    end = n * (1 - alpha) / mu
    generation = rng.uniform(0, end, rng.poisson(mu * end))
    events = [generation]
    while len(generation):
        parents = np.repeat(generation, rng.poisson(alpha, len(generation)))
        children = parents + rng.exponential(1 / beta, len(parents))
        generation = children[children < end]
        events.append(generation)
    return np.sort(np.concatenate(events)), end


def fit_stpp(t: Times, end: float, start: Estimate) -> Estimate:
    """Ours; it takes no starting values."""
    p = temporal.fit(t, Window(0.0, end)).parameters
    return p["background_rate"].value, p["branching_ratio"].value, p["decay"].value


def fit_intensify(t: Times, end: float, start: Estimate) -> Estimate:
    """Rust likelihood under L-BFGS."""
    import intensify

    mu, alpha, beta = start
    process = intensify.Hawkes(mu=mu, kernel=intensify.ExponentialKernel(alpha, beta))
    fitted = process.fit(t, T=end).flat_params()
    return fitted["mu"], fitted["alpha"], fitted["beta"]


def fit_hawkesbook(t: Times, end: float, start: Estimate) -> Estimate:
    """Numba likelihood and gradient under L-BFGS-B; its α is the jump, our αβ."""
    import hawkesbook

    mu, alpha, beta = start
    mu, jump, beta = hawkesbook.exp_mle_with_grad(t, end, np.array([mu, alpha * beta, beta]))
    return mu, jump / beta, beta


def fit_hawkes_rs(t: Times, end: float, start: Estimate) -> Estimate:
    """Rust likelihood under L-BFGS; it takes no starting values."""
    from hawkes import univariate

    p = univariate.fit(t, end).parameters
    return p.baseline, p.excitation, p.decay


def fit_tick(t: Times, end: float, start: Estimate) -> Estimate:
    """C++ likelihood, decay given: bounded search over it, L-BFGS-B for the rest.

    tick's own accelerated gradient stops with "the sum of the influence cannot be negative" on these data.
    """
    from tick.hawkes.model import ModelHawkesExpKernLogLik

    mu, alpha, beta = start

    def rest(log_decay: float) -> tuple[float, NDArray[np.float64]]:
        model = ModelHawkesExpKernLogLik(float(np.exp(log_decay)))
        model.fit([[t]], end_times=end)
        best = minimize(model.loss_and_grad, [mu, alpha], jac=True, bounds=[(1e-9, None)] * 2)
        return best.fun, best.x

    span = (np.log(beta / 30), np.log(beta * 30))
    found = minimize_scalar(lambda v: rest(v)[0], bounds=span, method="bounded", options={"xatol": 1e-4})
    mu, alpha = rest(found.x)[1]
    return mu, alpha, float(np.exp(found.x))


FITTERS: dict[str, Fitter] = {
    "stpp": fit_stpp,
    "intensify": fit_intensify,
    "hawkesbook": fit_hawkesbook,
    "hawkes-rs": fit_hawkes_rs,
    "tick": fit_tick,
}


def installed(t: Times, end: float) -> dict[str, Fitter]:
    """The fitters that can be imported, compiled and warm."""
    ready = {}
    for name, fitter in FITTERS.items():
        try:
            fitter(t, end, TRUTH)
        except ImportError as error:
            print(f"{name}: not installed ({error})")
        else:
            ready[name] = fitter
    return ready


def measure(fitters: dict[str, Fitter], n: int, seed: int) -> list[dict[str, object]]:
    """One row per fitter: median seconds over interleaved repeats, estimates, and what likelihood they leave."""
    t, end = simulate(n, seed)
    rate = len(t) / end
    start = (rate / 2, 0.5, rate)
    seconds: dict[str, list[float]] = {name: [] for name in fitters}
    estimates: dict[str, Estimate] = {}
    for _ in range(min(MAX_REPEATS, max(MIN_REPEATS, 300_000 // n))):
        for name, fitter in fitters.items():
            clock = time.perf_counter()
            estimates[name] = fitter(t, end, start)
            seconds[name].append(time.perf_counter() - clock)
    likelihood = {name: temporal.log_likelihood(t, Window(0, end), *p).value for name, p in estimates.items()}
    best = max(likelihood.values())
    return [
        {
            "peer": name,
            "version": version(name),
            "n": len(t),
            "seconds_median": f"{median(seconds[name]):.4f}",
            "ratio_to_stpp": f"{median(seconds[name]) / median(seconds['stpp']):.1f}",
            "background_rate": f"{estimates[name][0]:.6f}",
            "branching_ratio": f"{estimates[name][1]:.6f}",
            "decay": f"{estimates[name][2]:.6f}",
            "nats_below_best": f"{best - likelihood[name]:.2g}",
        }
        for name in fitters
    ]


def main() -> None:
    """Run all sizes, print the table, write the CSV."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="numbers of events")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()

    fitters = installed(*simulate(2_000, options.seed))
    rows: list[dict[str, object]] = []
    for n in options.sizes:
        rows += measure(fitters, n, options.seed)
    print("  ".join(f"{column:>15}" for column in rows[0]))
    for row in rows:
        print("  ".join(f"{value!s:>15}" for value in row.values()))
    path = Path(__file__).with_name("results_temporal.csv")
    temporary = path.with_suffix(".tmp")
    with temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    temporary.replace(path)


if __name__ == "__main__":
    main()
