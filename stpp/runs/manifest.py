"""The manifest of a run: its command line, versions and events, as ``manifest.json``; and the events, read again."""

from __future__ import annotations

import hashlib
import itertools
import json
import platform
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd

import stpp
from stpp.compute.memory import peak_memory_mb
from stpp.events import Events
from stpp.ingest import storage
from stpp.ingest.readers import ReadOptions, ingest
from stpp.ingest.storage import ingest_record

TIE_POLICY = "events with the same time stamp share a history and never excite one another"

OUTPUT = ("-o", "--output", "--animate", "--images")
MANNERS = ("--force", "--quiet", "--json")
"""Options, with a value and without, that say what is written where and how it is told, and change no result."""

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
        as :func:`stpp.ingest.readers.ingest`
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


def verb_of(manifest: Mapping[str, Any]) -> str:
    """The command that made a run: ``evaluate``, ``basins``, ``fit``, …; empty where the manifest does not tell."""
    return str(next(iter(manifest.get("argv", [])[1:]), ""))


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
