"""How far the hills of a field stand out: merge trees of its superlevel sets, and the extremes that chance reaches."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array

from stpp.domain import Array


@dataclass(frozen=True, eq=False)
class MergeTree:
    """The peaks of a field, in order of height, and where their hills merge.

    Parameters
    ----------
    cell : (P,) of the peaks
    birth : (P,) height of the peaks, decreasing
    death : (P,) height of the saddle where the peak's hill meets a higher one; the lowest value of the field for the
        first peak, which meets none
    into : (P,) peak whose slope lies on the other side of that saddle; itself for a peak that meets none
    slope : (cells,) peak that steepest ascent from each cell leads to
    """

    cell: NDArray[np.int64]
    birth: Array
    death: Array
    into: NDArray[np.int64]
    slope: NDArray[np.int64]

    @classmethod
    def of(cls, field: Array, neighbours: csr_array[Any]) -> MergeTree:
        """The merge tree of the superlevel sets of a field (cells,), by union-find over its cells from the highest on.

        Of two hills that meet the one with the lower peak dies (the elder rule).

        Parameters
        ----------
        field : (cells,)
        neighbours : (cells, cells) symmetric; which cells are neighbours
        """
        order = np.argsort(-field)
        cell, death, into, slope = _flood(field, order, neighbours.indptr, neighbours.indices)
        return cls(cell, field[cell], death, into, slope)

    @property
    def persistence(self) -> Array:
        """(P,) height of the peaks above their saddles."""
        return self.birth - self.death

    def basins(self, alive: NDArray[np.bool_], ground: float = -math.inf) -> NDArray[np.int64]:
        """(cells,) surviving peak that each cell belongs to; −1 for none.

        A hill that does not survive belongs to the one across its saddle, unless that saddle lies below ``ground``.
        """
        owner = np.full(len(alive), -1, dtype=np.int64)
        for peak in range(len(alive)):  # walks up to the first survivor
            here = peak
            while not alive[here] and self.death[here] >= ground and self.into[here] != here:
                here = int(self.into[here])
            if alive[here]:
                owner[peak] = here
        return owner[self.slope]


@njit(cache=True, nogil=True)
def _flood(
    field: Array, order: NDArray[np.int64], indptr: NDArray[Any], indices: NDArray[Any]
) -> tuple[NDArray[np.int64], Array, NDArray[np.int64], NDArray[np.int64]]:
    n, lowest = len(field), field[order[-1]]
    slope, cell = np.full(n, -1, dtype=np.int64), np.empty(n, dtype=np.int64)
    death, into, parent = np.empty(n), np.empty(n, dtype=np.int64), np.empty(n, dtype=np.int64)
    peaks = 0
    for here in order:
        highest, hills_meet = -1, False
        for j in range(indptr[here], indptr[here + 1]):
            k = indices[j]
            if slope[k] >= 0:
                hills_meet |= highest >= 0 and slope[k] != slope[highest]
                if highest < 0 or field[k] > field[highest]:
                    highest = k
        if highest < 0:
            slope[here], cell[peaks], death[peaks], into[peaks], parent[peaks] = peaks, here, lowest, peaks, peaks
            peaks += 1
            continue
        slope[here] = uphill = slope[highest]
        if not hills_meet:
            continue
        root = uphill
        while parent[root] != root:
            root = parent[root]
        for j in range(indptr[here], indptr[here + 1]):
            other = across = slope[indices[j]]
            if across < 0 or across == uphill:
                continue
            while parent[other] != other:
                parent[other] = parent[parent[other]]
                other = parent[other]
            if other == root:
                continue
            if other > root:  # peaks are numbered from the highest on: the lower one dies
                death[other], into[other], parent[other] = field[here], uphill, root
            else:
                death[root], into[root], parent[root] = field[here], across, other
                root = other
    return cell[:peaks].copy(), death[:peaks].copy(), into[:peaks].copy(), slope


def extreme_quantile(draws: Array, level: ArrayLike) -> Array:
    """(m,) what the extreme of a noisy field exceeds with the given probability.

    That of a Gumbel distribution, the law of extremes, fitted by its moments.

    Parameters
    ----------
    draws : (n, m) extremes of n fields without structure
    level : probability, in (0, 1); one, or (m,)
    """
    deviations = math.sqrt(6) / math.pi * (-np.euler_gamma - np.log(-np.log1p(-np.asarray(level))))
    return np.asarray(draws.mean(axis=0) + deviations * draws.std(axis=0, ddof=1))
