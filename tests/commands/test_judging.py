"""The verbs that judge: null, diagnose, report, reproduce, and the lists of scores and nulls."""

from __future__ import annotations

import json
import shutil

import pandas as pd
import pytest

from evaluation.nulls import NULLS
from evaluation.nulls.statistics import STATISTICS
from evaluation.scores import SCORES

pytestmark = pytest.mark.slow

WINDOWS = ["--train-start", "2020-01-05", "--test-start", "2020-01-31", "--test-end", "2020-02-08", "--step", "1d"]
NULL_KEYS = [
    "statistic", "observed", "null", "B", "null_mean", "null_sd", "effect_size", "p_value", "seconds",
]  # fmt: skip


@pytest.fixture(scope="module")
def evaluation(stpp, events, tmp_path_factory):
    path = tmp_path_factory.mktemp("judging") / "evaluation"
    words = ["--models", "decaying-kde,hawkes", *WINDOWS, "--grid", 20, "--refit", 3]
    done = stpp("evaluate", events, *words, "--nulls", "time-shuffle", "-B", 19, "-o", path)
    assert done.exit_code == 0, done.stderr
    return path


@pytest.fixture(scope="module")
def fitted(stpp, events, tmp_path_factory):
    path = tmp_path_factory.mktemp("judging") / "fit"
    assert stpp("fit", "hawkes", events, "--end", "2020-01-31", "-o", path).exit_code == 0
    return path


def test_scores_and_nulls_list_the_registries(stpp):
    told = json.loads(stpp("scores", "--json").stdout)
    assert set(told) == set(SCORES)
    assert told["fds"]["proper"] is False
    text = stpp("scores").stdout
    assert all(name in text for name in SCORES)
    told = json.loads(stpp("nulls", "--json").stdout)
    assert set(told["nulls"]) == set(NULLS)
    assert set(told["statistics"]) == set(STATISTICS)
    assert all(name in stpp("nulls").stdout for name in (*NULLS, *STATISTICS))


def test_null_prints_the_contract(stpp, events, tmp_path):
    path = tmp_path / "null"
    words = ["--model", "decaying-kde", "--null", "time-shuffle", "-B", 19, *WINDOWS, "--grid", 20, "-o", path]
    done = stpp("null", events, *words, "--json")
    assert done.exit_code == 0, done.stderr
    told = json.loads(done.stdout)
    assert list(told) == NULL_KEYS
    assert told["B"] == 19
    assert told["p_value"] * 20 == pytest.approx(round(told["p_value"] * 20))
    assert {"nulls.json", "nulls.png", "manifest.json"} == {f.name for f in path.iterdir()}
    (kept,) = json.loads((path / "nulls.json").read_text())
    assert len(kept["values"]) == 19
    assert kept["observed"] == told["observed"]


def test_all_nulls_and_knox_with_its_own_scales(stpp, events):
    done = stpp("null", events, "--null", "all", "--statistic", "knox", "-B", 19, "--json")
    assert done.exit_code == 0, done.stderr
    assert "near means within" in done.stderr
    told = json.loads(done.stdout)["nulls"]
    assert [one["null"] for one in told] == list(NULLS)
    assert len({one["observed"] for one in told}) == 1


def test_the_null_of_the_report_is_that_of_the_null_verb(stpp, events, evaluation):
    words = ["--model", "hawkes", "-B", 19, *WINDOWS, "--grid", 20, "--refit", 3, "--json"]
    alone = json.loads(stpp("null", events, *words).stdout)
    beside = {one["statistic"]: one for one in json.loads((evaluation / "nulls.json").read_text())}
    assert beside[alone["statistic"]]["observed"] == alone["observed"]
    table = pd.read_parquet(evaluation / "scores.parquet")
    assert table[table["model"] == "hawkes"]["information_gain"].mean() == pytest.approx(alone["observed"])


@pytest.mark.parametrize("model", ["hawkes", "decaying-kde"])
def test_diagnose_an_evaluation(stpp, evaluation, model):
    done = stpp("diagnose", evaluation, "--model", model, "--grid", 20, "--json")
    assert done.exit_code == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["model"] == model
    assert {"number", "spatial"} <= {test["test"] for test in told["consistency"]}
    assert told["parents"] is None
    assert (evaluation / f"diagnosis-{model}.png").stat().st_size > 10_000
    assert json.loads((evaluation / f"diagnosis-{model}.json").read_text()) == told


def test_diagnose_a_fit_with_replies(stpp, tmp_path):
    world, run = tmp_path / "world.parquet", tmp_path / "run"
    assert stpp("simulate", "hawkes", "-n", 600, "-o", world, "--seed", 2).exit_code == 0
    assert stpp("fit", "hawkes", world, "--end", "700", "-o", run).exit_code == 0
    done = stpp("diagnose", run, "--step", "100d", "--grid", 20)
    assert done.exit_code == 0, done.stderr
    assert "consistency with simulated catalogues" in done.stdout
    assert (run / "diagnosis-hawkes.png").exists()


def test_report_writes_the_same_report_again(stpp, evaluation, tmp_path):
    before = {name: (evaluation / name).read_bytes() for name in ("report.md", "report.html", "best.png", "nulls.png")}
    done = stpp("report", evaluation)
    assert done.exit_code == 0, done.stderr
    assert {name: (evaluation / name).read_bytes() for name in before} == before
    done = stpp("report", evaluation, "--animate", "hawkes", "--images", tmp_path)
    assert done.exit_code == 0, done.stderr
    assert "2 of 8 windows are kept" in done.stderr
    done = stpp("report", evaluation, "--animate", "hawkes", "--images", tmp_path)
    assert done.exit_code == 2
    assert "hawkes.gif exists: --force overwrites it" in done.stderr


def test_animations_of_all_windows(stpp, events, tmp_path):
    words = ["--models", "hawkes", *WINDOWS[:-2], "--step", "4d", "--grid", 20, "--keep-forecasts"]
    done = stpp("evaluate", events, *words, "--animate", "hawkes", "--images", tmp_path, "-o", tmp_path / "run")
    assert done.exit_code == 0, done.stderr
    assert {path.suffix for path in tmp_path.glob("*.*")} >= {".gif", ".mp4"}
    done = stpp("report", tmp_path / "run", "--animate", "historical-average", "--images", tmp_path / "more")
    assert done.exit_code == 0, done.stderr
    assert len(list((tmp_path / "more").glob("*.gif"))) == 1


def test_reproduce_says_what_differs(stpp, fitted, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(fitted, copy)
    done = stpp("reproduce", copy)
    assert (done.exit_code, "differs" in done.stdout) == (0, False), done.stderr
    text = (copy / "model.json").read_text()
    (copy / "model.json").write_text(text + " ")
    done = stpp("reproduce", copy, "--json")
    assert done.exit_code == 1
    assert json.loads(done.stdout)["model.json"] == "differs"


MISTAKES = {
    "unknown null": (["null", "EVENTS", "--null", "moon"], "no null 'moon'; there are: time-shuffle"),
    "unknown statistic": (["null", "EVENTS", "--statistic", "moon"], "no statistic 'moon'; there are"),
    "too few worlds": (["null", "EVENTS", "-B", "9"], "9 null worlds allow no p of 0.05"),
    "fewer than no worlds": (["null", "EVENTS", "-B", "-1"], "-1 null worlds allow no p of 0.05"),
    "reference alone": (["null", "EVENTS", "--model", "historical-average"], "name another model to test"),
    "no branching": (["null", "EVENTS", "--model", "uniform", "--statistic", "branching-ratio"], "no branching ratio"),
    "distance for gain": (["null", "EVENTS", "--distance", "1"], "do not apply to information-gain"),
    "no scheduler": (["null", "EVENTS", "--backend", "dask"], "go together: give both or neither"),
    "unknown animation": (
        ["evaluate", "EVENTS", "--models", "hawkes", "--animate", "moon", "-o", "NOWHERE"],
        "no model 'moon' was evaluated; there are: historical-average, hawkes",
    ),
    "animate without run": (["evaluate", "EVENTS", "--models", "hawkes", "--animate", "hawkes"], "need -o RUN"),
    "no run to diagnose": (["diagnose", "NOWHERE"], "manifest.json is missing: give a directory that"),
    "no run to report": (["report", "NOWHERE"], "manifest.json is missing: give a directory that"),
    "no run to reproduce": (["reproduce", "NOWHERE"], "manifest.json is missing: give a directory that"),
    "a fit has no report": (["report", "FIT"], "is not a run of 'stpp evaluate -o'"),
    "another model": (["diagnose", "FIT", "--model", "uniform"], "is a fit of hawkes, not of uniform"),
    "no such model": (["diagnose", "EVALUATION", "--model", "moon"], "has no fits of 'moon'; there are: decaying-kde"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_mistakes_end_in_one_line(stpp, events, fitted, evaluation, tmp_path, case):
    words, told = MISTAKES[case]
    places = {"EVENTS": events, "FIT": fitted, "EVALUATION": evaluation, "NOWHERE": tmp_path / "nowhere"}
    done = stpp(*(places.get(word, word) for word in words))
    assert done.exit_code == 2
    assert done.stdout == ""
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("stpp: error: ")]
    assert told in line
    assert "Traceback" not in done.stderr


def test_events_that_changed_are_named(stpp, events, tmp_path):
    mine, run = tmp_path / "events.parquet", tmp_path / "run"
    mine.write_bytes(events.read_bytes())
    assert stpp("fit", "uniform", mine, "--end", "2020-01-31", "-o", run).exit_code == 0
    stpp("ingest", events, "-o", mine, "--sample", 100, "--force")
    for verb in ("diagnose", "reproduce"):
        done = stpp(verb, run)
        assert done.exit_code == 2
        assert "is not what it was" in done.stderr
    mine.unlink()
    assert "is gone" in stpp("diagnose", run).stderr


def test_nothing_held_out(stpp, events, tmp_path):
    assert stpp("fit", "uniform", events, "-o", tmp_path / "run").exit_code == 0
    done = stpp("diagnose", tmp_path / "run")
    assert done.exit_code == 2
    assert "fit with an earlier --end" in done.stderr
    assert stpp("fit", "uniform", events, "--end", "2020-02-28", "-o", tmp_path / "late").exit_code == 0
    done = stpp("diagnose", tmp_path / "late", "--step", "60d")  # longer than what is left: half of it is not known
    assert done.exit_code == 2
    assert "take a shorter --step" in done.stderr
