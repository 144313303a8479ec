"""What became of every row that was read, and what the events that came out look like."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.compute as pc
from numpy.typing import NDArray

from stpp.domain import Array, Box
from stpp.events import Events

Mask = NDArray[np.bool_]


class Sieve:
    """The fate of each of n rows: kept, rejected for a cause, or left out by a selection; the first one counts."""

    def __init__(self, n: int) -> None:
        self.fate = np.zeros(n, dtype=np.int16)  # 0: kept; k: labels[k]
        self.labels = ["kept"]
        self.selections: set[str] = set()

    @property
    def kept(self) -> Mask:
        """(n,) rows that nothing spoke against so far."""
        return np.asarray(self.fate == 0)

    @property
    def rejected(self) -> Mask:
        """(n,) rows that cannot be used."""
        chosen = [label in self.selections or label == "kept" for label in self.labels]
        return ~np.array(chosen)[self.fate]

    def reject(self, mask: Mask, cause: str) -> None:
        """Rows that cannot be used."""
        hit = mask & self.kept
        if hit.any():
            if cause not in self.labels:
                self.labels.append(cause)
            self.fate[hit] = self.labels.index(cause)

    def select(self, inside: Mask, selection: str) -> None:
        """Keep rows inside a selection; the others are good rows that were not asked for."""
        self.selections.add(selection)
        self.reject(~inside, selection)

    def select_dates(self, t: Array, start: float | None, end: float | None) -> None:
        """Keep times in [start, end), in days; None is open."""
        if start is not None or end is not None:
            low, high = -np.inf if start is None else start, np.inf if end is None else end
            self.select((t >= low) & (t < high), "outside the dates")

    def reject_outside(self, x: Array, box: Box | None) -> None:
        """Reject places outside the closed box."""
        if box is not None:
            if box.d != x.shape[1]:
                raise ValueError(f"the box has {box.d} axes, the posts {x.shape[1]} coordinates: give lo,hi for each")
            self.reject(~box.contains(x), "outside the box")

    def sample(self, n: int | None, seed: int) -> None:
        """Keep a simple random sample of ``n`` of the rows kept so far."""
        rows = np.flatnonzero(self.kept)
        if n is not None and n < len(rows):
            chosen = np.zeros(len(self.fate), dtype=bool)
            chosen[np.random.default_rng(seed).choice(rows, size=n, replace=False)] = True
            self.select(chosen, "not in the sample")

    def causes(self) -> dict[str, int]:
        """Rejected rows by cause, most frequent first."""
        return self._counts(selected=False)

    def selected_out(self) -> dict[str, int]:
        """Rows left out by each selection."""
        return self._counts(selected=True)

    def _counts(self, *, selected: bool) -> dict[str, int]:
        counts = np.bincount(self.fate, minlength=len(self.labels))[1:].tolist()
        found = {k: c for k, c in zip(self.labels[1:], counts, strict=True) if c and (k in self.selections) == selected}
        return dict(sorted(found.items(), key=lambda item: -item[1]))

    @classmethod
    def joined(cls, parts: Sequence[Sieve]) -> Sieve:
        """One sieve over the rows of several, in order."""
        whole = cls(sum(len(part.fate) for part in parts))
        start = 0
        for part in parts:
            whole.selections |= part.selections
            for code, label in enumerate(part.labels[1:], start=1):
                mask = np.zeros(len(whole.fate), dtype=bool)
                mask[start : start + len(part.fate)] = part.fate == code
                whole.reject(mask, label)
            start += len(part.fate)
        return whole


@dataclass(frozen=True)
class QualityReport:
    """What was read, what was made of it, and what was left out and why.

    ``rows_read`` = ``kept`` + all of ``rejected`` + all of ``selected_out``, always.

    Parameters
    ----------
    files : as they were named
    rows_read : records in them
    kept : events that came out
    rejected : cause → rows that cannot be used
    selected_out : selection → good rows that were not asked for (dates, sample)
    columns : what was read → the columns it came from
    assumptions : what was taken for granted, in words
    tied_times : events that share their time stamp with another
    identical_places : events that share their place with another
    replies, replies_resolved : events that reply to a post; those whose post is among the events
    space : what the text space saw (None without ``embed``)
    """

    files: tuple[str, ...]
    rows_read: int
    kept: int
    rejected: dict[str, int]
    selected_out: dict[str, int]
    columns: dict[str, str]
    assumptions: tuple[str, ...]
    tied_times: int
    identical_places: int
    replies: int
    replies_resolved: int
    space: dict[str, Any] | None = field(default=None)

    def to_dict(self) -> dict[str, Any]:
        """The fields, for JSON."""
        return dataclasses.asdict(self)

    def lines(self) -> list[str]:
        """The report, a fact a line."""
        out = [f"read       {self.rows_read:,} rows of {', '.join(self.files)}", f"kept       {self.kept:,}"]
        out += [f"rejected   {count:,}  {cause}" for cause, count in self.rejected.items()] or ["rejected   0"]
        out += [f"left out   {count:,}  {selection}" for selection, count in self.selected_out.items()]
        out += [f"{role:10} {column}" for role, column in self.columns.items()]
        out += [f"assumed    {assumption}" for assumption in self.assumptions]
        if self.space:
            until = f" before {self.space['until']}" if self.space["until"] else ""
            out.append(
                f"space      {self.space['method']}, {self.space['dims']} dimensions, seed {self.space['seed']}, saw "
                f"{self.space['posts']:,} posts{until} (the last of {self.space['last']})"
            )
        if self.kept:
            out.append(f"ties       {self.tied_times:,} events share a time stamp ({self.tied_times / self.kept:.1%})")
            out.append(f"places     {self.identical_places:,} share a place ({self.identical_places / self.kept:.1%})")
        if self.replies:
            out.append(f"replies    {self.replies:,}, of which {self.replies_resolved:,} to a post among the events")
        return out


def tied_times(events: Events) -> int:
    """Events that share their time stamp with another."""
    return _sharing(events.t[:-1] == events.t[1:])


def identical_places(events: Events) -> int:
    """Events that share their place with another."""
    # One sort whatever d: equal places have equal sums under random factors, different ones almost never.
    factors = np.random.default_rng(0).uniform(1, 2, size=events.d)
    total = np.zeros(len(events))
    for factor, values in zip(factors, events.x.T, strict=True):
        total += factor * values
    x = events.x[np.argsort(total)]
    return _sharing((x[:-1] == x[1:]).all(axis=1))


def _sharing(same_as_next: Mask) -> int:
    """How many sorted values equal a neighbour."""
    return int((np.append(same_as_next, False) | np.insert(same_as_next, 0, False)).sum()) if len(same_as_next) else 0


def describe(events: Events) -> dict[str, Any]:
    """Facts about events, for JSON; :func:`describe_lines` makes them readable.

    Parameters
    ----------
    events : n ≥ 1 events

    Returns
    -------
    dict with ``n, d, epoch, first, last, days, per_day, axes{name: [low, high]}, weight{min, median, mean, max,
    total}, authors, replies_resolved, tied_times, identical_places (shares), marks{name: {type, missing}}, weeks,
    empty_weeks, longest_gap{days, start, end}``

    Raises
    ------
    ValueError
        if there are no events
    """
    span = events.span
    days = float(events.t[-1] - events.t[0])
    weight = events.weight
    gaps = np.diff(events.t)
    longest = int(gaps.argmax()) if len(gaps) else 0
    weeks = np.unique(np.floor((events.t - span.start) / 7))
    marks = (
        {}
        if events.marks is None
        else {f.name: (str(f.type), events.marks.column(f.name)) for f in events.marks.schema}
    )
    return {
        "n": len(events),
        "d": events.d,
        "epoch": events.epoch,
        "first": events.date(events.t[0]).isoformat(timespec="seconds"),
        "last": events.date(events.t[-1]).isoformat(timespec="seconds"),
        "days": days,
        "per_day": len(events) / days if days > 0 else None,
        "axes": {a: [float(v.min()), float(v.max())] for a, v in zip(events.axes, events.x.T, strict=True)},
        "weight": {
            "min": float(weight.min()), "median": float(np.median(weight)), "mean": float(weight.mean()),
            "max": float(weight.max()), "total": float(weight.sum()),
        },
        "authors": None if events.author is None else len(np.unique(events.author[events.author >= 0])),
        "replies_resolved": None if events.parent is None else int((events.parent >= 0).sum()),
        "tied_times": tied_times(events) / len(events),
        "identical_places": identical_places(events) / len(events),
        "marks": {name: {"type": kind, "missing": column.null_count} for name, (kind, column) in marks.items()},
        "weeks": int(weeks[-1]) + 1,
        "empty_weeks": int(weeks[-1]) + 1 - len(weeks),
        "longest_gap": {
            "days": float(gaps[longest]) if len(gaps) else 0.0,
            "start": events.date(events.t[longest]).isoformat(timespec="seconds"),
            "end": events.date(events.t[min(longest + 1, len(events) - 1)]).isoformat(timespec="seconds"),
        },
    }  # fmt: skip


def describe_lines(facts: dict[str, Any]) -> list[str]:
    """The facts of :func:`describe`, one a line."""
    weight, gap = facts["weight"], facts["longest_gap"]
    rate = "all at one time" if facts["per_day"] is None else f"{facts['per_day']:,.4g} per day"
    lines = [
        f"events     {facts['n']:,} in {facts['d']} dimensions",
        f"from       {facts['first']}",
        f"to         {facts['last']}   ({facts['days']:,.4g} days, {rate})",
        *(f"{axis:10} {low:.6g} to {high:.6g}" for axis, (low, high) in facts["axes"].items()),
        f"weight     {weight['min']:g} to {weight['max']:g}, median {weight['median']:.4g}, mean {weight['mean']:.4g}",
        f"authors    {'not known' if facts['authors'] is None else format(facts['authors'], ',')}",
        "replies    not known"
        if facts["replies_resolved"] is None
        else f"replies    {facts['replies_resolved']:,} resolved",
        f"ties       {facts['tied_times']:.1%} of events share a time stamp",
        f"places     {facts['identical_places']:.1%} share a place",
        f"gaps       {facts['empty_weeks']:,} of {facts['weeks']:,} weeks are empty; the longest gap is "
        f"{gap['days']:.4g} days, {gap['start'][:10]} to {gap['end'][:10]}",
    ]
    for name, mark in facts["marks"].items():
        missing = f", {mark['missing']:,} missing" if mark["missing"] else ""
        lines.append(f"mark       {name} ({mark['type']}{missing})")
    return lines


def duplicates(keys: Any, kept: Mask) -> Mask:
    """(n,) rows whose non-null key an earlier kept row has.

    Parameters
    ----------
    keys : (n,) Arrow column
    kept : (n,) rows that count
    """
    rows = np.flatnonzero(kept & np.asarray(pc.is_valid(keys)))
    repeated = np.zeros(len(kept), dtype=bool)
    repeated[rows] = pd.Series(keys.take(rows).to_numpy(zero_copy_only=False)).duplicated().to_numpy()
    return repeated
