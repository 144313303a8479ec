"""The report on basins: what it says first, that it says plainly when there is nothing, and that it can be opened."""

from __future__ import annotations

import csv
import functools
import itertools
import json
import re
from collections.abc import Sequence
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import matplotlib as mpl
import networkx as nx
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from basins.analysis import Analysis
from basins.basin import Found, describe
from basins.finders.density import DensityFinder
from basins.report.lifecycle import draw_lifecycle
from basins.report.pictures import SMALL_MAPS, chosen_windows, draw_window
from basins.report.report import lines, to_json_dict, write_report
from basins.report.report_tables import FEATURES, SCORES
from basins.report.tables import write_tables
from basins.space import Space
from basins.tracks import continuation
from basins.tracks.naming import names
from basins.tracks.tracking import Link, Track, Tracking
from evaluation.continuation import continuation_scores
from stpp.domain import Box, Grid
from stpp.events import Events, Window
from stpp.partition import Partition

mpl.use("Agg")

HOSTILE = "<img src=x onerror=alert(1)>|`$x_$"
CORNERS = np.array([[0.2, 0.2, 0.5], [0.8, 0.2, 0.5], [0.5, 0.8, 0.5]])


@functools.cache
def an_analysis(
    lives: tuple[tuple[int, ...], ...] = ((0, 1), (0, 1), (0, 1, 2), (0, 1), (0,)),
    d: int = 2,
    grid: bool = True,
    verdict: str = "no change beyond chance",
    axes: tuple[str, ...] = (),
) -> tuple[Events, Analysis]:
    """Basins in the corners, by window: 1 merges into 0 at the end, 2 splits from 1 and dies."""
    rng = np.random.default_rng(0)
    box = Box((0.0,) * d, (1.0,) * d)
    label = np.concatenate([rng.choice(alive or (0, 1, 2), 90) for alive in lives])
    x = (CORNERS[:, :d] if d <= 3 else np.pad(CORNERS, ((0, 0), (0, d - 3)), constant_values=0.5))[label]
    x = np.clip(x + rng.normal(0, 0.06, x.shape), 0, 1)
    t = np.repeat(np.arange(len(lives)) * 7.0, 90) + np.tile(np.linspace(0, 6.9, 90), len(lives))
    words = np.array(["zika virus funding", "tax reform bill", f"climate {HOSTILE} ocean"])
    marks = pa.table({"text": [f"{words[k]} {HOSTILE}" for k in label]})
    events = Events(t, x, marks=marks, axes=tuple(axes), epoch="2016-01-04T00:00:00+00:00")
    cells = Partition.of_grid(Grid.over(box, {1: 60, 2: 24, 3: 10}[d])) if grid else None
    space = Space(cells or Partition.around_landmarks(x, 40, box, rng), 0.08)
    windows = tuple(Window(7.0 * k, 7.0 * k + 7) for k in range(len(lives)))
    snapshots = tuple(space.see(events, window) for window in windows)
    home = CORNERS[:, :d] if d <= 3 else np.pad(CORNERS, ((0, 0), (0, d - 3)), constant_values=0.5)
    apart = np.linalg.norm(space.partition.centres[:, None] - home, axis=2)
    member = (apart.argmin(axis=1)[None] == np.arange(3)[:, None]) & (apart.min(axis=1) < 0.25)
    found, which = [], []
    for snapshot, alive in zip(snapshots, lives, strict=True):
        basins = describe(snapshot, member[list(alive)].astype(float), np.full(len(alive), 0.9))
        found.append(Found(basins))
        which.append([int(np.argmin(np.linalg.norm(home - basin.centre, axis=1))) for basin in basins])
    tracking = _tracking(which)
    table, forecasts = _tables(windows, found, tracking, events.axes)
    rows = [
        {"track": track.id, "windows": len(track.basins), "probability": 0.9, "change": 1.2, "change_p": 0.4}
        | {"trend_slope": 0.1, "trend_low": -0.1, "trend_high": 0.3, "trend_r2": 0.5, "trend_p": 0.2, "trend_z": 1.3}
        | {"trend_p_adjusted": 0.4, "verdict": verdict}
        for track in tracking.tracks
    ]
    columns = ["track", "windows", "probability", "change", "change_p", "verdict"]
    tests = [{"null": "time-shuffle", "statistic": "stability", "observed": 0.9, "null_mean": 0.5, "null_sd": 0.1}]
    texts = [str(text) for text in events.mark("text")]
    finder = DensityFinder(space=space)
    analysis = Analysis(
        method="density",
        title=f"Basins of {HOSTILE}",
        finder=finder,
        windows=windows,
        training=2,
        snapshots=snapshots,
        found=tuple(found),
        tracking=tracking,
        measures=table,
        forecasts=forecasts,
        tuning=pd.DataFrame({"C": [1.0]}),
        significance=pd.DataFrame(rows, columns=columns if not rows else None),
        names=names(snapshots, [one.basins for one in found], tracking, texts, events.axes),
        scores={"cases": 30.0, "auroc": 0.8, "brier": 0.1, "brier_base": 0.2, "log_loss": float("nan")},
        tests=pd.DataFrame([one | {"p_value": 0.05, "B": 19} for one in tests]),
        remarks=(f"fewer than asked {HOSTILE}",),
    )
    return events, analysis


def _tracking(which: Sequence[Sequence[int]]) -> Tracking:
    """Track k is corner k; 2 splits from 1, and whoever dies with 1 in the last window merges into 0."""
    last, tracks, links = len(which) - 1, [], []
    for corner in sorted({c for window in which for c in window}):
        places = [(k, window.index(corner)) for k, window in enumerate(which) if corner in window]
        death = places[-1][0] + 1 if places[-1][0] < last else None
        heir = 0 if corner == 1 and death == last else None
        tracks.append(Track(corner, tuple(places), places[0][0], death, (1,) if places[0][0] > 0 else (), heir))
        links += [Link(k, b, c, 0.9, 0.01, 0.9, 0.8, "continues") for (k, b), (_, c) in itertools.pairwise(places)]
    return Tracking(tuple(tracks), tuple(links))


def _tables(
    windows: Sequence[Window], found: Sequence[Found], tracking: Tracking, axes: Sequence[str]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    rows, forecasts = [], []
    for k, one in enumerate(found):
        for basin in one.basins:
            key = {"window": k, "basin": basin.id, "track": tracking.track_of(k, basin.id)}
            centre = {f"centre_{axis}": value for axis, value in zip(axes, basin.centre, strict=True)}
            known = {"mass": basin.mass, "share": basin.share, "posts": basin.posts, "probability": basin.probability}
            strength = {"peak": basin.peak, "saddle": basin.saddle, "barrier": 0.7, "escape_time": np.inf}
            inward = {"inward_fraction": 0.6, "inward_fraction_low": 0.5, "inward_fraction_high": 0.7}
            window = {"start": windows[k].start, "end": windows[k].end}
            rows.append(key | window | centre | known | strength | inward | {"escape_rate": np.nan})
            said = {"share": basin.share, "p_continue": 0.9, "expected_share": basin.share, "low": 0.1, "high": 0.6}
            more = {"p_grow": 0.75, "p_sustained": np.nan, "next_share": np.nan, "remark": ""}
            forecasts.append(key | said | more | {"continues": np.nan if k == len(found) - 1 else 1.0})
    return pd.DataFrame(rows), pd.DataFrame(forecasts, columns=None if forecasts else ["window", "track"])


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


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a report with everything in it."""
    folder = tmp_path_factory.mktemp("basins")
    events, analysis = an_analysis(axes=(HOSTILE, "charity"))
    graph = nx.DiGraph()
    graph.add_node(0, name=HOSTILE)
    graph.add_edge(0, 0, kind="excites", offspring=0.4, low=0.2, high=0.6)
    write_tables(replace(analysis, influence=graph), events, folder)
    write_report(replace(analysis, influence=graph), events, folder, texts=True)
    return folder


@pytest.fixture(scope="module")
def twice(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The folders of one small report written twice, without texts."""
    events, analysis = an_analysis(lives=((0,), (0, 1)))
    folders = tmp_path_factory.mktemp("one"), tmp_path_factory.mktemp("other")
    for folder in folders:
        write_tables(analysis, events, folder)
        write_report(analysis, events, folder)
    return folders


@pytest.mark.slow
def test_the_verdict_comes_first(written: Path) -> None:
    said = [line[2:] for line in (written / "report.md").read_text().splitlines()[2:7]]
    assert said[0].startswith("There is 1 basin now: in the newest 7 days (2016-02-01 to 2016-02-07) it holds")
    assert said[1].startswith("The largest is 0 “funding, virus, zika” with")
    assert "2 times as dense as the easiest way out" in said[1]
    assert said[2].startswith("Since the window before, merged: 1 “bill, reform, tax” into 0 “funding, virus, zika”")
    assert said[3].startswith("Likely to go on in the next 7 days: 0 “funding, virus, zika” 90 %; likely to grow")
    assert said[4] == "No signal in time: none of these basins changes more than chance does (19 time-shuffle worlds)."


def test_what_is_beyond_chance_is_named() -> None:
    _, analysis = an_analysis(verdict="grows beyond chance")
    assert "grow beyond chance" in lines(analysis)[4]
    assert "No signal" not in lines(analysis)[4]
    untested = analysis.significance.assign(change_p=np.nan, verdict="not tested")
    said = lines(replace(analysis, significance=untested, tests=pd.DataFrame()))[4]
    assert said.startswith("Nothing was held against chance")
    assert "-B 19 tests it" in said


def test_forecasts_are_held_against_the_best_simple_rule_and_chance() -> None:
    _, analysis = an_analysis()
    assert "better than the best simple rule, always naming the base rate" in lines(analysis)[3]
    beaten = replace(analysis, scores={**analysis.scores, "brier_persist": 0.05})
    assert "worse than persistence" in lines(beaten)[3]
    test = analysis.tests.assign(statistic="continuation AUROC")
    assert "are not shown to beat chance (p = 0.4)" in lines(replace(analysis, tests=test.assign(p_value=0.4)))[3]
    assert "do better than chance (p ≤ 0.05)" in lines(replace(analysis, tests=test))[3]


def test_what_goes_on_and_what_ends_are_told_apart() -> None:
    _, analysis = an_analysis(lives=((0, 1, 2),) * 2)
    chances = analysis.forecasts["track"].map({0: 0.9, 1: 0.17, 2: 0.5})
    said = lines(replace(analysis, forecasts=analysis.forecasts.assign(p_continue=chances)))[3]
    on, end = said.split("; ")[:2]
    assert on.startswith("Likely to go on in the next 7 days: ")
    assert "90 %" in on
    assert "50 %" in on
    assert re.fullmatch(r"likely to end: 1 “.*” 83 %", end)


def test_only_basins_of_many_posts_have_the_steepest_sides() -> None:
    _, analysis = an_analysis(lives=((0, 1, 2),) * 2)
    small = analysis.measures.assign(barrier=[0.1, 0.1, 0.1, 0.7, 0.8, 9.0], posts=[40, 40, 40, 60, 40, 9])
    said = lines(replace(analysis, measures=small))[1]
    second = analysis.tracking.track_of(1, 1)
    assert f"of the basins with 30 posts or more, {second} “" in said
    assert "2.2 times as dense" in said
    assert "steepest" not in lines(replace(analysis, measures=small.assign(posts=9)))[1]


def test_basins_that_hold_everything_divide_the_map_between_them() -> None:
    _, analysis = an_analysis(lives=((0, 1), (0, 1)))
    halves = [replace(basin, share=0.5) for basin in analysis.found[-1].basins]
    whole = replace(analysis, found=(analysis.found[0], Found(tuple(halves))))
    assert lines(whole)[0].endswith("posts and divide the whole map between them.")
    assert "divide" not in lines(an_analysis()[1])[0]


def test_short_lives_and_origins_are_told() -> None:
    _, analysis = an_analysis(lives=((0, 1), (2,)))
    old = [replace(track, death=1, heir=2) for track in analysis.tracking.tracks[:2]]
    born = replace(analysis.tracking.tracks[2], parents=())
    said = lines(replace(analysis, tracking=Tracking((*old, born), ())))[2]
    assert re.search(r"formed: 2 “[^”]*” from 0 “[^”]*” and 1 “", said)
    assert "merged" not in said
    assert said.endswith("Most do not last: 2 of the 2 basins before this window lived for one window only.")


@pytest.mark.slow
def test_the_report_says_how_sure_scores_are_and_what_cannot_be_said(tmp_path: Path) -> None:
    events, analysis = an_analysis(lives=((0,), (0, 1)))
    scores = pd.DataFrame({"score": ["auroc", "brier"], "value": [0.8, 0.1], "low": [0.7, 0.05], "high": [0.9, 0.2]})
    speaks = pd.DataFrame({"feature": ["log_share", "age"], "coefficient": [0.5, np.nan], "low": [0.1, np.nan]})
    speaks = speaks.assign(high=[0.9, np.nan], p_value=[0.01, np.nan])
    outside = replace(events, x=np.where(np.arange(len(events))[:, None] < 7, 2.0, events.x))
    account = replace(analysis, score_intervals=scores, coefficients=speaks)
    write_tables(account, outside, tmp_path)
    write_report(account, outside, tmp_path, texts=True)
    text = (tmp_path / "report.md").read_text()
    assert "| auroc | 0.8 | [0.7, 0.9] | – | – |" in text
    assert "| log of its region's share | 0.5 [0.1, 0.9] | 0.01 |" in text
    assert "windows that it has lived for" not in text
    assert "the 7 outside of it are not looked at" in text
    assert "| ≤ 0.05 | 19 |" in text
    assert "no trend shown [−10 %, +35 %]" in text
    assert text.index("How the forecasts fared") > text.index("Earlier windows")
    assert {"coefficients.csv", "score_intervals.csv"} <= {path.name for path in tmp_path.iterdir()}


def test_everything_that_is_spoken_of_is_defined(written: Path) -> None:
    text = (written / "report.md").read_text()
    told = set(re.findall(r"^- \*\*(.*?)\*\*:", text, flags=re.MULTILINE))
    assert {"grows", "lasts", "auroc", "brier", "stability", "p", "barrier", "birth, death"} <= told
    columns = ["p_continue", "continues", "share", "next_share", "p_grow", "p_sustained", "sustained", "expected_share"]
    scores = continuation_scores(pd.DataFrame({name: [0.0, 1.0] for name in [*columns, "low", "high"]}))
    assert set(FEATURES) == set(continuation.FEATURES)
    assert {name for name in scores if not name.endswith(("_base", "_persist"))} == set(SCORES)


def test_the_page_needs_no_other_file_and_runs_nothing(written: Path) -> None:
    page = Page(written / "report.html")
    assert not {"script", "iframe", "object", "link"} & {tag for tag, _ in page.tags}
    images = [attributes for tag, attributes in page.tags if tag == "img"]
    assert len(images) >= 3
    assert all(str(one["src"]).startswith("data:image/png;base64,") and one["alt"] for one in images)
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)
    assert HOSTILE in page.text


def test_markdown_shows_what_is_hostile_as_it_is(written: Path) -> None:
    text = (written / "report.md").read_text()
    assert "<img" not in text
    assert r"&lt;img src=x onerror=alert(1)>\|\`$x_$" in text


@pytest.mark.slow
def test_posts_are_quoted_only_on_request(written: Path, twice: tuple[Path, Path]) -> None:
    assert "posts nearest to the peak" not in (twice[0] / "report.html").read_text()
    text = (written / "report.md").read_text()
    assert "posts nearest to the peak" in text
    assert all(len(line) < 200 for line in text.split("posts nearest to the peak")[1].splitlines()[:5])


def test_the_tables_hold_every_basin_link_and_track(written: Path) -> None:
    def rows(name: str) -> list[dict[str, str]]:
        with (written / name).open(newline="") as file:
            return list(csv.DictReader(file))

    assert len(rows("basins.csv")) == 10
    assert rows("basins.csv")[0]["start"] == "2016-01-04T00:00:00+00:00"
    assert [row["death"] for row in rows("tracks.csv")] == ["", "4", "3"]
    assert rows("tracks.csv")[1]["heir"] == "0"
    assert {row["kind"] for row in rows("links.csv")} == {"continues"}
    assert len(rows("forecasts.csv")) == 10
    assert {path.name for path in written.iterdir()} >= {"significance.csv", "tuning_results.csv", "tests.csv"}
    assert nx.read_graphml(written / "influence.graphml").number_of_edges() == 1


def test_the_same_analysis_gives_the_same_bytes(twice: tuple[Path, Path]) -> None:
    one, other = ({path.name: path.read_bytes() for path in sorted(folder.iterdir())} for folder in twice)
    assert one == other


def test_json_has_the_agreed_keys_and_no_nan() -> None:
    _, analysis = an_analysis()
    found = json.loads(json.dumps(to_json_dict(analysis), allow_nan=False))
    assert set(found) == {"method", "windows", "tracks", "scores", "forecasts", "tests", "remarks"}
    assert [len(window["basins"]) for window in found["windows"]] == [2, 2, 3, 2, 1]
    basin = found["windows"][0]["basins"][0]
    assert {"id", "track", "name", "centre", "mass", "share", "probability", "barrier"} <= set(basin)
    assert basin["escape_rate"] is None
    assert found["tracks"][1] == {
        "id": 1, "name": "bill, reform, tax", "place": found["tracks"][1]["place"], "birth": 0, "death": 4,
        "windows": 4, "parents": [], "heir": 0, "largest_share": pytest.approx(0.5, abs=0.2),
    }  # fmt: skip
    assert found["tracks"][0]["death"] is None


def test_no_basin_is_said_plainly(tmp_path: Path) -> None:
    events, analysis = an_analysis(lives=((), (), ()))
    write_tables(analysis, events, tmp_path)
    write_report(analysis, events, tmp_path)
    assert lines(analysis)[0].startswith("There is no basin: in none of the 3 windows")
    text = Page(tmp_path / "report.html").text
    assert "There is no basin" in text
    assert "No forecast: the newest window has no basin." in text
    assert to_json_dict(analysis)["tracks"] == []


@pytest.mark.slow
def test_no_basin_now_is_said_plainly(tmp_path: Path) -> None:
    events, analysis = an_analysis(lives=((0, 1), (0,), ()))
    write_tables(analysis, events, tmp_path)
    write_report(analysis, events, tmp_path)
    said = lines(analysis)[0]
    assert said.startswith("There is no basin now: the newest 7 days has no basin among its 90 posts; 2 lived earlier.")
    assert said.endswith("The last window with basins was 1 window earlier: 90 posts, 1 basin.")
    text = (tmp_path / "report.md").read_text()
    assert "## The last window with basins\n\n2016-01-11 to 2016-01-17: 90 posts, 1 basin" in text
    assert (tmp_path / "last.png").stat().st_size > 5000


@pytest.mark.slow
@pytest.mark.parametrize(("d", "grid"), [(1, True), (3, True), (2, False), (5, False)])
def test_every_number_of_dimensions_has_a_report(d: int, grid: bool, tmp_path: Path) -> None:
    events, analysis = an_analysis(lives=((0,), (0, 1) if d > 1 else (0,)), d=d, grid=grid)
    write_tables(analysis, events, tmp_path)
    write_report(analysis, events, tmp_path)
    assert (tmp_path / "newest.png").stat().st_size > 5000
    assert ("landmarks" in (tmp_path / "report.md").read_text()) == (not grid)


def test_bands_are_as_wide_as_shares() -> None:
    events, analysis = an_analysis()
    ax = draw_lifecycle(analysis, events).axes[0]
    for k, one in enumerate(analysis.found):  # the edges of the bands over the middle of each window
        edges = [patch.get_path().vertices for patch in ax.patches]
        bars = [points[np.abs(points[:, 0] - k) < 0.16 + 1e-9, 1] for points in edges]
        heights = sorted(float(np.ptp(bar)) for bar in bars if len(bar) > 30 and np.ptp(bar) > 0)
        assert heights == pytest.approx(sorted(basin.share for basin in one.basins))
    words = " ".join(text.get_text() for text in ax.texts)
    assert "0 funding, virus, zika" in words
    assert len([line for line in ax.lines if len(line.get_xdata()) == 2]) == 1  # the end of training


def test_labels_of_a_map_do_not_cover_each_other() -> None:
    events, analysis = an_analysis(lives=((0, 1, 2), (0, 1, 2)))
    figure = draw_window(analysis, 1, events)
    boxes = [text.get_window_extent() for text in figure.axes[0].texts]
    assert len(boxes) == 3
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


def test_of_many_windows_the_newest_and_the_eventful_are_drawn() -> None:
    _, analysis = an_analysis(lives=((0,),) * 14 + ((0, 2),) * 3 + ((0,),) * 13)
    chosen = chosen_windows(analysis)
    assert len(chosen) == SMALL_MAPS
    assert {0, 14, 17, 29} <= set(chosen)


def test_numbers_are_short(written: Path) -> None:
    assert not re.search(r"\d\.\d{5,}", Page(written / "report.html").text)
