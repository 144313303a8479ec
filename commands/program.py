"""The program: verbs under headings, options that all share, and mistakes told in one line."""

from __future__ import annotations

import functools
import logging
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import click

from commands.session import Session

HEADINGS = ("data", "spaces", "models", "judging", "basins", "acting", "showing")
"""What verbs are for, in the order in which help lists them."""

COMMON = [
    click.Option(["--seed"], type=click.IntRange(0), default=0, show_default=True, help="Seed of all randomness."),
    click.Option(["--json", "as_json"], is_flag=True, help="Print one JSON object on stdout."),
    click.Option(["--force"], is_flag=True, help="Overwrite what exists."),
    click.Option(["--quiet"], is_flag=True, help="No log and no progress on stderr."),
    click.Option(["--jobs"], type=click.IntRange(1), help="Processor cores to use; all by default."),
]


class Verb(click.Command):
    """A command of a heading; an option that takes one value and is given twice is a mistake, not the last one's."""

    heading = ""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse, once no option is given twice that takes one value."""
        _, _, order = self.make_parser(ctx).parse_args(args=list(args))
        for parameter, times in Counter(order).items():
            if isinstance(parameter, click.Option) and times > 1 and not (parameter.multiple or parameter.is_flag):
                raise click.UsageError(f"{parameter.opts[0]} is given {times} times and takes one value: keep one", ctx)
        return super().parse_args(ctx, args)


class Program(click.Group):
    """The group of verbs; a user's mistake becomes one line on stderr and exit code 2."""

    def make_context(self, info_name: str | None, args: list[str], *rest: Any, **extra: Any) -> click.Context:
        """Keep the words of the command line for the manifest."""
        return super().make_context(info_name, args, *rest, **{**extra, "obj": ["stpp", *args]})

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The verb, or a mistake that names the nearest one."""
        if args and self.get_command(ctx, args[0]) is None and not args[0].startswith("-"):
            from stpp.registry import nearest

            raise click.UsageError(f"no verb '{args[0]}'; see 'stpp --help'{nearest(args[0], self.commands)}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The verbs, by what they are for."""
        widest = max(map(len, self.commands))
        for heading in HEADINGS:
            verbs = [verb for verb in self.commands.values() if isinstance(verb, Verb) and verb.heading == heading]
            if verbs:
                with formatter.section(heading.capitalize()):
                    limit = formatter.width - 6 - widest
                    formatter.write_dl([(f"{v.name:{widest}}", v.get_short_help_str(limit)) for v in verbs])

    def main(self, *args: Any, **extra: Any) -> Any:
        """Run a command and exit: 0, 2 after a mistake, 130 after Ctrl-C, 143 after kill."""
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # unwinds, so that temporary files go
        try:
            sys.exit(super().main(*args, **{**extra, "standalone_mode": False}))
        except click.ClickException as error:
            line, code = error.format_message(), 2
        except (click.Abort, KeyboardInterrupt):
            line, code = "interrupted", 130
        except MemoryError:
            line, code = "out of memory: use a coarser grid, fewer events or a shorter time", 2
        except OSError as error:
            line, code = f"{error.filename}: {error.strerror}" if error.filename else str(error), 2
            with suppress(OSError, ValueError):  # what stdout could not take would fail once more at the exit
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        except (ValueError, KeyError) as error:
            line, code = str(error if isinstance(error, ValueError) else error.args[0]), 2
        click.echo(f"stpp: error: {' '.join(line.split())}", err=True)
        sys.exit(code)


@click.group(
    cls=Program,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    invoke_without_command=True,
)
@click.version_option(package_name="stpp")
@click.pass_context
def main(context: click.Context) -> None:
    """Discourse as a spatio-temporal point process: fit intensities, forecast, judge the forecasts.

    EVENTS is a file that 'ingest' wrote or any file that it reads. DATE is an ISO date or time (UTC unless it says
    otherwise) or a number of days since the epoch in the file. Durations are written 30m, 6h, 1d, 2w.
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


def verb(heading: str, cls: type[Verb] = Verb) -> Callable[[Callable[..., None]], click.Command]:
    """Make a verb of a function, with the options that every verb takes."""

    def decorate(function: Callable[..., None]) -> click.Command:
        @main.command(function.__name__.rstrip("_"), cls=cls)  # map_: map is a word of Python's
        @functools.wraps(function)
        def command(seed: int, as_json: bool, force: bool, quiet: bool, jobs: int | None, **options: Any) -> None:
            argv = click.get_current_context().obj
            session = Session(argv, seed, as_json, force, quiet, jobs, time.perf_counter())
            session.log(f"seed {seed}")
            with _threads(jobs), _told(session), session.recorded():
                function(session, **options)

        assert isinstance(command, Verb)
        command.heading = heading
        command.params += COMMON
        return command

    return decorate


@contextmanager
def _told(session: Session) -> Iterator[None]:
    """What the libraries log goes where the session speaks."""
    loggers = [logging.getLogger(name) for name in ("stpp", "basins", "evaluation")]
    before = [logger.handlers[:] for logger in loggers]
    for logger in loggers:
        logger.handlers[:] = [_Teller(session)]
        logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        for logger, handlers in zip(loggers, before, strict=True):
            logger.handlers[:] = handlers


class _Teller(logging.Handler):
    """A log that a session speaks."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session

    def emit(self, record: logging.LogRecord) -> None:
        """Tell one line."""
        self._session.log(record.getMessage())


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
