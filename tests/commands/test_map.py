"""Maps and animations by the command line: of events and of every kind of run, and what cannot be drawn."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from PIL import Image

from stpp.runs.manifest import sha256

pytestmark = pytest.mark.slow

WINDOWS = ["--train-start", "2020-01-01", "--test-start", "2020-01-31", "--test-end", "2020-02-08", "--step", "2d"]


@pytest.fixture(scope="module")
def evaluated(events, stpp):
    path = events.with_name("evaluated")
    done = stpp("evaluate", events, "--models", "decaying-kde", *WINDOWS, "--grid", 20, "-o", path)
    assert done.exit_code == 0, done.stderr
    return path


@pytest.fixture(scope="module")
def found(events, stpp):
    path = events.with_name("found")
    done = stpp("basins", events, "--window", "10d", "-B", 0, "-o", path)
    assert done.exit_code == 0, done.stderr
    return path


@pytest.fixture(scope="module")
def flowing(events, stpp):
    path = events.with_name("flowing")
    flags = ["--step", "5d", "--frame", "2d", "--history-window", 3, "--trials", 0]
    done = stpp("flow", events, *flags, "-o", path)
    assert done.exit_code == 0, done.stderr
    return path


def facts(page: Path) -> dict:
    """What a page says of itself."""
    found = re.search(r'<script type="application/json" id="meta">(.*?)</script>', page.read_text(), re.DOTALL)
    return json.loads(found[1])


def test_a_map_of_events(stpp, events, tmp_path):
    page = tmp_path / "map.html"
    done = stpp("map", events, "-o", page, "--window", "10d", "--title", "Two <clusters>", "--json")
    assert done.exit_code == 0, done.stderr
    said = json.loads(done.stdout)
    assert said == {"output": str(page), "posts": 400, "shown": 400, "windows": 4, "bytes": page.stat().st_size}
    known = facts(page)
    assert known["title"] == "Two <clusters>"
    assert known["axes"] == ["x", "y"]
    assert sum(known["windows"]["posts"]) == 400
    assert known["scores"] == {}
    assert known["basins"] is None
    assert known["source"] == f"{events.name} (SHA-256 {sha256(events)})"


def test_a_map_lays_runs_over_one_another(stpp, evaluated, found, flowing, run, tmp_path):
    page = tmp_path / "map.html"
    done = stpp("map", flowing, found, evaluated, run, "-o", page)
    assert done.exit_code == 0, done.stderr
    known = facts(page)
    assert len(known["windows"]["start"]) == 4  # the evaluation's
    names = ["observed", "historical-average (evaluated)", "decaying-kde", "historical-average (run)"]
    assert [field["name"] for field in known["fields"]] == names
    assert set(known["scores"]) == {"historical-average (evaluated)", "decaying-kde"}
    assert known["flow"]["name"] == "drift"
    assert known["basins"]["method"] == "density"


def test_runs_bring_their_own_map_and_reports_link_to_it(stpp, evaluated, found):
    for directory, windows in ((evaluated, 4), (found, 3)):
        assert len(facts(directory / "map.html")["windows"]["start"]) == windows
        linked = re.findall(r'href="(map\.html[^"]*)"', (directory / "report.html").read_text())
        assert linked
        assert linked[0] == "map.html"
        assert set(linked[1:]) <= {f"map.html#w={k}" for k in range(windows)}
        assert len(linked) > 1
        assert "(map.html" in (directory / "report.md").read_text()


def test_the_report_written_anew_keeps_its_links(stpp, evaluated):
    before = (evaluated / "report.html").read_bytes()
    assert stpp("report", evaluated).exit_code == 0
    assert (evaluated / "report.html").read_bytes() == before


def test_a_run_in_one_dimension_has_no_map_and_says_so(stpp, write_posts, tmp_path):
    rows = [[k, f"2020-01-{1 + k // 10:02d}T{k % 10:02d}:00:00Z", (k * 37 % 101) / 101] for k in range(300)]
    posts = write_posts(rows, header="id,datetime,x0")
    flags = ["--train-start", "2020-01-01", "--test-start", "2020-01-20", "--step", "2d", "--grid", 20]
    done = stpp("evaluate", posts, "--models", "uniform", *flags, "-o", tmp_path / "line")
    assert done.exit_code == 0, done.stderr
    assert "no map: a map needs two coordinates" in done.stderr
    assert not (tmp_path / "line" / "map.html").exists()
    assert "map.html" not in (tmp_path / "line" / "report.html").read_text()


def test_texts_are_in_the_page_only_when_asked_for(stpp, write_posts, tmp_path):
    rows = [[k, f"2020-01-{1 + k:02d}", k / 9, k % 3, f"secret number {k}", f"person{k}"] for k in range(9)]
    posts = write_posts(rows, header="id,datetime,x,y,text,author")
    assert stpp("map", posts, "-o", tmp_path / "quiet.html").exit_code == 0
    assert stpp("map", posts, "-o", tmp_path / "open.html", "--texts").exit_code == 0
    assert facts(tmp_path / "quiet.html")["texts"] is None
    assert "person" not in (tmp_path / "quiet.html").read_text().split('id="meta"')[1].split("</script>")[0]
    assert facts(tmp_path / "open.html")["texts"]["kept"] == 9


def test_posts_for_embedding_atlas(stpp, events, tmp_path):
    path = tmp_path / "posts.parquet"
    assert stpp("map", events, "-o", path, "--format", "atlas-parquet").exit_code == 0
    table = pq.read_table(path)
    assert table.num_rows == 400
    assert {"x", "y", "time", "weight", "window"} <= set(table.column_names)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["{null}"], "has nothing to draw"),
        (["{folder}"], "manifest.json is missing"),
        (["{events}", "--axes", "x,z"], "no coordinate 'z'; there are: x, y"),
        (["{events}", "--window", "1m"], "take a longer --window"),
        (["{evaluated}", "--window", "1d"], "leave out --window"),
        (["{events}", "--texts"], "has no column of texts"),
        (["{events}", "--colours", "size"], "no mark column 'size'"),
        (["{evaluated}", "{other}"], "different events"),
        (["{nowhere}"], "nowhere"),
    ],
)
def test_what_cannot_be_drawn_is_told_in_one_line(stpp, events, evaluated, write_posts, tmp_path, words, told):
    other = write_posts(
        [[k, f"2020-01-{1 + k:02d}", k / 9, k % 3, 0] for k in range(9)], "id,datetime,x,y,retweet_count"
    )
    (tmp_path / "null").mkdir()
    (tmp_path / "null" / "manifest.json").write_text(
        (evaluated / "manifest.json").read_text().replace('"evaluate"', '"null"', 1)
    )
    (tmp_path / "folder").mkdir()
    paths = {"null": tmp_path / "null", "folder": tmp_path / "folder", "nowhere": tmp_path / "nowhere.csv"}
    paths |= {"events": events, "evaluated": evaluated, "other": other}
    done = stpp("map", *(word.format(**paths) for word in words), "-o", tmp_path / "map.html", "--quiet")
    assert done.exit_code == 2
    assert re.fullmatch(r"stpp: error: .*\n", done.stderr)
    assert told in done.stderr
    assert not list(tmp_path.glob("*map.html*"))


def test_a_map_is_not_overwritten(stpp, events, tmp_path):
    (tmp_path / "map.html").write_text("mine")
    done = stpp("map", events, "-o", tmp_path / "map.html")
    assert done.exit_code == 2
    assert "--force overwrites it" in done.stderr
    assert (tmp_path / "map.html").read_text() == "mine"


@pytest.mark.parametrize(("kind", "frames"), [("evaluated", 8), ("found", 5), ("flowing", None), ("run", None)])
def test_every_run_can_be_animated(stpp, request, tmp_path, kind, frames):
    directory = request.getfixturevalue(kind)
    how = ["--step", "2d", "--grid", 20] if kind == "run" else []
    done = stpp("animate", directory, "-o", tmp_path / "film.gif", *how, "--json")
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["bytes"] == (tmp_path / "film.gif").stat().st_size
    with Image.open(tmp_path / "film.gif") as film:
        assert film.n_frames == frames if frames is not None else film.n_frames > 1


@pytest.mark.parametrize("verb", ["map", "animate"])
def test_a_flow_run_without_its_flows_is_no_fit(stpp, flowing, tmp_path, verb):
    broken = shutil.copytree(flowing, tmp_path / "broken")
    (broken / "flow.nc").unlink()
    done = stpp(verb, broken, "-o", tmp_path / "out.gif", "--quiet")
    assert done.exit_code == 2
    assert re.fullmatch(r"stpp: error: .*stpp flow -o.*\n", done.stderr)
    assert not (tmp_path / "out.gif").exists()


def test_a_film_has_a_format(stpp, found, evaluated, tmp_path):
    for directory in (found, evaluated):
        done = stpp("animate", directory, "-o", tmp_path / "film.avi")
        assert done.exit_code == 2
        assert "there are gif and mp4" in done.stderr
