"""Columns of posts: which one means what, and its values as times, numbers and ids."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from stpp.domain import Array
from stpp.events import EPOCH, Events

# The first name that a file has is taken; the report says which.
TIME = ("datetime", "created_at", "t", "time")
AUTHOR = ("author", "screen_name", "username")
RETWEETS = ("retweet_count",)
FAVOURITES = ("favorite_count", "favourite_count")
REPLY = ("in_reply_to_status_id_str", "in_reply_to_status_id", "reply_to_id")
ID = ("id_str", "id")
TEXT = ("full_text", "text")
COORDINATE_PAIRS = (("x", "y"), ("sincerity", "charity"))
COORDINATE_SERIES = ("x", "e")  # x0, x1, …
LATER_PAIRS = (("e_x", "e_y"), ("lon", "lat"))

NOTHING = ("", "na", "n/a", "nan", "nat", "null", "none")
FIRST_DAY, LAST_DAY = -719_162.0, 2_932_896.0  # years 1 and 9999, all that a date can say
# A number this large (the median of the column) cannot be days before year 9999, so it counts something finer.
EPOCH_UNITS = ((1e17, "nanoseconds", 86_400e9), (1e14, "microseconds", 86_400e6), (1e11, "milliseconds", 86_400e3),
               (1e8, "seconds", 86_400.0), (0.0, "days", 1.0))  # fmt: skip
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
TWITTER_TIME = r"^[A-Z][a-z]{2} ([A-Z][a-z]{2}) (\d{2}) (\d{2}:\d{2}:\d{2}) ([+-]\d{4}) (\d{4})$"
ZONE = r":\d{2}(\.\d+)?(Z|z|[+-]\d{2}(:?\d{2})?)$"
UTC_WORD = r"\s*(UTC|GMT)$"
LOST_DIGITS = r"^\d(\.\d+)?[eE]\+?\d+$"
EXACT_FLOAT = 2.0**53


# -- finding ----------------------------------------------------------------------------------------------------


def find(names: Sequence[str], wanted: Sequence[str], file: str) -> str | None:
    """The column that bears the first of the wanted names that exists, whatever its case; None if there is none.

    Raises
    ------
    ValueError
        if two columns differ in case only
    """
    for name in wanted:
        if name in names:
            return name
        alike = [column for column in names if column.lower() == name]
        if len(alike) > 1:
            raise ValueError(f"{file}: columns {' and '.join(alike)} differ in case only: rename one")
        if alike:
            return alike[0]
    return None


def require(names: Sequence[str], wanted: Sequence[str], file: str, way_out: str) -> str:
    """Like :func:`find`, but a column that is missing is an error that names those that exist and the way out."""
    found = find(names, wanted, file) or find(names, [w.lower() for w in wanted], file)
    if found is None:
        raise ValueError(f"{file} has no column {' or '.join(wanted)}; it has {_listing(names)}: {way_out}")
    return found


def find_coordinates(names: Sequence[str], file: str) -> tuple[str, ...]:
    """The coordinate columns: x, y; sincerity, charity; x0, x1, …; e0, e1, …; e_x, e_y; or lon, lat, in this order.

    Raises
    ------
    ValueError
        if there are none (the columns that exist are named)
    """
    for pair in COORDINATE_PAIRS:
        if all(find(names, [name], file) for name in pair):
            return tuple(require(names, [name], file, "") for name in pair)
    for letter in COORDINATE_SERIES:
        series: list[str] = []
        while column := find(names, [f"{letter}{len(series)}"], file):
            series.append(column)
        if series:
            return tuple(series)
    for pair in LATER_PAIRS:
        if all(find(names, [name], file) for name in pair):
            return tuple(require(names, [name], file, "") for name in pair)
    raise ValueError(
        f"{file} has no coordinates (x,y; sincerity,charity; x0,x1,…; e0,e1,…; e_x,e_y or lon,lat); it has "
        f"{_listing(names)}: name them with --coords A,B, or make them from text with --embed lsa"
    )


def _listing(names: Sequence[str], most: int = 24) -> str:
    more = f", … ({len(names)} in all)" if len(names) > most else ""
    return ("columns " + ", ".join(names[:most]) + more) if names else "no columns"


# -- values -----------------------------------------------------------------------------------------------------


def is_text(column: pa.ChunkedArray) -> bool:
    """Whether a column holds text."""
    return bool(pa.types.is_large_string(column.type) or pa.types.is_string(column.type))


def _cleaned(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Text without surrounding blanks; words for "nothing" become null."""
    text = pc.utf8_trim_whitespace(column)
    nothing = pc.is_in(pc.utf8_lower(text), value_set=pa.array(NOTHING, text.type))
    return pc.if_else(nothing, pa.scalar(None, text.type), text)


def numbers(column: pa.ChunkedArray, name: str, file: str) -> tuple[Array, NDArray[np.bool_]]:
    """A column as numbers.

    Returns
    -------
    (n,) float, NaN where missing or unreadable; (n,) bool, where there is something that is no number

    Raises
    ------
    ValueError
        if the column's type is not one of numbers or text
    """
    none = np.zeros(len(column), dtype=bool)
    if pa.types.is_null(column.type):
        return np.full(len(column), np.nan), none
    if not is_text(column):
        try:
            return _to_floats(column.cast(pa.float64(), safe=False)), none
        except pa.ArrowException as error:
            raise ValueError(f"{file}: column '{name}' holds {column.type}, not numbers") from error
    try:
        return _to_floats(column.cast(pa.float64())), none
    except pa.ArrowInvalid:
        text = _cleaned(column)
        values = pd.to_numeric(pd.Series(text.to_numpy(zero_copy_only=False), dtype=object), errors="coerce")
        result = values.to_numpy(dtype=np.float64, na_value=np.nan)
        return result, np.isnan(result) & _to_bools(pc.is_valid(text))


def _to_floats(column: pa.ChunkedArray) -> Array:
    return np.asarray(column.to_numpy(zero_copy_only=False), dtype=np.float64)


def _to_bools(column: pa.ChunkedArray) -> NDArray[np.bool_]:
    return np.asarray(pc.fill_null(column, False).to_numpy(zero_copy_only=False), dtype=bool)


def times(column: pa.ChunkedArray, name: str, file: str) -> tuple[Array, str]:
    """A column as days since 1970-01-01 UTC.

    Reads time stamps, ISO 8601 with or without zone (UTC where without), Twitter's ``Wed Oct 10 20:19:24 +0000
    2018``, and numbers: days, unless they are so large that they can only be seconds or finer.

    Returns
    -------
    (n,) float, NaN where unreadable or missing; what was assumed, in words

    Raises
    ------
    ValueError
        if not one time can be read (the first value is quoted)
    """
    if is_text(column):
        days, note = _text_times(column)
    elif (
        pa.types.is_temporal(column.type)
        and not pa.types.is_time(column.type)
        and not pa.types.is_duration(column.type)
    ):
        days = _stamp_days(column)
        note = "with a time zone" if getattr(column.type, "tz", None) else "without a time zone: taken as UTC"
    else:
        days, note = _numeric_days(numbers(column, name, file)[0])
    days[~((days >= FIRST_DAY) & (days <= LAST_DAY))] = np.nan
    if len(days) and np.isnan(days).all():
        first = next((str(v) for v in column.drop_null()[:1].to_pylist()), "nothing")
        raise ValueError(
            f"{file}: none of the {len(days):,} times in column '{name}' can be read (the first: '{first:.40}'): write "
            "ISO 8601 times, or name another column with --time"
        )
    return days, note


def _stamp_days(column: pa.ChunkedArray) -> Array:
    zone = getattr(column.type, "tz", None)
    micros = column.cast(pa.timestamp("us", zone), safe=False).cast(pa.int64())
    return _to_floats(micros) / 86_400e6


def _numeric_days(values: Array) -> tuple[Array, str]:
    size = np.abs(values[np.isfinite(values)])
    typical = float(np.median(size)) if len(size) else 0.0
    unit, per_day = next((unit, per_day) for least, unit, per_day in EPOCH_UNITS if typical >= least)
    return values / per_day, f"numbers: taken as {unit} since {EPOCH[:10]} UTC"


def _text_times(column: pa.ChunkedArray) -> tuple[Array, str]:
    for kind, note in (
        (pa.float64(), ""),
        (pa.timestamp("us", "UTC"), "with a time zone"),
        (pa.timestamp("us"), "without a time zone: taken as UTC"),
    ):
        try:
            parsed = column.cast(kind)
        except pa.ArrowInvalid:
            continue
        return (_stamp_days(parsed), note) if note else _numeric_days(_to_floats(parsed))
    text = pc.replace_substring_regex(_cleaned(column), UTC_WORD, "Z")
    text = pc.replace_substring_regex(text, TWITTER_TIME, r"\5-\1-\2T\3\4")
    for number, month in enumerate(MONTHS, start=1):
        text = pc.replace_substring(text, f"-{month}-", f"-{number:02d}-", max_replacements=1)
    try:
        return _stamp_days(text.cast(pa.timestamp("us", "UTC"))), "with a time zone"
    except pa.ArrowInvalid:  # several forms, or some that cannot be read
        values = pd.Series(text.to_numpy(zero_copy_only=False), dtype=object)
    stamps = pd.to_datetime(values, format="ISO8601", utc=True, errors="coerce")
    plain = pd.to_numeric(values, errors="coerce")
    if plain.notna().sum() > 0 and plain.notna().sum() >= stamps.notna().sum():
        return _numeric_days(plain.to_numpy(dtype=np.float64, na_value=np.nan))
    naive = stamps.notna().to_numpy() & ~_to_bools(pc.match_substring_regex(text, ZONE))
    days = _stamp_days(pa.chunked_array([pa.array(stamps, pa.timestamp("us", "UTC"), from_pandas=True, safe=False)]))
    return days, f"{naive.sum():,} without a time zone: taken as UTC" if naive.any() else "with a time zone"


def ids(column: pa.ChunkedArray) -> tuple[pa.ChunkedArray, int]:
    """Ids as int64 where all are whole numbers, else as text; never through a float, which keeps 53 bits only.

    Returns
    -------
    (n,) int64 or text, null where missing or lost; how many had come as floats too large to be exact
    """
    if pa.types.is_floating(column.type):
        exact = pc.less(pc.abs(column), EXACT_FLOAT)
        lost = int(pc.sum(pc.and_not(pc.invert(exact), pc.is_nan(column))).as_py() or 0)
        return pc.if_else(exact, column, pa.scalar(None, column.type)).cast(pa.int64(), safe=False), lost
    try:
        return column.cast(pa.int64()), 0
    except pa.ArrowException:
        text = pc.replace_substring_regex(_cleaned(column.cast(pa.large_string())), r"^(\d+)\.0+$", r"\1")
    floats = pc.match_substring_regex(text, LOST_DIGITS)
    lost = int(pc.sum(floats).as_py() or 0)
    text = pc.if_else(floats, pa.scalar(None, text.type), text)
    try:
        return text.cast(pa.int64()), lost
    except pa.ArrowException:
        return text, lost


def inferred(column: pa.ChunkedArray, name: str) -> pa.ChunkedArray:
    """A text column as whole numbers, numbers or true/false where every value is one; else as it is."""
    if not is_text(column) or column.null_count == len(column):
        return column
    kinds = [pa.int64(), pa.bool_()] if name.lower().endswith("id") else [pa.int64(), pa.float64(), pa.bool_()]
    for kind in kinds:
        try:
            return column.cast(kind)
        except pa.ArrowInvalid:
            continue
    return column


def texts_of(events: Events) -> list[str] | None:
    """The text of each event, empty where one is missing; None where the events carry no column of text."""
    names = [] if events.marks is None else events.marks.column_names
    column = find(names, TEXT, "the events")
    if column is None or events.marks is None or not is_text(events.marks.column(column)):
        return None
    return [text or "" for text in events.marks.column(column).to_pylist()]
