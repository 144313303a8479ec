"""The events file: a Parquet file that keeps Events exactly."""

from __future__ import annotations

import base64
import binascii
import json
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.ipc
import pyarrow.parquet

from stpp.events import Events
from stpp.ingest.formats import load_parquet

KEY = b"stpp"  # of the schema metadata that says that a Parquet file is an events file
FORMAT = 1


def write_events(events: Events, path: str | Path) -> None:
    """Write an events file; a file of that name is replaced whole or not at all.

    Its columns are ``t`` (days since the epoch), one for each axis, ``weight``, ``author`` and ``parent`` (row number,
    −1 for none) where known, and the marks, in this order; a name that is taken gets "mark." before it. The schema
    metadata under ``stpp`` holds format, epoch, axes, authors, how many columns are not marks, and the marks' Arrow
    schema (Parquet alone would turn seconds into milliseconds).

    Raises
    ------
    ValueError
        if it cannot be written there

    Examples
    --------
    >>> events = Events([0.5], [[0.1, 0.2]])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_events(events, f"{folder}/events.parquet")
    ...     load_events(Path(folder, "events.parquet")).t.tolist()
    [0.5]
    """
    path = Path(path)
    columns: dict[str, pa.Array | pa.ChunkedArray] = {"t": pa.array(events.t)}
    for axis, values in zip(events.axes, events.x.T, strict=True):
        columns[_free(axis, columns, "axis.")] = pa.array(values)
    columns[_free("weight", columns, "event.")] = pa.array(events.weight)
    known = []
    if events.author is not None:
        known.append("author")
        codes = pa.array(events.author, pa.int64(), mask=events.author < 0)
        columns[_free("author", columns, "event.")] = pa.array(events.authors, pa.large_string()).take(codes)
    if events.parent is not None:
        known.append("parent")
        columns[_free("parent", columns, "event.")] = pa.array(events.parent)
    own = len(columns)
    marks = pa.table({}) if events.marks is None else events.marks
    for name in marks.column_names:
        columns[_free(name, columns, "mark.")] = marks.column(name)
    facts = {"format": FORMAT, "epoch": events.epoch, "axes": events.axes, "authors": events.authors, "known": known}
    facts |= {"own_columns": own, "marks": base64.b64encode(marks.schema.serialize()).decode()}
    table = pa.table(columns).replace_schema_metadata({KEY: json.dumps(facts)})
    if not path.parent.is_dir():
        raise ValueError(f"{path} cannot be written: there is no folder {path.parent}")
    if path.is_dir():
        raise ValueError(f"{path} cannot be written: it is a folder")
    try:
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as scratch:
            draft = Path(scratch) / path.name
            pa.parquet.write_table(table, draft, compression="zstd")
            draft.replace(path)
    except (OSError, pa.ArrowException) as error:
        raise ValueError(f"{path} cannot be written: {getattr(error, 'strerror', None) or error}") from error


def _free(name: str, taken: dict[str, pa.Array], prefix: str) -> str:
    while name in taken:
        name = prefix + name
    return name


def is_events_file(path: Path) -> bool:
    """Whether a file says of itself that :func:`write_events` wrote it."""
    if not path.is_file() or path.suffix.lower() != ".parquet":
        return False
    try:
        return KEY in (pa.parquet.read_schema(path).metadata or {})
    except (pa.ArrowException, OSError):
        return False  # reading it as posts will say what is wrong


def load_events(path: Path) -> Events:
    """The events that :func:`write_events` wrote, exactly.

    Raises
    ------
    ValueError
        if the file is damaged or of a newer format
    """
    table = load_parquet(path)
    try:
        facts = json.loads(table.schema.metadata[KEY])
        if facts["format"] > FORMAT:
            raise ValueError(f"{path} was written by a newer stpp (format {facts['format']}): upgrade stpp to read it")
        axes, authors, own = tuple(facts["axes"]), tuple(facts["authors"]), int(facts["own_columns"])
        t, *x = (table.column(k).to_numpy() for k in range(1 + len(axes)))
        rest = {name: table.column(2 + len(axes) + k) for k, name in enumerate(facts["known"])}
        author = parent = None
        if "author" in rest:
            codes = pc.index_in(rest["author"], value_set=pa.array(authors, pa.large_string()), skip_nulls=True)
            author = pc.fill_null(codes, -1).to_numpy().astype(np.int64)
        if "parent" in rest:
            parent = rest["parent"].to_numpy()
        schema = pa.ipc.read_schema(pa.BufferReader(base64.b64decode(facts["marks"])))
        marks = table.select(range(own, table.num_columns)).rename_columns(schema.names).cast(schema)
        weight = table.column(1 + len(axes)).to_numpy()
        return Events(
            t,
            np.column_stack(x),
            weight,
            author,
            authors,
            parent,
            marks if schema.names else None,
            facts["epoch"],
            axes,
        )
    except (KeyError, IndexError, TypeError, json.JSONDecodeError, binascii.Error, pa.ArrowException) as error:
        raise ValueError(f"{path} is a damaged events file ({error!s:.70}): ingest the posts again") from error


def ingest_record(events: Path) -> Path:
    """Where ``stpp ingest`` keeps its account of an events file: ``NAME.ingest.json`` beside it."""
    return events.with_suffix(".ingest.json")
