"""Verbs of models: fitted, forecasting, listed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from commands.options import BOX, COLUMNS, DATES, GRID, PATH, SET, Chooses, Duration, Name, reads_events
from commands.program import verb
from commands.session import Session

if TYPE_CHECKING:
    from stpp.domain import Box
    from stpp.runs.manifest import Source


@verb("models", Chooses)
@click.argument("model", type=Name("models"))
@reads_events
@click.option("-o", "--output", type=PATH, metavar="RUN", help="Directory for the model and its manifest.")
@DATES
@BOX
@click.option("--horizon", type=Duration(), help="Learn to look so far ahead.  [default: 1d]")
@click.option("--parents", is_flag=True, help="Hawkes: write each event's probable parent to RUN/parents.parquet.")
@SET
def fit(
    session: Session,
    source: Source,
    model: str,
    output: Path | None,
    start: str | None,
    end: str | None,
    box: Box | None,
    horizon: str | None,
    parents: bool,
    options: Mapping[str, object],
) -> None:
    """Fit a model ('stpp models' lists them) and print its summary.

    Events before --start are not scored by the fit, but count as history. 'stpp fit MODEL --help' lists the options of
    a model.
    """
    from stpp.runs.fits import fit, fit_facts

    fitted = fit(
        source,
        model,
        start=start,
        end=end,
        box=box,
        horizon=horizon,
        options=options,
        parents=parents,
        output=output,
        seed=session.seed,
        force=session.force,
        progress=session.progress,
    )
    assert fitted.result is not None, "every fit reports"
    session.show(fit_facts(fitted), fitted.result.summary(f"{model} fitted to {source.path}"))


@verb("models")
@click.argument("run", type=PATH)
@click.option("--at", required=True, metavar="DATE", help="Issue time; nothing from then on is looked at.")
@click.option("--horizon", type=Duration(), default="7d", help="Its length.", show_default=True)
@GRID
@click.option("-o", "--output", type=PATH, metavar="FILE.nc", help="Write the forecast as NetCDF.")
@click.option("--events", type=PATH, help="The history, if not the file that the model was fitted to.")
@COLUMNS
def forecast(
    session: Session,
    run: Path,
    at: str,
    horizon: str,
    grid: int,
    output: Path | None,
    events: Path | None,
    time: str | None,
    coords: tuple[str, ...] | None,
    weight: str | None,
) -> None:
    """Forecast how many events will fall where, from the history before a date.

    Events are read as they were for the fit, unless --time, --coords or --weight say otherwise.
    """
    from stpp.runs.fits import forecast_facts, forecast_lines, load_run

    fitted = load_run(run)
    named = {"time": time, "coords": coords, "weight": weight}
    reading = fitted.reading | {key: value for key, value in named.items() if value is not None}
    source = session.read(events or fitted.source, reading)
    issued, notes = fitted.forecast_to(output, source, at, horizon, grid, seen_too=session.force, force=session.force)
    session.log(*notes)
    facts = forecast_facts(issued, source.events)
    session.show(facts, "\n".join(forecast_lines(facts, source.events.axes)))


@verb("models")
def models(session: Session) -> None:
    """List the models, and the finders of basins that 'evaluate' takes as models."""
    from basins.finders import FINDERS
    from stpp.models import MODELS

    lines = {name: model.summary_line for name, model in MODELS.items()}
    lines |= {f"basins:{name}": finder.summary_line for name, finder in FINDERS.items()}
    session.show(lines, "\n".join(f"{name:24}{line}" for name, line in lines.items()))
