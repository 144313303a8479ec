"""What every verb is given: the seed, how to read events, and how to speak."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from stpp.compute.progress import Progress
    from stpp.runs.manifest import Source


@dataclass(frozen=True)
class Session:
    """The manner of one command. Data goes to stdout, all else to stderr.

    Parameters
    ----------
    argv : the command line
    seed, as_json, force, quiet, jobs : the options that every verb takes
    started : ``time.perf_counter()`` when it began
    """

    argv: list[str]
    seed: int
    as_json: bool
    force: bool
    quiet: bool
    jobs: int | None
    started: float

    def log(self, *lines: str) -> None:
        """Tell the user something beside the result."""
        if lines and not self.quiet:
            click.echo("\n".join(lines), err=True)

    def show(self, values: dict[str, Any], text: str) -> None:
        """The result: one JSON object with --json, the text without."""
        from stpp.files.jsonable import jsonable

        click.echo(json.dumps(jsonable(values)) if self.as_json else text)

    def written(self, output: Path | None) -> None:
        """Say where the report of a run is, and its map if there is one."""
        if output:
            self.log(f"\nreport     {output / 'report.html'}")
            self.log(*[f"map        {path}" for path in output.glob("map.html")])

    def read(self, path: Path, reading: dict[str, Any]) -> Source:
        """The events of a file; the user is told which rows of it could not be used."""
        from stpp.runs.manifest import read_source

        return read_source(path, reading)

    @contextmanager
    def recorded(self) -> Iterator[None]:
        """What runs are made is recorded with this command line."""
        from stpp.runs import COMMAND

        token = COMMAND.set(tuple(self.argv))
        try:
            yield
        finally:
            COMMAND.reset(token)

    @property
    def progress(self) -> Progress:
        """How far long work is: a bar on a terminal, else a line now and then; nothing with --quiet."""
        from stpp.compute.progress import Reporter

        return Reporter(self.log, quiet=self.quiet)

    @property
    def elapsed(self) -> float:
        """Seconds since the command began."""
        return time.perf_counter() - self.started
