"""Stochastic declustering: which earlier event, if any, probably triggered each event; and how true parents rank.

Zhuang, Ogata & Vere-Jones (2002), Stochastic declustering of space-time earthquake occurrences, JASA 97, 369.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numba
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numba import njit
from numpy.typing import NDArray

from stpp.domain import Array
from stpp.events import Events, Window
from stpp.intensity import IntensityModel
from stpp.kernels.fields import in_threads
from stpp.kernels.pairs import squared_distance
from stpp.models.hawkes import Hawkes


@dataclass(frozen=True)
class Declustering:
    """Where each event of a window probably came from.

    Parameters
    ----------
    background : (n,) probability that the event is background, μ/λ
    parent : (n,) row (in the events given) of the most probable parent; −1 where no earlier event contributes
    probability : (n,) probability that this parent triggered it
    """

    background: Array
    parent: NDArray[np.int64]
    probability: Array


def decluster(model: Hawkes, events: Events, window: Window) -> Declustering:
    """The share of λ(t_i, x_i) owed to the background and to the largest single earlier contribution.

    The search goes back in time from each event and stops when no older event could contribute more than the best
    found, so it is exact and usually short.

    Parameters
    ----------
    model : a fitted Hawkes process
    events : all events; those before the window may be parents

    Raises
    ------
    ValueError
        if there are no events in the window
    """
    past = events.before(window.end)
    inside = past.between(window)
    if len(inside) == 0:
        raise ValueError(f"no events between day {window.start:g} and {window.end:g} to decluster")
    background, excited, density = model.parts(inside.t, inside.x, past)
    rate = background + excited
    offspring = np.ascontiguousarray(model.productivities(past) * model.decays)
    strongest = np.maximum.accumulate(offspring, axis=0)
    first = len(past) - len(inside)
    parent = np.full(len(inside), -1, dtype=np.int64)
    best = np.zeros(len(inside))

    def search(rows: NDArray[np.int64]) -> None:
        _search(
            rows, first, past.t, past.x, offspring, strongest, model.decays, model.bandwidths, density, parent, best
        )

    in_threads(search, np.array_split(np.arange(len(inside)), 8 * numba.get_num_threads()))
    return Declustering(background / rate, parent, np.minimum(best / rate, 1.0))


RANKINGS = ("hawkes", "most recent", "nearest")
"""What :func:`rank_parents` orders candidates by: contribution to λ, time, place."""


@dataclass(frozen=True)
class ParentRanks:
    """Where each reply's true parent stands among the earlier events.

    Parameters
    ----------
    others : (n,) candidates beside the parent
    less, equal : (n, 3) how many of them stand below the parent, or tie with it, in each of ``RANKINGS``
    """

    others: NDArray[np.int64]
    less: NDArray[np.int64]
    equal: NDArray[np.int64]


def rank_parents(
    model: Hawkes, events: Events, replies: NDArray[np.int64], parents: NDArray[np.int64], candidates: int
) -> ParentRanks:
    """Count the earlier events that contribute less to λ at a reply than its true parent does; likewise time and place.

    Parameters
    ----------
    model : a fitted Hawkes process
    events : all events, inside the model's domain
    replies : (n,) their rows, increasing
    parents : (n,) rows of their parents, each strictly earlier
    candidates : a reply's candidates are the last so many events strictly before it, and its parent in any case
    """
    t, x = events.t[replies], events.x[replies]
    density = model.place.at(t, x, events)
    offspring = np.ascontiguousarray(model.productivities(events) * model.decays)
    n = len(replies)
    ranks = ParentRanks(np.zeros(n, dtype=np.int64), np.zeros((n, 3), dtype=np.int64), np.zeros((n, 3), dtype=np.int64))

    def count(chunk: NDArray[np.int64]) -> None:
        _rank(
            chunk, replies, parents, candidates, events.t, events.x, offspring, model.decays, model.bandwidths,
            _peaks(model.bandwidths, events.d), density, ranks.others, ranks.less, ranks.equal,
        )  # fmt: skip

    in_threads(count, np.array_split(np.arange(n), 8 * numba.get_num_threads()))
    return ranks


def write_parents(path: Path, model: IntensityModel, events: Events, window: Window) -> None:
    """Write what :func:`decluster` finds as Parquet, a row per event of the window inside the model's domain.

    Columns: ``row`` and ``parent`` (rows of ``events``; parent −1 for none), ``parent_probability``,
    ``background_probability``, and ``id`` and ``parent_id`` where the events have an ``id`` mark.

    Raises
    ------
    ValueError
        if the model is not self-exciting, or there are no events in the window
    """
    if not isinstance(model, Hawkes):
        raise ValueError(f"{model.name} has no self-excitation, so no parents: fit hawkes")
    rows = np.flatnonzero(model.domain.contains(events.x) & (events.t < window.end))
    found = decluster(model, events.take(rows), window)
    own = rows[len(rows) - len(found.parent) :]
    parent = np.where(found.parent >= 0, rows[found.parent], -1)
    table = pa.table(
        {
            "row": own,
            "parent": parent,
            "parent_probability": found.probability,
            "background_probability": found.background,
        }
    )
    if events.marks is not None and "id" in events.marks.column_names:
        ids = events.marks.column("id")
        known = pa.array(np.where(parent >= 0, parent, 0), mask=parent < 0)
        table = table.append_column("id", ids.take(pa.array(own))).append_column("parent_id", ids.take(known))
    pq.write_table(table, path)


@njit(cache=True, nogil=True)
def _peaks(bandwidths: Array, d: int) -> Array:
    """(K,) height of each spatial kernel at its centre; 0 for those that drop offspring anywhere."""
    peak = np.zeros(bandwidths.size)
    for k in range(bandwidths.size):
        if not math.isinf(bandwidths[k]):
            peak[k] = (math.sqrt(2 * math.pi) * bandwidths[k]) ** (-d)
    return peak


@njit(cache=True, nogil=True)
def _contribution(
    offspring: Array, delay: float, square: float, decays: Array, bandwidths: Array, peak: Array, density: float
) -> float:
    """What an event adds to λ after a delay at a squared distance; ``offspring`` is per kernel, times its decay."""
    total = 0.0
    for k in range(decays.size):
        if math.isinf(bandwidths[k]):
            total += offspring[k] * density * math.exp(-decays[k] * delay)
        else:
            far = 0.5 * square / (bandwidths[k] * bandwidths[k])
            total += offspring[k] * peak[k] * math.exp(-decays[k] * delay - far)
    return total


@njit(cache=True, nogil=True)
def _rank(
    chunk: NDArray[np.int64], replies: NDArray[np.int64], parents: NDArray[np.int64], candidates: int, t: Array,
    x: Array, offspring: Array, decays: Array, bandwidths: Array, peak: Array, density: Array,
    others: NDArray[np.int64], less: NDArray[np.int64], equal: NDArray[np.int64],
) -> None:  # fmt: skip
    score, true = np.empty(3), np.empty(3)
    for i in chunk:
        row, parent = replies[i], parents[i]
        stop = np.searchsorted(t, t[row])
        for place in range(-1, min(candidates, stop)):  # −1: the parent itself, whose scores the others meet
            j = parent if place < 0 else stop - 1 - place
            if place >= 0 and j == parent:
                continue
            delay, square = t[row] - t[j], squared_distance(x, row, j)
            score[0] = _contribution(offspring[j], delay, square, decays, bandwidths, peak, density[i])
            score[1], score[2] = -delay, -square
            if place < 0:
                true[:] = score
                continue
            others[i] += 1
            for k in range(3):
                less[i, k] += score[k] < true[k]
                equal[i, k] += score[k] == true[k]


@njit(cache=True, nogil=True)
def _search(
    rows: NDArray[np.int64], first: int, t: Array, x: Array, offspring: Array, strongest: Array, decays: Array,
    bandwidths: Array, density: Array, parent: NDArray[np.int64], best: Array,
) -> None:  # fmt: skip
    kernels = decays.size
    peak = _peaks(bandwidths, x.shape[1])
    for i in rows:
        row = first + i
        for j in range(row - 1, -1, -1):
            delay = t[row] - t[j]
            if delay <= 0:
                continue
            most = 0.0
            for k in range(kernels):
                height = density[i] if math.isinf(bandwidths[k]) else peak[k]
                most += strongest[j, k] * math.exp(-decays[k] * delay) * height
            if most <= best[i]:
                break
            square = squared_distance(x, row, j)
            share = _contribution(offspring[j], delay, square, decays, bandwidths, peak, density[i])
            if share > best[i]:
                best[i], parent[i] = share, j
