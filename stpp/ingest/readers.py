"""From files of posts to Events, every row accounted for."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from stpp.dates import day_of
from stpp.events import EPOCH, Events
from stpp.ingest.formats import read_table
from stpp.ingest.posts import Posts, ReadOptions, coordinates, find_axes, joined, parse, valid, weights
from stpp.ingest.quality import QualityReport, Sieve, duplicates, identical_places, tied_times
from stpp.ingest.storage import is_events_file, load_events, write_events

logger = logging.getLogger(__name__)

__all__ = ["Ingested", "ReadOptions", "ingest", "read_events", "write_events"]


@dataclass(frozen=True)
class Ingested:
    """What :func:`ingest` hands back.

    Parameters
    ----------
    events : the events, sorted by time
    report : what became of every row
    rejects : one row per reject: ``file``, ``row`` (record number in it, from 1), ``cause``, ``id``

    Examples
    --------
    >>> import pandas as pd
    >>> frame = pd.DataFrame({"t": [0.0, 1.0], "x": [0.5, None], "y": [0.5, 0.5]})
    >>> ingest([frame]).left_out
    ['the data frame: 1 of 2 rows left out: missing coordinate x']
    """

    events: Events
    report: QualityReport
    rejects: pd.DataFrame

    @property
    def left_out(self) -> list[str]:
        """A line per cause for which rows cannot be used."""
        of = f"{', '.join(self.report.files)}: {{}} of {self.report.rows_read:,} rows left out: {{}}"
        return [of.format(f"{count:,}", cause) for cause, count in self.report.rejected.items()]


def ingest(paths: Sequence[Path | pd.DataFrame], options: ReadOptions | None = None) -> Ingested:
    """Read files or frames of posts into Events.

    A row's first trouble counts, in this order: malformed row, unparseable time, (outside the dates), coordinates or
    text, counts, duplicate id, outside the box, (not in the sample); those in brackets are selections, not rejects.

    Parameters
    ----------
    paths : files of any format of :func:`stpp.ingest.formats.read_table`, data frames, or one file that
        :func:`write_events` wrote
    options : how to read them

    Raises
    ------
    ValueError
        if a file or column is missing or cannot be read, if no row is left, or if ``options.strict`` and there are
        rejects; the message is one line with the way out
    """
    options = options or ReadOptions()
    if not paths:
        raise ValueError("no file to read: name at least one")
    names = tuple("the data frame" if isinstance(path, pd.DataFrame) else str(path) for path in paths)
    ours = [not isinstance(path, pd.DataFrame) and is_events_file(Path(path)) for path in paths]
    if any(ours):
        if len(names) > 1:
            raise ValueError(f"{names[ours.index(True)]} is an events file already: ingest the original files together")
        return _select(load_events(Path(names[0])), names[0], options)
    tables = [read_table(path) for path in paths]
    posts = joined([parse(raw, number, names[number], options) for number, raw in enumerate(tables)])
    posts.sieve.reject(duplicates(posts.id, posts.sieve.kept), "duplicate id")
    space = _embed(posts, options) if options.embed else None
    posts.sieve.reject_outside(posts.x, options.box)
    posts.sieve.sample(options.sample, options.seed)
    rejected = np.flatnonzero(posts.sieve.rejected)
    rejects = _rejects(
        posts.sieve,
        [names[k] for k in posts.file[rejected]],
        posts.row[rejected],
        posts.id.take(rejected).cast(pa.string()).to_pylist(),
    )
    _check(posts.sieve, names, options, rejects)
    replies = int((valid(posts.reply) & posts.sieve.kept).sum())
    events = _events(posts)
    return Ingested(events, _report(events, posts.sieve, names, posts.columns, posts.notes, space, replies), rejects)


def read_events(posts: str | Path | pd.DataFrame, options: ReadOptions | None = None) -> Events:
    """The events of a file that :func:`write_events` wrote, or of any file or frame that :func:`ingest` reads.

    Rows that cannot be used are logged as warnings, by cause.

    Parameters
    ----------
    posts : a file, or a data frame with a row per post
    options : how to read them

    Raises
    ------
    ValueError
        as :func:`ingest`

    Examples
    --------
    >>> import pandas as pd
    >>> frame = pd.DataFrame({"created_at": ["2020-01-01T10:00Z"], "x": [0.1], "y": [0.2], "likes": [3]})
    >>> read_events(frame, ReadOptions(weight="likes")).weight.tolist()
    [3.0]
    """
    if isinstance(posts, str):
        posts = Path(posts)
    if options is None and isinstance(posts, Path) and is_events_file(posts):
        return load_events(posts)
    read = ingest([posts], options)
    for line in read.left_out:
        logger.warning("%s", line)
    return read.events


def _rejects(sieve: Sieve, files: Sequence[str], rows: Any, ids: Sequence[Any]) -> pd.DataFrame:
    causes = [sieve.labels[k] for k in sieve.fate[sieve.rejected]]
    return pd.DataFrame({
        "file": pd.Series(files, dtype="object"), "row": np.asarray(rows, dtype=np.int64),
        "cause": pd.Series(causes, dtype="object"), "id": pd.Series(ids, dtype="object"),
    })  # fmt: skip


def _check(sieve: Sieve, names: Sequence[str], options: ReadOptions, rejects: pd.DataFrame) -> None:
    """Strictness, and nothing left."""

    def told(counts: Mapping[str, int]) -> str:
        return "; ".join(f"{count:,} {label}" for label, count in counts.items())

    if options.strict and len(rejects):
        first = rejects.iloc[0]
        raise ValueError(
            f"{len(rejects):,} of {len(sieve.fate):,} rows cannot be used: {told(sieve.causes())}; the first is row "
            f"{first['row']} of {first['file']}: mend them or drop --strict"
        )
    if not sieve.kept.any():
        fates = told(sieve.causes() | sieve.selected_out())
        raise ValueError(
            f"{', '.join(names)}: none of {len(sieve.fate):,} rows is left ({fates}): widen what you ask for"
        )


def _embed(posts: Posts, options: ReadOptions) -> dict[str, Any]:
    """Place the kept posts by their text (in ``posts.x``); returns what the space saw."""
    from stpp.meaning.lsa import TextSpace  # scikit-learn takes a second to import

    limit = options.end if options.space_until is None else options.space_until
    until = math.inf if limit is None else day_of(limit, EPOCH)
    seen = np.flatnonzero((posts.t < until) & valid(posts.text))  # also posts before the start of the selection
    if not len(seen):
        way_out = "" if limit is None else f" before {limit}: use a later --space-until"
        raise ValueError(f"the text space has nothing to see: no post with time and text{way_out}")
    space = TextSpace.fit(posts.text.take(seen).to_pylist(), options.dims, options.seed)
    rows = np.flatnonzero(posts.sieve.kept)
    if len(rows):
        posts.x[rows], known = space.place(posts.text.take(rows).to_pylist())
        strange = np.zeros(len(posts.t), dtype=bool)
        strange[rows[~known]] = True
        posts.sieve.reject(strange, "no word that the text space knows")
    posts.columns["coordinates"] = ", ".join(f"lsa{k}" for k in range(options.dims))
    last = np.datetime64(EPOCH[:10], "s") + np.timedelta64(round(float(posts.t[seen].max()) * 86_400), "s")
    return {
        "method": str(options.embed), "dims": options.dims, "seed": options.seed, "posts": len(seen),
        "until": None if limit is None else str(limit), "last": str(last), "words": len(space.vectorizer.vocabulary_),
    }  # fmt: skip


def _events(posts: Posts) -> Events:
    """The kept rows, taken once, in time order."""
    rows = np.flatnonzero(posts.sieve.kept)
    rows = rows[np.argsort(posts.t[rows], kind="stable")]
    whole = len(rows) == len(posts.t) and bool((np.diff(rows) == 1).all())

    def pick(column: Any) -> Any:
        return column if whole else column.take(rows)  # a copy of all text is worth sparing

    author = parent = None
    authors: tuple[str, ...] = ()
    if "author" in posts.columns:
        coded = pick(posts.author).combine_chunks().dictionary_encode()
        author = coded.indices.fill_null(-1).to_numpy()
        authors = tuple(coded.dictionary.to_pylist())
    if "reply to" in posts.columns and "id" in posts.columns:
        own, reply = pick(posts.id), pick(posts.reply)
        if own.type != reply.type:
            own, reply = own.cast(pa.large_string()), reply.cast(pa.large_string())
        found = pc.index_in(reply, value_set=own.combine_chunks(), skip_nulls=True)
        parent = pc.fill_null(found, -1).to_numpy().astype(np.int64)
        parent[parent == np.arange(len(rows))] = -1  # a post cannot answer itself
    marks = pick(posts.marks)
    axes = posts.columns["coordinates"].split("; ")[0].split(", ")
    return Events(
        posts.t[rows],
        posts.x[rows],
        posts.weight[rows],
        author,
        authors,
        parent,
        marks if marks.num_columns else None,
        EPOCH,
        tuple(axes),
    )


def _report(
    events: Events,
    sieve: Sieve,
    names: tuple[str, ...],
    columns: dict[str, str],
    notes: Sequence[str],
    space: dict[str, Any] | None,
    replies: int,
) -> QualityReport:
    resolved = 0 if events.parent is None else int((events.parent >= 0).sum())
    return QualityReport(
        files=names,
        rows_read=len(sieve.fate),
        kept=len(events),
        rejected=sieve.causes(),
        selected_out=sieve.selected_out(),
        columns=columns,
        assumptions=tuple(notes),
        tied_times=tied_times(events),
        identical_places=identical_places(events),
        replies=max(replies, resolved),
        replies_resolved=resolved,
        space=space,
    )


# -- an events file, read again ---------------------------------------------------------------------------------


def _select(events: Events, file: str, options: ReadOptions) -> Ingested:
    """What is asked for of events that were read before: dates, box, sample, other coordinates, other weights."""
    if options.embed or options.time not in (None, "t"):
        raise ValueError(
            f"{file} is an events file: its times and text space are fixed; ingest the original file again"
        )
    sieve = Sieve(len(events))
    sieve.select_dates(events.t, *options.dates(events.epoch))
    values = {} if events.marks is None else dict(zip(events.marks.column_names, events.marks.columns, strict=True))
    values |= {name: pa.chunked_array([pa.array(column)]) for name, column in zip(events.axes, events.x.T, strict=True)}
    table = pa.table(values)
    axes, x = events.axes, events.x
    if options.coords:
        axes = find_axes(table.column_names, file, options)
        x = coordinates(table, axes, file, sieve)
    columns = {"time": "t", "coordinates": ", ".join(axes), "weight": "weight"}
    weight = events.weight
    if options.weight is not None:
        del columns["weight"]
        weight = weights(table, options, file, sieve, columns)
    sieve.reject_outside(x, options.box)
    sieve.sample(options.sample, options.seed)
    rejected = np.flatnonzero(sieve.rejected)
    rejects = _rejects(sieve, [file] * len(rejected), rejected + 1, [None] * len(rejected))
    _check(sieve, [file], options, rejects)
    if axes != events.axes:  # coordinates that are not in use stay as marks
        marks = table.drop_columns([*axes])
        events = replace(events, marks=marks if marks.num_columns else None)
    rows = np.flatnonzero(sieve.kept)
    chosen = replace(events.take(rows), x=x[rows], weight=weight[rows], axes=axes)
    notes = [f"t counts days since {events.epoch}"]
    return Ingested(chosen, _report(chosen, sieve, (file,), columns, notes, None, 0), rejects)
