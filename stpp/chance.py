"""The p-value of a Monte-Carlo test: how often null worlds reach what was observed.

References
----------
.. [1] Davison & Hinkley (1997), Bootstrap Methods and their Application, eq. 4.11.
.. [2] Phipson & Smyth (2010), Permutation p-values should never be zero, Statistical Applications in Genetics and
   Molecular Biology 9, 39.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from stpp.domain import Array

TIE = 1e-9
"""Values this close, relative to the observed one, count as equal: a refit on reordered events differs by rounding."""


def monte_carlo_p(observed: ArrayLike, null: ArrayLike) -> Array:
    """(1 + #{T_b ≥ T})/(B + 1), one-sided [1]_ [2]_: the data are one of B + 1 exchangeable worlds.

    So it is never 0, and a test at level k/(B + 1) is exact. Values equal but for rounding count as reached.

    Parameters
    ----------
    observed : (…) values on the data
    null : (B, …) values on null worlds, the larger the more of what is tested

    Returns
    -------
    (…) p-values; NaN where the observed value or one of the null worlds is not known, or there are no worlds

    Examples
    --------
    >>> float(monte_carlo_p(3.0, [1.0, 2.0, 3.0, 4.0]))
    0.6
    """
    value, worlds = np.asarray(observed, dtype=float), np.asarray(null, dtype=float)
    if not len(worlds):
        return np.full(value.shape, np.nan)
    reached = worlds >= value - TIE * np.abs(value)
    p = (1 + reached.sum(axis=0)) / (len(worlds) + 1)
    return np.asarray(np.where(np.isnan(value) | np.isnan(worlds).any(axis=0), np.nan, p))
