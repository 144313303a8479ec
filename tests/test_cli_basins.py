"""The verbs that basins go through: what they write, what they refuse, and that it can be had again."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

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
        (("--basins", "3"), "--basins does not apply to --method density"),
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
