"""Which basin raises which: excitation between regions, memeplexes and antimemes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from basins.basin import Basin
from basins.space import Snapshot
from stpp.influence.regions import LEVEL, Influence, influence, quantile

if TYPE_CHECKING:
    import networkx as nx
    import pandas as pd


ELSEWHERE = "elsewhere"
"""Name of what lies in no basin."""


def influence_of(snapshot: Snapshot, basins: Sequence[Basin], level: float = LEVEL) -> Influence:
    """What excites what in a window: its basins in their order, and what lies in none of them as one more region.

    Parameters
    ----------
    snapshot : the window; posts from before it, if it holds any, only excite
    basins : of the window
    level : chance that any interval misses
    """
    own = np.array([basin.membership[snapshot.cell] for basin in basins]).reshape(len(basins), len(snapshot.cell)).T
    members = np.column_stack([own, np.clip(1 - own.sum(axis=1), 0, 1)])
    return influence(snapshot.posts.t, members, snapshot.window, level=level)


def excitation(snapshot: Snapshot, basins: Sequence[Basin]) -> pd.DataFrame:
    """How many posts a post in each basin brings about, there and elsewhere; NaN where there are too few posts.

    Parameters
    ----------
    snapshot : the window
    basins : of the window

    Returns
    -------
    one row per basin: ``basin`` (its id); ``branching_inside`` and ``branching_across``, expected direct offspring in
    the basin and outside it per post in it; ``…_low`` and ``…_high``, intervals that hold with 95 % each (Student's t,
    and Šidák over the half-lives that the kernel's is the best of)
    """
    import pandas as pd

    ends = ("", "_low", "_high")
    columns = ["basin", *(f"branching_{where}{end}" for where in ("inside", "across") for end in ends)]
    rows: list[list[Any]] = []
    if basins:
        measured = influence_of(snapshot, basins)
        for b, basin in enumerate(basins):
            others = np.flatnonzero(np.isfinite(measured.matrix[:, b]) & (np.arange(len(measured.posts)) != b))
            rows.append([basin.id, *_interval(measured, np.array([b]), b), *_interval(measured, others, b)])
    return pd.DataFrame(rows, columns=columns)


def _interval(measured: Influence, targets: NDArray[np.int64], source: int) -> tuple[float, float, float]:
    """Offspring in some regions together per post in one, and an interval that holds whichever half-life was best.

    Estimates for different regions err independently of each other; the degrees of freedom of their sum are those of
    Welch and Satterthwaite.
    """
    variance = measured.error[targets, source] ** 2
    if not variance.sum() > 0:  # none, or not known
        return math.nan, math.nan, math.nan
    total = float(measured.matrix[targets, source].sum())
    behind = variance.sum() ** 2 / (variance**2 / measured.behind[targets, source]).sum()
    reach = float(quantile(LEVEL, measured.tried, behind)) * math.sqrt(variance.sum())
    return total, total - reach, total + reach


def influence_graph(measured: Influence, names: Sequence[str]) -> nx.DiGraph:
    """The certain influences as a graph: an edge from s to r where posts in s bring about, or prevent, posts in r.

    Parameters
    ----------
    measured : R regions
    names : of the regions; :data:`ELSEWHERE` is put in for those that names do not reach

    Returns
    -------
    a graph of one node per region (attributes ``name``, ``posts``, and ``memeplex``, its number or −1) and edges with
    ``kind`` (excites or inhibits), ``offspring``, ``low``, ``high`` and ``p_value``; what GraphML can hold
    """
    import networkx as nx

    graph = nx.DiGraph(level=measured.level)
    groups = memeplexes(measured, len(names))
    for k, posts in enumerate(measured.posts):
        name = names[k] if k < len(names) else ELSEWHERE
        group = next((g for g, members in enumerate(groups) if k in members), -1)
        graph.add_node(k, name=name, posts=float(posts), memeplex=group)
    for r, s in np.argwhere(measured.excites | measured.inhibits).tolist():
        graph.add_edge(
            s,
            r,
            kind="excites" if measured.excites[r, s] else "inhibits",
            offspring=float(measured.matrix[r, s]),
            low=float(measured.low[r, s]),
            high=float(measured.high[r, s]),
            p_value=float(measured.p_value[r, s]),
        )
    return graph


def memeplexes(measured: Influence, basins: int) -> list[tuple[int, ...]]:
    """Groups of at least two of the first ``basins`` regions, each of which excites every other, if through others.

    They are the strongly connected components of the certain excitations, the largest first.
    """
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import connected_components

    edges = csr_array(measured.excites[:basins, :basins].astype(float))
    count, label = connected_components(edges, directed=True, connection="strong")
    groups = [tuple(np.flatnonzero(label == k).tolist()) for k in range(count)]
    return sorted((g for g in groups if len(g) > 1), key=lambda g: (-len(g), g))


def antimemes(measured: Influence, basins: int) -> list[tuple[int, int]]:
    """Pairs (s, r) of the first ``basins`` regions where posts in s make posts in r rarer, beyond chance."""
    found = np.argwhere(measured.inhibits[:basins, :basins])
    return [(int(s), int(r)) for r, s in found if r != s]
