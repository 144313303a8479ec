"""What the documentation says is what the program does."""

from __future__ import annotations

import importlib.util
import re
import shlex
import struct
from pathlib import Path

import click
import matplotlib as mpl
import pytest

from basins.finders import FINDERS
from cli import main
from stpp.models import MODELS
from stpp.options import options_of

mpl.use("Agg")

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
PLACES = [ROOT / "README.md", ROOT / "docs" / "guide.md", ROOT / "docs" / "fds.md", ROOT / "CONTRIBUTING.md"]
PAGES = [place.read_text() for place in PLACES]


@pytest.fixture(scope="module")
def pages():
    """The module that writes what is generated."""
    spec = importlib.util.spec_from_file_location("make_pages", ROOT / "docs" / "make_pages.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_of_commands_is_current(pages):
    assert pages.PAGE.read_text() == pages.cli_page(), "run 'make docs'"


def test_the_speed_table_is_what_the_benchmarks_hold(pages):
    assert pages.with_block(README, "speed", pages.speed_table()) == README, "run 'make docs'"


def test_the_leaderboard_has_every_model_of_the_demo():
    block = README.split("<!-- leaderboard -->")[1].split("<!-- /leaderboard -->")[0]
    assert set(re.findall(r"^\| ([a-z-]+) \|", block, re.MULTILINE)) - {"model"} == {
        "uniform", "historical-average", "decaying-kde", "hawkes", "drift"
    }  # fmt: skip
    assert "windows of 7 days" in block


def test_the_models_are_listed():
    assert all(f"| `{name}` |" in README for name in MODELS)


@pytest.mark.slow
def test_the_python_example_runs(monkeypatch, capsys):
    (example,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    monkeypatch.chdir(ROOT)
    exec(compile(example, "README.md", "exec"), {})
    told = capsys.readouterr().out
    assert "branching ratio" in told
    assert "information gain" in told


def test_every_command_in_the_pages_is_one():
    """Verbs exist, and options are options of theirs."""
    text = "\n".join(PAGES).replace("\\\n", " ")
    commands = re.findall(r"^stpp (.+)$|`stpp ([^`]+)`", text, re.MULTILINE)
    assert len(commands) > 10
    for line in (one or other for one, other in commands):
        verb, *words = shlex.split(line, comments=True)
        assert verb in main.commands, line
        known = {flag for parameter in main.commands[verb].params for flag in parameter.opts}
        known |= {one.flag for cls in (*MODELS.values(), *FINDERS.values()) for one in options_of(cls).values()}
        assert {word for word in words if re.match(r"--?[a-z]", word)} <= known, line


def test_every_link_leads_somewhere():
    for page, folder in zip(PAGES, [place.parent for place in PLACES], strict=True):
        for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page):
            assert target.startswith("http") or (folder / target).exists(), target


@pytest.mark.parametrize("name", ["forecast.png", "map.png"])
def test_the_pictures_are_small(name):
    picture = ROOT / "docs" / "images" / name
    assert picture.stat().st_size <= 300_000
    width, height = struct.unpack(">II", picture.read_bytes()[16:24])
    assert width > height > 500


def test_verbs_are_in_the_page():
    page = (ROOT / "docs" / "cli.md").read_text()
    assert all(
        f"## stpp {name}\n" in page for name, command in main.commands.items() if isinstance(command, click.Command)
    )


def drawn() -> dict[str, list[str]]:
    """Folder → what the drawing of the tree in CONTRIBUTING.md says is in it, "" for the top."""
    (text,) = re.findall(r"```text\n(cli\.py.*?)```", (ROOT / "CONTRIBUTING.md").read_text(), re.DOTALL)
    folder, found = "", dict[str, list[str]]({"": []})
    for indent, name in re.findall(r"^(  )?([a-z][\w.]*/?) ", text, re.MULTILINE):
        if not indent:
            folder = name
            found[folder] = []
        found[folder if indent else ""].append(name)
    return found


@pytest.mark.parametrize("package", ["stpp/", "basins/", "evaluation/"])
def test_the_drawing_of_the_tree_is_the_tree(package):
    there = [
        f"{path.name}/" if path.is_dir() else path.name
        for path in (ROOT / package).iterdir()
        if path.suffix == ".py" or (path / "__init__.py").is_file()
    ]
    assert sorted(drawn()[package]) == sorted(name for name in there if not name.startswith("__"))


def test_the_top_of_the_drawing_is_there():
    assert all((ROOT / name).exists() for name in drawn()[""])
    folders = {f"{path.parent.name}/" for path in ROOT.glob("*/*.py")}
    assert folders <= set(drawn()[""])
