"""What a backtest found, in words: the leaderboard for the terminal; the report in Markdown and as one HTML page."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from evaluation.backtests.backtest import BacktestResult
from evaluation.comparison import ENOUGH_WINDOWS, LEVEL, compare_pairs, verdicts
from evaluation.scores import SCORES
from stpp.dates import in_words
from stpp.domain import MAX_GRID_DIMENSIONS
from stpp.maps.links import address
from stpp.reports.pages import write_pages
from stpp.reports.words import listed, p_in_table, plural, rounded, signed
from stpp.runs.fits import ROUGH_FIT
from stpp.runs.manifest import command_of

if TYPE_CHECKING:
    import pandas as pd

    from evaluation.nulls.worlds import NullResult

COLUMNS = ("model", "information gain", "95 % interval", "pooled", "FDS (improper)", "overconfidence", "quadratic FDS")

CSEP = {
    "mean over events": "t_gain",
    "T: low": "t_low",
    "T: high": "t_high",
    "T: p": "t_p_value",
    "W: p": "w_p_value",
}
"""Headers of CSEP's tests and their columns in a comparison of pairs."""

MEANING = (
    (
        "information gain",
        "nats per event by which the model's log score beats the reference's on the same events, mean over windows; "
        "0.1 = it gave the events that came a density e^0.1 ≈ 1.1 times as high. Proper: decide by it.",
    ),
    ("95 % interval", "of that mean, by block bootstrap over windows; above 0 = better than the reference."),
    ("pooled", "the same gain, mean over events: windows with many events count for more."),
    (
        "FDS",
        "how many times denser than uniform the forecast was where events fell. Improper: sharpening a good forecast "
        "raises it, so never tune or choose by it alone.",
    ),
    ("overconfidence", "the FDS that the forecast claims for itself less the FDS it got; near 0 = calibrated."),
    ("quadratic FDS", "FDS less overconfidence. Proper, in the units of FDS."),
    (
        "real after Holm's correction",
        "with many models, some pair differs by chance; a difference is called real only if it survives the correction "
        "for all pairs.",
    ),
)


def leaderboard(result: BacktestResult) -> str:
    """The models as a text table, best information gain first, with what was scored and what was not.

    Examples
    --------
    >>> from evaluation import evaluate
    >>> when = {"test_start": 40, "test_end": 42, "grid": 10, "reference": "uniform"}
    >>> print(leaderboard(evaluate("data/planted.parquet", ["uniform"], **when).result).splitlines()[0][:5])
    model
    """
    spent = [(f"{row['seconds']:.2f}", f"{row['peak_memory_mb']:.0f}") for _, row in result.summary().iterrows()]
    rows = [[*COLUMNS, "seconds", "memory (MB)", ""]]
    rows += [[*cells, *cost, verdict] for (*cells, verdict), cost in zip(_rows(result), spent, strict=True)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for first, *middle, last in rows:
        cells = [cell.rjust(width) for cell, width in zip(middle, widths[1:], strict=False)]
        lines.append("  ".join([first.ljust(widths[0]), *cells, last]).rstrip())
    return "\n".join([*lines, "", *_scored(result)])


def write_report(
    result: BacktestResult,
    directory: Path,
    *,
    title: str = "Forecast evaluation",
    manifest: Mapping[str, Any] | None = None,
    nulls: Sequence[NullResult] = (),
    linked: bool = False,
) -> Path:
    """Write ``report.html``, one page with its pictures inside, and ``report.md`` with its pictures beside it.

    Nothing in them depends on when, how fast or in how many goes the backtest ran: the same result gives the same
    bytes. The maps show windows whose forecasts are kept.

    Parameters
    ----------
    result : of a backtest
    directory : exists
    title : of the page
    manifest : what the results depend on, as JSON values; its ``seed`` is that of the intervals
    nulls : tests of the result against null worlds
    linked : a map of all windows, ``map.html``, lies beside it

    Returns
    -------
    the path of ``report.html``

    Examples
    --------
    >>> import tempfile
    >>> from evaluation import evaluate
    >>> when = {"test_start": 40, "test_end": 42, "grid": 10, "reference": "uniform"}
    >>> found = evaluate("data/planted.parquet", ["uniform"], **when)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_report(found.result, Path(folder)).name
    'report.html'
    """
    from evaluation.nulls.families import null_meanings, null_table
    from evaluation.report.report_pictures import gains_picture, map_pictures, null_pictures, windows_pictures

    seed = int(manifest["seed"]) if manifest else 0
    beaten = compare_pairs(*_series(result), overlap=result.plan.overlap, rng=np.random.default_rng(seed))
    content = {
        "title": title,
        "verdict": _verdict(result, beaten, nulls),
        "whole_map": [("Open the map of all windows", address())] if linked else [],
        "columns": [*COLUMNS, "verdict"],
        "rows": _rows(result),
        "scored": _scored(result),
        "gains": gains_picture(result),
        "windows": windows_pictures(result),
        "shown_windows": _on_map(result) if linked else [],
        "maps": map_pictures(result),
        "no_maps": _why_no_maps(result),
        "pairs": verdicts(beaten) if result.counts["scored"] > 1 else [],
        "csep": _csep(beaten),
        "nulls": null_pictures(nulls),
        "null_table": null_table(nulls),
        "null_meanings": null_meanings(nulls),
        "scores": _scores(result),
        "meaning": MEANING,
        "setup": _setup(result),
        "manifest": _manifest(manifest or {}),
    }
    return write_pages(directory, Path(__file__).parent, content)


def _rows(result: BacktestResult) -> list[list[str]]:
    """One row of text per model, in the order of COLUMNS, and the verdict."""
    rows = []
    for name, row in result.summary().iterrows():
        gain = result.gains[str(name)]
        is_reference = name == result.plan.reference
        known = math.isfinite(gain.low) and math.isfinite(gain.high) and not is_reference
        interval = f"[{signed(gain.low, 4)}, {signed(gain.high, 4)}]" if known else ""
        numbers = (
            signed(gain.pooled, 4),
            f"{row['fds']:.3f}",
            signed(row["overconfidence"], 3),
            f"{row['quadratic_fds']:.3f}",
        )
        rows.append([str(name), signed(gain.mean, 4), interval, *numbers, result.verdict(str(name))])
    return rows


def _scored(result: BacktestResult) -> list[str]:
    """What was scored, what was not, and how far to trust the intervals."""
    counts, plan = result.counts, result.plan
    gain = result.gains[plan.reference]
    where = "in the zoom box" if plan.zoom is not None else "in the domain"
    windows = f"{plural(counts['scored'], 'window')} of {in_words(plan.horizon or plan.step)}"
    lines = [
        f"{windows}, {counts['events']:,} events {where} scored; "
        f"gain in nats per event over {plan.reference}, mean over windows",
    ]
    if counts["empty"]:
        lines.append(f"{counts['empty']} windows without events {where} have no score and are left out")
    if counts["outside"]:
        lines.append(f"{counts['outside']:,} events outside the domain have no relative density: no score counts them")
    lines += [f"{name} {remark}" for name, remark in result.remarks.items()]
    table = result.table
    for name, count in table.loc[~table["converged"], "model"].value_counts(sort=False).items():
        lines.append(f"{count} windows of {name} rest on a fit that did not converge: {ROUGH_FIT}")
    for name in result.gains:
        impossible = int(np.isneginf(table.loc[table["model"] == name, "log_score"]).sum())
        if impossible:
            lines.append(f"{name} gave density 0 to an event that came, in {impossible} windows: its gain is −∞")
    if gain.windows == 1:
        lines.append("one window has no spread: no interval, so nothing is shown to be better or worse")
    elif gain.approximate:
        few = f"{gain.windows} windows, fewer than {ENOUGH_WINDOWS}"
        lines.append(f"intervals are approximate: {few} (blocks of {gain.block_length})")
    return lines


def _verdict(result: BacktestResult, pairs: pd.DataFrame, nulls: Sequence[NullResult]) -> list[str]:
    """What a reader must know, in a few sentences, the most important one first."""
    from evaluation.nulls.families import adjust, findings

    reference, level = result.plan.reference, f"{100 * LEVEL:g}\u00a0%"
    others = {name: result.gains[name] for name in result.summary().index if name != reference}
    real = pairs[pairs["real"]]
    better = [name for name in others if ((real["better"] == name) & (real["worse"] == reference)).any()]
    worse = [name for name in others if ((real["better"] == reference) & (real["worse"] == name)).any()]
    leaning = [name for name, gain in others.items() if gain.low > 0 and name not in better]
    open_ = [name for name in others if name not in (*better, *worse, *leaning)]
    if not others:
        return [f"Only the reference, {reference}, was evaluated: there is nothing to compare."]
    if better:
        verb, whose = ("beats", "its") if len(better) == 1 else ("beat", "their")
        gains = ", ".join(f"{name} by {signed(others[name].mean, 4)}" for name in better)
        lines = [
            f"{listed(better)} {verb} {reference}: the {level} interval of {whose} information gain lies above 0 "
            f"({gains} nats per event), also after Holm's correction."
        ]
    else:
        beyond = bool(nulls) and adjust(nulls)["benjamini_hochberg"].min() <= 1 - LEVEL
        how = "Not settled" if beyond or leaning else "No signal"
        more = ", though some are beyond chance (below): more windows would tell" if beyond else ""
        lines = [f"{how}: no model is shown to beat {reference}{more}."]
    if leaning:
        lines.append(
            f"The {level} interval of {listed(leaning)} lies above 0, but with so many models compared that may be "
            "chance (Holm)."
        )
    if open_:
        lines.append(f"No difference from {reference} is shown for {listed(open_)}.")
    if worse:
        lines.append(f"Worse than {reference}: {listed(worse)}.")
    told = [f"{row['better']} over {row['worse']}" for _, row in real.iterrows()]
    count = "the only pair" if len(pairs) == 1 else f"all {len(pairs)} pairs"
    lines.append(
        f"Real after Holm's correction over {count} of models: {'; '.join(told)}."
        if told
        else f"No difference between models is real after Holm's correction over {count}."
    )
    if nulls:
        said = {
            "rejected": "above what the",
            "too few": "reached by none of the too few",
            "not rejected": "not above what the",
        }
        for statistic, tested in adjust(nulls).groupby("statistic", sort=False):
            told = [
                f"{said[kind]} null worlds of {listed(list(chosen['null']))}{'' if kind == 'too few' else ' give'}"
                for kind, chosen in findings(tested).items()
            ]
            lines.append(f"{statistic}: {'; '.join(told)} ({100 * (1 - LEVEL):g} %, Benjamini–Hochberg).")
    return lines


def _series(result: BacktestResult) -> tuple[dict[str, Any], Any, dict[str, list[Any]]]:
    """Log scores and weight per window, and ln g at the events with weight, as :func:`compare_pairs` takes them."""
    by_model = {name: result.table[result.table["model"] == name] for name in result.gains}
    counted = [result.scored(k).weight > 0 for k in range(len(result.plan.windows))]
    density = {
        name: [values[mask] for values, mask in zip(result.log_density[name], counted, strict=True)]
        for name in by_model
    }
    weight = by_model[result.plan.reference]["weight"].to_numpy()
    return {name: part["log_score"].to_numpy() for name, part in by_model.items()}, weight, density


def _csep(pairs: pd.DataFrame) -> dict[str, Any]:
    """CSEP's T and W test of every pair as a table."""
    rows = [
        [
            f"{row['better']} – {row['worse']}",
            *(p_in_table(row[n]) if "_p_" in n else rounded(row[n]) for n in CSEP.values()),
        ]
        for row in pairs.to_dict("records")
    ]
    return {"columns": ["pair", *CSEP], "rows": rows}


def _scores(result: BacktestResult) -> dict[str, Any]:
    """Every score of every model as a table, a score per row, and what each means."""
    summary = result.summary()
    best = {"higher": "higher is better", "lower": "lower is better", "zero": "0 is best"}
    names = [name for name in SCORES if name in summary.columns and summary[name].notna().any()]
    rows = []
    for name in names:
        score = SCORES[name]
        tag = f"{best[score.orientation]}; {'proper' if score.proper else 'improper'}"
        values = [rounded(value) for value in summary[name]]
        rows.append([name.replace("_", " "), *values, score.units, tag, score.meaning])
    return {"columns": ["score", *map(str, summary.index), "units", "to read", "meaning"], "rows": rows}


def _setup(result: BacktestResult) -> list[str]:
    """How the backtest was run, one line each."""
    plan, date, axes = result.plan, result.events.date, result.events.axes
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


def _manifest(manifest: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Names and values, first the command line that makes such a run."""
    shown = {name: value for name, value in manifest.items() if name not in ("arguments", "input", "versions")}
    lines = [("command", command_of(manifest))] if "arguments" in manifest else []
    for part in ("input", "versions"):
        lines += [(f"{part}: {name}", _json(value)) for name, value in manifest.get(part, {}).items()]
    return lines + [(name, _json(value)) for name, value in shown.items()]


def _json(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _on_map(result: BacktestResult) -> list[tuple[str, str]]:
    """The best and the worst window, and where they are on the map."""
    from evaluation.backtests.backtest import best_and_worst

    windows = best_and_worst(result)
    names = ("the best window", "the worst window") if len(windows) > 1 else ("the only window",)
    return [(f"Open {name} on the map", address(k)) for name, k in zip(names, windows, strict=True)]


def _why_no_maps(result: BacktestResult) -> str:
    from evaluation.backtests.backtest import best_and_worst

    if result.domain.d > MAX_GRID_DIMENSIONS:
        return f"No map: the domain has {result.domain.d} dimensions, and maps are drawn for up to 3."
    missing = set(best_and_worst(result)) - set(result.kept)
    return "No map of a window whose forecast was not kept." if missing else ""
