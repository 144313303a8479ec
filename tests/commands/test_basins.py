"""The verbs that basins go through: what they write, what they refuse, and that it can be had again."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from evaluation.nulls import significance
from stpp.files.outputs import append_journal, read_journal

pytestmark = pytest.mark.slow

LIVES = ("--start", "3", "--end", "59", "--box", "-6,6,-6,6")
FILES = {"basins.csv", "tracks.csv", "links.csv", "forecasts.csv", "significance.csv", "tuning_results.csv"}


@pytest.fixture(scope="module")
def lives(tmp_path_factory: pytest.TempPathFactory, stpp: Callable[..., Any]) -> Path:
    path = tmp_path_factory.mktemp("lives") / "lives.parquet"
    assert stpp("simulate", "lifecycle", "-n", 8000, "-o", path).exit_code == 0
    return path


@pytest.fixture(scope="module")
def basin_run(lives: Path, stpp: Callable[..., Any]) -> tuple[Path, Any]:
    run = lives.with_name("run")
    return run, stpp("basins", lives, "--method", "density", *LIVES, "-B", 0, "-o", run, "--json", "--quiet")


def test_basins_as_json_and_as_files(basin_run: tuple[Path, Any], lives: Path) -> None:
    run, result = basin_run
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["method"] == "density"
    assert len(found["windows"]) == 8
    keys = {"id", "track", "centre", "mass", "share", "probability", "name", "conductance", "escape_time"}
    for window in found["windows"]:
        assert {"start", "end", "basins"} <= set(window)
        for basin in window["basins"]:
            assert keys <= set(basin)
            assert len(basin["centre"]) == 2
    tracks = {track["id"]: track for track in found["tracks"]}
    assert {basin["track"] for window in found["windows"] for basin in window["basins"]} == set(tracks)
    assert all({"birth", "death", "windows"} <= set(track) for track in tracks.values())
    assert {path.name for path in run.iterdir()} >= FILES | {"report.md", "report.html", "manifest.json"}
    rows = pd.read_csv(run / "basins.csv")
    assert len(rows) == sum(len(window["basins"]) for window in found["windows"])
    assert rows["share"].between(0, 1).all()
    manifest = json.loads((run / "manifest.json").read_text())
    assert manifest["seed"] == 0
    assert manifest["input"]["rows"] == 8000


def test_the_report_is_one_file_that_fetches_nothing(basin_run: tuple[Path, Any]) -> None:
    page = (basin_run[0] / "report.html").read_text()
    assert not re.findall(r"""(?:src|href)\s*=\s*["']?(?:https?:)?//""", page)
    assert page.count("data:image/png;base64,") >= 2
    assert "<script" not in page


def test_the_same_command_gives_the_same_bytes(
    basin_run: tuple[Path, Any], lives: Path, tmp_path: Path, stpp: Callable[..., Any]
) -> None:
    again = stpp("basins", lives, *LIVES, "-B", 0, "-o", tmp_path / "again", "--json", "--quiet")
    assert again.stdout == basin_run[1].stdout
    for name in FILES | {"report.md"}:
        assert (tmp_path / "again" / name).read_bytes() == (basin_run[0] / name).read_bytes(), name


def test_null_worlds_judge_the_tracks(lives: Path, stpp: Callable[..., Any], tmp_path: Path) -> None:
    run = tmp_path / "run"
    result = stpp("basins", lives, *LIVES, "-B", 19, "--window", "14d", "-o", run, "--json", "--quiet", "--jobs", 1)
    assert result.exit_code == 0, result.output
    judged = pd.read_csv(run / "significance.csv")
    assert (judged["change_p"] == 0.05).any()
    assert judged["verdict"].str.contains("beyond chance").all()
    assert not (run / "nulls.jsonl").exists()


def test_basins_against_nulls(lives: Path, stpp: Callable[..., Any]) -> None:
    dates = ("--train-start", "3", "--test-end", "59", "--box", "-6,6,-6,6")
    words = ("null", lives, "--basins", "density", "--window", "14d", *dates, "-B", 19, "--json", "--quiet")
    result = stpp(*words, "--jobs", 1)
    assert result.exit_code == 0, result.output
    found = {one["statistic"]: one for one in json.loads(result.stdout)["nulls"]}
    assert {"persistent basins", "mean lifetime", "stability", "births and deaths", "continuation AUROC"} <= set(found)
    assert found["largest change"]["p_value"] == 0.05
    assert found["largest change"]["observed"] > 10 * found["largest change"]["null_mean"]


def test_finders_stand_in_the_leaderboard(lives: Path, stpp: Callable[..., Any]) -> None:
    dates = ("--test-start", "45", "--test-end", "57", "--step", "3d", "--grid", "40", "--box", "-6,6,-6,6")
    result = stpp("evaluate", lives, "--models", "basins:density,uniform", *dates, "--json", "--quiet")
    assert result.exit_code == 0, result.output
    models = json.loads(result.stdout)["models"]
    assert set(models) == {"historical-average", "uniform", "basins:density"}
    assert models["basins:density"]["information_gain"]["mean"] > 0  # a basin was born, one died


def test_what_if(lives: Path, stpp: Callable[..., Any], tmp_path: Path) -> None:
    run = tmp_path / "fit"
    assert stpp("fit", "hawkes", lives, "--end", "52", "--box", "-6,6,-6,6", "-o", run).exit_code == 0
    words = ("whatif", run, "--add", 50, "--at", "52", "--place", "2.8,-1.8", "--step", "1d", "--steps", 3)
    result = stpp(*words, "--json", "--quiet")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["n"] == 50
    assert found["basins"]
    assert result.stdout == stpp(*words, "--json", "--quiet").stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--method", "kmeans"), "no method 'kmeans'; there are: density"),
        (("--window", "40d"), "hold 1 windows"),
        (("--basins", "3"), "--basins is for markov"),
        (("--test-start", "2030-01-01"), "on both sides"),
        (("--box", "50,60,50,60"), "no posts inside the domain in the training windows"),
        (("-B", "5"), "take -B 19 or more"),
        (("--null", "coin"), "no null 'coin'"),
        (("--end", "2022-12-01"), "window"),
    ],
)
def test_a_mistake_is_one_line(lives: Path, stpp: Callable[..., Any], words: tuple[str, ...], message: str) -> None:
    result = stpp("basins", lives, *words)
    assert result.exit_code == 2
    error = [line for line in result.stderr.splitlines() if line.startswith("stpp: error:")]
    assert len(error) == 1
    assert message in error[0]
    assert "Traceback" not in result.output


# -- hostile input -------------------------------------------------------------------------------------------------

BLOBS = np.random.default_rng(0).normal(np.repeat([[0.25, 0.25], [0.75, 0.75]], 120, axis=0), 0.05)
DAYS = np.linspace(0, 28, 240, endpoint=False)[np.random.default_rng(1).permutation(240)]
TAG = "<img src=x onerror=alert(1)><script>alert(2)</script>"


def table(path: Path, x: Any = BLOBS, days: Any = DAYS, **columns: Any) -> Path:
    """Posts without author or parent, as a CSV; places and days may be replaced, and columns added."""
    x = np.atleast_2d(x)
    t = pd.Timestamp("2020-01-01", tz="UTC") + pd.to_timedelta(np.asarray(days, dtype=float)[: len(x)], unit="D")
    named = dict(zip("xyzabcde", x.T, strict=False))
    pd.DataFrame({"id": np.arange(len(x)), "datetime": t, **named, **columns}).to_csv(path, index=False)
    return path


@pytest.fixture
def outcome(stpp: Callable[..., Any]) -> Callable[..., Any]:
    """Run a verb with warnings as they come; whatever happens, stderr holds at most one line, an error of code 2."""

    def run(*words: object) -> Any:
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always", RuntimeWarning)
            result = stpp(*words, "--quiet")
        assert [str(one.message) for one in warned if issubclass(one.category, RuntimeWarning)] == []
        assert "Traceback" not in result.output
        if result.exit_code:
            assert result.exit_code == 2
            assert re.fullmatch(r"stpp: error: [^\n]+\n", result.stderr)
        else:
            assert result.stderr == ""
        return result

    return run


SPLIT = ("--test-start", "2020-01-15")
REFUSED: dict[str, tuple[dict[str, Any], tuple[str, ...], str]] = {
    "one event": ({"x": BLOBS[:1]}, (), "hold 0 windows"),
    "all at one time": ({"days": np.zeros(240)}, (), "0 days hold 0 windows"),
    "two events": ({"x": BLOBS[:2], "days": [0, 28]}, (), "training windows"),
    "no weight": ({"weight": np.zeros(240)}, ("--weight", "weight"), "no posts with weight"),
    "8-d on a grid": (
        {"x": np.random.default_rng(2).normal(size=(240, 8))},
        ("--coords", "x,y,z,a,b,c,d,e", "--method", "density"),
        "take --method markov",
    ),
    "window longer than the data": ({}, ("--window", "60d"), "take a shorter --window"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_has_no_basins_to_speak_of_is_refused(case: str, tmp_path: Path, outcome: Callable[..., Any]) -> None:
    made_of, words, message = REFUSED[case]
    result = outcome("basins", table(tmp_path / "posts.csv", **made_of), *words, "-o", tmp_path / "run")
    assert result.exit_code == 2
    assert message in result.stderr
    assert not (tmp_path / "run").exists()


ODD: dict[str, dict[str, Any]] = {
    "a few events": {"x": BLOBS[::24], "days": np.linspace(0, 28, 10)},
    "all at one place": {"x": np.full((240, 2), 0.5)},
    "on a line": {"x": BLOBS * [1, 0]},
    "within 1e-9": {"x": BLOBS * 1e-9},
    "over 1e9": {"x": BLOBS * 1e9},
    "duplicate times": {"days": np.repeat(np.arange(0, 28, 2.8), 24)},
}


@pytest.mark.parametrize("case", ODD)
def test_odd_places_and_times_are_no_error(case: str, tmp_path: Path, outcome: Callable[..., Any]) -> None:
    path = table(tmp_path / "posts.csv", **ODD[case])
    for words in (("--method", "density", "-o", tmp_path / "run"), ("--method", "markov"), ("--method", "consensus")):
        result = outcome("basins", path, "-B", 0, "--json", *words)
        assert result.exit_code == 0, result.stderr
        assert len(json.loads(result.stdout)["windows"][-1]["basins"]) <= 2
    assert (tmp_path / "run" / "report.html").exists()


def test_null_worlds_and_leaderboards_of_odd_data(tmp_path: Path, outcome: Callable[..., Any]) -> None:
    made_of = {"one": {"x": BLOBS[:1]}, "two": {"x": BLOBS[:2], "days": [0, 28]}, "place": {"x": np.ones((240, 2))}}
    paths = {name: table(tmp_path / f"{name}.csv", **how) for name, how in made_of.items()}
    for name, path in paths.items():
        words = ("--basins", "density", "--window", "9d", "-B", 19, "--json", "--jobs", 1)
        basins = outcome("null", path, *words, *SPLIT)
        assert basins.exit_code == (0 if name == "place" else 2)
        board = outcome("evaluate", path, "--models", "basins:density", "--grid", 20, "--step", "3d", "--json", *SPLIT)
        assert board.exit_code == (0 if name == "place" else 2)
    for words in (("null", "--basins", "kmeans"), ("evaluate", "--models", "basins:kmeans")):
        result = outcome(words[0], paths["place"], *words[1:], *SPLIT)
        assert result.exit_code == 2
        assert "no method 'kmeans'; there are: density" in result.stderr


@pytest.fixture(scope="module")
def fits(tmp_path_factory: pytest.TempPathFactory, stpp: Callable[..., Any]) -> Path:
    """Fits of a model with excitation and of one without."""
    folder = tmp_path_factory.mktemp("fits")
    path = table(folder / "posts.csv")
    for model in ("hawkes", "uniform"):
        assert stpp("fit", model, path, "--end", "2020-01-22", "-o", folder / model).exit_code == 0
    return folder


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--place", "9,9"), "inside the domain"),
        (("--place", "nan,0.5"), "inside the domain"),
        (("--place", "0.5"), "give one per axis"),
        (("--place", "here"), "--place"),
        (("--at", "2019-01-22"), "choose a later --at"),
        (("--at", "2019-01-22", "--force"), "no posts inside the model's domain before --at"),
        (("--weight", "-1"), "weight"),
        (("-p", "2"), "probability"),
    ],
)
def test_a_mistake_in_what_if_is_one_line(
    fits: Path, outcome: Callable[..., Any], words: tuple[str, ...], message: str
) -> None:
    settings = {"--add": "5", "--at": "2020-01-22", "--place": "0.5,0.5"}
    settings |= dict(zip(words[::2], words[1::2], strict=False))
    flat = [word for pair in settings.items() for word in pair]
    result = outcome("whatif", fits / "hawkes", *flat, *(["--force"] if "--force" in words else []))
    assert result.exit_code == 2
    assert message in result.stderr


def test_what_if_without_excitation_or_long_after_everything(fits: Path, outcome: Callable[..., Any]) -> None:
    few = ("--place", "0.5,0.5", "--steps", 2, "--simulations", 20)
    calm = outcome("whatif", fits / "uniform", "--add", 5, "--at", "2020-01-22", *few)
    assert calm.exit_code == 0
    assert "uniform has no excitation" in calm.stdout
    for extra in (("--at", "2030-01-01"), ("--at", "2020-01-22", "--window", "400d")):
        result = outcome("whatif", fits / "hawkes", "--add", 0, *few, *extra, "--json")
        assert result.exit_code == 0
        assert json.loads(result.stdout)["extra"]["mean"] == 0


TEXTS: dict[str, Any] = {
    "markup": [f"{TAG} [{k}](javascript:alert(3)) `|` **{k}**" for k in range(240)],
    "empty": [""] * 240,
    "partly": ["nan" if k % 3 == 0 else None if k % 3 == 1 else float("nan") for k in range(240)],
    "numbers": np.where(np.arange(240) % 2, np.nan, 1.5),
}


@pytest.mark.parametrize("kind", TEXTS)
def test_texts_of_any_kind_are_inert_in_the_report(kind: str, tmp_path: Path, outcome: Callable[..., Any]) -> None:
    path = table(tmp_path / "<b>posts.csv", text=TEXTS[kind], author=[f"{TAG}{k % 3}" for k in range(240)])
    result = outcome("basins", path, "-B", 0, "--texts", "-o", tmp_path / "run")
    assert result.exit_code == 0, result.stderr
    page, plain = (tmp_path / "run" / "report.html").read_text(), (tmp_path / "run" / "report.md").read_text()
    for text in (page, plain):
        assert not re.search(r"<(script|img src=x|b>)", text)
    assert not re.search(r"href\s*=\s*.?javascript:", page)
    if kind == "markup":
        assert "&lt;img src=x" in page
        assert "](javascript:" not in plain.replace("\\]", "")


def test_interrupted_null_worlds_are_kept_and_gone_on_from(
    stpp: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, journals = tmp_path / "run", []
    posts = table(tmp_path / "posts.csv")
    words = ("basins", posts, "--window", "9d", "-B", 19, "--jobs", 1, "-o", run)
    whole = stpp(*words[:-1], tmp_path / "whole")
    assert whole.exit_code == 0, whole.output

    def interrupted(path: Path, entry: Any) -> None:
        append_journal(path, entry)
        journals.append(path)
        if len(journals) == 7:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(significance, "append_journal", interrupted)
        stopped = stpp(*words)
    assert stopped.exit_code == 130
    assert "the same command goes on from there" in stopped.stderr
    assert "Traceback" not in stopped.output
    assert not run.exists()
    kept = read_journal(journals[0])
    assert len(kept) == 7
    resumed = stpp(*words)
    assert resumed.exit_code == 0, resumed.output
    assert "going on where an interrupted run" in resumed.stderr
    assert resumed.stdout == whole.stdout
    for name in FILES:
        assert (run / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
    assert {path.name for path in tmp_path.iterdir()} == {"posts.csv", "run", "whole"}


def test_help_names_every_method(stpp: Callable[..., Any]) -> None:
    from basins.finders import FINDERS

    assert "|".join(FINDERS) in stpp("basins", "--help").stdout
