"""Flows of many windows in one NetCDF file."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import h5netcdf
import numpy as np
import xarray as xr

from stpp.domain import Box, Grid
from stpp.events import Events
from stpp.flow.flow import Flow

VARIABLES: dict[str, tuple[bool, str, str]] = {
    "density": (False, "weight of events per day and unit volume, smoothed, in the last frame", "map_units-{d} day-1"),
    "velocity": (True, "velocity of the density", "map_units day-1"),
    "velocity_error": (True, "standard error of the velocity", "map_units day-1"),
    "growth": (False, "relative growth of the mass as it moves", "day-1"),
    "growth_error": (False, "standard error of the growth", "day-1"),
    "divergence": (False, "divergence of the velocity: > 0 where mass spreads, < 0 where it gathers", "day-1"),
    "significant": (False, "velocity outside the ellipse that holds 95 % of chance, by its own cell alone", "1"),
}  # fmt: skip
"""Whether it has components, what it is, its units."""

ERRORS = {"velocity": "velocity_error", "growth": "growth_error"}


def check_axes(events: Events) -> None:
    """Raise ValueError if a coordinate bears the name of something else in a file of flows."""
    taken = {"time", "component", "frame", "bound", *VARIABLES, *(f"{name}_bounds" for name in events.axes)}
    if clash := sorted(taken & set(events.axes)):
        raise ValueError(f"a coordinate named '{clash[0]}' cannot be told from the file's own: rename that column")


def write_flows(path: Path, flows: Sequence[Flow], events: Events) -> None:
    """Write flows with dimensions time, component and the axes of the map, last axis first; CF-1.11.

    Numbers are kept to the last bit; the time of a flow is the end of its last frame.

    Parameters
    ----------
    path : of the file
    flows : in time order, all on one grid
    events : give the epoch and the names of the axes

    Raises
    ------
    ValueError
        if there are no flows, they lie on different grids, or an axis bears the name of something else in the file
    """
    if not flows:
        raise ValueError("no flows to write: the windows hold no time at which to look")
    grid, axes = flows[0].grid, events.axes
    if any(flow.grid != grid for flow in flows):
        raise ValueError("flows in one file lie on one grid: write each grid to its own file")
    check_axes(events)
    _frame(flows, grid, events).to_netcdf(path, engine="h5netcdf")
    space = tuple(reversed(axes))
    with h5netcdf.File(path, "a") as file:
        for name, (components, meaning, units) in VARIABLES.items():
            dims = ("time", "component", *space) if components else ("time", *space)
            variable = file.create_variable(name, dims, "i1" if name == "significant" else "f8")
            variable.attrs.update({"long_name": meaning, "units": units.format(d=grid.box.d)})
            if name in ERRORS:
                variable.attrs["ancillary_variables"] = ERRORS[name]
            for k, flow in enumerate(flows):
                value = flow.significant() if name == "significant" else getattr(flow, name)
                variable[k] = np.stack([part.T for part in value]) if components else value.T
        meanings = {"flag_values": np.array([0, 1], np.int8), "flag_meanings": "within_chance beyond_chance"}
        file["significant"].attrs.update(meanings)


def read_flows(path: Path) -> list[Flow]:
    """The flows that :func:`write_flows` wrote, bit for bit.

    Raises
    ------
    ValueError
        if the file cannot be read, or holds no flows
    """
    try:
        opened = xr.open_dataset(path, engine="h5netcdf", decode_cf=False)
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error!s:.80}): run 'stpp flow -o' again") from error
    with opened as file:
        if not {"time", "frame", *VARIABLES} <= set(file.variables):
            raise ValueError(f"{path} holds no flows: give a file that 'stpp flow -o' wrote")
        edges = [file[f"{axis}_bounds"].values for axis in reversed(file["density"].dims[1:])]
        box = Box(tuple(float(e[0, 0]) for e in edges), tuple(float(e[-1, 1]) for e in edges))
        grid = Grid(box, tuple(len(e) for e in edges))
        return [_flow(file.isel(time=k), grid) for k in range(file.sizes["time"])]


def _flow(stored: xr.Dataset, grid: Grid) -> Flow:
    def scalar(name: str) -> Any:
        return np.ascontiguousarray(stored[name].values.T)

    def vector(name: str) -> Any:
        return np.stack([np.ascontiguousarray(part.T) for part in stored[name].values])

    fields = (scalar("density"), vector("velocity"), vector("velocity_error"), scalar("growth"), scalar("growth_error"))
    return Flow(grid, float(stored["time"]), float(stored["frame"]), *fields)


def _frame(flows: Sequence[Flow], grid: Grid, events: Events) -> xr.Dataset:
    """All but the fields: coordinates, their bounds, and the length of each frame."""
    epoch = datetime.fromisoformat(events.epoch).astimezone(UTC).replace(tzinfo=None)
    since = {"units": f"days since {epoch.isoformat(sep=' ')}", "calendar": "standard", "standard_name": "time"}
    coords: dict[str, Any] = {
        "time": ("time", [flow.time for flow in flows], since | {"long_name": "end of the last frame"}),
        "component": ("component", list(events.axes), {"long_name": "axis that a component points along"}),
    }
    days = {"long_name": "days that a frame covers", "units": "day"}
    fields: dict[str, Any] = {"frame": ("time", [flow.frame for flow in flows], days)}
    for name, centre, edge in zip(events.axes, grid.centres, grid.edges, strict=True):
        attributes = {"long_name": name, "units": "map_units", "bounds": f"{name}_bounds"}
        coords[name] = (name, centre, attributes)
        fields[f"{name}_bounds"] = ((name, "bound"), np.stack([edge[:-1], edge[1:]], axis=1))
    return xr.Dataset(fields, coords, {"Conventions": "CF-1.11", "title": "stpp flows"})
