"""What a run of ``stpp basins`` brings to a map: its basins and their tracks, in whatever windows the map has."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from basins.report.regions_file import NAME, Regions, read_regions
from stpp.dates import in_words
from stpp.domain import Array, Grid
from stpp.maps.compose import MOST_VALUES
from stpp.maps.parts import Part, known_at
from stpp.maps.scene import Basins, BasinSeen, Canvas, TrackLine
from stpp.runs.manifest import Source, read_again, read_manifest

MOST = 255
"""Basins of a window that a map can tell apart; they come in order of mass."""


@dataclass(frozen=True, eq=False)
class BasinsPart(Part):
    """A run of basins.

    Parameters
    ----------
    regions : of all windows
    found : per window of the run its basins, a row each of ``basins.csv`` with its forecasts
    tracks : a row each of ``tracks.csv``
    """

    precedence: ClassVar[int] = 2

    _: KW_ONLY
    regions: Regions
    found: tuple[tuple[Mapping[str, Any], ...], ...]
    tracks: tuple[Mapping[str, Any], ...]

    @classmethod
    def of_run(cls, directory: Path) -> Self:
        """The part that a run directory brings.

        Raises
        ------
        ValueError
            as :meth:`of`, and if the events are gone or not what they were
        """
        return cls.of(directory, read_again(read_manifest(directory, "stpp basins -o")))

    @classmethod
    def of(cls, directory: Path, source: Source) -> Self:
        """The part that the tables and the regions in a directory bring, which may lack its manifest yet.

        Raises
        ------
        ValueError
            if a file is missing or cannot be read (it is named)
        """
        regions = read_regions(directory / NAME)
        try:
            centres = {f"centre_{name}" for name in source.events.axes}
            basins = _rows(directory / "basins.csv", {"window", "basin", "track", *centres})
            tracks = _rows(directory / "tracks.csv", {"id", "name", "birth", "death", "colour"})
            file = directory / "forecasts.csv"  # there is none where nothing could be forecast
            forecasts = _rows(file, {"window", "basin"}) if file.is_file() else []
            ahead = {(row["window"], row["basin"]): row for row in forecasts}
            rows = [ahead.get((row["window"], row["basin"]), {}) | row for row in basins]
            found = [[row for row in rows if row["window"] == k] for k in range(len(regions.windows))]
            known = {int(row["id"]) for row in tracks}
            for row in rows:
                if not all(math.isfinite(float(row[column])) for column in ("share", "posts", "probability")):
                    raise ValueError(f"basin {row['basin']} of window {row['window']} lacks a number")
            if missing := {int(row["track"]) for row in rows} - known:
                raise KeyError(f"track {min(missing)}")
        except (OSError, KeyError, ValueError) as error:
            raise ValueError(
                f"{directory} is not a run of 'stpp basins -o' ({error!s:.80}): run 'stpp basins -o' again"
            ) from error
        return cls(
            source,
            run=directory,
            windows=regions.windows,
            box=regions.partition.box,
            regions=regions,
            found=tuple(tuple(one[:MOST]) for one in found),
            tracks=tuple(tracks),
        )

    def basins(self, canvas: Canvas) -> Basins:
        """Each window of the map shows the basins of the run's window that its middle lies in.

        Each event belongs to the basin of the run's window that holds its own time.
        """
        middles = np.array([(window.start + window.end) / 2 for window in canvas.windows])
        shown, events = self._window_of(middles), canvas.events
        ends = np.array([window.end for window in self.windows])
        k, cell = self._window_of(events.t), self.regions.partition.index(events.x)
        of_event = np.where((k >= 0) & (cell >= 0), self.regions.track[k, cell], -1).astype(np.int64)
        seen = [tuple(self._seen(row, canvas) for row in rows) for rows in self.found]
        found = tuple(seen[number] if number >= 0 else () for number in shown.tolist())
        occurring = {one.track for basins in found for one in basins} | set(np.unique(of_event[of_event >= 0]).tolist())
        grid = self._outlined(canvas)
        return Basins(
            method=self.regions.method,
            grid=grid,
            regions=None if grid is None else self._outlines(grid, canvas, shown),
            found=found,
            spans=self._spans(shown),
            before=known_at(canvas.edges[:, 0], shown, ends),
            after=known_at(canvas.edges[:, 1], shown, ends),
            tracks=tuple(_line(row, shown) for row in self.tracks if row["id"] in occurring),
            of_event=of_event,
        )

    def remarks(self, canvas: Canvas) -> tuple[str, ...]:
        """That the map's windows are not the run's, or that there are no outlines."""
        said = []
        if not set(canvas.windows) <= set(self.windows):
            length = in_words(round(self.windows[0].duration, 6))
            said.append(
                f"Basins were looked for in windows of {length}: a window here shows those of the one that its middle "
                "lies in, and forecasts of them speak of the one after that."
            )
        if self._outlined(canvas) is None:
            d = self.regions.partition.box.d
            why = f"in {d} dimensions" if d > 2 else "as cells around landmarks"
            said.append(f"Basins were found {why}: their centres are drawn, but no outlines.")
        return tuple(said)

    def _spans(self, shown: NDArray[np.int64]) -> Array:
        """(windows, 2) start and end of the run's windows that are shown; NaN where there is none."""
        edges = np.array([[window.start, window.end] for window in self.windows] + [[np.nan, np.nan]])
        return np.asarray(edges[shown])

    def _window_of(self, t: Array) -> NDArray[np.int64]:
        """(n,) number of the run's window that holds each time; −1 for none."""
        start, end = np.array([[window.start, window.end] for window in self.windows]).T
        k = np.searchsorted(start, t, side="right") - 1
        return np.where((k >= 0) & (t < end[k]), k, -1)

    def _seen(self, row: Mapping[str, Any], canvas: Canvas) -> BasinSeen:
        x, y = (float(row[f"centre_{name}"]) for name in canvas.names)
        return BasinSeen(
            track=int(row["track"]),
            centre=(x, y),
            share=float(row["share"]),
            posts=int(row["posts"]),
            probability=float(row["probability"]),
            **{name: float(row.get(name, math.nan)) for name in ("barrier", "p_continue", "p_grow")},
        )

    def _outlined(self, canvas: Canvas) -> Grid | None:
        """The grid of outlines, the run's own unless it were too much for so many windows."""
        grid = self.regions.partition.grid
        if grid is None or grid.box.d != 2:
            return None
        most = math.isqrt(MOST_VALUES // max(1, len(canvas.windows)))
        low, high = ([side[axis] for axis in canvas.axes] for side in (grid.box.low, grid.box.high))
        return Grid(type(grid.box)(tuple(low), tuple(high)), tuple(min(grid.shape[axis], most) for axis in canvas.axes))

    def _outlines(self, grid: Grid, canvas: Canvas, shown: NDArray[np.int64]) -> NDArray[np.uint8]:
        """(windows, nx, ny) 0 for no basin, i + 1 for the i-th that is seen in the window."""
        cell = self.regions.partition.index(grid.points()[:, np.argsort(canvas.axes)])
        numbered = np.zeros((len(self.windows) + 1, grid.cells), np.uint8)  # the last: outside the run's time
        for k, rows in enumerate(self.found):
            for i, row in enumerate(rows):
                numbered[k, self.regions.track[k, cell] == row["track"]] = i + 1
        return numbered[shown].reshape(-1, *grid.shape)


def _rows(path: Path, columns: set[str]) -> list[dict[str, Any]]:
    """The rows of a table of a run, which has these columns; a name such as ``NA`` is a name."""
    import pandas as pd

    table = pd.read_csv(path, keep_default_na=False, na_values=[""])
    if missing := columns - set(table):
        raise KeyError(f"{path.name} has no column {min(missing)}")
    return [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]


def _line(row: Mapping[str, Any], shown: NDArray[np.int64]) -> TrackLine:
    """A track, its birth and death as windows of the map, of which ``shown`` are the run's; −1 for none."""
    inside = np.flatnonzero(shown >= 0)
    born = inside[shown[inside] >= row["birth"]]
    there_before = len(born) > 0 and born[0] == inside[0] and (row["birth"] == 0 or shown[born[0]] > row["birth"])
    gone = inside[shown[inside] >= row["death"]]  # never, where it is NaN
    return TrackLine(
        id=int(row["id"]),
        name=str(row["name"]),
        birth=int(born[0]) if len(born) and not there_before else None,
        death=int(gone[0]) if len(gone) else None,
        colour=str(row["colour"]),
    )
