"""Animations: two frames a window, the same map throughout, files that browsers play."""

from __future__ import annotations

import builtins
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from evaluation.backtests.backtest import BacktestResult, backtest
from evaluation.backtests.plan import Plan
from evaluation.backtests.store import Store
from evaluation.report.animation import HALF_SECONDS, animate, animate_run
from stpp.domain import Box
from stpp.events import Events, Window
from stpp.flow.files import read_flows
from stpp.models import make_models


def run(store: Path | None, d: int = 2, high: float = 1.0) -> BacktestResult:
    """Three windows, the second of them without events."""
    rng = np.random.default_rng(0)
    t = np.sort(rng.uniform(0, 13, 300))
    events = Events(t, rng.uniform(size=(300, d)) * high, rng.integers(1, 9, 300), axes=("$a$", "b", "c", "d")[:d])
    events = events.take((t < 11) | (t >= 12))
    domain = Box((0,) * d, (high, *(1,) * (d - 1)))
    plan = Plan(train_start=0, test=Window(10, 13), step=1, grid=8, reference="uniform")
    models = make_models(("uniform", "historical-average"), domain, 1.0)
    return backtest(events, models, plan, rng=np.random.default_rng(0), store=Store(store) if store else None)


def pixels(gif: Path) -> list[np.ndarray]:
    with Image.open(gif) as image:
        frames = []
        for k in range(image.n_frames):
            image.seek(k)
            frames.append(np.asarray(image.convert("RGB")).astype(int))
    return frames


def test_two_frames_a_window_on_one_map(tmp_path: Path) -> None:
    result = run(tmp_path)
    heard: list[tuple[str, int, int]] = []
    folder = tmp_path / "image_outputs" / "deep"
    (gif,) = animate(result, "historical-average", folder, formats=["gif"], progress=lambda *said: heard.append(said))
    assert gif == folder / "historical-average.gif"
    assert heard == [("historical-average", k, 3) for k in (1, 2, 3)]
    assert [path.name for path in folder.iterdir()] == [gif.name]  # nothing temporary left
    frames = pixels(gif)
    assert len(frames) == 6
    height, width, _ = frames[0].shape
    assert height % 2 == width % 2 == 0
    changed = [np.abs(b - a).sum(axis=2) > 60 for a, b in zip(frames[::2], frames[1::2], strict=True)]
    title, map_ = slice(0, height // 12), slice(height // 8, height)
    assert all(one[title].any() for one in changed)  # the scores come with what happened
    assert changed[0][map_].any()
    assert not changed[1][map_].any()  # no event came
    assert changed[2][map_].any()
    bar = slice(int(0.85 * width), width)
    assert all((np.abs(frame - frames[0])[map_, bar] < 60).all() for frame in frames)  # one colour scale
    with Image.open(gif) as image:
        assert image.info["duration"] == 500 * HALF_SECONDS[0]
        assert image.info["loop"] == 0


def test_the_same_result_gives_the_same_gif(tmp_path: Path) -> None:
    result = run(tmp_path)
    for name in ("a", "b"):
        animate(replace(result, cost=result.cost * 3), "uniform", tmp_path / name, formats=["gif"])
    assert (tmp_path / "a" / "uniform.gif").read_bytes() == (tmp_path / "b" / "uniform.gif").read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize(("d", "high"), [(1, 1.0), (2, 0.37), (3, 1.0)])
def test_every_map_becomes_an_mp4_that_browsers_play(d: int, high: float, tmp_path: Path) -> None:
    ffmpeg = pytest.importorskip("imageio_ffmpeg")
    paths = animate(run(tmp_path, d, high), "historical-average", tmp_path, formats=["mp4", "gif"])
    assert [path.suffix for path in paths] == [".mp4", ".gif"]
    told = subprocess.run([ffmpeg.get_ffmpeg_exe(), "-i", paths[0]], capture_output=True, text=True).stderr
    assert "Video: h264" in told
    assert "yuv420p" in told
    assert "Duration: 00:00:04.50" in told  # 3 windows × (½ + 1) s
    with Image.open(paths[1]) as image:
        assert f"{image.width}x{image.height}" in told
    head = paths[0].read_bytes()
    assert head.index(b"moov") < head.index(b"mdat")  # plays before all of it has come


def test_what_cannot_be_animated_is_said_before_any_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = run(tmp_path)
    with pytest.raises(ValueError, match="no model 'hawkes' was evaluated; there are: uniform, historical-average"):
        animate(result, "hawkes", tmp_path)
    with pytest.raises(ValueError, match="format avi: there are gif and mp4"):
        animate(result, "uniform", tmp_path, formats=["avi"])
    with pytest.raises(ValueError, match="no forecasts were kept"):
        animate(run(None), "uniform", tmp_path)
    (tmp_path / "high").mkdir()
    with pytest.raises(ValueError, match="none over 4 dimensions"):
        animate(run(tmp_path / "high", d=4), "uniform", tmp_path)
    (tmp_path / "uniform.gif").write_text("mine")
    with pytest.raises(ValueError, match="exists"):
        animate(result, "uniform", tmp_path, formats=["gif"])
    assert (tmp_path / "uniform.gif").read_text() == "mine"
    animate(result, "uniform", tmp_path, formats=["gif"], force=True)
    assert (tmp_path / "uniform.gif").read_bytes().startswith(b"GIF89a")
    real = builtins.__import__

    def without(name: str, *rest: object) -> object:
        if name == "imageio_ffmpeg":
            raise ImportError(name)
        return real(name, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ValueError, match="pip install imageio-ffmpeg"):
        animate(result, "uniform", tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_an_interrupted_animation_leaves_nothing(tmp_path: Path) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        animate(run(tmp_path), "uniform", tmp_path / "out", progress=stop)
    assert not list((tmp_path / "out").iterdir())


@pytest.fixture(scope="module")
def folder(stpp, events, tmp_path_factory) -> Path:
    """Runs of each kind: an evaluation of six windows whose forecasts were not all kept, a fit, flows."""
    folder = tmp_path_factory.mktemp("runs")
    words = ["--test-start", "2020-01-31", "--test-end", "2020-02-06", "--step", "1d", "--grid", 8]
    commands = {
        "evaluation": ["evaluate", events, "--models", "uniform,decaying-kde", *words],
        "fit": ["fit", "historical-average", events, "--end", "2020-01-31"],
        "flow": ["flow", events, "--step", "8d"],
    }
    for name, command in commands.items():
        done = stpp(*command, "-o", folder / name)
        assert done.exit_code == 0, done.stderr
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "model", "frames"), [("evaluation", "decaying-kde", 12), ("fit", "historical-average", 18)]
)
def test_a_run_becomes_one_animation(kind: str, model: str, frames: int, folder: Path, tmp_path: Path) -> None:
    heard: list[tuple[str, int, int]] = []
    path = tmp_path / "new" / "out.gif"
    assert animate_run(folder / kind, path, progress=lambda *said: heard.append(said)) == path
    shown = pixels(path)
    assert len(shown) == frames
    assert heard == [(model, k, frames // 2) for k in range(1, frames // 2 + 1)] * 2  # issued, then drawn
    assert (np.abs(shown[0] - shown[1]).sum(axis=2) > 60).any()  # what came
    assert [file.name for file in path.parent.iterdir()] == ["out.gif"]


@pytest.mark.slow
def test_an_evaluation_shows_any_of_its_models_and_a_fit_windows_of_any_length(folder: Path, tmp_path: Path) -> None:
    best, uniform, longer = (tmp_path / f"{name}.gif" for name in ("best", "uniform", "longer"))
    animate_run(folder / "evaluation", best, model="decaying-kde")
    animate_run(folder / "evaluation", uniform, model="uniform")
    assert best.read_bytes() != uniform.read_bytes()
    animate_run(folder / "fit", longer, step=3.0, cells=10)
    assert len(pixels(longer)) == 6


@pytest.mark.slow
def test_flows_become_one_animation(folder: Path, tmp_path: Path) -> None:
    flows = read_flows(folder / "flow" / "flow.nc")
    heard: list[tuple[str, int, int]] = []
    path = animate_run(folder / "flow", tmp_path / "wind.gif", progress=lambda *said: heard.append(said))
    assert len(pixels(path)) == len(flows) > 1
    assert heard[-1] == ("drift", len(flows), len(flows))


BAD_RUNS = {
    "format": ("evaluation", "out.avi", {}, "format avi: there are gif and mp4"),
    "no format": ("evaluation", "out", {}, "there are gif and mp4"),
    "model of an evaluation": ("evaluation", "out.gif", {"model": "moon"}, "no model 'moon' was evaluated"),
    "model of a fit": ("fit", "out.gif", {"model": "hawkes"}, "is a run of historical-average, not of hawkes"),
    "no run": ("nowhere", "out.gif", {}, "manifest.json is missing"),
    "long step": ("fit", "out.gif", {"step": 100.0}, "take a shorter --step"),
    "exists": ("fit", "there.gif", {}, "there.gif exists: --force overwrites it"),
}


@pytest.mark.parametrize(("kind", "name", "how", "message"), list(BAD_RUNS.values()), ids=list(BAD_RUNS))
def test_a_run_that_cannot_be_animated_is_said(
    kind: str, name: str, how: dict[str, Any], message: str, folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "there.gif").write_text("mine")
    with pytest.raises(ValueError, match=message) as error:
        animate_run(folder / kind, tmp_path / name, **how)
    assert "\n" not in str(error.value)
    assert [path.name for path in tmp_path.iterdir()] == ["there.gif"]
    assert (tmp_path / "there.gif").read_text() == "mine"
