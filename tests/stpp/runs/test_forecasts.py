"""Forecasts of many windows in one file: what is written is read back, and is laid out as the field expects."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from stpp.domain import Box, Grid
from stpp.events import Events, Window
from stpp.intensity import Forecast
from stpp.runs.forecasts import read_forecasts, write_forecasts

WINDOWS = [Window(k, k + 2) for k in range(5)]
EPOCH = "2020-01-01T00:00:00+00:00"


def some(d: int) -> tuple[dict[tuple[str, int], Forecast], Events]:
    rng = np.random.default_rng(d)
    grid = Grid.over(Box((-1.0,) * d, (2.0,) * d), 4 + d)
    forecasts = {
        (model, k): Forecast.of(WINDOWS[k], grid, rng.gamma(1.0, size=grid.shape), model, floor)
        for model, floor in (("a", 1e-4), ("b", 0.01))
        for k in range(5)
    }
    return forecasts, Events(np.array([0.5]), np.zeros((1, d)), epoch=EPOCH, axes=tuple("uvw"[:d]))


@pytest.mark.parametrize("d", [1, 2, 3])
def test_what_is_written_is_read_back(d: int, tmp_path: Path) -> None:
    forecasts, events = some(d)
    write_forecasts(tmp_path / "f.nc", forecasts, ["a", "b"], [1, 3], events)
    back = read_forecasts(tmp_path / "f.nc", WINDOWS)
    assert set(back) == {("a", 1), ("a", 3), ("b", 1), ("b", 3)}
    for key, forecast in back.items():
        assert forecast.window == WINDOWS[key[1]]
        assert forecast.floor == forecasts[key].floor
        assert forecast.grid.box.low == pytest.approx(forecasts[key].grid.box.low)
        assert forecast.grid.shape == forecasts[key].grid.shape
        np.testing.assert_allclose(forecast.counts, forecasts[key].counts, rtol=1e-6)


def test_the_file_is_laid_out_as_climate_and_forecast_conventions_say(tmp_path: Path) -> None:
    forecasts, events = some(2)
    write_forecasts(tmp_path / "f.nc", forecasts, ["a", "b"], [0, 2, 4], events)
    with xr.open_dataset(tmp_path / "f.nc", engine="h5netcdf") as file:
        assert file["expected_count"].dims == ("model", "issue_time", "lead", "v", "u")
        assert file["expected_count"].attrs["units"] == "1"
        assert file.attrs["Conventions"] == "CF-1.11"
        assert file["issue_time"].values.tolist() == [
            np.datetime64(f"2020-01-0{1 + k}", "ns").astype(int) for k in (0, 2, 4)
        ]
        assert file["lead"].item() == 2.0
        density = file["relative_density"]
        np.testing.assert_allclose(density.mean(("u", "v")), 1.0, rtol=1e-5)
        np.testing.assert_allclose(density.sel(model="b")[1, 0].T, forecasts["b", 2].density, rtol=1e-5)


def test_the_same_forecasts_are_the_same_bytes(tmp_path: Path) -> None:
    forecasts, events = some(2)
    for name in ("one.nc", "other.nc"):
        write_forecasts(tmp_path / name, forecasts, ["a", "b"], range(5), events)
    assert (tmp_path / "one.nc").read_bytes() == (tmp_path / "other.nc").read_bytes()
