"""The program: its help, mistakes in names and in options, and what it tells on the way."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from cli import main
from commands.program import HEADINGS, Verb

ROOT = Path(__file__).parents[2]


def test_help_lists_every_verb_under_a_heading(stpp):
    told = stpp("--help").stdout
    assert {command.heading for command in main.commands.values() if isinstance(command, Verb)} <= set(HEADINGS)
    for name in main.commands:
        assert re.search(rf"^  {name} ", told, re.MULTILINE)
    shown = re.findall(r"^(\w+):$", told, re.MULTILINE)
    assert [word.lower() for word in shown if word != "Options"] == [
        h for h in HEADINGS if f"\n{h.capitalize()}:" in told
    ]


def test_bare_stpp_and_the_module_print_help(stpp):
    told = stpp("--help").stdout
    bare = stpp()
    assert (bare.exit_code, bare.stdout) == (0, told)
    done = subprocess.run(
        [sys.executable, "-m", "stpp", "--help"], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert "Data:\n  ingest " in done.stdout


NAMES = {
    "verb": (["evalute", "x"], "no verb 'evalute'; see 'stpp --help'; did you mean 'evaluate'?"),
    "model": (["fit", "hawks", "x"], "did you mean 'hawkes'?"),
    "model among others": (["evaluate", "x", "--models", "uniform,hawks"], "did you mean 'hawkes'?"),
    "model tested": (["null", "x", "--model", "hawks"], "did you mean 'hawkes'?"),
    "null": (["null", "x", "--null", "time-shufle"], "did you mean 'time-shuffle'?"),
    "nulls": (["evaluate", "x", "--nulls", "rotat"], "did you mean 'rotate'?"),
    "finder": (["basins", "x", "--method", "markof"], "did you mean 'markov'?"),
}


@pytest.mark.slow
@pytest.mark.parametrize(("words", "told"), NAMES.values(), ids=NAMES)
def test_a_wrong_name_gets_the_nearest_before_anything_heavy_is_imported(words, told):
    code = (
        "import sys; sys.argv[0] = 'stpp'\nfrom cli import main\n"
        f"try: main({words!r})\nexcept SystemExit as end: assert end.code == 2\n"
        "print('HEAVY', sorted({'numpy', 'numba', 'pandas', 'scipy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert told in done.stderr
    assert len(done.stderr.splitlines()) == 1 + ("seed" in done.stderr)
    assert done.stdout == "HEAVY []\n"


@pytest.mark.slow
def test_an_option_given_twice_is_refused_or_adds_up(stpp, events):
    twice = stpp("describe", events, "--seed", 1, "--seed", 2)
    assert twice.exit_code == 2
    assert "--seed is given 2 times and takes one value: keep one" in twice.stderr
    done = stpp(
        "null", events, "--model", "historical-average", "--reference", "uniform", "--null", "time-shuffle",
        "--null", "within-window", "-B", 19, "--step", "5d", "--grid", 5, "--jobs", 1,
    )  # fmt: skip
    assert done.exit_code == 0, done.stderr
    assert "time-shuffle" in done.stdout
    assert "within-window" in done.stdout


def test_set_is_one_more_way_to_give_an_option(stpp, events):
    told = stpp("fit", "hawkes", events, "--set", "kernel=exponential", "--json")
    same = stpp("fit", "hawkes", events, "--kernel", "exponential", "--json")
    figures = [re.sub(r'"(seconds|peak_memory_mb)": [\d.e-]+', "", done.stdout) for done in (told, same)]
    assert figures[0] == figures[1]
    for words, message in (
        (["--set", "kernel"], "--set takes NAME=VALUE, not 'kernel'"),
        (["--set", "kernel=x", "--kernel", "exponential"], "kernel is set twice: keep one"),
        (["--set", "colour=red"], "--colour does not apply to hawkes: leave it out"),
        (["--set", "kernel=round"], "--kernel is dictionary or exponential, not 'round'"),
    ):
        done = stpp("fit", "hawkes", events, *words)
        assert done.exit_code == 2
        assert message in done.stderr
