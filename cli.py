"""The command line: one thin function per verb. Libraries are imported inside, so that --help stays instant."""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import re
import shlex
import signal
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from stpp.domain import Box
    from stpp.runs import Source

DAYS = {"m": 1 / 1440, "h": 1 / 24, "d": 1.0, "w": 7.0}
PATH = click.Path(path_type=Path)


class Program(click.Group):
    """The group of verbs; a user's mistake becomes one line on stderr and exit code 2."""

    def make_context(self, info_name: str | None, args: list[str], *rest: Any, **extra: Any) -> click.Context:
        """Keep the words of the command line for the manifest."""
        return super().make_context(info_name, args, *rest, **{**extra, "obj": ["stpp", *args]})

    def main(self, *args: Any, **extra: Any) -> Any:
        """Run a command and exit: 0, 2 after a mistake, 130 after Ctrl-C, 143 after kill."""
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # unwinds, so that temporary files go
        try:
            sys.exit(super().main(*args, **{**extra, "standalone_mode": False}))
        except click.ClickException as error:
            line, code = error.format_message(), 2
        except (click.Abort, KeyboardInterrupt):
            line, code = "interrupted; nothing half-written was left", 130
        except KeyError as error:
            line, code = str(error.args[0]), 2
        except MemoryError:
            line, code = "out of memory: use a coarser grid, fewer events or a shorter time", 2
        except OSError as error:
            line, code = f"{error.filename}: {error.strerror}" if error.filename else str(error), 2
        except ValueError as error:
            line, code = str(error), 2
        click.echo(f"stpp: error: {' '.join(line.split())}", err=True)
        sys.exit(code)


@dataclasses.dataclass(frozen=True)
class Session:
    """What every verb is given: the seed, and how to speak. Data goes to stdout, all else to stderr."""

    argv: list[str]
    seed: int
    as_json: bool
    force: bool
    quiet: bool
    started: float

    def log(self, *lines: str) -> None:
        """Tell the user something beside the result."""
        if lines and not self.quiet:
            click.echo("\n".join(lines), err=True)

    def show(self, values: dict[str, Any], text: str) -> None:
        """The result: one JSON object with --json, the text without."""
        click.echo(json.dumps(_finite(values)) if self.as_json else text)

    def read(self, path: Path, reading: dict[str, Any]) -> Source:
        """The events of a file; the user is told which rows of it could not be used."""
        from stpp.runs import read_source

        source = read_source(path, reading)
        if source.rejects is not None:
            rows = len(source.events) + len(source.rejects)
            for cause, count in source.rejects["cause"].value_counts().items():
                self.log(f"{path}: {count:,} of {rows:,} rows left out: {cause}")
        return source

    def record(self, directory: Path, source: Source, **settings: Any) -> None:
        """Put the manifest into a run directory."""
        from stpp.runs import write_manifest

        write_manifest(directory, self.argv, self.seed, source, self.started, settings)

    def progress(self) -> Callable[[str, int, int], None]:
        """A progress bar for windows, on a terminal only."""
        from tqdm import tqdm

        bar = tqdm(disable=True if self.quiet else None, leave=False, unit="window")

        def advance(model: str, done: int, total: int) -> None:
            if done == 1:
                bar.reset(total)
                bar.set_description(model)
            bar.update()

        return advance


def _finite(value: Any) -> Any:
    """JSON has no NaN or infinity: null."""
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


@click.group(cls=Program, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="stpp")
def main() -> None:
    """Discourse as a spatio-temporal point process: fit intensities, forecast, judge the forecasts.

    EVENTS is a file that 'ingest' wrote or any file that it reads. DATE is an ISO date or time (UTC unless it says
    otherwise) or a number of days since the epoch in the file. Durations are written 30m, 6h, 1d, 2w.
    """


COMMON = [
    click.Option(["--seed"], type=click.IntRange(0), default=0, show_default=True, help="Seed of all randomness."),
    click.Option(["--json", "as_json"], is_flag=True, help="Print one JSON object on stdout."),
    click.Option(["--force"], is_flag=True, help="Overwrite what exists."),
    click.Option(["--quiet"], is_flag=True, help="No log and no progress on stderr."),
    click.Option(["--jobs"], type=click.IntRange(1), help="Processor cores to use; all by default."),
]


def verb(function: Callable[..., None]) -> click.Command:
    """Make a command of a function, with the options that every verb takes."""

    @main.command()
    @functools.wraps(function)
    def command(seed: int, as_json: bool, force: bool, quiet: bool, jobs: int | None, **options: Any) -> None:
        session = Session(click.get_current_context().obj, seed, as_json, force, quiet, time.perf_counter())
        session.log(f"seed {seed}")
        if jobs:
            import numba

            numba.set_num_threads(jobs)
        function(session, **options)

    command.params += COMMON
    return command


def _duration(text: str) -> float:
    """Days in a duration such as 6h, 1d or 2w."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([mhdw])", text)
    if not match or not float(match[1]) > 0:
        raise click.BadParameter(f"'{text}' is not a duration longer than 0, such as 30m, 6h, 1d or 2w.")
    return float(match[1]) * DAYS[match[2]]


def _look_back(text: str) -> float | None:
    return None if text == "expanding" else _duration(text)


def _box(text: str) -> Box:
    from stpp.domain import Box

    try:
        return Box.from_flat([float(v) for v in text.split(",")])
    except ValueError as error:
        raise click.BadParameter(f"'{text}': {error}.") from None


def _names(text: str) -> tuple[str, ...]:
    return tuple(text.split(","))


def stack(*options: Callable[..., Any]) -> Callable[[Any], Any]:
    """Several options as one decorator, in the order in which --help shows them."""
    return lambda function: functools.reduce(lambda inner, option: option(inner), reversed(options), function)


COLUMNS = stack(
    click.option("--time", metavar="COL", help="Column of times; found by its name if not given."),
    click.option("--coords", type=_names, metavar="A,B,…", help="Columns of coordinates; found by name if not given."),
    click.option(
        "--weight", metavar="uniform|linear|log", help="Importance by retweets and favourites, or a column of it."
    ),
)
DATES = stack(
    click.option("--start", metavar="DATE", help="Use events from this time on."),
    click.option("--end", metavar="DATE", help="Use events before this time."),
)
BOX = click.option("--box", type=_box, metavar="LO,HI,…", help="The domain; by default around the training events.")
GRID = click.option("--grid", type=int, default=100, show_default=True, help="Cells per axis.")
HAWKES = stack(
    click.option("--kernel", type=click.Choice(["dictionary", "exponential"]), help="hawkes: many kernels, or one."),
    click.option("--productivity", metavar="MARK", help="hawkes: events trigger more, the larger this mark."),
)


def reads_events(function: Callable[..., None]) -> Any:
    """Give a verb EVENTS, and the options that say how it is read, as one ``source``."""

    @click.argument("events", type=PATH)
    @COLUMNS
    @functools.wraps(function)
    def reader(session: Session, events: Path, *, time: Any, coords: Any, weight: Any, **rest: Any) -> None:
        function(session, session.read(events, {"time": time, "coords": coords, "weight": weight}), **rest)

    return reader


@verb
@click.argument("files", nargs=-1, required=True, type=PATH, metavar="FILE…")
@click.option("-o", "--output", required=True, type=PATH, metavar="EVENTS.parquet", help="The events file to write.")
@COLUMNS
@DATES
@click.option("--box", type=_box, metavar="LO,HI,…", help="Reject what lies outside.")
@click.option("--sample", type=int, metavar="N", help="Keep a random sample.")
@click.option("--strict", is_flag=True, help="Any row that cannot be used is an error.")
@click.option("--embed", type=click.Choice(["lsa"]), help="Place posts by their text (latent semantic analysis).")
@click.option("--dims", type=int, default=2, show_default=True, help="Dimensions of the text space.")
@click.option("--space-until", metavar="DATE", help="The text space sees posts before this time only.")
def ingest(session: Session, files: tuple[Path, ...], output: Path, **options: Any) -> None:
    """Read posts from CSV, TSV, Parquet, JSON lines or Twitter archives into an events file.

    Every row that cannot be used is counted by cause and listed in NAME.rejects.parquet beside the output;
    NAME.ingest.json keeps the whole account.
    """
    from stpp.readers import ReadOptions
    from stpp.runs import ingest_to

    account, lines = ingest_to(output, files, ReadOptions(**options, seed=session.seed), session.argv, session.force)
    session.show(account, "\n".join(lines))


@verb
@reads_events
def describe(session: Session, source: Source) -> None:
    """Say what an events file holds."""
    from stpp import quality

    facts = quality.describe(source.events)
    session.show(facts, "\n".join(quality.describe_lines(facts)))


@verb
@click.argument("world", metavar="hawkes|WORLD")
@click.option("-n", type=click.IntRange(1), required=True, help="Expected number of events.")
@click.option("-o", "--output", type=PATH, required=True, metavar="EVENTS.parquet", help="The events file to write.")
def simulate(session: Session, world: str, n: int, output: Path) -> None:
    """Draw events from a Hawkes process or from a world with planted basins.

    The truth is written to NAME.truth.json beside the output.
    """
    from stpp.runs import simulate_to

    truth, count = simulate_to(output, world, n, session.seed, session.force)
    values = {"world": world, "events": count, "output": str(output), "truth": str(truth)}
    session.show(values, f"{count:,} events in {output}, their truth in {truth}")


@verb
@click.argument("model")
@reads_events
@click.option("-o", "--output", type=PATH, metavar="RUN", help="Directory for the model and its manifest.")
@DATES
@BOX
@click.option("--horizon", type=_duration, metavar="DURATION", help="Learn to look so far ahead.  [default: 1d]")
@HAWKES
@click.option("--parents", is_flag=True, help="Hawkes: write each event's probable parent to RUN/parents.parquet.")
def fit(session: Session, source: Source, model: str, output: Path | None, parents: bool, **settings: Any) -> None:
    """Fit a model ('stpp models' lists them) and print its summary.

    Events before --start are not scored by the fit, but count as history.
    """
    if parents and (model != "hawkes" or not output):
        raise click.UsageError("--parents is for 'fit hawkes' with -o RUN")
    from stpp.declustering import write_parents
    from stpp.outputs import new_run
    from stpp.runs import fit_facts, train

    with new_run(output, force=session.force) if output else nullcontext() as directory:
        fitted, window, notes = train(model, source.events, **settings)
        if directory:
            fitted.save(directory)
            session.record(directory, source, window=[window.start, window.end], box=fitted.domain.to_list())
            if parents:
                write_parents(directory / "parents.parquet", fitted, source.events, window)
    session.log(*notes)
    assert fitted.result is not None, "every fit reports"
    session.show(fit_facts(fitted), fitted.result.summary(f"{model} fitted to {source.path}"))


@verb
@click.argument("run", type=PATH)
@click.option("--at", required=True, metavar="DATE", help="Issue time; nothing from then on is looked at.")
@click.option("--horizon", type=_duration, default="7d", metavar="DURATION", help="Its length.", show_default=True)
@GRID
@click.option("-o", "--output", type=PATH, metavar="FILE.nc", help="Write the forecast as NetCDF.")
@click.option("--events", type=PATH, help="The history, if not the file that the model was fitted to.")
@COLUMNS
def forecast(
    session: Session,
    run: Path,
    at: str,
    horizon: float,
    grid: int,
    output: Path | None,
    events: Path | None,
    **reading: Any,
) -> None:
    """Forecast how many events will fall where, from the history before a date.

    Events are read as they were for the fit, unless --time, --coords or --weight say otherwise.
    """
    from stpp.domain import MAX_GRID_DIMENSIONS
    from stpp.intensity import Forecast
    from stpp.outputs import new_file
    from stpp.runs import forecast_facts, forecast_lines, load_run

    fitted = load_run(run)
    if output and (d := fitted.model.domain.d) > MAX_GRID_DIMENSIONS:
        raise ValueError(f"-o writes a grid, and there is none over {d} dimensions: leave it out")
    named = {key: value for key, value in reading.items() if value is not None}
    source = session.read(events or fitted.source, fitted.reading | named)
    with new_file(output, force=session.force) if output else nullcontext() as temporary:
        issued, notes = fitted.forecast(source, at, horizon, grid, seen_too=session.force)
        if temporary and isinstance(issued, Forecast):
            issued.to_xarray(source.events).to_netcdf(temporary, engine="h5netcdf")
    session.log(*notes)
    facts = forecast_facts(issued, source.events)
    session.show(facts, "\n".join(forecast_lines(facts, source.events.axes)))


@verb
@reads_events
@click.option("--models", required=True, type=_names, metavar="A,B,…", help="Models to compare.")
@click.option("--train-start", required=True, metavar="DATE", help="Training starts; earlier events are history only.")
@click.option("--test-start", required=True, metavar="DATE", help="The first forecast is issued.")
@click.option("--test-end", required=True, metavar="DATE", help="The last forecast window ends by then.")
@click.option("--step", required=True, type=_duration, metavar="DURATION", help="From one forecast to the next.")
@click.option("--horizon", type=_duration, metavar="DURATION", help="Length of each forecast; the step by default.")
@click.option(
    "--history",
    type=_look_back,
    default="expanding",
    metavar="expanding|60d",
    help="How far to look back.  [default: expanding]",
)
@GRID
@BOX
@HAWKES
@click.option("--zoom", type=_box, metavar="LO,HI,…", help="Score events in this box only; training sees everything.")
@click.option("--refit", type=int, metavar="K", help="Fit anew every K windows; only once by default.")
@click.option("--reference", default="historical-average", show_default=True, help="What gain is measured against.")
@click.option("-o", "--output", type=PATH, metavar="RUN", help="Directory for scores, forecasts and the report.")
def evaluate(
    session: Session,
    source: Source,
    models: tuple[str, ...],
    train_start: str,
    test_start: str,
    test_end: str,
    box: Box | None,
    output: Path | None,
    kernel: str | None,
    productivity: str | None,
    **settings: Any,
) -> None:
    """Backtest models on rolling forecasts and rank them by information gain."""
    import numpy as np

    from evaluation import Plan, backtest, leaderboard, write_report
    from stpp.columns import day_of
    from stpp.events import Window
    from stpp.models import make_models
    from stpp.outputs import new_run
    from stpp.runs import write_forecasts

    known = source.events
    train, first, end = (day_of(date, known.epoch) for date in (train_start, test_start, test_end))
    plan = Plan(train, Window(first, end), **settings)
    domain, names = box or plan.domain(known), dict.fromkeys((plan.reference, *models))
    contenders = make_models(names, domain, plan.horizon or plan.step, kernel=kernel, productivity=productivity)
    with new_run(output, force=session.force) if output else nullcontext() as directory:
        rng = np.random.default_rng(session.seed)
        result = backtest(known, contenders, plan, rng=rng, progress=session.progress())
        if directory:
            result.table.to_parquet(directory / "scores.parquet", index=False)
            write_forecasts(directory / "forecasts.nc", result.last, result.last_events)
            write_report(result, directory, title=f"Forecasts of {source.path.name}")
            session.record(directory, source, box=domain.to_list(), models=list(contenders))
    session.show(result.to_json_dict(), leaderboard(result))
    if output:
        session.log(f"\nreport     {output / 'report.md'}")
        if (output / "forecast.png").exists():
            session.log(f"map        {output / 'forecast.png'}")


@verb
def models(session: Session) -> None:
    """List the models."""
    from stpp.models import MODELS

    lines = {name: model.summary_line for name, model in MODELS.items()}
    session.show(lines, "\n".join(f"{name:20}{line}" for name, line in lines.items()))


@verb
@click.option("-o", "--output", type=PATH, default="stpp-demo", show_default=True, help="Directory to work in.")
@click.option("--planted", is_flag=True, help="The bundled sample, whose truth is known, instead of real tweets.")
def demo(session: Session, output: Path, planted: bool) -> None:
    """Ingest, fit, forecast and evaluate 20,761 real tweets of 2009 to 2018 (or --planted)."""
    from stpp.demo import beside_truth, steps, write_tweets

    if output.exists() and not session.force:
        raise ValueError(f"{output} exists: --force overwrites what an earlier demo left in it")
    output.mkdir(parents=True, exist_ok=True)
    if not planted:
        write_tweets(output)
    flags = {"--force": session.force, "--quiet": session.quiet, f"--seed={session.seed}": True}
    for words in (commands := steps(output, planted=planted)):
        session.log(f"\n$ stpp {shlex.join(words)}")
        words += [flag for flag, given in flags.items() if given]
        last = words is commands[-1]  # its leaderboard is the demo's result, the rest is log
        with (
            redirect_stdout(sys.stdout if last else StringIO() if session.quiet else sys.stderr),
            main.make_context("stpp", [*words, "--json"] if session.as_json and last else words) as context,
        ):
            main.invoke(context)
    if planted:
        session.log(f"\n{beside_truth(output / 'run')}")
    session.log(f"\nforecast   {output / 'forecast.nc'}\nfinished in {time.perf_counter() - session.started:.0f} s")
