"""What is shown of a flow: a page on each window, and all windows as an animation."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from stpp.compute.progress import Progress
from stpp.dates import in_words
from stpp.events import Events
from stpp.flow.files import write_flows
from stpp.flow.flow import Flow
from stpp.flow.pictures import (
    divergence_limit,
    error_limit,
    fastest_of,
    flattened_flow,
    growth_limit,
    plot_divergence,
    plot_flow,
    plot_growth,
    plot_uncertainty,
    top_of,
)
from stpp.flow.report import flow_facts, flow_lines, moves
from stpp.reports.movies import FORMATS, Pixels, palette_of, pixels_of, write_movie
from stpp.reports.plotting import house_style, map_size, plain

if TYPE_CHECKING:
    from PIL import Image


@dataclass(frozen=True)
class Scale:
    """Where colours and arrows end, so that pages on several windows can be compared.

    Parameters
    ----------
    top : relative density (1 = uniform)
    fastest : map units per day of an arrow as long as arrows are apart
    divergence, growth : per day, on both sides
    error : standard error of the velocity, map units per day; in 1-d where the axis of the velocity ends
    """

    top: float
    fastest: float
    divergence: float
    growth: float
    error: float

    @classmethod
    def of(cls, flows: Sequence[Flow], window: float) -> Scale:
        """The scale that suits some flows together."""
        fastest = fastest_of(flows)
        error = fastest if flows[0].grid.box.d == 1 else error_limit(flows)
        return cls(top_of(flows), fastest, divergence_limit(flows, window), growth_limit(flows), error)


def draw_flow(
    flow: Flow,
    events: Events,
    title: str = "flow",
    *,
    window: float,
    scale: Scale | None = None,
    remark: str = "",
) -> Figure:
    """A page on one window: motion, gathering and spreading, growth, how sure it is, and what that amounts to.

    Parameters
    ----------
    flow : of one window
    events : give the epoch and the names of the axes
    title : what it comes from, such as "drift, 8 frames of 1 day"; its date is added
    window : of the estimator, map units: see :meth:`stpp.flow.flow.Flow.divergence_error`
    scale : of several pages to be compared
    remark : a last line
    """
    scale = scale if scale is not None else Scale.of([flow], window)
    lines = [*flow_lines(flow_facts(flow, events, window=window)), *([remark] if remark else [])]
    with house_style():
        width, height = map_size(flattened_flow(flow).grid.box, 2)
        figure = Figure(figsize=(width, 2 * height + 2.2))
        (motion, spread), (growth, unsure) = figure.subplots(2, 2)
        plot_flow(flow, events, top=scale.top, fastest=scale.fastest, ax=motion)
        plot_divergence(flow, events, window=window, limit=scale.divergence, ax=spread)
        plot_growth(flow, events, limit=scale.growth, ax=growth)
        plot_uncertainty(flow, events, limit=scale.error, ax=unsure)
        figure.suptitle(plain(_heading(flow, events, title)), x=0.01, ha="left")
        figure.supxlabel(plain("\n".join(lines)), x=0.01, ha="left", fontsize="medium", linespacing=1.5)
    return figure


def write_pages(
    flows: Sequence[Flow],
    facts: Sequence[dict[str, Any]],
    events: Events,
    directory: Path,
    title: str,
    window: float,
    *,
    remark: str = "",
    progress: Progress | None = None,
) -> None:
    """Write ``flow.nc``, ``flows.csv`` (the facts of each flow) and a page per flow, ``flow-DATE.png``, to one scale.

    Parameters
    ----------
    flows : in time order
    facts : of each, :func:`stpp.flow.report.flow_facts`
    events : give the epoch and the names of the axes
    directory : where to
    title, window, remark : as in :func:`draw_flow`
    progress : told about every page
    """
    import pandas as pd

    write_flows(directory / "flow.nc", flows, events)
    pd.json_normalize(list(facts)).to_csv(directory / "flows.csv", index=False)
    scale = Scale.of(flows, window)
    for done, flow in enumerate(flows, start=1):
        page = draw_flow(flow, events, title, window=window, scale=scale, remark=remark)
        page.savefig(directory / f"flow-{events.date(flow.time):%Y-%m-%dT%H%M}.png")
        if progress is not None:
            progress("drawing", done, len(flows))


def animate_flows(
    flows: Sequence[Flow],
    events: Events,
    directory: Path,
    title: str = "flow",
    *,
    name: str = "flow",
    formats: Sequence[str] = FORMATS,
    force: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> list[Path]:
    """Write ``flow.gif`` and ``flow.mp4``: the density and its arrows window by window, all to one scale.

    Parameters
    ----------
    flows : in time order
    events : give the epoch and the names of the axes
    directory : made where it does not exist
    title : as in :func:`draw_flow`
    name : of the files, without suffix
    formats : of ``gif`` and ``mp4``
    force : overwrite
    progress : told (done, total) after every window

    Returns
    -------
    the paths written, in the order of ``formats``

    Raises
    ------
    ValueError
        before anything is drawn, if there are no flows, there is no such format, a file exists, or MP4 is wanted and
        there is nothing to write it with
    """
    if not flows:
        raise ValueError("no flows to animate: the windows hold no time at which to look")
    top, fastest = top_of(flows), fastest_of(flows)

    def frames() -> Iterator[Pixels]:
        for done, flow in enumerate(flows, start=1):
            yield _frame(flow, events, title, top, fastest)
            if progress is not None:
                progress(done, len(flows))

    def palette() -> Image.Image:
        fullest = max(flows, key=lambda flow: (flow.density.any(), moves(flow).sum()))
        return palette_of(_frame(fullest, events, title, top, fastest))

    return write_movie(frames(), [1] * len(flows), palette, directory, name, formats=formats, force=force)


def _frame(flow: Flow, events: Events, title: str, top: float, fastest: float) -> Pixels:
    with house_style():
        width, height = map_size(flattened_flow(flow).grid.box, 1)
        figure = Figure(figsize=(width, height + 1.0), dpi=100)
        canvas = FigureCanvasAgg(figure)
        plot_flow(flow, events, top=top, fastest=fastest, ax=figure.subplots())
        figure.suptitle(plain(_heading(flow, events, title)), x=0.01, ha="left")
        canvas.draw()  # type: ignore[no-untyped-call]
    return pixels_of(canvas)


def _heading(flow: Flow, events: Events, title: str) -> str:
    date = events.date(flow.time)
    when = f"{date:%Y-%m-%d}" if date.hour == date.minute == 0 else f"{date:%Y-%m-%d %H:%M}"
    return f"{title}, at {when} UTC\ndensity of the last frame ({in_words(flow.frame)})"
