"""Is it real? A statistic on the data against the same statistic on null worlds, every refit included.

The p-value of a Monte-Carlo test is (1 + #{T_b ≥ T})/(B + 1) [1]_: the data count as one of B + 1 exchangeable worlds,
so that it is never 0 and a test at level k/(B + 1) is exact.

References
----------
.. [1] Davison & Hinkley (1997), Bootstrap Methods and their Application, eq. 4.11.
"""

from __future__ import annotations

import math
import time
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numba
import numpy as np

from evaluation.nulls import NULLS, chosen_nulls
from evaluation.nulls.statistics import Statistic
from evaluation.nulls.worlds import Context, NullResult, World
from stpp.compute.blas import one_blas_thread
from stpp.compute.progress import Progress
from stpp.events import Events
from stpp.files.outputs import append_journal, read_journal

FEWEST = 19
"""Null worlds without which no p-value can reach 0.05."""

BACKENDS = ("loky", "threading", "dask")

Values = dict[str, float]


def check_request(nulls: Sequence[str], B: int, backend: str, scheduler: str | None) -> None:
    """Refuse what :func:`significance` would, before any long work.

    Raises
    ------
    ValueError
        if a null or backend is unknown, B is too small, or a scheduler is missing or not wanted
    """
    chosen_nulls(nulls)
    if B < FEWEST:
        raise ValueError(f"{B} null worlds allow no p of 0.05 or below: take -B {FEWEST} or more")
    if backend not in BACKENDS:
        raise ValueError(f"no backend '{backend}'; there are: {', '.join(BACKENDS)}")
    if (backend == "dask") != (scheduler is not None):
        raise ValueError("--backend dask and --scheduler ADDRESS go together: give both or neither")


def significance(
    statistic: Statistic,
    events: Events,
    nulls: Sequence[str],
    context: Context,
    *,
    B: int = 199,
    seed: int = 0,
    jobs: int | None = None,
    backend: str = "loky",
    scheduler: str | None = None,
    journal: Path | None = None,
    progress: Progress | None = None,
) -> list[NullResult]:
    """The statistic on the events and on B worlds of each null.

    World b of a null depends on the seed, the null's name and b alone: not on the number of jobs, their order, the
    other nulls, or whether the work was interrupted. Each job runs on one thread.

    Parameters
    ----------
    statistic : events → named values, larger = more signal; for other processes it must be picklable
    events : those that the nulls apply to, see :func:`evaluation.nulls.worlds.analysed`
    nulls : keys of :data:`evaluation.nulls.worlds.NULLS`
    context : what the nulls must know
    B : worlds per null; the smallest p-value is 1/(B + 1)
    seed : of the worlds, ≥ 0
    jobs : processes at once; None: one per core
    backend : joblib's: ``loky`` (processes), ``threading`` or ``dask``
    scheduler : address of the dask scheduler, for ``dask`` only
    journal : file that keeps each world's values as they come; what it holds is not computed again. It must be of the
        same events, statistic and seed: keep it in a :func:`stpp.files.outputs.resumable_run`
    progress : told (null, worlds done, worlds in all) after every world

    Returns
    -------
    one result per null × value of the statistic, in that order

    Raises
    ------
    ValueError
        if a null is unknown or does not apply, B is too small, the statistic fails or is not finite on the data or on
        some null world (it is named), or there is no such backend or scheduler
    """
    check_request(nulls, B, backend, scheduler)
    worlds = {name: NULLS[name].world(events, context) for name in nulls}
    kept = _Journal(journal)
    observed = kept.values.get(("observed", 0))
    if observed is None:
        observed = _one_thread(statistic, events)
        kept.add("observed", 0, observed)
    results = []
    with _parallel(jobs, backend, scheduler, list(worlds.values())):
        for k, (null, world) in enumerate(worlds.items()):
            clock = time.perf_counter()
            missing = [b for b in range(B) if (null, b) not in kept.values]
            for done, (b, values) in enumerate(_computed(statistic, world, null, missing, seed), start=1):
                if values.keys() != observed.keys():
                    raise ValueError(f"world {b} of '{null}' has other values than the data: {', '.join(values)}")
                kept.add(null, b, values)
                if progress is not None:
                    progress(null, (k + 1) * B - len(missing) + done, len(worlds) * B)
            seconds = time.perf_counter() - clock
            for name, value in observed.items():
                drawn = tuple(kept.values[null, b][name] for b in range(B))
                results.append(NullResult(name, null, value, drawn, seconds))
    return results


def _computed(
    statistic: Statistic, world: World, null: str, missing: Sequence[int], seed: int
) -> Iterator[tuple[int, Values]]:
    """(b, values) of the missing worlds as they come."""
    from joblib import Parallel, delayed

    job = delayed(_on_world)
    yield from Parallel(return_as="generator_unordered")(job(statistic, world, null, b, seed) for b in missing)


def _on_world(statistic: Statistic, world: World, null: str, b: int, seed: int) -> tuple[int, Values]:
    """The statistic on world ``b`` of a null; runs in the worker."""
    rng = np.random.default_rng([seed, zlib.crc32(null.encode()), b])
    try:
        return b, _one_thread(statistic, world(rng))
    except ValueError as error:
        raise ValueError(f"world {b} of '{null}': {error}") from error


@one_blas_thread
def _one_thread(statistic: Statistic, events: Events) -> Values:
    """The statistic's values on one thread, since the jobs share the cores already.

    Raises
    ------
    ValueError
        if one is not finite
    """
    threads = numba.get_num_threads()
    numba.set_num_threads(1)
    try:
        values = {name: float(value) for name, value in statistic(events).items()}
    finally:
        numba.set_num_threads(threads)
    for name, value in values.items():
        if not math.isfinite(value):
            raise ValueError(f"{name} is {value}, and only numbers can be compared")
    return values


@contextmanager
def _parallel(jobs: int | None, backend: str, scheduler: str | None, worlds: list[World]) -> Iterator[None]:
    """Context in which joblib runs on the backend; a dask cluster is sent the worlds' sources once, ahead."""
    from joblib import parallel_config

    if scheduler is None:
        with parallel_config(backend, n_jobs=-1 if jobs is None else jobs):
            yield
        return
    try:
        from distributed import Client
    except ImportError as error:
        raise ValueError("--backend dask needs the package 'distributed': pip install distributed") from error
    try:
        client = Client(scheduler)
    except OSError as error:
        raise ValueError(f"no dask scheduler answers at {scheduler}: start one with 'dask scheduler'") from error
    with client, parallel_config(backend, client=client, scatter=worlds):
        yield


class _Journal:
    """Values of (null, b), appended to a file as JSON lines if there is one."""

    def __init__(self, path: Path | None) -> None:
        self.values: dict[tuple[str, int], Values] = {}
        self._path = path
        for entry in read_journal(path) if path else []:
            self.values[entry["null"], entry["b"]] = entry["values"]

    def add(self, null: str, b: int, values: Values) -> None:
        """Keep one world's values."""
        self.values[null, b] = values
        if self._path is not None:
            append_journal(self._path, {"null": null, "b": b, "values": values})
