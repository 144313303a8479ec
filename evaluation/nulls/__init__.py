"""Null worlds, the statistics held against them, and what they say together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from stpp.registry import Registry

if TYPE_CHECKING:
    from evaluation.nulls.worlds import Null

NULLS: Registry[Null] = Registry(
    "null",
    {
        "time-shuffle": "evaluation.nulls.worlds:TIME_SHUFFLE",
        "within-author": "evaluation.nulls.worlds:WITHIN_AUTHOR",
        "rotate": "evaluation.nulls.worlds:ROTATE",
        "within-window": "evaluation.nulls.worlds:WITHIN_WINDOW",
        "background": "evaluation.nulls.worlds:BACKGROUND",
    },
)
"""The nulls: name → null."""


def chosen_nulls(names: Sequence[str]) -> tuple[str, ...]:
    """The nulls that were named, or with ``all`` every one.

    Raises
    ------
    ValueError
        if a name is no null, none is named, or one twice
    """
    if tuple(names) == ("all",):
        return tuple(NULLS)
    NULLS.check(*names)
    if not names or len(set(names)) < len(names):
        raise ValueError("name at least one null, and each only once")
    return tuple(names)
