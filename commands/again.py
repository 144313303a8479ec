"""Verbs that run others: a run once more, and the demo."""

from __future__ import annotations

import shlex
import sys
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import click

from commands.options import PATH
from commands.program import main, verb
from commands.session import Session


@verb("judging")
@click.argument("run", type=PATH)
def reproduce(session: Session, run: Path) -> None:
    """Make a run again of the same events, and compare all its files."""
    import tempfile

    from stpp.runs.manifest import read_manifest
    from stpp.runs.reproduction import compare_runs, run_again

    manifest = read_manifest(run, "stpp … -o RUN")
    with tempfile.TemporaryDirectory() as folder:
        run_again(manifest, Path(folder) / "again", session.progress)
        found = compare_runs(run, Path(folder) / "again")
    session.show(found, "\n".join(f"{state:8} {name}" for name, state in found.items()))
    if set(found.values()) != {"same"}:
        sys.exit(1)


@verb("showing")
@click.option("-o", "--output", type=PATH, default="stpp-demo", show_default=True, help="Directory to work in.")
@click.option("--planted", is_flag=True, help="The bundled sample, whose truth is known, instead of real tweets.")
def demo(session: Session, output: Path, planted: bool) -> None:
    """Ingest, fit, forecast and evaluate 20,761 real tweets of 2009 to 2018 (or --planted)."""
    from stpp.demo import beside_truth, steps, write_tweets

    if output.exists() and not session.force:
        raise ValueError(f"{output} exists: --force overwrites what an earlier demo left in it")
    output.mkdir(parents=True, exist_ok=True)
    if not planted:
        write_tweets(output)
    flags = {"--force": session.force, "--quiet": session.quiet, f"--seed={session.seed}": True}
    for words in (commands := steps(output, planted=planted)):
        session.log(f"\n$ stpp {shlex.join(words)}")
        words += [flag for flag, given in flags.items() if given]
        last = words is commands[-1]  # its leaderboard is the demo's result, the rest is log
        with (
            redirect_stdout(sys.stdout if last else StringIO() if session.quiet else sys.stderr),
            main.make_context("stpp", [*words, "--json"] if session.as_json and last else words) as context,
        ):
            main.invoke(context)
    if planted:
        session.log(f"\n{beside_truth(output / 'run')}")
    session.log(f"\nforecast   {output / 'forecast.nc'}\nfinished in {session.elapsed:.0f} s")
