"""Basins: regions that hold and attract posts, found, measured, followed, predicted and judged."""

from basins.basin import Finder
from basins.consensus import ConsensusFinder
from basins.density import DensityFinder
from basins.lyapunov import LyapunovFinder
from basins.markov import MarkovFinder
from basins.regions import RegionsFinder
from stpp.domain import MAX_GRID_DIMENSIONS

FINDERS: dict[str, type[Finder]] = {
    finder.name: finder for finder in (DensityFinder, MarkovFinder, ConsensusFinder, RegionsFinder, LyapunovFinder)
}
"""The finders: name → class. A new finder is one file and one line here."""


def make_finder(method: str | None, d: int, most: int | None = None) -> Finder:
    """A finder by name.

    Parameters
    ----------
    method : a key of :data:`FINDERS`; None: ``density`` in up to 3 dimensions, else ``markov``
    d : dimensions of the events
    most : basins asked for, ``markov`` only

    Raises
    ------
    ValueError
        if there is no such finder, or it cannot be asked for a number of basins
    """
    name = method or ("density" if d <= MAX_GRID_DIMENSIONS else "markov")
    if name not in FINDERS:
        raise ValueError(f"no method '{name}'; there are: {', '.join(FINDERS)}")
    if most is None:
        return FINDERS[name]()
    if name != MarkovFinder.name:
        raise ValueError(f"--most is for --method markov: {name} finds how many basins there are")
    return MarkovFinder(basins=most)
