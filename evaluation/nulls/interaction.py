"""Space–time interaction by pairs: do events that lie close together also come close in time?

A pair is close when it is at most ``distance`` apart in the map and at most ``delay`` apart in time (both ends
included). Knox [1]_ counts the close pairs; Baker's modified Knox [2]_ takes off what each event's own numbers of
neighbours in space and in time let one expect. Both are judged by permuting the times over the places, which keeps both
marginal patterns and destroys their interaction.

Pairs are never stored. Events lie in square buckets at least ``distance`` wide, in time order inside each; two
neighbouring buckets are swept by two hands that stay within ``delay`` of one another. A permutation of the times fills
the same buckets anew in O(n), so memory is O(n) and the work that of the pairs that are close in time. Peers hold n × n
matrices [3]_, 75 GiB each at 10⁵ events.

References
----------
.. [1] Knox (1964), The detection of space-time interactions, Applied Statistics 13:25.
.. [2] Baker (2004), Identifying space-time disease clusters, Acta Tropica 91:291.
.. [3] pointpats, ``pointpats.spacetime``: the same statistics at small n.
.. [4] Barton & David (1966), The random intersection of two graphs, in: Research Papers in Statistics, Wiley.
.. [5] Ratcliffe (2009), Near Repeat Calculator, for tables over bands of distance and delay.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from stpp.chance import monte_carlo_p
from stpp.dates import in_words
from stpp.domain import Array
from stpp.events import Events
from stpp.kernels.fields import in_threads
from stpp.kernels.pairs import squared_distance

Counts = NDArray[np.int64]

CLOSEST = 0.01
"""Default distance and delay: those of the closest 1 % of pairs, in space and in time."""

SAMPLE_PAIRS = 20_000
"""Pairs drawn to find that percentile."""

BUCKET_AXES = 2
"""Buckets are laid over the first two axes; the distance is that in all of them."""


def close_scales(events: Events) -> tuple[float, float]:
    """A distance and a delay for when none is given: 1 % of all pairs are closer in space, 1 % in time.

    The percentiles are those of 20,000 pairs (always the same draw) of differing places and differing times, rounded
    to two digits. Take them from the data as they came and hold them fixed while times are permuted.

    Raises
    ------
    ValueError
        if all events share one place or one time
    """
    i, j = np.random.default_rng(0).integers(0, max(len(events), 1), size=(2, SAMPLE_PAIRS))
    apart = np.sqrt(((events.x[i] - events.x[j]) ** 2).sum(axis=1)) if len(events) else np.zeros(0)
    gap = np.abs(events.t[i] - events.t[j]) if len(events) else np.zeros(0)
    scales = []
    for name, values in (("place", apart[apart > 0]), ("time", gap[gap > 0])):
        if not len(values):
            raise ValueError(f"all {len(events)} events share one {name}: interaction needs places and times that vary")
        scales.append(float(f"{np.quantile(values, CLOSEST):.2g}"))
    return scales[0], scales[1]


def knox(events: Events, distance: float, delay: float) -> int:
    """How many pairs of events are at most ``distance`` apart in space and at most ``delay`` in time [1]_.

    Parameters
    ----------
    distance : map units, ≥ 0
    delay : days, ≥ 0

    Raises
    ------
    ValueError
        if one of them is negative or not finite
    """
    return int(_Buckets(events.x, _edges(distance, "distance")).count(events.t, _edges(delay, "delay")).sum())


def modified_knox(events: Events, distance: float, delay: float) -> float:
    """Close pairs less ½ Σ_i s_i τ_i/(n − 1), s_i and τ_i being event i's neighbours in space and in time [2]_.

    0 is expected without interaction; pointpats' ``modified_knox`` is the same number.

    Raises
    ------
    ValueError
        if there are fewer than 2 events, or distance or delay is negative or not finite
    """
    if len(events) < 2:
        raise ValueError(f"the modified Knox statistic needs 2 events, got {len(events)}")
    buckets = _Buckets(events.x, _edges(distance, "distance"))
    close = int(buckets.count(events.t, _edges(delay, "delay")).sum())
    by_chance = float(buckets.neighbours() @ time_neighbours(events.t, delay)) / (len(events) - 1)
    return close - by_chance / 2


@dataclass(frozen=True)
class Knox:
    """:func:`knox` as a statistic of events, for :mod:`evaluation.nulls.worlds`."""

    distance: float
    delay: float

    def __call__(self, events: Events) -> dict[str, float]:
        """``{"Knox at 0.1 map units, 1 day": pairs}``."""
        return {f"Knox at {_scales(self.distance, self.delay)}": float(knox(events, self.distance, self.delay))}


@dataclass(frozen=True)
class ModifiedKnox:
    """:func:`modified_knox` as a statistic of events, for :mod:`evaluation.nulls.worlds`."""

    distance: float
    delay: float

    def __call__(self, events: Events) -> dict[str, float]:
        """``{"modified Knox at 0.1 map units, 1 day": pairs above expectation}``."""
        label = f"modified Knox at {_scales(self.distance, self.delay)}"
        return {label: modified_knox(events, self.distance, self.delay)}


def _scales(distance: float, delay: float) -> str:
    return f"{distance:g} map units, {in_words(delay)}"


@dataclass(frozen=True)
class KnoxResult:
    """Pairs close in space and time, against permutations of the times.

    Parameters
    ----------
    distance : (D,) upper edges of the distance bands, map units; each band is (the edge before, the edge]
    delay : (T,) upper edges of the delay bands, days
    pairs : (D, T) observed pairs per band
    expected, sd : (D, T) mean and standard deviation over ALL permutations, in closed form [4]_
    permuted : (B, D, T) pairs under random permutations

    The Knox test has a single band of each; a table over several is the near-repeat table [5]_.
    """

    distance: tuple[float, ...]
    delay: tuple[float, ...]
    pairs: Counts
    expected: Array
    sd: Array
    permuted: Counts

    @property
    def z(self) -> Array:
        """(D, T) standard deviations above expectation."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray((self.pairs - self.expected) / self.sd)

    @property
    def p_value(self) -> Array:
        """(D, T) one-sided: see :func:`stpp.chance.monte_carlo_p`."""
        return monte_carlo_p(self.pairs, self.permuted)

    def lines(self) -> list[str]:
        """In words, a line per band."""
        out = []
        for k, l in np.ndindex(self.pairs.shape):  # noqa: E741
            near = f"over {self.distance[k - 1]:g} to {self.distance[k]:g}" if k else f"within {self.distance[k]:g}"
            soon = f"over {in_words(self.delay[l - 1])} to {in_words(self.delay[l])}" if l else in_words(self.delay[l])
            expected = self.expected[k, l]
            times = f"{self.pairs[k, l] / expected:.2f} times" if expected > 0 else "none expected:"
            out.append(
                f"{near} map units and {'' if l else 'within '}{soon}: {self.pairs[k, l]:,} pairs, {expected:,.1f} "
                f"expected without interaction ({times}; z = {self.z[k, l]:+.1f}, p = {self.p_value[k, l]:.3g})"
            )
        return out

    def to_json_dict(self) -> dict[str, Any]:
        """Bands and, per band, pairs, expected, sd, z and p."""
        z = [[v if math.isfinite(v) else None for v in row] for row in self.z.tolist()]
        return {
            "distance": list(self.distance),
            "delay": list(self.delay),
            "permutations": len(self.permuted),
            "pairs": self.pairs.tolist(),
            "expected": self.expected.tolist(),
            "sd": self.sd.tolist(),
            "z": z,
            "p_value": self.p_value.tolist(),
        }


def knox_test(
    events: Events,
    distance: float | Sequence[float],
    delay: float | Sequence[float],
    *,
    permutations: int = 199,
    rng: np.random.Generator,
) -> KnoxResult:
    """The Knox test, or with several distances and delays the near-repeat table.

    Parameters
    ----------
    distance : map units ≥ 0, or increasing upper edges of bands
    delay : days ≥ 0, or increasing upper edges of bands
    permutations : B, of the times over the places
    rng : source of the permutations

    Raises
    ------
    ValueError
        if there are fewer than 4 events, or the edges do not increase from 0 or more
    """
    distances, delays = _edges(distance, "distance"), _edges(delay, "delay")
    n = len(events)
    if n < 4:
        raise ValueError(f"a Knox test needs at least 4 events, got {n}")
    buckets = _Buckets(events.x, distances)
    permuted = np.empty((permutations, len(distances), len(delays)), dtype=np.int64)
    seeds = rng.integers(2**63, size=permutations)

    def permute(b: int) -> None:
        order = np.random.default_rng(seeds[b]).permutation(n)
        permuted[b] = buckets.count(events.t, delays, order)

    in_threads(permute, range(permutations))
    in_space = [_Buckets(events.x, (edge,)).neighbours() for edge in distances]
    in_time = [time_neighbours(events.t, edge) for edge in delays]
    before = np.zeros(n, dtype=np.int64)
    moments = [
        [_moments(s - s0, t - t0) for t, t0 in zip(in_time, [before, *in_time], strict=False)]
        for s, s0 in zip(in_space, [before, *in_space], strict=False)
    ]
    expected, variance = np.moveaxis(np.array(moments), 2, 0)
    return KnoxResult(distances, delays, buckets.count(events.t, delays), expected, np.sqrt(variance), permuted)


def _edges(given: float | Sequence[float], name: str) -> tuple[float, ...]:
    edges = tuple(float(v) for v in (given if isinstance(given, Sequence) else [given]))
    if not edges or edges[0] < 0 or not all(a < b < math.inf for a, b in zip((-1.0, *edges), edges, strict=False)):
        raise ValueError(f"{name} must be ≥ 0, or edges that increase from 0 or more; got {given}")
    return edges


def _moments(space: Counts, time: Counts) -> tuple[float, float]:
    """Mean and variance over all permutations of how many pairs two graphs on n events share [4]_.

    Only the degrees matter: two shared edges are the same, meet in an event, or are apart, and each happens with a
    probability that follows from how many such pairs of edges either graph has.
    """
    n = len(space)
    sizes = []
    for degree in (space.astype(float), time.astype(float)):
        edges, meeting = degree.sum() / 2, float(degree @ (degree - 1))
        sizes.append((edges, meeting, edges * (edges - 1) - meeting))
    ways = (n * (n - 1) / 2, n * (n - 1) * (n - 2), n * (n - 1) * (n - 2) * (n - 3) / 4)
    same, meet, apart = (a * b / way for a, b, way in zip(*sizes, ways, strict=True))
    return same, max(same + meet + apart - same**2, 0.0)


def time_neighbours(t: Array, delay: float) -> Counts:
    """(n,) how many other events lie at most ``delay`` from each of the sorted times."""
    return _time_neighbours(t, float(delay))


class _Buckets:
    """Places in square buckets; counts the pairs close in space and time for any assignment of the times.

    Parameters
    ----------
    x : (n, d) places
    distances : (D,) increasing upper edges of bands
    """

    def __init__(self, x: Array, distances: Sequence[float]) -> None:
        n, axes = len(x), min(x.shape[1], BUCKET_AXES)
        self._squares = np.square(np.asarray(distances, dtype=float))
        low = x.min(axis=0) if n else np.zeros(x.shape[1])
        width = (x.max(axis=0) if n else low) - low
        most = max(1, int(math.sqrt(n) if axes == 2 else n))
        self._shape = np.ones(2, dtype=np.int64)
        cell = np.zeros(n, dtype=np.int64)
        for k in range(axes):
            # a hair wider than the distance, so that rounding never puts a close pair two buckets apart
            side = max(distances[-1] * (1 + 1e-9), width[k] / most)
            self._shape[k] = min(most, int(width[k] / side) + 1) if side > 0 else 1
            index = np.minimum((x[:, k] - low[k]) / side, self._shape[k] - 1) if side > 0 else np.zeros(n)
            cell = cell * self._shape[k] + index.astype(np.int64)
        order = np.argsort(cell, kind="stable")
        self._x = np.ascontiguousarray(x[order])
        self._slot = np.empty(n, dtype=np.int64)  # row of x → its place in bucket order
        self._slot[order] = np.arange(n)
        self._cell = cell
        self._starts = np.searchsorted(cell[order], np.arange(self._shape.prod() + 1))

    def count(self, t: Array, delays: Sequence[float], order: Counts | None = None) -> Counts:
        """(D, T) pairs per band where the k-th of the sorted times ``t`` belongs to row ``order[k]``."""
        rows = np.arange(len(t)) if order is None else order
        counts = np.zeros((len(self._squares), len(delays)), dtype=np.int64)
        _count(
            self._x, self._starts, self._shape, t, self._slot[rows], self._cell[rows], self._squares,
            np.asarray(delays, dtype=float), counts,
        )  # fmt: skip
        return counts

    def neighbours(self) -> Counts:
        """(n,) how many other places lie within the largest distance of each."""
        return _degrees(self._x, self._starts, self._shape, self._squares[-1])[self._slot]


@njit(cache=True, nogil=True)
def _time_neighbours(t: Array, delay: float) -> Counts:
    out = np.empty(t.size, dtype=np.int64)
    first, last = 0, 0
    for i in range(t.size):
        while t[i] - t[first] > delay:
            first += 1
        while last < t.size and t[last] - t[i] <= delay:
            last += 1
        out[i] = last - first - 1
    return out


@njit(cache=True, nogil=True)
def _half_neighbourhood() -> NDArray[np.int64]:
    """A bucket and those after it: every pair of touching buckets once."""
    return np.array([[0, 0], [0, 1], [1, -1], [1, 0], [1, 1]])


@njit(cache=True, nogil=True)
def _count(
    x: Array, starts: Counts, shape: Counts, t: Array, slot: Counts, cell: Counts, squares: Array, delays: Array,
    counts: Counts,
) -> None:  # fmt: skip
    row, time = np.empty(t.size, dtype=np.int64), np.empty(t.size)
    free = starts.copy()
    for k in range(t.size):  # in time order, so each bucket comes out sorted by time
        where = free[cell[k]]
        row[where], time[where] = slot[k], t[k]
        free[cell[k]] += 1
    far, late = squares[-1], delays[-1]
    for a in range(shape[0]):
        for b in range(shape[1]):
            own = a * shape[1] + b
            for da, db in _half_neighbourhood():
                if not (a + da < shape[0] and 0 <= b + db < shape[1]):
                    continue
                other = own + da * shape[1] + db
                first, end = starts[other], starts[other + 1]
                for i in range(starts[own], starts[own + 1]):
                    if other == own:
                        first = i + 1
                    else:
                        while first < end and time[i] - time[first] > late:
                            first += 1
                    for j in range(first, end):
                        if time[j] - time[i] > late:
                            break
                        square = squared_distance(x, row[i], row[j])
                        if square <= far:
                            gap = abs(time[j] - time[i])
                            k, m = 0, 0
                            while square > squares[k]:
                                k += 1
                            while gap > delays[m]:
                                m += 1
                            counts[k, m] += 1


@njit(cache=True, nogil=True)
def _degrees(x: Array, starts: Counts, shape: Counts, far: float) -> Counts:
    out = np.zeros(x.shape[0], dtype=np.int64)
    for a in range(shape[0]):
        for b in range(shape[1]):
            own = a * shape[1] + b
            for da, db in _half_neighbourhood():
                if not (a + da < shape[0] and 0 <= b + db < shape[1]):
                    continue
                other = own + da * shape[1] + db
                for i in range(starts[own], starts[own + 1]):
                    for j in range(i + 1 if other == own else starts[other], starts[other + 1]):
                        if squared_distance(x, i, j) <= far:
                            out[i] += 1
                            out[j] += 1
    return out
