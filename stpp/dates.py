"""Dates and durations, read and in words."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime, timedelta

DAYS = {"m": 1 / 1440, "h": 1 / 24, "d": 1.0, "w": 7.0}
"""Unit of a duration → its days."""


Moment = str | float | datetime
"""A point of time as a user gives it: an ISO date or time, days since the epoch, or a datetime; UTC by default."""


def day_of(when: Moment, epoch: str) -> float:
    """A date given by a user, as days since ``epoch``: ISO or a datetime (UTC unless it says so), or a number of days.

    Raises
    ------
    ValueError
        if it is none of them

    Examples
    --------
    >>> day_of("1970-01-02T12:00", "1970-01-01T00:00:00+00:00")
    1.5
    """
    if isinstance(when, int | float) or (isinstance(when, str) and re.fullmatch(r"[-+]?\d+(\.\d*)?", when)):
        return float(when)
    try:
        moment = when if isinstance(when, datetime) else datetime.fromisoformat(when)
    except ValueError:
        raise ValueError(f"'{when}' is not a date: write 2016-03-01, 2016-03-01T12:00 or a number of days") from None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return (moment - datetime.fromisoformat(epoch)) / timedelta(days=1)


def duration(length: str | float) -> float:
    """Days in a duration: a word such as 30m, 6h, 1d or 2w, or a number of days.

    Raises
    ------
    ValueError
        if it is none, or not longer than 0
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([mhdw])", length) if isinstance(length, str) else None
    days = float(match[1]) * DAYS[match[2]] if match else math.nan if isinstance(length, str) else float(length)
    if not (math.isfinite(days) and days > 0):
        raise ValueError(f"'{length}' is not a duration longer than 0, such as 30m, 6h, 1d or 2w")
    return days


def in_words(days: float) -> str:
    """A length of time for people: 7 days, 6 hours, 1 minute."""
    number, unit = (days, "day") if days >= 1 else (24 * days, "hour")
    if number < 1:
        number, unit = 60 * number, "minute"
    return f"{number:g} {unit}{'' if number == 1 else 's'}"


def format_days(days: float) -> str:
    """A duration in the unit that reads best: ``3.2 d``, ``5 h``, ``12 min``, ``8 s``."""
    for unit, length in (("d", 1.0), ("h", 1 / 24), ("min", 1 / 1440)):
        if days >= length:
            return f"{days / length:.3g} {unit}"
    return f"{days * 86400:.3g} s"
