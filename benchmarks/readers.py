"""Which engine should read a CSV of posts? Seconds and peak memory of each, in a process of its own.

Usage: python benchmarks/readers.py [--rows 2500000] [--keep FILE.csv]

The file has the twelve columns of a Community-Archive export with coordinates, and four more; one text in forty holds
commas, quotes and a line break. Every engine must deliver an Arrow table whose ids are exact and whose unreadable
numbers can still be counted, so every engine reads columns as text; `stpp ingest` is the whole way to Events.
Writes results_readers.csv beside this script.
"""

from __future__ import annotations

import argparse
import csv
import importlib
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv

RESULTS = Path(__file__).with_name("results_readers.csv")
CHUNK = 250_000


def generate(path: Path, rows: int, seed: int = 0) -> None:
    """Write ``rows`` synthetic posts of about 110 characters in 16 columns."""
    rng = np.random.default_rng(seed)
    words = np.array(["".join(rng.choice(list("etaoinshrdlu"), size=k)) for k in rng.integers(2, 10, size=3000)])
    phrases = np.array([" ".join(rng.choice(words, size=9)) for _ in range(20_000)], dtype=object)
    accounts = np.array([f"account_{k}" for k in range(5000)], dtype=object)
    ids = np.sort(rng.integers(10**17, 10**18, size=rows))
    start = np.datetime64("2014-01-01T00:00:00")
    with pa.csv.CSVWriter(path, schema(), write_options=pa.csv.WriteOptions(quoting_style="needed")) as writer:
        for low in range(0, rows, CHUNK):
            n = min(CHUNK, rows - low)
            when = start + np.sort(rng.integers(0, 1000, size=n) + 43 * np.arange(low, low + n)).astype(
                "timedelta64[s]"
            )
            text = phrases[rng.integers(0, len(phrases), n)] + " " + phrases[rng.integers(0, len(phrases), n)]
            text[::40] = text[::40] + ', "and so on"\nsecond line'
            author = accounts[rng.zipf(1.3, n) % len(accounts)]
            reply = pa.array(ids[rng.integers(0, low + n, n)], mask=rng.random(n) > 0.2)
            naive = np.datetime_as_string(when).astype(object)
            place = rng.normal(size=(2, n)).round(7)
            iso = np.strings.replace(naive.astype(str), "T", " ").astype(object) + "+00:00"
            columns = [
                ids[low : low + n], text, twitter_dates(when), rng.zipf(1.6, n) - 1, rng.zipf(1.6, n) - 1, reply,
                author, author, author, iso, *place, np.full(n, "en", dtype=object),
                np.full(n, "Twitter Web App", dtype=object), rng.integers(10, 10**6, n), rng.random(n) < 0.2,
            ]  # fmt: skip
            writer.write_table(pa.table([pa.array(c) for c in columns], schema=schema()))


def schema() -> pa.Schema:
    """The 16 columns."""
    text, count = pa.string(), pa.int64()
    names = {"id": count, "full_text": text, "created_at": text, "retweet_count": count, "favorite_count": count}
    names |= {"in_reply_to_status_id": count, "in_reply_to_screen_name": text, "screen_name": text, "username": text}
    names |= {"datetime": text, "x": pa.float64(), "y": pa.float64(), "lang": text, "source": text}
    return pa.schema(names | {"author_followers": count, "is_retweet": pa.bool_()})


def twitter_dates(when: np.ndarray) -> np.ndarray:
    """``Wed Oct 10 20:19:24 +0000 2018``."""
    return pa.compute.strftime(pa.array(when), format="%a %b %d %H:%M:%S +0000 %Y", locale="C").to_numpy(
        zero_copy_only=False
    )


def read_pyarrow(path: Path) -> int:
    """Threaded reader with quoted line breaks."""
    from stpp.ingest.formats import read_table

    return read_table(path).table.num_rows


def read_duckdb(path: Path) -> int:
    """DuckDB's reader, in file order."""
    import duckdb

    return duckdb.sql(f"SELECT * FROM read_csv('{path}', all_varchar = true)").to_arrow_table().num_rows


def read_pandas(path: Path) -> int:
    """The C parser, columns as Arrow-backed text."""
    import pandas as pd

    return pa.Table.from_pandas(pd.read_csv(path, dtype="string[pyarrow]", keep_default_na=False)).num_rows


def read_ingest(path: Path) -> int:
    """From the file to Events, weights and replies included."""
    from stpp.ingest.readers import ReadOptions, ingest

    return len(ingest([path], ReadOptions(weight="log")).events)


ENGINES: dict[str, tuple[str, Callable[[Path], int]]] = {  # name → module imported before the clock starts, function
    "pyarrow": ("stpp.ingest.formats", read_pyarrow),
    "duckdb": ("duckdb", read_duckdb),
    "pandas": ("pandas", read_pandas),
    "stpp ingest": ("stpp.ingest.readers", read_ingest),
}


def run_one(engine: str, path: Path) -> None:
    """Time one engine in this process and print its line."""
    module, function = ENGINES[engine]
    importlib.import_module(module)
    started = time.perf_counter()
    rows = function(path)
    seconds = time.perf_counter() - started
    unit = 1 if sys.platform == "darwin" else 1024  # ru_maxrss is in bytes on macOS, in KiB on Linux
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20
    print(f"{engine},{rows},{seconds:.2f},{peak:.0f}")


def main() -> None:
    """Generate the file, run every engine once in a subprocess, write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=2_500_000)
    parser.add_argument("--keep", type=Path, help="where to keep (and find again) the generated file")
    parser.add_argument("--engine", choices=list(ENGINES), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.engine:
        run_one(arguments.engine, arguments.keep)
        return
    with tempfile.TemporaryDirectory() as folder:
        path = arguments.keep or Path(folder) / "posts.csv"
        if not path.exists():
            generate(path, arguments.rows)
        size = path.stat().st_size / 2**20
        lines = []
        for engine in ENGINES:
            command = [sys.executable, __file__, "--engine", engine, "--keep", str(path)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            lines.append([*done.stdout.strip().split(","), f"{size:.0f}"])
            print("{:12} {:>9} rows {:>7} s {:>6} MB peak  ({} MB file)".format(*lines[-1]))
    with RESULTS.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["engine", "rows", "seconds", "peak_memory_mb", "file_mb"])
        table.writerows(lines)


if __name__ == "__main__":
    main()
