"""Verbs of basins: found, and what would change them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from commands.options import BOX, DATES, PATH, SET, Chooses, Duration, Name, Place, names, reads_events
from commands.program import verb
from commands.session import Session

if TYPE_CHECKING:
    from stpp.domain import Box
    from stpp.runs.manifest import Source


class ChoosesFinder(Chooses):
    """A verb that takes a finder."""

    takes = "finders"


@verb("basins", ChoosesFinder)
@reads_events
@click.option(
    "--method",
    type=Name("finders"),
    metavar="density|markov|consensus|hawkes-regions|lyapunov",
    help="How basins are found.  [default: density up to 3 dimensions, else markov]",
)
@click.option("--window", type=Duration(), default="7d", show_default=True, help="Length of the time windows.")
@click.option("--half-life", type=Duration(), help="Earlier posts count too, half after so long.")
@click.option("--link", type=click.Choice(["hungarian", "soft"]), default="hungarian", help="How basins are followed.")
@DATES
@click.option("--test-start", metavar="DATE", help="Space and tuning are learned before.  [default: half of the way]")
@BOX
@click.option("--texts", is_flag=True, help="Quote the posts nearest to the peaks in the report.")
@names(
    "--null", "nulls", default="time-shuffle", kind="nulls", metavar="all|A,B,…",
    help="See 'stpp nulls'.  [default: time-shuffle]",
)  # fmt: skip
@click.option("-B", "B", type=int, metavar="N", help="Null worlds, 0 for none.  [default: 19 for density, else 0]")
@click.option("-o", "--output", type=PATH, metavar="RUN", help="Directory for the report, its pictures and tables.")
@SET
def basins(
    session: Session,
    source: Source,
    method: str | None,
    window: str,
    half_life: str | None,
    link: str,
    start: str | None,
    end: str | None,
    test_start: str | None,
    box: Box | None,
    texts: bool,
    nulls: tuple[str, ...],
    B: int | None,
    output: Path | None,
    options: Mapping[str, object],
) -> None:
    """Which regions hold and attract discourse in each window, how strong are they, and which will persist?

    Basins are found in every window, measured, followed from window to window, named, and held against null worlds;
    the report says which are expected to continue and to grow. With -o RUN: report.html, report.md, CSV tables.
    Interrupted, the same command goes on from its last finished null world.
    """
    from basins.report.report import lines, to_json_dict
    from basins.run import find

    found = find(
        source,
        method,
        window=window,
        half_life=half_life,
        link=link,
        start=start,
        end=end,
        test_start=test_start,
        box=box,
        options=options,
        texts=texts,
        null=nulls,
        B=B,
        output=output,
        seed=session.seed,
        jobs=session.jobs,
        force=session.force,
        progress=session.progress,
    )
    session.show(to_json_dict(found), "\n".join(lines(found)))
    session.written(output)


@verb("acting")
@click.argument("run", type=PATH)
@click.option("--add", type=click.IntRange(0), required=True, metavar="N", help="Posts to add.")
@click.option("--at", required=True, metavar="DATE", help="When; nothing from then on is looked at.")
@click.option("--place", type=Place(), required=True, help="Where, in map units.")
@click.option("--weight", type=float, default=1.0, show_default=True, help="Of each post; the mark of --productivity.")
@click.option("--step", type=Duration(), default="1d", show_default=True, help="Length of a step.")
@click.option("--steps", type=click.IntRange(1), default=7, show_default=True, metavar="K", help="Steps to look ahead.")
@click.option("--window", type=Duration(), default="7d", show_default=True, help="Basins are those of so long before.")
@click.option("--simulations", type=click.IntRange(2), default=200, show_default=True, help="Of each future.")
@click.option("-p", "p", type=float, default=0.5, show_default=True, help="Continuation that counts as sustained.")
def whatif(
    session: Session,
    run: Path,
    add: int,
    at: str,
    place: tuple[float, ...],
    weight: float,
    step: str,
    steps: int,
    window: str,
    simulations: int,
    p: float,
) -> None:
    """What would N more posts change? Simulate a fitted model with and without them, by common random numbers.

    Says how many posts follow and where, how each basin's size and chances change, and how many posts the region at
    that place needs to continue with probability -p.
    """
    from basins.run import what_if

    found = what_if(
        run,
        add=add,
        at=at,
        place=place,
        weight=weight,
        step=step,
        steps=steps,
        window=window,
        simulations=simulations,
        p=p,
        seed=session.seed,
        force=session.force,
        progress=session.progress,
    )
    session.show(found.to_json_dict(), "\n".join(found.lines()))
