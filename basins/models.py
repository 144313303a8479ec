"""A finder as an intensity: basins found in the training posts, and rates over them, for the leaderboard."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from basins.finders import FINDERS, make_finder
from stpp.compute.progress import Progress
from stpp.events import Events, Window
from stpp.models.basins import BasinRates


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class FoundRates(BasinRates):
    """Rates over basins that a finder finds in the very posts that the model is fitted to.

    Once fitted it is a plain :class:`BasinRates`, so that a saved model needs no finder.

    Parameters
    ----------
    method : name of the finder
    """

    method: str = "density"

    def fit(self, events: Events, window: Window, *, progress: Progress | None = None) -> Self:
        """Find the basins of the training window, and fit rates over them by maximum likelihood.

        Where there is no basin, the whole domain is one region.

        Raises
        ------
        ValueError
            if there are too few events in the window, or the finder does not work in their dimensions
        """
        rng = np.random.default_rng(self.seed)
        past = events.before(window.end)
        self.training_events(past, window)
        finder = make_finder(self.method, self.domain.d).quick().fit(past, [window], self.domain, rng)
        cells = finder.fixed.partition
        found = finder.find(finder.fixed.see(past, window), rng).basins
        membership = np.array([basin.membership for basin in found]) if found else np.ones((1, len(cells)))
        known: dict[str, Any] = {"membership": membership, "horizon": self.horizon, "seed": self.seed}
        if cells.grid is not None:
            known["cell_shape"] = cells.grid.shape
        else:
            known["cell_centres"] = cells.centres
        return BasinRates(domain=self.domain, floor=self.floor, **known).fit(events, window, progress=progress)  # type: ignore[return-value]


def finder_model(method: str) -> type[FoundRates]:
    """The model of a finder, for :data:`stpp.models.MODELS`: its class, with the finder's name filled in.

    Raises
    ------
    ValueError
        if there is no such finder
    """
    FINDERS.check(method)
    made = type(
        f"Found{method.title().replace('-', '')}",
        (FoundRates,),
        {"__annotations__": {"method": "str"}, "method": method},
    )
    return dataclass(frozen=True, kw_only=True, eq=False)(made)
