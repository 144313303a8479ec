"""Events files, ingested or simulated, with their records beside them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stpp.files.outputs import new_file
from stpp.ingest import storage
from stpp.ingest.readers import ReadOptions, ingest
from stpp.ingest.storage import ingest_record
from stpp.runs import COMMAND
from stpp.simulation import branching as simulation
from stpp.simulation import worlds


def ingest_to(
    output: Path, files: Sequence[Path], options: ReadOptions, *, force: bool = False
) -> tuple[dict[str, Any], list[str]]:
    """Read files of posts into an events file, its rejects and its record beside it.

    Returns
    -------
    the record as JSON values, and as lines of text

    Raises
    ------
    ValueError
        as :func:`stpp.ingest.readers.ingest`, and if a file exists and ``force`` is not given

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     posts = Path(folder, "posts.csv")
    ...     _ = posts.write_text("t,x,y" + chr(10) + "0,0.1,0.2" + chr(10))
    ...     account, lines = ingest_to(Path(folder, "events.parquet"), [posts], ReadOptions())
    >>> account["kept"]
    1
    """
    rejects = output.with_suffix(".rejects.parquet")
    with (
        new_file(output, force=force) as new_events,
        new_file(rejects, force=force) as new_rejects,
        new_file(ingest_record(output), force=force) as new_record,
    ):
        read = ingest(files, options)
        account = {"argv": list(COMMAND.get()), "seed": options.seed, **read.report.to_dict()}
        new_record.write_text(json.dumps(account, indent=1) + "\n")
        read.rejects.to_parquet(new_rejects, index=False)
        storage.write_events(read.events, new_events)
    return account, [*read.report.lines(), f"written    {output}, {rejects}"]


def simulate_to(output: Path, world: str, n: int, seed: int = 0, *, force: bool = False) -> tuple[Path, int]:
    """Draw a Hawkes process or a planted world into an events file, its truth beside it.

    Returns
    -------
    the path of the truth, and the number of events

    Raises
    ------
    ValueError
        if there is no such world, or a file exists and ``force`` is not given

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     truth, n = simulate_to(Path(folder, "world.parquet"), "static", 100)
    >>> 60 < n < 140
    True
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
