"""Forecasts of many windows by many models in one NetCDF file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import h5netcdf
import numpy as np
import xarray as xr

from stpp.domain import Box, Grid
from stpp.events import Events, Window
from stpp.intensity import Forecast

FIELDS = ("expected_count", "relative_density")


def write_forecasts(
    path: Path,
    forecasts: Mapping[tuple[str, int], Forecast],
    models: Sequence[str],
    numbers: Sequence[int],
    events: Events,
) -> None:
    """Write forecasts with dimensions model, issue_time, lead and the axes of the map, last axis first.

    One forecast is in memory at a time.

    Parameters
    ----------
    path : of the file
    forecasts : (model, window number) → forecast, all on one grid and of one length
    models, numbers : which of them to write; the variable ``window`` keeps the numbers
    events : give the epoch and the names of the axes
    """
    first = forecasts[models[0], numbers[0]]
    frame = first.to_xarray(events)
    about = {name: frame[name].attrs for name in FIELDS}
    issued = [events.date(forecasts[models[0], k].window.start).replace(tzinfo=None) for k in numbers]
    frame = frame.drop_vars([*FIELDS, "issue_time"]).drop_attrs(deep=False)
    frame = frame.assign_coords(
        model=("model", list(models)),
        issue_time=("issue_time", np.array(issued, "datetime64[ns]"), {"standard_name": "forecast_reference_time"}),
        window=("issue_time", np.asarray(numbers, dtype=np.int32), {"long_name": "number of the forecast window"}),
    )
    floors = [forecasts[name, numbers[0]].floor for name in models]
    frame["floor"] = ("model", floors, {"long_name": "share spread evenly over the domain", "units": "1"})
    frame.assign_attrs(Conventions="CF-1.11", title="stpp forecasts").to_netcdf(path, engine="h5netcdf")
    axes = tuple(reversed(events.axes))
    with h5netcdf.File(path, "a") as file:
        for field in FIELDS:
            file.create_variable(field, ("model", "issue_time", "lead", *axes), "f4")
            file[field].attrs.update(about[field])
        for i, name in enumerate(models):
            for j, k in enumerate(numbers):
                forecast = forecasts[name, k]
                file["expected_count"][i, j, 0] = forecast.counts.T
                file["relative_density"][i, j, 0] = forecast.density.T


def read_forecasts(path: Path, windows: Sequence[Window]) -> dict[tuple[str, int], Forecast]:
    """What :func:`write_forecasts` wrote, on the grid that was written.

    Parameters
    ----------
    path : of the file
    windows : all of them, by number
    """
    with xr.open_dataset(path, engine="h5netcdf") as file:
        counts = file["expected_count"]
        edges = [file[f"{axis}_bounds"].values for axis in reversed(counts.dims[3:])]
        box = Box(tuple(float(e[0, 0]) for e in edges), tuple(float(e[-1, 1]) for e in edges))
        grid = Grid(box, tuple(len(e) for e in edges))
        floors = dict(zip(file["model"].values.tolist(), file["floor"].values.tolist(), strict=True))
        return {
            (name, int(k)): Forecast(
                windows[k], grid, counts.sel(model=name)[j, 0].values.T.astype(float), name, floors[name]
            )
            for name in floors
            for j, k in enumerate(file["window"].values)
        }
