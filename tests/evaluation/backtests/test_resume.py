"""An evaluation that is killed goes on where it stopped, and ends in the same bytes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from evaluation.backtests import runs
from evaluation.backtests.backtest import backtest
from evaluation.backtests.plan import set_up
from stpp.files.outputs import append_journal, read_journal
from stpp.ingest import storage
from stpp.runs.reproduction import compare_runs
from stpp.simulation.worlds import simulate_world

MAIN = "import sys; sys.argv[0] = 'stpp'; from cli import main; main()"
WORDS = [
    *("--models", "hawkes", "--test-start", "50", "--test-end", "54", "--grid", "10", "--refit", "2"),
    *("--keep-forecasts", "--nulls", "time-shuffle", "-B", "19", "--seed", "7"),
]


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """An evaluation of 300 posts, without its output."""
    path = tmp_path_factory.mktemp("resume") / "events.parquet"
    storage.write_events(simulate_world("bursts", 300, 1)[0], path)
    return [sys.executable, "-c", MAIN, "evaluate", str(path), *WORDS]


def test_a_journal_torn_anywhere_goes_on_after_its_last_whole_line(tmp_path: Path) -> None:
    journal, entries, new = tmp_path / "journal.jsonl", [{"k": 0, "name": "Öl\n"}, {"k": 1}], {"k": 2}
    assert read_journal(journal) == []
    for entry in entries:
        append_journal(journal, entry)
    text = journal.read_bytes()
    for cut in range(len(text) + 1):
        journal.write_bytes(text[:cut])
        whole = entries[: text[:cut].count(b"\n")]
        assert read_journal(journal) == whole
        assert journal.read_bytes() == text[:cut]  # to read changes nothing
        append_journal(journal, new)
        assert [json.loads(line) for line in journal.read_text().splitlines()] == read_journal(journal) == [*whole, new]


def finished(folder: Path) -> int:
    """How many windows and null worlds an unfinished run has kept."""
    work = folder / ".run.partial" / "work"
    return sum(len(path.read_text().splitlines()) for path in work.glob("*.jsonl"))


def start(command: list[str], folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*command, "-o", "run"],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        start_new_session=True,
    )


@pytest.fixture(scope="module")
def whole(command: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    process = start(command, folder)
    _, log = process.communicate()
    assert process.returncode == 0, log
    return folder / "run"


@pytest.mark.slow
def test_killed_again_and_again_it_ends_in_the_same_bytes(command: list[str], whole: Path, tmp_path: Path) -> None:
    kills = 0
    for target in (1, 7, 9, 14):  # four windows of each of two models, then the data's statistic and 19 null worlds
        process = start(command, tmp_path)
        while process.poll() is None and finished(tmp_path) < target:
            time.sleep(0.01)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            kills += 1
        process.communicate()
        assert not (tmp_path / "run").exists()
        assert finished(tmp_path) >= target
    assert kills == 4
    process = start(command, tmp_path)
    _, log = process.communicate()
    assert process.returncode == 0, log
    assert "going on where an interrupted run" in log
    found = compare_runs(whole, tmp_path / "run")
    assert {"scores.parquet", "log_density.parquet", "forecasts.nc", "report.html", "nulls.json"} <= set(found)
    assert set(found.values()) == {"same"}
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


@pytest.mark.slow
def test_another_command_does_not_go_on_from_what_a_first_one_left(command: list[str], tmp_path: Path) -> None:
    process = start(command, tmp_path)
    while process.poll() is None and finished(tmp_path) < 3:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    other = [word if word != "7" else "8" for word in command]
    other = other[: other.index("--nulls")]
    done = subprocess.run([*other, "-o", str(tmp_path / "run"), "--json"], capture_output=True, text=True, check=True)
    assert "going on" not in done.stderr
    assert "nulls" not in json.loads(done.stdout)


@pytest.mark.slow
def test_two_processes_do_not_work_on_one_output(command: list[str], tmp_path: Path) -> None:
    first = start(command, tmp_path)
    while first.poll() is None and finished(tmp_path) < 1:
        time.sleep(0.01)
    second = start(command, tmp_path)
    _, log = second.communicate()
    os.killpg(first.pid, signal.SIGKILL)
    first.communicate()
    assert second.returncode == 2
    assert "another process is at work" in log


@pytest.mark.slow
def test_a_run_reproduces_itself(whole: Path) -> None:
    again = [sys.executable, "-c", MAIN, "reproduce", str(whole), "--json"]
    done = subprocess.run(again, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": ":".join(sys.path)})
    assert done.returncode == 0, done.stdout + done.stderr
    assert set(json.loads(done.stdout).values()) == {"same"}


@pytest.mark.slow
def test_killed_while_it_tidies_up_it_still_ends_in_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events, none = simulate_world("bursts", 300, 1)[0], dict.fromkeys(("train_start", "box"))
    plan, models = set_up(
        events, ["uniform"], test_start="50", test_end="53", reference="historical-average", step=1.0, grid=8, **none
    )

    def finish(directory: Path) -> None:
        directory.mkdir(exist_ok=True)
        store = runs.open_store(directory)
        result = backtest(events, models, plan, rng=np.random.default_rng(0), store=store)
        runs.save_result(result, directory, keep_forecasts=False)

    def killed(folder: Path, *, ignore_errors: bool = False) -> None:
        if folder.exists():
            (folder / "rows.jsonl").unlink()
            shutil.rmtree(folder / "models" / "uniform")
            raise KeyboardInterrupt

    finish(tmp_path / "whole")
    with monkeypatch.context() as patch:
        patch.setattr(runs, "shutil", SimpleNamespace(copytree=shutil.copytree, rmtree=killed))
        with pytest.raises(KeyboardInterrupt):
            finish(tmp_path / "run")
    finish(tmp_path / "run")
    assert set(compare_runs(tmp_path / "whole", tmp_path / "run").values()) == {"same"}
