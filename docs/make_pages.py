"""Write what is generated in the documentation: `make docs`.

- ``docs/cli.md`` from the commands' own --help
- the speed table of ``README.md`` from benchmarks/results_*.csv
- the leaderboard of ``README.md`` and ``docs/images/forecast.png`` from what ``make demo`` left in ``stpp-demo/``

``docs/fds_figure.py`` writes the figures of ``docs/fds.md``.
"""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import click

from basins.finders import FINDERS
from cli import main
from stpp.models import MODELS
from stpp.options import options_of

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "cli.md"
README = ROOT / "README.md"
PICTURE = ROOT / "docs" / "images" / "forecast.png"
DEMO = ROOT / "stpp-demo" / "backtest"
WIDTH = 100

OPENING = """# The command line

Generated from `--help` by `make docs`; a test keeps it current.

Data goes to stdout (text, or one JSON object with `--json`); log, seed and progress go to stderr. A mistake ends in one
line, `stpp: error: …`, and exit code 2. Outputs are written under a temporary name and renamed, so that a run that is
interrupted (exit code 130) or killed (143) leaves none that is half-written; `evaluate` and `null` keep what they have
finished in `.RUN.partial`, and the same command goes on from there. What exists is kept unless `--force` is given.
"""


CHOICES = """## Options of models and finders

Flags of `fit`, `evaluate`, `null`, `flow` and `basins` once the model or finder is named, and `--set NAME=VALUE`;
`stpp fit MODEL --help` lists those of one model.

| option | of | |
|---|---|---|"""


def cli_page() -> str:
    """The page of commands as it should be."""
    root = click.Context(main, info_name="stpp", **main.context_settings, terminal_width=WIDTH)
    contexts = [root, *(click.Context(command, parent=root, info_name=name) for name, command in main.commands.items())]
    verbs = (f"## {c.command_path}\n\n```text\n{c.get_help()}\n```\n" for c in contexts)
    return "\n".join([OPENING, *verbs, CHOICES, *option_rows()])


def option_rows() -> list[str]:
    """A table row per option of a model or finder, whoever shares it."""
    rows: dict[tuple[str, str], list[str]] = {}
    for name, cls in [*MODELS.items(), *((f"basins --method {name}", finder) for name, finder in FINDERS.items())]:
        for one in options_of(cls).values():
            rows.setdefault((one.flag, f"{one.help}{one.told_default}"), []).append(name)
    return [f"| `{flag}` | {', '.join(names)} | {told} |" for (flag, told), names in rows.items()] + [""]


def measured(name: str, **wanted: str) -> list[dict[str, str]]:
    """The rows of a benchmark's CSV that have the wanted values; none where it has not been run."""
    path = ROOT / "benchmarks" / f"results_{name}.csv"
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return [row for row in csv.DictReader(file) if wanted.items() <= row.items()]


def speed_rows() -> list[tuple[str, str, str]]:
    """What was timed, what came out, and the script that timed it."""
    rows = []
    for row in measured("readers", engine="stpp ingest"):
        what = f"read a CSV of {int(row['rows']):,} posts ({row['file_mb']} MB)"
        rows.append((what, f"{float(row['seconds']):.1f} s, {row['peak_memory_mb']} MB", "readers.py"))
    temporal = measured("temporal")
    most = max((int(row["n"]) for row in temporal), default=0)
    here = {row["peer"]: row for row in temporal if int(row["n"]) == most}
    if here:
        ours = here.pop("stpp")
        peer = min(here.values(), key=lambda row: float(row["seconds_median"]))
        found = (
            f"{float(ours['seconds_median']):.2f} s; the fastest peer, {peer['peer']}: {peer['ratio_to_stpp']} × that"
        )
        rows.append((f"temporal Hawkes fit, decay free, {most:,} events", found, "temporal.py"))
    for row in measured("spatial", job="density on a grid", peer="KernelDensity, rtol 1e-4"):
        what = f"density of {int(row['n']):,} events on 100 × 100 cells, relative error below 1e-4"
        rows.append((what, f"scikit-learn's KernelDensity: {row['ratio_to_stpp']} × our time", "spatial_peers.py"))
    for row in measured("fields", job="speed", d="2", tol="0.0001"):
        what = f"2-d intensity at {int(row['n']):,} events, with derivatives"
        rows.append((what, f"{float(row['seconds_grid']):.2f} s, {row['peak_memory_mb']} MB", "fields.py"))
    for row in measured("whole_fits"):
        what = f"whole 2-d Hawkes fit, {row['kernel']}, {int(row['n']):,} events"
        rows.append((what, f"{float(row['seconds']):.1f} s, {row['peak_memory_mb']} MB", "whole_fits.py"))
    for row in measured("map", page="stpp map"):
        what = f"map of {int(row['posts']):,} posts, 13 weeks forecast by two models, basins"
        opened = f"{float(row['mb']):.1f} MB, opened from disk and drawn in {float(row['load_seconds']):.1f} s"
        rows.append((what, opened, "map.py"))
    for row in measured("nulls", job="199 time-shuffles"):
        what = f"199 time-shuffles of {int(row['n']):,} events, everything refitted, 20 forecasts each"
        rows.append((what, f"{float(row['seconds']) / 60:.1f} min", "nulls.py"))
    for row in measured("interaction", job="knox test", tool="stpp"):
        what = f"Knox test of {int(row['n']):,} events, {row['permutations']} permutations"
        rows.append((what, f"{float(row['seconds']):.2g} s, {row['peak_memory_mb']} MB", "interaction.py"))
    for row in measured("backtest", model="all"):
        what = f"backtest of three models, {row['windows']} daily windows, {int(row['events']):,} events"
        rows.append((what, f"{float(row['seconds']) / 60:.1f} min, {row['peak_memory_mb']} MB", "backtest.py"))
    for row in measured("transport", job="solve", tool="stpp", epsilon="0.001", penalty="0.01"):
        if row["side"] in ("100", "200"):
            what = f"unbalanced optimal transport between grids of {row['side']} × {row['side']} cells"
            rows.append((what, f"{float(row['seconds']):.2f} s", "transport.py"))
    for row in measured("flow_models"):
        if row["job"].startswith("study"):
            what = f"{row['job']} for a drift field on {int(row['events']):,} events"
            rows.append((what, f"{float(row['seconds']) / 60:.1f} min", "flow_models.py"))
        if row["job"].startswith("70") and row["model"] == "drift":
            what = f"backtest of the drift field, {row['job']}, {int(row['events']):,} events, parameters learned"
            found = f"{float(row['seconds']) / 60:.1f} min, {row['peak_memory_mb']} MB"
            rows.append((what, found, "flow_models.py"))
    for row in measured("basins_density", job="static", case="train"):
        what = "basins of 59,000 posts with 30 bootstraps (five planted, five found)"
        rows.append(
            (what, f"{float(row['seconds']):.1f} s, {float(row['peak_memory_mb']):.0f} MB", "basins_density.py")
        )
    for row in measured("basins_markov", job="scan"):
        what = f"Markov stability of {int(row['n']):,} posts at 20 Markov times"
        rows.append((what, f"{float(row['seconds']):.1f} s", "basins_markov.py"))
    for row in measured("basins_pipeline"):
        if "time-shuffles" in row["job"] or row["job"].startswith("found"):
            what = f"basins {row['job']}: {int(row['posts']):,} posts, {row['windows']} windows"
            rows.append((what, f"{float(row['seconds']) / 60:.1f} min", "basins_pipeline.py"))
    return rows


def speed_table() -> str:
    """The same as Markdown."""
    rows = [f"| {what} | {found} | `python benchmarks/{script}` |" for what, found, script in speed_rows()]
    return "\n".join(["| what | measured | by |", "|---|---|---|", *rows])


def demo_table() -> str:
    """The table of the demo's report, and the line beneath it that says what was scored."""
    blocks = (DEMO / "report.md").read_text().split("\n\n")
    first = next(k for k, block in enumerate(blocks) if block.startswith("| model"))
    table, scored = blocks[first : first + 2]
    return f"{table}\n\n{scored.strip()}"


def with_block(text: str, name: str, content: str) -> str:
    """The text with other content between ``<!-- name -->`` and ``<!-- /name -->``."""
    before, rest = text.split(f"<!-- {name} -->")
    after = rest.split(f"<!-- /{name} -->")[1]
    return f"{before}<!-- {name} -->\n{content}\n<!-- /{name} -->{after}"


if __name__ == "__main__":
    PAGE.write_text(cli_page())
    README.write_text(with_block(README.read_text(), "speed", speed_table()))
    if DEMO.exists():
        README.write_text(with_block(README.read_text(), "leaderboard", demo_table()))
        PICTURE.parent.mkdir(exist_ok=True)
        shutil.copyfile(DEMO / "best.png", PICTURE)
