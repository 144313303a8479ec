"""Files of posts → Arrow tables: CSV, TSV, Parquet, JSON lines, Twitter archives, Community-Archive JSON.

The engine is pyarrow: on 2.5 M rows × 16 columns it is near DuckDB in time and memory and several times faster than
pandas (benchmarks/results_readers.csv), it says which rows are malformed, and events carry Arrow tables anyhow.
"""

from __future__ import annotations

import csv
import json
import mmap
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet
from numpy.typing import NDArray

BLOCK_SIZE = 8 << 20
MALFORMED, STRAY = "malformed row", "stray quotation mark"
RECORD_LISTS = ("tweets", "posts", "data")  # where an archive object keeps its posts
Rows = NDArray[np.int64]


@dataclass(frozen=True)
class RawTable:
    """One file as it came, before any column has a meaning.

    Parameters
    ----------
    table : its records; text stays text where the format has no types
    rows : (n,) record numbers in the file, from 1, a header not counted
    malformed : cause → record numbers that could not be split into columns, so are not in ``table``
    nested : columns left out because they hold lists or objects
    typed : whether the format states column types
    """

    table: pa.Table
    rows: Rows
    malformed: dict[str, Rows]
    nested: tuple[str, ...] = ()
    typed: bool = False


def read_table(path: Path | pd.DataFrame) -> RawTable:
    """Read a file of any supported format, or a data frame.

    Parameters
    ----------
    path : a data frame, or .csv, .tsv, .parquet, .jsonl, .ndjson, .json or the tweets.js of a Twitter archive

    Raises
    ------
    ValueError
        if it is missing, a folder, empty, of another format, truncated or corrupt; the way out is named
    """
    if isinstance(path, pd.DataFrame):
        return _numbered(pa.Table.from_pandas(path, preserve_index=False), typed=True)
    path = Path(path)
    readers: dict[str, Callable[[Path], RawTable]] = {
        ".csv": _read_csv, ".tsv": _read_csv, ".parquet": _read_parquet, ".jsonl": _read_json_lines,
        ".ndjson": _read_json_lines, ".json": _read_json, ".js": _read_json,
    }  # fmt: skip
    if path.is_dir():
        raise ValueError(f"{path} is a folder: name the files in it")
    if not path.exists():
        raise ValueError(f"{path} does not exist")
    if path.suffix.lower() not in readers:
        raise ValueError(f"{path}: unknown format '{path.suffix}'; rename or convert it to one of {', '.join(readers)}")
    try:
        if path.stat().st_size == 0:
            raise ValueError(f"{path} is empty (0 bytes)")
        raw = readers[path.suffix.lower()](path)
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 text (byte {error.start}): convert it with iconv") from error
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror or error}") from error
    if raw.table.num_rows == 0 and not raw.malformed:
        raise ValueError(f"{path} has no rows: columns {', '.join(raw.table.column_names) or 'none'}")
    return raw


def _numbered(
    table: pa.Table, malformed: Iterable[int] = (), stray: Iterable[int] = (), *, typed: bool = False
) -> RawTable:
    """Number the records, leaving out malformed ones; decode dictionaries, leave nested columns out."""
    causes = {MALFORMED: malformed, STRAY: stray}
    bad = {cause: np.array(sorted(numbers), dtype=np.int64) for cause, numbers in causes.items()}
    bad = {cause: numbers for cause, numbers in bad.items() if len(numbers)}
    rows = _remaining(table.num_rows, np.concatenate([*bad.values(), np.empty(0, np.int64)]))
    names = [name.lower() for name in table.column_names]
    if "user" in names and not {"author", "screen_name", "username"} & set(names):
        user = table.column(names.index("user"))
        if pa.types.is_struct(user.type) and user.type.get_field_index("screen_name") >= 0:
            table = table.append_column("screen_name", pa.compute.struct_field(user, "screen_name"))
    nested = tuple(f.name for f in table.schema if pa.types.is_nested(f.type))
    table = table.drop_columns(list(nested)).replace_schema_metadata(None)
    for index, column in enumerate(table.schema):
        kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
        if pa.types.is_string(kind) or pa.types.is_string_view(kind):
            kind = pa.large_string()  # 32-bit offsets overflow at 2 GB of text
        if kind != column.type:
            table = table.set_column(index, column.name, table.column(index).cast(kind))
    return RawTable(table, rows, bad, nested, typed)


def _remaining(n: int, bad: Rows) -> Rows:
    """(n,) record numbers, from 1, of the good records, when those in ``bad`` are counted as well."""
    return np.delete(np.arange(1, n + len(bad) + 1), bad - 1)


# -- CSV and TSV ------------------------------------------------------------------------------------------------


def _read_csv(path: Path) -> RawTable:
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    names = _header(path, delimiter)
    stray, source = _without_strays(path, delimiter, len(names))
    # Every column comes as text: types guessed from a first block turn a late bad value into a failure of the whole
    # file, and ids into floats.
    convert = pa.csv.ConvertOptions(
        column_types=dict.fromkeys(names, pa.large_string()), strings_can_be_null=True, null_values=[""]
    )

    def read(threads: bool) -> tuple[pa.Table, list[int | None]]:
        bad: list[int | None] = []

        def skip(row: pa.csv.InvalidRow) -> str:
            bad.append(row.number)
            return "skip"

        parse = pa.csv.ParseOptions(delimiter=delimiter, newlines_in_values=True, invalid_row_handler=skip)
        options = pa.csv.ReadOptions(use_threads=threads, block_size=BLOCK_SIZE)
        return pa.csv.read_csv(source(), options, parse, convert), bad

    try:
        table, bad = read(threads=True)
        if bad:  # only the single-threaded reader knows their numbers
            table, bad = read(threads=False)
    except pa.ArrowInvalid as error:
        if "UTF8" in str(error):
            raise ValueError(f"{path} is not UTF-8 text: convert it with iconv") from error
        raise ValueError(f"{path} cannot be read as CSV ({error!s:.90}): check its quotes") from error
    numbers = _remaining(table.num_rows + len(bad), stray)  # Arrow numbered what it was given, the header as 1
    malformed = [int(numbers[number - 2]) for number in bad if number]
    return _numbered(table.rename_columns([name.strip() for name in names]), malformed, stray)


def _without_strays(path: Path, delimiter: str, columns: int) -> tuple[Rows, Callable[[], Any]]:
    """Records with stray quotation marks, and what opens the file without them."""
    with path.open("rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    if mapped.find(b'"') < 0:
        return np.empty(0, np.int64), lambda: path
    from stpp.ingest.quotes import stray_records  # numba takes half a second to import

    text = np.frombuffer(mapped, dtype=np.uint8)
    numbers, rest = stray_records(text, 3 if mapped[:3] == b"\xef\xbb\xbf" else 0, delimiter, columns)
    if not len(numbers):
        return numbers, lambda: path
    if numbers[0] == 1:
        raise ValueError(f"{path}: a quotation mark opens in the line of column names and does not close: mend it")
    return numbers - 1, lambda: pa.BufferReader(pa.py_buffer(rest))


def _header(path: Path, delimiter: str) -> list[str]:
    """Column names of the first line; a delimiter that is not the format's is an error."""
    with path.open("rb") as start:
        if b"\0" in start.read(4096):
            raise ValueError(f"{path} is not UTF-8 text: convert it with iconv, or export it again")
    with path.open(encoding="utf-8-sig", newline="") as file:
        try:
            names = next(csv.reader(file, delimiter=delimiter), [])
        except csv.Error as error:
            raise ValueError(f"{path} does not start with a line of column names ({error})") from error
    if not names:
        raise ValueError(f"{path} starts with an empty line: its first line must name the columns")
    if len(names) == 1:
        for other, what in ((",", "commas (.csv)"), ("\t", "tabs (.tsv)"), (";", "semicolons"), ("|", "bars")):
            if other != delimiter and other in names[0]:
                way = "rename it" if other in ",\t" else "save it with commas"
                raise ValueError(f"{path} is separated by {what}, not by {delimiter!r}: {way}")
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ValueError(f"{path} has more than one column '{repeated[0]}': rename one")
    return names


# -- Parquet ----------------------------------------------------------------------------------------------------


def _read_parquet(path: Path) -> RawTable:
    return _numbered(load_parquet(path), typed=True)


def load_parquet(path: Path) -> pa.Table:
    """The whole Parquet file as it is, schema metadata included.

    Raises
    ------
    ValueError
        if it is truncated or corrupt
    """
    try:
        return pa.parquet.read_table(path, partitioning=None)
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{path} is not a complete Parquet file ({error!s:.70}): write or fetch it again") from error


# -- JSON -------------------------------------------------------------------------------------------------------


def _read_json_lines(path: Path) -> RawTable:
    try:
        return _numbered(pa.json.read_json(path, pa.json.ReadOptions(block_size=BLOCK_SIZE)))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        # Broken lines, or a field that changes its type (an id as text here and as a number there).
        records, malformed = [], []
        number = 0
        with path.open(encoding="utf-8-sig") as file:
            for line in filter(str.strip, file):
                number += 1
                try:
                    record = json.loads(line)
                except (json.JSONDecodeError, RecursionError) as error:
                    if not line.endswith("\n"):
                        raise ValueError(f"{path} ends in the middle of record {number}: fetch it again") from error
                    record = None
                if isinstance(record, dict):
                    records.append(record)
                else:
                    malformed.append(number)
        if not records:
            raise ValueError(f"{path}: none of its {number} lines is a JSON object") from None
        return _numbered(_table_of(records), malformed)


def _read_json(path: Path) -> RawTable:
    """A Twitter archive's ``window.YTD.… = [ … ]``, a Community-Archive object, or a plain array of posts."""
    text = path.read_text(encoding="utf-8-sig")
    if path.suffix.lower() == ".js":
        head, _, body = text.partition("=")
        if not head.strip().startswith("window.YTD."):
            raise ValueError(f"{path} does not start with 'window.YTD.': give the tweets.js of a Twitter archive")
        text = body.strip().rstrip(";")
    try:
        content = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        if "\n" in text.strip() and text.lstrip().startswith("{") and "Extra data" in str(error):
            return _read_json_lines(path)
        raise ValueError(f"{path} is not complete JSON ({error!s:.70}): fetch or export it again") from error
    account = None
    if isinstance(content, dict):
        key = next((k for k in RECORD_LISTS if isinstance(content.get(k), list)), None)
        if key is None:
            raise ValueError(
                f"{path} has no list of posts under {', '.join(RECORD_LISTS)}; it has {', '.join(content)}"
            )
        account = _account(content)
        content = content[key]
    if not isinstance(content, list):
        raise ValueError(f"{path} holds one value, not a list of posts")
    records = [(r["tweet"] if isinstance(r, dict) and isinstance(r.get("tweet"), dict) else r) for r in content]
    malformed = [k for k, r in enumerate(records, start=1) if not isinstance(r, dict)]
    posts = [r for r in records if isinstance(r, dict)]
    if account and not any("screen_name" in post for post in posts):
        posts = [{**post, "screen_name": account} for post in posts]
    return _numbered(_table_of(posts), malformed)


def _account(archive: dict[str, Any]) -> str | None:
    """The account whose archive it is, None where the archive does not say."""
    try:
        return str(archive["account"][0]["account"]["username"])
    except (KeyError, IndexError, TypeError):
        return None


def _table_of(records: list[dict[str, Any]]) -> pa.Table:
    """Records with any keys → columns; a column of mixed types becomes text."""
    columns = {}
    for key in dict.fromkeys(key for record in records for key in record):
        values = [record.get(key) for record in records]
        try:
            columns[key] = pa.array(values)
        except (pa.ArrowException, OverflowError):
            columns[key] = pa.array(
                [v if v is None or isinstance(v, str) else json.dumps(v) for v in values], pa.large_string()
            )
    return pa.table(columns)
