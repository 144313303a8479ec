"""What an analysis found, as files: tables as CSV, regions as NetCDF and, where there is one, a graph as GraphML."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from basins.report.colours import colours
from basins.report.regions_file import NAME, regions_of, write_regions
from stpp.events import Events
from stpp.files.outputs import new_file

if TYPE_CHECKING:
    import pandas as pd

    from basins.analysis import Analysis


def tables(analysis: Analysis) -> dict[str, pd.DataFrame]:
    """Tables by name.

    Returns
    -------
    ``basins`` (a row per basin and window), ``tracks`` (a row per basin through time), ``links``, ``forecasts``,
    ``significance``, ``tests``, ``coefficients``, ``score_intervals``, ``tuning_results``; tracks have names, and
    windows are counted from 0
    """
    import pandas as pd

    names = {track: name.text for track, name in analysis.names.items()}
    measures = analysis.measures
    if len(measures):
        measures = measures.assign(name=measures["track"].map(names))
    columns = ["id", "name", "place", "birth", "death", "windows", "parents", "heir", "largest_share", "colour"]
    shades = colours(analysis.tracking)
    tracks = [
        row | {"parents": " ".join(map(str, row["parents"])), "colour": shades[row["id"]]}
        for row in track_rows(analysis)
    ]
    kinds = {"birth": "Int64", "death": "Int64", "heir": "Int64"}
    link = ["window", "source", "target", "overlap", "distance", "score", "confidence", "kind"]
    links = [{name: getattr(one, name) for name in link} for one in analysis.tracking.links]
    return {
        "basins": measures,
        "tracks": pd.DataFrame(tracks, columns=columns).astype(kinds),
        "links": pd.DataFrame(links, columns=link),
        "forecasts": analysis.forecasts,
        "significance": analysis.significance,
        "tests": analysis.tests,
        "coefficients": analysis.coefficients,
        "score_intervals": analysis.score_intervals,
        "tuning_results": analysis.tuning,
    }


def track_rows(analysis: Analysis) -> list[dict[str, Any]]:
    """What became of each track: windows by their number, tracks by theirs, None where there is none."""
    return [
        {
            "id": track.id,
            "name": analysis.names[track.id].text,
            "place": analysis.names[track.id].place,
            "birth": track.birth,
            "death": track.death,
            "windows": len(track.basins),
            "parents": list(track.parents),
            "heir": track.heir,
            "largest_share": max(analysis.found[k].basins[b].share for k, b in track.basins),
        }
        for track in analysis.tracking.tracks
    ]


def write_tables(analysis: Analysis, events: Events, directory: Path) -> None:
    """Write every table that is not empty (``basins.csv`` and ``tracks.csv`` always), the regions, ``regions.nc``, and
    ``influence.graphml``.

    Parameters
    ----------
    analysis : of all windows
    events : give dates
    directory : exists
    """
    for name, table in tables(analysis).items():
        if not len(table.columns):
            continue
        dated = {side: [events.date(t).isoformat() for t in table[side]] for side in ("start", "end") if side in table}
        with new_file(directory / f"{name}.csv", force=True) as path:
            table.assign(**dated).to_csv(path, index=False)
    with new_file(directory / NAME, force=True) as path:
        write_regions(path, regions_of(analysis), events)
    if analysis.influence is not None:
        import networkx as nx

        with new_file(directory / "influence.graphml", force=True) as path:
            nx.write_graphml(analysis.influence, path)
