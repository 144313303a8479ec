"""Basins: regions that hold and attract posts, found, measured, followed, predicted and judged."""

import dataclasses
from typing import Any

from basins.basin import Finder
from basins.finders.consensus import ConsensusFinder
from basins.finders.density import DensityFinder
from basins.finders.lyapunov import LyapunovFinder
from basins.finders.markov import MarkovFinder
from basins.finders.regions import RegionsFinder
from stpp.domain import MAX_GRID_DIMENSIONS

FINDERS: dict[str, type[Finder]] = {
    finder.name: finder for finder in (DensityFinder, MarkovFinder, ConsensusFinder, RegionsFinder, LyapunovFinder)
}
"""The finders: name → class. A new finder is one file and one line here."""


def make_finder(method: str | None, d: int, **options: Any) -> Finder:
    """A finder by name.

    Parameters
    ----------
    method : a key of :data:`FINDERS`; None: ``density`` in up to 3 dimensions, else ``markov``
    d : dimensions of the events
    options : fields of the finder; what is None stays at its default

    Raises
    ------
    ValueError
        if there is no such finder, or it has no option that is given
    """
    name = method or ("density" if d <= MAX_GRID_DIMENSIONS else "markov")
    if name not in FINDERS:
        raise ValueError(f"no method '{name}'; there are: {', '.join(FINDERS)}")
    given = {key: value for key, value in options.items() if value is not None}
    known = {field.name for field in dataclasses.fields(FINDERS[name])}
    for key in given:
        if key not in known:
            raise ValueError(f"--{key} does not apply to --method {name}: leave it out")
    return FINDERS[name](**given)
