"""Scripts and the command line make the same runs; a new model is one class and one line, options included."""

from __future__ import annotations

import json
import runpy
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd
import pytest

import basins
import evaluation
import stpp
from stpp.compute.progress import Progress
from stpp.domain import Array, Grid
from stpp.events import Events, Window
from stpp.fitting.results import FitResult
from stpp.intensity import IntensityModel
from stpp.models import MODELS
from stpp.options import option
from stpp.runs.reproduction import compare_runs

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def planted() -> Events:
    """A quarter of the bundled sample."""
    events = stpp.read_events(ROOT / "data" / "planted.parquet")
    return events.take(np.arange(0, len(events), 4))


# -- the script of the documentation ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def script(planted: Events, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which ``docs/notebook.py`` was run."""
    folder = tmp_path_factory.mktemp("script")
    frame = planted.to_frame().rename(columns={"x0": "x", "x1": "y"})
    frame.assign(t=planted.t).to_parquet(folder / "posts.parquet")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(sys, "argv", ["notebook.py", "posts.parquet"])
        runpy.run_path(str(ROOT / "docs" / "notebook.py"))
    return folder


def test_the_script_is_short_and_in_the_guide():
    text = (ROOT / "docs" / "notebook.py").read_text()
    assert len(text.strip().splitlines()) <= 25
    assert text[text.index("import") :].strip() in (ROOT / "docs" / "guide.md").read_text()


@pytest.mark.slow
def test_the_verbs_make_the_same_runs_byte_for_byte(script, stpp, monkeypatch):
    monkeypatch.chdir(script)
    contest = ["--models", "historical-average,decaying-kde,hawkes", "--test-start", "40"]
    assert stpp("evaluate", "events.parquet", *contest, "-o", "by-verb").exit_code == 0
    assert stpp("basins", "events.parquet", "--window", "10d", "-B", 0, "-o", "basins-by-verb").exit_code == 0
    for ours, theirs in (("judged", "by-verb"), ("basins", "basins-by-verb")):
        found = compare_runs(script / ours, script / theirs)
        assert len(found) > 8
        assert set(found.values()) == {"same"}, found
    assert "<html" in (script / "map.html").read_text()[:200]


@pytest.mark.slow
def test_a_run_of_a_script_is_reproduced_by_the_verb(script, stpp):
    done = stpp("reproduce", script / "judged", "--json")
    assert done.exit_code == 0, done.stdout
    assert set(json.loads(done.stdout).values()) == {"same"}


@pytest.mark.slow
def test_the_manifest_says_the_kind_and_what_was_asked(script):
    manifest = json.loads((script / "judged" / "manifest.json").read_text())
    assert manifest["kind"] == "evaluate"
    assert manifest["arguments"] == {"test_start": 40}  # and nothing that is at its default
    assert manifest["argv"] == []
    assert "stpp evaluate events.parquet --test-start=40" in (script / "judged" / "report.md").read_text()


@pytest.mark.slow
def test_events_in_memory_are_kept_beside_the_run(planted, tmp_path):
    where: dict[str, Any] = {"test_start": 40, "test_end": 43, "grid": 10}
    found = evaluation.evaluate(planted, ["uniform"], output=tmp_path / "run", **where)
    assert list(found.leaderboard().index) == ["historical-average", "uniform"]
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert manifest["input"]["path"] == str(tmp_path / "run.events.parquet")
    assert len(stpp.read_events(tmp_path / "run.events.parquet")) == len(planted)
    fitted = stpp.fit(planted, "uniform", output=tmp_path / "fit")
    assert stpp.load_model(tmp_path / "fit").log_likelihood(planted, planted.span) == pytest.approx(
        fitted.log_likelihood(planted, planted.span)
    )


@pytest.mark.slow
def test_lists_and_words_serve_as_boxes_and_durations(planted):
    found = basins.find(planted, window="20d", box=[0, 1, 0, 1], B=0)
    assert found.windows[0].duration == 20
    with pytest.raises(ValueError, match="'soon' is not a duration"):
        basins.find(planted, window="soon")
    with pytest.raises(ValueError, match=r"no method 'densty'.*did you mean 'density'"):
        basins.find(planted, "densty")


def test_where_authors_are_known_the_null_that_tells_who_from_interaction_is_named():
    rng = np.random.default_rng(0)
    t, x = np.sort(rng.uniform(0, 20, 300)), rng.uniform(size=(300, 2))
    known = Events(t, x, author=rng.integers(2, size=300), authors=("ann", "bob"))
    where: dict[str, Any] = {"test_start": 17, "grid": 5}
    hint = "'stpp null EVENTS --model decaying-kde --null within-author' tells them apart"
    assert hint in str(evaluation.evaluate(known, ["decaying-kde"], **where))
    assert hint not in str(evaluation.evaluate(Events(t, x), ["decaying-kde"], **where))


# -- a new model --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, eq=False)
class Toy(IntensityModel):
    """A constant rate, of which a share lies in the lower half of the first axis.

    Parameters
    ----------
    share : of the rate
    half_life : of nothing; it only shows that durations are read
    """

    name: ClassVar[str] = "toy"
    summary_line: ClassVar[str] = "a constant rate, uneven"

    share: float = option(0.5, "share of the lower half", least=0, metavar="S")
    half_life: float = option(1.0, "of nothing", kind="duration")
    rate: float = float("nan")

    def fit(self, events: Events, window: Window, *, progress: Progress | None = None) -> Self:
        """The mean rate."""
        n = len(self.training_events(events, window))
        rate = n / window.duration
        result = FitResult(n, n * np.log(rate) - n, {}, 1, rate, 0.0, True, 0.0)
        return replace(self, rate=rate, result=result)

    def density(self, x: Array) -> Array:
        """(n,) that integrates to 1."""
        middle = (self.domain.low[0] + self.domain.high[0]) / 2
        return np.where(x[:, 0] < middle, self.share, 1 - self.share) * 2 / self.domain.volume

    def intensity(self, t: Array, x: Array, history: Events) -> Array:
        """Of a place."""
        return self.rate * self.density(x)

    def compensator(self, window: Window, history: Events, grid: Grid) -> Array:
        """Of cells that lie in one half."""
        values = self.density(grid.points()) * self.rate * window.duration * grid.box.volume / grid.cells
        return values.reshape(grid.shape)

    def total_compensator(self, window: Window, history: Events) -> float:
        """Of all."""
        return self.rate * window.duration

    def simulate(self, window: Window, history: Events, rng: np.random.Generator) -> Events:
        """Thinned uniform places."""
        n = rng.poisson(self.rate * window.duration)
        x = rng.uniform(self.domain.low, self.domain.high, (4 * n, self.domain.d))
        kept = rng.uniform(size=len(x)) < self.density(x) * self.domain.volume / 2
        t = np.sort(rng.uniform(window.start, window.end, int(kept.sum())))
        return Events(t, x[kept], epoch=history.epoch, axes=history.axes)


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one line."""
    monkeypatch.setitem(MODELS, "toy", Toy)


@pytest.mark.usefixtures("registered")
def test_a_toy_model_with_two_options_is_one_class_and_one_line(stpp, events, tmp_path):
    told = stpp("fit", "toy", "--help").stdout
    assert "--share S" in told
    assert "--half-life DURATION" in told
    done = stpp("fit", "toy", events, "--share", "0.25", "--set", "half-life=12h", "-o", tmp_path / "run", "--json")
    assert done.exit_code == 0, done.stderr
    model = stpp_load(tmp_path / "run")
    assert (model.share, model.half_life) == (0.25, 0.5)
    where = ["--test-start", "2020-01-31", "--test-end", "2020-02-03", "--grid", 10, "--json"]
    judged = stpp("evaluate", events, "--models", "toy", "--share", 0.4, *where)
    assert set(json.loads(judged.stdout)["models"]) == {"historical-average", "toy"}
    refused = stpp("fit", "toy", events, "--share", "-1")
    assert refused.stderr.endswith("stpp: error: --share must be 0 or more, got -1\n")


def stpp_load(run: Path) -> Toy:
    model = stpp.load_model(run)
    assert isinstance(model, Toy)
    return model


# -- frames -------------------------------------------------------------------------------------------------------


def test_frames_and_events_turn_into_one_another():
    frame = pd.DataFrame({
        "t": pd.to_datetime(["2020-01-02T00:00:00.000000Z", "2020-01-01T06:00:00.000001Z"]),
        "x": [0.1, 0.2], "y": [1.0, 2.0], "weight": [1.0, 3.0], "author": ["ann", None], "likes": [4, 5],
    })  # fmt: skip
    events = Events.from_frame(frame, weight="weight", author="author")
    again = Events.from_frame(events.to_frame(), coords=("x", "y"), weight="weight", author="author")
    pd.testing.assert_frame_equal(again.to_frame(), events.to_frame())
    assert events.mark("likes").tolist() == [5, 4]
    assert events.author.tolist() == [-1, 0]
    with pytest.raises(ValueError, match="no column 'z'; it has t, x, y"):
        Events.from_frame(frame, coords=("x", "z"))
    with pytest.raises(ValueError, match="'x' lacks 1 of 2 values"):
        Events.from_frame(frame.assign(x=[0.1, np.nan]))


def test_what_a_notebook_shows_is_escaped():
    frame = pd.DataFrame({"t": [0.0], "x": [0.0], "y": [0.0], "text": ["<script>alert(1)</script>"]})
    shown = Events.from_frame(frame)._repr_html_()
    assert "&lt;script&gt;" in shown
    assert "<script>" not in shown
