"""Where a report finds the map beside it."""

from __future__ import annotations

NAME = "map.html"


def address(window: int | None = None) -> str:
    """Of the map in the same directory, or of one of its windows, by its number."""
    return NAME if window is None else f"{NAME}#w={window}"
