"""Verbs of data: posts read, described, simulated."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from commands.options import COLUMNS, DATES, PATH, BoxType, reads_events
from commands.program import verb
from commands.session import Session

if TYPE_CHECKING:
    from stpp.domain import Box
    from stpp.runs.manifest import Source


@verb("data")
@click.argument("files", nargs=-1, required=True, type=PATH, metavar="FILE…")
@click.option("-o", "--output", required=True, type=PATH, metavar="EVENTS.parquet", help="The events file to write.")
@COLUMNS
@DATES
@click.option("--box", type=BoxType(), help="Reject what lies outside.")
@click.option("--sample", type=int, metavar="N", help="Keep a random sample.")
@click.option("--strict", is_flag=True, help="Any row that cannot be used is an error.")
@click.option("--embed", type=click.Choice(["lsa"]), help="Place posts by their text (latent semantic analysis).")
@click.option("--dims", type=int, default=2, show_default=True, help="Dimensions of the text space.")
@click.option("--space-until", metavar="DATE", help="The text space sees posts before this time only.")
def ingest(
    session: Session,
    files: tuple[Path, ...],
    output: Path,
    time: str | None,
    coords: tuple[str, ...] | None,
    weight: str | None,
    start: str | None,
    end: str | None,
    box: Box | None,
    sample: int | None,
    strict: bool,
    embed: str | None,
    dims: int,
    space_until: str | None,
) -> None:
    """Read posts from CSV, TSV, Parquet, JSON lines or Twitter archives into an events file.

    Every row that cannot be used is counted by cause and listed in NAME.rejects.parquet beside the output;
    NAME.ingest.json keeps the whole account.
    """
    from stpp.ingest.readers import ReadOptions
    from stpp.runs.events import ingest_to

    options = ReadOptions(
        time=time,
        coords=coords,
        weight=weight,
        start=start,
        end=end,
        box=box,
        sample=sample,
        seed=session.seed,
        strict=strict,
        embed=embed,
        dims=dims,
        space_until=space_until,
    )
    account, lines = ingest_to(output, files, options, force=session.force)
    session.show(account, "\n".join(lines))


@verb("data")
@reads_events
def describe(session: Session, source: Source) -> None:
    """Say what an events file holds."""
    from stpp.ingest import quality

    facts = quality.describe(source.events if source.recorded is None else source.recorded)
    session.show(facts, "\n".join(quality.describe_lines(facts)))


@verb("data")
@click.argument("world", metavar="hawkes|WORLD")
@click.option("-n", type=click.IntRange(1), required=True, help="Expected number of events.")
@click.option("-o", "--output", type=PATH, required=True, metavar="EVENTS.parquet", help="The events file to write.")
def simulate(session: Session, world: str, n: int, output: Path) -> None:
    """Draw events from a Hawkes process or from a world with planted basins.

    The truth is written to NAME.truth.json beside the output.
    """
    from stpp.runs.events import simulate_to

    truth, count = simulate_to(output, world, n, session.seed, force=session.force)
    values = {"world": world, "events": count, "output": str(output), "truth": str(truth)}
    session.show(values, f"{count:,} events in {output}, their truth in {truth}")
