"""What if: add posts at a place and a time, and let a fitted model go on with and without them.

Both futures are drawn with common random numbers. Where λ is linear in past posts (Hawkes, rates over regions), the
future with the added posts is exactly the one without them plus their own progeny, a cluster process that is drawn by
itself [1]_: what they bring about is never blurred by the noise of everything else, and is in proportion to their
number. Where places of the background follow past posts too, those are left as they would be without the campaign.
Other models are simulated twice from the same seed, the added posts in the history.

References
----------
.. [1] Hawkes & Oakes (1974), A cluster process representation of a self-exciting process.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from stpp.compute.progress import Progress
from stpp.domain import Array
from stpp.events import Events, Window
from stpp.intensity import IntensityModel
from stpp.partition import Partition
from stpp.planning.whatif_report import BasinChange, Estimate, WhatIf

REGIONS = 12
"""Regions around landmarks of the history, where neither the caller nor the model says what the regions are."""

KEEPS = 0.5
"""Share of its share that a region must keep to continue."""

LARGEST = 4
"""Posts that a search for self-sustaining numbers goes up to, in multiples of all posts of the step before."""

MOST_PARENTS = 1_000_000
"""Added posts times simulations that are drawn at once."""

BLOCK = 32
"""Added posts whose progeny is drawn first; each further block is twice as large."""

DENSEST = 5
"""Cells that are named as those where most extra posts fall."""


@runtime_checkable
class Branching(Protocol):
    """A model whose future with some more posts is its future without them plus their progeny."""

    def progeny(
        self, window: Window, parents: Events, history: Events, rng: np.random.Generator
    ) -> tuple[Events, NDArray[np.int64]]:
        """All posts in the window that descend from ``parents``, before it; and from which row of them each does."""


def what_if(
    model: IntensityModel,
    events: Events,
    *,
    at: float,
    step: float,
    steps: int,
    place: Sequence[float],
    n: int,
    weight: float = 1.0,
    before: float | None = None,
    partition: Partition | None = None,
    memberships: Array | None = None,
    names: tuple[str, ...] = (),
    simulations: int = 200,
    p: float = 0.5,
    rng: np.random.Generator | int = 0,
    progress: Progress | None = None,
) -> WhatIf:
    """Simulate a fitted model with and without ``n`` posts added at a place and a time.

    Parameters
    ----------
    model : fitted
    events : the history; nothing from ``at`` on is looked at
    at : when the posts are added and the future begins, days
    step, steps : days of a step, and how many to look ahead
    place : (d,) of the added posts, map units
    n, weight : how many, and of what weight. Where productivity follows a mark, the weight is that mark; else it counts
        in densities only
    before : start of the time up to ``at`` whose shares of posts regions are to keep, days; by default as long before
        ``at`` as is looked ahead
    partition, memberships : cells and (B, cells) regions on them; by default those of a model of regions, or 12 around
        landmarks of the history
    names : of the regions
    simulations : futures
    p : continuation probability that counts as self-sustaining
    rng : or a seed
    progress : told of every future

    Raises
    ------
    ValueError
        if a number is out of its range, the place lies outside the domain, or memberships do not fit the partition
    """
    start = at - step * steps if before is None else before
    _check(model, at, step, steps, place, n, weight, start, partition, memberships, simulations, p)
    past, spot = events.before(at), np.asarray(place, dtype=float)[None]
    cells, regions = _regions(model, past, partition, memberships)
    futures = _Futures(model, past, Window(at, at + step * steps), step, spot, weight, cells, regions, simulations)
    futures.draw(int(np.random.default_rng(rng).integers(2**62)), progress)
    without, more = futures.without, futures.more(n)
    recent = events.between(Window(start, at))
    cell = cells.index(recent.x)
    share = regions[:, cell[cell >= 0]].sum(axis=1) / max(len(recent), 1)
    reference = np.where(share > 0, share, more.first_share)
    home = regions[:, cells.index(spot)[0]]
    fledgling = int(home.argmax()) if home.max(initial=0.0) > 0 else -1
    most = LARGEST * max(round(len(recent) * step / (at - start)), 25)
    needed, bounds, searched = futures.needed(fledgling, reference, p, most)
    totals, per_cell = more.totals - without.totals, (more.cells - without.cells) / simulations
    densest = [k for k in np.argsort(-per_cell, kind="stable")[:DENSEST].tolist() if per_cell[k] > 0]
    result = model.result
    return WhatIf(
        model=model.name,
        at=float(at),
        date=events.date(at).isoformat(),
        step=float(step),
        steps=int(steps),
        place=tuple(spot[0].tolist()),
        n=int(n),
        weight=float(weight),
        simulations=simulations,
        branching_ratio=result.branching_ratio if result is not None else math.nan,
        exact=isinstance(model, Branching),
        extra=Estimate.of_draws(totals.sum(axis=1)),
        extra_per_step=tuple(Estimate.of_draws(column) for column in totals.T),
        extra_per_cell=per_cell,
        densest=tuple((tuple(cells.centres[k].tolist()), float(per_cell[k])) for k in densest),
        basins=tuple(_change(b, share, reference, without, more) for b in range(len(regions))),
        fledgling=fledgling,
        needed=needed,
        needed_low=bounds[0],
        needed_high=bounds[1],
        searched=searched,
        p=float(p),
        names=names,
    )


@dataclass(frozen=True, eq=False)
class _Counts:
    """Posts of S futures in K steps: (S, K) in all, (S, K, B) by region; and (cells,) over all of them."""

    totals: Array
    regions: Array
    cells: Array

    def __add__(self, other: _Counts) -> _Counts:
        return _Counts(self.totals + other.totals, self.regions + other.regions, self.cells + other.cells)

    @property
    def last_shares(self) -> Array:
        """(S, B) share of each region in the last step; 0 where nothing is posted."""
        return np.asarray(self.regions[:, -1] / np.maximum(self.totals[:, -1:], 1))

    @property
    def first_share(self) -> Array:
        """(B,) share of each region in the first step of all futures together; 0 where nothing is posted."""
        return np.asarray(self.regions[:, 0].sum(axis=0) / max(self.totals[:, 0].sum(), 1))

    def continues(self, reference: Array) -> NDArray[np.bool_]:
        """(S, B) whether each region holds at least half of a share (B,), and a post, in the last step."""
        return np.asarray((self.last_shares >= KEEPS * reference) & (self.regions[:, -1] >= 1))


@dataclass(eq=False)
class _Futures:
    """Simulated futures of one model, without and with added posts."""

    model: IntensityModel
    past: Events
    window: Window
    step: float
    spot: Array
    weight: float
    cells: Partition
    regions: Array
    simulations: int
    _blocks: dict[int, tuple[Array, Array, NDArray[np.int64], NDArray[np.int64]]] = field(default_factory=dict)

    def draw(self, seed: int, progress: Progress | None = None) -> None:
        """The futures without added posts."""
        self._seed = seed
        self.without = self._simulated(self.past, progress)

    def _simulated(self, past: Events, progress: Progress | None = None) -> _Counts:
        futures = []
        for k in range(self.simulations):
            futures.append(self.model.simulate(self.window, past, np.random.default_rng([self._seed, k])))
            if progress is not None:
                progress("futures", k + 1, self.simulations)
        which = np.repeat(np.arange(self.simulations), [len(future) for future in futures])
        t, x = (np.concatenate([getattr(future, name) for future in futures]) for name in ("t", "x"))
        return self._counted(t, x, which)

    def _counted(self, t: Array, x: Array, which: NDArray[np.int64]) -> _Counts:
        s, b = self.simulations, len(self.regions)
        steps = round(self.window.duration / self.step)
        slot = which * steps + np.minimum(((t - self.window.start) / self.step).astype(np.int64), steps - 1)
        cell = self.cells.index(x)
        inside = cell >= 0
        by_region = np.stack(
            [np.bincount(slot[inside], row[cell[inside]], minlength=s * steps) for row in self.regions], axis=1
        ).astype(float)
        totals = np.bincount(slot, minlength=s * steps).reshape(s, steps).astype(float)
        return _Counts(totals, by_region.reshape(s, steps, b), self.cells.sums(cell))

    def _added(self, n: int) -> Events:
        """``n`` posts just before the window."""
        t = np.full(n, np.nextafter(self.window.start, -np.inf))
        mark, past = _mark(self.model), self.past
        marks = pa.table({mark: np.full(n, self.weight)}) if mark else None
        x = np.repeat(self.spot, n, axis=0)
        return Events(t, x, np.full(n, self.weight), marks=marks, epoch=past.epoch, axes=past.axes)

    def more(self, n: int) -> _Counts:
        """The futures with ``n`` posts added, which are not counted themselves.

        The progeny of the first posts is the same whatever ``n``, so that more posts never bring fewer.
        """
        if n == 0:
            return self.without
        if not isinstance(self.model, Branching):
            return self._simulated(_joined(self.past, self._added(n)))
        counts, first, k = self.without, 0, 0
        while first < n:
            t, x, which, parent = self._progeny(k)
            some = first + parent < n
            counts += self._counted(t[some], x[some], which[some])
            first, k = first + (BLOCK << k), k + 1
        return counts

    def _progeny(self, k: int) -> tuple[Array, Array, NDArray[np.int64], NDArray[np.int64]]:
        """Times and places of what descends from the added posts of a block, in which future, from which of them."""
        if k not in self._blocks and isinstance(self.model, Branching):
            size = BLOCK << k
            rng = np.random.default_rng([self._seed, self.simulations, k])
            added = self._added(size * self.simulations)
            born, root = self.model.progeny(self.window, added, self.past, rng)
            self._blocks[k] = born.t, born.x, *np.divmod(root, size)
        return self._blocks[k]

    def needed(
        self, region: int, reference: Array, p: float, most: int
    ) -> tuple[int | None, tuple[int | None, int | None], int]:
        """Fewest added posts with which the region continues with probability ``p``, and the largest number tried.

        Between them the numbers with which the upper and the lower 95 % bound of that probability reach ``p``: what the
        first could be, as the number of simulations is limited. None where no number tried does.
        """
        if region < 0:
            return None, (None, None), 0
        most, tried = max(1, min(most, MOST_PARENTS // (2 * self.simulations))), dict[int, Estimate]()

        def fewest(bound: str) -> int | None:
            def enough(n: int) -> bool:
                if n not in tried:
                    tried[n] = Estimate.of_chance(self.more(n).continues(reference)[:, region])
                return float(getattr(tried[n], bound)) >= p

            if enough(0):
                return 0
            low, high = 0, 1
            while not enough(high):
                if high == most:
                    return None
                low, high = high, min(2 * high, most)
            while high - low > 1:
                middle = (low + high) // 2
                low, high = (low, middle) if enough(middle) else (middle, high)
            return high

        number, low, high = (fewest(bound) for bound in ("mean", "high", "low"))
        return number, (low, high), max(tried)


def _change(b: int, share: Array, reference: Array, without: _Counts, more: _Counts) -> BasinChange:
    shares = without.last_shares[:, b], more.last_shares[:, b]
    stays = [Estimate.of_chance(counts.continues(reference)[:, b]) for counts in (without, more)]
    return BasinChange(
        share_before=float(share[b]),
        reference=float(reference[b]),
        extra=Estimate.of_draws((more.regions - without.regions)[:, :, b].sum(axis=1)),
        count_without=Estimate.of_draws(without.regions[:, -1, b]),
        count_with=Estimate.of_draws(more.regions[:, -1, b]),
        share_without=Estimate.of_draws(shares[0]),
        share_with=Estimate.of_draws(shares[1]),
        share_change=Estimate.of_draws(shares[1] - shares[0]),
        continuation_without=stays[0],
        continuation_with=stays[1],
        continuation_change=Estimate.of_difference(stays[1], stays[0]),
    )


def _mark(model: IntensityModel) -> str:
    """The mark that productivity follows in a model or in a member of an ensemble; "" for none."""
    options = getattr(model, "options", {})
    return str(getattr(model, "productivity", "") or options.get("productivity", ""))


def _joined(past: Events, added: Events) -> Events:
    """The past and then the added posts, with the marks that these have."""
    both = past.then(added)
    if added.marks is None or past.marks is None:
        return both
    columns = {name: np.concatenate([past.mark(name), added.mark(name)]) for name in added.marks.column_names}
    return Events(both.t, both.x, both.weight, marks=pa.table(columns), epoch=past.epoch, axes=past.axes)


def _regions(
    model: IntensityModel, past: Events, partition: Partition | None, memberships: Array | None
) -> tuple[Partition, Array]:
    """The cells and (B, cells) memberships that results are given for."""
    if partition is not None and memberships is not None:
        return partition, np.asarray(memberships, dtype=float)
    if model.own_regions is not None:
        return model.own_regions
    cells = Partition.around_landmarks(past.x, REGIONS, model.domain, np.random.default_rng(0))
    return cells, np.eye(len(cells))


def _check(
    model: IntensityModel,
    at: float,
    step: float,
    steps: int,
    place: Sequence[float],
    n: int,
    weight: float,
    before: float,
    partition: Partition | None,
    memberships: Array | None,
    simulations: int,
    p: float,
) -> None:
    """Raise ValueError where a number is out of its range."""
    if not (math.isfinite(at) and math.isfinite(step) and step > 0 and steps >= 1):
        raise ValueError(
            f"a future needs a date, and steps ≥ 1 longer than 0 days; got {at:g}, {steps} of {step:g} days"
        )
    if len(place) != model.domain.d or not model.domain.contains(np.asarray(place, dtype=float)[None])[0]:
        raise ValueError(f"the place needs {model.domain.d} coordinates inside the domain; got {list(place)}")
    if not (n >= 0 and weight >= 0 and math.isfinite(weight)):
        raise ValueError(f"posts to add must be ≥ 0, of a weight ≥ 0; got {n} of weight {weight:g}")
    if not before < at:
        raise ValueError(f"shares before day {at:g} need an earlier start; got day {before:g}")
    if not (simulations >= 2 and 0 < p < 1):
        raise ValueError(f"simulations must be ≥ 2 and the probability between 0 and 1; got {simulations} and {p:g}")
    if 2 * n * simulations > MOST_PARENTS:  # blocks are drawn whole
        raise ValueError(f"{n} posts × {simulations} simulations are too many at once: take fewer simulations")
    if (partition is None) != (memberships is None):
        raise ValueError("give both the partition and the memberships on it, or neither")
    if partition is not None and memberships is not None and np.shape(memberships)[1:] != (len(partition),):
        raise ValueError(f"memberships are {np.shape(memberships)}; they need a column per cell, {len(partition)}")
