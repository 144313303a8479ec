"""How strong a basin is: how hard to leave, how much it draws, how it grows; for every finder from memberships alone.

Every measure is of a region, the memberships of a basin over the cells: it does not matter who found it. What does not
exist (replies where there are none, escape on a window with one region, a drift before there is a past) is NaN.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import t as student

from basins.basin import Basin
from basins.excitation import excitation
from basins.space import Snapshot, Space
from basins.walks.chain import conductance, markov_stability, mean_first_passage_time, spectral_gap
from basins.walks.drift import estimate, growth_probability
from basins.walks.graph import Walk
from stpp.compute.blas import one_blas_thread
from stpp.domain import Grid
from stpp.partition import Partition

if TYPE_CHECKING:
    import pandas as pd

MARKOV_TIME = 10.0
"""Steps of the walk after which Markov stability is read."""

SIMULATIONS = 60
"""Of the density near a basin's centre, behind the Lyapunov probability."""

COARSE = {1: 128, 2: 32, 3: 12}
"""Cells per axis, in 1, 2 and 3 dimensions, on which drift and diffusion are estimated: they are smooth."""

RECENT = 5
"""Windows, the last ones, that drift and diffusion are estimated from: what is asked is how things stand now."""

LEVEL = 0.95
"""Of all intervals."""

DAYS = 7.0
"""In a week."""

MEASURES: dict[str, str] = {
    "conductance": "chance that a step of the random walk leaves the region (enters it, if it holds more than half of "
    "all); low = hard to leave",
    "escape_time": "steps of the random walk until it first leaves the region, from a typical place in it",
    "markov_stability": f"chance to be in the region now and {MARKOV_TIME:g} steps later, less that of pure chance",
    "spectral_gap": "how fast the walk, kept within the region, forgets where it was; near 0 = rather two basins",
    "barrier": "log of the peak's density over that of the easiest pass out: 0.7 = the pass is half as dense",
    "escape_rate": "per day, at which posts that drift and diffuse like the density leave the region",
    "branching_inside": "posts that a post in the region triggers there",
    "branching_across": "posts that a post in the region triggers outside it, in other basins or in none",
    "inward_fraction": "of replies from or into the region, those nearer its centre than the post they answer; "
    "0.5 = no pull",
    "circularity": "1 = its posts lie round their centre, 0 = on a line",
    "lyapunov_probability": "chance, over simulations of drift and diffusion, that its share is larger a window later",
}
"""Measure → what it says. Those with intervals have columns ``…_low`` and ``…_high`` beside them."""


def measure(
    snapshot: Snapshot, basins: Sequence[Basin], walk: Walk, past: Sequence[Snapshot], *, rng: np.random.Generator
) -> pd.DataFrame:
    """All measures of the basins of a window. Nothing later than the window is looked at.

    Parameters
    ----------
    snapshot : the window
    basins : found in it
    walk : the random walk over the cells, :func:`basins.walks.graph.walk` of the snapshot
    past : earlier windows in the same space, in time order, without this one
    rng : of the simulations

    Returns
    -------
    one row per basin: ``basin`` (its id), ``mass``, ``share`` and the columns of :data:`MEASURES`; NaN where a measure
    does not exist
    """
    import pandas as pd

    rows = [_row(snapshot, basin, walk) for basin in basins]
    table = pd.DataFrame(rows, columns=["basin", "mass", "share", *_columns()])
    if not basins:
        return table
    regions = np.stack([basin.region for basin in basins]).astype(float)
    table["markov_stability"] = markov_stability(walk, regions, MARKOV_TIME)
    _add_drift(table, [*past, snapshot], basins, rng)
    branching = excitation(snapshot, basins).set_index("basin").reindex(table["basin"])
    for column in (name for name in table.columns if name.startswith("branching_")):
        table[column] = branching[column].to_numpy(dtype=float)
    return table


def _columns() -> list[str]:
    intervals = ("branching_inside", "branching_across", "inward_fraction")
    return [f"{name}{end}" for name in MEASURES for end in (("", "_low", "_high") if name in intervals else ("",))]


def _row(snapshot: Snapshot, basin: Basin, walk: Walk) -> dict[str, Any]:
    """The measures that need one basin only; the others are NaN for now."""
    inward, low, high = inward_fraction(snapshot, basin)
    return {"basin": basin.id, "mass": basin.mass, "share": basin.share} | {
        "conductance": float(conductance(walk, basin.region)),
        "escape_time": escape_time(walk, basin.region),
        "spectral_gap": cohesion(walk, basin.region),
        "barrier": barrier(basin),
        "inward_fraction": inward,
        "inward_fraction_low": low,
        "inward_fraction_high": high,
        "circularity": circularity(snapshot, basin),
    }


def _add_drift(
    table: pd.DataFrame, windows: Sequence[Snapshot], basins: Sequence[Basin], rng: np.random.Generator
) -> None:
    """Escape rate and Lyapunov probability: both need a grid and a past, and solve linear systems on coarse cells."""
    cells = windows[-1].space.partition
    if cells.grid is None or len(windows) < 2:
        return
    coarse = Partition.of_grid(Grid(cells.box, tuple(min(n, COARSE[cells.box.d]) for n in cells.grid.shape)))
    space = Space(coarse, windows[-1].space.bandwidth)
    recent = [replace(window, space=space) for window in windows[-RECENT:]]
    into = coarse.index(cells.centres)
    regions = []
    for basin in basins:  # a coarse cell belongs to a basin if any fine one in it does, so that small ones stay
        membership = np.zeros(len(coarse))
        np.maximum.at(membership, into, basin.membership)
        regions.append(replace(basin, membership=membership))
    try:
        flow = estimate(recent)
    except ValueError:  # windows too empty to say how density moves
        return
    table["escape_rate"] = [flow.escape_rate(b.membership) if b.region.any() else math.nan for b in regions]
    horizon = windows[-1].window.duration
    grows = growth_probability(flow, recent, regions, horizon=horizon, simulations=SIMULATIONS, rng=rng)
    table["lyapunov_probability"] = grows


# -- measures of one region ---------------------------------------------------------------------------------------


def escape_time(walk: Walk, region: NDArray[np.bool_]) -> float:
    """Mean first-passage time out of a region, in steps, from a start in its stationary distribution.

    Cells that cannot be left at all, such as those of a few identical posts that are one another's only neighbours, are
    passed over unless they hold half of the region's share of the walk: then it is inf. NaN where the region is empty
    or everything.
    """
    states = np.flatnonzero(region & walk.visited)
    if not len(states) or len(states) == np.count_nonzero(walk.visited):
        return math.nan
    times, weight = mean_first_passage_time(walk.transition, states), walk.stationary[states]
    leaves = np.isfinite(times)
    if weight[leaves].sum() <= weight.sum() / 2:
        return math.inf
    return float(np.average(times[leaves], weights=weight[leaves]))


def cohesion(walk: Walk, region: NDArray[np.bool_]) -> float:
    """Spectral gap 1 − |μ₂| of the walk kept within a region; NaN where nothing moves there."""
    inside = region & walk.visited
    return spectral_gap(walk.within(inside)) if walk.reversible and inside.any() else math.nan


def barrier(basin: Basin) -> float:
    """ln(peak / saddle); inf where no way leads out, NaN where the basin has no peak."""
    if not basin.peak > 0:
        return math.nan
    return math.log(basin.peak / basin.saddle) if basin.saddle > 0 else math.inf


def inward_fraction(snapshot: Snapshot, basin: Basin) -> tuple[float, float, float]:
    """Share of replies that land nearer a basin's centre than the post they answer, with its 95 % Wilson interval.

    Counted are the pairs of a post and its reply, both of the window, at least one of which lies in the basin's region;
    pairs at the same distance (a reply at the very place of its parent) say nothing and are left out. What 0.5 means:
    replies lead inwards as often as outwards. Counting replies to far posts only would show a pull where there is none,
    since far posts have nearer replies by regression to the mean. Pairs counted whichever end lies in the region have
    no such bias: where answering does not move discourse on the whole (swapping posts with their replies changes
    nothing), the share is 0.5, however much replies regress. The interval takes replies as independent: where a few
    threads hold most of them, it is too narrow.

    Parameters
    ----------
    snapshot : of the basin's window; replies to posts before what counts in it are not known
    basin : whose centre and region

    Returns
    -------
    share, low, high; NaN without such pairs
    """
    from statsmodels.stats.proportion import proportion_confint

    posts = snapshot.posts
    if posts.parent is None or not basin.region.any():
        return math.nan, math.nan, math.nan
    replies = np.flatnonzero(posts.parent >= 0)
    parents = posts.parent[replies]
    own = np.append(basin.region, False)[snapshot.cell]  # −1, outside, is the last one
    touched = own[replies] | own[parents]
    places = ((posts.x - basin.centre) ** 2).sum(axis=1)
    change = (places[replies] - places[parents])[touched]
    inward, all_ = int((change < 0).sum()), int((change != 0).sum())
    if not all_:
        return math.nan, math.nan, math.nan
    low, high = proportion_confint(inward, all_, alpha=1 - LEVEL, method="wilson")
    return inward / all_, float(low), float(high)


def circularity(snapshot: Snapshot, basin: Basin) -> float:
    """How round a basin's posts lie, in any number of dimensions: geometric over arithmetic mean of their variances.

    The variances are those along the principal axes of the posts, weighted by weight and membership: the sphericity of
    Mauchly (1940) per dimension, det(C)^(1/d) / (tr(C)/d). In 2-d it is 2ab/(a² + b²) of an ellipse with half axes a,
    b: 1 for a circle, 0.8 where one axis is twice the other. In 1-d it is 1.

    Returns
    -------
    in [0, 1]; NaN with no more than d posts, or all at one place
    """
    own = np.append(basin.membership, 0.0)[snapshot.cell] * snapshot.posts.weight
    x = snapshot.posts.x[own > 0]
    own, d = own[own > 0], snapshot.posts.d
    if len(x) <= d:
        return math.nan
    variances = np.linalg.eigvalsh(np.atleast_2d(np.cov(x.T, aweights=own, ddof=0)))
    mean = float(variances.mean())
    if not mean > 1e-12 * float(np.mean(snapshot.space.partition.box.widths**2)):
        return math.nan
    return float(np.exp(np.log(np.maximum(variances, 1e-300)).mean()) / mean)


# -- the trend of a basin's size ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Trend:
    """How a share changes along time.

    Parameters
    ----------
    slope : of log share, per week: 0.1 = it grows by the factor e^0.1 ≈ 1.1 a week
    low, high : 95 % interval of the slope
    r2 : share of the deviance that a line of log share explains
    p : two-sided, of no trend
    """

    slope: float
    low: float
    high: float
    r2: float
    p: float

    @property
    def direction(self) -> str:
        """``grows`` or ``shrinks`` where the interval excludes 0, else ``steady``."""
        return "grows" if self.low > 0 else "shrinks" if self.high < 0 else "steady"

    def __str__(self) -> str:
        if not math.isfinite(self.slope):
            return "too few windows for a trend"
        if self.direction == "steady":
            return "steady: no trend is shown"
        by, low, high = (100 * math.expm1(value) for value in (self.slope, self.low, self.high))
        return f"{self.direction} by {abs(by):.0f} % a week [{low:+.0f} %, {high:+.0f} %]"


@one_blas_thread
def trend(times: ArrayLike, shares: ArrayLike, counts: ArrayLike) -> Trend:
    """The slope of log share per week, by quasi-likelihood.

    Log-linear regression of the expected posts n·s on time with offset ln n. The variance is φ times the mean, as of a
    quasi-Poisson model [1]_: φ is estimated from the windows (Pearson), so that what varies between windows beyond
    counting counts as noise, but is never taken below 1 − s̄, the binomial noise that a share has at least. Intervals
    and p use t quantiles with n − 2 degrees of freedom: three windows can show next to nothing. Windows with a share of
    0 count like any other. Several tracks need a correction on top, such as Holm's.

    Parameters
    ----------
    times : (n,) days
    shares : (n,) in [0, 1]
    counts : (n,) posts in the whole window; windows without posts are left out

    Returns
    -------
    all NaN with fewer than 3 windows with posts, or where the share is 0 throughout

    References
    ----------
    .. [1] McCullagh & Nelder (1989), Generalized Linear Models, 2nd ed., sections 6.2.3 and 9.2.
    """
    import statsmodels.api as sm
    from statsmodels.tools.sm_exceptions import PerfectSeparationWarning

    t, share, n = (np.asarray(value, dtype=float) for value in (times, shares, counts))
    kept = (n > 0) & np.isfinite(share)
    t, share, n = t[kept], share[kept], n[kept]
    if len(t) < 3 or not share.any() or not np.ptp(t) > 0:
        return Trend(*[math.nan] * 5)
    weeks = (t - t.mean()) / DAYS
    model = sm.GLM(n * share, sm.add_constant(weeks), family=sm.families.Poisson(), offset=np.log(n))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PerfectSeparationWarning)  # shares on a line are no failure: the noise is known
        fit = model.fit(maxiter=25)
    freedom = len(t) - 2
    noise = max(float(fit.pearson_chi2) / freedom, 1 - float(n @ share / n.sum()))
    slope, error = float(fit.params[1]), math.sqrt(noise * float(fit.normalized_cov_params[1, 1]))
    level = n * float(n @ share / n.sum())
    whole = float(model.family.deviance(n * share, level))
    r2 = float(np.clip(1 - fit.deviance / whole, 0, 1)) if whole > 1e-9 else 0.0
    if not error > 1e-12:  # it is everything, always
        return Trend(slope, slope, slope, r2, 1.0 if abs(slope) < 1e-9 else 0.0)
    reach = float(student.ppf((1 + LEVEL) / 2, freedom)) * error
    p = 2 * float(student.sf(abs(slope) / error, freedom))
    return Trend(slope, slope - reach, slope + reach, r2, p)
