"""The posts that a page carries: all of them or a sample, quantised; their groups, texts and authors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stpp.maps.scene import Basins, Canvas

TICKS = 2**32 - 1


@dataclass(frozen=True, eq=False)
class Shown:
    """Posts on a page.

    Parameters
    ----------
    rows : (m,) increasing, of the canvas' events
    arrays : by name, to be packed: ``x`` and ``y`` uint16 over ``box``, ``time`` uint32 ticks, ``weight`` float32, …
    blobs : by name, texts
    facts : the part of the page's facts that speaks of posts: ``box``, ``posts``, ``groups``, ``texts``
    """

    rows: NDArray[np.int64]
    arrays: dict[str, NDArray[Any]]
    blobs: dict[str, str]
    facts: dict[str, Any]


def shown_posts(canvas: Canvas, basins: Basins | None, most: int, texts: Sequence[str] | None) -> Shown:
    """Choose and quantise."""
    from stpp.maps.page import DAY, milliseconds

    events = canvas.events
    rows = np.arange(len(events))
    x = canvas.places(events.x)
    low, high = np.array(canvas.grid.box.low), np.array(canvas.grid.box.high)
    if len(x):
        low, high = np.minimum(low, x.min(axis=0)), np.maximum(high, x.max(axis=0))
    q = np.rint((x - low) / (high - low) * 65535).astype(np.uint16)
    first = float(events.t[0]) if len(events) else 0.0
    span = float(events.t[-1] - first) if len(events) else 0.0
    tick = max(span / TICKS, 1e-12)
    time = np.rint((events.t - first) / tick).astype(np.uint32)
    arrays = {"x": q[:, 0], "y": q[:, 1], "time": time, "weight": events.weight.astype(np.float32)}
    if basins is not None:
        arrays["track"] = (basins.of_event[rows] + 1).astype(np.uint16)
    facts = {
        "box": [low[0], high[0], low[1], high[1]],
        "posts": {
            "total": len(events),
            "shown": len(rows),
            "first": float(milliseconds(canvas, np.array([first]))[0]),
            "tick": tick * DAY,
        },
        "groups": [],
        "texts": None,
    }
    return Shown(rows, arrays, {}, facts)
