"""The finders of basins, one a file: name → class. A new finder is one file and one line here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from stpp.options import parsed
from stpp.registry import Registry

if TYPE_CHECKING:
    from basins.basin import Finder

FINDERS: Registry[type[Finder]] = Registry(
    "method",
    {
        "density": "basins.finders.density:DensityFinder",
        "markov": "basins.finders.markov:MarkovFinder",
        "consensus": "basins.finders.consensus:ConsensusFinder",
        "hawkes-regions": "basins.finders.regions:RegionsFinder",
        "lyapunov": "basins.finders.lyapunov:LyapunovFinder",
    },
)
"""The finders: name → class. A new finder is one file and one line here; its options come with it."""


def make_finder(method: str | None, d: int, options: Mapping[str, object] | None = None) -> Finder:
    """A finder by name.

    Parameters
    ----------
    method : a key of :data:`FINDERS`; None: ``density`` in up to 3 dimensions, else ``markov``
    d : dimensions of the events
    options : of the finder; what is None stays at its default

    Raises
    ------
    ValueError
        if there is no such finder, it has no option that is given, or a value is not what it wants

    Examples
    --------
    >>> make_finder(None, d=2).name, make_finder(None, d=8).name
    ('density', 'markov')
    """
    name = method or ("density" if d <= 3 else "markov")
    return FINDERS[name](**parsed({name: FINDERS[name]}, options or {})[name])
