"""Basins that pull: regions whose posts beget more posts there, what excites what between them, and memeplexes.

Regions are the hills of the density (in more than 3 dimensions, adaptive cells). A multivariate self-exciting process
over them says how many posts in region r each post in region s brings about (:mod:`stpp.influence`): within a region,
self-excitation; between two, cross-excitation, or inhibition where it is below 0. Only what holds for all pairs of a
window at once is called certain.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from basins.basin import Basin, Finder, Found, describe
from basins.density import DensityFinder
from basins.space import Snapshot, Space
from basins.surface import predictive_bandwidth
from stpp.domain import MAX_GRID_DIMENSIONS, Array, Box
from stpp.events import Events, Window
from stpp.influence import LEVEL, Influence, influence, quantile
from stpp.partition import Partition

if TYPE_CHECKING:
    import networkx as nx
    import pandas as pd

LANDMARKS, REGIONS = 500, 12
"""Cells, and adaptive regions that they are put together to, above 3 dimensions."""

ELSEWHERE = "elsewhere"
"""Name of what lies in no basin."""


@dataclass(frozen=True, kw_only=True, eq=False)
class RegionsFinder(Finder):
    """Regions with self-excitation beyond chance, and those of a memeplex, each a basin of its own.

    A memeplex (regions that excite each other) is not merged into one basin: what is certain differs from window to
    window, and a basin must not change its shape because a test was passed. Memeplexes are told by :func:`memeplexes`
    and in the remark instead.

    The probability of existence is that of the region: by the density finder's bootstrap, and 1 for adaptive cells,
    which are fixed. That it excites itself or others is certain at the level of the test.

    Parameters
    ----------
    hills : the density finder of the regions, up to 3 dimensions
    cells : (K, cells) adaptive regions, above
    """

    name: ClassVar[str] = "hawkes-regions"
    summary_line: ClassVar[str] = "regions whose posts beget more posts, by a multivariate self-exciting process"

    hills: DensityFinder | None = None
    cells: Array | None = None

    def fit(self, events: Events, training: Sequence[Window], box: Box, rng: np.random.Generator) -> Self:
        """A copy whose space, and above 3 dimensions whose regions, are fixed.

        Raises
        ------
        ValueError
            if there is no training window, or no post of one in the box
        """
        if box.d <= MAX_GRID_DIMENSIONS:
            blank = DensityFinder(replicates=self.replicates, windows=self.windows)
            hills = blank.fit(events, training, box, rng)
            return replace(self, space=hills.space, hills=hills, cells=None)
        if not training:
            raise ValueError("no training windows to lay landmarks by: start training earlier or make windows shorter")
        parts = [events.between(window).inside(box) for window in training]
        x = np.concatenate([part.x for part in parts])
        fine, coarse = (Partition.around_landmarks(x, n, box, rng) for n in (LANDMARKS, REGIONS))
        cells = np.ascontiguousarray(np.eye(len(coarse))[coarse.index(fine.centres)].T)
        return replace(self, space=Space(fine, predictive_bandwidth(parts, box, rng)), hills=None, cells=cells)

    def find(self, snapshot: Snapshot, rng: np.random.Generator) -> Found:
        """The regions of a window that excite themselves or each other, at a level shared among all windows."""
        regions = self._regions(snapshot, rng)
        if not regions:
            return Found((), "no region holds posts beyond chance, so none can excite itself")
        measured = influence_of(snapshot, regions, LEVEL / self.windows)
        groups = memeplexes(measured, len(regions))
        chosen = [b for b in range(len(regions)) if measured.excites[b, b] or any(b in group for group in groups)]
        number = {b: k for k, b in enumerate(chosen)}
        basins = [replace(regions[b], id=number[b]) for b in chosen]
        if not basins:
            known = int(np.isfinite(measured.matrix.diagonal()[: len(regions)]).sum())
            return Found((), f"none of the {known} regions with enough posts excites itself beyond chance")
        parts = [f"{len(basins)} of {len(regions)} regions excite themselves or each other beyond chance"]
        parts += [f"basins {', '.join(str(number[b]) for b in group)} form a memeplex" for group in groups]
        parts += [
            f"basin {number[s]} inhibits basin {number[r]}"
            for s, r in antimemes(measured, len(regions))
            if s in number and r in number
        ]
        return Found(tuple(basins), "; ".join(parts))

    def _regions(self, snapshot: Snapshot, rng: np.random.Generator) -> tuple[Basin, ...]:
        if self.hills is not None:
            return self.hills.find(snapshot, rng).basins
        if self.cells is None:
            raise ValueError(f"{self.name} has no space yet: fit it to training windows")
        return describe(snapshot, self.cells, np.ones(len(self.cells)))


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
