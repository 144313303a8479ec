"""Run directories and output files: complete or not there at all, with a manifest of what made them."""

from __future__ import annotations

import glob
import hashlib
import json
import os
import platform
import resource
import shutil
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import xarray as xr

import stpp
from stpp.columns import day_of
from stpp.events import Events, Window
from stpp.intensity import AnyForecast, Forecast, IntensityModel, load_model

TIE_POLICY = "events with the same time stamp share a history and never excite one another"
RECORDED_VERSIONS = ("numpy", "scipy", "numba", "pandas", "pyarrow", "scikit-learn", "xarray")


@contextmanager
def new_file(path: Path, *, force: bool = False) -> Iterator[Path]:
    """A temporary name beside ``path`` that takes its place when the block ends well, and vanishes if it does not.

    What a killed process left there is removed.

    Raises
    ------
    ValueError
        at once, before any work is done, if ``path`` exists and ``force`` is not given
    OSError
        at once, if ``path`` cannot be written
    """
    _check_folder(path.parent)
    if path.is_dir():
        raise ValueError(f"{path} is a directory: name a file")
    if path.exists() and not force:
        raise ValueError(f"{path} exists: --force overwrites it")
    temporary = _temporary(path)
    temporary.touch()
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def new_run(path: Path, *, force: bool = False) -> Iterator[Path]:
    """A temporary directory beside ``path`` that takes its place when the block ends well, and vanishes if it does not.

    What a killed process left there is removed.

    Raises
    ------
    ValueError
        at once, if ``path`` exists and ``force`` is not given, or is anything but a run directory
    OSError
        at once, if ``path`` cannot be written
    """
    path = path.resolve()
    _check_folder(path.parent)
    if path.exists():
        if not force:
            raise ValueError(f"{path} exists: --force replaces it")
        if not (path / "manifest.json").is_file():
            raise ValueError(f"{path} is not a run directory, so it is not replaced: name another")
    temporary = _temporary(path)
    temporary.mkdir()
    try:
        yield temporary
        if path.exists():
            replaced = temporary.with_name(f"{temporary.name}.replaced")
            path.rename(replaced)
            temporary.rename(path)
            shutil.rmtree(replaced)
        else:
            temporary.rename(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _temporary(path: Path) -> Path:
    """``.PID.NAME`` beside a path, once those of processes that are no more are gone: nobody survives a kill -9."""
    for left in path.parent.glob(f".*.{glob.escape(path.name)}"):
        pid = left.name.split(".")[1]
        if pid.isdigit() and not _alive(int(pid)):
            if left.is_dir():
                shutil.rmtree(left, ignore_errors=True)
            else:
                left.unlink(missing_ok=True)
    return path.with_name(f".{os.getpid()}.{path.name}")


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # somebody else's, but alive
    return True


def _check_folder(folder: Path) -> None:
    if not folder.is_dir():
        raise ValueError(f"{folder} is not a folder that exists: make it, or write elsewhere")


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def peak_memory_mb() -> float:
    """The most memory this process has held so far, in MB of 10⁶ bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak * (1 if sys.platform == "darwin" else 1024) / 1e6  # bytes on macOS, KiB on Linux


def ingest_record(events: Path) -> Path:
    """Where ``stpp ingest`` keeps its account of an events file: ``NAME.ingest.json`` beside it."""
    return events.with_suffix(".ingest.json")


def write_manifest(
    directory: Path,
    argv: Sequence[str],
    seed: int,
    source: Path,
    events: Events,
    started: float,
    settings: Mapping[str, Any],
) -> None:
    """Write ``manifest.json``: what was run on what, with which versions, how long it took and how much memory.

    Parameters
    ----------
    directory : the run directory
    argv : the command line
    seed : of all randomness in the run
    source : the file that ``events`` were read from
    events : all events that were read
    started : ``time.perf_counter()`` when the run began
    settings : anything else worth keeping, as JSON values
    """
    record = ingest_record(source)
    manifest = {
        "format": 1,
        "argv": list(argv),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "seed": seed,
        "versions": {
            "stpp": stpp.__version__,
            "python": platform.python_version(),
            **{name: version(name) for name in RECORDED_VERSIONS},
        },
        "input": {
            "path": str(source.resolve()),
            "sha256": sha256(source),
            "rows": len(events),
            "first": events.date(events.t[0]).isoformat() if len(events) else None,
            "last": events.date(events.t[-1]).isoformat() if len(events) else None,
            "epoch": events.epoch,
            "axes": list(events.axes),
            "ingest": json.loads(record.read_text()) if record.is_file() else None,
        },
        "units": {"time": f"days since {events.epoch}", "space": "map units", "log_score": "nats per event"},
        "tie_policy": TIE_POLICY,
        **settings,
        "elapsed_seconds": round(time.perf_counter() - started, 3),
        "peak_memory_mb": round(peak_memory_mb(), 1),
    }
    (directory / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n")


def write_forecasts(path: Path, forecasts: Mapping[str, AnyForecast], events: Events) -> None:
    """Write forecasts of one window, by model, to one NetCDF file; those without a grid (above 3-d) are left out.

    Parameters
    ----------
    path : of the file; nothing is written if no forecast has a grid
    forecasts : name → forecast
    events : give the epoch and the names of the axes
    """
    grids = {name: f.to_xarray(events) for name, f in forecasts.items() if isinstance(f, Forecast)}
    if grids:
        together = xr.concat(
            list(grids.values()),
            xr.Variable("model", list(grids)),
            data_vars=["expected_count", "relative_density"],
            coords="minimal",
            compat="override",
            join="exact",
            combine_attrs="drop_conflicts",
        )
        together.to_netcdf(path, engine="h5netcdf")


def training_window(events: Events, start: str | None, end: str | None) -> Window:
    """From ``start`` to ``end``, by default the first and the last event.

    Raises
    ------
    ValueError
        if no event lies in it, or all events are at one time and that must say how long the window is
    """
    span = events.span
    if events.t[0] == events.t[-1] and not (start and end):
        raise ValueError(f"all events are at one time ({len(events):,}): say when to train, --start and --end")
    first = day_of(start, events.epoch) if start else span.start
    window = Window(first, day_of(end, events.epoch) if end else span.end)
    if not len(events.between(window)):
        dates = f"{events.date(span.start):%Y-%m-%d %H:%M} to {events.date(span.end):%Y-%m-%d %H:%M}"
        raise ValueError(f"no events from --start to --end: there are events from {dates}")
    return window


def highest_cells(forecast: Forecast, axes: Sequence[str], k: int = 5) -> list[dict[str, float]]:
    """The k cells with the highest expected counts: place by axis, ``expected_count``, ``relative_density``."""
    order = forecast.counts.argsort(axis=None)[::-1][:k]
    places = forecast.grid.points()[order]
    values = zip(places.tolist(), forecast.counts.flat[order], forecast.density.flat[order], strict=True)
    return [
        dict(zip(axes, place, strict=True)) | {"expected_count": float(n), "relative_density": float(g)}
        for place, n, g in values
    ]


@dataclass(frozen=True)
class Run:
    """A run directory that ``stpp fit -o`` wrote, read back.

    Parameters
    ----------
    directory : where it lies
    model : the fitted model
    manifest : what ``write_manifest`` wrote
    """

    directory: Path
    model: IntensityModel
    manifest: dict[str, Any]

    @property
    def window(self) -> Window:
        """The training window."""
        return Window(*self.manifest["window"])

    @property
    def source(self) -> Path:
        """The events file that the model was fitted to."""
        return Path(self.manifest["input"]["path"])

    @property
    def reading(self) -> dict[str, Any]:
        """The :class:`stpp.posts.ReadOptions` that the events file was read with."""
        return dict(self.manifest["reading"])

    def has_changed(self, source: Path) -> bool:
        """Whether an events file differs from the one that the model was fitted to."""
        return bool(sha256(source) != self.manifest["input"]["sha256"])

    def history(self, events: Events, source: Path) -> Events:
        """The events that the model can learn of: those in its box.

        Raises
        ------
        ValueError
            if the events of ``source`` are of other dimensions, count days from another epoch, or lie elsewhere
        """
        box, epoch = self.model.domain, self.manifest["input"]["epoch"]
        if events.d != box.d:
            raise ValueError(f"{source} has {events.d} dimensions, the model {box.d}: give the events it was fitted to")
        if events.epoch != epoch:
            raise ValueError(f"{source} counts days since {events.epoch}, the model since {epoch}: fit it again")
        inside = events.inside(box)
        if not len(inside):
            raise ValueError(f"none of the {len(events):,} events of {source} lies in the model's box {box.to_list()}")
        return inside


def load_run(directory: Path) -> Run:
    """Read a run directory of ``stpp fit -o``.

    Raises
    ------
    ValueError
        if the manifest or the model is missing or cannot be read (the file is named)
    """
    path = directory / "manifest.json"
    try:
        run = Run(directory, load_model(directory), json.loads(path.read_text()))
        run.window, run.source, run.reading  # noqa: B018  a manifest without them is no fit's
    except FileNotFoundError as error:
        raise ValueError(f"{error.filename} is missing: give a directory that 'stpp fit -o' wrote") from error
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} is not a manifest of 'stpp fit -o' ({error!s:.80}): fit again") from error
    return run
