"""The command line: one thin function per verb. Libraries are imported inside, so that --help stays instant."""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import re
import shlex
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    import pandas as pd

    from stpp.domain import Box
    from stpp.events import Events
    from stpp.intensity import Forecast, IntensityModel

DAYS = {"m": 1 / 1440, "h": 1 / 24, "d": 1.0, "w": 7.0}
PATH = click.Path(path_type=Path)


class Program(click.Group):
    """The group of verbs; a user's mistake becomes one line on stderr and exit code 2."""

    def make_context(self, info_name: str | None, args: list[str], *rest: Any, **extra: Any) -> click.Context:
        """Keep the words of the command line for the manifest."""
        return super().make_context(info_name, args, *rest, **{**extra, "obj": ["stpp", *args]})

    def main(self, *args: Any, **extra: Any) -> Any:
        """Run a command and exit: 0, 2 after a mistake, 130 after Ctrl-C."""
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

    def log(self, text: str) -> None:
        """Tell the user something beside the result."""
        if not self.quiet:
            click.echo(text, err=True)

    def show(self, values: dict[str, Any], text: str) -> None:
        """The result: one JSON object with --json, the text without."""
        click.echo(json.dumps(_finite(values)) if self.as_json else text)

    def read(self, path: Path) -> tuple[Events, pd.DataFrame | None]:
        """The events of a file, and the rows of it that could not be used, which the user is told of."""
        from stpp.readers import ingest
        from stpp.storage import is_events_file, load_events

        if is_events_file(path):
            return load_events(path), None
        read = ingest([path])
        for cause, count in read.report.rejected.items():
            self.log(f"{path}: {count:,} of {read.report.rows_read:,} rows left out: {cause}")
        return read.events, read.rejects

    def record(
        self, directory: Path, source: Path, events: Events, rejects: pd.DataFrame | None, **settings: Any
    ) -> None:
        """Put the manifest, and the rows that could not be used, into a run directory."""
        from stpp.runs import write_manifest

        if rejects is not None:
            rejects.to_parquet(directory / "rejects.parquet", index=False)
        write_manifest(directory, self.argv, self.seed, source, events, self.started, settings)

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


START = click.option("--start", metavar="DATE", help="Use events from this time on.")
END = click.option("--end", metavar="DATE", help="Use events before this time.")
BOX = click.option("--box", type=_box, metavar="LO,HI,…", help="The domain; by default around the training events.")
GRID = click.option("--grid", type=int, default=100, show_default=True, help="Cells per axis.")


def _model(name: str, box: Box, horizon: float | None = None, **options: Any) -> IntensityModel:
    """An unfitted model by name; options that are None stay at its default, a horizon goes to those that have one."""
    from stpp.models import MODELS

    if name not in MODELS:
        raise ValueError(f"no model '{name}'; there are: {', '.join(MODELS)}")
    fields = {field.name for field in dataclasses.fields(MODELS[name])}
    given = {key: value for key, value in options.items() if value is not None}
    for key in given.keys() - fields:
        raise ValueError(f"--{key} does not apply to {name}: leave it out")
    if horizon and "horizon" in fields:
        given["horizon"] = horizon
    return MODELS[name](domain=box, **given)


@verb
@click.argument("files", nargs=-1, required=True, type=PATH, metavar="FILE…")
@click.option("-o", "--output", required=True, type=PATH, metavar="EVENTS.parquet", help="The events file to write.")
@click.option("--time", metavar="COL", help="Column of times; found by its name if not given.")
@click.option(
    "--coords", type=_names, metavar="A,B,…", help="Columns of coordinates; found by their names if not given."
)
@click.option(
    "--weight", metavar="uniform|linear|log", help="Importance by retweets and favourites.  [default: uniform]"
)
@START
@END
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
    from stpp import readers, storage
    from stpp.runs import ingest_record, new_file

    rejects = output.with_suffix(".rejects.parquet")
    with (
        new_file(output, force=session.force) as new_events,
        new_file(rejects, force=session.force) as new_rejects,
        new_file(ingest_record(output), force=session.force) as new_record,
    ):
        read = readers.ingest(files, readers.ReadOptions(**options, seed=session.seed))
        account = {"argv": session.argv, "seed": session.seed, **read.report.to_dict()}
        new_record.write_text(json.dumps(account, indent=1) + "\n")
        read.rejects.to_parquet(new_rejects, index=False)
        storage.write_events(read.events, new_events)
    session.show(account, "\n".join([*read.report.lines(), f"written    {output}, {rejects}"]))


@verb
@click.argument("events", type=PATH)
def describe(session: Session, events: Path) -> None:
    """Say what an events file holds."""
    from stpp import quality

    facts = quality.describe(session.read(events)[0])
    session.show(facts, "\n".join(quality.describe_lines(facts)))


@verb
@click.argument("world", metavar="hawkes|WORLD")
@click.option("-n", type=click.IntRange(1), required=True, help="Expected number of events.")
@click.option("-o", "--output", type=PATH, required=True, metavar="EVENTS.parquet", help="The events file to write.")
def simulate(session: Session, world: str, n: int, output: Path) -> None:
    """Draw events from a Hawkes process or from a world with planted basins.

    The truth is written to NAME.truth.json beside the output.
    """
    from stpp import simulation, storage, worlds
    from stpp.runs import new_file

    if world not in ("hawkes", *worlds.WORLDS):
        raise ValueError(f"no world '{world}'; there are: hawkes, {', '.join(worlds.WORLDS)}")
    truth_file = worlds.truth_path(output)
    if truth_file.exists() and not session.force:
        raise ValueError(f"{truth_file} exists: --force overwrites it")
    with new_file(output, force=session.force) as temporary:
        if world == "hawkes":
            events, truth = simulation.simulate_hawkes(n, session.seed)
        else:
            events, truth = worlds.simulate_world(world, n, session.seed)
        storage.write_events(events, temporary)
        worlds.write_truth(output, truth)
    values = {"world": world, "events": len(events), "output": str(output), "truth": str(truth_file)}
    session.show(values, f"{len(events):,} events in {output}, their truth in {truth_file}")


@verb
@click.argument("model")
@click.argument("events", type=PATH)
@click.option("-o", "--output", type=PATH, metavar="RUN", help="Directory for the model and its manifest.")
@START
@END
@BOX
@click.option(
    "--kernel", type=click.Choice(["dictionary", "exponential"]), help="hawkes: many kernels, or a classical one."
)
@click.option("--productivity", metavar="MARK", help="hawkes: events trigger more, the larger this mark.")
def fit(
    session: Session,
    model: str,
    events: Path,
    output: Path | None,
    start: str | None,
    end: str | None,
    box: Box | None,
    **options: Any,
) -> None:
    """Fit a model ('stpp models' lists them) and print its summary.

    Events before --start are not scored by the fit, but count as history.
    """
    from stpp.columns import day_of
    from stpp.domain import Box
    from stpp.events import Window
    from stpp.runs import new_run, peak_memory_mb

    known, rejects = session.read(events)
    span = known.span
    if known.t[0] == known.t[-1] and not (start and end):
        raise ValueError(
            f"all events of {events} are at one time ({len(known):,}): say when to train, --start and --end"
        )
    window = Window(day_of(start, known.epoch) if start else span.start, day_of(end, known.epoch) if end else span.end)
    training = known.between(window)
    if not len(training):
        dates = f"{known.date(span.start):%Y-%m-%d %H:%M} to {known.date(span.end):%Y-%m-%d %H:%M}"
        raise ValueError(f"no events from --start to --end: those of {events} are of {dates}")
    domain = box or Box.around(training.x)
    unfitted = _model(model, domain, **options)
    with new_run(output, force=session.force) if output else nullcontext() as directory:
        inside = known.before(window.end).inside(domain)
        if outside := len(training) - len(inside.between(window)):
            session.log(f"{outside:,} of {len(training):,} training events lie outside the box and are left out")
        fitted = unfitted.fit(inside, window)
        if directory:
            fitted.save(directory)
            session.record(directory, events, known, rejects, window=[window.start, window.end], box=domain.to_list())
    result = fitted.result
    assert result is not None, "every fit reports"
    values: dict[str, Any] = {"model": model}
    for key in ("n_events", "log_likelihood", "aic", "background_rate", "branching_ratio", "seconds"):
        values[key] = getattr(result, key)
    values["peak_memory_mb"] = peak_memory_mb()
    values["parameters"] = {name: dataclasses.asdict(p) for name, p in result.parameters.items()}
    session.show(values, result.summary(f"{model} fitted to {events}"))


@verb
@click.argument("run", type=PATH)
@click.option("--at", required=True, metavar="DATE", help="Issue time; nothing from then on is looked at.")
@click.option(
    "--horizon", type=_duration, default="7d", show_default=True, metavar="DURATION", help="Length of the forecast."
)
@GRID
@click.option("-o", "--output", type=PATH, metavar="FILE.nc", help="Write the forecast as NetCDF.")
@click.option("--events", type=PATH, help="The history, if not the file that the model was fitted to.")
def forecast(
    session: Session, run: Path, at: str, horizon: float, grid: int, output: Path | None, events: Path | None
) -> None:
    """Forecast how many events will fall where, from the history before a date."""
    from stpp.columns import day_of
    from stpp.domain import MAX_GRID_DIMENSIONS, Grid
    from stpp.events import Window
    from stpp.intensity import Forecast
    from stpp.runs import load_run, new_file

    fitted = load_run(run)
    source, model, domain = events or fitted.source, fitted.model, fitted.model.domain
    known, _ = session.read(source)
    if fitted.has_changed(source):
        session.log(f"{source} is not, or no longer, the file that the model was fitted to")
    if known.d != domain.d:
        raise ValueError(f"{source} has {known.d} dimensions, the model {domain.d}: give the events it was fitted to")
    issue = day_of(at, known.epoch)
    if issue < fitted.window.end and not session.force:
        trained = f"{known.date(fitted.window.end):%Y-%m-%d %H:%M}"
        raise ValueError(
            f"the model was trained to {trained}, so it has seen what comes after {at}: choose a later --at"
        )
    if issue - known.t[-1] > horizon:
        session.log(f"the events end {issue - known.t[-1]:.3g} days before --at; from then on none are assumed")
    cells = Grid.over(domain, grid) if domain.d <= MAX_GRID_DIMENSIONS else None
    if output and not cells:
        raise ValueError(f"-o writes a grid, and there is none over {domain.d} dimensions: leave it out")
    with new_file(output, force=session.force) if output else nullcontext() as temporary:
        issued = model.forecast(Window(issue, issue + horizon), known.before(issue).inside(domain), cells)
        if temporary and isinstance(issued, Forecast):
            issued.to_xarray(known).to_netcdf(temporary, engine="h5netcdf")
    top = _highest(issued, known.axes) if isinstance(issued, Forecast) else []
    values = {"model": model.name, "issue_time": known.date(issue).isoformat(), "horizon_days": horizon}
    lines = [f"{issued.total:,.1f} events expected in {horizon:g} days from {known.date(issue):%Y-%m-%d %H:%M} UTC"]
    lines += [f"{'most of them at':32}  expected  times uniform"] if top else []
    for cell in top:
        place = ", ".join(f"{axis} {cell[axis]:.4g}" for axis in known.axes)
        lines.append(f"  {place:30}  {cell['expected_count']:8.4g}  {cell['relative_density']:13.2f}")
    session.show(values | {"expected_count": issued.total, "highest": top}, "\n".join(lines))


def _highest(forecast: Forecast, axes: tuple[str, ...], k: int = 5) -> list[dict[str, float]]:
    """The k cells with the highest expected counts."""
    order = forecast.counts.argsort(axis=None)[::-1][:k]
    places = forecast.grid.points()[order]
    values = zip(places.tolist(), forecast.counts.flat[order], forecast.density.flat[order], strict=True)
    return [
        dict(zip(axes, place, strict=True)) | {"expected_count": float(n), "relative_density": float(g)}
        for place, n, g in values
    ]


@verb
@click.argument("events", type=PATH)
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
    show_default=True,
    metavar="expanding|60d",
    help="Look back so far.",
)
@GRID
@BOX
@click.option("--zoom", type=_box, metavar="LO,HI,…", help="Score events in this box only; training sees everything.")
@click.option("--refit", type=int, metavar="K", help="Fit anew every K windows; only once by default.")
@click.option("--reference", default="historical-average", show_default=True, help="What gain is measured against.")
@click.option("-o", "--output", type=PATH, metavar="RUN", help="Directory for scores, forecasts and the report.")
def evaluate(
    session: Session,
    events: Path,
    models: tuple[str, ...],
    train_start: str,
    test_start: str,
    test_end: str,
    box: Box | None,
    output: Path | None,
    **settings: Any,
) -> None:
    """Backtest models on rolling forecasts and rank them by information gain."""
    import numpy as np

    from evaluation import Plan, backtest, leaderboard, write_report
    from stpp.columns import day_of
    from stpp.events import Window
    from stpp.runs import new_run, write_forecasts

    known, rejects = session.read(events)
    train, first, end = (day_of(date, known.epoch) for date in (train_start, test_start, test_end))
    plan = Plan(train, Window(first, end), **settings)
    domain = box or plan.domain(known)
    horizon = plan.horizon or plan.step
    contenders = {name: _model(name, domain, horizon) for name in dict.fromkeys((plan.reference, *models))}
    with new_run(output, force=session.force) if output else nullcontext() as directory:
        rng = np.random.default_rng(session.seed)
        result = backtest(known, contenders, plan, rng=rng, progress=session.progress())
        if directory:
            result.table.to_parquet(directory / "scores.parquet", index=False)
            write_forecasts(directory / "forecasts.nc", result.last, result.last_events)
            write_report(result, directory, title=f"Forecasts of {events.name}")
            session.record(directory, events, known, rejects, box=domain.to_list(), models=list(contenders))
    session.show(result.to_json_dict(), leaderboard(result))
    if output:
        session.log(f"\nreport     {output / 'report.md'}\nmap        {output / 'forecast.png'}")


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
    from stpp.demo import beside_truth, bundled_sample, write_tweets

    if output.exists() and not session.force:
        raise ValueError(f"{output} exists: --force overwrites what an earlier demo left in it")
    output.mkdir(parents=True, exist_ok=True)
    events, run, week = output / "events.parquet", output / "run", output / "forecast.nc"
    if planted:
        source, embed = bundled_sample(), ""
        start, split, end, step, horizon = "0", "40", "59", "1d", "1d"
    else:
        source, embed = output / "posts.csv", "--embed lsa --space-until 2016-10-05"
        start, split, end, step, horizon = "2013-01-01", "2016-10-05", "2017-11-22", "7d", "7d"
        write_tweets(source)
    steps = [
        f"ingest {source} -o {events} {embed}",
        f"fit hawkes {events} -o {run} --start {start} --end {split}",
        f"forecast {run} --at {end} --horizon {horizon} -o {week}",
        f"evaluate {events} --models uniform,historical-average,decaying-kde,hawkes -o {output / 'evaluation'} "
        f"--train-start {start} --test-start {split} --test-end {end} --step {step}",
    ]
    flags = {"--force": session.force, "--quiet": session.quiet, f"--seed={session.seed}": True}
    for line in steps:
        session.log(f"\n$ stpp {line}")
        words = [*shlex.split(line), *(flag for flag, given in flags.items() if given)]
        last = line is steps[-1]  # its leaderboard is the demo's result, the rest is log
        with (
            redirect_stdout(sys.stdout if last else StringIO() if session.quiet else sys.stderr),
            main.make_context("stpp", [*words, "--json"] if session.as_json and last else words) as context,
        ):
            main.invoke(context)
    if planted:
        session.log(f"\n{beside_truth(run, week, session.read(events)[0])}")
    session.log(f"\nforecast   {week}\nfinished in {time.perf_counter() - session.started:.0f} s")
