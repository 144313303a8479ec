"""Will a basin go on, grow, last? Forecasts from what is known at the end of a window, and nothing later.

A basin continues when half of its share of posts or more falls in its region in the next window too: a matter of where
that window's own posts fall, whatever the tracking makes of them. Every forecast comes from a model fitted to examples
whose outcome was known by then, is drawn towards the base rate as far as that helped before, and stands beside two
baselines: the base rate, and persistence (a logistic curve in the last change of the region's share; the same size
again).

References
----------
.. [1] Lei, G'Sell, Rinaldo, Tibshirani & Wasserman (2018), Distribution-free predictive inference for regression.
   Journal of the American Statistical Association 113. Algorithm 2.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from basins.basin import Basin
from basins.space import Snapshot
from basins.tracks.forward_chaining import ENOUGH, GRIDS, OF_EACH, Chain, Choice
from basins.tracks.tracking import Tracking
from stpp.compute.blas import one_blas_thread
from stpp.compute.progress import Progress
from stpp.domain import Array

if TYPE_CHECKING:
    import pandas as pd

FEATURES = (
    "age",
    "log_share",
    "change",
    "change_before",
    "trend",
    "late",
    "probability",
    "barrier",
    "log_mass",
    "speed",
    "basins",
    "z_share",
)
"""What a forecast is made from, see :func:`examples`."""

CONTINUES = 0.5
"""Share of its share that a basin must keep to continue."""

FLEDGLING = 2
"""Windows of life up to which a basin is a fledgling."""

AHEAD, SPELL = 3, 2
"""A fledgling is sustained when its region is large in ``SPELL`` or more of the next ``AHEAD`` windows."""

LARGE = 0.5
"""Quantile of the training windows' shares that counts as large."""

COVERAGE = 0.9
"""Of the interval of the expected share."""

PERSISTENCE = Choice("logistic", {"C": 1.0})
"""A logistic curve in one's own last change."""

COLLINEAR = 0.1
"""Standard deviation, of 1, that a feature must have beside the others for a coefficient of its own."""

BARRIER_CAP = 5.0
"""Log of peak over saddle beyond which a basin simply has no way out."""

TARGETS = {
    "continue": ("continues", "p", 1),
    "grow": ("grows", "p_grow", 1),
    "sustained": ("lasts", "p_sustained", AHEAD),
}
"""What is forecast with a probability: its label, the prefix of its baselines' columns, windows until it is known."""


@dataclass(frozen=True, eq=False)
class Predictions:
    """Forecasts, and how the models behind them were chosen.

    Parameters
    ----------
    table : a row per basin and window from the first one predicted on, see :func:`predict`
    tuning : a row per target, family and hyperparameters: ``target``, ``model``, ``parameters`` (JSON), ``blend`` (best
        weight beside the base rate), ``examples``, ``loss`` (log loss; for sizes squared error of the share) and
        ``baseline`` (the base rate's, or that of the same size again), by forward chaining, and ``chosen``
    """

    table: pd.DataFrame
    tuning: pd.DataFrame


# -- examples ------------------------------------------------------------------------------------------------------


def examples(
    snapshots: Sequence[Snapshot], found: Sequence[Sequence[Basin]], tracking: Tracking, training: int | None = None
) -> pd.DataFrame:
    """One row per basin and window: what is known at the window's end, and what came next.

    Parameters
    ----------
    snapshots : in time order, all in one space
    found : basins of each
    tracking : of these basins; gives age and speed
    training : number of windows, the first ones, whose shares say what is large; None: half of them

    Returns
    -------
    ``window``, ``basin``, ``track``, ``share`` of the window's own posts that fall in its region (of the last window
    that has any; posts that only linger by a half-life are not counted again), ``grain`` (share of one post); the
    features: ``age`` in windows, ``log_share``, ``change`` of the log share in its region since the window before and
    ``change_before`` that one (0 where there is none), ``trend`` (log of its share in the second half of the window
    over the first), ``late`` (in the last quarter over the rest), ``probability`` of existence, ``barrier`` (log of
    peak over saddle, at most ``BARRIER_CAP``), ``log_mass``, ``speed`` of its centre (map units per day, 0 when new),
    number of ``basins``, ``z_share`` among them; and the labels, NaN where unknown: ``next_share`` in its region,
    ``continues``, ``grows`` (to a larger share), ``lasts`` (its region is large in ``SPELL`` or more of the next
    ``AHEAD`` windows) and ``sustained`` (the same, of fledglings only)
    """
    import pandas as pd

    labels = ("next_share", "continues", "grows", "lasts", "sustained")
    columns = ["window", "basin", "track", "share", "grain", *FEATURES, *labels]
    totals = np.array([s.own_totals / (s.own_totals.sum() or 1.0) for s in snapshots])
    seen = np.array([s.own_totals.any() for s in snapshots], dtype=bool)
    first = found[: len(found) // 2 if training is None else training]
    early = [float(b.membership @ totals[k]) for k, basins in enumerate(first) if seen[k] for b in basins]
    large = float(np.quantile(early, LARGE)) if early else np.nan
    parts = []
    for k, (snapshot, basins) in enumerate(zip(snapshots, found, strict=True)):
        if not basins:
            continue
        history = np.array([b.membership for b in basins]) @ totals[: k + AHEAD + 1].T
        before = found[k - 1] if k else ()
        known = _features(k, snapshot, basins, before, tracking, history[:, : k + 1], seen[: k + 1])
        came = np.where(seen[k + 1 : k + AHEAD + 1], history[:, k + 1 :], np.nan)
        parts.append(pd.DataFrame(known | _labels(known, came, large)))
    if not parts:
        return pd.DataFrame(columns=columns, dtype=float)
    return pd.concat(parts, ignore_index=True)[columns]


def _features(
    k: int,
    snapshot: Snapshot,
    basins: Sequence[Basin],
    before: Sequence[Basin],
    tracking: Tracking,
    history: Array,
    seen: NDArray[np.bool_],
) -> dict[str, Any]:
    """Columns of a window's rows; ``history`` (B, k + 1) are the shares in each region up to now."""
    grain = 1 / max(snapshot.effective_posts, 1.0)
    tracks = [tracking.track_of(k, b.id) for b in basins]
    known = history[:, seen]  # windows without posts of their own say nothing
    share = known[:, -1] if seen.any() else np.zeros(len(basins))
    quarters = _quarters(snapshot, basins)
    halves, rest = quarters[:, :2].mean(axis=1), quarters[:, :3].mean(axis=1)
    past = np.log(known + grain)
    change, change_before = (past[:, -n] - past[:, -n - 1] if n < past.shape[1] else 0.0 for n in (1, 2))
    barrier = [np.log(b.peak / b.saddle) if b.saddle > 0 else BARRIER_CAP for b in basins]
    spread = share.std()
    return {
        "window": k,
        "basin": [b.id for b in basins],
        "track": tracks,
        "share": share,
        "grain": grain,
        "age": np.array([k - tracking.tracks[track].birth + 1.0 for track in tracks]),
        "log_share": np.log(share + grain),
        "change": change,
        "change_before": change_before,
        "trend": np.log((quarters[:, 2:].mean(axis=1) + grain) / (halves + grain)),
        "late": np.log((quarters[:, 3] + grain) / (rest + grain)),
        "probability": [b.probability for b in basins],
        "barrier": np.clip(barrier, 0, BARRIER_CAP),
        "log_mass": np.log([b.mass for b in basins]),
        "speed": _speeds(k, basins, before, tracking),
        "basins": float(len(basins)),
        "z_share": (share - share.mean()) / spread if spread > 0 else np.zeros(len(basins)),
    }


def _quarters(snapshot: Snapshot, basins: Sequence[Basin]) -> Array:
    """(B, 4) share of the window's own posts of each quarter that falls in each region; 0 in empty quarters."""
    window, posts, cells = snapshot.window, snapshot.posts, snapshot.space.partition
    quarter = np.floor(4 * (posts.t - window.start) / window.duration)
    sums = [cells.sums(snapshot.cell[quarter == q], snapshot.own[quarter == q]) for q in range(4)]
    totals = np.array([s / (s.sum() or 1.0) for s in sums])
    return np.asarray(np.array([b.membership for b in basins]) @ totals.T)


def _speeds(k: int, basins: Sequence[Basin], before: Sequence[Basin], tracking: Tracking) -> Array:
    """(B,) how fast each centre moved since the window before, map units per day; 0 for basins that are new."""
    was = {tracking.track_of(k - 1, b.id): b for b in before}
    speeds = np.zeros(len(basins))
    for i, basin in enumerate(basins):
        if (old := was.get(tracking.track_of(k, basin.id))) is not None:
            speeds[i] = np.linalg.norm(basin.centre - old.centre) / (basin.window.end - old.window.end)
    return speeds


def _labels(known: dict[str, Any], came: Array, large: float) -> dict[str, Any]:
    """Columns of labels from the shares (B, ≤ AHEAD) that then fell in the regions."""
    share, after = known["share"], np.full((len(came), AHEAD), np.nan)
    after[:, : came.shape[1]] = came
    unknown = np.isnan(after[:, 0])
    lasts = np.where(np.isnan(after).any(axis=1) | np.isnan(large), np.nan, (after >= large).sum(axis=1) >= SPELL)
    return {
        "next_share": after[:, 0],
        "continues": np.where(unknown, np.nan, (after[:, 0] >= CONTINUES * share) & (after[:, 0] > 0)),
        "grows": np.where(unknown, np.nan, after[:, 0] > share),
        "lasts": lasts,
        "sustained": np.where(known["age"] > FLEDGLING, np.nan, lasts),
    }


# -- forecasts -----------------------------------------------------------------------------------------------------


@one_blas_thread
def predict(
    table: pd.DataFrame,
    first: int,
    *,
    seed: int,
    models: Sequence[str] = ("logistic", "boosting"),
    progress: Progress | None = None,
) -> Predictions:
    """Forecasts for every basin of every window from ``first`` on, the last one included, each from the past only.

    A forecast made at the end of window t comes from a model fitted to rows whose outcome was known by then. Family,
    hyperparameters and blend were chosen by forward chaining on outcomes known at the end of window ``first``.

    Parameters
    ----------
    table : of :func:`examples`
    first : index of the first window to forecast from: the last training window
    seed : of the boosted trees
    models : families to choose from, keys of ``GRIDS``; logistic alone is many times faster
    progress : told of every target that is forecast

    Returns
    -------
    the table holds ``window``, ``basin``, ``track``, ``share``, ``next_share``, ``continues``, ``grows``,
    ``sustained``; ``p_continue`` beside ``p_base`` and ``p_persist``, ``p_grow`` beside ``p_grow_base`` and
    ``p_grow_persist``, ``p_sustained`` (of fledglings) beside ``p_sustained_base`` and ``p_sustained_persist``;
    ``expected_share`` with the 90 % interval ``low`` to ``high``; ``remark``: where a forecast is the base rate, and
    why

    Raises
    ------
    ValueError
        if there is no such family
    """
    import pandas as pd

    if not models or any(family not in GRIDS for family in models):
        raise ValueError(f"no models {', '.join(models) or '(none)'}; there are: {', '.join(GRIDS)}")
    window, features = table["window"].to_numpy(dtype=np.int64), table[list(FEATURES)].to_numpy(dtype=float)
    windows = range(first, int(window.max(initial=-1)) + 1)
    columns: dict[str, Any] = {}
    tried: list[dict[str, Any]] = []
    for done, (target, (label, prefix, lag)) in enumerate(TARGETS.items(), start=1):
        chain = Chain(features, table[label].to_numpy(dtype=float), window, lag, seed)
        choice, rows = chain.choose(models, first)
        forecasts, why = chain.forecasts(choice, windows)
        last_change = replace(chain, features=table[["change"]].to_numpy(dtype=float), _fits={})
        columns[f"p_{target}"] = forecasts
        columns[f"{prefix}_base"] = chain.base_rates(windows)
        columns[f"{prefix}_persist"], _ = last_change.forecasts(PERSISTENCE, windows)
        if target == "continue":
            columns["remark"] = why
        elif target == "sustained":
            for name in (f"p_{target}", f"{prefix}_base", f"{prefix}_persist"):
                columns[name] = np.where(table["age"] <= FLEDGLING, columns[name], np.nan)
        tried += [{"target": target, **row} for row in rows]
        if progress is not None:
            progress("forecasts", done, len(TARGETS) + 1)
    sizes, rows = _sizes(table, features, window, models, first, seed)
    tried += [{"target": "size", **row} for row in rows]
    kept = ["window", "basin", "track", "share", "next_share", "continues", "grows", "sustained"]
    out = pd.concat([table[kept], pd.DataFrame(columns | sizes, index=table.index)], axis=1)
    return Predictions(out[window >= first].reset_index(drop=True), pd.DataFrame(tried))


def _sizes(
    table: pd.DataFrame, features: Array, window: NDArray[np.int64], models: Sequence[str], first: int, seed: int
) -> tuple[dict[str, Array], list[dict[str, Any]]]:
    """Columns ``expected_share``, ``low`` and ``high``.

    The change is expected as a multiple of the share, fitted and judged by squared errors of shares: an expectation.
    The interval is split conformal [1]_: ranks of the errors, in shares of the share, that such forecasts had before.
    """
    share, following, grain = (table[name].to_numpy(dtype=float) for name in ("share", "next_share", "grain"))
    scale = share + grain
    chain = Chain(features, (following - share) / scale, window, 1, seed, weight=scale**2)
    choice, rows = chain.choose(models, first)
    windows = range(first, int(window.max(initial=-1)) + 1)
    change, _ = chain.forecasts(choice, windows)
    spread = np.full((len(table), 2), np.nan)
    for t in windows:
        errors = np.sort(chain.errors(choice, t))
        if (n := len(errors)) >= ENOUGH:
            below, above = math.floor((n + 1) * (1 - COVERAGE) / 2), math.ceil((n + 1) * (1 + COVERAGE) / 2)
            spread[window == t] = min(errors[below - 1], 0.0), max(errors[above - 1], 0.0)
    sizes = [np.clip(share + scale * value, 0, 1) for value in (change, *(change[:, None] + spread).T)]
    return dict(zip(("expected_share", "low", "high"), sizes, strict=True)), rows


def coefficients(table: pd.DataFrame) -> pd.DataFrame:
    """What speaks for continuing, and how surely: a logistic regression of ``continues``, without penalty.

    Intervals are robust to rows of one track being alike (clustered by track).

    Parameters
    ----------
    table : of :func:`examples`

    Returns
    -------
    a row per feature and one of the intercept: ``feature``, ``coefficient`` (change of the log odds per standard
    deviation of the feature) with its 95 % interval ``low`` to ``high``, ``p_value``. NaN where a feature does not vary
    or is a sum of the others; in all rows where too few continued or did not, or the features part all that continued
    from all that did not, so that coefficients without penalty are infinite
    """
    import pandas as pd
    from statsmodels.discrete.discrete_model import Logit
    from statsmodels.tools.sm_exceptions import ConvergenceWarning, PerfectSeparationError, PerfectSeparationWarning

    known = table[table[["continues", *FEATURES]].notna().all(axis=1)]
    y, x = known["continues"].to_numpy(dtype=float), known[list(FEATURES)].to_numpy(dtype=float)
    out = pd.DataFrame({"feature": ["intercept", *FEATURES]})
    out[["coefficient", "low", "high", "p_value"]] = np.nan
    if len(y) < ENOUGH or min(y.sum(), len(y) - y.sum()) < OF_EACH:
        return out
    spread = x.std(axis=0)
    z = np.column_stack([np.ones(len(x)), (x - x.mean(axis=0)) / np.where(spread > 0, spread, 1)])
    used = _independent(z)
    separated = (ConvergenceWarning, PerfectSeparationWarning, RuntimeWarning)
    tracks = known["track"].to_numpy()
    try:
        with warnings.catch_warnings():
            for kind in separated:
                warnings.simplefilter("error", kind)
            fit = Logit(y, z[:, used]).fit(disp=0, cov_type="cluster", cov_kwds={"groups": tracks})
    except (*separated, PerfectSeparationError, np.linalg.LinAlgError):
        return out
    out.loc[used, "coefficient"], out.loc[used, "p_value"] = fit.params, fit.pvalues
    out.loc[used, ["low", "high"]] = fit.conf_int()
    return out


def _independent(z: Array) -> NDArray[np.bool_]:
    """(F,) which columns are not (nearly) linear combinations of those before them."""
    used = np.zeros(z.shape[1], dtype=bool)
    for column in range(z.shape[1]):
        rest = z[:, column] - z[:, used] @ np.linalg.lstsq(z[:, used], z[:, column])[0] if used.any() else z[:, column]
        used[column] = np.linalg.norm(rest) > COLLINEAR * np.sqrt(len(z))
    return used
