"""The picture of a diagnosis: one page of six panels."""

from __future__ import annotations

import math

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from scipy import stats

from evaluation.diagnosis.diagnosis import Diagnosis
from stpp.domain import Array
from stpp.reports.plotting import SQUARE_WITHIN, house_style
from stpp.reports.words import p_in_words

LAGS = 20
"""Lags of the correlogram."""

BINS = 20
"""Bars of a histogram."""

SHOWN = 4_000
"""Residual points drawn, at most."""


def draw(diagnosis: Diagnosis) -> Figure:
    """The page: two rows of three panels, for times, for both, for places."""
    with house_style():
        figure = Figure(figsize=(17, 10.4))
        panels = figure.subplots(2, 3)
        _draw_gaps(diagnosis, panels[0, 0])
        _draw_correlogram(diagnosis, panels[0, 1])
        _draw_thinned(diagnosis, panels[0, 2])
        _draw_levels(diagnosis, panels[1, 0])
        _draw_reliability(diagnosis, panels[1, 1])
        _draw_fds(diagnosis, panels[1, 2])
        for ax, letter in zip(panels.flat, "abcdef", strict=True):
            ax.set_title(f"{letter}  {ax.get_title(loc='left')}")
        figure.suptitle(
            f"{diagnosis.model}: {diagnosis.times.n:,} held-out events, {diagnosis.start:%Y-%m-%d} to "
            f"{diagnosis.end:%Y-%m-%d}",
            fontsize=17,
        )
    return figure


def _histogram(u: Array, band: str, ax: Axes) -> None:
    """Bars of height 1 if uniform, and the band that holds 95 % of them if values are uniform and independent."""
    low, high = stats.binom.interval(0.95, len(u), 1 / BINS)
    ax.axhspan(low * BINS / len(u), high * BINS / len(u), color="0.88", label=band)
    ax.axhline(1.0, color="0.5", linewidth=1)
    counts, edges = np.histogram(u, BINS, (0, 1))
    ax.stairs(counts * BINS / len(u), edges, linewidth=1.8)
    ax.set_xlim(0, 1)
    ax.set_ylim(0, 1.25 * max(1.0, high * BINS / len(u), counts.max() * BINS / len(u)))
    ax.set_ylabel("share of events (1 = as expected)")
    ax.legend(loc="upper right")


def _draw_gaps(diagnosis: Diagnosis, ax: Axes) -> None:
    times = diagnosis.times
    _histogram(times.u, "95 % of bars if right", ax)
    ax.set_xlabel("gap between events (quantile, model's clock)")
    ax.set_title(f"gaps: KS D {times.ks.value:.3f} (band {times.ks_band:.3f}), {p_in_words(times.ks.p_value)}")


def _draw_correlogram(diagnosis: Diagnosis, ax: Axes) -> None:
    u = diagnosis.times.u
    centred = u - u.mean()
    lags = np.arange(1, min(LAGS, len(u) - 1) + 1)
    power = max(float(centred @ centred), 1e-300)
    rho = [float(centred[:-k] @ centred[k:]) / power for k in lags]
    half = 1.96 / math.sqrt(len(u))
    ax.axhspan(-half, half, color="0.88", label="95 % if independent")
    ax.axhline(0.0, color="0.5", linewidth=1)
    ax.vlines(lags, 0, rho, color="C0", linewidth=1.8)
    ax.plot(lags, rho, "o", color="C0")
    ax.set_ylim(1.4 * min([-half, *rho]), 1.4 * max([half, *rho]))
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set_xlabel("lag (events)")
    ax.set_ylabel("correlation of gaps")
    ax.legend(loc="upper right")
    lag = diagnosis.times.lag
    ax.set_title(f"memory left: lag 1 {lag.value:+.3f}, {p_in_words(lag.p_value)}")


def _draw_thinned(diagnosis: Diagnosis, ax: Axes) -> None:
    thinned, axes = diagnosis.thinned, diagnosis.axes
    flat = thinned.box.d == 1
    across, up = (thinned.elapsed, thinned.x[:, 0]) if flat else (thinned.x[:, 0], thinned.x[:, 1])
    every = -(-len(across) // SHOWN)
    marks = {"edgecolors": "none", "s": float(np.clip(9000 / max(len(across), 1), 5, 22)), "rasterized": True}
    for label, rows, colour in (("added", thinned.added, "C4"), ("events kept", ~thinned.added, "C0")):
        some = np.flatnonzero(rows)[::every]
        ax.scatter(across[some], up[some], color=colour, label=f"{int(rows.sum()):,} {label}", **marks)  # type: ignore[arg-type]
    box = thinned.box
    ax.set_xlim(*((0, thinned.duration) if flat else (box.low[0], box.high[0])))
    ax.set_ylim(*((box.low[0], box.high[0]) if flat else (box.low[1], box.high[1])))
    if not flat:
        widths = box.widths[:2]
        ax.set_aspect("equal" if widths.max() <= SQUARE_WITHIN * widths.min() else "auto")
    ax.spines[:].set_visible(True)
    ax.set_xlabel("held-out time (days)" if flat else f"{axes[0]} (map units)")
    ax.set_ylabel(f"{axes[0 if flat else 1]} (map units)")
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=2, markerscale=2, handletextpad=0.1)
    ax.set_title(
        f"super-thinned: {p_in_words(thinned.cells.p_value)}" + (f" (one in {every} drawn)" if every > 1 else "")
    )


def _draw_levels(diagnosis: Diagnosis, ax: Axes) -> None:
    level, ks = diagnosis.level, diagnosis.levels_ks
    _histogram(diagnosis.levels, "95 % of bars if right and independent", ax)
    ax.set_xlabel("forecast mass in denser places")
    ax.set_title(
        f"places: mean {0.5 + level.mean:.2f} [{0.5 + level.low:.2f}, {0.5 + level.high:.2f}], {p_in_words(ks.p_value)}"
    )


def _draw_reliability(diagnosis: Diagnosis, ax: Axes) -> None:
    cells = diagnosis.cells
    if cells is None:
        ax.set_axis_off()
        ax.set_title("cells: none above 3 dimensions")
        return
    lowest = cells.expected[0]
    ax.fill_between(
        cells.expected, np.maximum(cells.low, lowest / 2), cells.high, color="0.85", label="90 % if right and Poisson"
    )
    ax.plot(cells.expected, cells.expected, color="0.5", linewidth=1)
    shown = cells.realised > 0
    marker = "o" if lowest == cells.expected[-1] else ""  # a uniform forecast has one point, no curve
    ax.plot(cells.expected[shown], cells.realised[shown], marker=marker, color="C1", label="realised")
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_ylim(lowest / 2, 2 * max(cells.expected[-1], cells.realised[-1], cells.high[-1]))
    ax.set_xlabel("expected events per cell and window")
    ax.set_ylabel("mean events that came")
    ax.legend(loc="upper left")
    ax.text(
        0.97,
        0.04,
        f"miscalibration {cells.miscalibration:.3f}\ndiscrimination {cells.discrimination:.3f}\n"
        f"uncertainty {cells.uncertainty:.3f}\n(nats per event)",
        transform=ax.transAxes,
        ha="right",
        va="bottom",
        fontsize=12,
    )
    ax.set_title("cells: isotonic reliability")


def _draw_fds(diagnosis: Diagnosis, ax: Axes) -> None:
    fds = diagnosis.fds
    scored = diagnosis.table[diagnosis.table["weight"] > 0]
    claimed = scored["fds"] + scored["overconfidence"]
    ends = np.array([min(claimed.min(), scored["fds"].min()), max(claimed.max(), scored["fds"].max())])
    ax.plot(ends, ends, color="0.5", linewidth=1, label="claimed = realised")
    ax.plot(claimed, scored["fds"], "o", color="C0", alpha=0.6, markeredgewidth=0, label="a window")
    ax.plot(fds["claimed"], fds["realised"], "D", color="C1", markersize=9, label="mean")
    if ends[1] > 10 * ends[0] > 0:
        ax.set_xscale("log")
        ax.set_yscale("log")
    ax.set_xlabel("FDS claimed, mean g² (1 = uniform)")
    ax.set_ylabel("FDS realised (1 = uniform)")
    ax.legend(loc="best")
    ax.set_title(f"claimed − realised {fds['overconfidence']:+.2f} [{fds['low']:+.2f}, {fds['high']:+.2f}]")
