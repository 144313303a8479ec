"""The pictures of a report, with what is said about them beneath and to who cannot see them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from evaluation.backtests.backtest import best_and_worst, leader
from evaluation.report.pictures import draw_gains, draw_predictions, draw_strips, draw_windows
from stpp.reports.pages import Picture
from stpp.reports.words import signed

if TYPE_CHECKING:
    from evaluation.backtests.backtest import BacktestResult
    from evaluation.nulls.worlds import NullResult


def gains_picture(result: BacktestResult) -> Picture:
    """The forest plot of gains."""
    alt = "Information gain of each model with its interval; the numbers are in the table."
    return Picture.of("gains.png", draw_gains(result), alt, f"Gain over {result.plan.reference}; bars: 95 % intervals.")


def windows_pictures(result: BacktestResult) -> list[Picture]:
    """Every window's information gain and FDS, as strips and along time."""
    uniform = "A forecast that is uniform throughout is not drawn."
    alt = "Dots for every window: information gain and FDS of each model, "
    strips = f"Every window is a dot, the dash is the mean over windows. {uniform}"
    along = f"The same along time; dashed lines are means over windows. {uniform}"
    return [
        Picture.of("strips.png", draw_strips(result), f"{alt}one strip per model.", strips),
        Picture.of("windows.png", draw_windows(result), f"{alt}along time.", along),
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
        pictures.append(Picture.of(f"{names[k]}.png", figure, alt, caption))
    return pictures


def null_pictures(nulls: Sequence[NullResult]) -> list[Picture]:
    """Histograms over null worlds, if there were any."""
    if not nulls:
        return []
    from evaluation.nulls.families import draw_nulls

    alt = "Histograms of the statistic over null worlds with the observed value marked; the numbers are above."
    return [Picture.of("nulls.png", draw_nulls(nulls), alt, "Grey: null worlds. Line: the data.")]
