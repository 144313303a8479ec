"""Options that several verbs take, how their values are read, and the options that models bring."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from commands.program import COMMON, Verb

if TYPE_CHECKING:
    from commands.session import Session
    from stpp.domain import Box
    from stpp.options import Option
    from stpp.registry import Registry

PATH = click.Path(path_type=Path)
BROUGHT = "stpp.brought"
"""Where a context keeps the flags that models or finders bring."""


class Word(click.ParamType):  # type: ignore[type-arg]  # generic in newer releases of click only
    """What one word of the command line means."""


class Duration(Word):
    """Days, written 30m, 6h, 1d or 2w."""

    name = "DURATION"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The word itself, once it is one; whoever takes it reads it."""
        from stpp.dates import duration

        try:
            duration(value)
            return value
        except ValueError as error:
            self.fail(f"{error}.", param, ctx)


class LookBack(Duration):
    """A duration, or ``expanding``: everything."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Days, or None for everything."""
        return None if value == "expanding" else super().convert(value, param, ctx)


class BoxType(Word):
    """lo,hi for each axis."""

    name = "LO,HI,…"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Box:
        """A box from its sides."""
        from stpp.domain import Box

        try:
            return Box.from_flat([float(v) for v in value.split(",")])
        except ValueError as error:
            self.fail(f"'{value}': {error}.", param, ctx)


class Place(Word):
    """A number per axis."""

    name = "X,Y,…"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, ...]:
        """The coordinates."""
        try:
            return tuple(float(v) for v in value.split(","))
        except ValueError:
            self.fail(f"'{value}' is not numbers with commas between, one per axis.", param, ctx)


def names(*flags: str, default: str | None = "", kind: str = "", **how: Any) -> Callable[[Any], Any]:
    """An option that takes words with commas between, and adds up when it is given more than once.

    Parameters
    ----------
    flags : as for :func:`click.option`
    default : words; None where "not given" is not "none"
    kind : of registry that the words are names of, if any; wrong ones are refused at once
    how : as for :func:`click.option`
    """

    def listed(ctx: click.Context, param: click.Parameter, value: tuple[str, ...]) -> tuple[str, ...] | None:
        words = tuple(word for text in value for word in text.split(",") if word)
        return words if words or default is not None else None

    kind_of = Name(kind) if kind else str
    return click.option(
        *flags, type=kind_of, multiple=True, callback=listed, default=[default] if default else None, **how
    )


def stack(*options: Callable[..., Any]) -> Callable[[Any], Any]:
    """Several options as one decorator, in the order in which --help shows them."""
    return lambda function: functools.reduce(lambda inner, option: option(inner), reversed(options), function)


COLUMNS = stack(
    click.option("--time", metavar="COL", help="Column of times; found by its name if not given."),
    names("--coords", default=None, metavar="A,B,…", help="Columns of coordinates; found by name if not given."),
    click.option(
        "--weight", metavar="uniform|linear|log", help="Importance by retweets and favourites, or a column of it."
    ),
)
DATES = stack(
    click.option("--start", metavar="DATE", help="Use events from this time on."),
    click.option("--end", metavar="DATE", help="Use events before this time."),
)
BOX = click.option("--box", type=BoxType(), help="The domain; by default around the training events.")
GRID = click.option("--grid", type=int, default=100, show_default=True, help="Cells per axis.")

CONTEST = stack(
    click.option("--train-start", metavar="DATE", help="Training starts; earlier events are history only."),
    click.option("--test-start", metavar="DATE", help="First forecast.  [default: two thirds of the way]"),
    click.option(
        "--test-end", metavar="DATE", help="The last forecast window ends by then.  [default: the last event]"
    ),
    click.option("--step", type=Duration(), default="1d", show_default=True, help="From one forecast to the next."),
    click.option("--horizon", type=Duration(), help="Length of each forecast; the step by default."),
    click.option("--history", type=LookBack(), default="expanding", help="How far to look back.  [default: expanding]"),
    GRID,
    BOX,
    click.option("--zoom", type=BoxType(), help="Score events in this box only; training sees all."),
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
    names("--animate", metavar="A,B,…", help="Animate these models' forecasts."),
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


SET = click.option(
    "--set",
    "sets",
    multiple=True,
    metavar="NAME=VALUE",
    help="Set an option of a model or finder by its name; 'stpp fit MODEL --help' lists them.",
)


class Name(Word):
    """A name of a registry; a wrong one is refused, with the nearest, before anything is read or imported."""

    name = "name"

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The name itself, or several with commas between, or ``all``."""
        if value != "all":
            registry(self.kind).check(*filter(None, value.split(",")))
        return value


def registry(kind: str) -> Registry[Any]:
    """Models, finders or nulls by name."""
    if kind == "finders":
        from basins.finders import FINDERS

        return FINDERS
    if kind == "nulls":
        from evaluation.nulls import NULLS

        return NULLS
    from stpp.models import MODELS

    return MODELS


class Chooses(Verb):
    """A verb that takes models or finders by name: their options are its flags, once they are named.

    The names are found among the words of the command line, before it is parsed, so that only what is named is
    imported.
    """

    takes = "models"

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse with the flags of what is named."""
        self._check_names(ctx, args)
        chosen = self._chosen(args)
        ctx.meta[BROUGHT] = self._flags(chosen)
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            owners = [name for name in registry(self.takes) if error.option_name in self._named(name)]
            if not owners:
                raise
            way = f"does not apply to {', '.join(chosen)}: leave it out" if chosen else f"is for {', '.join(owners)}"
            raise click.UsageError(f"{error.option_name} {way}", ctx) from None

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Its own parameters, and the flags of what is named before those that all verbs take."""
        own, before = super().get_params(ctx), len(self.params) - len(COMMON)
        return [*own[:before], *ctx.meta.get(BROUGHT, []), *own[before:]]

    def invoke(self, ctx: click.Context) -> Any:
        """Run with the options that were given as one ``options``."""
        given = {str(flag.name): ctx.params.pop(str(flag.name)) for flag in ctx.meta[BROUGHT]}
        options = {name: value for name, value in given.items() if value is not None}
        for text in ctx.params.pop("sets"):
            name, found, value = text.partition("=")
            name = name.replace("-", "_")
            if not found:
                raise click.UsageError(f"--set takes NAME=VALUE, not '{text}'", ctx)
            if name in options:
                raise click.UsageError(f"{name} is set twice: keep one", ctx)
            options[name] = value
        ctx.params["options"] = options
        return super().invoke(ctx)

    def _check_names(self, ctx: click.Context, args: list[str]) -> None:
        """Refuse wrong names before the right ones are imported for their flags."""
        parser = self.make_parser(ctx)
        parser.ignore_unknown_options = True
        with suppress(click.UsageError):  # which parsing in earnest tells
            given, _, order = parser.parse_args(args=list(args))
            for one in order:
                if isinstance(one.type, Name):
                    value = given.get(str(one.name))
                    for text in value if isinstance(value, list | tuple) else [value]:
                        if isinstance(text, str):
                            one.type.convert(text, one, ctx)

    def _chosen(self, args: list[str]) -> list[str]:
        """What the words of a command line name, or its options by default; and the members of an ensemble."""
        known = set(registry(self.takes))
        words = [word for arg in args for word in re.split(r"[,=]", arg)]
        names = [word for word in words if word in known]
        if not names and not {"-h", "--help"} & set(args):  # help that names none stays instant
            names = [word for one in self.params for word in _default(one) if word in known]
        for name in list(names):
            names += [member for one in self._options(name) if one.kind == "names" for member in one.default]
        return [name for name in dict.fromkeys(names) if name in known]

    def _options(self, name: str) -> list[Option]:
        from stpp.options import options_of

        return list(options_of(registry(self.takes)[name]).values())

    def _named(self, name: str) -> list[str]:
        return [one.flag for one in self._options(name)]

    def _flags(self, chosen: list[str]) -> list[click.Option]:
        """A flag for each option, whoever shares it."""
        owners: dict[str, list[str]] = {}
        found: dict[str, Option] = {}
        for name in chosen:
            for one in self._options(name):
                found.setdefault(one.name, one)
                owners.setdefault(one.name, []).append(name)
        return [_flag(one, ", ".join(owners[name])) for name, one in found.items()]


def _default(one: click.Parameter) -> list[str]:
    """The words that a parameter is by default."""
    words = [one.default] if isinstance(one.default, str) else one.default if isinstance(one.default, list) else []
    return ",".join(words).split(",")


def _flag(one: Option, owner: str) -> click.Option:
    """The flag of an option; its value is checked where it is used."""
    metavar = one.metavar or ("|".join(one.choices) if one.choices else one.kind.upper())
    return click.Option([one.flag], metavar=metavar, help=f"{owner}: {one.help}{one.told_default}")
