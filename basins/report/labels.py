"""Words in pictures, moved until none lies on another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.transforms import Bbox

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.text import Text

GAP = 4.0
"""Pixels between two texts, at least."""

Place = tuple[float, float]


def spread_out(texts: Sequence[Text], ax: Axes) -> None:
    """Move texts to the nearest free place within the axes; a thin line leads back from those moved off it.

    Parameters
    ----------
    texts : centred on what they name, the most important first
    ax : that they are on
    """
    frame, taken = _measured(ax), list[Bbox]()
    for text in texts:
        box = text.get_window_extent().padded(GAP / 2)
        moves = _moves(box, frame)
        crossed = [_crossed(box.translated(dx, dy), taken) for dx, dy in moves]
        best = int(np.argmin(crossed))  # the nearest of those that cover least
        dx, dy = moves[best]
        taken.append(box.translated(dx, dy))
        home = ax.transData.transform(text.get_position())
        text.set_position(_data(ax, home[0] + dx, home[1] + dy))
        if not taken[-1].contains(*home):
            start = _data(ax, float(home[0]), float(home[1]))
            ax.plot(*zip(start, text.get_position(), strict=True), color=text.get_color(), linewidth=1, zorder=5.5)


def stack(texts: Sequence[Text], ax: Axes) -> None:
    """Move texts that begin at one x up and down until none lies on another, within the axes if there is room."""
    frame = _measured(ax)
    order = sorted(texts, key=lambda one: one.get_position()[1])
    boxes = [text.get_window_extent() for text in order]
    low = [box.y0 for box in boxes]
    for k, box in enumerate(boxes):  # upwards from the bottom
        low[k] = max(low[k], frame.y0, low[k - 1] + boxes[k - 1].height + 2 if k else frame.y0)
        if k == len(boxes) - 1:
            low[k] = max(min(low[k], frame.y1 - box.height), frame.y0)
    for k in range(len(boxes) - 2, -1, -1):  # and down again where the topmost was held
        low[k] = min(low[k], low[k + 1] - boxes[k].height - 2)
    for text, box, y in zip(order, boxes, low, strict=True):
        x, middle = ax.transData.transform(text.get_position())
        text.set_position(_data(ax, x, middle + y - box.y0))


def _measured(ax: Axes) -> Bbox:
    """The frame of the axes in pixels, when all is laid out."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure = ax.get_figure(root=True)
    assert figure is not None, "axes are on a figure"
    FigureCanvasAgg(figure).draw()  # type: ignore[no-untyped-call]
    return ax.get_window_extent()


def _moves(box: Bbox, frame: Bbox) -> list[Place]:
    """Ways to move a box that leave it within the frame, the shortest first."""
    step = max(2.0, box.height / 4)
    reach = np.arange(-24, 25) * step
    dx, dy = (part.ravel() for part in np.meshgrid(reach, reach))
    dx = np.clip(dx, frame.x0 - box.x0, max(frame.x1 - box.x1, frame.x0 - box.x0))
    dy = np.clip(dy, frame.y0 - box.y0, max(frame.y1 - box.y1, frame.y0 - box.y0))
    order = np.argsort(np.hypot(dx, dy), kind="stable")
    return [(float(dx[k]), float(dy[k])) for k in order]


def _crossed(box: Bbox, taken: Sequence[Bbox]) -> float:
    """Square pixels of other boxes that a box lies on."""
    shared = (Bbox.intersection(box, other) for other in taken)
    return sum(one.width * one.height for one in shared if one is not None)


def _data(ax: Axes, x: float, y: float) -> Place:
    place = ax.transData.inverted().transform((x, y))
    return float(place[0]), float(place[1])
