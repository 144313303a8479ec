"""Many tests at once: adjusted p-values, what they mean in words, and the null histograms."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from evaluation.comparison import LEVEL
from evaluation.nulls import NULLS
from evaluation.nulls.worlds import NullResult

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

UNITS = {
    "information gain": "nats per event",
    "log-likelihood gain": "nats per event",
    "FDS gain": "FDS, 1 = uniform",
    "branching ratio": "offspring per event",
    "local branching ratio": "offspring per event",
    "Knox": "pairs",
    "modified Knox": "pairs",
}
"""How the name of a statistic begins → its unit."""

PANELS = 3
"""Null histograms side by side."""


def adjust(results: Sequence[NullResult]) -> pd.DataFrame:
    """The results as a table, with p-values adjusted over all of them as one family.

    Returns
    -------
    columns ``statistic``, ``null``, ``observed``, ``null_mean``, ``null_sd``, ``effect_size``, ``share_kept``, ``B``,
    ``p_value``, ``holm`` (bounds the chance of any false rejection [1]_) and ``benjamini_hochberg`` (bounds the
    expected share of false ones among the rejected [2]_)

    References
    ----------
    .. [1] Holm (1979), A simple sequentially rejective multiple test procedure, Scand. J. Statist. 6:65.
    .. [2] Benjamini & Hochberg (1995), Controlling the false discovery rate, JRSS B 57:289.
    """
    import pandas as pd
    from statsmodels.stats.multitest import multipletests

    rows = [r.to_json_dict() | {"effect_size": r.effect_size, "share_kept": r.share_kept} for r in results]
    columns = ["statistic", "null", "observed", "null_mean", "null_sd", "effect_size", "share_kept", "B", "p_value"]
    table = pd.DataFrame(rows, columns=columns)
    for name, method in (("holm", "holm"), ("benjamini_hochberg", "fdr_bh")):
        table[name] = multipletests(table["p_value"], method=method)[1] if len(table) else []
    return table


def null_table(results: Sequence[NullResult]) -> tuple[list[str], list[list[str]]]:
    """Header and rows of text, one row per result: the numbers, and how much of the value the null keeps."""
    rows = []
    for result, q in zip(results, adjust(results)["benjamini_hochberg"], strict=True):
        digits = max(0, 1 - math.floor(math.log10(result.sd))) if result.sd > 0 else 4
        observed, mean, sd = (f"{v:.{digits}f}" for v in (result.observed, result.mean, result.sd))
        kept = _kept(result) if result.observed > 0 else ""
        cells = [result.null, result.statistic, observed, f"{mean} ± {sd}", kept, f"{result.p_value:.3g}", f"{q:.3g}"]
        rows.append(cells)
    return ["null", "statistic", "observed", "null worlds", "kept", "p", "q"], rows


def null_meanings(results: Sequence[NullResult]) -> list[str]:
    """What the table shows: a sentence per null, more where its results differ; then what p and q are."""
    lines = []
    table = adjust(results)
    for null, part in table.groupby("null", sort=False):
        for finding, chosen in findings(part).items():
            names = "" if len(chosen) == len(part) else f" ({', '.join(chosen['statistic'])})"
            meaning = {
                "rejected": f"rejected at {100 * (1 - LEVEL):g} %: {NULLS[str(null)].claim}.",
                "too few": f"no null world reached the value, but {part['B'].max()} are too few to reject at "
                f"{100 * (1 - LEVEL):g} % among so many tests: take a larger -B.",
                "not rejected": f"not rejected: what it keeps can explain the value ({NULLS[str(null)].keeps}).",
            }[finding]
            lines.append(f"{null}{names}: {meaning}")
    if len(results):
        over = "" if len(results) == 1 else f"; q: Benjamini–Hochberg over these {len(results)}"
        smallest = f"{1 / (1 + int(table['B'].max())):.3g}"
        lines.append(f"p: share of {table['B'].max()} null worlds and the data that reach it, {smallest} at best{over}")
    return lines


def findings(table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Rows of :func:`adjust` by what they show, empty kinds left out.

    ``rejected``, ``not rejected``, and ``too few``: no null world reached the value, and still there are too few of
    them to reject among so many tests.
    """
    rejected = table["benjamini_hochberg"] <= 1 - LEVEL
    smallest = table["p_value"] <= 1 / (table["B"] + 1)
    kinds = {"rejected": rejected, "too few": ~rejected & smallest, "not rejected": ~rejected & ~smallest}
    return {kind: table[rows] for kind, rows in kinds.items() if rows.any()}


def null_lines(results: Sequence[NullResult]) -> list[str]:
    """The table as aligned text, and what it shows."""
    header, rows = null_table(results)
    widths = [max(len(row[k]) for row in [header, *rows]) for k in range(len(header))]
    lines = []
    for row in [header, *rows]:
        cells = [cell.ljust(w) if k < 2 else cell.rjust(w) for k, (cell, w) in enumerate(zip(row, widths, strict=True))]
        lines.append("  ".join(cells).rstrip())
    return [*lines, "", *null_meanings(results)]


def _kept(result: NullResult) -> str:
    return f"{max(0, round(100 * result.share_kept))} %"


def plot_null(result: NullResult, *, limits: tuple[float, float] | None = None, ax: Axes | None = None) -> Axes:
    """Histogram of a statistic over null worlds, a line at the observed value; p and the share kept in the title.

    Parameters
    ----------
    result : to draw
    limits : of the x axis; by default they hold the null worlds and the observed value
    ax : where to draw; by default a new figure

    Returns
    -------
    the axes drawn on
    """
    import matplotlib.pyplot as plt
    import numpy as np
    from matplotlib.colors import to_rgba
    from matplotlib.ticker import MaxNLocator

    from stpp.reports.plotting import house_style

    with house_style():
        accent = to_rgba("C1")  # the style's, wherever the figure is saved later
        ax = ax if ax is not None else plt.subplots()[1]
        low, high = limits or _limits([result])
        bins = np.histogram_bin_edges(result.values, bins="auto")
        width = max(float(bins[1] - bins[0]), (high - low) / 60)  # a null without spread still shows as a bar
        start = float(min(result.values)) - width / 2
        edges = np.arange(start, float(max(result.values)) + width, width)
        ax.hist(result.values, edges.tolist(), color="0.6", edgecolor="white", linewidth=0.5)
        ax.axvline(result.observed, color=accent, linewidth=2.2)
        ax.set_xlim(low, high)
        ax.set_ylim(top=1.12 * ax.get_ylim()[1])
        left = result.observed > (low + high) / 2
        ax.annotate(
            "observed", (result.observed, 1), (-5 if left else 5, -4), color=accent,
            xycoords=("data", "axes fraction"), textcoords="offset points", ha="right" if left else "left", va="top",
        )  # fmt: skip
        kept = f" keeps {_kept(result)}" if result.observed > 0 else ""
        ax.set_title(f"{result.null}{kept}\np = {result.p_value:.3g} ({len(result.values)} worlds)")
        unit = next((unit for name, unit in UNITS.items() if result.statistic.startswith(name)), "")
        ax.set_xlabel(f"{result.statistic}\n({unit})" if unit else result.statistic)
        ax.set_ylabel("null worlds")
        ax.xaxis.set_major_locator(MaxNLocator(5))
        ax.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    return ax


def draw_nulls(results: Sequence[NullResult]) -> Figure:
    """A histogram per result, those of one statistic on one scale, so that one sees which null removes how much.

    Raises
    ------
    ValueError
        if there are no results
    """
    from matplotlib.figure import Figure

    from stpp.reports.plotting import house_style

    if not results:
        raise ValueError("no null results to draw")
    families = [[r for r in results if r.statistic == name] for name in dict.fromkeys(r.statistic for r in results)]
    columns = min(PANELS, max(len(family) for family in families))
    heights = [math.ceil(len(family) / columns) for family in families]
    with house_style():
        figure = Figure(figsize=(4.4 * columns, 3.7 * sum(heights)))
        axes = figure.subplots(sum(heights), columns, squeeze=False)
        first = 0
        for family, height in zip(families, heights, strict=True):
            panels = axes[first : first + height].ravel()
            for result, ax in zip(family, panels, strict=False):
                plot_null(result, limits=_limits(family), ax=ax)
            for ax in panels[len(family) :]:
                ax.set_axis_off()
            first += height
    return figure


def _limits(results: Sequence[NullResult]) -> tuple[float, float]:
    """An interval that holds all values of the results, with a margin."""
    low = min(min(*r.values, r.observed) for r in results)
    high = max(max(*r.values, r.observed) for r in results)
    margin = 0.06 * (high - low) or 0.06 * abs(high) or 1.0
    return low - margin, high + margin
