"""Posts on a map: which ones, how exactly, what they can be coloured by, and what never leaves the file of events."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stpp.domain import Box, Grid
from stpp.events import Events, Window
from stpp.maps import posts as module
from stpp.maps.atlas_parquet import write_atlas_parquet
from stpp.maps.html import content
from stpp.maps.posts import Shown, sampled, shown_posts
from stpp.maps.scene import Basins, Canvas, Fields, Scene, TrackLine

HOSTILE = [
    "<img src=x onerror=alert(1)>",
    "</script><script>alert(2)</script>",
    "he said \"hi\" & 'bye' \\ \n a second line\tand a tab",
    "\u202eright to left\u202c שלום",
    "emoji 👩‍👩‍👧 🎉 e\u0301",
    "=HYPERLINK(1)\u2028next",
]


UNIT = Box((0.0, 0.0), (1.0, 1.0))


def canvas_of(events: Events, box: Box = UNIT) -> Canvas:
    start = float(events.t[0]) if len(events) else 0.0
    return Canvas(events, (Window(start, start + 5), Window(start + 5, start + 10)), Grid.over(box, 8))


def some_events(n: int = 200, **more: Any) -> Events:
    rng = np.random.default_rng(3)
    t = 17_000 + np.sort(rng.integers(0, 10 * 86_400, n)) / 86_400
    return Events(t, rng.uniform(size=(n, 2)), **more)


def with_authors(n: int = 200) -> Events:
    code = np.random.default_rng(4).geometric(0.2, n) - 2
    names = tuple(f"secret-{k}" for k in range(code.max() + 1))
    marks = pa.table({"retweet_count": np.arange(n), "favorite_count": np.full(n, 2), "topic": [f"t{k}" for k in code]})
    return some_events(n, author=code, authors=names, marks=marks)


def scene_of(events: Events, basins: Basins | None = None) -> Scene:
    canvas = canvas_of(events)
    return Scene("a map", canvas, Fields("observed", np.ones((2, 8, 8), np.float32), np.ones(2)), 0.1, basins=basins)


def basins_of(tracks: Sequence[TrackLine], of_event: np.ndarray) -> Basins:
    """Basins that are seen in neither window, and what lies in them."""
    known = np.array([-1, 0]), np.arange(2)
    return Basins("density", None, None, ((), ()), np.zeros((2, 2)), *known, tuple(tracks), of_event)


def show(events: Events, most: int = 10**6, texts: Sequence[str] | None = None, **more: Any) -> Shown:
    return shown_posts(canvas_of(events, more.pop("box", UNIT)), None, most, texts, **more)


def everything(events: Events, texts: Sequence[str] | None, colours: Sequence[str] = ()) -> str:
    """All that a page is made of that can hold words."""
    shown = show(events, texts=texts, colours=colours)
    return json.dumps(shown.facts, default=np.ndarray.tolist, ensure_ascii=False) + "".join(shown.blobs.values())


# -- places and times -------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(
    places=st.lists(st.tuples(st.floats(-3, 3), st.floats(-3, 3)), min_size=1, max_size=30),
    scale=st.sampled_from([1e-9, 1.0, 1e9]),
    shift=st.sampled_from([0.0, 5.0]),
)
def test_places_come_back_within_half_a_step(places: list[tuple[float, float]], scale: float, shift: float) -> None:
    x = (np.array(places) + shift) * scale
    box = Box((shift * scale, shift * scale), ((shift + 1) * scale, (shift + 2) * scale))
    shown = show(Events(np.arange(len(x)) * 0.1, x), box=box)
    reach = 0.5 * box.widths
    near = ((x >= box.low - reach) & (x <= box.high + reach)).all(axis=1)
    assert shown.rows.tolist() == np.flatnonzero(near).tolist()
    assert shown.facts["posts"]["far"] == (~near).sum()
    x0, x1, y0, y1 = shown.facts["box"]
    x = np.concatenate([x[near], [box.low]])  # the box itself, so that there is something
    for k, (low, high) in enumerate(((x0, x1), (y0, y1))):
        assert low <= min(box.low[k], x[:, k].min())
        assert high >= max(box.high[k], x[:, k].max())
        back = low + shown.arrays["xy"[k]] * ((high - low) / 65535)
        assert (np.abs(back - x[:-1, k]) <= 0.5001 * (high - low) / 65535).all()


@settings(deadline=None)
@given(st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=30), st.sampled_from([0, 946_684_800, 1_600_000_000]))
def test_whole_seconds_are_exact(seconds: list[int], start: int) -> None:
    when = np.sort(np.array(seconds)) + start
    events = Events(when / 86_400, np.full((len(when), 2), 0.5))
    shown = show(events)
    posts = shown.facts["posts"]
    assert posts["tick"] == 1000.0
    assert (posts["first"] + posts["tick"] * shown.arrays["time"].astype(float) == when * 1000.0).all()


def test_milliseconds_are_exact_while_there_is_room() -> None:
    thousandths = np.array([0, 1, 999, 86_400_000 * 40])
    shown = show(Events(18_000 + thousandths / 86_400_000, np.full((4, 2), 0.5)))
    assert shown.facts["posts"]["tick"] == pytest.approx(1.0)
    assert shown.arrays["time"].tolist() == thousandths.tolist()
    long = np.array([0, 1, 86_400_000 * 60])
    assert show(Events(18_000 + long / 86_400_000, np.full((3, 2), 0.5))).facts["posts"]["tick"] != pytest.approx(1.0)


@settings(deadline=None)
@given(st.lists(st.floats(0, 4000), min_size=2, max_size=30))
def test_other_times_come_back_within_half_a_tick(days: list[float]) -> None:
    t = np.sort(np.array(days)) + 17_000
    shown = show(Events(t, np.full((len(t), 2), 0.5)))
    posts = shown.facts["posts"]
    back = posts["first"] + posts["tick"] * shown.arrays["time"].astype(float)
    assert np.abs(back - t * 86_400_000).max() <= 0.5 * posts["tick"] + 0.002  # a double holds such dates to 0.0005 ms
    assert (np.diff(shown.arrays["time"].astype(np.int64)) >= 0).all()


def test_another_epoch_is_counted_in() -> None:
    events = Events([1.0, 2.0], np.full((2, 2), 0.5), epoch="2020-01-01T00:00:00+00:00")
    shown = show(events)
    assert shown.facts["posts"]["first"] == (18_262 + 1) * 86_400_000
    assert shown.arrays["time"].tolist() == [0, 86_400]


@pytest.mark.parametrize("n", [0, 1])
def test_no_posts_and_one(n: int) -> None:
    shown = show(some_events(n, author=np.zeros(n, np.int64), authors=("a",)), texts=["hi"] * n)
    assert shown.facts["posts"]["total"] == shown.facts["posts"]["shown"] == n
    assert shown.facts["posts"]["tick"] == 1000.0
    assert not shown.facts["posts"]["weighted"]
    assert shown.facts["texts"] == {"chunk": 2048, "chunks": n, "kept": n, "capped": False}
    assert len(shown.facts["groups"]) == n
    assert all(len(array) == n for array in shown.arrays.values())


def test_all_at_one_place_and_time_outside_the_grid() -> None:
    shown = show(Events(np.full(5, 17_000.3), np.full((5, 2), 1.25)))
    assert shown.facts["box"] == [0.0, 1.25, 0.0, 1.25]
    assert (shown.arrays["x"] == 65535).all()
    assert (shown.arrays["time"] == 0).all()


def test_posts_far_outside_are_counted_and_not_drawn() -> None:
    shown = show(Events(np.arange(3.0), [[0.5, 0.5], [0.5, 99.0], [1.5, -0.5]]))
    assert shown.rows.tolist() == [0, 2]
    assert shown.facts["posts"] | {"total": 3, "far": 1, "shown": 2} == shown.facts["posts"]
    assert shown.facts["box"] == [0.0, 1.5, -0.5, 1.0]


# -- which ------------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(st.lists(st.floats(0, 1e6), max_size=40), st.integers(1, 50))
def test_a_sample_is_full_sorted_and_the_same_each_time(weight: list[float], most: int) -> None:
    rows = sampled(np.array(weight), most)
    assert len(rows) == min(len(weight), most)
    assert (np.diff(rows) > 0).all()
    assert rows.tolist() == sampled(np.array(weight), most).tolist()
    if len(weight) <= most:
        assert rows.tolist() == list(range(len(weight)))
    else:
        left_out = np.delete(np.array(weight), rows)
        assert not (np.array(weight)[rows] == 0).any() or (left_out == 0).all()


def test_a_heavy_post_is_likelier_by_its_weight() -> None:
    weight = np.tile([1.0, 4.0], 50_000)
    rows = sampled(weight, 1000)  # so few that drawing without replacement hardly matters: odds of 4 to 1
    assert np.isclose((weight[rows] == 4).mean(), 0.8, atol=0.04)  # three standard errors
    assert np.isclose(sampled(np.ones(100_000), 1000).mean() / 50_000, 1, atol=0.06)


def test_weights_beyond_a_float_division_are_sampled() -> None:
    weight = np.concatenate([np.full(50, 5e-324), np.full(50, 1e308), np.zeros(50)])
    assert (sampled(weight, 60)[:10] < 50).all()
    assert (sampled(weight, 50) >= 50).all()


def test_a_page_has_room_for_a_post() -> None:
    with pytest.raises(ValueError, match="at least 1 post, got 0"):
        sampled(np.ones(3), 0)


def test_totals_stay_true_when_posts_are_left_out() -> None:
    events = with_authors()
    full, few = show(events), show(events, most=50)
    assert few.facts["posts"] == full.facts["posts"] | {"shown": 50}
    assert few.facts["groups"] == full.facts["groups"]
    assert few.facts["box"] == full.facts["box"]
    for name, array in few.arrays.items():
        assert (array == full.arrays[name][few.rows]).all(), name
    meta, _ = content(scene_of(events), 50, None)
    assert sum(meta["windows"]["posts"]) == 200
    assert meta["windows"]["stop"][-1] == 50


def test_basins_come_as_tracks() -> None:
    of_event = np.array([-1, 0, 7, -1])
    basins = basins_of([TrackLine(0, "a", None, None, "#0072b2"), TrackLine(7, "b", 1, None, "#d55e00")], of_event)
    events = some_events(4)
    assert shown_posts(canvas_of(events), basins, 10, None).arrays["track"].tolist() == [0, 1, 8, 0]


# -- engagement and weight --------------------------------------------------------------------------------------


def test_engagement_is_retweets_and_favourites() -> None:
    shown = show(with_authors())
    assert shown.facts["posts"]["engagement"] == "retweets + favourites"
    assert shown.arrays["engagement"].dtype == np.float32
    assert shown.arrays["engagement"].tolist() == [k + 2.0 for k in range(200)]


def test_what_is_missing_or_negative_is_no_engagement() -> None:
    marks = pa.table({"Favourite_Count": ["3", None, "-2", "many"]})
    shown = show(some_events(4, marks=marks))
    assert shown.facts["posts"]["engagement"] == "favourites"
    assert shown.arrays["engagement"].tolist() == [3.0, 0.0, 0.0, 0.0]


def test_without_counts_there_is_no_engagement() -> None:
    shown = show(some_events(4, weight=np.array([1.0, 2.0, 0.0, 1.0])))
    assert shown.facts["posts"]["engagement"] is None
    assert "engagement" not in shown.arrays
    assert shown.facts["posts"]["weighted"]
    assert shown.arrays["weight"].tolist() == [1.0, 2.0, 0.0, 1.0]


# -- groups -----------------------------------------------------------------------------------------------------


def test_authors_by_how_much_they_write() -> None:
    code = np.repeat([3, 0, 8, 1, 2, 4, 5, 6, 7, -1], [30, 20, 10, 9, 8, 7, 6, 5, 4, 1])
    events = some_events(100, author=code, authors=tuple("abcdefghi"))
    (group,) = show(events).facts["groups"]
    assert group["labels"][0] == "author 1 (30 posts)"
    assert group["labels"][-1] == "others (10 posts)"
    assert (len(group["labels"]), group["rest"], group["kind"], group["name"]) == (8, 7, "category", "author")
    index = show(events).arrays[group["array"]]
    assert np.bincount(index).tolist() == [30, 20, 10, 9, 8, 7, 6, 10]
    assert index[0] == 0
    assert show(events, texts=[""] * 100).facts["groups"][0]["labels"][:2] == ("d (30 posts)", "a (20 posts)")


def test_marks_of_words_and_of_numbers() -> None:
    marks = pa.table({
        "side": ["left", "left", "right", None] * 25,
        "toxicity": pa.array([None, *np.linspace(0, 1, 99)]),
        "level": [0, 1, 2, 1] * 25,
        "flag": [True, False, False, False] * 25,
        "many": [*range(20), *([0] * 80)],
    })  # fmt: skip
    shown = show(some_events(100, marks=marks), colours=["side", "toxicity", "level", "flag", "many", "side"])
    side, toxicity, level, flag, many = shown.facts["groups"]
    assert side["labels"] == ("left (50 posts)", "right (25 posts)", "none (25 posts)")
    assert side["rest"] == 2
    assert flag["labels"] == ("False (75 posts)", "True (25 posts)")
    assert (toxicity["kind"], len(toxicity["labels"]), toxicity["rest"]) == ("number", 9, 8)
    assert toxicity["labels"][0] == "0 to 0.125"
    assert toxicity["labels"][8] == "none (1 post)"
    assert set(np.bincount(shown.arrays["group-1"])[:8]) <= {12, 13}
    assert level["labels"] == ("0", "1", "2")
    assert level["rest"] is None
    assert shown.arrays["group-2"].tolist() == [0, 1, 2, 1] * 25
    assert len(many["labels"]) == 8
    assert np.bincount(shown.arrays["group-4"])[0] >= 80


def test_a_mark_that_bears_a_name_of_the_page_is_told_apart() -> None:
    events = dataclasses.replace(with_authors(), marks=pa.table({"basin": ["b"] * 200, "plain": ["p"] * 200}))
    assert [one["name"] for one in show(events, colours=["basin", "plain"]).facts["groups"]] == [
        "author", "mark.basin", "mark.plain",
    ]  # fmt: skip


def test_an_unknown_mark_is_named_with_those_that_exist() -> None:
    with pytest.raises(KeyError, match=r"no mark column 'mood'; there are: retweet_count, favorite_count, topic"):
        show(with_authors(), colours=["mood"])


def test_a_mark_of_lists_is_no_colour() -> None:
    with pytest.raises(ValueError, match="'tags', which holds lists"):
        show(some_events(2, marks=pa.table({"tags": [["a"], ["b"]]})), colours=["tags"])


# -- texts and privacy ------------------------------------------------------------------------------------------


def test_without_texts_no_author_and_no_text_is_in_the_page() -> None:
    events = with_authors()
    marks = events.marks
    assert marks is not None
    events = dataclasses.replace(events, marks=marks.append_column("text", pa.array(["secret-text"] * 200)))
    assert "secret" not in everything(events, None, ["topic", "retweet_count"])
    meta, blobs = content(scene_of(events), 10**6, None)
    assert "secret" not in repr(meta)
    assert not [name for name in blobs if name.startswith("texts")]
    assert "secret-0" in everything(events, ["secret-text"] * 200)


@pytest.mark.parametrize("name", ["text", "Full_Text", "username"])
def test_no_colours_by_authors_or_texts_without_leave(name: str) -> None:
    events = some_events(3, marks=pa.table({name: ["a", "b", "a"]}))
    with pytest.raises(ValueError, match="--texts allows it"):
        show(events, colours=[name])
    assert show(events, texts=["a", "b", "a"], colours=[name]).facts["groups"][0]["labels"][0] == "a (2 posts)"


def test_hostile_texts_stay_as_they_are() -> None:
    n = 5000
    texts = [HOSTILE[k % 6] for k in range(n)]
    shown = show(some_events(n, author=np.arange(n) % 2, authors=("<b>a</b>", "b\x00\x1b")), texts=texts)
    assert shown.facts["texts"] == {"chunk": 2048, "chunks": 3, "kept": n, "capped": False}
    assert list(shown.blobs) == ["texts-0", "texts-1", "texts-2"]
    chunks = [json.loads(text) for text in shown.blobs.values()]
    assert [text for _, part in chunks for text in part] == texts
    assert [name for part, _ in chunks for name in part] == ["<b>a</b>", "b"] * (n // 2)


@settings(deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=600))
def test_any_text_can_be_written_and_read(text: str) -> None:
    shown = show(some_events(1), texts=[text])
    back = json.loads(shown.blobs["texts-0"].encode("utf-8"))[1][0]
    assert len(back) <= 500
    plain = "".join(letter for letter in text if letter in "\t\n" or not (ord(letter) < 32 or 127 <= ord(letter) < 160))
    assert back == plain or (len(plain) > 500 and back == plain[:499] + "…")


def test_a_lone_half_of_a_character_is_dropped() -> None:
    shown = show(some_events(1), texts=["a\ud83dz"])
    assert json.loads(shown.blobs["texts-0"].encode("utf-8")) == [[""], ["az"]]


def test_where_room_is_short_the_most_engaging_posts_keep_their_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ROOM_FOR_TEXTS", 55)
    shown = show(with_authors(), texts=["é" * 5] * 200)  # 10 bytes, and as many or less for the author
    authors, texts = json.loads(shown.blobs["texts-0"])
    kept = shown.facts["texts"]["kept"]
    assert shown.facts["texts"]["capped"]
    assert 2 <= kept <= 5
    assert texts[-kept:] == ["é" * 5] * kept
    assert set(texts[:-kept]) == set(authors[:-kept]) == {""}


def test_as_many_texts_as_events() -> None:
    with pytest.raises(ValueError, match="3 texts for 4 events"):
        show(some_events(4), texts=["a"] * 3)


# -- for embedding-atlas ----------------------------------------------------------------------------------------


def test_parquet_for_embedding_atlas(tmp_path: Path) -> None:
    events = with_authors()
    of_event = np.where(np.arange(200) < 50, 3, -1)
    basins = basins_of([TrackLine(3, "the hill", None, None, "#0072b2")], of_event)
    scene = scene_of(events, basins)
    told = write_atlas_parquet(scene, tmp_path / "a.parquet", HOSTILE * 33 + HOSTILE[:2])
    table = pq.read_table(tmp_path / "a.parquet")
    columns = ["x", "y", "time", "weight", "engagement", "window", "basin", "author", "text"]
    assert told == {"posts": 200, "columns": columns, "bytes": (tmp_path / "a.parquet").stat().st_size}
    assert table.column_names == columns
    assert table.column("x").to_numpy().tolist() == events.x[:, 0].tolist()
    assert table.schema.field("time").type == pa.timestamp("us", "UTC")
    assert [when.timestamp() for when in table.column("time").to_pylist()] == np.rint(events.t * 86_400).tolist()
    assert table.column("basin").to_pylist() == ["the hill"] * 50 + [None] * 150
    assert table.column("text").to_pylist()[:6] == HOSTILE
    assert table.column("author").null_count == (events.author == -1).sum()
    first, second = scene.canvas.windows
    inside = np.where(events.t < first.end, 0, np.where(events.t < second.end, 1, -1))
    assert table.column("window").to_pylist() == inside.tolist()


def test_parquet_is_private_and_the_same_each_time(tmp_path: Path) -> None:
    scene = scene_of(with_authors())
    columns = write_atlas_parquet(scene, tmp_path / "a.parquet")["columns"]
    assert columns == ["x", "y", "time", "weight", "engagement", "window"]
    write_atlas_parquet(scene, tmp_path / "b.parquet")
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()
    assert b"secret" not in (tmp_path / "a.parquet").read_bytes()


@pytest.mark.parametrize("n", [0, 1])
def test_parquet_of_no_posts_and_of_one(n: int, tmp_path: Path) -> None:
    write_atlas_parquet(scene_of(some_events(n)), tmp_path / "a.parquet", [""] * n)
    table = pq.read_table(tmp_path / "a.parquet")
    assert table.num_rows == n
    assert table.column("window").to_pylist() == [0] * n


def test_windows_that_overlap_or_leave_gaps(tmp_path: Path) -> None:
    events = Events([0.5, 1.5, 2.5, 5.0, 7.0], np.full((5, 2), 0.5))
    canvas = Canvas(events, (Window(0, 2), Window(1, 3), Window(6, 8)), Grid.over(UNIT, 4))
    scene = dataclasses.replace(scene_of(events), canvas=canvas)
    write_atlas_parquet(scene, tmp_path / "a.parquet")
    assert pq.read_table(tmp_path / "a.parquet").column("window").to_pylist() == [0, 1, 1, -1, 2]
