"""The report on basins: one HTML page, the same in Markdown, its tables as CSV; and what the terminal shows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from basins.measures import MEASURES, Trend
from basins.pictures import when
from basins.report_pictures import calibration_picture, lifecycle_picture, map_picture, windows_picture
from basins.tables import track_rows, write_tables
from basins.verdict import called, chance_of, current_forecasts, in_percent, newest, some, verdict
from stpp.columns import in_words, texts_of
from stpp.events import Events
from stpp.pages import write_pages

if TYPE_CHECKING:
    import pandas as pd

    from basins.analysis import Analysis

QUOTED, QUOTE = 3, 120
"""Posts quoted per basin, and their characters, at most."""

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

MEANING: dict[str, str] = {
    "basin": "a region of the map that gathers posts, with the number that it keeps through all windows and its name: "
    "the words most typical of its posts, or where it lies.",
    "share": "of the window's posts, by weight.",
    "exists": "share of bootstrap replicates of the window in which the basin is found again.",
    "goes on": "probability that half of its share or more falls in its region in the next window too.",
    "expected share": "with the interval that it falls into in 90 % of cases.",
    "change": "how much its region's share varies between windows, relative to what independent posts would give: 1 = "
    "no more than that.",
    "trend": "of the share in its region over all windows, per week; said to grow or shrink only where the 95 % "
    "interval excludes no change.",
}
"""What the columns say; those of the measures are added."""


def write_report(analysis: Analysis, events: Events, directory: Path, *, texts: bool = False) -> Path:
    """Write ``report.html`` (one page, its pictures inside), ``report.md`` with its pictures, and the tables as CSV.

    The same analysis gives the same bytes.

    Parameters
    ----------
    analysis : of all windows
    events : give dates, names of axes and, where quoted, texts
    directory : exists
    texts : quote the most central posts

    Returns
    -------
    the path of ``report.html``
    """
    write_tables(analysis, events, directory)
    return write_pages(directory, Path(__file__).parent, _content(analysis, events, texts))


def to_json_dict(analysis: Analysis) -> dict[str, Any]:
    """Windows with their basins, tracks, scores, forecasts and remarks, as JSON values; what is not known is None."""
    measures, windows = analysis.measures, []
    axes = analysis.snapshots[0].posts.axes
    dropped = {"window", "basin", "track", "start", "end", *(f"centre_{axis}" for axis in axes)}
    for k, (window, snapshot) in enumerate(zip(analysis.windows, analysis.snapshots, strict=True)):
        rows = measures[measures["window"] == k].to_dict("records") if len(measures) else []
        found = [
            {
                "id": int(row["basin"]),
                "track": int(row["track"]),
                "name": analysis.names[int(row["track"])].text,
                "centre": [row[f"centre_{axis}"] for axis in axes],
                **{name: value for name, value in row.items() if name not in dropped},
            }
            for row in rows
        ]
        windows.append({"start": window.start, "end": window.end, "posts": len(snapshot.posts), "basins": found})
    known: dict[str, Any] = {
        "method": analysis.method,
        "windows": windows,
        "tracks": track_rows(analysis),
        "scores": dict(analysis.scores),
        "forecasts": analysis.forecasts.to_dict("records"),
        "tests": analysis.tests.to_dict("records"),
        "remarks": list(analysis.remarks),
    }
    return _plain(known)  # type: ignore[no-any-return]


def lines(analysis: Analysis) -> list[str]:
    """What the terminal shows: the sentences, and the newest window as a table."""
    table = _window_table(analysis, len(analysis.windows) - 1)
    out = verdict(analysis)
    if table["rows"]:
        rows = [table["columns"], *table["rows"]]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        out.append("")
        for first, *rest in rows:
            cells = [cell.rjust(width) for cell, width in zip(rest, widths[1:], strict=True)]
            out.append("  ".join([first.ljust(widths[0]), *cells]).rstrip())
    return [*out, *(["", *analysis.remarks] if analysis.remarks else [])]


# -- what the pages show ------------------------------------------------------------------------------------------


def _content(analysis: Analysis, events: Events, texts: bool) -> dict[str, Any]:
    last = len(analysis.windows) - 1
    older = [
        {"title": f"{when(analysis, k, events)}: {_remark(analysis, k)}"} | _window_table(analysis, k)
        for k in range(last - 1, -1, -1)
    ]
    return {
        "title": analysis.title,
        "verdict": verdict(analysis, events),
        "lifecycle": lifecycle_picture(analysis, events),
        "newest": _window_table(analysis, last),
        "map": map_picture(analysis, last, events),
        "quotes": _quotes(analysis, events) if texts else [],
        "forecasts": _forecast_table(analysis),
        "forecast_notes": _forecast_notes(analysis),
        "scores": _score_table(analysis.scores),
        "calibration": calibration_picture(analysis),
        "chance_notes": _chance_notes(analysis),
        "significance": _significance_table(analysis),
        "tests": _test_table(analysis.tests),
        "influence": _influence(analysis),
        "maps": windows_picture(analysis, events),
        "tracks": _track_table(analysis, events),
        "older": older,
        "meaning": list(MEANING.items()) + [(HEADERS[name], text) for name, text in MEASURES.items()],
        "setup": _setup(analysis, events),
    }


def _window_table(analysis: Analysis, k: int) -> dict[str, Any]:
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
    if name in ("share", "probability", "inward_fraction", "lyapunov_probability"):
        text = in_percent(value)
    else:
        text = _number(value)
    low, high = (float(row.get(f"{name}_{end}", math.nan)) for end in ("low", "high"))
    if math.isnan(value) or math.isnan(low):
        return text
    return (
        f"{text} [{in_percent(low)}, {in_percent(high)}]"
        if text.endswith("%")
        else f"{text} [{_number(low)}, {_number(high)}]"
    )


def _number(value: float) -> str:
    """Three significant digits; a dash where nothing is known."""
    if math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _p(value: float) -> str:
    return "–" if math.isnan(value) else "< 0.001" if value < 0.001 else f"{value:.2g}"


def _forecast_table(analysis: Analysis) -> dict[str, Any]:
    rows, cells = current_forecasts(analysis), []
    for track in [track for track in newest(analysis) if track in rows]:
        row = rows[track]
        expected = "–"
        if math.isfinite(row["expected_share"]):
            low, high = in_percent(row["low"]), in_percent(row["high"])
            expected = f"{in_percent(row['expected_share'])} [{low}, {high}]"
        chances = [chance_of(row[name]) for name in ("p_continue", "p_grow", "p_sustained")]
        cells.append([called(analysis, track), in_percent(row["share"]), chances[0], expected, *chances[1:]])
    return {"columns": ["basin", "share now", "goes on", "expected share", "grows", "lasts (if new)"], "rows": cells}


def _forecast_notes(analysis: Analysis) -> list[str]:
    rows, scores = current_forecasts(analysis), analysis.scores
    if not rows:
        return ["No forecast: the newest window has no basin."]
    notes = [said for said in dict.fromkeys(str(row.get("remark", "")) for row in rows.values()) if said]
    if scores.get("cases") and math.isfinite(scores.get("brier", math.nan)):
        base = scores.get("brier_base", math.nan)
        better = "better than" if scores["brier"] < base else "no better than"
        notes.append(
            f"How far to trust it: {scores['cases']:,.0f} earlier forecasts of going on had a Brier score of "
            f"{scores['brier']:.3f} (0 = perfect), {better} always naming the base rate ({base:.3f})."
        )
    return [*notes, "Each forecast uses posts up to its own time only."]


def _score_table(scores: Mapping[str, float]) -> dict[str, Any]:
    """Scores with those of the baselines beside them."""
    names = [name for name in scores if not name.endswith(("_base", "_persist")) and math.isfinite(scores[name])]
    ends = ("", "_base", "_persist")
    rows = [[name.replace("_", " "), *(_number(scores.get(name + end, math.nan)) for end in ends)] for name in names]
    return {"columns": ["score", "forecasts", "base rate", "persistence"], "rows": rows}


def _chance_notes(analysis: Analysis) -> list[str]:
    if not len(analysis.tests):
        return ["No null worlds were simulated: changes and trends of single basins have no p-values here."]
    return [
        "p of a change (of a trend): share of null worlds, the data among them, in which any basin changes as much "
        "(has as clear a trend). It holds for all basins together: 0.05 is one chance in twenty of any false alarm."
    ]


def _significance_table(analysis: Analysis) -> dict[str, Any]:
    cells = []
    for row in analysis.significance.to_dict("records"):
        slope = Trend(*(float(row[f"trend_{name}"]) for name in ("slope", "low", "high", "r2", "p")))
        p = [_p(float(row[name])) for name in ("change_p", "trend_p_adjusted")]
        numbers = [f"{row['windows']:.0f}", chance_of(row["probability"]), _number(float(row["change"])), p[0]]
        cells.append([called(analysis, int(row["track"])), *numbers, str(slope), p[1], str(row["verdict"])])
    return {
        "columns": ["basin", "windows", "exists", "change", "p of change", "trend", "p of trend", "verdict"],
        "rows": cells,
    }


def _test_table(tests: pd.DataFrame) -> dict[str, Any]:
    columns = ["statistic", "null", "observed", "null worlds", "p", "worlds"]
    rows = [
        [
            str(row["statistic"]),
            str(row["null"]),
            _number(float(row["observed"])),
            f"{_number(float(row['null_mean']))} ± {_number(float(row['null_sd']))}",
            _p(float(row["p_value"])),
            f"{row['B']:.0f}",
        ]
        for row in tests.to_dict("records")
    ]
    return {"columns": columns, "rows": rows}


def _track_table(analysis: Analysis, events: Events) -> dict[str, Any]:
    cells = []
    for track in analysis.tracking.tracks:
        shares = [analysis.found[k].basins[b].share for k, b in track.basins]
        first, last = (f"{events.date(analysis.windows[track.basins[k][0]].start):%Y-%m-%d}" for k in (0, -1))
        origin = f"split from {some(called(analysis, t) for t in track.parents)}; " if track.parents else ""
        end = "lives" if track.death is None else "gone"
        if track.heir is not None:
            end = f"merged into {called(analysis, track.heir)}"
        cells.append(
            [called(analysis, track.id), first, last, f"{len(shares)}", in_percent(max(shares)), f"{origin}{end}"]
        )
    return {"columns": ["basin", "first window", "last window", "windows", "largest share", "fate"], "rows": cells}


def _influence(analysis: Analysis) -> list[str]:
    """The certain influences as sentences."""
    graph = analysis.influence
    if graph is None:
        return []
    names = {node: str(data.get("name", node)) for node, data in graph.nodes(data=True)}
    told = [
        f"{names[source]} {data['kind']} {names[target] if target != source else 'itself'}: "
        f"{_number(data['offspring'])} posts there per post [{_number(data['low'])}, {_number(data['high'])}]"
        for source, target, data in graph.edges(data=True)
    ]
    return told or ["No basin is shown to excite or to inhibit another, or itself."]


def _quotes(analysis: Analysis, events: Events) -> list[tuple[str, list[str]]]:
    """Basin → the beginnings of its most central posts of the newest window, no text twice."""
    texts = texts_of(events)
    if texts is None:
        return []
    out = []
    for track, basin in zip(newest(analysis), analysis.found[-1].basins, strict=True):
        posts = dict.fromkeys(" ".join(texts[row].split()) for row in basin.members)
        short = [post if len(post) <= QUOTE else f"{post[: QUOTE - 1]}…" for post in posts if post]
        out.append((called(analysis, track), short[:QUOTED]))
    return out


def _remark(analysis: Analysis, k: int) -> str:
    posts, basins = len(analysis.snapshots[k].posts), len(analysis.found[k].basins)
    return f"{posts:,} posts, {basins or 'no'} basin{'s' * (basins != 1)}"


def _setup(analysis: Analysis, events: Events) -> list[str]:
    """How it was done, one line each."""
    space, n, windows = analysis.finder.fixed, len(analysis.windows), analysis.windows
    cells, box = space.partition, space.partition.box
    what = "landmarks" if cells.grid is None else "cells, " + " × ".join(map(str, cells.grid.shape))
    sides = [f"{name} [{lo:.4g}, {hi:.4g}]" for name, lo, hi in zip(events.axes, box.low, box.high, strict=True)]
    kept = len(np.unique(np.concatenate([snapshot.rows for snapshot in analysis.snapshots])))
    return [
        f"method {analysis.method}: {analysis.finder.summary_line}; {analysis.finder.replicates} bootstrap replicates "
        "per window",
        f"{n} windows of {in_words(round(windows[0].duration, 6))} from {events.date(windows[0].start):%Y-%m-%d %H:%M} "
        f"to {events.date(windows[-1].end):%Y-%m-%d %H:%M} (UTC); the first {analysis.training} for learning",
        f"{kept:,} of {len(events):,} posts lie in these windows and in the domain {' × '.join(sides)} (map units)",
        f"{len(cells):,} {what}; bandwidth of densities {space.bandwidth:.3g} map units; all fixed on the training "
        "windows",
        "what is found and forecast at the end of a window rests on posts before it only",
        *analysis.remarks,
    ]


def _plain(value: Any) -> Any:
    """JSON values: numbers of Python's own, None for what is not finite."""
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(entry) for entry in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
