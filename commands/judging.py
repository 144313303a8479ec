"""Verbs of judging: forecasts scored, held against chance, diagnosed, reported."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

import click
from click.core import ParameterSource

from commands.options import ANIMATE, CONTEST, GRID, PATH, SET, SHUFFLES, Chooses, Duration, Name, names, reads_events
from commands.program import COMMON, verb
from commands.session import Session

if TYPE_CHECKING:
    from evaluation.backtests.plan import Contest
    from stpp.runs.manifest import Source

FOR_BASINS = {
    "events", "time", "coords", "weight", "basins", "window", "nulls", "train_start", "test_start", "test_end", "box",
    "B", "backend", "scheduler", "output",
}  # fmt: skip
"""Parameters of ``null`` that apply to basins too."""


@verb("judging", Chooses)
@reads_events
@names(
    "--models",
    default="historical-average,decaying-kde,hawkes",
    kind="models",
    metavar="A,B,…",
    help="Models to compare; basins:METHOD is a finder's.  [default: historical-average,decaying-kde,hawkes]",
)
@CONTEST
@names("--nulls", kind="nulls", metavar="all|A,B,…", help="Test the gains against these nulls.")
@SHUFFLES
@click.option("--keep-forecasts", is_flag=True, help="Write every forecast, not only those that the report shows.")
@ANIMATE
@click.option("-o", "--output", type=PATH, metavar="RUN", help="Directory for scores, forecasts and the report.")
@SET
def evaluate(
    session: Session,
    source: Source,
    models: tuple[str, ...],
    options: Mapping[str, object],
    nulls: tuple[str, ...],
    B: int,
    backend: str,
    scheduler: str | None,
    keep_forecasts: bool,
    animate: tuple[str, ...],
    images: Path,
    output: Path | None,
    **contest: Unpack[Contest],
) -> None:
    """Backtest models on rolling forecasts and rank them by information gain.

    Interrupted, the same command goes on from its last finished window.
    """
    from evaluation import run

    found = run.evaluate(
        source,
        models,
        options=options,
        nulls=nulls,
        B=B,
        backend=backend,
        scheduler=scheduler,
        keep_forecasts=keep_forecasts,
        animate=animate,
        images=images,
        output=output,
        seed=session.seed,
        jobs=session.jobs,
        force=session.force,
        progress=session.progress,
        **contest,
    )
    session.show(found.to_json_dict(), str(found))
    session.written(output)


@verb("judging", Chooses)
@reads_events
@click.option("--model", type=Name("models"), default="hawkes", show_default=True, help="Whose statistic is tested.")
@names(
    "--null", "nulls", default="time-shuffle", kind="nulls", metavar="all|A,B,…",
    help="See 'stpp nulls'.  [default: time-shuffle]",
)  # fmt: skip
@click.option("--statistic", default="information-gain", show_default=True, help="What is tested; see 'stpp nulls'.")
@click.option("--distance", type=float, help="knox: map units that count as near; the closest 1 % of pairs by default.")
@click.option("--delay", type=Duration(), help="knox: time that counts as near; likewise.")
@click.option("--basins", type=Name("finders"), metavar="METHOD", help="Test the analysis of basins by METHOD instead.")
@click.option("--window", type=Duration(), help="Basins: length of the windows.  [default: 7d]")
@CONTEST
@SHUFFLES
@click.option("-o", "--output", type=PATH, metavar="RUN", help="Directory for the values and their picture.")
@SET
def null(
    session: Session,
    source: Source,
    model: str,
    nulls: tuple[str, ...],
    statistic: str,
    distance: float | None,
    delay: str | None,
    basins: str | None,
    window: str | None,
    options: Mapping[str, object],
    B: int,
    backend: str,
    scheduler: str | None,
    output: Path | None,
    **contest: Unpack[Contest],
) -> None:
    """Is it chance? Test a statistic, refit included, against null worlds without the structure it measures.

    Interrupted, the same command goes on from its last finished world.
    """
    from evaluation.nulls.families import null_lines

    if not basins and window:
        raise click.UsageError("--window is for --basins; models forecast windows of --step and --horizon")
    if basins:
        from basins.run import null_test as basins_null_test

        _refuse_for_basins()
        tested = basins_null_test(
            source,
            basins,
            null=nulls,
            window=window or "7d",
            train_start=contest.get("train_start"),
            test_start=contest.get("test_start"),
            test_end=contest.get("test_end"),
            box=contest.get("box"),
            B=B,
            backend=backend,
            scheduler=scheduler,
            output=output,
            seed=session.seed,
            jobs=session.jobs,
            force=session.force,
            progress=session.progress,
        )
    else:
        from evaluation.nulls.run import null_test

        tested = null_test(
            source,
            model,
            null=nulls,
            statistic=statistic,
            distance=distance,
            delay=delay,
            options=options,
            B=B,
            backend=backend,
            scheduler=scheduler,
            output=output,
            seed=session.seed,
            jobs=session.jobs,
            force=session.force,
            progress=session.progress,
            **contest,
        )
    found = [one.to_json_dict() for one in tested]
    session.show(found[0] if len(found) == 1 else {"nulls": found}, "\n".join(null_lines(tested)))


def _refuse_for_basins() -> None:
    """Refuse options that were given and do not apply to basins."""
    context = click.get_current_context()
    common = {one.name for one in COMMON}
    for one in context.command.get_params(context):
        given = context.get_parameter_source(str(one.name)) == ParameterSource.COMMANDLINE
        if given and one.name not in FOR_BASINS | common:
            raise click.UsageError(f"{one.opts[0]} does not apply to --basins: leave it out")


@verb("judging")
@click.argument("run", type=PATH)
@click.option("--model", help="Which model of an evaluation.  [default: the first beside the reference]")
@click.option("--step", type=Duration(), default="1d", show_default=True, help="Window after a fit's training time.")
@click.option("--mark", metavar="COL", help="Test the distribution of this numeric mark, such as a magnitude.")
@GRID
def diagnose(session: Session, run: Path, model: str | None, step: str, mark: str | None, grid: int) -> None:
    """Check a fit, or a model of an evaluation, on the events after its training: residuals and calibration.

    Draws one page, RUN/diagnosis-MODEL.png, and writes the numbers beside it.
    """
    from evaluation.run import diagnose

    progress = session.progress
    found = diagnose(run, model=model, step=step, mark=mark, grid=grid, seed=session.seed, progress=progress)
    session.show(found.to_json_dict(), "\n".join(found.lines()))
    session.log(f"\npage       {run / f'diagnosis-{found.diagnosis.model}.png'}")


@verb("judging")
@click.argument("run", type=PATH)
@ANIMATE
def report(session: Session, run: Path, animate: tuple[str, ...], images: Path) -> None:
    """Write the report of an evaluation anew, and animate its forecasts."""
    from evaluation.report.report import leaderboard
    from evaluation.run import report_run

    result = report_run(run, animate=animate, images=images, force=session.force, progress=session.progress)
    session.show(result.to_json_dict(), leaderboard(result))
    session.log(f"\nreport     {run / 'report.html'}")


@verb("judging")
def scores(session: Session) -> None:
    """List the scores: which are proper, which way is better, and where they come from."""
    from evaluation.scores import describe_scores, scores_table

    session.show({str(row.pop("name")): row for row in scores_table()}, describe_scores())


@verb("judging")
def nulls(session: Session) -> None:
    """List the nulls and the statistics to test against them."""
    from evaluation.nulls import NULLS
    from evaluation.nulls.statistics import STATISTICS
    from evaluation.nulls.worlds import describe_nulls

    lines = "\n".join(f"  {name:20}{line}" for name, line in STATISTICS.items())
    claims = {name: one.claim for name, one in NULLS.items()}
    session.show({"nulls": claims, "statistics": STATISTICS}, f"{describe_nulls()}\n\nstatistics\n{lines}")
