"""Stray quotation marks in delimited text: found before they swallow the lines that follow.

A quotation mark at the start of a field opens it, and the field goes on over line ends until the mark that closes it
(RFC 4180). One that is not meant to open a field therefore swallows all records up to the next mark in the file, or to
its end, and no reader of such text says so. Here such a mark is known by what it does: its field never closes, or
closes before anything but a delimiter or a line end, or holds lines that are records themselves.
"""

from __future__ import annotations

from typing import Any

import numba as nb
import numpy as np
from numpy.typing import NDArray

QUOTE, LF, CR = 34, 10, 13
SAMPLED = 200  # lines that tell which columns hold numbers
NUMERIC = 0.9  # of these lines start the column with a digit or a sign
NUMERALS = tuple(bytes([byte]) for byte in b"0123456789+-.")

Bytes = NDArray[np.uint8]


def stray_records(text: Bytes, start: int, delimiter: str, columns: int) -> tuple[NDArray[np.int64], Bytes]:
    """The lines on which a stray quotation mark opens a field, and the text without them.

    Parameters
    ----------
    text : (n,) bytes of a file
    start : where its first record begins
    delimiter : one byte that separates fields
    columns : how many fields a record has

    Returns
    -------
    (k,) numbers of the records, from 1, blank lines not counted; (m,) bytes without these lines, ``text`` itself
    where k = 0
    """
    comma = ord(delimiter)
    numeric = _numeric_columns(text, start, comma, columns)
    numbers, lines = _scan(text, start, comma, numeric)
    if not len(numbers):
        return numbers, text
    kept = np.ones(len(text), dtype=bool)
    for first, last in lines:
        kept[first:last] = False
    return numbers, text[kept]


def _numeric_columns(text: Bytes, start: int, comma: int, columns: int) -> NDArray[np.bool_]:
    """(columns,) which of them hold numbers or dates, by the first lines that have so many fields behind the names.

    Lines with quotation marks count only where all have some.
    """
    lines = [line.split(bytes([comma])) for line in bytes(text[start : start + (1 << 20)]).splitlines()[1:]]
    whole = [fields for fields in lines if len(fields) == columns]
    plain = [fields for fields in whole if not any(b'"' in field for field in fields)]
    chosen = (plain or whole)[:SAMPLED]
    votes = np.zeros(columns)
    for fields in chosen:
        votes += [field.lstrip(b'"')[:1] in NUMERALS for field in fields]
    return votes >= max(1.0, NUMERIC * len(chosen))


@nb.njit(cache=True)
def _scan(text: Bytes, start: int, comma: int, numeric: NDArray[np.bool_]) -> tuple[Any, Any]:
    """Walk over the records once; behind a stray mark, go on with the next line."""
    numbers, lines = [0 for _ in range(0)], [(0, 0) for _ in range(0)]  # empty, of a type that numba sees
    at, n, record = start, len(text), 0
    while at < n:
        if text[at] == LF or text[at] == CR:  # a blank line, or the second half of a line end
            at += 1
            continue
        record += 1
        end, field, first, stray = at, 0, True, -1
        while end < n and text[end] != LF and text[end] != CR:
            if first and text[end] == QUOTE:
                closing, broken = _closing(text, end)
                if (broken or closing == n) and _swallows(text, at, end, field, closing, comma, numeric):
                    stray = end
                    break
                end = closing + 1
            elif text[end] == comma:
                field += 1
                end += 1
                first = True
                continue
            else:
                end += 1
            first = False
        if stray >= 0:
            end = _line_end(text, stray)
            numbers.append(record)
            lines.append((at, end))
        at = end
    found = np.empty((len(lines), 2), np.int64)
    for k in range(len(lines)):
        found[k] = lines[k]
    return np.array(numbers, dtype=np.int64), found


@nb.njit(cache=True)
def _closing(text: Bytes, opening: int) -> tuple[int, bool]:
    """Where the field that opens here is closed, the length of the text if nowhere; whether a line end is in it."""
    at, n, broken = opening + 1, len(text), False
    while at < n:
        if text[at] == QUOTE:
            if at + 1 < n and text[at + 1] == QUOTE:
                at += 1
            else:
                break
        elif text[at] == LF or text[at] == CR:
            broken = True
        at += 1
    return at, broken


@nb.njit(cache=True)
def _line_end(text: Bytes, at: int) -> int:
    while at < len(text) and text[at] != LF and text[at] != CR:
        at += 1
    return at


@nb.njit(cache=True)
def _swallows(
    text: Bytes, record: int, opening: int, column: int, closing: int, comma: int, numeric: NDArray[np.bool_]
) -> bool:
    """Whether a quoted field of several lines is none: it does not close as a field does, or it holds records."""
    n = len(text)
    if closing == n:
        return True
    if closing + 1 < n and text[closing + 1] != comma and text[closing + 1] != LF and text[closing + 1] != CR:
        return True
    # One number beside a comma is common in texts ("2020, wow"); two in their columns are not.
    before, after = numeric[:column].sum() >= 2, numeric[column + 1 :].sum() >= 2
    at = record if record < opening and _line_end(text, record) > opening else opening
    if at == opening and column > 0:  # the field opens on a later line of its record: that line proves nothing
        at = _line_end(text, opening) + 1
    while at < closing:
        end = _line_end(text, at)
        opens, closes = at <= opening, end >= closing
        if (after or not opens) and (before or not closes) and _is_record(text, at, end, comma, numeric):
            return True
        at = end + 1
    return False


@nb.njit(cache=True)
def _is_record(text: Bytes, at: int, end: int, comma: int, numeric: NDArray[np.bool_]) -> bool:
    """Whether a line has as many fields as a record, with numbers where records have numbers."""
    if numeric.sum() < 2:
        return False
    field, starts = 0, True
    while at <= end:
        if at == end or text[at] == comma:
            if starts and field < len(numeric) and numeric[field]:
                return False  # an empty field
            field += 1
            starts = True
        elif starts and text[at] != QUOTE:
            digit = 48 <= text[at] <= 57 or text[at] == 43 or text[at] == 45 or text[at] == 46
            if field >= len(numeric) or (numeric[field] and not digit):
                return False
            starts = False
        at += 1
    return field == len(numeric)
