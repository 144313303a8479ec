"""Null results, written and read back."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path

from evaluation.nulls.worlds import NullResult


def save_nulls(results: Sequence[NullResult], path: Path) -> None:
    """Write null results with every value under the null, as JSON."""
    kept = [f.name for f in fields(NullResult) if f.name != "seconds"]
    path.write_text(json.dumps([{k: asdict(r)[k] for k in kept} for r in results], indent=1) + "\n")


def load_nulls(path: Path) -> list[NullResult]:
    """What :func:`save_nulls` wrote; none where there is no such file."""
    if not path.is_file():
        return []
    return [
        NullResult(**row | {"values": tuple(row["values"]), "seconds": 0.0}) for row in json.loads(path.read_text())
    ]
