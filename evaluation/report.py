"""What a backtest found, in words: the leaderboard for the terminal, and report.md with its pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from evaluation.backtest import BacktestResult
from evaluation.comparison import ENOUGH_WINDOWS
from stpp.columns import in_words
from stpp.intensity import Forecast
from stpp.runs import ROUGH_FIT

COLUMNS = (
    "model",
    "information gain",
    "95 % interval",
    "pooled",
    "FDS (improper)",
    "overconfidence",
    "quadratic FDS",
    "seconds",
    "",
)

MEANING = (
    "**information gain**: nats per event by which the model's log score beats the reference's on the same events, "
    "mean over windows; 0.1 = it gave the events that came a density e^0.1 ≈ 1.1 times as high. Proper: decide by it.",
    "**95 % interval**: of that mean, by block bootstrap over windows; above 0 = better than the reference.",
    "**pooled**: the same gain, mean over events: windows with many events count for more.",
    "**FDS**: how many times denser than uniform the forecast was where events fell. Improper: sharpening a good "
    "forecast raises it, so never tune or choose by it alone.",
    "**overconfidence**: the FDS that the forecast claims for itself less the FDS it got; near 0 = calibrated.",
    "**quadratic FDS**: FDS less overconfidence. Proper, in the units of FDS.",
    "**seconds**: wall time of fitting and forecasting all windows, first-use compilation included.",
)


def leaderboard(result: BacktestResult) -> str:
    """The models as a text table, best information gain first, with what was scored and what was not."""
    rows = [COLUMNS, *_rows(result)]
    widths = [max(len(row[k]) for row in rows) for k in range(len(COLUMNS))]
    lines = []
    for row in rows:
        cells = [
            cell.ljust(w) if k in (0, len(COLUMNS) - 1) else cell.rjust(w)
            for k, (cell, w) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join([*lines, "", *_scored(result)])


def write_report(result: BacktestResult, directory: Path, *, title: str = "Forecast evaluation") -> Path:
    """Write ``report.md`` and its pictures ``forecast.png`` and ``windows.png``.

    Parameters
    ----------
    result : of a backtest
    directory : exists; a run directory under its temporary name, so that an interrupted report is never seen

    Returns
    -------
    the path of ``report.md``
    """
    best = str(result.summary().index[0])
    header = ["model", *COLUMNS[1:-1], "verdict"]
    table = ["| " + " | ".join(header) + " |", "|" + "---|" + "---:|" * (len(header) - 2) + "---|"]
    table += ["| " + " | ".join(row) + " |" for row in _rows(result)]
    pictures = []
    if _draw_forecast(result, best, directory / "forecast.png"):
        beside = "" if best == result.plan.reference or result.domain.d != 2 else ", alone and against the reference"
        pictures += [f"The forecast of {best} for the last window with events{beside}; dots are what came.", ""]
        pictures += ["![forecast of the last window with its events](forecast.png)", ""]
    else:
        pictures += [f"No map: the domain has {result.domain.d} dimensions, and maps are drawn for up to 3.", ""]
    _draw_windows(result, directory / "windows.png")
    pictures += ["Every window; dashes are means over windows. A forecast that is uniform throughout is not drawn.", ""]
    pictures += ["![information gain and FDS window by window](windows.png)", ""]
    parts = [f"# {title}", "", *table, "", *(f"{line}  " for line in _scored(result)), ""]
    parts += [*pictures, "## What the numbers mean", "", *(f"- {line}" for line in MEANING), ""]
    parts += ["## Setup", "", *(f"- {line}" for line in _setup(result)), ""]
    path = directory / "report.md"
    path.write_text("\n".join(parts), encoding="utf-8")
    return path


def _rows(result: BacktestResult) -> list[Sequence[str]]:
    """One row of text per model, in the order of COLUMNS."""
    rows: list[Sequence[str]] = []
    for name, row in result.summary().iterrows():
        gain = result.gains[str(name)]
        is_reference = name == result.plan.reference
        interval = "" if is_reference else f"[{_signed(gain.low, 4)}, {_signed(gain.high, 4)}]"
        verdict = "the reference" if is_reference else gain.verdict(result.plan.reference.replace("-", " "))
        scores = (
            _signed(gain.pooled, 4),
            f"{row['fds']:.3f}",
            _signed(row["overconfidence"], 3),
            f"{row['quadratic_fds']:.3f}",
        )
        rows.append((str(name), _signed(gain.mean, 4), interval, *scores, f"{row['seconds']:.2f}", verdict))
    return rows


def _scored(result: BacktestResult) -> list[str]:
    """What was scored, what was not, and how far to trust the intervals."""
    counts, plan = result.counts, result.plan
    gain = result.gains[plan.reference]
    where = "in the zoom box" if plan.zoom is not None else "in the domain"
    windows = f"{counts['scored']} windows of {in_words(plan.horizon or plan.step)}"
    lines = [
        f"{windows}, {counts['events']:,} events {where} scored; "
        f"gain in nats per event over {plan.reference}, mean over windows",
    ]
    if counts["empty"]:
        lines.append(f"{counts['empty']} windows without events {where} have no score and are left out")
    if counts["outside"]:
        lines.append(f"{counts['outside']:,} events outside the domain have no relative density: no score counts them")
    table = result.table
    for name, count in table.loc[~table["converged"], "model"].value_counts(sort=False).items():
        lines.append(f"{count} windows of {name} rest on a fit that did not converge: {ROUGH_FIT}")
    if gain.approximate:
        few = f"{gain.windows} windows, fewer than {ENOUGH_WINDOWS}"
        lines.append(f"intervals are approximate: {few} (blocks of {gain.block_length})")
    return lines


def _setup(result: BacktestResult) -> list[str]:
    """How the backtest was run, one line each."""
    plan, date, axes = result.plan, result.last_events.date, result.last_events.axes
    past = "everything before the issue time" if plan.history is None else f"the last {in_words(plan.history)}"
    fits = "once, before the first window" if plan.refit is None else f"anew every {plan.refit} windows"
    sides = [
        f"{name} [{lo:g}, {hi:g}]" for name, lo, hi in zip(axes, result.domain.low, result.domain.high, strict=True)
    ]
    gain = result.gains[plan.reference]
    lines = [
        f"training from {date(plan.training.start):%Y-%m-%d %H:%M}, test {date(plan.test.start):%Y-%m-%d %H:%M} to "
        f"{date(plan.test.end):%Y-%m-%d %H:%M} (UTC)",
        f"a forecast of {in_words(plan.horizon or plan.step)} every {in_words(plan.step)}, from {past}; fitted {fits}",
        f"domain {' × '.join(sides)} in map units, "
        + (f"{plan.grid} cells per axis" if result.domain.d <= 3 else "no grid: densities evaluated at the events"),
        f"intervals: paired circular block bootstrap over windows, blocks of {gain.block_length}",
    ]
    if plan.zoom is not None:
        lines.append(f"scored in the zoom box {plan.zoom.to_list()}, relative density renormalised to mean 1 over it")
    return lines


def _signed(value: float, digits: int) -> str:
    return f"{round(value, digits) + 0.0:+.{digits}f}"  # + 0.0: no "-0.000"


def _draw_forecast(result: BacktestResult, model: str, path: Path) -> bool:
    """Draw the model's last forecast, in 2-d also against the reference's; False where there is no grid to draw."""
    from matplotlib.figure import Figure

    from stpp.plotting import house_style, map_size, plot_contrast, plot_forecast

    forecast, reference = result.last[model], result.last[result.plan.reference]
    if not isinstance(forecast, Forecast) or not isinstance(reference, Forecast):
        return False
    panels = 1 + (forecast is not reference and result.domain.d == 2)
    with house_style():
        figure = Figure(figsize=map_size(result.domain, panels))
        left, *right = figure.subplots(1, panels, squeeze=False).ravel()
        plot_forecast(forecast, result.last_events, ax=left)
        for ax in right:
            plot_contrast(forecast, reference, result.last_events, ax=ax)
        figure.savefig(path)
    return True


def _draw_windows(result: BacktestResult, path: Path) -> None:
    """Draw information gain and FDS window by window, one above the other.

    A forecast that is uniform in every window is left out: its FDS is 1 by definition, and a scale that reaches down
    to it hides the differences between the others.
    """
    from matplotlib.figure import Figure

    from stpp.plotting import house_style, plot_windows

    flat = result.table.groupby("model")["fds"].transform(lambda fds: np.allclose(fds.dropna(), 1.0, rtol=0, atol=1e-9))
    table = result.table[~flat | (result.table["model"] == result.plan.reference)]
    with house_style():
        figure = Figure(figsize=(9.6, 6.8))
        upper, lower = figure.subplots(2, 1, sharex=True)
        plot_windows(table, "information_gain", ax=upper)
        plot_windows(table, "fds", ax=lower)
        upper.set_xlabel("")
        lower.legend_.remove()
        figure.savefig(path)
