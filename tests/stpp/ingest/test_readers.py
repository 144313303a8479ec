"""Readers: every format in, every row accounted for, and the events file as an exact round trip."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stpp.dates import day_of
from stpp.domain import Box
from stpp.events import Events
from stpp.ingest.columns import ids, times
from stpp.ingest.quality import describe, describe_lines, duplicates, identical_places, tied_times
from stpp.ingest.readers import Ingested, ReadOptions, ingest, read_events, write_events

SHARED = Path(__file__).parents[4] / "shared" / "data"
BIG = 1_234_567_890_123_456_789  # more digits than a float holds
HEADER = "id,full_text,datetime,retweet_count,favorite_count,in_reply_to_status_id,screen_name,x,y"
ROWS = [
    f'{BIG + 2},"two, with a\nline break",2016-01-03 00:00:00+00:00,0,0,{BIG + 1},ann,0.3,0.4',
    f"{BIG + 1},one,2016-01-02 12:00:00+00:00,3,2,,ann,0.1,0.2",
    f"{BIG + 3},three,2016-01-04 00:00:00+00:00,1,0,77,bob,0.5,0.6",
]
POSTS = [
    {"id_str": str(BIG + 1), "full_text": "one", "created_at": "Sat Jan 02 12:00:00 +0000 2016", "retweet_count": "3",
     "favorite_count": "2", "entities": {"hashtags": []}, "x": 0.1, "y": 0.2},
    {"id_str": str(BIG + 2), "full_text": "two", "created_at": "Sun Jan 03 00:00:00 +0000 2016", "retweet_count": "0",
     "favorite_count": "0", "in_reply_to_status_id_str": str(BIG + 1), "x": 0.3, "y": 0.4},
]  # fmt: skip


def write(path: Path, *rows: str, header: str = HEADER) -> Path:
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


def read(path: Path, **options: object) -> Ingested:
    return ingest([path], ReadOptions(**options))  # type: ignore[arg-type]


def accounted(done: Ingested) -> bool:
    report = done.report
    left_out = sum(report.rejected.values()) + sum(report.selected_out.values())
    return report.rows_read == report.kept + left_out and len(done.rejects) == sum(report.rejected.values())


# -- formats ----------------------------------------------------------------------------------------------------


@pytest.fixture
def posts_csv(tmp_path):
    return write(tmp_path / "posts.csv", *ROWS)


def check_posts(done: Ingested, n: int = 3) -> None:
    events = done.events
    assert accounted(done)
    assert len(events) == n
    assert events.date(events.t[0]).isoformat() == "2016-01-02T12:00:00+00:00"
    np.testing.assert_array_equal(events.x[:2], [[0.1, 0.2], [0.3, 0.4]])
    assert events.axes == ("x", "y")
    assert events.parent.tolist()[:2] == [-1, 0]


def test_csv_is_sorted_and_ids_stay_exact(posts_csv):
    done = read(posts_csv)
    check_posts(done)
    assert done.events.mark("id").tolist() == [BIG + 1, BIG + 2, BIG + 3]
    assert done.events.mark("full_text")[1] == "two, with a\nline break"
    assert [done.events.authors[k] for k in done.events.author] == ["ann", "ann", "bob"]
    assert done.events.parent[2] == -1
    assert (done.report.replies, done.report.replies_resolved) == (2, 1)
    assert done.report.columns["time"] == "datetime"
    assert json.loads(json.dumps(done.report.to_dict()))["kept"] == 3


def test_tsv(tmp_path):
    rows = [row.replace("two, with a\nline break", "two").replace(",", "\t") for row in ROWS]
    check_posts(read(write(tmp_path / "posts.tsv", *rows, header=HEADER.replace(",", "\t"))))


def test_parquet_of_another_tool_with_dictionaries(posts_csv, tmp_path):
    frame = pd.read_csv(posts_csv, dtype={"in_reply_to_status_id": "Int64"}, parse_dates=["datetime"])
    frame["screen_name"] = frame["screen_name"].astype("category")
    frame.to_parquet(tmp_path / "posts.parquet")
    check_posts(read(tmp_path / "posts.parquet"))


def test_json_lines_and_lines_that_are_none(tmp_path):
    path = tmp_path / "posts.jsonl"
    path.write_text("\n".join(json.dumps(post) for post in POSTS) + "\n")
    check_posts(read(path), 2)
    path.write_text("\n".join([json.dumps(POSTS[0]), "{broken", "[1]", json.dumps(POSTS[1] | {"x": "0.3"})]) + "\n")
    done = read(path)
    check_posts(done, 2)
    assert done.report.rejected == {"malformed row": 2}
    assert sorted(done.rejects["row"]) == [2, 3]


def test_json_lines_name_the_author_of_the_user_object(tmp_path):
    path = tmp_path / "posts.jsonl"
    path.write_text("\n".join(json.dumps(post | {"user": {"screen_name": "ann", "id": 1}}) for post in POSTS))
    assert read(path).events.authors == ("ann",)


@pytest.mark.parametrize("variable", ["tweets.part0", "tweet.part12"])
def test_twitter_archive(tmp_path, variable):
    path = tmp_path / "tweets.js"
    path.write_text(f"window.YTD.{variable} = " + json.dumps([{"tweet": post} for post in POSTS], indent=1))
    done = read(path, weight="linear")
    check_posts(done, 2)
    assert done.events.weight.tolist() == [6.0, 1.0]
    assert any("entities" in note for note in done.report.assumptions)


def test_community_archive_object_and_plain_array(tmp_path):
    path = tmp_path / "archive.json"
    account = [{"account": {"username": "ann"}}]
    path.write_text(json.dumps({"account": account, "tweets": [{"tweet": post} for post in POSTS], "like": []}))
    done = read(path)
    check_posts(done, 2)
    assert done.events.authors == ("ann",)
    path.write_text(json.dumps([*POSTS, 7]))
    done = read(path)
    check_posts(done, 2)
    assert done.report.rejected == {"malformed row": 1}


def test_files_of_different_formats_make_one_set_and_replies_cross_them(tmp_path):
    first = tmp_path / "tweets.js"
    first.write_text("window.YTD.tweets.part0 = " + json.dumps([{"tweet": POSTS[0]}]))
    second = write(tmp_path / "rest.csv", ROWS[0], ROWS[2], ROWS[1])
    done = ingest([first, second])
    check_posts(done)
    assert done.report.rejected == {"duplicate id": 1}
    assert done.rejects.to_dict("records") == [
        {"file": str(second), "row": 3, "cause": "duplicate id", "id": str(BIG + 1)}
    ]
    assert done.report.columns["time"] == "created_at; datetime"


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared data sets are not on this machine")
def test_real_export():
    done = read(SHARED / "community_archive_like_congress_3k.csv", weight="log")
    assert (len(done.events), done.events.axes, len(done.rejects)) == (3000, ("x", "y"), 0)
    assert done.events.parent.max() >= 0
    assert done.events.weight.max() > 5


# -- columns ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("columns", "flag", "found"),
    [
        ("x,y,x0,x1", None, ("x", "y")),
        ("Sincerity,CHARITY", None, ("Sincerity", "CHARITY")),
        ("x1,x0,x2,x4", None, ("x0", "x1", "x2")),
        ("e0,e1", None, ("e0", "e1")),
        ("e_x,e_y", None, ("e_x", "e_y")),
        ("lon,lat", None, ("lon", "lat")),
        ("x0,x1,lon,lat", ("lat", "lon"), ("lat", "lon")),
        ("x0", None, ("x0",)),
    ],
)
def test_coordinates_are_found_by_name(tmp_path, columns, flag, found):
    n = columns.count(",") + 1
    path = write(tmp_path / "a.csv", ",".join(["1.5", *map(str, range(n))]), header=f"t,{columns}")
    events = read(path, coords=flag).events
    assert events.axes == found
    assert events.x.tolist() == [[float(columns.split(",").index(name)) for name in found]]


@pytest.mark.parametrize(
    ("values", "days", "note"),
    [
        (["1970-01-02T00:00:00Z", "1970-01-01T12:00:00Z"], [1, 0.5], "with a time zone"),
        (["1970-01-02T02:00:00+02:00", "1970-01-01T12:00:00.5Z"], [1, 0.5 + 0.5 / 86_400], "with a time zone"),
        (["1970-01-02 00:00", "1970-01-03"], [1, 2], "without a time zone: taken as UTC"),
        (["1970-01-02T00:00:00Z", "1970-01-03", "soon", ""], [1, 2, np.nan, np.nan], "1 without a time zone"),
        (["Thu Jan 01 12:00:00 +0000 1970", "Thu Feb 30 12:00:00 +0000 1970"], [0.5, np.nan], "with a time zone"),
        (["Thu Jan 01 12:00:00 +0200 1970", "1970-01-02 00:00:00 UTC"], [10 / 24, 1], "with a time zone"),
        (["16000.25", "16001"], [16000.25, 16001], "taken as days since 1970-01-01"),
        (["16000.25", "soon", "nan"], [16000.25, np.nan, np.nan], "taken as days"),
        (["1451606400", "1451692800"], [16801, 16802], "taken as seconds"),
        (["1451606400000"], [16801], "taken as milliseconds"),
        (["1970-01-02T00:00:00Z", "99999-01-01T00:00:00Z"], [1, np.nan], "with a time zone"),
    ],
)
def test_times(values, days, note):
    found, told = times(pa.chunked_array([pa.array([v or None for v in values], pa.large_string())]), "t", "a.csv")
    np.testing.assert_allclose(found, days, rtol=0, atol=1e-10)
    assert note in told


def test_time_stamps_keep_their_instant_whatever_their_unit():
    moment = pd.Timestamp("2016-03-01T12:00", tz="America/New_York")
    for unit in ("s", "ms", "us", "ns"):
        column = pa.chunked_array([pa.array([moment, None], pa.timestamp(unit, "America/New_York"))])
        days, note = times(column, "t", "a.parquet")
        assert days[0] == day_of("2016-03-01T17:00", "1970-01-01T00:00:00+00:00")
        assert np.isnan(days[1])
        assert note == "with a time zone"


@pytest.mark.parametrize(
    ("column", "expected", "lost"),
    [
        (pa.array([str(BIG), None, "12.0", " 7 "]), [BIG, None, 12, 7], 0),
        (pa.array([BIG, None]), [BIG, None], 0),
        (pa.array([12.0, float("nan"), 1.5e18, None]), [12, None, None, None], 1),
        (pa.array(["1.5e+18", "3"]), [None, 3], 1),
        (pa.array(["abc", "7", "nan"]), ["abc", "7", None], 0),
    ],
)
def test_ids_never_pass_through_a_float(column, expected, lost):
    found, count = ids(pa.chunked_array([column]))
    assert found.to_pylist() == expected
    assert count == lost


def test_dates_by_users():
    assert day_of("1970-01-03", "1970-01-01T00:00:00+00:00") == 2
    assert day_of("2", "2000-01-01T00:00:00+00:00") == 2
    with pytest.raises(ValueError, match="'someday' is not a date"):
        day_of("someday", "1970-01-01T00:00:00+00:00")


# -- weights, selections and rejects ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [1, 1, 1]),
        ({"weight": "uniform"}, [1, 1, 1]),
        ({"weight": "linear"}, [6, 1, 2]),  # RT + favourites + 1
        ({"weight": "linear", "a": 2.0, "b": 0.5, "c": 0.0}, [7, 0, 2]),
        ({"weight": "log"}, [1 + np.log(6), 1, 1 + np.log(2)]),  # 1 + ln(1 + RT + favourites)
        ({"weight": "log", "alpha": 0.0}, [1 + np.log(4), 1, 1 + np.log(2)]),
        ({"weight": "Favorite_Count"}, [2, 0, 0]),
    ],
)
def test_weights(posts_csv, options, expected):
    np.testing.assert_allclose(read(posts_csv, **options).events.weight, expected)


BAD_ROWS = [
    "1,2020-01-01T00:00:00Z,0.5,0.5,1",
    "2,yesterday,0.5,0.5,1",
    "3,2020-01-01T00:00:00Z,,0.5,1",
    "4,2020-01-01T00:00:00Z,0.5,inf,1",
    "5,2020-01-01T00:00:00Z,left,0.5,1",
    "6,2020-01-01T00:00:00Z,0.5,0.5,-1",
    "7,2020-01-01T00:00:00Z,0.5,0.5,",
    "8,2020-01-01T00:00:00Z,0.5,0.5,many",
    "1,2020-01-01T00:00:00Z,0.5,0.5,1",
    "10,2020-01-01T00:00:00Z,5,0.5,1",
    "11,2020-01-01T00:00:00Z,0.5",
    "12,2020-03-01T00:00:00Z,0.5,nan,1",
    "13,2020-01-02T00:00:00Z,0.5,0.5,2147483648",
    "14,2020-01-03T00:00:00Z,0.5,0.5,1",
]


def test_every_cause_is_counted_and_the_rows_are_named(tmp_path):
    path = write(tmp_path / "bad.csv", *BAD_ROWS, header="id,datetime,x,y,retweet_count")
    options = {"weight": "linear", "b": 0.0, "box": Box((0, 0), (1, 1)), "end": "2020-02-01", "sample": 2}
    done = read(path, **options)
    assert done.report.rejected == dict.fromkeys(
        [
            "unparseable time", "missing coordinate x", "non-finite coordinate y", "unreadable coordinate x",
            "negative retweet_count", "missing retweet_count", "unreadable retweet_count", "duplicate id",
            "outside the box", "malformed row",
        ],
        1,
    )  # fmt: skip
    assert done.report.selected_out == {"outside the dates": 1, "not in the sample": 1}
    assert accounted(done)
    by_cause = dict(zip(done.rejects["cause"], done.rejects["row"], strict=True))
    assert (by_cause["malformed row"], by_cause["duplicate id"], by_cause["outside the box"]) == (11, 9, 10)
    text = "\n".join(done.report.lines())
    assert all(cause in text for cause in by_cause)
    with pytest.raises(ValueError, match=r"10 of 14 rows cannot be used: .*the first is row 2 of .*bad\.csv"):
        read(path, **options, strict=True)


def test_counts_matter_only_when_the_weights_need_them(tmp_path):
    path = write(tmp_path / "bad.csv", *BAD_ROWS[5:8], header="id,datetime,x,y,retweet_count")
    assert len(read(path).events) == 3


CELLS = st.sampled_from(["0.5", "0.25", "", "nan", "inf", "-1", "word", "2e5", " 0.75 "])
MOMENTS = st.sampled_from(["2020-01-01T00:00:00Z", "2020-01-02 10:00", "", "soon", "Wed Oct 10 20:19:24 +0000 2018"])


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(st.tuples(MOMENTS, CELLS, CELLS, CELLS, st.sampled_from(["1", "2", "3", "", "a"])), max_size=12),
    sample=st.none() | st.integers(1, 3),
    start=st.none() | st.just("2020-01-01"),
    boxed=st.booleans(),
    weight=st.sampled_from(["uniform", "linear"]),
)
def test_no_row_is_dropped_in_silence(tmp_path_factory, rows, sample, start, boxed, weight):
    good = ("2020-01-02T00:00:00Z", "0.5", "0.5", "1", "good")
    path = tmp_path_factory.mktemp("rows") / "rows.csv"
    header = "datetime,x,y,retweet_count,id"
    write(path, *(",".join(row) for row in [good, *rows, good]), "short,row", header=header)
    box = Box((0, 0), (1, 1)) if boxed else None
    done = read(path, sample=sample, start=start, box=box, weight=weight, b=0.0)
    assert done.report.rows_read == len(rows) + 3
    assert accounted(done)
    assert done.report.kept == len(done.events) >= 1
    assert done.report.rejected["malformed row"] == 1


def test_duplicates_count_against_kept_rows_only():
    keys = pa.chunked_array([pa.array([5, 5, None, None, 7, 5])])
    kept = np.array([False, True, True, True, True, True])
    assert duplicates(keys, kept).tolist() == [False, False, False, False, False, True]


def test_the_sample_is_seeded(tmp_path):
    path = write(tmp_path / "a.csv", *(f"{k},0,0" for k in range(50)), header="t,x,y")
    one, same, other = (read(path, sample=10, seed=s).events.t.tolist() for s in (1, 1, 2))
    assert one == same != other
    assert len(one) == 10


# -- hostile input ----------------------------------------------------------------------------------------------

GOOD = "t,x,y\n1,2,3\n"
HOSTILE = {
    "missing file": ("none.csv", None, {}, "does not exist"),
    "empty file": ("a.csv", b"", {}, r"empty \(0 bytes\)"),
    "empty first line": ("a.csv", b"\n1,2\n", {}, "first line must name the columns"),
    "header only": ("a.csv", b"t,x,y\n", {}, "has no rows: columns t, x, y"),
    "semicolons": ("a.csv", b"t;x;y\n1;2;3\n", {}, "separated by semicolons.*save it with commas"),
    "tabs in a csv": ("a.csv", b"t\tx\ty\n1\t2\t3\n", {}, r"separated by tabs \(.tsv\).*rename it"),
    "utf-16": ("a.csv", GOOD.encode("utf-16"), {}, "not UTF-8"),
    "latin-1": ("a.csv", "t,x,y\n1,2,é\n".encode("latin-1"), {}, "not UTF-8"),
    "bytes that are no text": ("a.csv", b"\0\1\2\3", {}, "not UTF-8"),
    "a column twice": ("a.csv", b"t,x,x\n1,2,3\n", {}, "more than one column 'x'"),
    "case makes the difference": ("a.csv", b"T,t2,X,x,y\n1,2,3,4,5\n", {"coords": ("X", "y")}, None),
    "columns alike but for case": ("a.csv", b"Time,TIME,x,y\n1,2,3,4\n", {}, "differ in case only"),
    "unknown format": ("a.docx", b"word", {}, "unknown format '.docx'"),
    "no time": ("a.csv", b"when,x,y\n1,2,3\n", {}, "no column datetime or .* it has columns when, x, y.*--time"),
    "no such time": ("a.csv", GOOD.encode(), {"time": "when"}, "no column when.*--time"),
    "no coordinates": ("a.csv", b"t,x\n1,2\n", {}, "no coordinates.*it has columns t, x.*--coords"),
    "no such coordinate": ("a.csv", GOOD.encode(), {"coords": ("x", "z")}, "no column z.*--coords"),
    "no counts": ("a.csv", GOOD.encode(), {"weight": "log"}, "no column retweet_count.*--weight uniform"),
    "no such weight": ("a.csv", GOOD.encode(), {"weight": "fame"}, "no column fame.*--weight"),
    "times that are words": ("a.csv", b"t,x,y\nsoon,1,2\n", {}, "none of the 1 times.*'soon'.*--time"),
    "all rows bad": ("a.csv", b"t,x,y\n1,nan,2\n", {}, "none of 1 rows is left .1 missing coordinate x"),
    "truncated parquet": ("a.parquet", b"PAR1\0\0\0", {}, "not a complete Parquet file"),
    "truncated json": ("a.json", b'[{"t": 1, "x": 2', {}, "not complete JSON"),
    "json of something else": ("a.json", b'{"likes": []}', {}, "no list of posts.*it has likes"),
    "json value": ("a.json", b"3", {}, "one value"),
    "cut json lines": ("a.jsonl", b'{"t": 1, "x": 2, "y": 3}\n{"t": 2, "x"', {}, "middle of record 2"),
    "no json lines": ("a.jsonl", b"hello\nworld\n", {}, "none of its 2 lines is a JSON object"),
    "javascript": ("tweets.js", b"var a = [1]", {}, "window.YTD"),
    "a box of other dimensions": ("a.csv", GOOD.encode(), {"box": Box((0,), (1,))}, "box has 1 axes"),
    "dates reversed": ("a.csv", GOOD.encode(), {"start": 2, "end": 1}, "end must come after the start"),
    "a date that is none": ("a.csv", GOOD.encode(), {"start": "someday"}, "'someday' is not a date"),
    "no text to embed": ("a.csv", GOOD.encode(), {"embed": "lsa"}, "no column full_text or text"),
    "too little text": ("a.csv", b"t,text\n1,hello\n2,world\n", {"embed": "lsa"}, "2 texts are too few"),
    "future text only": (
        "a.csv", b"t,text\n5,hello\n", {"embed": "lsa", "space_until": 2}, "no post with time and text before 2",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("name", "content", "options", "told"), HOSTILE.values(), ids=HOSTILE)
def test_hostile_input(tmp_path, name, content, options, told):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    if told is None:
        assert len(read(path, **options).events) == 1
        return
    with pytest.raises(ValueError, match=told) as caught:
        read(path, **options)
    assert "\n" not in str(caught.value)
    if not {"start", "box", "embed"} & set(options):
        assert name in str(caught.value)


@pytest.mark.parametrize(
    "options",
    [
        {"a": -1.0}, {"alpha": float("nan")}, {"sample": 0}, {"embed": "magic"}, {"dims": 0},
        {"space_until": "2020-01-01"}, {"embed": "lsa", "coords": ("x",)}, {"coords": ("x", "x")},
    ],
)  # fmt: skip
def test_options_that_make_no_sense(options):
    with pytest.raises(ValueError, match=r"must be|at least 1|no embedding|--embed|once"):
        ReadOptions(**options)


def test_a_folder_and_no_file(tmp_path):
    with pytest.raises(ValueError, match="is a folder"):
        read(tmp_path)
    with pytest.raises(ValueError, match="no file to read"):
        ingest([])


def test_files_of_different_dimensions(tmp_path):
    paths = [write(tmp_path / "a.csv", "1,2", header="t,x0"), write(tmp_path / "b.csv", "1,2,3", header="t,x,y")]
    with pytest.raises(ValueError, match="one file has coordinates x0, another x, y"):
        ingest(paths)


# -- the events file --------------------------------------------------------------------------------------------


def marked_events() -> Events:
    rng = np.random.default_rng(0)
    marks = pa.table(
        {"weight": [1, None, 3], "t": ["a", None, "c"], "at": pa.array([1, 2, 3], pa.timestamp("s", "UTC"))}
    )
    return Events(
        np.sort(rng.normal(size=3)), rng.normal(size=(3, 2)), rng.random(3), np.array([2, -1, 0]),
        ("zoe", "unused", "ann"), np.array([-1, 0, 0]), marks, "2000-01-01T00:00:00+00:00", ("parent", "weight"),
    )  # fmt: skip


def assert_same(a: Events, b: Events) -> None:
    for name in ("t", "x", "weight", "author", "parent"):
        left, right = getattr(a, name), getattr(b, name)
        assert (left is None and right is None) or left.tobytes() == right.tobytes(), name
    assert (a.epoch, a.axes, a.authors) == (b.epoch, b.axes, b.authors)
    assert a.marks == b.marks


def test_the_events_file_is_exact_even_when_names_clash(tmp_path):
    events = marked_events()
    write_events(events, tmp_path / "events.parquet")
    assert_same(read_events(tmp_path / "events.parquet"), events)
    assert_same(ingest([tmp_path / "events.parquet"]).events, events)
    assert [path.name for path in tmp_path.iterdir()] == ["events.parquet"]
    first = (tmp_path / "events.parquet").read_bytes()
    write_events(events, tmp_path / "events.parquet")
    assert (tmp_path / "events.parquet").read_bytes() == first


@pytest.mark.parametrize("n", [0, 1, 5])
def test_bare_events_of_one_axis_round_trip(tmp_path, n):
    events = Events(np.arange(n, dtype=float), np.ones((n, 1)))
    write_events(events, tmp_path / "events.parquet")
    assert_same(read_events(tmp_path / "events.parquet"), events)


def test_what_ingest_read_round_trips(posts_csv, tmp_path):
    events = read(posts_csv, weight="log").events
    write_events(events, tmp_path / "events.parquet")
    assert_same(read_events(tmp_path / "events.parquet"), events)
    assert_same(read_events(posts_csv, ReadOptions(weight="log")), events)


def test_an_events_file_can_be_asked_for_less(posts_csv, tmp_path):
    path = tmp_path / "events.parquet"
    write_events(read(posts_csv, weight="log").events, path)
    done = read(path, start="2016-01-03", coords=("y", "favorite_count"), weight="linear", box=Box((0, 0), (9, 9)))
    assert done.events.x.tolist() == [[0.4, 0.0], [0.6, 0.0]]
    assert done.events.axes == ("y", "favorite_count")
    assert done.events.mark("x").tolist() == [0.3, 0.5]
    assert done.events.weight.tolist() == [1.0, 2.0]
    assert done.events.parent.tolist() == [-1, -1]
    assert done.report.selected_out == {"outside the dates": 1}
    assert accounted(done)
    with pytest.raises(ValueError, match=r"none of 3 rows is left \(3 outside the box"):
        read(path, box=Box((8, 8), (9, 9)))
    with pytest.raises(ValueError, match="is an events file"):
        read(path, embed="lsa")
    with pytest.raises(ValueError, match="ingest the original files together"):
        ingest([path, posts_csv])


def test_axes_of_an_events_file_without_marks_can_be_swapped(tmp_path):
    write_events(Events(np.arange(3.0), np.arange(6.0).reshape(3, 2), axes=("x", "y")), tmp_path / "events.parquet")
    events = read_events(tmp_path / "events.parquet", ReadOptions(coords=("Y", "x"), end=2))
    assert events.axes == ("y", "x")
    assert events.x.tolist() == [[1, 0], [3, 2]]
    assert events.marks is None


def test_an_events_file_that_is_damaged_or_of_the_future(tmp_path):
    path = tmp_path / "events.parquet"
    write_events(marked_events(), path)
    table = pa.parquet.read_table(path)
    facts = json.loads(table.schema.metadata[b"stpp"])
    for change, told in ((facts | {"format": 99}, "newer stpp .format 99.: upgrade"), ({"format": 1}, "damaged")):
        pa.parquet.write_table(table.replace_schema_metadata({"stpp": json.dumps(change)}), path)
        with pytest.raises(ValueError, match=told):
            read_events(path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match="not a complete Parquet file"):
        read_events(path)


def test_where_events_cannot_be_written(tmp_path):
    with pytest.raises(ValueError, match="there is no folder"):
        write_events(marked_events(), tmp_path / "none" / "events.parquet")
    with pytest.raises(ValueError, match="it is a folder"):
        write_events(marked_events(), tmp_path)


# -- text spaces ------------------------------------------------------------------------------------------------


@pytest.fixture
def texts_csv(tmp_path):
    rng = np.random.default_rng(0)
    topics = [[f"{topic}{k}" for k in range(30)] for topic in ("river", "tax", "goal")]
    rows = [f"{k},{k % 3},{' '.join(rng.choice(topics[k % 3], 6))} https://t.co/{k}" for k in range(240)]
    return write(tmp_path / "texts.csv", *rows, "240,0,", "241,0,zebra", header="t,topic,text")


def test_text_is_placed_by_topic_and_the_report_says_what_was_seen(texts_csv):
    done = read(texts_csv, embed="lsa", dims=2, space_until="1970-05-01")
    assert accounted(done)
    assert done.report.rejected == {"missing text": 1, "no word that the text space knows": 1}
    space = done.report.space
    assert (space["posts"], space["until"], space["last"]) == (120, "1970-05-01", "1970-04-30T00:00:00")
    assert "saw 120 posts before 1970-05-01" in "\n".join(done.report.lines())
    topic = done.events.mark("topic")
    centres = np.array([done.events.x[topic == k].mean(axis=0) for k in range(3)])
    nearest = np.linalg.norm(done.events.x[:, None] - centres, axis=2).argmin(axis=1)
    assert (nearest == topic).mean() > 0.95
    assert done.events.axes == ("lsa0", "lsa1")


def test_the_space_does_not_see_the_future(texts_csv, tmp_path):
    options = {"embed": "lsa", "space_until": 120, "end": 120}
    lines = texts_csv.read_text().splitlines()
    changed = write(tmp_path / "changed.csv", *lines[1:121], *(["200,0,other words entirely"] * 50), header=lines[0])
    one, other = read(texts_csv, **options).events, read(changed, **options).events
    assert one.x.tobytes() == other.x.tobytes()
    assert read(texts_csv, **options).events.x.tobytes() == one.x.tobytes()


def test_posts_before_the_selection_may_teach_the_space(texts_csv):
    done = read(texts_csv, embed="lsa", start=120, space_until=120)
    assert done.report.space["posts"] == 120
    assert done.events.t.min() == 120


# -- describing -------------------------------------------------------------------------------------------------


def test_description(tmp_path):
    # Days 0, 0, 1 and 30 from the epoch: weeks 0 … 4, of which 1, 2 and 3 are empty; 4 events in 30 days.
    path = write(tmp_path / "a.csv", "0,1,1,ann,", "0,1,1,bob,2", "1,0,5,ann,", "30,1,1,,4", header="t,x,y,author,mag")
    facts = describe(read(path).events)
    assert (facts["n"], facts["d"], facts["days"], facts["per_day"]) == (4, 2, 30.0, 4 / 30)
    assert facts["axes"] == {"x": [0.0, 1.0], "y": [1.0, 5.0]}
    assert (facts["tied_times"], facts["identical_places"]) == (0.5, 0.75)
    assert (facts["weeks"], facts["empty_weeks"], facts["longest_gap"]["days"]) == (5, 3, 29.0)
    assert (facts["authors"], facts["marks"]) == (2, {"mag": {"type": "int64", "missing": 2}})
    assert json.loads(json.dumps(facts)) == facts
    assert any("3 of 5 weeks are empty" in line for line in describe_lines(facts))


def test_description_of_one_event_and_of_none():
    one = Events(np.array([3.0]), np.array([[1.0]]))
    assert describe(one)["per_day"] is None
    assert "all at one time" in "\n".join(describe_lines(describe(one)))
    with pytest.raises(ValueError, match="no events"):
        describe(Events(np.empty(0), np.empty((0, 1))))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=12))
def test_ties_and_shared_places_are_those_of_counting(rows):
    events = Events(np.array([r[0] for r in rows], dtype=float), np.array([r[1:] for r in rows], dtype=float))
    stamps, places = [r[0] for r in rows], [r[1:] for r in rows]
    assert tied_times(events) == sum(stamps.count(v) > 1 for v in stamps)
    assert identical_places(events) == sum(places.count(v) > 1 for v in places)
