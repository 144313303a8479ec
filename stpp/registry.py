"""Registries: what there is to choose from by name, imported when it is asked for."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from typing import Any, TypeVar

T = TypeVar("T")


class UnknownNameError(KeyError, ValueError):
    """A name that a registry does not have; the message says which it has, and which is nearest."""

    def __str__(self) -> str:
        return str(self.args[0])


class Registry(MutableMapping[str, T]):
    """Name → object, known by its place until it is asked for, so that listing names imports nothing.

    Parameters
    ----------
    what : a word for its entries, for messages: ``model``
    entries : name → ``module:attribute``
    families : prefix of names → ``module:function`` that takes what follows the prefix; for what other packages bring

    Examples
    --------
    >>> functions = Registry("function", {"cosine": "math:cos", "sine": "math:sin"})
    >>> functions["cosine"](0)
    1.0
    >>> functions["cosin"]
    Traceback (most recent call last):
    stpp.registry.UnknownNameError: no function 'cosin'; there are: cosine, sine; did you mean 'cosine'?
    """

    def __init__(self, what: str, entries: Mapping[str, str], families: Mapping[str, str] | None = None) -> None:
        self.what = what
        self._entries: dict[str, str | T] = dict(entries)
        self._families = dict(families or {})

    def __getitem__(self, name: str) -> T:
        self.check(name)
        if name in self._entries:
            entry = self._entries[name]
            if isinstance(entry, str):
                entry = self._entries[name] = _imported(entry)
            return entry
        prefix = next(prefix for prefix in self._families if name.startswith(prefix))
        made: T = _imported(self._families[prefix])(name.removeprefix(prefix))
        return made

    def check(self, *names: str) -> None:
        """Refuse names that are not there, without importing anything.

        Raises
        ------
        UnknownNameError
            if one is not; the message names the nearest and all
        """
        for name in names:
            if name not in self._entries and not any(name.startswith(prefix) for prefix in self._families):
                raise UnknownNameError(f"no {self.what} '{name}'; there are: {', '.join(self)}{nearest(name, self)}")

    def __setitem__(self, name: str, entry: T) -> None:
        self._entries[name] = entry

    def __delitem__(self, name: str) -> None:
        del self._entries[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __repr__(self) -> str:
        return f"<{self.what}s: {', '.join(self)}>"


def nearest(name: str, names: Iterable[str]) -> str:
    """``; did you mean 'hawkes'?``, or nothing where no name is near."""
    close = difflib.get_close_matches(name, list(names), n=1)
    return f"; did you mean '{close[0]}'?" if close else ""


def _imported(place: str) -> Any:
    module, _, attribute = place.partition(":")
    return getattr(importlib.import_module(module), attribute)
