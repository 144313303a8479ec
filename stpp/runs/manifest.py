"""The manifest of a run: what was asked of which events, with which versions; and the events, read again."""

from __future__ import annotations

import hashlib
import inspect
import itertools
import json
import logging
import platform
import re
import shlex
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd

import stpp
from stpp.compute.memory import peak_memory_mb
from stpp.domain import Box
from stpp.events import Events
from stpp.files.outputs import new_file, resumable_run
from stpp.ingest import storage
from stpp.ingest.readers import ReadOptions, ingest
from stpp.ingest.resolution import spread_out
from stpp.ingest.storage import ingest_record
from stpp.runs import COMMAND

logger = logging.getLogger(__name__)

TIE_POLICY = "events with the same time stamp share a history and never excite one another"

MANNERS = ("events", "output", "images", "animate", "force", "jobs", "backend", "scheduler", "progress", "seed")
"""Parameters of the functions that make runs which say what of, where to and in what manner, and change no result."""

RECORDED_VERSIONS = (
    "numpy", "scipy", "numba", "networkx", "optuna", "pandas", "pot", "pyarrow", "scikit-learn", "scikit-network",
    "statsmodels", "xarray",
)  # fmt: skip


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass(frozen=True)
class Source:
    """Events and where they come from.

    Parameters
    ----------
    path : of the file
    events : all of them
    rejects : rows that could not be used, as in :class:`stpp.ingest.readers.Ingested`; None if all were ingested before
    reading : the fields of :class:`stpp.ingest.posts.ReadOptions` that the user named
    recorded : the events as they were recorded, where they are spread out over what is not known of them; else None
    """

    path: Path
    events: Events
    rejects: pd.DataFrame | None
    reading: dict[str, Any]
    recorded: Events | None = None


def read_source(path: Path, reading: Mapping[str, Any] | None = None) -> Source:
    """The events of a file from ``stpp ingest``, or of any that it reads; rows that cannot be used are logged.

    Where times are coarser than an hour, or places lie on a lattice, events are spread out over what is not known of
    them, the same way each time: see :mod:`stpp.ingest.resolution`.

    Parameters
    ----------
    path : of the file
    reading : fields of :class:`stpp.ingest.posts.ReadOptions`; what is None is not named

    Raises
    ------
    ValueError
        as :func:`stpp.ingest.readers.ingest`
    """
    named = {key: value for key, value in (reading or {}).items() if value is not None}
    if storage.is_events_file(path) and not named:
        return _spread_out(Source(path, storage.load_events(path), None, named))
    read = ingest([path], ReadOptions(**named))
    for line in read.left_out:
        logger.info("%s", line)
    return _spread_out(Source(path, read.events, read.rejects, named))


def _spread_out(source: Source) -> Source:
    """The events over what is not known of their times and places; the user is told."""
    finer, told = spread_out(source.events)
    for line in told:
        logger.info("%s", line)
    return replace(source, events=finer, recorded=source.events) if told else source


def source_of(events: Events | Source | str | Path, output: Path | None) -> Source:
    """Where the events of a run come from.

    Parameters
    ----------
    events : a file, what was read from one, or events in memory: these are kept in ``OUTPUT.events.parquet`` beside
        the run, so that it can be reproduced
    output : the run directory; None where nothing is written

    Raises
    ------
    ValueError
        as :func:`read_source`
    """
    if isinstance(events, Source):
        return events
    if not isinstance(events, Events):
        return read_source(Path(events))
    path = Path("events") if output is None else output.with_name(f"{output.name}.events.parquet")
    if output is not None:
        with new_file(path, force=True) as temporary:
            storage.write_events(events, temporary)
    return _spread_out(Source(path, events, None, {}))


def arguments_of(function: Callable[..., Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """What a function was asked, as JSON values: its arguments that are not at their default, manners left out.

    Parameters
    ----------
    function : that makes a run
    values : its parameters' values, such as ``locals()`` at its beginning
    """
    asked: dict[str, Any] = {}
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind is inspect.Parameter.VAR_KEYWORD:
            asked |= {key: _plain(value) for key, value in values[name].items()}
        elif name not in MANNERS and _plain(values[name]) != _plain(parameter.default):
            asked[name] = _plain(values[name])
    return {name: value for name, value in asked.items() if value not in (None, {}, [])}


def _plain(value: Any) -> Any:
    """A value as JSON has it; a number in words is the number, and 1.0 is 1."""
    if isinstance(value, Box):
        return value.to_list()
    if isinstance(value, Mapping):
        return {key: _plain(part) for key, part in value.items() if part is not None}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(part) for part in value]
    if isinstance(value, str) and re.fullmatch(r"[-+]?\d+(\.\d+)?", value):
        value = float(value)
    return int(value) if isinstance(value, float) and value.is_integer() else value


def describe_run(kind: str, seed: int, source: Source, arguments: Mapping[str, Any], **settings: Any) -> dict[str, Any]:
    """What was run on what, with which versions: all that the results of a run depend on, as JSON values.

    Parameters
    ----------
    kind : of run: the verb that makes such runs
    seed : of all randomness in the run
    source : the events
    arguments : of :func:`arguments_of`
    settings : what follows from them, as JSON values
    """
    events, record = source.events, ingest_record(source.path)
    kept = source.path.is_file()  # events in memory are kept in a file once there is a run to keep
    return {
        "format": 2,
        "kind": kind,
        "arguments": dict(arguments),
        "seed": seed,
        "versions": {
            "stpp": stpp.__version__,
            "python": platform.python_version(),
            **{name: version(name) for name in RECORDED_VERSIONS},
        },
        "input": {
            "path": str(source.path.resolve()),
            "sha256": sha256(source.path) if kept else None,
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
    """What the results of a run depend on: its description, without where and how it ran."""
    described = itertools.takewhile(lambda item: item[0] != "directory", manifest.items())
    return {name: value for name, value in described if name != "argv"}


def command_of(manifest: Mapping[str, Any]) -> str:
    """The command line that makes such a run, whoever made it; the events file by its name."""
    known = manifest["input"]
    words = ["stpp", manifest["kind"]]
    given = {**known["reading"], **manifest["arguments"]}
    if manifest["kind"] == "fit":
        words.append(str(given.pop("model")))
    words.append(Path(known["path"]).name)
    options = given.pop("options", {})
    for name, value in {**given, **options}.items():
        flag = "-B" if name == "B" else f"--{name.replace('_', '-')}"
        text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
        words += [flag] if value is True else [f"{flag}={text}"]  # = since a box may begin with a minus
    return shlex.join([*words, *([f"--seed={manifest['seed']}"] if manifest["seed"] else [])])


@contextmanager
def resumed(output: Path | None, description: Mapping[str, Any], *, force: bool) -> Iterator[Path | None]:
    """The working directory of a long run, which goes on where an interrupted one of the same description stopped.

    None where nothing is written.
    """
    if output is None:
        yield None
        return
    with resumable_run(output, essence(description), force=force) as directory:
        if len(list(directory.iterdir())) > 1:
            logger.info("going on where an interrupted run of %s stopped", output)
        try:
            yield directory
        except (KeyboardInterrupt, SystemExit):
            logger.info("what is finished is kept: the same command goes on from there to %s", output)
            raise


def write_manifest(
    directory: Path, description: Mapping[str, Any], source: Source, started: float, **measured: Any
) -> None:
    """Write ``manifest.json``: the description of a run, where, how and when it ran, how long, with how much memory.

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
        "argv": list(COMMAND.get()),
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


def kind_of(manifest: Mapping[str, Any]) -> str:
    """What kind of run it is: ``evaluate``, ``basins``, ``fit``, …; empty where the manifest does not tell."""
    older = next(iter(manifest.get("argv", [])[1:]), "")  # until format 2 the command line was all that told
    return str(manifest.get("kind", older))


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
