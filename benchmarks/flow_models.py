"""What flow models cost and gain on planted worlds: a study of 200 trials, forecasts, 2.5 million events.

Persistence is the decaying KDE: what was there lately stays there. The first user's drift field took 10.5 h for 70
daily windows over 2.5 million posts, and lost to the historical average.
"""

from __future__ import annotations

import argparse
import csv
import resource
import time
from pathlib import Path
from typing import Any

import numpy as np

from evaluation import Plan
from evaluation.backtests.backtest import backtest
from stpp import Box, Events, Window
from stpp.models import MODELS, DecayingKDE, DriftField

RESULTS = Path(__file__).with_name("results_flow_models.csv")
BOX = Box((-6.0, -6.0), (6.0, 6.0))
SD = 0.8
CENTRES = np.array([[-2.5, -2.0], [2.8, -1.8], [-0.2, 2.5], [-3.2, 1.2], [2.2, 2.8]])
PROTOTYPE_SECONDS = 37_799


def world(n: int, days: float, speed: float, seed: int) -> Events:
    """Five Gaussian basins that swing to and fro (each its own way, top ``speed`` per day) in 15 % uniform noise."""
    rng = np.random.default_rng(seed)
    t = np.sort(rng.uniform(0, days, n))
    basin = rng.integers(0, len(CENTRES), n)
    angle, period = 2 * np.pi * np.arange(len(CENTRES)) / len(CENTRES), 40.0
    way = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    swing = speed * period / (2 * np.pi) * np.sin(2 * np.pi * (t / period + basin / len(CENTRES)))
    x = CENTRES[basin] + way[basin] * swing[:, None] + rng.normal(0, SD, (n, 2))
    noise = (rng.random(n) < 0.15) | ~BOX.contains(x)
    x[noise] = rng.uniform(BOX.low, BOX.high, (int(noise.sum()), 2))
    return Events(t, x)


def study(n: int, trials: int) -> dict[str, Any]:
    """A search for the drift field's parameters, the decaying KDE beneath it not counted."""
    events, window = world(n, 60.0, 0.25, seed=1), Window(0.0, 60.0)
    began = time.perf_counter()
    DecayingKDE(domain=BOX).fit(events, window)
    still = time.perf_counter() - began
    began = time.perf_counter()
    drift = DriftField(domain=BOX, trials=trials).fit(events, window)
    seconds = time.perf_counter() - began - still
    best = float(np.nanmax(drift.tried[:, -1]))
    return {"job": f"study of {trials} trials", "model": "drift", "events": n, "seconds": seconds, "gain": best}


def forecasts(
    job: str, n: int, speed: float, names: tuple[str, ...], test: Window, trials: int
) -> list[dict[str, Any]]:
    """Daily forecasts: gain over the decaying KDE with its 95 % interval."""
    events = world(n, test.end, speed, seed=2)
    models = {name: MODELS[name](domain=BOX) for name in ("decaying-kde", *names)}
    models |= {name: MODELS[name](domain=BOX, trials=trials) for name in names}
    plan = Plan(train_start=0.0, test=test, step=1.0, grid=100, reference="decaying-kde")
    result = backtest(events, models, plan, rng=np.random.default_rng(0))
    rows = []
    for name, row in result.summary().iterrows():
        gain = {"gain": row["information_gain"], "low": row["low"], "high": row["high"]}
        rows.append({"job": job, "model": name, "events": n, "seconds": row["seconds"], **gain})
    return rows


def main() -> None:
    """Print the table and write it beside this script."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=2_500_000, help="of the large backtest")
    large = parser.parse_args().events
    world(1000, 60.0, 0.25, 0)  # compiled code is loaded before anything is timed
    DriftField(domain=BOX, trials=2).fit(world(2000, 20.0, 0.25, 0), Window(0.0, 20.0))
    both, month = ("drift", "transport"), Window(60.0, 90.0)
    rows = [study(100_000, 200)]
    rows += forecasts("basins that move", 100_000, 0.25, both, month, 40)
    rows += forecasts("basins that stay", 100_000, 0.0, both, month, 40)
    rows += forecasts("70 daily windows", large, 0.25, ("drift",), Window(130.0, 200.0), 40)
    for row in rows:
        row["share_of_prototype_time"] = row["seconds"] / PROTOTYPE_SECONDS if row["job"].startswith("70") else None
        row["peak_memory_mb"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
        row |= {key: round(value, 4) for key, value in row.items() if isinstance(value, float)}
        print(row)
    with RESULTS.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[-1]))
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
