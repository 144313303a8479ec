"""The command line: one thin function per verb. Libraries are imported inside, so that --help stays instant."""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import re
import shlex
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, redirect_stdout, suppress
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

if TYPE_CHECKING:
    from basins.tracks.course import Plan as BasinPlan
    from evaluation.backtests.backtest import BacktestResult
    from evaluation.backtests.plan import Plan
    from evaluation.nulls.worlds import NullResult
    from stpp.domain import Box
    from stpp.events import Events
    from stpp.intensity import IntensityModel
    from stpp.maps.parts import Part
    from stpp.runs.manifest import Source

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
            line, code = "interrupted", 130
        except KeyError as error:
            line, code = str(error.args[0]), 2
        except MemoryError:
            line, code = "out of memory: use a coarser grid, fewer events or a shorter time", 2
        except OSError as error:
            line, code = f"{error.filename}: {error.strerror}" if error.filename else str(error), 2
            with suppress(OSError, ValueError):  # what stdout could not take would fail once more at the exit
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
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

    def read(self, path: Path, reading: dict[str, Any]) -> Source:
        """The events of a file; the user is told which rows of it could not be used."""
        from stpp.runs.manifest import read_source

        source = read_source(path, reading)
        if source.rejects is not None:
            rows = len(source.events) + len(source.rejects)
            for cause, count in source.rejects["cause"].value_counts().items():
                self.log(f"{path}: {count:,} of {rows:,} rows left out: {cause}")
        return source

    def describe(self, source: Source, **settings: Any) -> dict[str, Any]:
        """All that the results depend on, for the manifest."""
        from stpp.runs.manifest import describe_run

        return describe_run(self.argv, self.seed, source, settings)

    def record(self, directory: Path, description: dict[str, Any], source: Source, **measured: Any) -> None:
        """Put the manifest into a run directory."""
        from stpp.runs.manifest import write_manifest

        write_manifest(directory, description, source, self.started, **measured)

    @contextmanager
    def resumable(self, output: Path | None, description: dict[str, Any]) -> Iterator[Path | None]:
        """The working directory of a long run, which goes on where an interrupted one of the same command stopped."""
        from stpp.files.outputs import resumable_run
        from stpp.runs.manifest import essence

        if output is None:
            yield None
            return
        with resumable_run(output, essence(description), force=self.force) as directory:
            if len(list(directory.iterdir())) > 1:
                self.log(f"going on where an interrupted run of {output} stopped")
            try:
                yield directory
            except (KeyboardInterrupt, SystemExit):
                self.log(f"what is finished is kept: the same command goes on from there to {output}")
                raise

    def test(
        self,
        source: Source,
        nulls: tuple[str, ...],
        statistic: str,
        models: dict[str, IntensityModel],
        plan: Plan,
        *,
        distance: float | None = None,
        delay: float | None = None,
        **how: Any,
    ) -> list[NullResult]:
        """A statistic of models against null worlds."""
        from evaluation.nulls.interaction import close_scales
        from evaluation.nulls.significance import significance
        from evaluation.nulls.statistics import make_statistic
        from evaluation.nulls.worlds import analysed
        from stpp.dates import in_words

        events, context = analysed(source.events, models[plan.reference].domain, plan)
        if statistic in ("knox", "modified-knox") and None in (distance, delay):
            near = close_scales(events)
            distance, delay = near[0] if distance is None else distance, near[1] if delay is None else delay
            self.log(f"near means within {distance:.3g} map units and {in_words(delay)}")
        tested = make_statistic(statistic, models, plan, distance=distance, delay=delay)
        bar = self.progress("world")
        return significance(tested, events, nulls, context, seed=self.seed, jobs=self.jobs, progress=bar, **how)

    def test_basins(self, events: Events, plan: BasinPlan, nulls: tuple[str, ...], **how: Any) -> list[NullResult]:
        """The whole pipeline of basins against null worlds."""
        from basins.tracks.significance import BasinStatistic
        from evaluation.continuation import continuation_scores
        from evaluation.nulls.significance import significance
        from evaluation.nulls.worlds import Context
        from stpp.events import Window

        first = plan.span.start if plan.half_life is None else min(plan.span.start, float(events.t[0]))
        span = Window(first, plan.span.end)
        seen = events.between(span).inside(plan.box)
        context = Context(plan.box, span, plan.windows[0].duration, plan.windows[0].start)
        tested, bar = BasinStatistic(plan, continuation_scores), self.progress("world")
        return significance(tested, seen, nulls, context, seed=self.seed, jobs=self.jobs, progress=bar, **how)

    def animate(self, result: BacktestResult, models: tuple[str, ...], images: Path, *, force: bool) -> None:
        """Animations of models' forecasts."""
        from evaluation.report.animation import animate

        if models and len(result.kept) < len(result.plan.windows):
            kept = f"{len(result.kept)} of {len(result.plan.windows)} windows are kept"
            self.log(f"{kept}, and only these can be animated: evaluate with --keep-forecasts for all")
        for model in models:
            for path in animate(result, model, images, force=force, progress=self.progress("frame")):
                self.log(f"animation  {path}")

    def draw(self, part: Part, directory: Path, title: str) -> bool:
        """Draw the map of a run into its directory, or say why there is none; whether it was drawn."""
        from stpp.maps import links
        from stpp.maps.compose import compose
        from stpp.maps.html import write_map

        try:
            scene, _ = compose([part], title=title, progress=self.progress())
        except ValueError as error:  # of one coordinate, or of too many windows
            self.log(f"no map: {error}")
            return False
        write_map(scene, directory / links.NAME)
        return True

    def progress(self, unit: str = "window") -> Callable[[str, int, int], None]:
        """A progress bar, on a terminal only."""
        from tqdm import tqdm

        bar = tqdm(disable=True if self.quiet else None, leave=False, unit=unit)

        def advance(label: str, done: int, total: int) -> None:
            if bar.total != total or not bar.desc.startswith(label):
                bar.reset(total)
                bar.set_description(label)
            bar.n = done
            bar.refresh()

        return advance


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


@contextmanager
def _threads(jobs: int | None) -> Iterator[None]:
    """Compiled code on so many threads, and after it as before: the last digits of sums depend on their number."""
    if jobs is None:
        yield
        return
    import numba

    before = numba.get_num_threads()
    numba.set_num_threads(jobs)
    try:
        yield
    finally:
        numba.set_num_threads(before)


def verb(function: Callable[..., None]) -> click.Command:
    """Make a command of a function, with the options that every verb takes."""

    @main.command(function.__name__.rstrip("_"))  # map_: map is a word of Python's
    @functools.wraps(function)
    def command(seed: int, as_json: bool, force: bool, quiet: bool, jobs: int | None, **options: Any) -> None:
        session = Session(click.get_current_context().obj, seed, as_json, force, quiet, jobs, time.perf_counter())
        session.log(f"seed {seed}")
        with _threads(jobs):
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


def _place(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(v) for v in text.split(","))
    except ValueError:
        raise click.BadParameter(f"'{text}' is not numbers with commas between, one per axis.") from None


def _nulls(names: tuple[str, ...]) -> tuple[str, ...]:
    from evaluation.nulls.worlds import NULLS

    return tuple(NULLS) if names == ("all",) else names


def _names(text: str) -> tuple[str, ...]:
    return tuple(text.split(",")) if text else ()


def stack(*options: Callable[..., Any]) -> Callable[[Any], Any]:
    """Several options as one decorator, in the order in which --help shows them."""
    return lambda function: functools.reduce(lambda inner, option: option(inner), reversed(options), function)


READ = ("time", "coords", "weight")
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
FLOW = stack(
    click.option(
        "--frame", type=_duration, metavar="DURATION", help="Flows: length of a snapshot; learned if not given."
    ),
    click.option(
        "--history-window", type=click.IntRange(2), metavar="N", help="Flows: frames behind each; learned if not given."
    ),
    click.option(
        "--trials", type=click.IntRange(0), metavar="N", help="Flows: sets of parameters tried.  [default: 40]"
    ),
    click.option(
        "--tuning-seconds",
        type=click.FloatRange(0, min_open=True),
        metavar="S",
        help="Flows: stop trying after so long.",
    ),
    click.option("--tune", type=click.Choice(["log-score", "fds"]), help="Flows: what is learned; fds is improper."),
)

CONTEST = stack(
    click.option("--train-start", metavar="DATE", help="Training starts; earlier events are history only."),
    click.option("--test-start", metavar="DATE", help="First forecast.  [default: two thirds of the way]"),
    click.option(
        "--test-end", metavar="DATE", help="The last forecast window ends by then.  [default: the last event]"
    ),
    click.option("--step", type=_duration, default="1d", show_default=True, help="From one forecast to the next."),
    click.option("--horizon", type=_duration, metavar="DURATION", help="Length of each forecast; the step by default."),
    click.option(
        "--history",
        type=_look_back,
        default="expanding",
        metavar="expanding|60d",
        help="How far to look back.  [default: expanding]",
    ),
    GRID,
    BOX,
    click.option("--zoom", type=_box, metavar="LO,HI,…", help="Score events in this box only; training sees all."),
    click.option("--refit", type=int, metavar="K", help="Fit anew every K windows; only once by default."),
    click.option("--reference", default="historical-average", show_default=True, help="Gain is measured against it."),
)
SHUFFLES = stack(
    click.option("-B", "B", type=int, default=199, show_default=True, help="Null worlds; the smallest p is 1/(B + 1)."),
    click.option(
        "--backend", type=click.Choice(["loky", "dask"]), default="loky", help="Where null worlds are computed."
    ),
    click.option("--scheduler", metavar="ADDRESS", help="Of the dask scheduler."),
)
ANIMATE = stack(
    click.option("--animate", type=_names, default="", metavar="A,B,…", help="Animate these models' forecasts."),
    click.option(
        "--images", type=PATH, default="image_outputs", show_default=True, help="Directory for the animations."
    ),
)


def reads_events(function: Callable[..., None]) -> Any:
    """Give a verb EVENTS, and the options that say how it is read, as one ``source``."""

    @click.argument("events", type=PATH)
    @COLUMNS
    @functools.wraps(function)
    def reader(session: Session, events: Path, *, time: Any, coords: Any, weight: Any, **rest: Any) -> None:
        function(session, session.read(events, {"time": time, "coords": coords, "weight": weight}), **rest)

    return reader


MEMBERS = click.option("--members", type=_names, metavar="A,B,…", help="Models that the ensemble combines.")


def sets_models(*stacks: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Give a verb options of models, as one ``options``."""

    def decorate(function: Callable[..., None]) -> Any:
        @functools.wraps(function)
        def inner(*args: Any, **values: Any) -> None:
            function(*args, options={name: values.pop(name) for name in names}, **values)

        before = len(getattr(inner, "__click_params__", []))
        stacked = stack(*stacks)(inner)
        names = [param.name for param in stacked.__click_params__[before:]]
        return stacked

    return decorate


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
    from stpp.ingest.readers import ReadOptions
    from stpp.runs.events import ingest_to

    account, lines = ingest_to(output, files, ReadOptions(**options, seed=session.seed), session.argv, session.force)
    session.show(account, "\n".join(lines))


@verb
@reads_events
def describe(session: Session, source: Source) -> None:
    """Say what an events file holds."""
    from stpp.ingest import quality

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
    from stpp.runs.events import simulate_to

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
@sets_models(HAWKES, FLOW, MEMBERS)
@click.option("--parents", is_flag=True, help="Hawkes: write each event's probable parent to RUN/parents.parquet.")
def fit(
    session: Session,
    source: Source,
    model: str,
    output: Path | None,
    parents: bool,
    options: dict[str, Any],
    **settings: Any,
) -> None:
    """Fit a model ('stpp models' lists them) and print its summary.

    Events before --start are not scored by the fit, but count as history.
    """
    if parents and (model != "hawkes" or not output):
        raise click.UsageError("--parents is for 'fit hawkes' with -o RUN")
    from stpp.files.outputs import new_run
    from stpp.influence.declustering import write_parents
    from stpp.runs.fits import fit_facts, train, write_trials

    with new_run(output, force=session.force) if output else nullcontext() as directory:
        options |= {"seed": session.seed, "progress": session.progress("trial")}
        fitted, window, notes = train(model, source.events, **settings, **options)
        if directory:
            fitted.save(directory)
            write_trials(directory, fitted)
            settings = {"window": [window.start, window.end], "box": fitted.domain.to_list()}
            session.record(directory, session.describe(source, **settings), source)
            if parents:
                write_parents(directory / "parents.parquet", fitted, source.events, window)
    session.log(*notes)
    assert fitted.result is not None, "every fit reports"
    session.show(fit_facts(fitted), fitted.result.summary(f"{model} fitted to {source.path}"))


@verb
@reads_events
@click.option("--model", type=click.Choice(["drift", "transport"]), default="drift", show_default=True, help="Of flow.")
@click.option("--step", type=_duration, default="1d", show_default=True, help="From one flow to the next.")
@DATES
@BOX
@sets_models(FLOW)
@click.option("--movie", is_flag=True, help="Animate the density and its arrows too.")
@click.option("-o", "--output", type=PATH, metavar="RUN", help="Directory for pages, numbers and the animation.")
def flow(
    session: Session,
    source: Source,
    model: str,
    step: float,
    movie: bool,
    output: Path | None,
    options: dict[str, Any],
    **settings: Any,
) -> None:
    """Where does discourse move, gather, spread, grow and fade? One flow per step.

    Each flow is measured from the posts before it, with parameters that are learned from all posts from --start to
    --end. With -o RUN: a page per flow, all numbers in RUN/flow.nc, a summary in RUN/flows.csv, the model and its
    trials.
    """
    from stpp.files.outputs import new_run
    from stpp.flow.files import check_axes
    from stpp.flow.pages import animate_flows, write_pages
    from stpp.flow.report import flow_facts, flow_lines
    from stpp.reports.movies import check_movies
    from stpp.runs.fits import train, write_trials
    from stpp.runs.flows import flows_of

    if movie and not output:
        raise click.UsageError("--movie needs -o RUN")
    options |= {"seed": session.seed, "progress": session.progress("trial")}
    with new_run(output, force=session.force) if output else nullcontext() as directory:
        if directory:
            check_axes(source.events)
            check_movies(directory, ["flow"] if movie else [])
        fitted, window, notes = train(model, source.events, horizon=step, **settings, **options)
        flows, smoothness, title = flows_of(fitted, source.events, window)
        facts = [flow_facts(one, source.events, window=smoothness) for one in flows]
        if directory:
            fitted.save(directory)
            write_trials(directory, fitted)
            bar = session.progress("page")
            write_pages(
                flows,
                facts,
                source.events,
                directory,
                title,
                smoothness,
                remark=f"{model} {fitted.remark}",
                progress=bar,
            )
            if movie:
                animate_flows(flows, source.events, directory, title)
            settings = {"window": [window.start, window.end], "box": fitted.domain.to_list()}
            session.record(directory, session.describe(source, **settings), source)
    session.log(*notes)
    lines = [f"{one['time'][:16].replace('T', ' ')}  " + "; ".join(flow_lines(one)) for one in facts]
    session.show({"model": model, "flows": facts}, "\n".join(lines))


@verb
@reads_events
@click.option(
    "--method",
    metavar="density|markov|consensus|hawkes-regions|lyapunov",
    help="How basins are found.  [default: density up to 3 dimensions, else markov]",
)
@click.option("--window", type=_duration, default="7d", show_default=True, help="Length of the time windows.")
@click.option("--half-life", type=_duration, metavar="DURATION", help="Earlier posts count too, half after so long.")
@click.option("--basins", type=click.IntRange(1), metavar="K", help="markov: so many, if the data support them.")
@click.option("--transitions", type=click.Choice(["graph", "flow"]), help="markov: walk among posts, or along flow.")
@click.option("--link", type=click.Choice(["hungarian", "soft"]), default="hungarian", help="How basins are followed.")
@DATES
@click.option("--test-start", metavar="DATE", help="Space and tuning are learned before.  [default: half of the way]")
@BOX
@click.option("--texts", is_flag=True, help="Quote the posts nearest to the peaks in the report.")
@click.option("--null", "nulls", type=_names, default="time-shuffle", metavar="all|A,B,…", help="See 'stpp nulls'.")
@click.option("-B", "B", type=int, metavar="N", help="Null worlds, 0 for none.  [default: 19 for density, else 0]")
@click.option("-o", "--output", type=PATH, metavar="RUN", help="Directory for the report, its pictures and tables.")
def basins(
    session: Session,
    source: Source,
    method: str | None,
    basins: int | None,
    transitions: str | None,
    texts: bool,
    nulls: tuple[str, ...],
    B: int | None,
    output: Path | None,
    **settings: Any,
) -> None:
    """Which regions hold and attract discourse in each window, how strong are they, and which will persist?

    Basins are found in every window, measured, followed from window to window, named, and held against null worlds;
    the report says which are expected to continue and to grow. With -o RUN: report.html, report.md, CSV tables.
    Interrupted, the same command goes on from its last finished null world.
    """
    import numpy as np

    from basins import make_finder
    from basins.analysis import analyse, tested
    from basins.report.map_part import BasinsPart
    from basins.report.report import lines, to_json_dict, write_report
    from basins.report.tables import write_tables
    from basins.tracks.course import set_up
    from evaluation.continuation import continuation_scores, intervals
    from evaluation.nulls.significance import check_request
    from stpp.ingest.columns import texts_of

    finder = make_finder(method, source.events.d, basins=basins, transitions=transitions)
    plan = set_up(source.events, finder, seed=session.seed, **settings)
    B = (19 if finder.name == "density" else 0) if B is None else B
    if B:
        check_request(nulls := _nulls(nulls), B, "loky", None)
    description = session.describe(source, B=B, windows=len(plan.windows), box=plan.box.to_list())
    with session.resumable(output, description) as directory:
        words = texts_of(source.events)
        title = f"Basins of {source.path.name}"
        found = analyse(source.events, plan, title=title, texts=words, progress=session.progress())
        journal = directory / "nulls.jsonl" if directory else None
        against = session.test_basins(source.events, plan, nulls, B=B, journal=journal) if B else []
        values = [one.to_json_dict() | {"values": one.values} for one in against]
        sure = intervals(found.forecasts, np.random.default_rng(session.seed))
        found = tested(found, continuation_scores(found.forecasts), sure, values)
        if directory:
            write_tables(found, source.events, directory)
            linked = session.draw(BasinsPart.of(directory, source), directory, title)
            write_report(found, source.events, directory, texts=texts, linked=linked)
            if journal:
                journal.unlink(missing_ok=True)
            session.record(directory, description, source)
    session.show(to_json_dict(found), "\n".join(lines(found)))
    if output:
        session.log(f"\nreport     {output / 'report.html'}")
        session.log(*[f"map        {path}" for path in output.glob("map.html")])


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
    from stpp.files.outputs import new_file
    from stpp.intensity import Forecast
    from stpp.runs.fits import forecast_facts, forecast_lines, load_run

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
@click.argument("run", type=PATH)
@click.option("--add", type=click.IntRange(0), required=True, metavar="N", help="Posts to add.")
@click.option("--at", required=True, metavar="DATE", help="When; nothing from then on is looked at.")
@click.option("--place", type=_place, required=True, metavar="X,Y,…", help="Where, in map units.")
@click.option("--weight", type=float, default=1.0, show_default=True, help="Of each post; the mark of --productivity.")
@click.option("--step", type=_duration, default="1d", show_default=True, help="Length of a step.")
@click.option("--steps", type=click.IntRange(1), default=7, show_default=True, metavar="K", help="Steps to look ahead.")
@click.option("--window", type=_duration, default="7d", show_default=True, help="Basins are those of so long before.")
@click.option("--simulations", type=click.IntRange(2), default=200, show_default=True, help="Of each future.")
@click.option("-p", "p", type=float, default=0.5, show_default=True, help="Continuation that counts as sustained.")
def whatif(
    session: Session,
    run: Path,
    add: int,
    at: str,
    place: tuple[float, ...],
    window: float,
    **settings: Any,
) -> None:
    """What would N more posts change? Simulate a fitted model with and without them, by common random numbers.

    Says how many posts follow and where, how each basin's size and chances change, and how many posts the region at
    that place needs to continue with probability -p.
    """
    from basins import make_finder
    from basins.tracks.course import regions_before
    from stpp.dates import day_of
    from stpp.planning.whatif import what_if
    from stpp.runs.fits import load_run
    from stpp.runs.manifest import read_again

    fitted = load_run(run)
    model, events = fitted.model, read_again(fitted.manifest).events.inside(fitted.model.domain)
    if (when := day_of(at, events.epoch)) < fitted.window.end and not session.force:
        raise ValueError(f"the model has seen what comes after {at}: choose a later --at, or --force it")
    if len(place) != model.domain.d:
        raise ValueError(f"--place has {len(place)} coordinates, the model {model.domain.d}: give one per axis")
    near: dict[str, Any] = {"at": when, "window": window, "place": place, "seed": session.seed}
    partition, regions, named = regions_before(events, make_finder(None, model.domain.d), box=model.domain, **near)
    where: dict[str, Any] = {"place": place, "partition": partition, "memberships": regions}
    found = what_if(model, events, at=when, before=when - window, n=add, rng=session.seed, **where, **settings)
    values = found.to_json_dict()
    for region, name in zip(values["basins"], named, strict=True):
        region["name"] = name
    session.show(values, "\n".join(found.lines(named)))


@verb
@reads_events
@click.option(
    "--models", required=True, type=_names, metavar="A,B,…", help="Models to compare; basins:METHOD is a finder's."
)
@CONTEST
@sets_models(HAWKES, FLOW, MEMBERS)
@click.option("--nulls", type=_names, default="", metavar="all|A,B,…", help="Test the gains against these nulls.")
@SHUFFLES
@click.option("--keep-forecasts", is_flag=True, help="Write every forecast, not only those that the report shows.")
@ANIMATE
@click.option("-o", "--output", type=PATH, metavar="RUN", help="Directory for scores, forecasts and the report.")
def evaluate(
    session: Session,
    source: Source,
    models: tuple[str, ...],
    nulls: tuple[str, ...],
    keep_forecasts: bool,
    animate: tuple[str, ...],
    images: Path,
    output: Path | None,
    B: int,
    backend: str,
    scheduler: str | None,
    **contest: Any,
) -> None:
    """Backtest models on rolling forecasts and rank them by information gain.

    Interrupted, the same command goes on from its last finished window.
    """
    import numpy as np

    from evaluation.backtests.backtest import backtest
    from evaluation.backtests.plan import set_up
    from evaluation.backtests.runs import open_store, plan_record, save_result
    from evaluation.nulls.families import null_lines
    from evaluation.nulls.files import save_nulls
    from evaluation.nulls.significance import check_request
    from evaluation.report.animation import check_animation
    from evaluation.report.map_part import EvaluationPart
    from evaluation.report.report import leaderboard, write_report
    from stpp.files.outputs import unfinished
    from stpp.runs.manifest import essence

    if (animate or keep_forecasts) and not output:
        raise click.UsageError("--animate and --keep-forecasts need -o RUN")
    finders = [name for name in models if name.startswith("basins:")]
    models = tuple(name for name in models if name not in finders)
    plan, contenders = set_up(source.events, models, seed=session.seed, **contest)
    if finders:
        from basins.models import finder_models

        box, ahead = contenders[plan.reference].domain, plan.horizon or plan.step
        contenders |= finder_models(finders, box, ahead, session.seed)
    again = session.force or (output is not None and unfinished(output).exists())
    check_animation(animate, list(contenders), images, source.events.d, force=again)
    learning = {name: model for name, model in contenders.items() if name != "uniform" or name == plan.reference}
    if nulls:
        check_request(nulls := _nulls(nulls), B, backend, scheduler)
        if len(learning) == 1:
            raise click.UsageError("--nulls tests models that learn from the past: name one beside the reference")
    domain = contenders[plan.reference].domain.to_list()
    description = session.describe(source, plan=plan_record(plan), box=domain, models=list(contenders))
    with session.resumable(output, description) as directory:
        store, rng = open_store(directory) if directory else None, np.random.default_rng(session.seed)
        result = backtest(source.events, contenders, plan, rng=rng, progress=session.progress(), store=store)
        journal = store.directory / "nulls.jsonl" if store else None
        how: dict[str, Any] = {"B": B, "backend": backend, "scheduler": scheduler, "journal": journal}
        tested = session.test(source, nulls, "information-gain", learning, plan, **how) if nulls else []
        if directory:
            session.animate(result, animate, images, force=again)
            title = f"Forecasts of {source.path.name}"
            linked = session.draw(EvaluationPart.of(result, source), directory, title)
            write_report(result, directory, title=title, manifest=essence(description), nulls=tested, linked=linked)
            if tested:
                save_nulls(tested, directory / "nulls.json")
            save_result(result, directory, keep_forecasts=keep_forecasts)
            session.record(directory, description, source, cost=result.cost.to_dict(orient="index"))
    text = "\n".join([leaderboard(result), *(["", *null_lines(tested)] if tested else [])])
    extra = {"nulls": [one.to_json_dict() for one in tested]} if nulls else {}
    session.show(result.to_json_dict() | extra, text)
    if output:
        session.log(f"\nreport     {output / 'report.html'}")
        session.log(*[f"map        {path}" for path in output.glob("map.html")])


@verb
@reads_events
@click.option("--model", default="hawkes", show_default=True, help="The model whose statistic is tested.")
@click.option("--null", "nulls", type=_names, default="time-shuffle", metavar="all|A,B,…", help="See 'stpp nulls'.")
@click.option("--statistic", default="information-gain", show_default=True, help="What is tested; see 'stpp nulls'.")
@click.option("--distance", type=float, help="knox: map units that count as near; the closest 1 % of pairs by default.")
@click.option("--delay", type=_duration, metavar="DURATION", help="knox: time that counts as near; likewise.")
@click.option("--basins", metavar="METHOD", help="Test the whole analysis of basins by METHOD instead of a model.")
@click.option("--window", type=_duration, metavar="DURATION", help="Basins: length of the windows.  [default: 7d]")
@CONTEST
@sets_models(HAWKES, FLOW, MEMBERS)
@SHUFFLES
@click.option("-o", "--output", type=PATH, metavar="RUN", help="Directory for the values and their picture.")
def null(
    session: Session,
    source: Source,
    model: str,
    nulls: tuple[str, ...],
    statistic: str,
    distance: float | None,
    delay: float | None,
    basins: str | None,
    window: float | None,
    output: Path | None,
    B: int,
    backend: str,
    scheduler: str | None,
    **contest: Any,
) -> None:
    """Is it chance? Test a statistic, refit included, against null worlds without the structure it measures.

    Interrupted, the same command goes on from its last finished world.
    """
    from evaluation.backtests.plan import set_up
    from evaluation.nulls.families import draw_nulls, null_lines
    from evaluation.nulls.files import save_nulls

    how: dict[str, Any] = {"B": B, "backend": backend, "scheduler": scheduler}
    if not basins and window:
        raise click.UsageError("--window is for --basins; models forecast windows of --step and --horizon")
    if basins:
        test = _basin_test(session, source, basins, window or 7.0, contest)
    else:
        plan, models = set_up(source.events, [model], seed=session.seed, **contest)
        how |= {"distance": distance, "delay": delay}
        test = functools.partial(session.test, source, statistic=statistic, models=models, plan=plan)
    description = session.describe(source, statistic="basins" if basins else statistic, B=B)
    with session.resumable(output, description) as directory:
        journal = directory / "nulls.jsonl" if directory else None
        tested = test(nulls=_nulls(nulls), journal=journal, **how)
        if directory and journal:
            save_nulls(tested, directory / "nulls.json")
            draw_nulls(tested).savefig(directory / "nulls.png")
            journal.unlink()
            session.record(directory, description, source)
    found = [one.to_json_dict() for one in tested]
    session.show(found[0] if len(found) == 1 else {"nulls": found}, "\n".join(null_lines(tested)))


DATED = {"train_start", "test_start", "test_end", "box", "B", "backend", "scheduler", "output", "nulls"}
"""Options of ``null`` that apply to basins too."""


def _basin_test(
    session: Session, source: Source, method: str, window: float, contest: dict[str, Any]
) -> Callable[..., list[NullResult]]:
    """The test of basins with the dates and the box of a contest.

    Raises
    ------
    UsageError
        if an option is given that does not apply to basins
    """
    from basins import make_finder
    from basins.tracks.course import set_up

    context = click.get_current_context()
    for option in context.command.params[: -len(COMMON)]:
        name, given = str(option.name), context.get_parameter_source(str(option.name))
        if given == ParameterSource.COMMANDLINE and name not in {*DATED, *READ, "events", "basins", "window"}:
            raise click.UsageError(f"{option.opts[0]} does not apply to --basins: leave it out")
    dates = {"start": contest["train_start"], "test_start": contest["test_start"], "end": contest["test_end"]}
    finder = make_finder(method, source.events.d)
    plan = set_up(source.events, finder, window=window, box=contest["box"], seed=session.seed, **dates)
    return functools.partial(session.test_basins, source.events, plan)


@verb
@click.argument("run", type=PATH)
@click.option("--model", help="Which model of an evaluation.  [default: the first beside the reference]")
@click.option("--step", type=_duration, default="1d", show_default=True, help="Window after a fit's training time.")
@click.option("--mark", metavar="COL", help="Test the distribution of this numeric mark, such as a magnitude.")
@GRID
def diagnose(session: Session, run: Path, model: str | None, step: float, mark: str | None, grid: int) -> None:
    """Check a fit, or a model of an evaluation, on the events after its training: residuals and calibration.

    Draws one page, RUN/diagnosis-MODEL.png, and writes the numbers beside it.
    """
    import numpy as np

    from evaluation.diagnosis.held_out import judge, load_held_out
    from evaluation.report.diagnosis_page import draw
    from stpp.files.outputs import new_file

    held = load_held_out(run, model, step)
    rng = np.random.default_rng(session.seed)
    found = judge(held, cells=grid, mark=mark, rng=rng, progress=session.progress())
    facts = found.to_json_dict()
    page = run / f"diagnosis-{found.diagnosis.model}.png"
    with new_file(page, force=True) as picture, new_file(page.with_suffix(".json"), force=True) as numbers:
        draw(found.diagnosis).savefig(picture, format="png")
        numbers.write_text(json.dumps(facts, indent=1) + "\n")
    session.show(facts, "\n".join(found.lines()))
    session.log(f"\npage       {page}")


@verb
@click.argument("run", type=PATH)
@ANIMATE
def report(session: Session, run: Path, animate: tuple[str, ...], images: Path) -> None:
    """Write the report of an evaluation anew, and animate its forecasts."""
    from evaluation.backtests.runs import load_result
    from evaluation.nulls.files import load_nulls
    from evaluation.report.report import leaderboard, write_report
    from stpp.maps import links
    from stpp.runs.manifest import essence

    result, manifest = load_result(run)
    title = f"Forecasts of {Path(manifest['input']['path']).name}"
    beside: dict[str, Any] = {"nulls": load_nulls(run / "nulls.json"), "linked": (run / links.NAME).is_file()}
    write_report(result, run, title=title, manifest=essence(manifest), **beside)
    session.animate(result, animate, images, force=session.force)
    session.show(result.to_json_dict(), leaderboard(result))
    session.log(f"\nreport     {run / 'report.html'}")


@verb
@click.argument("inputs", nargs=-1, required=True, type=PATH, metavar="EVENTS|RUN…")
@click.option("-o", "--output", type=PATH, required=True, metavar="map.html", help="The page to write.")
@COLUMNS
@click.option("--window", type=_duration, metavar="DURATION", help="Length of the time windows, where no run has any.")
@click.option("--box", type=_box, metavar="LO,HI,…", help="What is drawn; by default the runs' domain, or all events.")
@click.option("--axes", type=_names, metavar="A,B", help="The two coordinates to draw.  [default: the first two]")
@click.option("--colours", type=_names, default="", metavar="MARK,…", help="Marks to colour posts by.")
@click.option("--texts", is_flag=True, help="Put texts and authors into the page, for whoever opens it.")
@click.option(
    "--max-posts",
    "most",
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
    colours: tuple[str, ...],
    texts: bool,
    most: int,
    form: str,
    time: str | None,
    coords: tuple[str, ...] | None,
    weight: str | None,
    **drawn: Any,
) -> None:
    """Draw the weather map: one HTML page that plays posts, forecasts, flow and basins through time.

    Runs of 'evaluate', 'basins', 'flow' and 'fit' on the same events lay their layers over one another. The page needs
    nothing but a browser: no server, no network. Runs of 'evaluate' and 'basins' bring a map of their own.
    """
    from stpp.files.outputs import new_file
    from stpp.ingest.columns import texts_of
    from stpp.maps.atlas_parquet import write_atlas_parquet
    from stpp.maps.compose import compose
    from stpp.maps.html import write_map

    reading = {"time": time, "coords": coords, "weight": weight}
    if any(reading.values()) and all(path.is_dir() for path in inputs):
        raise click.UsageError("--time, --coords and --weight are for events; runs read theirs as they did before")
    with new_file(output, force=session.force) as temporary:
        parts = [_part(session, path, reading) for path in inputs]
        words = texts_of(parts[0].source.events) if texts else None
        if texts and words is None:
            raise ValueError(f"{parts[0].source.path} has no column of texts: leave --texts out")
        scene, rows = compose(parts, progress=session.progress(), **drawn)
        kept = None if words is None else [words[row] for row in rows]
        if form == "html":
            facts = write_map(scene, temporary, most=most, texts=kept, colours=colours)
        else:
            facts = write_atlas_parquet(scene, temporary, texts=kept)
    session.log(*scene.remarks)
    told = f"{facts['posts']:,} post{'s' * (facts['posts'] != 1)}, {facts['bytes'] / 1e6:.1f} MB"
    session.show({"output": str(output)} | facts, f"{output}: {told}")


def _part(session: Session, path: Path, reading: dict[str, Any]) -> Part:
    """What an input of a map brings."""
    from stpp.maps.parts import EventsPart, FitPart, FlowPart
    from stpp.runs.manifest import read_manifest, verb_of

    if not path.is_dir():
        return EventsPart(session.read(path, reading))
    kind = verb_of(read_manifest(path, "stpp evaluate, basins, flow or fit … -o RUN"))
    if kind == "evaluate":
        from evaluation.report.map_part import EvaluationPart

        return EvaluationPart.of_run(path)
    if kind == "basins":
        from basins.report.map_part import BasinsPart

        return BasinsPart.of_run(path)
    if kind in ("flow", "fit"):
        return (FlowPart if kind == "flow" else FitPart).of_run(path)
    raise ValueError(f"{path} has nothing to draw: give events, or a run of stpp evaluate, basins, flow or fit")


@verb
@click.argument("run", type=PATH)
@click.option("-o", "--output", type=PATH, required=True, metavar="out.gif|mp4", help="The animation to write.")
@click.option("--model", help="Which model of an evaluation.  [default: the best beside the reference]")
@click.option("--step", type=_duration, metavar="DURATION", help="Window after a fit's training time.  [default: 1d]")
@click.option("--grid", type=click.IntRange(1), help="Cells per axis of a fit's forecasts.  [default: 100]")
def animate(session: Session, run: Path, output: Path, model: str | None, step: float | None, grid: int | None) -> None:
    """Animate a run of 'evaluate', 'fit', 'basins' or 'flow': what was expected of each window, then what came."""
    from stpp.runs.manifest import read_manifest, verb_of

    how: dict[str, Any] = {"force": session.force, "progress": session.progress("window")}
    kind = verb_of(read_manifest(run, "stpp evaluate, fit, basins or flow … -o RUN"))
    if (step or grid) and kind != "fit":
        raise click.UsageError(f"--step and --grid are for runs of 'stpp fit': {run} has its own")
    if kind == "basins":
        from basins.report.animation import animate_basins

        if model:
            raise click.UsageError(f"{run} is a run of basins and has no forecasts of models: leave --model out")
        written = animate_basins(run, output, **how)
    else:
        from evaluation.report.animation import animate_run

        written = animate_run(run, output, model=model, step=step or 1.0, cells=grid or 100, **how)
    session.show({"output": str(written), "bytes": written.stat().st_size}, f"animation  {written}")


@verb
@click.argument("run", type=PATH)
def reproduce(session: Session, run: Path) -> None:
    """Run a run's command again on the same events, and compare all its files."""
    import tempfile

    from stpp.runs.manifest import read_manifest
    from stpp.runs.reproduction import compare_runs, run_again

    manifest = read_manifest(run, "stpp … -o RUN")
    with tempfile.TemporaryDirectory() as folder:
        run_again(manifest, Path(folder) / "again")
        found = compare_runs(run, Path(folder) / "again")
    session.show(found, "\n".join(f"{state:8} {name}" for name, state in found.items()))
    if set(found.values()) != {"same"}:
        sys.exit(1)


@verb
def scores(session: Session) -> None:
    """List the scores: which are proper, which way is better, and where they come from."""
    from evaluation.scores import describe_scores, scores_table

    session.show({str(row.pop("name")): row for row in scores_table()}, describe_scores())


@verb
def nulls(session: Session) -> None:
    """List the nulls and the statistics to test against them."""
    from evaluation.nulls.statistics import STATISTICS
    from evaluation.nulls.worlds import NULLS, describe_nulls

    lines = "\n".join(f"  {name:20}{line}" for name, line in STATISTICS.items())
    claims = {name: one.claim for name, one in NULLS.items()}
    session.show({"nulls": claims, "statistics": STATISTICS}, f"{describe_nulls()}\n\nstatistics\n{lines}")


@verb
def models(session: Session) -> None:
    """List the models, and the finders of basins that 'evaluate' takes as models."""
    from basins import FINDERS
    from stpp.models import MODELS

    lines = {name: model.summary_line for name, model in MODELS.items()}
    lines |= {f"basins:{name}": finder.summary_line for name, finder in FINDERS.items()}
    session.show(lines, "\n".join(f"{name:24}{line}" for name, line in lines.items()))


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
