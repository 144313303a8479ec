"""Verbs of flow: where discourse moves."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from commands.options import BOX, DATES, PATH, SET, Chooses, Duration, reads_events
from commands.program import verb
from commands.session import Session

if TYPE_CHECKING:
    from stpp.domain import Box
    from stpp.runs.manifest import Source


@verb("models", Chooses)
@reads_events
@click.option("--model", type=click.Choice(["drift", "transport"]), default="drift", show_default=True, help="Of flow.")
@click.option("--step", type=Duration(), default="1d", show_default=True, help="From one flow to the next.")
@DATES
@BOX
@click.option("--movie", is_flag=True, help="Animate the density and its arrows too.")
@click.option("-o", "--output", type=PATH, metavar="RUN", help="Directory for pages, numbers and the animation.")
@SET
def flow(
    session: Session,
    source: Source,
    model: str,
    step: str,
    start: str | None,
    end: str | None,
    box: Box | None,
    movie: bool,
    output: Path | None,
    options: Mapping[str, object],
) -> None:
    """Where does discourse move, gather, spread, grow and fade? One flow per step.

    Each flow is measured from the posts before it, with parameters that are learned from all posts from --start to
    --end. With -o RUN: a page per flow, all numbers in RUN/flow.nc, a summary in RUN/flows.csv, the model and its
    trials.
    """
    from stpp.flow.report import flow_lines
    from stpp.runs.flows import find_flows

    found = find_flows(
        source,
        model,
        step=step,
        start=start,
        end=end,
        box=box,
        options=options,
        movie=movie,
        output=output,
        seed=session.seed,
        force=session.force,
        progress=session.progress,
    )
    lines = [f"{one['time'][:16].replace('T', ' ')}  " + "; ".join(flow_lines(one)) for one in found.facts]
    session.show({"model": model, "flows": found.facts}, "\n".join(lines))
