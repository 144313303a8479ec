"""The posts that lie everywhere: how dense they are, read where a window has the fewest posts."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from basins.space import Snapshot
from stpp.domain import Array

QUIET_SHARE = 0.2
"""Share of the box, its least dense part, that the level of the noise is read from."""


def noise_level(snapshot: Snapshot, smooth: Callable[[Array], Array], volume: Array, rng: np.random.Generator) -> float:
    """Density of the posts that lie everywhere, as :func:`level_where_quiet` reads it; 0 where there are none.

    One random half of the places says where the box is emptiest and the other half how dense it is there, and the other
    way round: the half that chose the place would call it emptier than it is.

    Parameters
    ----------
    snapshot : a window with posts
    smooth : density from the weight per cell, both (cells,)
    volume : (cells,) share of the box

    Returns
    -------
    Share of the window's weight per unit volume
    """
    places, cells = snapshot.places, snapshot.space.partition
    first = rng.random(len(places)) < 0.5
    one, other = (cells.sums(places.cell[part], places.weight[part]) for part in (first, ~first))
    weights = weight_where_quiet(smooth(one), other, volume) + weight_where_quiet(smooth(other), one, volume)
    return weights / (float(snapshot.totals.sum()) * cells.box.volume)


def weight_where_quiet(density: Array, totals: Array, volume: Array) -> float:
    """Weight, per share of the box, of some posts where the density of others is lowest.

    Parameters
    ----------
    density : (cells,) that chooses where
    totals : (cells,) weight of the posts that are counted there
    volume : (cells,) share of the box
    """
    order = np.argsort(density, kind="stable")
    quiet = order[: 1 + int(np.searchsorted(np.cumsum(volume[order]), QUIET_SHARE))]
    return float(totals[quiet].sum()) / float(volume[quiet].sum())
