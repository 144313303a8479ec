"""Verbs of showing: maps and films."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from commands.options import COLUMNS, PATH, BoxType, Duration, names
from commands.program import verb
from commands.session import Session

if TYPE_CHECKING:
    from stpp.domain import Box


@verb("showing")
@click.argument("inputs", nargs=-1, required=True, type=PATH, metavar="EVENTS|RUN…")
@click.option("-o", "--output", type=PATH, required=True, metavar="map.html", help="The page to write.")
@COLUMNS
@click.option("--window", type=Duration(), help="Length of the time windows, where no run has any.")
@click.option("--box", type=BoxType(), help="What is drawn; by default the runs' domain, or all events.")
@names("--axes", default=None, metavar="A,B", help="The two coordinates to draw.  [default: the first two]")
@names("--colours", metavar="MARK,…", help="Marks to colour posts by.")
@click.option("--texts", is_flag=True, help="Put texts and authors into the page, for whoever opens it.")
@click.option(
    "--max-posts",
    type=click.IntRange(1),
    default=1_000_000,
    show_default=True,
    metavar="N",
    help="Of more, a sample is drawn; every count stays true.",
)
@click.option("--title", help="Of the page.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["html", "atlas-parquet"]),
    default="html",
    show_default=True,
    help="A page, or posts for embedding-atlas.",
)
def map_(
    session: Session,
    inputs: tuple[Path, ...],
    output: Path,
    time: str | None,
    coords: tuple[str, ...] | None,
    weight: str | None,
    window: str | None,
    box: Box | None,
    axes: tuple[str, ...] | None,
    colours: tuple[str, ...],
    texts: bool,
    max_posts: int,
    title: str | None,
    form: str,
) -> None:
    """Draw the weather map: one HTML page that plays posts, forecasts, flow and basins through time.

    Runs of 'evaluate', 'basins', 'flow' and 'fit' on the same events lay their layers over one another. The page needs
    nothing but a browser: no server, no network. Runs of 'evaluate' and 'basins' bring a map of their own.
    """
    from stpp.maps.run import draw_map
    from stpp.reports.words import plural

    drawn = draw_map(
        inputs,
        output,
        time=time,
        coords=coords,
        weight=weight,
        window=window,
        box=box,
        axes=axes,
        colours=colours,
        texts=texts,
        max_posts=max_posts,
        title=title,
        form=form,
        force=session.force,
        progress=session.progress,
    )
    session.log(*drawn.remarks)
    told = f"{plural(drawn.facts['posts'], 'post')}, {drawn.facts['bytes'] / 1e6:.1f} MB"
    session.show({"output": str(output), **drawn.facts}, f"{output}: {told}")


@verb("showing")
@click.argument("run", type=PATH)
@click.option("-o", "--output", type=PATH, required=True, metavar="out.gif|mp4", help="The animation to write.")
@click.option("--model", help="Which model of an evaluation.  [default: the best beside the reference]")
@click.option("--step", type=Duration(), help="Window after a fit's training time.  [default: 1d]")
@click.option("--grid", type=click.IntRange(1), help="Cells per axis of a fit's forecasts.  [default: 100]")
def animate(session: Session, run: Path, output: Path, model: str | None, step: str | None, grid: int | None) -> None:
    """Animate a run of 'evaluate', 'fit', 'basins' or 'flow': what was expected of each window, then what came."""
    from stpp.maps.run import animate

    progress = session.progress
    written = animate(run, output, model=model, step=step, grid=grid, force=session.force, progress=progress)
    session.show({"output": str(written), "bytes": written.stat().st_size}, f"animation  {written}")
