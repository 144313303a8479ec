"""The posts that a page carries: all of them or a sample, quantised; their groups, texts and authors."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from stpp.domain import Array
from stpp.events import Events
from stpp.ingest import columns as cols
from stpp.maps.scene import Basins, Canvas

STEPS = 2**32 - 1
"""Of time, at most; those of a place are 2¹⁶ − 1 on each axis."""

SEED = 0
"""Of the sample: the same scene shows the same posts."""

MOST_NAMED = 7
"""Authors or values of a mark that get a colour each; people do not tell more apart."""

BINS = 8
"""Steps of colour for a mark of numbers."""

CHUNK = 2048
"""Posts whose texts are unzipped together in the page."""

LONGEST_TEXT = 500
"""Characters."""

LONGEST_LABEL = 60
"""Characters."""

AROUND = 0.5
"""Share of the map's sides, beyond each end, within which posts are drawn; one far away would crowd all others."""

ROOM_FOR_TEXTS = 30_000_000
"""Bytes of UTF-8."""

UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
"""Control characters other than tab and line feed, and halves of characters, which UTF-8 cannot write."""


@dataclass(frozen=True, eq=False)
class Shown:
    """Posts on a page.

    Parameters
    ----------
    rows : (m,) increasing, of the canvas' events
    arrays : by name, to be packed: ``x`` and ``y`` uint16 over ``box``, ``time`` uint32 ticks since the first,
        ``weight`` float32, ``engagement`` float32 where the marks tell of it, ``track`` uint16 (track + 1; 0 for no
        basin) where there are basins, and a ``group-K`` uint8 for each group: which of its labels
    blobs : by name; ``texts-K`` is JSON: the authors and the texts of the K-th ``CHUNK`` of posts, in two lists
    facts : the part of the page's facts that speaks of posts:
        ``box`` [x0, x1, y0, y1];
        ``posts``: how many there are in ``total``, how many of them ``far`` outside the map and never drawn, how many
        are ``shown``, when the ``first`` came (ms since 1970),
        milliseconds per ``tick``, what ``engagement`` is (None where no mark tells of any), and whether weights differ
        (``weighted``);
        ``groups``: ``name``, ``kind`` (category or number, in which case labels ascend), ``labels``, ``array``, and
        ``rest``: the number of the label that gathers what has no colour of its own, None if there is none;
        ``texts``: None without them, else posts per ``chunk``, number of ``chunks``, of posts whose text is ``kept``,
        and whether others had to go without (``capped``)
    """

    rows: NDArray[np.int64]
    arrays: dict[str, NDArray[Any]]
    blobs: dict[str, str]
    facts: dict[str, Any]


@dataclass(frozen=True, eq=False)
class Group:
    """What posts can be coloured by.

    Parameters
    ----------
    name : of it
    kind : category or number
    labels : at most 9
    rest : number of the label for what has no colour of its own, or None
    of_event : (n,) uint8 number of each event's label
    """

    name: str
    kind: str
    labels: tuple[str, ...]
    rest: int | None
    of_event: NDArray[np.uint8]


def shown_posts(
    canvas: Canvas, basins: Basins | None, most: int, texts: Sequence[str] | None, colours: Sequence[str] = ()
) -> Shown:
    """Choose and quantise.

    Parameters
    ----------
    canvas : whose events they are
    basins : that they may lie in
    most : posts; of more than these a sample without replacement is shown, in which heavier posts are likelier
    texts : (n,) of all events; without them no author's name is shown either
    colours : names of marks to colour by

    Raises
    ------
    ValueError
        if ``most`` is not positive, or a mark to colour by cannot be shown
    KeyError
        if there is no such mark (those that exist are named)
    """
    events = canvas.events
    near = _near(canvas)
    rows = near[sampled(events.weight[near], most)]
    box, x, y = _places(canvas, rows)
    first, tick, time = _times(events)
    arrays: dict[str, NDArray[Any]] = {
        "x": x,
        "y": y,
        "time": time[rows],
        "weight": events.weight[rows].astype(np.float32),
    }
    kind, engagement = engagement_of(events)
    if engagement is not None:
        arrays["engagement"] = engagement[rows]
    if basins is not None:
        arrays["track"] = (basins.of_event[rows] + 1).astype(np.uint16)
    groups = _groups(events, colours, named=texts is not None)
    for k, group in enumerate(groups):
        arrays[f"group-{k}"] = group.of_event[rows]
    blobs: dict[str, str] = {}
    kept = None
    if texts is not None:
        kept, blobs = _texts(events, rows, texts, events.weight if engagement is None else engagement)
    facts = {
        "box": box,
        "posts": {
            "total": len(events),
            "far": len(events) - len(near),
            "shown": len(rows),
            "first": first,
            "tick": tick,
            "weighted": len(events) > 0 and bool(np.ptp(events.weight) > 0),
            "engagement": kind,
        },
        "groups": [
            {"name": one.name, "kind": one.kind, "labels": one.labels, "rest": one.rest, "array": f"group-{k}"}
            for k, one in enumerate(groups)
        ],
        "texts": kept,
    }
    return Shown(rows, arrays, blobs, facts)


def sampled(weight: Array, most: int) -> NDArray[np.int64]:
    """Increasing numbers of at most ``most`` posts, drawn one after the other with odds by weight, without replacement.

    The smallest of exponential waiting times, at rates that are the weights, are such a sample [1]_. Posts of weight 0
    come only when all others have.

    References
    ----------
    .. [1] Efraimidis, P. S., & Spirakis, P. G. (2006). Weighted random sampling with a reservoir. Information
       Processing Letters, 97(5), 181-185.
    """
    if most < 1:
        raise ValueError(f"a page shows at least 1 post, got {most}")
    if len(weight) <= most:
        return np.arange(len(weight))
    draw = np.random.default_rng(SEED).exponential(size=len(weight))
    with np.errstate(divide="ignore"):
        wait = np.log(draw) - np.log(weight)  # of draw / weight, which may overflow
    return np.sort(np.lexsort((draw, wait))[:most])


def engagement_of(events: Events) -> tuple[str | None, NDArray[np.float32] | None]:
    """What counts as engagement with a post, in words, and (n,) how much there was; None where no mark tells.

    It is retweets plus favourites; a count that is missing or negative is none.
    """
    marks = pa.table({}) if events.marks is None else events.marks
    words, total = [], np.zeros(len(events))
    for word, wanted in (("retweets", cols.RETWEETS), ("favourites", cols.FAVOURITES)):
        name = cols.find(marks.column_names, wanted, "the events")
        if name is not None:
            words.append(word)
            count, _ = cols.numbers(marks.column(name), name, "the events")
            total += np.where(np.isfinite(count) & (count > 0), count, 0.0)
    return (" + ".join(words), total.astype(np.float32)) if words else (None, None)


def printable(text: str) -> str:
    """A text without control characters; all else stays as it is."""
    return UNPRINTABLE.sub("", text)


def shortened(text: str, longest: int) -> str:
    """At most so many characters, the last one … if some are missing."""
    return text if len(text) <= longest else text[: longest - 1] + "…"


def names_of(events: Events) -> list[str]:
    """The name of each event's author, empty where it is unknown."""
    if events.author is None:
        return [""] * len(events)
    names = [*map(printable, events.authors), ""]  # the last one answers for −1
    return [names[code] for code in events.author]


# -- places and times -------------------------------------------------------------------------------------------


def _near(canvas: Canvas) -> NDArray[np.int64]:
    """The numbers of the events that lie on the map's grid, or not far outside."""
    low, high = np.array(canvas.grid.box.low), np.array(canvas.grid.box.high)
    reach, x = AROUND * (high - low), canvas.places(canvas.events.x)
    return np.flatnonzero(((x >= low - reach) & (x <= high + reach)).all(axis=1))


def _places(canvas: Canvas, rows: NDArray[np.int64]) -> tuple[list[float], NDArray[np.uint16], NDArray[np.uint16]]:
    """[x0, x1, y0, y1] around the map's grid and the rows; their places as steps in it."""
    x = canvas.places(canvas.events.x[rows])
    low, high = np.array(canvas.grid.box.low), np.array(canvas.grid.box.high)
    if len(x):
        low, high = np.minimum(low, x.min(axis=0)), np.maximum(high, x.max(axis=0))
    q = np.rint((x - low) / (high - low) * 65535).astype(np.uint16)
    return [low[0], high[0], low[1], high[1]], q[:, 0], q[:, 1]


def _times(events: Events) -> tuple[float, float, NDArray[np.uint32]]:
    """The first event's time in ms since 1970, ms per tick, and each event's ticks since the first.

    Ticks are whole seconds or milliseconds, and so exact, where times are and their span has room for it.
    """
    epoch = datetime.fromisoformat(events.epoch).timestamp()
    seconds = events.t * 86_400.0
    if not len(events):
        return epoch * 1000.0, 1000.0, np.zeros(0, np.uint32)
    for tick in (1.0, 1e-3):
        steps = np.rint(seconds / tick)
        if np.abs(steps * tick - seconds).max() <= 1e-6 and steps[-1] - steps[0] <= STEPS:
            return (epoch + steps[0] * tick) * 1000.0, tick * 1000.0, (steps - steps[0]).astype(np.uint32)
    span = seconds[-1] - seconds[0]
    tick = max(span / STEPS, 1e-9)
    return (epoch + seconds[0]) * 1000.0, tick * 1000.0, np.rint((seconds - seconds[0]) / tick).astype(np.uint32)


# -- groups -----------------------------------------------------------------------------------------------------


def _groups(events: Events, colours: Sequence[str], *, named: bool) -> list[Group]:
    """Authors, where they are known, and the marks that were asked for."""
    groups = []
    if events.author is not None and (events.author >= 0).any():
        groups.append(_categories("author", events.author, events.authors if named else None))
    for name in dict.fromkeys(colours):
        if not named and cols.find([name], (*cols.AUTHOR, *cols.TEXT), "the events"):
            raise ValueError(f"colours by '{name}' would show authors or texts: --texts allows it")
        values = events.mark(name)
        title = printable(name)
        while title in {"plain", "basin", *(group.name for group in groups)}:
            title = f"mark.{title}"
        if values.dtype.kind in "iuf":
            groups.append(_numbers(title, values.astype(np.float64)))
            continue
        try:
            code, found = pd.factorize(values)
        except TypeError as error:
            raise ValueError(f"posts cannot be coloured by '{name}', which holds lists or objects") from error
        groups.append(_categories(title, code, [str(value) for value in found]))
    return groups


def _categories(name: str, code: NDArray[np.integer[Any]], values: Sequence[str] | None) -> Group:
    """The values that occur most, and one label for all others.

    Parameters
    ----------
    name : of the group
    code : (n,) number of each event's value, −1 where it is missing
    values : in words; None to call them by how often they occur: NAME 1, NAME 2, …
    """
    count = np.bincount(code[code >= 0])
    top = np.argsort(-count, kind="stable")[:MOST_NAMED]
    top = top[count[top] > 0]
    label_of = np.full(len(count) + 1, len(top))  # the last one answers for −1
    label_of[top] = np.arange(len(top))
    words = [f"{name} {k + 1}" for k in range(len(top))] if values is None else [_label(values[k]) for k in top]
    labels = [f"{word} ({_posts(count[k])})" for word, k in zip(words, top, strict=True)]
    left = len(code) - int(count[top].sum())
    if left:
        labels.append(f"{'others' if (count > 0).sum() > len(top) else 'none'} ({_posts(left)})")
    return Group(name, "category", tuple(labels), len(top) if left else None, label_of[code].astype(np.uint8))


def _numbers(name: str, values: Array) -> Group:
    """Few different numbers each by itself, more in bins that hold about as many posts each."""
    known = np.isfinite(values)
    found = np.unique(values[known])
    if len(found) <= BINS:
        labels = [f"{value:,.6g}" for value in found]
        step = np.searchsorted(found, values)
    else:
        share = np.linspace(0, 1, BINS + 1)
        edges = np.unique(np.quantile(values[known], share))
        if len(edges) <= BINS:  # one number is that of very many posts
            edges = np.unique(np.quantile(found, share))
        labels = [f"{low:,.6g} to {high:,.6g}" for low, high in pairwise(edges)]
        step = np.searchsorted(edges[1:-1], values, side="right")
    if not known.all():
        labels.append(f"none ({_posts(int((~known).sum()))})")
    step = np.where(known, step, len(labels) - 1)
    return Group(name, "number", tuple(labels), None if known.all() else len(labels) - 1, step.astype(np.uint8))


def _label(text: str) -> str:
    return shortened(" ".join(printable(text).split()), LONGEST_LABEL) or "(empty)"


def _posts(number: int) -> str:
    return f"{number:,} {'post' if number == 1 else 'posts'}"


# -- texts ------------------------------------------------------------------------------------------------------


def _texts(
    events: Events, rows: NDArray[np.int64], texts: Sequence[str], worth: Array | NDArray[np.float32]
) -> tuple[dict[str, Any], dict[str, str]]:
    """Authors and texts of the rows, as facts and blobs; if there is no room for all, for those of most worth."""
    if len(texts) != len(events):
        raise ValueError(f"{len(texts):,} texts for {len(events):,} events")
    names = names_of(events)
    author = [names[row] for row in rows]
    text = [shortened(printable(texts[row]), LONGEST_TEXT) for row in rows]
    size = np.array([len((a + b).encode("utf-8")) for a, b in zip(author, text, strict=True)], dtype=np.int64)
    order = np.argsort(-worth[rows], kind="stable")
    kept = np.empty(len(rows), dtype=bool)
    kept[order] = np.cumsum(size[order]) <= ROOM_FOR_TEXTS
    for k in np.flatnonzero(~kept):
        author[k] = text[k] = ""
    starts = range(0, len(rows), CHUNK)
    blobs = {
        f"texts-{k}": json.dumps([author[i : i + CHUNK], text[i : i + CHUNK]], ensure_ascii=False)
        for k, i in enumerate(starts)
    }
    return {"chunk": CHUNK, "chunks": len(starts), "kept": int(kept.sum()), "capped": not kept.all()}, blobs
