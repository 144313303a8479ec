"""Hostile input through the command line: each case ends in one line and exit code 2, or in its documented result."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

ROOT = Path(__file__).parents[2]
HEADER = "id,datetime,x,y,retweet_count"
PLACES = [0.3, 0.8, 0.1, 0.6, 0.5, 0.2, 0.7, 0.4]
GOOD = [f"{k},2020-01-{k:02d}T00:00:00Z,{x},{x},1" for k, x in enumerate(PLACES, start=1)]
EVALUATE = "evaluate {events} --models uniform --train-start 2020-01-05"
DATES = "--test-start 2020-01-31 --test-end 2020-02-08"


def _csv(*lines: str, header: str = HEADER) -> str:
    return "\n".join([header, *lines]) + "\n"


FILES = {
    "empty.csv": "",
    "header.csv": _csv(),
    "semicolons.csv": _csv(*GOOD).replace(",", ";"),
    "no_time.csv": _csv("1,0.5,0.5", header="id,x,y"),
    "no_place.csv": _csv("1,2020-01-01,3", header="id,datetime,retweet_count"),
    "words.csv": _csv("1,soon,0.5,0.5,1", "2,later,0.5,0.5,1"),
    "binary.csv": "\x00\x01\x02\x03",
    "broken.jsonl": '{"id": 1, "datetime": "2020-01-01", "x": 0.5, "y": 0.5}\n{"id": 2, "date',
    "notes.docx": "not a table",
    "bad_rows.csv": _csv(
        *GOOD,
        "20,2020-01-20T00:00:00Z,nan,0.5,1",
        "21,2020-01-20T00:00:00Z,inf,0.5,1",
        "22,2020-01-20T00:00:00Z,,0.5,1",
        "23,yesterday,0.5,0.5,1",
        "24,2020-01-20T00:00:00Z,0.5,0.5,-3",
        "8,2020-01-20T00:00:00Z,0.5,0.5,1",
    ),
    "unsorted.csv": _csv(*reversed(GOOD)),
    "zoneless.csv": _csv(*(line.replace("Z", "") for line in GOOD)),
    "same_time.csv": _csv(*(f"{k},2020-01-01T00:00:00Z,0.{k},0.{k},1" for k in range(1, 9))),
    "same_place.csv": _csv(*(f"{k},2020-01-{k:02d}T00:00:00Z,0.5,0.5,1" for k in range(1, 9))),
    "one.csv": _csv(GOOD[0]),
    "line.csv": _csv(*(f"{k},2020-01-{k:02d},{x}" for k, x in enumerate(PLACES, start=1)), header="id,datetime,x0"),
    "wide.csv": _csv(
        *(
            ",".join([f"{k},2020-01-{k:02d}", *(f"{(17 + 31 * (j + 1) * k) % 97 / 97:.3f}" for j in range(16))])
            for k in range(1, 29)
        ),
        header=",".join(["id,datetime", *(f"x{j}" for j in range(16))]),
    ),
    "huge_counts.csv": _csv(*GOOD, "30,2020-01-20T00:00:00Z,0.5,0.5,2147483648"),
    "moods.csv": _csv(*(f"{line},{4 - k}" for k, line in enumerate(GOOD)), header=HEADER + ",mood"),
    "gaps.csv": _csv(*(f"{line},{k or ''}" for k, line in enumerate(GOOD)), header=HEADER + ",mood"),
    "words_mark.csv": _csv(*(f"{line},glad" for line in GOOD), header=HEADER + ",mood"),
    "away.csv": _csv(*(f"{k},2020-01-{k:02d}T00:00:00Z,{x + 50},{x},1" for k, x in enumerate(PLACES, start=1))),
    "blocker": "a regular file where a folder is wanted",
}


@pytest.fixture(scope="module")
def places(tmp_path_factory, stpp, events, run) -> dict[str, Path]:
    """Every hostile file by the name it has in a command."""
    folder = tmp_path_factory.mktemp("hostile")
    for name, text in FILES.items():
        (folder / name).write_text(text)
    truncated = folder / "truncated.parquet"
    truncated.write_bytes(events.read_bytes()[:-200])
    stranger = folder / "stranger.parquet"
    pq.write_table(pq.read_table(events).select(["t"]), stranger)
    for name, text in {
        "corrupt": '{"model": "unif',
        "alien": '{"format": 1, "model": "oracle", "parameters": {}, "arrays": []}',
    }.items():
        (folder / name).mkdir()
        (folder / name / "manifest.json").write_text((run / "manifest.json").read_text())
        (folder / name / "model.json").write_text(text)
    (folder / "unsigned").mkdir()
    for name in ("model.json", "model.npz"):
        (folder / "unsigned" / name).write_bytes((run / name).read_bytes())
    (folder / "folder").mkdir()
    assert stpp("simulate", "static", "-n", 50, "-o", folder / "later.parquet").exit_code == 0
    assert stpp("fit", "uniform", folder / "wide.csv", "-o", folder / "wide").exit_code == 0
    return {"in": folder, "events": events, "run": run}


REFUSED = {
    # reading
    "no such file": ("ingest {in}/nowhere.csv -o {out}", "nowhere.csv"),
    "a folder for a file": ("ingest {in}/folder -o {out}", "folder"),
    "an empty file": ("ingest {in}/empty.csv -o {out}", "empty"),
    "a header and no rows": ("ingest {in}/header.csv -o {out}", "header.csv"),
    "the wrong delimiter": ("ingest {in}/semicolons.csv -o {out}", "semicolons.csv"),
    "bytes that are no table": ("ingest {in}/binary.csv -o {out}", "binary.csv"),
    "a file of unknown kind": ("ingest {in}/notes.docx -o {out}", "notes.docx"),
    "JSON lines cut short": ("ingest {in}/broken.jsonl -o {out}", "broken.jsonl"),
    "a truncated Parquet": ("ingest {in}/truncated.parquet -o {out}", "truncated.parquet"),
    "a Parquet without places": ("describe {in}/stranger.parquet", "stranger.parquet"),
    "no time column": ("ingest {in}/no_time.csv -o {out}", "--time"),
    "no place columns": ("ingest {in}/no_place.csv -o {out}", "--coords"),
    "a time column that is not there": ("ingest {in}/unsorted.csv --time when -o {out}", "when"),
    "a coordinate that is not there": ("ingest {in}/unsorted.csv --coords x,z -o {out}", "z"),
    "times that are words": ("ingest {in}/words.csv -o {out}", "soon"),
    "any reject under --strict": ("ingest {in}/bad_rows.csv --strict -o {out}", "bad_rows.csv"),
    "a box without events": ("ingest {in}/unsorted.csv --box 8,9,8,9 -o {out}", "box"),
    "a box reversed": ("ingest {in}/unsorted.csv --box 1,0,0,1 -o {out}", "low < high"),
    "a box with an odd side": ("ingest {in}/unsorted.csv --box 0,1,0 -o {out}", "3 numbers"),
    "dates reversed": ("ingest {in}/unsorted.csv --start 2020-01-05 --end 2020-01-02 -o {out}", "2020-01-05"),
    "a date that is none": ("ingest {in}/unsorted.csv --start someday -o {out}", "someday"),
    "a sample of nothing": ("ingest {in}/unsorted.csv --sample 0 -o {out}", "sample"),
    # writing
    "output exists": ("ingest {in}/unsorted.csv -o {in}/one.csv", "--force"),
    "output into a folder that is not there": ("ingest {in}/unsorted.csv -o {in}/nowhere/events.parquet", "make it"),
    "output below a regular file": ("ingest {in}/unsorted.csv -o {in}/blocker/events.parquet", "blocker"),
    "a run below a regular file": ("fit uniform {events} -o {in}/blocker/run", "blocker"),
    "a run in the place of another folder": ("fit uniform {events} -o {in}/folder --force", "not a run directory"),
    # fitting
    "an unknown model": ("fit oracle {events}", "there are: uniform"),
    "an option of another model": ("fit uniform {events} --kernel exponential", "--kernel does not apply"),
    "a mark that is not there": ("fit hawkes {events} --productivity fame", "no mark column 'fame'"),
    "a mark with negative values": ("fit hawkes {in}/moods.csv --productivity mood", "negative in 3 rows"),
    "a mark with missing values": ("fit hawkes {in}/gaps.csv --productivity mood", "missing or negative in 1 rows"),
    "a mark that is words": ("fit hawkes {in}/words_mark.csv --productivity mood", "not a number"),
    "columns that are not there": ("fit uniform {events} --coords a,b", "a"),
    "training dates reversed": ("fit uniform {events} --start 2020-02-01 --end 2020-01-10", "end after it starts"),
    "training without events": ("fit uniform {events} --start 2021-01-01 --end 2021-02-01", "no events"),
    "all events at one time": ("fit hawkes {in}/same_time.csv", "--start and --end"),
    "one event": ("fit hawkes {in}/one.csv", "--start and --end"),
    # forecasting
    "a run that is not there": ("forecast {in}/nowhere --at 2020-02-01", "nowhere"),
    "a corrupt model.json": ("forecast {in}/corrupt --at 2020-02-01", "model.json"),
    "a model of another world": ("forecast {in}/alien --at 2020-02-01", "oracle"),
    "a run without manifest": ("forecast {in}/unsigned --at 2020-02-01", "manifest.json"),
    "a forecast of what the model has seen": ("forecast {run} --at 2020-01-15", "has seen"),
    "a grid of 0": ("forecast {run} --at 2020-02-01 --grid 0", "≥ 1 cell"),
    "a grid too large": ("forecast {run} --at 2020-02-01 --grid 100000", "GiB"),
    "a horizon of 0": ("forecast {run} --at 2020-02-01 --horizon 0d", "0d"),
    "a horizon that is a word": ("forecast {run} --at 2020-02-01 --horizon long", "long"),
    "an issue time of infinity": ("forecast {run} --at inf", "inf"),
    "events of the model's dimensions but another epoch": (
        "forecast {run} --at 2020-02-01 --events {in}/later.parquet",
        "counts days since 2023-01-01",
    ),
    "events that all lie outside the model's box": (
        "forecast {run} --at 2020-02-01 --events {in}/away.csv",
        "in the model's box",
    ),
    "an output that cannot hold the forecast": ("forecast {in}/wide --at 2020-02-01 -o {out}", "16 dimensions"),
    "events of other dimensions": ("forecast {run} --at 2020-02-01 --events {in}/line.csv", "dimension"),
    # flows
    "a flow of one event": ("flow {in}/one.csv", "--start and --end"),
    "a flow of events at one time": ("flow {in}/same_time.csv", "--start and --end"),
    "a flow over too many dimensions": ("flow {in}/wide.csv", "up to 3 dimensions, and these events have 16"),
    "a flow of a model without": ("flow {events} --model decaying-kde -o {out}", "is not one of"),
    "a history window longer than the data": ("flow {events} --history-window 41 -o {out}", "shorten --frame"),
    "a history window no memory holds": ("fit drift {events} --history-window 1000000000", "shorten --frame"),
    "frames longer than the data": ("evaluate {events} --models transport --frame 52w --step 1d " + DATES, "364 days"),
    "a history window of one frame": (
        "fit transport {events} --history-window 1",
        "must be 2 or more",
    ),
    "a frame of 0": ("fit drift {events} --frame 0h", "0h"),
    "an option of flows without a flow": ("fit hawkes {events} --tuning-seconds 3", "--tuning-seconds does not apply"),
    # evaluating
    "test dates reversed": (
        EVALUATE + " --step 1d --test-start 2020-02-08 --test-end 2020-01-31",
        "end after it starts",
    ),
    "training after the test": (
        "evaluate {events} --models uniform --train-start 2020-02-05 --step 1d " + DATES,
        "training must start before",
    ),
    "a step of 0": (EVALUATE + " --step 0d " + DATES, "0d"),
    "a horizon beyond the test": (EVALUATE + " --step 1d --horizon 30d " + DATES, "horizon"),
    "an evaluation grid of 0": (EVALUATE + " --step 1d --grid 0 " + DATES, "at least 1 cell"),
    "an unknown contender": (EVALUATE.replace("uniform", "uniform,oracle") + " --step 1d " + DATES, "oracle"),
    "test windows without events": (
        EVALUATE + " --step 1d --test-start 2021-01-01 --test-end 2021-01-08",
        "has events to score",
    ),
    "an option of a model that does not take part": (
        EVALUATE + " --step 1d --productivity x " + DATES,
        "--productivity does not apply to uniform",
    ),
    "a grid over more dimensions than 3": (
        "evaluate {in}/wide.csv --models uniform --grid 0 --step 1d --train-start 2020-01-01 --test-start 2020-01-10 "
        "--test-end 2020-01-20",
        "at least 1 cell",
    ),
    "a zoom outside the domain": (EVALUATE + " --step 1d --zoom 5,6,5,6 " + DATES, "zoom"),
    "history that is a word": (EVALUATE + " --step 1d --history short " + DATES, "short"),
    # the command line itself
    "an unknown verb": ("prophesy {events}", "prophesy"),
    "an unknown option": ("fit uniform {events} --magic", "--magic"),
    "a missing argument": ("fit uniform", "EVENTS"),
    "an unknown world": ("simulate atlantis -n 10 -o {out}", "there are: hawkes"),
    "no events to simulate": ("simulate static -n 0 -o {out}", "-n"),
    "no cores": ("models --jobs 0", "--jobs"),
    "more cores than there are": ("models --jobs 100000", "threads"),
}


@pytest.mark.parametrize(("command", "told"), REFUSED.values(), ids=REFUSED)
def test_it_is_refused_in_one_line(stpp, places, tmp_path, command, told):
    words = command.format(**places, out=tmp_path / "out.parquet").split()
    done = stpp(*words, "--quiet") if words[0] != "prophesy" else stpp(*words)
    assert done.exit_code == 2, done.output
    assert done.stdout == ""
    assert done.stderr.startswith("stpp: error: ")
    assert done.stderr.count("\n") == 1
    assert told in done.stderr
    assert list(tmp_path.iterdir()) == [], "something half-written was left"


def ingested(stpp, places, tmp_path, name, *flags):
    """The description of a file after ingest, and what ingest told."""
    path = tmp_path / "events.parquet"
    done = stpp("ingest", places["in"] / name, "-o", path, "--json", *flags)
    assert done.exit_code == 0, done.stderr
    return json.loads(stpp("describe", path, "--json").stdout), json.loads(done.stdout)


@pytest.mark.parametrize(("name", "d"), [("line.csv", 1), ("unsorted.csv", 2), ("wide.csv", 16)])
def test_any_number_of_dimensions_is_fitted_and_scored(stpp, places, tmp_path, name, d):
    described, _ = ingested(stpp, places, tmp_path, name)
    assert described["d"] == d
    path = tmp_path / "events.parquet"
    fitted = json.loads(stpp("fit", "historical-average", path, "--json").stdout)
    assert np.isfinite(fitted["log_likelihood"])
    dates = ["--train-start", "2020-01-01", "--test-start", "2020-01-05", "--test-end", "2020-01-09", "--step", "1d"]
    box = ",".join(["-0.1,1.1"] * d)
    done = stpp("evaluate", path, "--models", "uniform", "--grid", 10, "--box", box, *dates, "--json")
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["models"]["uniform"]["fds"] == pytest.approx(1)


def test_what_is_unsorted_is_sorted_and_what_has_no_zone_is_utc(stpp, places, tmp_path):
    sorted_, _ = ingested(stpp, places, tmp_path, "unsorted.csv")
    zoneless, account = ingested(stpp, places, tmp_path, "zoneless.csv", "--force")
    assert sorted_ == zoneless
    assert sorted_["first"] == "2020-01-01T00:00:00+00:00"
    assert "taken as UTC" in account["assumptions"][0]


def test_every_row_that_cannot_be_used_is_counted_by_cause_and_listed(stpp, places, tmp_path):
    described, account = ingested(stpp, places, tmp_path, "bad_rows.csv", "--weight", "retweet_count")
    assert described["n"] == 8
    assert account["rejected"] == {
        "missing coordinate x": 2,
        "non-finite coordinate x": 1,
        "unparseable time": 1,
        "negative retweet_count": 1,
        "duplicate id": 1,
    }
    rejects = pq.read_table(tmp_path / "events.rejects.parquet").to_pylist()
    assert [row["row"] for row in rejects] == [9, 10, 11, 12, 13, 14]
    assert json.loads((tmp_path / "events.ingest.json").read_text()) == account


def test_a_verb_that_reads_posts_itself_tells_of_rejects_and_keeps_them(stpp, places, tmp_path):
    done = stpp("fit", "uniform", places["in"] / "bad_rows.csv", "-o", tmp_path / "run")
    assert done.exit_code == 0
    assert "1 of 14 rows left out: duplicate id" in done.stderr
    assert pq.read_table(tmp_path / "run" / "rejects.parquet").num_rows == 5


def test_counts_beyond_32_bits_are_weights_like_any_other(stpp, places, tmp_path):
    described, _ = ingested(stpp, places, tmp_path, "huge_counts.csv", "--weight", "retweet_count")
    assert described["weight"]["max"] == 2**31
    fitted = json.loads(stpp("fit", "historical-average", tmp_path / "events.parquet", "--json").stdout)
    assert np.isfinite(fitted["log_likelihood"])


def test_posts_at_one_place_can_be_fitted(stpp, places):
    fitted = json.loads(stpp("fit", "hawkes", places["in"] / "same_place.csv", "--json").stdout)
    assert np.isfinite(fitted["log_likelihood"])


def test_posts_at_one_time_are_described(stpp, places):
    described = json.loads(stpp("describe", places["in"] / "same_time.csv", "--json").stdout)
    assert described["days"] == 0
    assert described["per_day"] is None
    assert described["tied_times"] == 1


def test_negative_weights_are_rejects(stpp, places, tmp_path):
    described, account = ingested(stpp, places, tmp_path, "moods.csv", "--weight", "mood")
    assert account["rejected"] == {"negative mood": 3}
    assert described["weight"]["min"] == 0


def test_events_outside_the_box_of_the_model_are_left_out_and_counted(stpp, places, tmp_path):
    stray = tmp_path / "stray.csv"
    stray.write_text(_csv(*GOOD, "20,2020-01-09T00:00:00Z,70,0.5,1"))
    done = stpp("forecast", places["run"], "--at", "2020-02-01", "--grid", 5, "--events", stray)
    assert done.exit_code == 0, done.stderr
    assert "1 of 9 events lie outside the model's box" in done.stderr
    assert "is not, or no longer, the file" in done.stderr


def test_events_that_end_long_before_the_forecast_are_said_to(stpp, places):
    done = stpp("forecast", places["run"], "--at", "2021-02-01", "--grid", 5)
    assert done.exit_code == 0
    assert "from then on none are assumed" in done.stderr


def test_a_fit_that_did_not_converge_is_told_with_a_way_out(stpp, places, monkeypatch):
    from stpp.models import Uniform

    fit = Uniform.fit

    def rough(self, events, window, *, progress=None):
        fitted = fit(self, events, window)
        return replace(fitted, result=replace(fitted.result, converged=False))

    monkeypatch.setattr(Uniform, "fit", rough)
    done = stpp("fit", "uniform", places["events"])
    assert done.exit_code == 0
    assert "the fit did not converge" in done.stderr
    assert "train on more events" in done.stderr
    words = f"{EVALUATE} --step 1d --grid 5 {DATES}".format(**places).split()
    assert "8 windows of uniform rest on a fit that did not converge" in stpp(*words).stdout


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, which Linux has")
@pytest.mark.parametrize("environment", [None, {}], ids=["as it is", "without a locale"])
def test_a_full_disk_is_one_line(places, environment):
    code = f"'{sys.executable}' -c 'from cli import main; main()' describe '{places['events']}' --quiet > /dev/full"
    how = {"capture_output": True, "text": True, "cwd": ROOT, "check": False, "env": environment}
    done = subprocess.run(["/bin/bash", "-c", code], **how)
    assert done.returncode == 2
    assert done.stderr == "stpp: error: [Errno 28] No space left on device\n"


@pytest.mark.slow
@pytest.mark.parametrize(("signal_sent", "left"), [(signal.SIGINT, 1), (signal.SIGTERM, 1), (signal.SIGKILL, 2)])
def test_killed_in_the_middle_of_evaluate_there_is_no_run(stpp, places, tmp_path, signal_sent, left):
    """Only what the same command goes on from is left, and after kill -9 a lock that nobody holds."""
    words = f"{EVALUATE} --step 1d --grid 5 {DATES} --quiet -o {tmp_path / 'run'}".format(**places).split()
    slow = (
        "import time\nfrom evaluation import backtest\nfrom stpp.models import Uniform\n"
        "Uniform.fit = lambda *_, **__: (print('fitting', flush=True), time.sleep(60))\n"
        f"from cli import main\nmain({words!r})"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", slow], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=ROOT
    )
    assert process.stdout.readline() == b"fitting\n"
    process.send_signal(signal_sent)
    assert process.wait(20) == {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGKILL: -9}[signal_sent]
    assert not (tmp_path / "run").exists()
    assert len(list(tmp_path.iterdir())) == left
    assert stpp(*words).exit_code == 0
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_force_forecasts_what_the_model_has_seen(stpp, places):
    done = stpp("forecast", places["run"], "--at", "2020-01-15", "--grid", 5, "--force")
    assert done.exit_code == 0
    assert "events expected" in done.stdout
