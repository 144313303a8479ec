"""The verbs that flows go through: what they write, what they refuse, and that it can be had again."""

from __future__ import annotations

import csv
import json
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

HEADER = "id,datetime,x,y,retweet_count"
FEW = ("--trials", "3", "--history-window", "4", "--frame", "1d")
FIELDS = {"density", "velocity", "velocity_error", "growth", "growth_error", "divergence", "significant"}


@pytest.fixture(autouse=True)
def no_warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        warnings.simplefilter("error", UserWarning)
        yield


def write(path: Path, t: Any, x: Any, weight: Any = None, header: str = HEADER) -> Path:
    """Posts at days since 2020-01-01."""
    times = np.datetime64("2020-01-01T00:00:00") + (np.asarray(t) * 86400).astype("timedelta64[s]")
    weight = np.ones(len(times), dtype=int) if weight is None else weight
    rows = zip(times, np.round(x, 6).tolist(), weight, strict=True)
    lines = [",".join(map(str, [k, f"{when}Z", *place, w])) for k, (when, place, w) in enumerate(rows)]
    path.write_text("\n".join([header, *lines]) + "\n")
    return path


def drifting(n: int = 800, days: float = 8.1, d: int = 2) -> tuple[Any, Any]:
    """Times and places of posts that go right by half their spread a day."""
    rng = np.random.default_rng(0)
    t = np.sort(np.r_[0.0, rng.uniform(0, days, n - 2), days])
    x = rng.normal(0, 0.1, (n, d))
    x[:, 0] += 0.05 * t
    return t, x


@pytest.fixture(scope="module")
def moving(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("moving") / "posts.csv", *drifting())


@pytest.fixture(scope="module")
def flow_run(moving: Path, stpp: Callable[..., Any]) -> tuple[Path, Any]:
    """The flow every four days, animated too."""
    directory = moving.with_name("run")
    return directory, stpp("flow", moving, *FEW, "--step", "4d", "--movie", "-o", directory, "--json")


def read_flows(path: Path) -> xr.Dataset:
    with xr.open_dataset(path, engine="h5netcdf") as stored:
        data = stored.load()
    for name in FIELDS:
        assert np.isfinite(data[name].values).all(), name
    return data


# -- what it writes ------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_flow_run_holds_pages_numbers_trials_model_and_manifest(flow_run: tuple[Path, Any]) -> None:
    directory, done = flow_run
    assert done.exit_code == 0, done.stderr
    names = {path.name for path in directory.iterdir()}
    pages = {f"flow-2020-01-{day}T0000.png" for day in ("05", "09")}
    others = {"flow.nc", "flows.csv", "flow.gif", "flow.mp4", "trials.csv", "model.json", "model.npz", "manifest.json"}
    others.add("rejects.parquet")
    assert names == pages | others
    assert all((directory / page).stat().st_size > 10_000 for page in pages)
    assert (directory / "flow.gif").read_bytes()[:4] == b"GIF8"
    assert b"ftyp" in (directory / "flow.mp4").read_bytes()[:12]
    manifest = json.loads((directory / "manifest.json").read_text())
    assert manifest["argv"][:2] == ["stpp", "flow"]
    model = json.loads((directory / "model.json").read_text())
    assert model["model"] == "drift"
    assert (model["parameters"]["frame"], model["parameters"]["history_window"]) == (1.0, 4)
    with (directory / "trials.csv").open() as file:
        trials = list(csv.DictReader(file))
    assert [row["trial"] for row in trials] == ["0", "1", "2"]
    assert {"drift_scale", "momentum", "nats_per_event"} <= set(trials[0])
    assert not [name for name in trials[0] if name.startswith(("frame", "history_window"))]


def test_its_numbers_say_that_discourse_moves_right(flow_run: tuple[Path, Any]) -> None:
    directory, done = flow_run
    data = read_flows(directory / "flow.nc")
    assert dict(data.sizes) | {"bound": 2} == {"time": 2, "component": 2, "x": 64, "y": 64, "bound": 2}
    density = data["density"].values
    right, up = (np.average(data["velocity"].isel(component=k).values, weights=density) for k in range(2))
    assert 0.01 < right < 0.06  # towards 0 by the prior
    assert abs(up) < 0.2 * right
    told = json.loads(done.stdout)
    assert told["model"] == "drift"
    table = pd.read_csv(directory / "flows.csv")
    assert len(table) == len(told["flows"]) == 2
    for facts, (_, row) in zip(told["flows"], table.iterrows(), strict=True):
        assert {"time", "mass", "share_moving", "mean_velocity", "mean_speed", "growth", "sink", "source"} <= set(facts)
        assert facts["time"] == row["time"]
        assert facts["share_moving"] > 0.5
        assert facts["mean_velocity"][0] > 2 * facts["mean_velocity_error"][0]
        assert facts["mean_speed"] == pytest.approx(row["mean_speed"])


def test_in_words_it_says_where_to(moving: Path, stpp: Callable[..., Any]) -> None:
    done = stpp("flow", moving, *FEW, "--step", "4d", "--model", "transport")
    assert done.exit_code == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("2020-01-05 00:00  ")
    assert all("on the whole towards higher x" in line for line in lines)


@pytest.mark.slow
def test_a_flow_run_is_reproduced_to_the_byte(flow_run: tuple[Path, Any], stpp: Callable[..., Any]) -> None:
    """The movie is part of it."""
    done = stpp("reproduce", flow_run[0], "--json")
    assert done.stdout, done.stderr
    found = json.loads(done.stdout)
    assert set(found.values()) == {"same"}, found
    assert {"flow.nc", "flows.csv", "trials.csv", "model.json", "flow.gif", "flow.mp4"} <= set(found)
    assert done.exit_code == 0


# -- a fitted flow model is a model like any other -----------------------------------------------------------------


@pytest.mark.slow
def test_a_drift_field_is_fitted_saved_and_forecasts(tmp_path: Path, stpp: Callable[..., Any]) -> None:
    posts, run = write(tmp_path / "posts.csv", *drifting(2000, 20.0)), tmp_path / "run"
    done = stpp("fit", "drift", posts, "--trials", 6, "--end", "2020-01-17", "-o", run, "--json")
    assert done.exit_code == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["parameters"]["share that is carried"]["value"] > 0
    assert len(pd.read_csv(run / "trials.csv")) == 6
    output = tmp_path / "next.nc"
    done = stpp("forecast", run, "--at", "2020-01-17", "--horizon", "1d", "--grid", 40, "-o", output, "--json")
    assert done.exit_code == 0, done.stderr
    with xr.open_dataset(output, engine="h5netcdf") as stored:
        counts = stored["expected_count"].load()[0, 0]
    assert np.isfinite(counts.values).all()
    assert float(counts.sum()) == pytest.approx(json.loads(done.stdout)["expected_count"])
    centre = float((counts * counts["x"]).sum() / counts.sum())
    assert centre == pytest.approx(0.05 * 16.5, abs=0.03)  # a day after the last posts that it has seen


def test_the_summary_of_what_is_tuned_for_fds_says_that_it_is_improper(moving: Path, stpp: Callable[..., Any]) -> None:
    shown = stpp("fit", "drift", moving, *FEW, "--tune", "fds").stdout
    assert "chosen by FDS (improper)" in shown
    assert "improper" not in stpp("fit", "drift", moving, *FEW).stdout


@pytest.mark.slow
def test_flow_options_reach_an_evaluation_and_a_null(moving: Path, stpp: Callable[..., Any]) -> None:
    dates = ["--train-start", "2020-01-01", "--test-start", "2020-01-06", "--step", "1d", "--grid", 12]
    done = stpp("evaluate", moving, "--models", "drift", *FEW, "--tune", "log-score", *dates, "--json")
    assert done.exit_code == 0, done.stderr
    assert np.isfinite(json.loads(done.stdout)["models"]["drift"]["information_gain"]["mean"])
    done = stpp(
        "null", moving, "--model", "drift", "--trials", 1, "--tuning-seconds", 5, *FEW[2:], *dates, "-B", 19,
        "--jobs", 1, "--json",
    )  # fmt: skip
    assert done.exit_code == 0, done.stderr
    assert 0 < json.loads(done.stdout)["p_value"] <= 1
    done = stpp("evaluate", moving, "--models", "decaying-kde", "--frame", "1d", *dates)
    assert done.exit_code == 2
    assert "--frame does not apply" in done.stderr


# -- what is hostile -----------------------------------------------------------------------------------------------

REFUSED = {
    "a model without flow": (["--model", "hawkes"], "'hawkes' is not one of 'drift', 'transport'"),
    "an unknown model": (["--model", "oracle"], "'oracle' is not one of"),
    "a history window longer than the data": (["--history-window", "30"], "is longer than the 8.1 days"),
    "a history window without end": (["--history-window", "1000000000"], "is longer than the 8.1 days"),
    "a frame longer than the data": (["--frame", "9d"], "is longer than the 8.1 days"),
    "a frame of nothing": (["--frame", "0d"], "'0d' is not a duration longer than 0"),
    "a frame of less": (["--frame", "-1d"], "--frame"),
    "a window of one frame": (["--history-window", "1"], "--history-window"),
    "trials below 0": (["--trials", "-1"], "--trials"),
    "an unknown score": (["--tune", "auc"], "--tune"),
    "an animation without a place": (["--movie"], "--movie needs -o RUN"),
    "no posts in the box": (["--box", "5,6,5,6"], "no events"),
    "no posts in the dates": (["--start", "2021-01-01", "--end", "2021-02-01"], "no events"),
}


def refused(done: Any, told: str) -> None:
    assert done.exit_code == 2, done.output
    assert done.stdout == ""
    assert done.stderr.startswith("stpp: error: ")
    assert done.stderr.count("\n") == 1
    assert told in done.stderr


@pytest.mark.parametrize(("words", "told"), REFUSED.values(), ids=REFUSED)
def test_it_is_refused_in_one_line(moving: Path, stpp: Callable[..., Any], words: list[str], told: str) -> None:
    refused(stpp("flow", moving, *words, "--quiet"), told)


@pytest.mark.parametrize(("n", "told"), [(1, "all events are at one time (1)"), (2, "is longer than the")])
def test_a_few_posts_are_refused_in_one_line(tmp_path: Path, stpp: Callable[..., Any], n: int, told: str) -> None:
    posts = write(tmp_path / "few.csv", np.arange(n), np.arange(2 * n).reshape(n, 2))
    refused(stpp("flow", posts, "--trials", 1, "--quiet", "-o", tmp_path / "run"), told)
    assert [path.name for path in tmp_path.iterdir()] == ["few.csv"]


def test_five_coordinates_are_refused_in_one_line(tmp_path: Path, stpp: Callable[..., Any]) -> None:
    posts = write(tmp_path / "five.csv", *drifting(60, d=5), header="id,datetime,a,b,c,d,e,retweet_count")
    told = "for up to 3 dimensions, and these events have 5: use fewer --coords"
    refused(stpp("flow", posts, "--coords", "a,b,c,d,e", "--quiet"), told)


SILENCE = np.r_[np.linspace(0, 1.4, 60), np.linspace(7.2, 8, 60)]
PLACES = np.random.default_rng(1).normal(size=(120, 2))
HOSTILE = {
    "all at one place": (np.linspace(0, 8, 120), np.full((120, 2), 0.7), None, ()),
    "on a line": (np.linspace(0, 8, 120), np.column_stack([PLACES[:, 0], np.full(120, 0.1)]), None, ()),
    "frames without posts": (SILENCE, PLACES, None, ()),
    "two posts": (np.array([0.0, 8.0]), PLACES[:2], None, ()),
    "two bursts, each at one time": (np.repeat([0.0, 8.0], 60), PLACES, None, ()),
    "no importance": (np.linspace(0, 8, 120), PLACES, np.zeros(120, int), ("--weight", "retweet_count")),
    "hardly any importance": (
        np.linspace(0, 8, 120), PLACES, (np.arange(120) % 50 == 0).astype(int), ("--weight", "retweet_count")
    ),
    "one post of all importance": (
        np.linspace(0, 8, 120), PLACES, np.where(np.arange(120) == 60, 2**31, 1), ("--weight", "retweet_count")
    ),
    "one post far away": (np.linspace(0, 8, 120), np.r_[PLACES[1:], [[1e4, 1e4]]], None, ()),
    "no trials": (np.linspace(0, 8, 120), PLACES, None, ("--trials", "0")),
    "hardly any time": (np.linspace(0, 8, 120), PLACES, None, ("--tuning-seconds", "0.001")),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("model", ["drift", "transport"])
@pytest.mark.parametrize(("t", "x", "weight", "more"), HOSTILE.values(), ids=HOSTILE)
def test_whatever_posts_there_are_the_numbers_are_numbers(
    tmp_path: Path, stpp: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, model: str, t: Any, x: Any, weight: Any,
    more: tuple[str, ...],
) -> None:  # fmt: skip
    posts = write(tmp_path / "posts.csv", t, x, weight)
    hardest = "--weight" in more or t is SILENCE or (np.ptp(x, axis=0) == 0).all()
    if model == "transport" or not hardest:  # pages are slow to draw
        monkeypatch.setattr("stpp.flow.pages.draw_flow", lambda *_, **__: SimpleNamespace(savefig=lambda _: None))
    trials = () if "--trials" in more else ("--trials", "2")
    words = ["--model", model, *FEW[2:], *more, *trials, "--step", "6d", "--json", "-o", tmp_path / "run"]
    done = stpp("flow", posts, *words)
    assert done.exit_code == 0, done.stderr
    assert "NaN" not in done.stdout
    data = read_flows(tmp_path / "run" / "flow.nc")
    assert data.sizes["time"] == 1
    assert (data["density"].values >= 0).all()
    assert (data["velocity_error"].values > 0).all()
    assert len(json.loads(done.stdout)["flows"]) == 1


@pytest.mark.slow
@pytest.mark.parametrize("d", [1, 3])
def test_one_and_three_dimensions_have_pages_too(tmp_path: Path, stpp: Callable[..., Any], d: int) -> None:
    names = "abc"[:d]
    posts = write(tmp_path / "posts.csv", *drifting(300, d=d), header=f"id,datetime,{','.join(names)},retweet_count")
    done = stpp("flow", posts, "--coords", ",".join(names), *FEW, "--step", "6d", "-o", tmp_path / "run")
    assert done.exit_code == 0, done.stderr
    data = read_flows(tmp_path / "run" / "flow.nc")
    velocity, error = (data[name].isel(component=0).values for name in ("velocity", "velocity_error"))
    mass = data["density"].values
    assert np.average(velocity, weights=mass) > 2 * np.average(error, weights=mass)
    assert len(list((tmp_path / "run").glob("flow-*.png"))) == 1
