"""Pictures of an evaluation: gains with their intervals, scores window by window, and predictions beside what came."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import to_hex
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from stpp.intensity import Forecast
from stpp.reports.plotting import (
    contrast_limit,
    flattened,
    house_style,
    map_size,
    opacity,
    plain,
    plot_contrast,
    plot_forecast,
    top_density,
)

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from evaluation.backtests.backtest import BacktestResult

LABELS = {
    "fds": "FDS (1 = uniform; improper)",
    "information_gain": "information gain (nats per event)",
    "log_score": "log score (nats per event)",
    "quadratic_fds": "quadratic FDS (1 = uniform)",
    "spherical_fds": "spherical FDS (1 = uniform)",
    "overconfidence": "overconfidence (claimed − realised FDS)",
}

DIFFERENCES = ("information_gain", "overconfidence")
"""Scores whose 0 means something: a grey line marks it."""

RATIOS = ("fds", "quadratic_fds", "spherical_fds")
"""Scores whose 1 means something: on a logarithmic scale where windows differ more than tenfold."""

MARKERS = "os^Dv<>"

GOLDEN = 0.6180339887498949
"""Multiples of it, modulo 1, spread the dots of a strip evenly and always in the same way."""

FAR = 4.0
"""A gain that is so many times worse than the best models' intervals reach is drawn as an arrow."""


def plot_gains(summary: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Information gain of each model with its interval: a forest plot.

    The scale suits the models that may be as good as the reference; one that is far worse is an arrow with its number.

    Parameters
    ----------
    summary : one row per model, the first on top: ``information_gain``, ``low``, ``high``, nats per event; an infinite
        bound is not drawn
    ax : where to draw; by default a new figure

    Returns
    -------
    the axes drawn on
    """
    bounds = summary[["information_gain", "low", "high"]].to_numpy(dtype=float)
    rivals = bounds[(bounds[:, 2] >= 0) & (bounds[:, 0] != 0)]
    scale = rivals if np.isfinite(rivals).any() else bounds
    reach = float(np.max(np.abs(scale[np.isfinite(scale)]), initial=1e-3))
    with house_style():
        ax = ax if ax is not None else plt.subplots(figsize=(6.4, 1.3 + 0.5 * len(summary)))[1]
        ax.axvline(0.0, color="0.6", linewidth=1)
        edge = 1.15 * min(-reach, *(gain for gain in bounds[:, 0] if gain >= -FAR * reach))
        for row, (gain, low, high) in enumerate(bounds):
            color = to_hex("0.35" if low <= 0 <= high else "C0" if gain > 0 else "C1")
            if gain < -FAR * reach:
                ax.plot(edge, row, "<", color=color, markersize=8, clip_on=False)
                far = "−∞" if np.isneginf(gain) else f"−{-gain:.3g}"
                ax.annotate(far, (edge, row), (9, 0), textcoords="offset points", va="center", color=color)
                continue
            if np.isfinite([low, high]).all():
                ax.hlines(row, low, high, color=color, linewidth=2.5)
            ax.plot(gain, row, "s", color=color, markersize=7)
        ax.set_xlim(left=edge)
        _label_rows(ax, [str(name) for name in summary.index])
        ax.set_xlabel(LABELS["information_gain"])
    return ax


def plot_strips(table: pd.DataFrame, score: str = "information_gain", *, ax: Axes | None = None) -> Axes:
    """One score as a strip per model: a dot per window and a dash at the mean; windows at −∞ are counted beside it.

    Parameters
    ----------
    table : a backtest's table: columns ``model`` and the score; missing scores are not drawn
    score : the column to draw
    ax : where to draw; by default a new figure

    Returns
    -------
    the axes drawn on

    Raises
    ------
    ValueError
        if the table has no such score
    """
    _check_score(table, score)
    with house_style():
        ax = ax if ax is not None else plt.subplots(figsize=(9, 3.6))[1]
        _label_rows(ax, [str(name) for name in table["model"].unique()])
        _score_axis(ax, "x", table, score)
        for row, (_, part) in enumerate(table.groupby("model", sort=False)):
            values = part[score].to_numpy(dtype=float)
            known = values[np.isfinite(values)]
            height = row + 0.5 * (np.arange(len(known)) * GOLDEN % 1 - 0.5)
            color, shape = to_hex(f"C{row % len(MARKERS)}"), MARKERS[row % len(MARKERS)]
            ax.plot(known, height, shape, color=color, markersize=4.5, alpha=opacity(4 * len(known)), markeredgewidth=0)
            if impossible := int(np.isneginf(values).sum()):
                beside = ax.get_yaxis_transform()
                ax.text(0.01, row - 0.45, f"−∞ in {impossible}", transform=beside, va="center", color=color)
            elif len(known):
                ax.vlines(known.mean(), row - 0.36, row + 0.36, color="white", linewidth=5)
                ax.vlines(known.mean(), row - 0.36, row + 0.36, color=color, linewidth=2.5)
        ax.set_xlabel(LABELS.get(score, score))
    return ax


def plot_windows(table: pd.DataFrame, score: str = "information_gain", *, ax: Axes | None = None) -> Axes:
    """One score window by window along time: a mark per window and model, dashes at each model's mean.

    Parameters
    ----------
    table : a backtest's table: columns ``model``, ``start`` (UTC) and the score; scores that are not finite are not
        drawn
    score : the column to draw
    ax : where to draw; by default a new figure

    Returns
    -------
    the axes drawn on

    Raises
    ------
    ValueError
        if the table has no such score
    """
    _check_score(table, score)
    with house_style():
        ax = ax if ax is not None else plt.subplots(figsize=(9, 3.6))[1]
        _score_axis(ax, "y", table, score)
        for k, (name, part) in enumerate(table.groupby("model", sort=False)):
            known = part[np.isfinite(part[score].to_numpy())]
            (marks,) = ax.plot(known["start"], known[score], MARKERS[k % len(MARKERS)], label=plain(str(name)))
            marks.set(markersize=4.5, markeredgewidth=0, alpha=opacity(4 * len(known)))
            if len(known):
                ax.axhline(float(known[score].mean()), color=marks.get_color(), linewidth=1.2, linestyle="--")
        ax.set_ylabel(LABELS.get(score, score).replace(" (", "\n(", 1))
        ax.set_xlabel("start of the window (UTC)")
        locator = AutoDateLocator(minticks=3, maxticks=7)  # type: ignore[no-untyped-call]
        ax.xaxis.set_major_locator(locator)
        ax.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]
        ax.legend(
            loc="lower left", bbox_to_anchor=(0, 1), ncols=4, handletextpad=0.1, borderaxespad=0.1, columnspacing=1
        )
    return ax


def draw_gains(result: BacktestResult) -> Figure:
    """The information gain of every model with its interval."""
    with house_style():
        summary = result.summary()
        figure = Figure(figsize=(6.4, 1.3 + 0.5 * len(summary)))
        plot_gains(summary, ax=figure.subplots())
    return figure


def draw_strips(result: BacktestResult) -> Figure:
    """Information gain and FDS of every window, a strip per model, best model on top."""
    table = _drawn(result)
    models = table["model"].nunique()
    with house_style():
        figure = Figure(figsize=(10.4, 1.3 + 0.75 * models))
        left, right = figure.subplots(1, 2, sharey=True)
        plot_strips(table, "information_gain", ax=left)
        plot_strips(table, "fds", ax=right)
    return figure


def draw_windows(result: BacktestResult) -> Figure:
    """Information gain and FDS of every window along time, one above the other."""
    table = _drawn(result)
    with house_style():
        figure = Figure(figsize=(9.6, 6.8))
        upper, lower = figure.subplots(2, 1, sharex=True)
        plot_windows(table, "information_gain", ax=upper)
        plot_windows(table, "fds", ax=lower)
        upper.set_xlabel("")
        lower.get_legend().remove()
    return figure


def draw_predictions(result: BacktestResult, model: str, windows: Sequence[int]) -> list[Figure]:
    """Forecasts of a model with the events that came, beside their difference from the reference's; to one scale.

    A zoom box, where there is one, is outlined.

    Parameters
    ----------
    result : of a backtest over at most 3 dimensions
    model : whose forecasts
    windows : numbers of windows whose forecasts are kept

    Returns
    -------
    a figure per window: two panels, or one where the model is the reference
    """
    issued, references = ([_gridded(result, name, k) for k in windows] for name in (model, result.plan.reference))
    top = top_density([flattened(forecast) for forecast in issued])
    limit = max(map(contrast_limit, issued, references), default=0.0)
    zoom, d = result.plan.zoom, result.domain.d
    figures = []
    with house_style():
        for k, forecast, reference in zip(windows, issued, references, strict=True):
            panels = 1 + (model != result.plan.reference)
            figure = Figure(figsize=map_size(result.domain, panels))
            left, *right = figure.subplots(1, panels, squeeze=False).ravel()
            plot_forecast(forecast, result.scored(k), top=None if d == 1 else top, ax=left)
            for ax in right:
                plot_contrast(forecast, reference, result.scored(k), limit=limit, ax=ax)
            if d == 1:
                left.set_ylim(0, 1.05 * max(float(f.density.max()) for f in (*issued, *references)))
                if right:
                    beside = {"baseline": None, "linestyle": "--", "color": to_hex("C1")}
                    left.stairs(reference.density, reference.grid.edges[0], label=plain(reference.model), **beside)
                    left.legend()
            elif zoom is not None:
                for ax in (left, *right):
                    ax.add_patch(
                        Rectangle(
                            (zoom.low[0], zoom.low[1]), *zoom.widths[:2], fill=False, linestyle="--", linewidth=1.5
                        )
                    )
            figures.append(figure)
    return figures


def _gridded(result: BacktestResult, model: str, k: int) -> Forecast:
    forecast = result.forecast(model, k)
    if not isinstance(forecast, Forecast):
        raise ValueError(f"no map of {model}: the domain has {result.domain.d} dimensions, maps are for up to 3")
    return forecast


def _drawn(result: BacktestResult) -> pd.DataFrame:
    """The table, best model first, less models that are uniform throughout, and without the reference's gains, all 0.

    The FDS of the uniform ones is 1, and a scale that reaches down to it hides the differences between the others.
    """
    table = result.table
    flat = table.groupby("model")["fds"].transform(lambda fds: np.allclose(fds.dropna(), 1.0, rtol=0, atol=1e-9))
    is_reference = table["model"] == result.plan.reference
    table = table.assign(information_gain=table["information_gain"].mask(is_reference))[~flat | is_reference]
    rank = {name: k for k, name in enumerate(result.summary().index)}
    return table.sort_values("model", key=lambda names: names.map(rank), kind="stable")


def _label_rows(ax: Axes, names: Sequence[str]) -> None:
    """Models from top to bottom."""
    ax.set_yticks(range(len(names)), [plain(name) for name in names])
    ax.set_ylim(len(names) - 0.4, -0.6)
    ax.xaxis.set_major_locator(MaxNLocator(4))


def _score_axis(ax: Axes, which: Literal["x", "y"], table: pd.DataFrame, score: str) -> None:
    """Mark the 0 of differences; put ratios that differ more than tenfold on a logarithmic scale."""
    axis, line = (ax.xaxis, ax.axvline) if which == "x" else (ax.yaxis, ax.axhline)
    values = table[score].to_numpy(dtype=float)
    values = values[np.isfinite(values)]
    if score in DIFFERENCES:
        line(0.0, color="0.6", linewidth=1)
    elif score in RATIOS and len(values) and 0 < 10 * values.min() < values.max():
        ax.set(**{f"{which}scale": "log"})
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set_minor_locator(NullLocator())


def _check_score(table: pd.DataFrame, score: str) -> None:
    if score not in table.columns:
        raise ValueError(f"the table has no column '{score}'; there are: {', '.join(map(str, table.columns))}")
