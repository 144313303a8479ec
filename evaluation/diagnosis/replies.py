"""Replies: does the model know who answered whom, and do answers move towards the heart of their subject?

Where events carry ``parent``, the truth about who triggered whom is known, and two questions can be asked of it.

:func:`score_parents`: rank the earlier events by what each contributes to a fitted Hawkes λ(t_i, x_i) at a reply, and
see how high its true parent stands, beside the rankings that need no model: the most recent event, the nearest one.

:func:`pull_of_cores`: how often a reply lands nearer the local density core than the post it answers. Alone that share
says little: posts far out have replies nearer the core by regression to the mean, and replies stay near their parents
whatever pulls them. So it is held against nulls that keep the one or the other.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from evaluation.comparison import LEVEL
from evaluation.nulls.worlds import NullResult
from stpp.domain import Array, Grid
from stpp.events import Events, Window
from stpp.influence.declustering import RANKINGS, rank_parents
from stpp.kernels.background import RunningMixture
from stpp.models import Hawkes, HistoricalAverage

Rows = NDArray[np.int64]

CANDIDATES = 2000
"""Earlier events that a reply's true parent is ranked among."""

REPLICATES = 2000
"""Bootstrap replicates."""

REFRESHES = 2000
"""The density behind the cores is brought up to date at most so many times."""

MEASURES = ("AUROC", "mean reciprocal rank", "parent ranked first")


@dataclass(frozen=True)
class Interval:
    """A value with its 95 % bootstrap interval over threads, which are resampled whole."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"

    def to_list(self) -> list[float]:
        """Value, low, high."""
        return [self.value, self.low, self.high]


def true_parents(events: Events, window: Window) -> tuple[Rows, Rows, int]:
    """The replies of a window whose parent is among the events and strictly earlier.

    Returns
    -------
    (n,) rows of the replies, increasing; (n,) rows of their parents; how many more have a parent with the same or a
    later time stamp, which no model lets trigger them

    Raises
    ------
    ValueError
        if the events carry no parents, or no reply of the window has one
    """
    if events.parent is None:
        raise ValueError("these events say nothing of replies: give a file with a column such as reply_to_id")
    start, stop = np.searchsorted(events.t, (window.start, window.end))
    rows = np.arange(start, stop)[events.parent[start:stop] >= 0]
    parents = events.parent[rows]
    earlier = events.t[parents] < events.t[rows]
    if not earlier.any():
        raise ValueError(
            f"no reply from {events.date(window.start):%Y-%m-%d} to {events.date(window.end):%Y-%m-%d} has its parent "
            "among the earlier events: widen the window or the box"
        )
    return rows[earlier], parents[earlier], int((~earlier).sum())


def has_replies(events: Events, window: Window) -> bool:
    """Whether :func:`true_parents` would find any."""
    if events.parent is None:
        return False
    rows = np.flatnonzero((events.t >= window.start) & (events.t < window.end) & (events.parent >= 0))
    return bool((events.t[events.parent[rows]] < events.t[rows]).any())


def threads(events: Events) -> Rows:
    """(n,) number of the reply tree that each event belongs to."""
    if events.parent is None:
        return np.arange(len(events))
    child = np.flatnonzero(events.parent >= 0)
    edges = coo_array((np.ones(len(child)), (child, events.parent[child])), shape=(len(events), len(events)))
    return np.asarray(connected_components(edges, directed=False)[1], dtype=np.int64)


def bootstrap_means(values: Array, cluster: Rows, rng: np.random.Generator) -> Iterator[Interval]:
    """The mean of each column with its percentile interval; whole clusters are drawn, the same for every column.

    Parameters
    ----------
    values : (n, m)
    cluster : (n,) the cluster of each row
    """
    code = np.unique(cluster, return_inverse=True)[1]
    sizes = np.bincount(code)
    sums = np.stack([np.bincount(code, weights=column) for column in values.T], axis=1)
    means = np.empty((REPLICATES, values.shape[1]))
    for b in range(REPLICATES):
        drawn = np.bincount(rng.integers(0, len(sizes), len(sizes)), minlength=len(sizes))
        means[b] = (drawn @ sums) / (drawn @ sizes)
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    for column, mean in enumerate(values.mean(axis=0)):
        yield Interval(float(mean), float(low[column]), float(high[column]))


# -- who answered whom ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ParentScores:
    """How high true parents stand among the earlier events.

    Parameters
    ----------
    replies : how many were scored
    same_time : replies left out, for their parent has the same or a later time stamp
    threads : reply trees that the scored replies belong to; the unit of the bootstrap
    candidates : earlier events that each reply's parent was ranked among, itself included; mean
    scores : ranking (``hawkes``, ``most recent``, ``nearest``) → measure → mean over replies. ``AUROC``: chance that
        the parent stands above another candidate, ties ½; ``mean reciprocal rank``: of 1/rank, ties at the middle rank;
        ``parent ranked first``: share, ties shared
    gains : baseline → measure → hawkes less the baseline, on the same replies
    chance : measure → its expectation where candidates are ranked at random
    """

    replies: int
    same_time: int
    threads: int
    candidates: float
    scores: dict[str, dict[str, Interval]]
    gains: dict[str, dict[str, Interval]]
    chance: dict[str, float]

    def lines(self) -> list[str]:
        """A table, and in words which differences are real."""
        out = [
            f"{self.replies:,} replies in {self.threads:,} threads; each parent ranked among {self.candidates:,.0f} "
            "earlier events (mean); 95 % intervals over threads",
            f"{'ranked by':<14}" + "".join(f"{measure:>24}" for measure in MEASURES),
        ]
        for name, row in self.scores.items():
            out.append(f"{name:<14}" + "".join(f"{row[measure]!s:>24}" for measure in MEASURES))
        out.append(f"{'chance':<14}" + "".join(f"{f'{self.chance[measure]:.3f}':>24}" for measure in MEASURES))
        for name, row in self.gains.items():
            gain = row[MEASURES[1]]
            verdict = "better" if gain.low > 0 else "worse" if gain.high < 0 else "no different"
            out.append(f"hawkes is {verdict} than the {name} event: {MEASURES[1]} {gain.value:+.3f} {_range(gain)}")
        if self.same_time:
            out.append(f"{self.same_time:,} replies left out: their parent is not earlier by its time stamp")
        return out

    def to_json_dict(self) -> dict[str, Any]:
        """Every number; intervals as [value, low, high]."""

        def plain(table: Mapping[str, Mapping[str, Interval]]) -> dict[str, dict[str, list[float]]]:
            return {name: {key: value.to_list() for key, value in row.items()} for name, row in table.items()}

        counts = {name: getattr(self, name) for name in ("replies", "same_time", "threads", "candidates")}
        return counts | {"scores": plain(self.scores), "gains": plain(self.gains), "chance": self.chance}


def _range(interval: Interval) -> str:
    return f"[{interval.low:+.3f}, {interval.high:+.3f}]"


def score_parents(
    model: Hawkes, events: Events, window: Window, *, candidates: int = CANDIDATES, rng: np.random.Generator
) -> ParentScores:
    """Rank each reply's true parent among the earlier events by their contributions to the model's intensity.

    Honest where the model was fitted before the window. The model knows times, places and marks only, no reply edges.

    Parameters
    ----------
    model : fitted
    events : all of them, with parents; those outside the model's domain are left out
    window : its replies are scored
    candidates : the last so many events strictly before a reply, and its parent in any case
    rng : of the bootstrap

    Raises
    ------
    ValueError
        if there are no parents, or no reply of the window has one among the earlier events
    """
    inside = events.inside(model.domain)
    replies, parents, same_time = true_parents(inside, window)
    ranks = rank_parents(model, inside, replies, parents, candidates)
    counted = ranks.others > 0  # with a single candidate there is nothing to rank
    if not counted.any():
        raise ValueError("every reply has one earlier event only, so there is nothing to rank: widen the window")
    others = ranks.others[counted][:, None]
    less, equal = ranks.less[counted], ranks.equal[counted]
    above = others - less - equal
    measures = ((less + equal / 2) / others, 1 / (1 + above + equal / 2), (above == 0) / (equal + 1))
    values = np.stack(measures, axis=2)  # (n, rankings, measures)
    differences = values[:, :1] - values[:, 1:]
    thread = threads(inside)[replies[counted]]
    columns = np.concatenate([values, differences], axis=1).reshape(len(values), -1)
    found = bootstrap_means(columns, thread, rng)
    scores = {name: dict(zip(MEASURES, itertools.islice(found, 3), strict=True)) for name in RANKINGS}
    gains = {name: dict(zip(MEASURES, itertools.islice(found, 3), strict=True)) for name in RANKINGS[1:]}
    ranked = ranks.others[counted] + 1
    harmonic = np.cumsum(1 / np.arange(1, ranked.max() + 1))[ranked - 1]
    chance = dict(zip(MEASURES, (0.5, float((harmonic / ranked).mean()), float((1 / ranked).mean())), strict=True))
    return ParentScores(len(values), same_time, len(np.unique(thread)), float(ranked.mean()), scores, gains, chance)


# -- towards the core -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class CorePull:
    """How often replies land nearer the local density core than their parents.

    Parameters
    ----------
    replies, threads, cores : how many replies, the reply trees they belong to, and the cores their parents climb to
    nearer : share of replies with ‖reply − core‖ < ‖parent − core‖
    nulls : the same share against each null
    """

    replies: int
    threads: int
    cores: int
    nearer: Interval
    nulls: tuple[NullResult, ...]

    def lines(self) -> list[str]:
        """In words."""
        out = [
            f"{self.nearer.value:.1%} [{self.nearer.low:.1%}, {self.nearer.high:.1%}] of {self.replies:,} replies "
            f"({self.threads:,} threads) land nearer the local density core than the post they answer; "
            f"{self.cores:,} cores"
        ]
        for null in self.nulls:
            verdict = "more than" if null.p_value <= 1 - LEVEL else "no more than"
            out.append(
                f"{verdict} {_NULLS[null.null]}: {null.mean:.1%} ± {null.sd:.1%} "
                f"(effect {null.effect_size:+.1f} sd, p = {null.p_value:.3g}, {null.null})"
            )
        return out

    def to_json_dict(self) -> dict[str, Any]:
        """Every number but the null values and the time taken."""
        nulls = [null.to_json_dict() for null in self.nulls]
        for null in nulls:
            del null["seconds"]
        counts = {"replies": self.replies, "threads": self.threads, "cores": self.cores}
        return counts | {"nearer": self.nearer.to_list(), "nulls": nulls}


_NULLS = {
    "within-window": "replies dealt out anew among the posts answered in the same window",
    "within-author": "each author's replies dealt out anew among the posts that the author answered",
    "direction": "replies as far from their parents, in any direction",
}
"""Null → what it holds the share against."""


def pull_of_cores(
    model: HistoricalAverage,
    events: Events,
    window: Window,
    grid: Grid,
    *,
    step: float = 1.0,
    permutations: int = 199,
    rng: np.random.Generator,
) -> CorePull:
    """The share of replies that land nearer their local density core than their parents did, against nulls.

    The core of a post is the local maximum that steepest ascent from the post's cell reaches, over the density of posts
    before it, on the grid's cells and their diagonal neighbours; the density's bandwidths decide how fine cores are.
    The nulls keep parents and cores. ``within-window`` (and ``within-author``, where authors are known) permutes the
    places of replies among those of the same ``step`` (by the same author; who replied once keeps the place): it has
    regression to the mean, but no reply stays near its parent. ``direction`` turns each reply around its parent by
    chance: replies stay as near, but do not regress to the mean. Only a share above both is a sign that discourse
    begets discourse, and regression and nearness together could still produce it.

    Parameters
    ----------
    model : a fitted historical average or decaying KDE, for its density
    events : all of them, with parents; those outside the model's domain are left out
    window : its replies are counted
    grid : over the model's domain
    step : days; replies of one step are exchanged
    permutations : B
    rng : of nulls and bootstrap

    Raises
    ------
    ValueError
        if there are no parents, or no reply of the window has one among the earlier events
    """
    inside = events.inside(model.domain)
    replies, parents, _ = true_parents(inside, window)
    summit = _summits(model, inside, parents, grid)
    core, origin, place = grid.points()[summit], inside.x[parents], inside.x[replies]
    limit = np.linalg.norm(origin - core, axis=1)

    def nearer(places: Array) -> NDArray[np.bool_]:
        return np.asarray(np.linalg.norm(places - core, axis=1) < limit)

    thread = threads(inside)[replies]
    observed = nearer(place)
    groups = {"within-window": np.floor((inside.t[replies] - window.start) / step).astype(np.int64)}
    if inside.author is not None and len(np.unique(inside.author[replies])) > 1:
        groups["within-author"] = inside.author[replies]
    nulls = []
    for name in _NULLS:
        if name != "direction" and name not in groups:
            continue
        values = []
        for _ in range(permutations):
            drawn = _turned(origin, place, rng) if name == "direction" else place[_permuted(groups[name], rng)]
            values.append(float(nearer(drawn).mean()))
        nulls.append(NullResult("share nearer the core", name, float(observed.mean()), tuple(values)))
    (share,) = bootstrap_means(observed[:, None].astype(float), thread, rng)
    return CorePull(len(replies), len(np.unique(thread)), len(np.unique(summit)), share, tuple(nulls))


def _permuted(group: Rows, rng: np.random.Generator) -> Rows:
    """Row numbers permuted within groups."""
    out = np.empty(len(group), dtype=np.int64)
    out[np.argsort(group, kind="stable")] = np.lexsort((rng.random(len(group)), group))
    return out


def _turned(origin: Array, place: Array, rng: np.random.Generator) -> Array:
    """(n, d) places as far from their origins as before, in uniformly random directions."""
    direction = rng.normal(size=place.shape)
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    return np.asarray(origin + direction * np.linalg.norm(place - origin, axis=1, keepdims=True))


def _summits(model: HistoricalAverage, events: Events, parents: Rows, grid: Grid) -> Rows:
    """(n,) cell of the core of each parent.

    Parents are taken in time order, in at most ``REFRESHES`` runs; the density of a run is that of the posts before its
    first.
    """
    unique, back = np.unique(parents, return_inverse=True)  # rows are in time order
    start = grid.index(events.x[unique])
    out = np.empty(len(unique), dtype=np.int64)
    running, seen = RunningMixture(model.mixture), 0
    for run in np.array_split(np.arange(len(unique)), min(REFRESHES, len(unique))):
        past = events.before(float(events.t[unique[run[0]]]))
        running.advance(past.rows(seen, len(past)))
        seen = len(past)
        out[run] = ascent(running.cell_shares(grid))[start[run]]
    return out[back]


def ascent(density: Array) -> Rows:
    """(cells,) the cell where steepest ascent ends, from every cell of a field in up to 3 dimensions.

    A step goes to the highest of the up to 3^d − 1 neighbours, if it is higher than the cell itself.
    """
    best, to = density.copy(), np.arange(density.size).reshape(density.shape)
    flat = to.copy()
    for shift in itertools.product((-1, 0, 1), repeat=density.ndim):
        here = tuple(slice(max(0, -s), n - max(0, s)) for s, n in zip(shift, density.shape, strict=True))
        there = tuple(slice(max(0, s), n - max(0, -s)) for s, n in zip(shift, density.shape, strict=True))
        higher = density[there] > best[here]
        best[here] = np.where(higher, density[there], best[here])
        to[here] = np.where(higher, flat[there], to[here])
    out = to.ravel()
    for _ in range(max(1, math.ceil(math.log2(density.size)))):  # each round doubles the steps taken
        out = out[out]
    return np.asarray(out)
