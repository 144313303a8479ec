"""Write the table of ``docs/fds.md`` and its picture ``docs/images/fds.png``: ``python docs/fds_figure.py``.

A world whose truth is known: six storms of posts drift over a map of 64 × 64 cells for 26 weeks. Forecasts are the
truth sharpened by a power and renormalised, week by week. Scores are expectations under the truth, so that there is no
chance in any number here.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy import ndimage

from evaluation import scores
from stpp.domain import Array
from stpp.reports.plotting import house_style

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "fds.md"
PICTURE = ROOT / "docs" / "images" / "fds.png"

CELLS, WEEKS, STORMS = 64, 26, 6
SIDE = 1.0
"""Of the map, in map units."""

FLOOR = 1e-3
"""Share of every forecast, and of the truth, spread evenly."""

POWERS = np.exp2(np.linspace(-1, 2, 25))
"""From ½ to 4, 1 among them."""

TITLES = {
    "fds": "FDS (improper)",
    "overconfidence": "overconfidence",
    "log_score": "log score",
    "quadratic_fds": "quadratic FDS",
    "spherical_fds": "spherical FDS",
    "energy_score": "energy score (lower is better)",
}

DIGITS = {"energy_score": 5}
"""Decimals in the table, 3 unless told."""


def floored(field: Array) -> Array:
    """Shares per cell: every week's field over its sum, mixed with the floor."""
    shares = field / field.sum(axis=(1, 2), keepdims=True)
    return np.asarray((1 - FLOOR) * shares + FLOOR / CELLS**2)


def truth() -> Array:
    """(WEEKS + 1, CELLS, CELLS) share of posts per cell; the first week is only known as last week's."""
    rng = np.random.default_rng(1)
    axis = (np.arange(CELLS) + 0.5) / CELLS
    start, drift = rng.uniform(0.2, 0.8, (STORMS, 2)), rng.normal(0, 0.006, (STORMS, 2))
    width, mass = rng.uniform(0.03, 0.1, STORMS), rng.dirichlet(np.full(STORMS, 3))
    field = np.zeros((WEEKS + 1, CELLS, CELLS))
    for week in range(WEEKS + 1):
        for storm in range(STORMS):
            x, y = (
                np.exp(-0.5 * ((axis - centre) / width[storm]) ** 2) for centre in start[storm] + week * drift[storm]
            )
            field[week] += mass[storm] * np.outer(x / x.sum(), y / y.sum())
    return floored(field)


def expected_scores(forecast: Array, p: Array) -> dict[str, float]:
    """Every score of forecasts when posts follow ``p``, mean over weeks; both (weeks, CELLS, CELLS) shares per cell."""
    rows = []
    for q, weight in zip(forecast, p, strict=True):
        g, m = q.ravel() * q.size, weight.ravel()
        square = float(np.mean(g**2))
        row = [scores.fds(g, m), scores.overconfidence(g, m, square), scores.log_score(g, m)]
        row += [scores.quadratic_fds(g, m, square), scores.spherical_fds(g, m, square)]
        rows.append([*row, scores.energy_score(q, weight, (SIDE / CELLS,) * 2)])  # in the order of TITLES
    return dict(zip(TITLES, np.mean(rows, axis=0), strict=True))


def forecasts() -> dict[str, dict[str, float]]:
    """What was forecast → its scores."""
    known = truth()
    p = known[1:]
    modal = p == p.max(axis=(1, 2), keepdims=True)
    blurred = ndimage.gaussian_filter(p, (0, 3, 3), mode="nearest")
    rows = {
        "uniform": np.ones_like(p),
        "the truth, blurred by 3 cells": blurred,
        "the truth": p,
        "the truth of last week": known[:-1],
        "the truth, squared": p**2,
        "the truth to the power of 4": p**4,
        "all on the fullest cell": modal.astype(float),
    }
    return {name: expected_scores(p if name == "the truth" else floored(field), p) for name, field in rows.items()}


def best(rows: dict[str, dict[str, float]], name: str) -> str | None:
    """The forecast that a score likes best; none for overconfidence, which is a diagnosis and no contest."""
    if scores.SCORES[name].orientation == "zero":
        return None
    sign = 1 if scores.SCORES[name].orientation == "higher" else -1
    return max(rows, key=lambda row: sign * rows[row][name])


def table() -> str:
    """The table in Markdown, the best of each score bold, and what it shows in words."""
    rows = forecasts()
    lines = ["| forecast | " + " | ".join(TITLES.values()) + " |", "|---|" + "---:|" * len(TITLES)]
    for row, values in rows.items():
        cells = [f"{round(value, 9) + 0.0:.{DIGITS.get(name, 3)}f}" for name, value in values.items()]
        marked = (f"**{cell}**" if best(rows, name) == row else cell for name, cell in zip(TITLES, cells, strict=True))
        lines.append(f"| {row} | " + " | ".join(marked) + " |")
    return "\n".join([*lines, "", said(rows)])


def said(rows: dict[str, dict[str, float]]) -> str:
    """The same in words."""
    perfect, squared, spike = rows["the truth"], rows["the truth, squared"], rows["all on the fullest cell"]
    gain, claimed = 100 * (squared["fds"] / perfect["fds"] - 1), squared["fds"] + squared["overconfidence"]
    return (
        f"Squaring a perfect forecast lifts its FDS from {perfect['fds']:.2f} to {squared['fds']:.2f} (+{gain:.0f} %), "
        f"and putting everything on one cell lifts it to {spike['fds']:.2f}. The overconfidence tells: squared, the "
        f"forecast claims an FDS of {claimed:.2f} and gets {squared['fds']:.2f}. Every proper score puts the truth "
        f"first; its log score is {perfect['log_score']:.3f} nats per event, {squared['log_score']:.3f} once squared."
    )


def draw() -> None:
    """Six scores against the power by which the truth was sharpened."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    p = truth()[1:]
    found = [expected_scores(floored(p**power), p) for power in POWERS]
    with house_style():
        figure, axes = plt.subplots(2, 3, figsize=(12.5, 6.6), sharex=True)
        for ax, name in zip(axes.flat, TITLES, strict=True):
            values = np.array([row[name] for row in found])
            nearest = {"energy_score": values, "overconfidence": np.abs(values)}.get(name, -values)
            k = int(np.argmin(nearest))
            ax.axvline(1, color="0.6", linewidth=1)
            ax.plot(POWERS, values)
            ax.plot(POWERS[k], values[k], "o", color="C1", markersize=9, clip_on=False)
            ax.set_title(TITLES[name])
            ax.set_ylabel(scores.SCORES[name].units)
            ax.set_xscale("log", base=2)
            ax.set_xticks([0.5, 1, 2, 4], ["½", "1\n(truth)", "2", "4"])
            ax.minorticks_off()
        for ax in axes[1]:
            ax.set_xlabel("the truth to the power of")
        PICTURE.parent.mkdir(exist_ok=True)
        figure.savefig(PICTURE, dpi=90)
        plt.close(figure)


if __name__ == "__main__":
    from make_pages import with_block

    PAGE.write_text(with_block(PAGE.read_text(), "scores", table()))
    draw()
