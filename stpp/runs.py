"""Run directories: events read, a model fitted or judged, and a manifest of what made it."""

from __future__ import annotations

import hashlib
import itertools
import json
import platform
import re
import resource
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd

import stpp
from stpp import simulation, storage, worlds
from stpp.columns import day_of, in_words
from stpp.domain import MAX_GRID_DIMENSIONS, Box, Grid
from stpp.events import Events, Window
from stpp.intensity import AnyForecast, Forecast, IntensityModel, load_model
from stpp.models import make_models
from stpp.outputs import new_file
from stpp.readers import ReadOptions, ingest

TIE_POLICY = "events with the same time stamp share a history and never excite one another"
ROUGH_FIT = "its numbers are rough; train on more events (an earlier start), or take hawkes' other --kernel"
"""What to do about a fit that stopped before it met its tolerance."""

OUTPUT = ("-o", "--output", "--animate", "--images")
MANNERS = ("--force", "--quiet", "--json")
"""Options, with a value and without, that say what is written where and how it is told, and change no result."""

RECORDED_VERSIONS = ("numpy", "scipy", "numba", "pandas", "pyarrow", "scikit-learn", "xarray")


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def peak_memory_mb() -> float:
    """The most memory this process has held since :func:`reset_peak_memory`, in MB of 10⁶ bytes."""
    status = Path("/proc/self/status")
    if status.is_file():
        peak = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(peak.split()[1]) * 1024 / 1e6
    peak_rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak_rss * (1 if sys.platform == "darwin" else 1024) / 1e6  # bytes on macOS, KiB elsewhere


def reset_peak_memory() -> None:
    """Forget the peak so far; where the system cannot (macOS), later peaks are upper bounds."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def ingest_record(events: Path) -> Path:
    """Where ``stpp ingest`` keeps its account of an events file: ``NAME.ingest.json`` beside it."""
    return events.with_suffix(".ingest.json")


@dataclass(frozen=True)
class Source:
    """Events and where they come from.

    Parameters
    ----------
    path : of the file
    events : all of them
    rejects : rows that could not be used, as in :class:`stpp.readers.Ingested`; None if all were ingested before
    reading : the fields of :class:`stpp.posts.ReadOptions` that the user named
    """

    path: Path
    events: Events
    rejects: pd.DataFrame | None
    reading: dict[str, Any]


def read_source(path: Path, reading: Mapping[str, Any]) -> Source:
    """The events of a file from ``stpp ingest``, or of any that it reads.

    Raises
    ------
    ValueError
        as :func:`stpp.readers.ingest`
    """
    named = {key: value for key, value in reading.items() if value is not None}
    if storage.is_events_file(path) and not named:
        return Source(path, storage.load_events(path), None, named)
    read = ingest([path], ReadOptions(**named))
    return Source(path, read.events, read.rejects, named)


def describe_run(argv: Sequence[str], seed: int, source: Source, settings: Mapping[str, Any]) -> dict[str, Any]:
    """What was run on what, with which versions: all that the results of a run depend on, as JSON values.

    Parameters
    ----------
    argv : the command line
    seed : of all randomness in the run
    source : the events
    settings : anything else worth keeping, as JSON values
    """
    events, record = source.events, ingest_record(source.path)
    return {
        "format": 1,
        "argv": list(argv),
        "seed": seed,
        "versions": {
            "stpp": stpp.__version__,
            "python": platform.python_version(),
            **{name: version(name) for name in RECORDED_VERSIONS},
        },
        "input": {
            "path": str(source.path.resolve()),
            "sha256": sha256(source.path),
            "reading": source.reading,
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
    }


def essence(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """What the results of a run depend on: its description, with a command line that names no output or manner."""
    words, kept = iter(manifest["argv"]), []
    for word in words:
        if word in OUTPUT:
            next(words, None)
        elif word not in MANNERS and not re.match(r"-o|(--output|--animate|--images)=", word):
            kept.append(word)
    described = itertools.takewhile(lambda item: item[0] != "directory", manifest.items())
    return {**dict(described), "argv": kept}


def write_manifest(
    directory: Path, description: Mapping[str, Any], source: Source, started: float, **measured: Any
) -> None:
    """Write ``manifest.json``: the description of a run, where and when it ran, how long and with how much memory.

    Rows that could not be used go to ``rejects.parquet``.

    Parameters
    ----------
    directory : the run directory
    description : of :func:`describe_run`
    source : the events
    started : ``time.perf_counter()`` when the run began
    measured : anything else that differs from run to run, as JSON values
    """
    if source.rejects is not None:
        source.rejects.to_parquet(directory / "rejects.parquet", index=False)
    manifest = {
        **description,
        "directory": str(Path.cwd()),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "elapsed_seconds": round(time.perf_counter() - started, 3),
        "peak_memory_mb": round(peak_memory_mb(), 1),
        **measured,
    }
    (directory / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n")


def read_manifest(directory: Path, made_by: str) -> dict[str, Any]:
    """The manifest of a run directory.

    Parameters
    ----------
    directory : where it lies
    made_by : the command that writes such runs, for the way out

    Raises
    ------
    ValueError
        if it is missing or cannot be read (the file is named)
    """
    path = directory / "manifest.json"
    try:
        manifest = json.loads(path.read_text())
        if not {"path", "sha256", "reading"} <= set(manifest["input"]):
            raise KeyError("input")
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ValueError(f"{path} is missing: give a directory that '{made_by}' wrote") from error
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is not a manifest of '{made_by}' ({error!s:.80}): run it again") from error
    return dict(manifest)


def read_again(manifest: Mapping[str, Any]) -> Source:
    """The events that a run was made from, read as they were then.

    Raises
    ------
    ValueError
        if the file is gone or is not what it was
    """
    known = manifest["input"]
    path = Path(known["path"])
    if not path.is_file():
        raise ValueError(f"{path}, which the run was made from, is gone: put it back or run anew")
    if sha256(path) != known["sha256"]:
        raise ValueError(f"{path} is not what it was when the run was made from it: put it back or run anew")
    return read_source(path, known["reading"])


def ingest_to(
    output: Path, files: Sequence[Path], options: ReadOptions, argv: Sequence[str], force: bool
) -> tuple[dict[str, Any], list[str]]:
    """Read files of posts into an events file, its rejects and its record beside it.

    Returns
    -------
    the record as JSON values, and as lines of text

    Raises
    ------
    ValueError
        as :func:`stpp.readers.ingest`, and if a file exists and ``force`` is not given
    """
    rejects = output.with_suffix(".rejects.parquet")
    with (
        new_file(output, force=force) as new_events,
        new_file(rejects, force=force) as new_rejects,
        new_file(ingest_record(output), force=force) as new_record,
    ):
        read = ingest(files, options)
        account = {"argv": list(argv), "seed": options.seed, **read.report.to_dict()}
        new_record.write_text(json.dumps(account, indent=1) + "\n")
        read.rejects.to_parquet(new_rejects, index=False)
        storage.write_events(read.events, new_events)
    return account, [*read.report.lines(), f"written    {output}, {rejects}"]


def simulate_to(output: Path, world: str, n: int, seed: int, force: bool) -> tuple[Path, int]:
    """Draw a Hawkes process or a planted world into an events file, its truth beside it.

    Returns
    -------
    the path of the truth, and the number of events

    Raises
    ------
    ValueError
        if there is no such world, or a file exists and ``force`` is not given
    """
    if world not in ("hawkes", *worlds.WORLDS):
        raise ValueError(f"no world '{world}'; there are: hawkes, {', '.join(worlds.WORLDS)}")
    truth_file = worlds.truth_path(output)
    if truth_file.exists() and not force:
        raise ValueError(f"{truth_file} exists: --force overwrites it")
    with new_file(output, force=force) as temporary:
        if world == "hawkes":
            events, truth = simulation.simulate_hawkes(n, seed)
        else:
            events, truth = worlds.simulate_world(world, n, seed)
        storage.write_events(events, temporary)
        worlds.write_truth(output, truth)
    return truth_file, len(events)


def train(
    name: str,
    events: Events,
    *,
    start: str | None = None,
    end: str | None = None,
    box: Box | None = None,
    horizon: float | None = None,
    **options: Any,
) -> tuple[IntensityModel, Window, list[str]]:
    """Fit a model by name.

    Parameters
    ----------
    name : a key of :data:`stpp.models.MODELS`
    events : those before the training window count as history
    start, end : dates of the training window; by default the first and the last event
    box : the domain; by default around the training events
    horizon, options : as in :func:`stpp.models.make_models`

    Returns
    -------
    the fitted model, its training window, and what the user should know about them

    Raises
    ------
    ValueError
        if no event lies in the window, or all events are at one time, which does not say how long the window is
    """
    span = events.span
    if events.t[0] == events.t[-1] and not (start and end):
        raise ValueError(f"all events are at one time ({len(events):,}): say when to train, --start and --end")
    first = day_of(start, events.epoch) if start else span.start
    window = Window(first, day_of(end, events.epoch) if end else span.end)
    training = events.between(window)
    if not len(training):
        dates = f"{events.date(span.start):%Y-%m-%d %H:%M} to {events.date(span.end):%Y-%m-%d %H:%M}"
        raise ValueError(f"no events from --start to --end: there are events from {dates}")
    unfitted = make_models([name], box or Box.around(training.x), horizon, **options)[name]
    known = events.before(window.end).inside(unfitted.domain)
    notes = []
    if outside := len(training) - len(known.between(window)):
        notes.append(f"{outside:,} of {len(training):,} training events lie outside the box and are left out")
    fitted = unfitted.fit(known, window)
    if fitted.result and not fitted.result.converged:
        notes.append(f"the fit did not converge: {ROUGH_FIT}")
    return fitted, window, notes


def fit_facts(model: IntensityModel) -> dict[str, Any]:
    """What ``stpp fit --json`` says of a fitted model."""
    result = model.result
    assert result is not None, "every fit reports"
    facts: dict[str, Any] = {"model": model.name}
    for key in ("n_events", "log_likelihood", "aic", "background_rate", "branching_ratio", "seconds"):
        facts[key] = getattr(result, key)
    parameters = {name: asdict(parameter) for name, parameter in result.parameters.items()}
    return facts | {"peak_memory_mb": peak_memory_mb(), "parameters": parameters}


def forecast_facts(forecast: AnyForecast, events: Events, k: int = 5) -> dict[str, Any]:
    """What ``stpp forecast --json`` says: how many events are expected, and the k cells that expect most of them."""
    facts = {
        "model": forecast.model,
        "issue_time": events.date(forecast.window.start).isoformat(),
        "horizon_days": forecast.window.duration,
        "expected_count": forecast.total,
        "highest": [],
    }
    if isinstance(forecast, Forecast):
        order = forecast.counts.argsort(axis=None)[::-1][:k]
        places = forecast.grid.points()[order].tolist()
        values = zip(places, forecast.counts.flat[order], forecast.density.flat[order], strict=True)
        facts["highest"] = [
            dict(zip(events.axes, place, strict=True)) | {"expected_count": float(n), "relative_density": float(g)}
            for place, n, g in values
        ]
    return facts


def forecast_lines(facts: Mapping[str, Any], axes: Sequence[str]) -> list[str]:
    """The same in words."""
    when = facts["issue_time"].replace("T", " ")[:16]
    lines = [f"{facts['expected_count']:,.1f} events expected in {in_words(facts['horizon_days'])} from {when} UTC"]
    if facts["highest"]:
        lines.append(f"{'most of them at':32}  expected  times uniform")
    for cell in facts["highest"]:
        place = ", ".join(f"{axis} {cell[axis]:.4g}" for axis in axes)
        lines.append(f"  {place:30}  {cell['expected_count']:8.4g}  {cell['relative_density']:13.2f}")
    return lines


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
        """The fields of :class:`stpp.posts.ReadOptions` that were named when the events were read."""
        return dict(self.manifest["input"]["reading"])

    def forecast(
        self, source: Source, at: str, horizon: float, cells: int, *, seen_too: bool = False
    ) -> tuple[AnyForecast, list[str]]:
        """The forecast issued at a date, from the events before it that lie in the model's box.

        Parameters
        ----------
        source : the history
        at : issue date
        horizon : days
        cells : of the grid, per axis; above 3 dimensions there is none
        seen_too : also forecast what the model was trained on

        Returns
        -------
        the forecast, and what the user should know about it

        Raises
        ------
        ValueError
            if the date lies in the training window, or the events are of other dimensions, count days from another
            epoch or all lie elsewhere
        """
        path, events, box = source.path, source.events, self.model.domain
        known = self.manifest["input"]
        if events.d != box.d:
            raise ValueError(f"{path} has {events.d} dimensions, the model {box.d}: give the events it was fitted to")
        if events.epoch != known["epoch"]:
            raise ValueError(f"{path} counts days since {events.epoch}, the model since {known['epoch']}: fit it again")
        inside = events.inside(box)
        if not len(inside):
            raise ValueError(f"none of the {len(events):,} events of {path} lies in the model's box {box.to_list()}")
        issue = day_of(at, events.epoch)
        if issue < self.window.end and not seen_too:
            trained = f"{events.date(self.window.end):%Y-%m-%d %H:%M}"
            raise ValueError(
                f"the model was trained to {trained}, so it has seen what comes after {at}: choose a later --at"
            )
        notes = []
        if sha256(path) != known["sha256"]:
            notes.append(f"{path} is not, or no longer, the file that the model was fitted to")
        if outside := len(events) - len(inside):
            notes.append(f"{outside:,} of {len(events):,} events lie outside the model's box and are left out")
        if issue - events.t[-1] > horizon:
            notes.append(f"the events end {issue - events.t[-1]:.3g} days before --at; from then on none are assumed")
        grid = Grid.over(box, cells) if box.d <= MAX_GRID_DIMENSIONS else None
        return self.model.forecast(Window(issue, issue + horizon), inside.before(issue), grid), notes


def load_run(directory: Path) -> Run:
    """Read a run directory of ``stpp fit -o``.

    Raises
    ------
    ValueError
        if the manifest or the model is missing or cannot be read (the file is named)
    """
    manifest = read_manifest(directory, "stpp fit -o")
    run = Run(directory, load_model(directory), manifest)
    try:
        run.window  # noqa: B018  a manifest without one is no fit's
    except (KeyError, TypeError) as error:
        raise ValueError(f"{directory} is not a run of 'stpp fit -o' ({error!s:.80}): fit again") from error
    return run
