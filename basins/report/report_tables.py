"""The tables that a report shows, as columns and rows of text, and what their columns mean."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from basins.measures import MEASURES
from basins.report.verdict import called, current_forecasts, formed_from, newest
from stpp.events import Events
from stpp.reports.words import chance_of, in_percent, number, p_value, some

if TYPE_CHECKING:
    import pandas as pd

    from basins.analysis import Analysis

HEADERS: dict[str, str] = {
    "posts": "posts",
    "share": "share",
    "probability": "exists",
    "barrier": "barrier",
    "escape_time": "escape time",
    "conductance": "conductance",
    "markov_stability": "Markov stability",
    "spectral_gap": "spectral gap",
    "escape_rate": "escape rate per day",
    "branching_inside": "branching inside",
    "branching_across": "branching across",
    "inward_fraction": "inward replies",
    "circularity": "circularity",
    "lyapunov_probability": "Lyapunov probability",
}
"""Column of the measures → header in the table of a window."""

SCORES: dict[str, str] = {
    "cases": "forecasts of going on whose outcome is known",
    "auroc": "of going on: chance that a basin that went on had been given a higher probability than one that did "
    "not; 0.5 = guessing, 1 = always",
    "brier": "of going on: mean squared difference between probability and what came (0 or 1); 0 = perfect",
    "log_loss": "of going on: mean of −log of the probability of what came; 0 = perfect",
    "calibration_error": "of going on: by how much probabilities differ from how often it came; 0 = none",
    "direction_accuracy": "share of cases in which growing or not was foretold rightly; growing is foretold from 50 %",
    "direction_f1": "harmonic mean of how many of those that grew were foretold, and how many foretold ones grew; "
    "1 = all",
    "direction_auroc": "the same as auroc, of growing",
    "direction_brier": "the same as brier, of growing",
    "sustained_cases": "forecasts of lasting, of young basins, whose outcome is known",
    "sustained_auroc": "the same as auroc, of lasting",
    "sustained_brier": "the same as brier, of lasting",
    "precision_at_10": "of the tenth of young basins likeliest to last, the share that did",
    "lift_at_10": "how much of the way from picking at random to picking without fault that is: 0 = random, 1 = "
    "faultless, below 0 = worse than random",
    "precision_at_20": "the same as precision at 10 %, of the likeliest fifth",
    "lift_at_20": "the same as lift at 10 %, of the likeliest fifth",
    "size_mae": "mean difference between expected and real share",
    "size_rmse": "root of the mean squared difference between expected and real share",
    "size_coverage": "how often the real share fell in the interval given for it, which should be 90 %",
}
"""Score → what it says."""

FEATURES: dict[str, str] = {
    "age": "windows that it has lived for",
    "log_share": "log of its region's share",
    "change": "change of that since the window before",
    "change_before": "change of that a window earlier",
    "trend": "log of its share in the window's second half over the first",
    "late": "log of its share in the window's last quarter over the rest",
    "probability": "share of replicates in which it exists",
    "barrier": "barrier",
    "log_mass": "log of its posts",
    "speed": "speed of its centre",
    "basins": "number of basins in the window",
    "z_share": "its share among theirs",
}
"""What forecasts go by → what it is."""

STATISTICS: dict[str, str] = {
    "persistent basins": "basins that live for half of the windows or more",
    "mean lifetime": "windows that a basin lives for, on average",
    "stability": "mean overlap of a basin with itself a window later: 0 = none, 1 = the same place",
    "births and deaths": "how many basins appear after the first window, and how many disappear before the last",
    "largest change": "the largest change of all basins",
    "largest trend": "the clearest trend of all basins, in standard errors",
    "continuation AUROC": "auroc of forecasts of going on, by logistic regression alone; the forecasts of this report "
    "add boosted trees",
}
"""Statistic of the whole analysis → what it says."""

MEANING: dict[str, str] = {
    "basin": "a region of the map that gathers posts, with the number that it keeps through all windows and its name: "
    "the words most typical of its posts, or where it lies.",
    "share": "of the window's posts, by weight.",
    "exists": "share of bootstrap replicates of the window (its posts drawn again at random) in which the basin is "
    "found again; “at best”: the highest over its windows.",
    "birth, death": "the first window in which a basin is found; the first in which it is no longer. It merges if most "
    "of its posts lie in another basin then, and splits off if most lay in another one before; a new one into which "
    "others merge is formed from them.",
    "goes on": "probability that half of its share or more falls in its region in the next window too.",
    "expected share": "with the interval that it falls into in 90 % of cases.",
    "grows": "probability that its region's share is larger in the next window than now.",
    "lasts": "asked of basins in their first or second window: probability that their region's share is large in two "
    "or more of the next three windows; large = more than half of all basins had while learning.",
    "base rate, persistence": "two simple rules: always say how often it came so far; judge by the basin's last change "
    "alone, and expect the share that it has now.",
    "change": "how much the posts in its region vary between windows, compared with the typical region and relative to "
    "how much they vary within windows: about 1 = no more than that.",
    "trend": "of the posts in its region over all windows, compared with the typical region, per week, with its 95 % "
    "interval; said to grow or shrink only where change and trend are beyond chance.",
    "p": "how often null worlds, in which chance alone is at work, show as much as the data or more; the data count as "
    "one of them, so that B worlds cannot give less than 1 / (B + 1). In the table of the whole analysis it asks for "
    "more than chance only: near 1 means less than chance (fewer, shorter, less stable).",
}
"""What the columns say; measures, scores and statistics have lists of their own."""

Table = dict[str, Any]
"""``columns`` (texts) and ``rows`` (lists of texts)."""


def meanings(analysis: Analysis) -> list[tuple[str, str]]:
    """Everything that the report speaks of, and what it is."""
    out = [*MEANING.items(), *((HEADERS[name], f"{text}.") for name, text in MEASURES.items())]
    if len(analysis.tests):
        out += [(name, f"{text}.") for name, text in STATISTICS.items() if name in set(analysis.tests["statistic"])]
    return out + [(_score_name(name), f"{text}.") for name, text in SCORES.items() if name in analysis.scores]


def window_table(analysis: Analysis, k: int) -> Table:
    """The basins of a window and what is known of their strength; columns that are empty are left out."""
    every: list[Any] = analysis.measures.to_dict("records")
    rows = [row for row in every if row["window"] == k]
    columns = [name for name in HEADERS if any(not math.isnan(row.get(name, math.nan)) for row in rows)]
    cells = [[called(analysis, int(row["track"])), *(_cell(name, row) for name in columns)] for row in rows]
    return {"columns": ["basin", *(HEADERS[name] for name in columns)], "rows": cells}


def _cell(name: str, row: Mapping[str, Any]) -> str:
    value = float(row[name])
    if name == "posts":
        return f"{value:,.0f}"
    percent = name in ("share", "probability", "inward_fraction", "lyapunov_probability")
    show = in_percent if percent else number
    low, high = (float(row.get(f"{name}_{end}", math.nan)) for end in ("low", "high"))
    if math.isnan(value) or math.isnan(low):
        return show(value)
    return f"{show(value)} [{show(low)}, {show(high)}]"


def _p(value: float, worlds: float) -> str:
    return "–" if math.isnan(value) else p_value(value, worlds).removeprefix("= ")


def forecast_table(analysis: Analysis) -> Table:
    """What is expected of the basins of the newest window."""
    rows, cells = current_forecasts(analysis), []
    for track in [track for track in newest(analysis) if track in rows]:
        row = rows[track]
        expected = "–"
        if math.isfinite(row["expected_share"]):
            low, high = in_percent(row["low"]), in_percent(row["high"])
            expected = f"{in_percent(row['expected_share'])} [{low}, {high}]"
        chances = [chance_of(row[name]) for name in ("p_continue", "p_grow", "p_sustained")]
        cells.append([called(analysis, track), in_percent(row["share"]), chances[0], expected, *chances[1:]])
    return {"columns": ["basin", "share now", "goes on", "expected share", "grows", "lasts (if young)"], "rows": cells}


def score_table(analysis: Analysis) -> Table:
    """Scores, their 95 % intervals where these were made, and those of the simple rules beside them."""
    scores, ends = analysis.scores, ("_base", "_persist")
    known: list[Any] = analysis.score_intervals.to_dict("records")
    between = {str(row["score"]): row for row in known}
    rows = []
    for name in [name for name in scores if not name.endswith(ends) and math.isfinite(scores[name])]:
        rules = [number(scores.get(name + end, math.nan)) for end in ends]
        interval = [_interval(between.get(name))] if between else []
        rows.append([_score_name(name), number(scores[name]), *interval, *rules])
    interval = ["95 % interval"] if between else []
    return {"columns": ["score", "forecasts", *interval, "base rate", "persistence"], "rows": rows}


def _score_name(name: str) -> str:
    shown = name.replace("_", " ")
    return f"{shown} %" if shown.endswith((" 10", " 20")) else shown


def _interval(row: Mapping[str, Any] | None) -> str:
    if row is None or not math.isfinite(row["low"]) or row["score"].endswith("cases"):
        return "–"
    return f"[{number(row['low'])}, {number(row['high'])}]"


def coefficient_table(table: pd.DataFrame) -> Table:
    """What speaks for going on (above 0) and against it: the coefficients that are known."""
    rows = [
        [
            FEATURES.get(row["feature"], str(row["feature"])),
            f"{number(row['coefficient'])} [{number(row['low'])}, {number(row['high'])}]",
            f"{row['p_value']:.2g}",
        ]
        for row in table.to_dict("records")
        if math.isfinite(row["coefficient"])
    ]
    return {"columns": ["feature", "log odds per standard deviation", "p"], "rows": rows}


def significance_table(analysis: Analysis) -> Table:
    """Every basin through time: whether it changes, and whether that is more than chance."""
    worlds = float(analysis.tests["B"].iloc[0]) if len(analysis.tests) else 0.0
    rows: list[Any] = analysis.significance.to_dict("records")
    cells = []
    for row in rows:
        p = [_p(float(row[name]), worlds) for name in ("change_p", "trend_p_adjusted")]
        numbers = [f"{row['windows']:.0f}", chance_of(row["probability"]), number(float(row["change"])), p[0]]
        cells.append([called(analysis, int(row["track"])), str(row["verdict"]), *numbers, _trend(row), p[1]])
    columns = ["basin", "verdict", "windows", "exists at best", "change", "p of change", "trend a week", "p of trend"]
    return {"columns": columns, "rows": cells}


def _trend(row: Mapping[str, Any]) -> str:
    """The slope where it is more than chance; else only the interval."""
    slope, low, high = (float(row[f"trend_{name}"]) for name in ("slope", "low", "high"))
    if not math.isfinite(slope):
        return "not known"
    between = f"[{_per_week(low)}, {_per_week(high)}]"
    if row["trend_p_adjusted"] <= 0.05 and str(row["verdict"]).startswith(("grows", "shrinks")):
        return f"{'grows' if slope > 0 else 'shrinks'} by {_per_week(slope).strip('+−')} {between}"
    return f"{'not tested' if math.isnan(row['trend_p_adjusted']) else 'no trend shown'} {between}"


def _per_week(slope: float) -> str:
    """A slope of the log as percent."""
    by = 100 * math.expm1(min(slope, 700.0))
    if abs(by) < 0.5:
        return "0 %"
    return "> +999 %" if by >= 999.5 else f"{by:+.0f} %".replace("-", "−")


def test_table(tests: pd.DataFrame) -> Table:
    """The whole analysis as numbers, on the data and on null worlds."""
    rows = [
        [
            str(row["statistic"]),
            str(row["null"]),
            number(float(row["observed"])),
            f"{number(float(row['null_mean']))} ± {number(float(row['null_sd']))}",
            _p(float(row["p_value"]), float(row["B"])),
            f"{row['B']:.0f}",
        ]
        for row in tests.to_dict("records")
    ]
    return {"columns": ["statistic", "null", "observed", "null worlds", "p of more", "worlds"], "rows": rows}


def track_table(analysis: Analysis, events: Events) -> Table:
    """Every basin from its first window to its last."""
    cells = []
    for track in analysis.tracking.tracks:
        shares = [analysis.found[k].basins[b].share for k, b in track.basins]
        first, last = (f"{events.date(analysis.windows[track.basins[k][0]].start):%Y-%m-%d}" for k in (0, -1))
        origins = [("split from", track.parents), ("formed from", formed_from(analysis, track))]
        fate = [f"{how} {some(called(analysis, one) for one in those)}" for how, those in origins if those]
        fate.append("lives" if track.death is None else "gone")
        if track.heir is not None:
            fate[-1] = f"merged into {called(analysis, track.heir)}"
        cells.append(
            [called(analysis, track.id), first, last, f"{len(shares)}", in_percent(max(shares)), "; ".join(fate)]
        )
    return {"columns": ["basin", "first window", "last window", "windows", "largest share", "fate"], "rows": cells}
