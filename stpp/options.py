"""Options of models and finders: dataclass fields that say what they take; the command line makes flags of them.

A field declared by :func:`option` is a flag of every verb that fits the class, and ``--set NAME=VALUE``; nothing else
has to know of it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stpp.dates import duration

KEY = "option"


@dataclass(frozen=True)
class Option:
    """What a user may set of a model or finder.

    Parameters
    ----------
    name : of the field
    help : one line
    kind : ``int``, ``float``, ``str``, ``bool``, ``duration`` (days) or ``names`` (a tuple of words)
    default : None where the class finds it itself
    choices : the words it may be, any if empty
    least : the least number allowed, None for any
    above : a number that it must exceed, None for none
    metavar : what stands for a value in help
    """

    name: str
    help: str
    kind: str
    default: Any
    choices: tuple[str, ...] = ()
    least: float | None = None
    above: float | None = None
    metavar: str = ""

    @property
    def flag(self) -> str:
        """Its name on the command line, such as ``--history-window``."""
        return f"--{self.name.replace('_', '-')}"

    @property
    def told_default(self) -> str:
        """Its default as help shows it; nothing where the class finds the value itself."""
        known = self.default not in (None, "", 0) and self.default == self.default  # NaN is not known either
        value = ",".join(map(str, self.default)) if isinstance(self.default, tuple) else self.default
        return f"  [default: {value}]" if known else ""

    def parse(self, value: Any) -> Any:
        """A value as the field wants it, from a word of the command line or a Python value.

        Raises
        ------
        ValueError
            if it is none; the message says what is wanted
        """
        parsed = self._converted(value)
        if self.choices and parsed not in self.choices:
            raise ValueError(f"{self.flag} is {' or '.join(self.choices)}, not '{value}'")
        if self.least is not None and not parsed >= self.least:
            raise ValueError(f"{self.flag} must be {self.least:g} or more, got {value}")
        if self.above is not None and not parsed > self.above:
            raise ValueError(f"{self.flag} must be more than {self.above:g}, got {value}")
        return parsed

    def _converted(self, value: Any) -> Any:
        if self.kind == "duration":
            try:
                return duration(value)
            except ValueError as error:
                raise ValueError(f"{self.flag}: {error}") from None
        if self.kind == "names":
            return tuple(value.split(",")) if isinstance(value, str) else tuple(value)
        if self.kind == "bool" and isinstance(value, str):
            if value not in ("true", "false"):
                raise ValueError(f"{self.flag} is true or false, not '{value}'")
            return value == "true"
        try:
            return {"int": int, "float": float, "str": str, "bool": bool}[self.kind](value)
        except (TypeError, ValueError):
            wanted = "a whole number" if self.kind == "int" else "a number"
            raise ValueError(f"{self.flag} is {wanted}, not '{value}'") from None


def option(
    default: Any,
    help: str,  # noqa: A002  the word that users know
    *,
    choices: Sequence[str] = (),
    least: float | None = None,
    above: float | None = None,
    metavar: str = "",
    kind: str = "",
) -> Any:
    """A dataclass field that users may set; see :class:`Option`. Its kind follows from the type of the field.

    Examples
    --------
    >>> @dataclass
    ... class Smooth:
    ...     width: float = option(1.0, "of the window", above=0)
    >>> options_of(Smooth)["width"].parse("2.5")
    2.5
    """
    facts = {"help": help, "choices": tuple(choices), "least": least, "above": above, "metavar": metavar, "kind": kind}
    return dataclasses.field(default=default, metadata={KEY: facts})


def is_option(field: dataclasses.Field[Any]) -> bool:
    """Whether a field was declared by :func:`option`."""
    return KEY in field.metadata


def options_of(cls: type) -> dict[str, Option]:
    """The options that a dataclass declares, in the order of its fields."""
    found = {}
    for field in dataclasses.fields(cls):
        if is_option(field):
            facts = dict(field.metadata[KEY])
            kind = facts.pop("kind") or _kind(field.type)
            found[field.name] = Option(name=field.name, kind=kind, default=field.default, **facts)
    return found


def parsed(classes: Mapping[str, type], given: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Options that were given, for each class those that it has.

    Parameters
    ----------
    classes : by the names that users know
    given : option → value; None is not given

    Raises
    ------
    ValueError
        if none of the classes has an option, or a value is not what it wants
    """
    known = {name: options_of(cls) for name, cls in classes.items()}
    mine: dict[str, dict[str, Any]] = {name: {} for name in classes}
    for key, value in given.items():
        if value is None:
            continue
        takers = [name for name in classes if key in known[name]]
        if not takers:
            flag = f"--{key.replace('_', '-')}"
            raise ValueError(f"{flag} does not apply to {', '.join(classes)}: leave it out")
        for name in takers:
            mine[name][key] = known[name][key].parse(value)
    return mine


def _kind(annotation: Any) -> str:
    """The kind of a field's type, written out or not, with None allowed."""
    words = annotation if isinstance(annotation, str) else getattr(annotation, "__name__", str(annotation))
    words = words.removesuffix(" | None")
    return "names" if words.startswith("tuple") else "str" if words.startswith("Literal") else words
