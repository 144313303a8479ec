"""The report: what it says first, what it never says, and that it can be opened anywhere."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, ClassVar

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from evaluation.backtests.backtest import BacktestResult, backtest, best_and_worst, leader
from evaluation.backtests.plan import Plan
from evaluation.backtests.store import Store
from evaluation.comparison import compare_pairs
from evaluation.nulls.worlds import NullResult
from evaluation.report.pictures import draw_predictions, plot_gains, plot_strips, plot_windows
from evaluation.report.report import _series, _verdict, leaderboard, write_report
from stpp.domain import Box, Grid
from stpp.events import Events, Window
from stpp.intensity import AnyForecast, Forecast, IntensityModel
from stpp.models import make_models
from stpp.models.poisson import Uniform

mpl.use("Agg")

PLAN = Plan(train_start=0, test=Window(10, 16), step=0.5, grid=12)
MANIFEST = {
    "kind": "evaluate", "arguments": {"models": ["uniform"]}, "seed": 3, "versions": {"stpp": "1"},
    "input": {"sha256": "abc", "path": "/there/a b.csv", "reading": {}},
}  # fmt: skip
HOSTILE = "<img src=x onerror=alert(1)>|`$x_$"


def drifting(d: int = 2, n: int = 900, axes: Sequence[str] = ()) -> Events:
    """A blob that moves along the first axis."""
    rng = np.random.default_rng(0)
    t = np.sort(rng.uniform(0, 16, n))
    x = np.full((n, d), 0.5) + rng.normal(0, 0.08, (n, d))
    x[:, 0] += 0.6 * t / 16 - 0.3
    return Events(t, np.clip(x, 0, 1), rng.integers(0, 5, n).astype(float), axes=tuple(axes))


def run(
    store: Path | None,
    events: Events | None = None,
    plan: Plan = PLAN,
    names: Sequence[str] = ("historical-average", "uniform", "decaying-kde"),
    **more: IntensityModel,
) -> BacktestResult:
    events = drifting() if events is None else events
    domain = Box((0,) * events.d, (1,) * events.d)
    models = make_models(names, domain, 1.0) | more
    if store is not None:
        store.mkdir(exist_ok=True)
    kept = Store(store) if store else None
    return backtest(events, models, plan, rng=np.random.default_rng(0), store=kept)


@dataclass(frozen=True, kw_only=True)
class Half(Uniform):
    """Rules out the upper half of the first axis."""

    name: ClassVar[str] = "half"

    def forecast(self, window: Window, history: Events, grid: Grid | None) -> AnyForecast:
        assert grid is not None
        counts = np.zeros(grid.shape)
        counts[: grid.shape[0] // 2] = 1
        return Forecast.of(window, grid, counts, "half", 0.0)


@pytest.fixture(scope="module")
def written(result: BacktestResult, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a report with everything in it."""
    folder = tmp_path_factory.mktemp("report")
    write_report(result, folder, title="Test", manifest=MANIFEST, nulls=nulls(2.0))
    return folder


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> BacktestResult:
    return run(tmp_path_factory.mktemp("store"))


def nulls(observed: float) -> list[NullResult]:
    values = tuple(np.random.default_rng(0).normal(0, 0.1, 39))
    return [NullResult("information gain of decaying-kde", "time-shuffle", observed, values, 123.456)]


class Page(HTMLParser):
    """Tags and attributes of a page, and its text."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.mark.slow
def test_the_verdict_comes_first(written: Path) -> None:
    lines = (written / "report.md").read_text().splitlines()
    assert lines[0] == "# Test"
    assert lines[2].startswith("- decaying-kde beats historical-average: the 95 %")
    assert any(line.startswith("- Real after Holm's correction over all 3 pairs of models") for line in lines)
    assert any("above what the null worlds of time-shuffle give" in line for line in lines)
    text = " ".join(Page(written / "report.html").text.split())
    assert text.index("beats historical-average") < text.index("Leaderboard") < text.index("What the numbers mean")
    names = {"gains", "strips", "windows", "best", "worst", "nulls"}
    assert {path.stem for path in written.glob("*.png")} == names


@pytest.mark.slow
def test_no_signal_is_said_plainly(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    still = Events(np.sort(rng.uniform(0, 16, 400)), rng.uniform(size=(400, 2)))
    result = run(None, still, names=("uniform", "decaying-kde"), plan=replace(PLAN, reference="uniform"))
    write_report(result, tmp_path, nulls=nulls(0.0))
    text = (tmp_path / "report.md").read_text()
    assert "- No signal: no model is shown to beat uniform" in text
    assert "No difference between models is real" in text or "uniform over decaying-kde" in text
    assert "not above what the null worlds of time-shuffle give" in text


def test_the_page_stands_alone(written: Path) -> None:
    page = Page(written / "report.html")
    images = [attributes for tag, attributes in page.tags if tag == "img"]
    assert len(images) == 6
    for image in images:
        assert str(image["src"]).startswith("data:image/png;base64,")
        assert len(str(image["alt"])) > 30
        assert int(str(image["width"])) > 300
    assert not {"script", "link", "iframe", "object"} & {tag for tag, _ in page.tags}
    text = (written / "report.html").read_text()
    assert "http://" not in text
    assert "https://" not in text
    assert "prefers-color-scheme: dark" in text
    assert "@media print" in text
    tables = sum(tag == "table" for tag, _ in page.tags)
    assert tables == sum(tag == "caption" for tag, _ in page.tags) == 5
    assert "stpp evaluate 'a b.csv'" in page.text
    assert all("scope" in attributes for tag, attributes in page.tags if tag == "th")


@pytest.mark.slow
def test_the_same_result_gives_the_same_bytes(result: BacktestResult, written: Path, tmp_path: Path) -> None:
    """However long it took, and over what was there before."""
    slower = replace(result, cost=result.cost * 7.77)
    (tmp_path / "report.md").write_text("older")
    tested = [replace(null, seconds=99.0) for null in nulls(2.0)]
    assert write_report(slower, tmp_path, title="Test", manifest=MANIFEST, nulls=tested) == tmp_path / "report.html"
    assert contents(tmp_path) == contents(written)
    assert len(contents(written)) == 8
    assert b"seconds" not in contents(written)["report.md"]


@pytest.mark.slow
def test_hostile_names_stay_text(tmp_path: Path) -> None:
    events = drifting(axes=(HOSTILE, "[a](javascript:alert(1))"))
    result = run(tmp_path / "store", events)
    page = write_report(
        result, tmp_path, title=HOSTILE, manifest=MANIFEST | {"arguments": {"reference": HOSTILE}, HOSTILE: [HOSTILE]}
    )
    tags = Page(page).tags
    assert sum(tag == "img" for tag, _ in tags) == 5
    assert not any(name.startswith("on") for _, attributes in tags for name in attributes)
    text = (tmp_path / "report.md").read_text()
    assert "<img" not in text
    assert "](javascript" not in text.replace(r"\](", "")
    rows = [line for line in text.splitlines() if "onerror" in line and line.startswith("| ")]
    assert all(len(re.findall(r"(?<!\\)\|", row)) == 3 for row in rows)
    assert len(rows) == 2


@pytest.mark.slow
@pytest.mark.parametrize("d", [1, 2, 3, 4])
def test_every_dimension_has_its_report(d: int, tmp_path: Path) -> None:
    plan = replace(PLAN, test=Window(10, 12), step=1, grid=6)
    path = write_report(run(tmp_path / "store", drifting(d, 300), plan), tmp_path)
    text = (tmp_path / "report.md").read_text()
    assert "| decaying-kde |" in text
    assert (tmp_path / "best.png").exists() == (tmp_path / "worst.png").exists() == (d <= 3)
    assert ("No map: the domain has 4 dimensions" in text) == (d > 3)
    assert "nan" not in text
    assert "best.png" not in Page(path).text


@pytest.mark.slow
def test_zoom_and_windows_that_are_not_kept(tmp_path: Path) -> None:
    result = run(None, plan=replace(PLAN, zoom=Box((0.2, 0.2), (0.8, 0.8))))
    write_report(result, tmp_path)
    text = (tmp_path / "report.md").read_text()
    assert "No map of a window whose forecast was not kept." in text
    assert "scored in the zoom box" in text
    (zoomed,) = draw_predictions(run(tmp_path / "store", plan=result.plan), "decaying-kde", [0])
    assert all(ax.patches[0].get_bbox().bounds == pytest.approx((0.2, 0.2, 0.6, 0.6)) for ax in zoomed.axes[:2])


@pytest.mark.slow
def test_one_window_and_one_model(tmp_path: Path) -> None:
    single = run(tmp_path / "one", plan=replace(PLAN, test=Window(10, 10.5)))
    write_report(single, tmp_path)
    text = (tmp_path / "report.md").read_text()
    assert "one window has no spread" in text
    assert "[-inf" not in text
    assert "The only window of decaying-kde" in text
    gap = drifting()
    gap = gap.take((gap.t < 10) | ((gap.t >= 12) & (gap.t < 13)))  # all windows but one are empty
    assert "10 windows without events" in leaderboard(run(None, gap))
    alone = run(tmp_path / "alone", names=("historical-average",))
    write_report(alone, tmp_path)
    text = (tmp_path / "report.md").read_text()
    assert "Only the reference, historical-average, was evaluated" in text
    assert "Model against model" not in text
    assert leader(alone) == "historical-average"
    assert len(best_and_worst(alone)) == 2


@pytest.mark.slow
def test_a_model_that_ruled_out_what_came(tmp_path: Path) -> None:
    result = run(tmp_path / "store", names=("historical-average",), half=Half(domain=Box((0, 0), (1, 1))))
    write_report(result, tmp_path)
    text = (tmp_path / "report.md").read_text()
    assert "| half | −∞ |" in text
    assert "half gave density 0 to an event that came, in 12 windows: its gain is −∞" in text
    assert "Worse than historical-average: half" in text
    assert "historical-average beats half, which gave density 0" in text
    assert "information gain −∞ nats per event" in text  # under its map


def test_leaderboard_says_what_is_improper_what_it_cost_and_who_is_better(result: BacktestResult) -> None:
    header, first, second, third, *rest = leaderboard(result).splitlines()
    assert "FDS (improper)" in header
    assert "memory (MB)" in header
    assert first.startswith("decaying-kde")
    assert first.endswith("better than historical average")
    assert second.endswith("the reference")
    assert f"{result.cost.loc['uniform', 'seconds']:.2f}" in third
    assert any("approximate" in line for line in rest)


def test_best_and_worst_are_the_leaders(result: BacktestResult) -> None:
    mine = result.table[result.table["model"] == "decaying-kde"].set_index("window")["information_gain"]
    assert leader(result) == "decaying-kde"
    assert best_and_worst(result) == (mine.idxmax(), mine.idxmin())


def table(**scores: Any) -> pd.DataFrame:
    start = pd.date_range("2020-01-01", periods=3, tz="UTC")
    return pd.DataFrame({"model": ["a"] * 3 + ["b"] * 3, "start": [*start, *start], **scores})


def test_windows_show_dots_and_means_per_model() -> None:
    scores = table(fds=[1, 2, np.nan, 4, 4, 4.0])
    ax = plot_windows(scores, "fds", ax=Figure().subplots())
    a, mean_a, b, mean_b = ax.lines
    assert (len(a.get_xdata()), mean_a.get_ydata()[0]) == (2, 1.5)  # the window without a score is left out
    assert (len(b.get_xdata()), mean_b.get_ydata()[0]) == (3, 4)
    assert ax.get_xlabel() == "start of the window (UTC)"
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["a", "b"]
    gain = plot_windows(scores.rename(columns={"fds": "information_gain"}), ax=Figure().subplots())
    assert gain.lines[0].get_ydata()[0] == 0  # the reference
    for plot in (plot_windows, plot_strips):
        with pytest.raises(ValueError, match="no column 'nonsense'"):
            plot(scores, "nonsense")


def test_strips_show_dots_means_and_what_is_impossible() -> None:
    ax = plot_strips(table(information_gain=[0.1, 0.3, np.nan, 1, -np.inf, 2]), ax=Figure().subplots())
    _, a, b = ax.lines
    assert (len(a.get_xdata()), len(b.get_xdata())) == (2, 2)
    assert np.ptp(a.get_ydata()) > 0  # spread, so that dots do not hide each other
    _, dash = ax.collections  # of a alone: b's mean is −∞
    assert dash.get_segments()[0][0][0] == pytest.approx(0.2)
    assert [text.get_text() for text in ax.texts] == ["−∞ in 1"]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["a", "b"]
    assert ax.yaxis_inverted()  # the first on top
    wide = plot_strips(table(fds=[1, 2, 300, 1, 1, 1.0]), "fds", ax=Figure().subplots())
    assert wide.get_xscale() == "log"
    assert "improper" in wide.get_xlabel()


def test_gains_are_drawn_to_the_scale_of_the_best() -> None:
    bounds = {"information_gain": [0.02, 0.0, -1.2, -math.inf], "low": [0.01, 0, -1.3, -math.inf]}
    summary = pd.DataFrame(bounds | {"high": [0.03, 0, -1.1, -math.inf]}, index=["good", "ref", "bad", "never"])
    ax = plot_gains(summary, ax=Figure().subplots())
    assert ax.get_xlim()[0] > -0.1
    assert [text.get_text() for text in ax.texts] == ["−1.2", "−∞"]
    assert len(ax.collections) == 2  # intervals of the two that are near
    assert plot_gains(summary.iloc[2:3], ax=Figure().subplots()).get_xlim()[0] < -1.2


def test_the_headline_follows_the_corrected_verdict(result: BacktestResult) -> None:
    """An interval above 0 that Holm's correction takes away is not called a win in the first line."""
    pairs = compare_pairs(*_series(result), overlap=1, rng=np.random.default_rng(0))
    gains = {
        name: replace(gain, low=0.1, high=0.3, mean=0.2) if name != result.plan.reference else gain
        for name, gain in result.gains.items()
    }
    ahead = replace(result, gains=gains)
    lines = _verdict(ahead, pairs.assign(real=False), [])
    assert lines[0].startswith("Not settled: no model is shown to beat")
    assert "lies above 0, but with so many models compared that may be chance (Holm)." in lines[1]
    assert lines[-1].startswith("No difference between models is real")
    assert not any(" beats " in line or " beat " in line for line in lines[1:])
