"""Events: times, places, weights and marks, columnar, sorted by time and immutable."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from html import escape
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray

from stpp.dates import Moment, day_of
from stpp.domain import Array, Box

EPOCH = "1970-01-01T00:00:00+00:00"


@dataclass(frozen=True)
class Window:
    """The half-open interval [start, end) of time, in days since the events' epoch.

    :meth:`Events.window` makes one from dates.

    Parameters
    ----------
    start, end : days

    Raises
    ------
    ValueError
        if it is not finite or does not end after it starts

    Examples
    --------
    >>> week = Window(0, 7)
    >>> week.duration
    7.0
    >>> [one.start for one in week.rolling(step=3, horizon=1)]
    [0.0, 3.0, 6.0]
    """

    start: float
    end: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "start", float(self.start))
        object.__setattr__(self, "end", float(self.end))
        if not (math.isfinite(self.start) and math.isfinite(self.end) and self.start < self.end):
            raise ValueError(f"a window must end after it starts; got [{self.start:g}, {self.end:g})")

    @property
    def duration(self) -> float:
        """Length in days."""
        return self.end - self.start

    def rolling(self, step: float, horizon: float | None = None) -> Iterator[Window]:
        """Windows [s, s + horizon) for s = start, start + step, … that end inside this one."""
        length = step if horizon is None else horizon
        if not (step > 0 and length > 0):
            raise ValueError(f"step and horizon must be longer than 0 days; got {step:g} and {length:g}")
        for k in range(math.floor((self.duration - length) / step + 1e-9) + 1):
            yield Window(self.start + k * step, self.start + k * step + length)


@dataclass(frozen=True, eq=False)
class Events:
    """A marked spatio-temporal point pattern.

    Parameters
    ----------
    t : (n,) float, days since ``epoch``; need not come sorted, is sorted (stably) here
    x : (n, d) float, place in map units
    weight : (n,) float ≥ 0, importance; 1 where absent
    author : (n,) int codes into ``authors``, or None
    authors : names behind the codes
    parent : (n,) int, row of the event replied to, −1 for none, or None where unknown
    marks : pyarrow Table of n rows with any further columns, or None
    epoch : ISO time that ``t`` counts from
    axes : names of the d coordinates

    Raises
    ------
    ValueError
        if lengths disagree, a time or coordinate is not finite, or a weight is negative

    Examples
    --------
    >>> events = Events([0.5, 0.1, 2.0], [[0.2, 0.3], [0.4, 0.1], [0.9, 0.9]])
    >>> events
    <Events: 3 from 1970-01-01 02:24 to 1970-01-03 00:00 UTC, 2-d (x0, x1)>
    >>> events.t.tolist()
    [0.1, 0.5, 2.0]
    >>> len(events.before("1970-01-02"))
    2
    """

    t: Array
    x: Array
    weight: Array = field(default=None)  # type: ignore[arg-type]
    author: NDArray[np.int64] | None = None
    authors: tuple[str, ...] = ()
    parent: NDArray[np.int64] | None = None
    marks: pa.Table | None = None
    epoch: str = EPOCH
    axes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        t = np.array(self.t, dtype=np.float64)
        x = np.array(self.x, dtype=np.float64)
        if x.ndim == 1:
            x = x[:, None]
        n = len(t)
        weight = np.ones(n) if self.weight is None else np.array(self.weight, dtype=np.float64)
        if t.ndim != 1 or x.ndim != 2 or len(x) != n or weight.shape != (n,) or x.shape[1] < 1:
            raise ValueError(f"events need t (n,), x (n, d), weight (n,); got {t.shape}, {x.shape}, {weight.shape}")
        if not (np.isfinite(t).all() and np.isfinite(x).all()):
            raise ValueError("event times and coordinates must be finite")
        if not (np.isfinite(weight).all() and (weight >= 0).all()):
            raise ValueError("event weights must be finite and ≥ 0")
        author = None if self.author is None else np.array(self.author, dtype=np.int64)
        parent = None if self.parent is None else np.array(self.parent, dtype=np.int64)
        marks = self.marks
        if n > 1 and (np.diff(t) < 0).any():
            order = np.argsort(t, kind="stable")
            t, x, weight = t[order], x[order], weight[order]
            author = None if author is None else author[order]
            marks = None if marks is None else marks.take(pa.array(order))
            parent = None if parent is None else _renumber(parent, order, n)
        for name, value in (("t", t), ("x", x), ("weight", weight), ("author", author), ("parent", parent)):
            if value is not None:
                if len(value) != n:
                    raise ValueError(f"{name} has {len(value)} rows, the events {n}")
                value.setflags(write=False)
            object.__setattr__(self, name, value)
        if marks is not None and marks.num_rows != n:
            raise ValueError(f"marks have {marks.num_rows} rows, the events {n}")
        object.__setattr__(self, "marks", marks)
        if not self.axes:
            object.__setattr__(self, "axes", tuple(f"x{k}" for k in range(x.shape[1])))
        elif len(self.axes) != x.shape[1]:
            raise ValueError(f"{len(self.axes)} axis names for {x.shape[1]} coordinates")

    @classmethod
    def from_frame(
        cls,
        frame: pd.DataFrame,
        *,
        time: str = "t",
        coords: Sequence[str] = ("x", "y"),
        weight: str | None = None,
        author: str | None = None,
        parent: str | None = None,
        epoch: str = EPOCH,
    ) -> Events:
        """Events from the columns of a data frame, every row one; what :func:`stpp.read_events` leaves out is an error.

        Parameters
        ----------
        frame : a row per event
        time : column of times (UTC where they name no zone), or of days since ``epoch``
        coords : columns of coordinates, in map units
        weight : column of importance ≥ 0; every event counts 1 without
        author : column of authors' names
        parent : column of row numbers of the events replied to, −1 for none
        epoch : ISO time that ``t`` counts from
            all other columns become marks

        Raises
        ------
        ValueError
            if a column is missing, or a time or coordinate is (the column and how many are named)

        Examples
        --------
        >>> import pandas as pd
        >>> frame = pd.DataFrame({"t": ["2020-01-01", "2020-01-02"], "x": [0.1, 0.2], "y": [0.3, 0.4], "likes": [1, 9]})
        >>> events = Events.from_frame(frame)
        >>> events.mark("likes").tolist()
        [1, 9]
        """
        used = [name for name in (time, *coords, weight, author, parent) if name is not None]
        for name in used:
            if name not in frame.columns:
                raise ValueError(f"the frame has no column '{name}'; it has {', '.join(map(str, frame.columns))}")
            if name in (time, *coords) and (n := int(frame[name].isna().sum())):
                raise ValueError(
                    f"column '{name}' lacks {n:,} of {len(frame):,} values: stpp.read_events counts such rows"
                )
        codes, names = (None, ()) if author is None else pd.factorize(frame[author])
        marks = frame.drop(columns=used)
        return cls(
            _days(frame[time], epoch),
            frame[list(coords)].to_numpy(dtype=float),
            np.ones(len(frame)) if weight is None else frame[weight].to_numpy(dtype=float),
            author=codes,
            authors=tuple(map(str, names)),
            parent=None if parent is None else frame[parent].to_numpy(),
            marks=pa.Table.from_pandas(marks, preserve_index=False) if len(marks.columns) else None,
            epoch=epoch,
            axes=tuple(coords),
        )

    def to_frame(self) -> pd.DataFrame:
        """A row per event: ``t`` (UTC), a column per axis, ``weight``, ``author`` and ``parent`` if known, the marks.

        Times are rounded to microseconds; ``t`` of the events is exact.

        Examples
        --------
        >>> Events([0.5], [[1.0]]).to_frame()
                                  t   x0  weight
        0 1970-01-01 12:00:00+00:00  1.0     1.0
        """
        start = pd.Timestamp(datetime.fromisoformat(self.epoch).astimezone(UTC))
        columns: dict[str, Any] = {"t": start + pd.to_timedelta(np.round(self.t * 86400e6), unit="us")}
        columns |= dict(zip(self.axes, self.x.T, strict=True)) | {"weight": self.weight}
        if self.author is not None:
            names = np.array([*self.authors, None], dtype=object)
            columns["author"] = names[self.author]
        if self.parent is not None:
            columns["parent"] = self.parent
        marks = {} if self.marks is None else self.marks.to_pandas().to_dict(orient="series")
        return pd.DataFrame(columns | {name: values for name, values in marks.items() if name not in columns})

    def __len__(self) -> int:
        return len(self.t)

    def __repr__(self) -> str:
        where = f"{self.d}-d ({', '.join(self.axes)})"
        if not len(self):
            return f"<Events: none, {where}>"
        first, last = (f"{self.date(t):%Y-%m-%d %H:%M}" for t in (self.t[0], self.t[-1]))
        return f"<Events: {len(self):,} from {first} to {last} UTC, {where}>"

    def _repr_html_(self) -> str:
        head = self.rows(0, min(5, len(self))).to_frame().to_html(index=False)  # which escapes what posts say
        return f"<p>{escape(repr(self).strip('<>'))}</p>{head}"

    @property
    def d(self) -> int:
        """Number of coordinates."""
        return int(self.x.shape[1])

    @property
    def span(self) -> Window:
        """From the first event to just after the last one.

        Raises
        ------
        ValueError
            if there are no events
        """
        if not len(self):
            raise ValueError("no events, so no time span")
        return Window(float(self.t[0]), float(np.nextafter(self.t[-1], np.inf)))

    def mark(self, name: str) -> NDArray[Any]:
        """(n,) values of a mark column.

        Raises
        ------
        KeyError
            if there is no such column (those that exist are named)
        """
        columns = [] if self.marks is None else self.marks.column_names
        if self.marks is None or name not in columns:
            raise KeyError(f"no mark column '{name}'; there are: {', '.join(columns) or 'none'}")
        return np.asarray(self.marks.column(name).to_numpy(zero_copy_only=False))

    def take(self, rows: ArrayLike) -> Events:
        """The events at the given increasing row numbers or boolean mask; parents left out become −1."""
        index = np.asarray(rows)
        if index.dtype == bool:
            index = np.flatnonzero(index)
        pick = index.astype(np.int64)
        return replace(
            self,
            t=self.t[pick],
            x=self.x[pick],
            weight=self.weight[pick],
            author=None if self.author is None else self.author[pick],
            parent=None if self.parent is None else _renumber(self.parent, pick, len(self)),
            marks=None if self.marks is None else self.marks.take(pa.array(pick)),
        )

    def rows(self, start: int, stop: int) -> Events:
        """Rows [start, stop) without copying the columns; parents left out become −1."""
        if (start, stop) == (0, len(self)):
            return self
        part = object.__new__(Events)
        values: dict[str, Any] = {"authors": self.authors, "epoch": self.epoch, "axes": self.axes}
        values |= {"t": self.t[start:stop], "x": self.x[start:stop], "weight": self.weight[start:stop]}
        values["author"] = None if self.author is None else self.author[start:stop]
        values["marks"] = None if self.marks is None else self.marks.slice(start, stop - start)
        values["parent"] = None
        if self.parent is not None:
            parent = self.parent[start:stop]
            values["parent"] = np.where((parent >= start) & (parent < stop), parent - start, -1)
            values["parent"].setflags(write=False)
        for name, value in values.items():
            object.__setattr__(part, name, value)
        return part

    def window(self, start: Moment, end: Moment) -> Window:
        """The window from one date to another.

        Examples
        --------
        >>> Events([0.0], [[0.0]]).window("1970-01-02", "1970-01-09")
        Window(start=1.0, end=8.0)
        """
        return Window(day_of(start, self.epoch), day_of(end, self.epoch))

    def before(self, t: Moment) -> Events:
        """The history strictly before a date, or ``t`` days since the epoch."""
        return self.rows(0, int(np.searchsorted(self.t, day_of(t, self.epoch), side="left")))

    def between(self, window: Window) -> Events:
        """The events in [window.start, window.end)."""
        start, stop = np.searchsorted(self.t, (window.start, window.end), side="left")
        return self.rows(int(start), int(stop))

    def inside(self, box: Box) -> Events:
        """The events whose place lies in the closed box."""
        mask = box.contains(self.x)
        return self if mask.all() else self.take(mask)

    def sample(self, n: int, rng: np.random.Generator) -> Events:
        """A simple random sample of ``n`` events without replacement, in time order."""
        if n >= len(self):
            return self
        return self.take(np.sort(rng.choice(len(self), size=n, replace=False)))

    def then(self, later: Events) -> Events:
        """These events followed by others that start no earlier; parents and marks are not kept."""
        return Events(
            np.concatenate([self.t, later.t]),
            np.concatenate([self.x, later.x]),
            np.concatenate([self.weight, later.weight]),
            epoch=self.epoch,
            axes=self.axes,
        )

    def date(self, t: float) -> datetime:
        """The UTC date and time at ``t`` days since the epoch."""
        return datetime.fromisoformat(self.epoch).astimezone(UTC) + timedelta(days=float(t))

    def days(self, when: Moment) -> float:
        """Days since the epoch at a date; a date without a time zone is taken as UTC."""
        return day_of(when, self.epoch)


def _days(times: pd.Series[Any], epoch: str) -> Array:
    """Days since the epoch of times, or of numbers that are days already."""
    if pd.api.types.is_numeric_dtype(times):
        return times.to_numpy(dtype=float)
    start = pd.Timestamp(datetime.fromisoformat(epoch).astimezone(UTC))
    return np.asarray((pd.to_datetime(times, utc=True) - start) / pd.Timedelta(days=1), dtype=float)


def _renumber(parent: NDArray[np.int64], kept: NDArray[np.int64], n: int) -> NDArray[np.int64]:
    """Parents of the kept rows as new row numbers; −1 where the parent is not kept."""
    new_row = np.full(n + 1, -1, dtype=np.int64)  # the last slot answers for parent −1
    new_row[kept] = np.arange(len(kept))
    return new_row[parent[kept]]
