"""The report on basins: one HTML page, the same in Markdown, its tables as CSV; and what the terminal shows."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from basins.report.report_pictures import calibration_picture, lifecycle_picture, map_picture, windows_picture
from basins.report.report_tables import (
    coefficient_table,
    forecast_table,
    meanings,
    score_table,
    significance_table,
    test_table,
    track_table,
    window_table,
)
from basins.report.tables import track_rows
from basins.report.trust import against_rules
from basins.report.verdict import called, counted, current_forecasts, last_with_basins, tracks_of, verdict, when
from stpp.dates import in_words
from stpp.events import Events
from stpp.files.jsonable import jsonable
from stpp.ingest.columns import texts_of
from stpp.maps.links import address
from stpp.reports.pages import write_pages
from stpp.reports.words import number

if TYPE_CHECKING:
    from basins.analysis import Analysis

QUOTED, QUOTE = 3, 120
"""Posts quoted per basin, and their characters, at most."""

AUROC = {"these forecasts": "", "base rate": "_base", "persistence": "_persist"}
"""Who forecasts → ending of its score."""


def write_report(
    analysis: Analysis, events: Events, directory: Path, *, texts: bool = False, linked: bool = False
) -> Path:
    """Write ``report.html`` (one page, its pictures inside) and ``report.md`` with its pictures.

    The same analysis gives the same bytes.

    Parameters
    ----------
    analysis : of all windows
    events : give dates, names of axes and, where quoted, texts
    directory : exists
    texts : quote the posts nearest to the peaks
    linked : a map of these windows, ``map.html``, lies beside it

    Returns
    -------
    the path of ``report.html``
    """
    return write_pages(directory, Path(__file__).parent, _content(analysis, events, texts, linked))


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
    return jsonable(known)  # type: ignore[no-any-return]


def lines(analysis: Analysis) -> list[str]:
    """What the terminal shows: the sentences, and the newest window as a table."""
    table = window_table(analysis, len(analysis.windows) - 1)
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


def _content(analysis: Analysis, events: Events, texts: bool, linked: bool) -> dict[str, Any]:
    last, shown = len(analysis.windows) - 1, last_with_basins(analysis)
    on_map = [[(f"{when(analysis, k, events)} on the map", address(k))] if linked else [] for k in range(last + 1)]
    older = [
        {"title": f"{when(analysis, k, events)}: {counted(analysis, k)}", "links": on_map[k]}
        | window_table(analysis, k)
        for k in range(last - 1, -1, -1)
    ]
    earlier = shown if shown is not None and shown < last else None
    return {
        "title": analysis.title,
        "verdict": verdict(analysis, events),
        "whole_map": [("Open the map of all windows", address())] if linked else [],
        "lifecycle": lifecycle_picture(analysis, events),
        "newest": window_table(analysis, last),
        "map": map_picture(analysis, last, events),
        "newest_on_map": on_map[last],
        "earlier": None if earlier is None else older[last - 1 - earlier],
        "earlier_map": None if earlier is None else map_picture(analysis, earlier, events),
        "quotes": _quotes(analysis, events, shown) if texts and shown is not None else [],
        "forecasts": forecast_table(analysis),
        "forecast_notes": _forecast_notes(analysis),
        "calibration": calibration_picture(analysis),
        "chance_notes": _chance_notes(analysis),
        "significance": significance_table(analysis),
        "tests": test_table(analysis.tests),
        "influence": _influence(analysis),
        "maps": windows_picture(analysis, events),
        "tracks": track_table(analysis, events),
        "older": older,
        "scores": score_table(analysis),
        "coefficients": coefficient_table(analysis.coefficients),
        "meaning": meanings(analysis),
        "setup": _setup(analysis, events),
    }


def _forecast_notes(analysis: Analysis) -> list[str]:
    rows = current_forecasts(analysis)
    if not rows:
        return ["No forecast: the newest window has no basin."]
    notes = [said for said in dict.fromkeys(str(row.get("remark", "")) for row in rows.values()) if said]
    trust = against_rules(analysis)
    if trust:
        trust[0] = f"How far to trust it: {trust[0][0].lower()}{trust[0][1:]}"
    auroc = {rule: analysis.scores.get(f"auroc{end}", math.nan) for rule, end in AUROC.items()}
    if all(map(math.isfinite, auroc.values())):
        told = ", ".join(f"{rule} {number(value)}" for rule, value in auroc.items())
        trust.append(f"How well they tell basins that go on from those that do not (AUROC, 0.5 = guessing): {told}.")
    return [*notes, *trust, "Each forecast uses posts up to its own time only."]


def _chance_notes(analysis: Analysis) -> list[str]:
    if not len(analysis.tests):
        return ["Nothing here was held against chance: -B 19 tests it, with 19 null worlds."]
    worlds = int(analysis.tests["B"].iloc[0])
    return [
        "p of a change (of a trend): share of null worlds, the data among them, in which any basin changes as much "
        "(has as clear a trend). It holds for all basins together: 0.05 is one chance in twenty of any false alarm.",
        f"≤ {1 / (worlds + 1):.2g} is the least that {worlds} worlds can give.",
        "p of the whole analysis asks for more than chance only: near 1 means less than chance, such as fewer basins, "
        "shorter lives, less stable places.",
    ]


def _influence(analysis: Analysis) -> list[str]:
    """The certain influences as sentences."""
    graph = analysis.influence
    if graph is None:
        return []
    names = {node: str(data.get("name", node)) for node, data in graph.nodes(data=True)}
    told = [
        f"{names[source]} {data['kind']} {names[target] if target != source else 'itself'}: "
        f"{number(data['offspring'])} posts there per post [{number(data['low'])}, {number(data['high'])}]"
        for source, target, data in graph.edges(data=True)
    ]
    return told or ["No basin is shown to excite or to inhibit another, or itself."]


def _quotes(analysis: Analysis, events: Events, k: int) -> list[tuple[str, list[str]]]:
    """Basin → the beginnings of the posts nearest to its peak in a window, no text twice."""
    texts = texts_of(events)
    if texts is None:
        return []
    out = []
    for track, basin in zip(tracks_of(analysis, k), analysis.found[k].basins, strict=True):
        posts = dict.fromkeys(" ".join(texts[row].split()) for row in basin.members)
        short = [post if len(post) <= QUOTE else f"{post[: QUOTE - 1]}…" for post in posts if post]
        out.append((called(analysis, track), short[:QUOTED]))
    return out


def _setup(analysis: Analysis, events: Events) -> list[str]:
    """How it was done, one line each."""
    space, n, windows = analysis.finder.fixed, len(analysis.windows), analysis.windows
    cells, box = space.partition, space.partition.box
    what = "landmarks" if cells.grid is None else "cells, " + " × ".join(map(str, cells.grid.shape))
    sides = [f"{name} [{lo:.4g}, {hi:.4g}]" for name, lo, hi in zip(events.axes, box.low, box.high, strict=True)]
    first, last = np.searchsorted(events.t, [windows[0].start, windows[-1].end])
    inside = int(box.contains(events.x[first:last]).sum())
    return [
        f"method {analysis.method}: {analysis.finder.summary_line}; {analysis.finder.replicates} bootstrap replicates "
        "per window",
        f"{n} windows of {in_words(round(windows[0].duration, 6))} from {events.date(windows[0].start):%Y-%m-%d %H:%M} "
        f"to {events.date(windows[-1].end):%Y-%m-%d %H:%M} (UTC; the end is not in it); the first {analysis.training} "
        "for learning",
        f"{last - first:,} of {len(events):,} posts lie in these windows; {inside:,} of them in the domain "
        f"{' × '.join(sides)} (map units), and the {last - first - inside:,} outside of it are not looked at",
        f"{len(cells):,} {what}; bandwidth of densities {space.bandwidth:.3g} map units; all fixed on the training "
        "windows",
        "what is found and forecast at the end of a window rests on posts before it only, with two exceptions: names "
        "are the words of a basin's whole life, later windows too; and where a map was fitted to all posts, as UMAP "
        "maps mostly are, the coordinates themselves know what comes later",
        *analysis.remarks,
    ]
