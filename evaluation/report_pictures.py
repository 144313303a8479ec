"""The pictures of a report, with what is said about them beneath and to who cannot see them."""

from __future__ import annotations

import base64
import io
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from evaluation.numbers import signed
from evaluation.pictures import best_and_worst, draw_gains, draw_predictions, draw_strips, draw_windows, leader
from stpp.plotting import house_style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from evaluation.backtest import BacktestResult
    from evaluation.nulls import NullResult


@dataclass(frozen=True)
class Picture:
    """A picture as a report shows it.

    Parameters
    ----------
    name : of its file
    alt : what it shows, for who cannot see it
    caption : beneath it
    png : its bytes
    """

    name: str
    alt: str
    caption: str
    png: bytes

    @property
    def size(self) -> tuple[int, int]:
        """Width and height on a page, in CSS pixels: two thirds of its own, for 1.5 of them are one."""
        width, height = struct.unpack(">II", self.png[16:24])
        return round(width / 1.5), round(height / 1.5)

    @property
    def uri(self) -> str:
        """The picture itself as an address, so that the page needs no other file."""
        return f"data:image/png;base64,{base64.b64encode(self.png).decode()}"


def gains_picture(result: BacktestResult) -> Picture:
    """The forest plot of gains."""
    alt = "Information gain of each model with its interval; the numbers are in the table."
    return _picture("gains.png", draw_gains(result), alt, f"Gain over {result.plan.reference}; bars: 95 % intervals.")


def windows_pictures(result: BacktestResult) -> list[Picture]:
    """Every window's information gain and FDS, as strips and along time."""
    uniform = "A forecast that is uniform throughout is not drawn."
    alt = "Dots for every window: information gain and FDS of each model, "
    strips = f"Every window is a dot, the dash is the mean over windows. {uniform}"
    along = f"The same along time; dashed lines are means over windows. {uniform}"
    return [
        _picture("strips.png", draw_strips(result), f"{alt}one strip per model.", strips),
        _picture("windows.png", draw_windows(result), f"{alt}along time.", along),
    ]


def map_pictures(result: BacktestResult) -> list[Picture]:
    """The leading model's forecasts of its best and its worst window, as far as they are kept."""
    model, reference = leader(result), result.plan.reference
    names = dict(zip(best_and_worst(result), ("best", "worst"), strict=False))
    windows = [k for k in names if k in result.kept]
    if not windows:
        return []
    rows = result.table[result.table["model"] == model].set_index("window")
    pictures = []
    for k, figure in zip(windows, draw_predictions(result, model, windows), strict=True):
        row = rows.loc[k].to_dict()
        which = f"The {names[k]} window of {model}" if len(names) > 1 else f"The only window of {model}"
        when = f"{row['start']:%Y-%m-%d %H:%M} to {row['end']:%Y-%m-%d %H:%M} UTC"
        found = f"{row['events']:,} events, FDS {row['fds']:.3f}"
        if model != reference:
            found += f", information gain {signed(row['information_gain'], 4)} nats per event"
        beside = "" if model == reference else f" Beside it, where {model} expected more and less than {reference}."
        alt = f"Forecast of {model} for {when} with the {row['events']:,} events that came."
        caption = f"{which}, {when}: {found}. Events are on top.{beside}"
        pictures.append(_picture(f"{names[k]}.png", figure, alt, caption))
    return pictures


def null_pictures(nulls: Sequence[NullResult]) -> list[Picture]:
    """Histograms over null worlds, if there were any."""
    if not nulls:
        return []
    from evaluation.families import draw_nulls

    alt = "Histograms of the statistic over null worlds with the observed value marked; the numbers are above."
    return [_picture("nulls.png", draw_nulls(nulls), alt, "Grey: null worlds. Line: the data.")]


def _picture(name: str, figure: Figure, alt: str, caption: str) -> Picture:
    with house_style():
        file = io.BytesIO()
        figure.savefig(file, format="png")
    return Picture(name, alt, caption, file.getvalue())
