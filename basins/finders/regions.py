"""Basins that pull: regions whose posts beget more posts there, what excites what between them, and memeplexes.

Regions are the hills of the density (in more than 3 dimensions, adaptive cells). A multivariate self-exciting process
over them says how many posts in region r each post in region s brings about (:mod:`stpp.influence.regions`): within a
region, self-excitation; between two, cross-excitation, or inhibition where it is below 0. Only what holds for all pairs
of a window at once is called certain.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np

from basins.basin import Basin, Finder, Found, describe
from basins.chance.surface import predictive_bandwidth
from basins.excitation import antimemes, influence_of, memeplexes
from basins.finders.density import DensityFinder
from basins.space import Snapshot, Space
from stpp.domain import MAX_GRID_DIMENSIONS, Array, Box
from stpp.events import Events, Window
from stpp.influence.regions import LEVEL, Influence
from stpp.partition import Partition

if TYPE_CHECKING:
    pass

LANDMARKS, REGIONS = 500, 12
"""Cells, and adaptive regions that they are put together to, above 3 dimensions."""


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

    def influences(self, snapshot: Snapshot, basins: Sequence[Basin]) -> Influence:
        """Which of the basins excite which: see :func:`basins.excitation.influence_of`."""
        return influence_of(snapshot, basins)

    def look(self, snapshot: Snapshot, rng: np.random.Generator) -> Found:
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
            return self.hills.look(snapshot, rng).basins
        if self.cells is None:
            raise ValueError(f"{self.name} has no space yet: fit it to training windows")
        return describe(snapshot, self.cells, np.ones(len(self.cells)))
