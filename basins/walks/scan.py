"""Markov stability scanned over time: which partitions of a walk's cells last, and at which scales they are robust.

At each Markov time t the partition of greatest stability is sought: as good as the walk is at staying in its parts for
t steps. Short times give many small parts, long ones few. A scale is robust where neither chance (the seeds) nor a
somewhat longer time changes the partition [1]_.

References
----------
.. [1] Delvenne, Yaliraki & Barahona (2010), Stability of graph communities across time scales, PNAS 107.
.. [2] Lambiotte, Delvenne & Barahona (2014), Random walks, Markov processes and the multiscale modular organization of
   complex networks, IEEE Transactions on Network Science and Engineering 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from basins.walks.graph import Walk
from stpp.compute.blas import one_blas_thread
from stpp.domain import Array

Labels = NDArray[np.int64]

DENSE = 3_000
"""Most cells with posts that Markov times are scanned over: the autocovariance is a dense matrix."""

NEGLIGIBLE = 1e-9
"""Autocovariances below this share of a cell's probability are left out of the graph that is partitioned."""


def variation_of_information(one: Labels, other: Labels, weight: Array) -> float:
    """How much two partitions of cells of some weight tell apart that the other does not, in nats; 0 if they agree."""
    joint = np.unique(np.stack([one, other]), axis=1, return_inverse=True)[1].ravel()
    return max(0.0, 2 * _entropy(joint, weight) - _entropy(one, weight) - _entropy(other, weight))


def _entropy(labels: Labels, weight: Array) -> float:
    share = np.bincount(labels, weight) / weight.sum()
    share = share[share > 0]
    return float(-(share * np.log(share)).sum())


@dataclass(frozen=True, eq=False)
class Scan:
    """The partitions of a walk that are most stable at each of several Markov times.

    Parameters
    ----------
    times : (T,) Markov times, steps
    labels : (T, seeds, cells) of the partitions, the most stable of each time first; −1 where the walk never is
    stability : (T,) of the first one
    disagreement : (T,) mean variation of information among the seeds' partitions, nats
    persistence : (T,) variation of information to the partition of the next time (for the last, the one before), nats
    """

    times: Array
    labels: NDArray[np.int64]
    stability: Array
    disagreement: Array
    persistence: Array

    @property
    def parts(self) -> NDArray[np.int64]:
        """(T,) number of parts of the most stable partition."""
        return np.asarray(self.labels[:, 0].max(axis=1) + 1)

    @property
    def fragility(self) -> Array:
        """(T,) nats: how much the partition depends on chance and on the exact time; a robust scale has little."""
        return self.disagreement + self.persistence


@one_blas_thread
def scan_markov_times(walk: Walk, times: int, seeds: int, rng: np.random.Generator) -> Scan:
    """Partitions of greatest Markov stability over Markov times from a step to three times the slowest relaxation [1]_.

    The Markov stability of a partition at time t is its modularity in the weighted graph Π P(t) [2]_, which Louvain's
    algorithm (scikit-network) raises as far as it can, from ``seeds`` random orders of the cells. P(t) comes from one
    decomposition of the walk, on one BLAS thread: matrices are small.

    Parameters
    ----------
    walk : reversible, over at most ``DENSE`` cells with posts
    times : number of Markov times, logarithmically spaced
    seeds : runs per time

    Raises
    ------
    ValueError
        if the walk is not reversible, is nowhere, or has too many cells
    """
    from sknetwork.clustering import Louvain

    cells = np.flatnonzero(walk.visited)
    if not walk.reversible or not 0 < len(cells) <= DENSE:
        raise ValueError(f"a scan needs a reversible walk over 1 to {DENSE} cells with posts; here are {len(cells)}")
    pi, root = walk.stationary[cells], np.sqrt(walk.stationary[cells])
    symmetric = root[:, None] * walk.transition[cells][:, cells].toarray() / root
    values, vectors = np.linalg.eigh((symmetric + symmetric.T) / 2)
    rates, modes = np.maximum(0.0, 1 - values), root[:, None] * vectors
    moving = rates[rates > 1e-9]
    ladder = np.geomspace(1.0, max(2.0, 3 / moving.min()) if len(moving) else 2.0, times)
    labels = np.full((times, seeds, len(walk.stationary)), -1)
    stability, disagreement = np.zeros(times), np.zeros(times)
    for k, time in enumerate(ladder):
        covariance = (modes * np.exp(-time * rates)) @ modes.T
        covariance[covariance < NEGLIGIBLE * pi[:, None]] = 0.0
        graph = csr_matrix((covariance + covariance.T) / 2)  # scikit-network takes no csr_array
        runs = []
        for seed in rng.integers(2**31, size=seeds).tolist():
            method = Louvain(modularity="newman", shuffle_nodes=True, random_state=seed)
            part = method.fit_predict(graph).astype(np.int64) if len(cells) > 1 else np.zeros(1, dtype=np.int64)
            parts = np.bincount(part, pi)
            runs.append((float(covariance[part[:, None] == part].sum() - parts @ parts), part))
        runs.sort(key=lambda run: -run[0])
        labels[k][:, cells] = [part for _, part in runs]
        stability[k] = runs[0][0]
        disagreement[k] = _mean_variation([part for _, part in runs], pi)
    best = labels[:, 0][:, cells]
    steps = [variation_of_information(best[k], best[k + 1], pi) for k in range(times - 1)]
    return Scan(ladder, labels, stability, disagreement, np.array([*steps, steps[-1] if steps else 0.0]))


def _mean_variation(parts: Sequence[Labels], weight: Array) -> float:
    """Mean variation of information among all pairs."""
    pairs = [(a, b) for i, a in enumerate(parts) for b in parts[:i]]
    return float(np.mean([variation_of_information(a, b, weight) for a, b in pairs])) if pairs else 0.0
