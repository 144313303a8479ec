"""Learning parameters by trial: a seeded Bayesian search (tree-structured Parzen estimator) with every trial kept.

Bergstra et al. (2011), Algorithms for hyper-parameter optimization, NeurIPS 24, by optuna.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from stpp.compute.progress import Progress
from stpp.domain import Array

PRUNE_AFTER = 10
"""Trials before any is given up half-way."""


@dataclass(frozen=True)
class Between:
    """A parameter between two bounds; ``log``: searched by its logarithm; ``whole``: an integer."""

    low: float
    high: float
    log: bool = False
    whole: bool = False


Space = Mapping[str, Between | Sequence[float]]
"""Parameter → the bounds it lies between, or the values that it may take."""


@dataclass(frozen=True, eq=False)
class Study:
    """What a search found.

    Parameters
    ----------
    names : of the P parameters
    trials : (T, P + 1) every trial in order: its parameters and its score; NaN where it was given up half-way
    best : parameters of the best trial, None if no trial ended
    score : its score
    """

    names: tuple[str, ...]
    trials: Array
    best: dict[str, float] | None
    score: float


def search(
    objective: Callable[[dict[str, float]], Iterator[float]],
    space: Space,
    *,
    trials: int,
    seed: int,
    seconds: float | None = None,
    start: Sequence[dict[str, float]] = (),
    progress: Progress | None = None,
) -> Study:
    """Look for the parameters of the highest score.

    Parameters
    ----------
    objective : parameters → scores on more and more of the data, the last one of which counts; a trial that is worse
        than the median of those before it at the same stage is given up
    space : where to look
    trials : budget
    seed : of the search; the same seed and scores give the same trials
    seconds : stop after so long, even if trials are left; results then depend on the machine's speed
    start : trials to begin with
    progress : told about every trial
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=min(15, max(1, trials // 3)))
    pruner = optuna.pruners.MedianPruner(n_startup_trials=PRUNE_AFTER)
    study = optuna.create_study(direction="maximize", sampler=sampler, pruner=pruner)
    for parameters in start:
        study.enqueue_trial(dict(parameters))
    rows: list[list[float]] = []
    began = time.perf_counter()
    while len(rows) < trials and (seconds is None or time.perf_counter() - began < seconds):
        trial = study.ask()
        chosen = {name: _suggest(trial, name, where) for name, where in space.items()}
        score, given_up = math.nan, False
        for stage, value in enumerate(objective(chosen)):
            score = round(value, 9)  # so that rounding errors do not decide what is tried next
            trial.report(score, stage)
            if given_up := trial.should_prune():
                break
        state = optuna.trial.TrialState.PRUNED if given_up else optuna.trial.TrialState.COMPLETE
        study.tell(trial, None if given_up else score, state=state)
        rows.append([*chosen.values(), math.nan if given_up else score])
        if progress is not None:
            progress("learning", len(rows), trials)
    table = np.array(rows).reshape(-1, len(space) + 1)
    if not np.isfinite(table[:, -1]).any():
        return Study(tuple(space), table, None, math.nan)
    best = int(np.nanargmax(table[:, -1]))
    return Study(tuple(space), table, dict(zip(space, table[best, :-1].tolist(), strict=True)), float(table[best, -1]))


def nearest(value: float, where: Between | Sequence[float]) -> float:
    """The value of a space that is nearest to one that may lie outside."""
    if isinstance(where, Between):
        return min(max(value, where.low), where.high)
    return min(where, key=lambda choice: abs(choice - value))


def _suggest(trial: Any, name: str, where: Between | Sequence[float]) -> float:
    if not isinstance(where, Between):
        return float(trial.suggest_categorical(name, list(where)))
    if where.whole:
        return float(trial.suggest_int(name, int(where.low), int(where.high), log=where.log))
    return float(trial.suggest_float(name, where.low, where.high, log=where.log))
