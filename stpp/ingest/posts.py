"""Rows of posts, parsed: what each column of a file means, and each row's fate."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from stpp.dates import day_of
from stpp.domain import Array, Box
from stpp.events import EPOCH
from stpp.ingest import columns as cols
from stpp.ingest.formats import RawTable
from stpp.ingest.quality import Sieve

COORDS_FLAG = "name them with --coords A,B"


@dataclass(frozen=True)
class ReadOptions:
    """How to read posts.

    Parameters
    ----------
    time : column of times; found by name if None
    coords : coordinate columns; found by name if None
    weight : 'uniform' (1), 'linear' (a·RT + b·favourites + c), 'log' (1 + ln(1 + RT + α·favourites)) or the name of
        a column of numbers ≥ 0; None is uniform, or the weights that an events file has
    a, b, c, alpha : coefficients ≥ 0
    start, end : keep times in [start, end); ISO dates (UTC) or days since the epoch
    box : rows outside are rejects
    sample : keep a random sample of this many
    seed : of the sample and the text space
    strict : any reject is an error
    embed : 'lsa' to place posts by their text
    dims : of the text space
    space_until : the text space sees posts before this date only (``end`` if None)

    Raises
    ------
    ValueError
        if a value makes no sense

    Examples
    --------
    >>> ReadOptions(coords=("sincerity", "charity"), weight="log").coords
    ('sincerity', 'charity')
    """

    time: str | None = None
    coords: tuple[str, ...] | None = None
    weight: str | None = None
    a: float = 1.0
    b: float = 1.0
    c: float = 1.0
    alpha: float = 1.0
    start: str | float | None = None
    end: str | float | None = None
    box: Box | None = None
    sample: int | None = None
    seed: int = 0
    strict: bool = False
    embed: str | None = None
    dims: int = 2
    space_until: str | float | None = None

    def __post_init__(self) -> None:
        for name in ("a", "b", "c", "alpha"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise ValueError(f"weight coefficient {name} must be ≥ 0, got {value:g}")
        if self.sample is not None and self.sample < 1:
            raise ValueError(f"a sample needs at least 1 event, got {self.sample}")
        if self.embed not in (None, "lsa"):
            raise ValueError(f"no embedding '{self.embed}'; there is: lsa")
        if self.embed and self.coords:
            raise ValueError("--coords and --embed both say where posts lie: give one of them")
        if self.space_until is not None and not self.embed:
            raise ValueError("--space-until is for the space that --embed makes: give --embed lsa too")
        if self.dims < 1:
            raise ValueError(f"a text space needs at least 1 dimension, got {self.dims}")
        if self.coords is not None and (not self.coords or len(set(self.coords)) < len(self.coords)):
            raise ValueError(f"--coords names each column once, got '{','.join(self.coords)}'")

    def dates(self, epoch: str) -> tuple[float | None, float | None]:
        """Start and end in days since ``epoch``."""
        start = None if self.start is None else day_of(self.start, epoch)
        end = None if self.end is None else day_of(self.end, epoch)
        if start is not None and end is not None and start >= end:
            raise ValueError(f"the end must come after the start; got start {self.start} and end {self.end}")
        return start, end


@dataclass
class Posts:
    """Parsed rows of one file, or of several joined.

    Parameters
    ----------
    sieve : each row's fate
    file, row : (n,) number of the file, and of the record in it (from 1)
    t : (n,) days since 1970-01-01 UTC, NaN where unreadable
    x : (n, d) places
    weight : (n,)
    id, reply, author, text : (n,) columns, all null where the file has none or it is not needed
    marks : n rows of all other columns
    columns : what was read → the columns it came from
    notes : what was taken for granted
    """

    sieve: Sieve
    file: NDArray[np.int32]
    row: NDArray[np.int64]
    t: Array
    x: Array
    weight: Array
    id: pa.ChunkedArray
    reply: pa.ChunkedArray
    author: pa.ChunkedArray
    text: pa.ChunkedArray
    marks: pa.Table
    columns: dict[str, str]
    notes: list[str]


def parse(raw: RawTable, number: int, file: str, options: ReadOptions) -> Posts:
    """Give the columns of one file their meaning.

    Parameters
    ----------
    raw : the file's rows
    number, file : its place in the list of files, and its name
    options : how to read it

    Raises
    ------
    ValueError
        if a column that is needed is missing or not of a kind that can be read
    """
    table, notes = raw.table, []
    names = table.column_names
    n = table.num_rows
    sieve = Sieve(n)
    used: dict[str, str] = {}
    flag = "name it with --time"
    time = cols.require(names, (options.time,) if options.time else cols.TIME, file, flag)
    t, note = cols.times(table.column(time), time, file)
    used["time"] = time
    notes.append(f"times in '{time}' are {note}")
    sieve.reject(np.isnan(t), "unparseable time")
    sieve.select_dates(t, *options.dates(EPOCH))

    text = _column(table, None)
    axes: tuple[str, ...] = ()
    if options.embed:
        column = cols.require(names, cols.TEXT, file, "--embed needs the posts' text")
        used["text"] = column
        text = pc.cast(table.column(column), pa.large_string())
        sieve.reject(~valid(text), "missing text")
        x = np.zeros((n, options.dims))
    else:
        axes = find_axes(names, file, options)
        x = coordinates(table, axes, file, sieve)
        used["coordinates"] = ", ".join(axes)
    weight = weights(table, options, file, sieve, used)

    identity: dict[str, pa.ChunkedArray] = {}
    for role, wanted in (("id", cols.ID), ("reply to", cols.REPLY)):
        name = cols.find(names, wanted, file)
        identity[role] = _column(table, None)
        if name is not None:
            used[role] = name
            identity[role], count = cols.ids(table.column(name))
            if count:
                notes.append(f"{count:,} values of '{name}' came as floats that have lost digits: not used")
    author = cols.find(names, cols.AUTHOR, file)
    if author is not None:
        used["author"] = author
    marks = table.drop_columns([name for name in {time, *axes, author} if name is not None])
    if not raw.typed:
        marks = pa.table({name: cols.inferred(marks.column(name), name) for name in marks.column_names})
    used["marks"] = ", ".join(marks.column_names) or "none"
    if raw.nested:
        notes.append(f"columns that hold lists or objects are left out: {', '.join(raw.nested)}")
    posts = Posts(
        sieve, np.full(n, number, np.int32), raw.rows, t, x, weight, identity["id"], identity["reply to"],
        _column(table, author).cast(pa.large_string()), text, marks, used, notes,
    )  # fmt: skip
    return _with_malformed(posts, raw.malformed, number) if raw.malformed else posts


def find_axes(names: Sequence[str], file: str, options: ReadOptions) -> tuple[str, ...]:
    """The coordinate columns that were asked for, or those that are found by name."""
    if options.coords:
        return tuple(cols.require(names, [name], file, COORDS_FLAG) for name in options.coords)
    return cols.find_coordinates(names, file)


def _column(table: pa.Table, name: str | None) -> pa.ChunkedArray:
    """A column, or nulls where there is none."""
    return pa.chunked_array([pa.nulls(table.num_rows)]) if name is None else table.column(name)


def valid(column: pa.ChunkedArray) -> NDArray[np.bool_]:
    """(n,) rows that are not null."""
    return np.asarray(pc.is_valid(column).to_numpy(zero_copy_only=False), dtype=bool)


def coordinates(table: pa.Table, axes: Sequence[str], file: str, sieve: Sieve) -> Array:
    """(n, d) places; rows without a finite number on every axis are rejected."""
    x = np.empty((table.num_rows, len(axes)))
    for k, name in enumerate(axes):
        x[:, k], unreadable = cols.numbers(table.column(name), name, file)
        sieve.reject(unreadable, f"unreadable coordinate {name}")
        sieve.reject(np.isnan(x[:, k]), f"missing coordinate {name}")
        sieve.reject(np.isinf(x[:, k]), f"non-finite coordinate {name}")
    return x


def weights(table: pa.Table, options: ReadOptions, file: str, sieve: Sieve, used: dict[str, str]) -> Array:
    """(n,) weights; rows whose counts are needed but missing or negative are rejected (their weight is 1)."""
    n = table.num_rows

    def count(wanted: Sequence[str], way_out: str) -> Array:
        name = cols.require(table.column_names, wanted, file, way_out)
        values, unreadable = cols.numbers(table.column(name), name, file)
        sieve.reject(unreadable, f"unreadable {name}")
        sieve.reject(~np.isfinite(values), f"missing {name}")
        sieve.reject(values < 0, f"negative {name}")
        used["weight"] = f"{used['weight']}, {name}" if "weight" in used else f"{options.weight}: {name}"
        return np.where(values >= 0, values, 0.0)

    if options.weight in (None, "uniform"):
        used["weight"] = "uniform"
        return np.ones(n)
    if options.weight == "linear":
        retweets = options.a * count(cols.RETWEETS, "use --weight uniform, or a = 0") if options.a else np.zeros(n)
        favourites = options.b * count(cols.FAVOURITES, "use --weight uniform, or b = 0") if options.b else np.zeros(n)
        return np.asarray(retweets + favourites + options.c)
    if options.weight == "log":
        retweets = count(cols.RETWEETS, "use --weight uniform")
        favourites = count(cols.FAVOURITES, "use --weight uniform, or alpha = 0") if options.alpha else np.zeros(n)
        return np.asarray(1 + np.log1p(retweets + options.alpha * favourites))
    return count([str(options.weight)], "--weight is uniform, linear, log or a column of numbers")


def _with_malformed(posts: Posts, malformed: dict[str, NDArray[np.int64]], number: int) -> Posts:
    """The same posts and, after them, one empty row for each record that could not be read."""
    numbers = np.concatenate(list(malformed.values()))
    causes = np.repeat(list(malformed), [len(rows) for rows in malformed.values()])
    m = len(numbers)
    sieve = Sieve(m)
    for cause in malformed:
        sieve.reject(causes == cause, cause)
    nothing = pa.chunked_array([pa.nulls(m)])
    empty = pa.table({f.name: pa.nulls(m, f.type) for f in posts.marks.schema})
    rows = Posts(
        sieve, np.full(m, number, np.int32), numbers, np.full(m, np.nan), np.full((m, posts.x.shape[1]), np.nan),
        np.ones(m), nothing, nothing, nothing, nothing, empty, posts.columns, posts.notes,
    )  # fmt: skip
    return joined([posts, rows])


# -- several files ----------------------------------------------------------------------------------------------


def joined(parts: Sequence[Posts]) -> Posts:
    """The rows of several files, one after the other.

    Raises
    ------
    ValueError
        if their numbers of coordinates differ
    """
    first = parts[0]
    if len(parts) == 1:
        return first
    for part in parts:
        if part.x.shape[1] != first.x.shape[1]:
            raise ValueError(
                f"one file has coordinates {first.columns['coordinates']}, another {part.columns['coordinates']}: "
                f"{COORDS_FLAG}"
            )
    columns = dict(first.columns)
    for part in parts[1:]:
        for role, name in part.columns.items():
            if role not in columns:
                columns[role] = name
            elif name not in columns[role].split("; "):
                columns[role] += f"; {name}"
    return Posts(
        Sieve.joined([p.sieve for p in parts]),
        np.concatenate([p.file for p in parts]),
        np.concatenate([p.row for p in parts]),
        np.concatenate([p.t for p in parts]),
        np.concatenate([p.x for p in parts]),
        np.concatenate([p.weight for p in parts]),
        _chain([p.id for p in parts]),
        _chain([p.reply for p in parts]),
        _chain([p.author for p in parts]),
        _chain([p.text for p in parts]),
        _stack([p.marks for p in parts]),
        columns,
        list(dict.fromkeys(note for p in parts for note in p.notes)),
    )


def _chain(parts: Sequence[pa.ChunkedArray]) -> pa.ChunkedArray:
    """Columns end to end; as text where their types differ, since ids must not pass through floats."""
    kinds = {part.type for part in parts if not pa.types.is_null(part.type)}
    kind = kinds.pop() if len(kinds) == 1 else pa.large_string() if kinds else pa.null()
    return pa.chunked_array([chunk for part in parts for chunk in part.cast(kind).chunks], kind)


def _stack(tables: Sequence[pa.Table]) -> pa.Table:
    """Tables end to end, null where one lacks a column."""
    names = dict.fromkeys(name for table in tables for name in table.column_names)
    return pa.table({
        name: _chain([_column(table, name if name in table.column_names else None) for table in tables])
        for name in names
    })  # fmt: skip
