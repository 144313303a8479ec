"""Which cells belong to which basin in every window of a run, as one NetCDF file: ``regions.nc``."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from stpp.domain import Box, Grid
from stpp.events import Events, Window
from stpp.partition import Partition

if TYPE_CHECKING:
    from basins.analysis import Analysis

NAME = "regions.nc"

TAKEN = {"time", "time_bounds", "bound", "track", "landmark"}
"""Names in the file that no axis can bear there."""


@dataclass(frozen=True, eq=False)
class Regions:
    """The regions of the basins of all windows.

    Parameters
    ----------
    method : of the finder
    windows : that basins were looked for in
    partition : the cells
    track : (windows, cells) track of the basin that holds most posts of the cell (membership ≥ ½), −1 for none
    """

    method: str
    windows: tuple[Window, ...]
    partition: Partition
    track: NDArray[np.int32]


def regions_of(analysis: Analysis) -> Regions:
    """The regions of an analysis."""
    partition = analysis.finder.fixed.partition
    track = np.full((len(analysis.windows), len(partition)), -1, dtype=np.int32)
    for k, found in enumerate(analysis.found):
        for basin in reversed(found.basins):  # a cell that two share evenly is the larger one's
            track[k, basin.region] = analysis.tracking.track_of(k, basin.id)
    return Regions(analysis.method, analysis.windows, partition, track)


def write_regions(path: Path, regions: Regions, events: Events) -> None:
    """Write regions with dimensions time and the axes of the map, last axis first, or landmark; CF-1.11, compressed.

    The time of a window is its end.

    Parameters
    ----------
    path : of the file
    regions : of all windows
    events : give the epoch and the names of the axes
    """
    import xarray as xr

    epoch = datetime.fromisoformat(events.epoch).astimezone(UTC).replace(tzinfo=None)
    since = {"units": f"days since {epoch.isoformat(sep=' ')}", "calendar": "standard", "standard_name": "time"}
    bounds = np.array([[window.start, window.end] for window in regions.windows])
    about = since | {"long_name": "end of the window", "bounds": "time_bounds"}
    coords: dict[str, Any] = {"time": ("time", bounds[:, 1], about)}
    fields: dict[str, Any] = {"time_bounds": (("time", "bound"), bounds)}
    grid, names = regions.partition.grid, _names(events.axes)
    for axis, name in enumerate(names):
        attributes = {"long_name": events.axes[axis], "units": "map_units"}
        if grid is None:
            fields[name] = ("landmark", regions.partition.centres[:, axis], attributes)
        else:
            edges = grid.edges[axis]
            coords[name] = (name, grid.centres[axis], attributes | {"bounds": f"{name}_bounds"})
            fields[f"{name}_bounds"] = ((name, "bound"), np.stack([edges[:-1], edges[1:]], axis=1))
    space = ("landmark",) if grid is None else tuple(reversed(names))
    shape = (len(regions.partition),) if grid is None else grid.shape
    track = np.moveaxis(regions.track.reshape(-1, *shape), 0, -1).T
    meaning = {"long_name": "track of the basin that the cell belongs to; -1 for none", "units": "1"}
    fields["track"] = (("time", *space), track, meaning)
    about = {"Conventions": "CF-1.11", "title": "stpp basins", "method": regions.method}
    frame = xr.Dataset(fields, coords, about | {"box": regions.partition.box.to_list()})
    squeezed = {"track": {"zlib": True, "complevel": 4, "shuffle": True, "chunksizes": (1, *track.shape[1:])}}
    frame.to_netcdf(path, engine="h5netcdf", encoding=squeezed)


def read_regions(path: Path) -> Regions:
    """The regions that :func:`write_regions` wrote.

    Raises
    ------
    ValueError
        if there is no such file, or it holds none
    """
    import xarray as xr

    again = "run 'stpp basins -o' again"
    if not path.is_file():
        raise ValueError(f"{path} is missing, as in runs of older versions: {again}")
    try:
        with xr.open_dataset(path, engine="h5netcdf", decode_cf=False) as file:
            windows = tuple(Window(*edge) for edge in file["time_bounds"].values.tolist())
            track, box = file["track"], Box.from_flat(file.attrs["box"].tolist())
            if track.dims[1:] == ("landmark",):
                axes = [name for name in file.variables if file[name].dims == ("landmark",)]
                partition = Partition(box, np.stack([file[name].values for name in axes], axis=1))
            else:
                partition = Partition.of_grid(Grid(box, track.shape[:0:-1]))
            cells = np.ascontiguousarray(np.moveaxis(track.values.T, -1, 0)).reshape(len(windows), -1)
            return Regions(str(file.attrs["method"]), windows, partition, cells)
    except (OSError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"{path} holds no regions of basins ({error!s:.80}): {again}") from error


def _names(axes: tuple[str, ...]) -> list[str]:
    """Names of the axes that the file can hold, and that are not those of something else in it."""
    names: list[str] = []
    for axis in axes:
        name = axis.replace("/", "_")
        while {name, f"{name}_bounds"} & {*TAKEN, *names, *(f"{one}_bounds" for one in names)}:
            name += "_"
        names.append(name)
    return names
