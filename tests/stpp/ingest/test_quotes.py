"""Quotation marks that open a field by mistake swallow nothing; those that are right stay right."""

import csv
import io
import itertools
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stpp.ingest.formats import STRAY, read_table
from stpp.ingest.readers import ReadOptions, ingest

LATER = ["none", "quoted", "several lines", "quoted empty", "closing", "stray"]  # what row 53 holds
COLUMNS = ["id", "t", "x", "y", "text"]


def written(path, rows, *, names=COLUMNS, end="\n", delimiter=",", quoting=csv.QUOTE_MINIMAL):
    text = io.StringIO()
    writer = csv.writer(text, delimiter=delimiter, lineterminator=end, quoting=quoting)
    writer.writerow(names)
    writer.writerows(rows)
    path.write_bytes(text.getvalue().encode())
    return text.getvalue()


def posts(n, text="plain text about rain"):
    return [[str(k), f"{k / 100:.2f}", str(k % 7), str(k % 5), text] for k in range(n)]


def placed(rows, column):
    """The texts in another column."""
    return [[*row[:4][:column], row[4], *row[:4][column:]] for row in rows]


@pytest.mark.slow
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize(("suffix", "delimiter"), [(".csv", ","), (".tsv", "\t")])
@pytest.mark.parametrize("column", range(5))
@pytest.mark.parametrize(("at", "later"), [*itertools.product([0, 7, 52], LATER), (58, "none"), (59, "none")])
def test_a_stray_mark_costs_its_own_line_only(tmp_path, end, suffix, delimiter, column, later, at):
    rows = posts(60)
    wrong = {at}
    follow = {"quoted": f"a{delimiter} b", "several lines": "one\ntwo"}
    if later in follow:
        rows[53][4] = follow[later]
    names = placed([COLUMNS], column)[0]
    content = written(tmp_path / "posts", placed(rows, column), names=names, end=end, delimiter=delimiter)
    lines = content.split(end)  # a text of several lines is written with a plain \n inside
    if end == "\n" and later == "several lines":
        lines = content.replace("one\ntwo", "one\0two").split(end)

    def marked(k, old, new):
        lines[k + 1] = lines[k + 1].replace(old, new)

    marked(at, "plain", '"plain')
    if later == "quoted empty":
        marked(53, "plain text about rain", '""')
    if later == "closing":
        marked(53, "rain", 'rain"')
    if later == "stray":
        marked(53, "plain", '"plain')
        wrong.add(53)
    path = tmp_path / f"posts{suffix}"
    path.write_bytes(end.join(lines).replace("\0", "\n").encode())
    raw = read_table(path)
    assert {cause: (rows - 1).tolist() for cause, rows in raw.malformed.items()} == {STRAY: sorted(wrong)}
    good = [k for k in range(60) if k not in wrong]
    assert (raw.rows - 1).tolist() == good
    assert raw.table["id"].to_pylist() == [str(k) for k in good]
    assert raw.table["y"].to_pylist() == [str(k % 5) for k in good]


def test_a_stray_mark_is_a_cause_of_its_own_and_an_error_with_strict(tmp_path):
    path = tmp_path / "posts.csv"
    path.write_text(written(path, posts(500)).replace("\n100,1.00,2,0,plain", '\n100,1.00,2,0,"plain'))
    done = ingest([path], ReadOptions())
    assert (done.report.rows_read, done.report.kept, done.report.rejected) == (500, 499, {STRAY: 1})
    assert done.rejects[["row", "cause"]].values.tolist() == [[101, STRAY]]
    with pytest.raises(ValueError, match=r"1 of 500 rows cannot be used: 1 stray quotation mark; the first is row 101"):
        ingest([path], ReadOptions(strict=True))


def test_malformed_rows_keep_their_numbers_beside_stray_marks(tmp_path):
    path = tmp_path / "posts.csv"
    lines = written(path, posts(9)).splitlines()
    lines[3] = lines[3].replace("plain", '"plain')
    lines[6] += ",one,more"
    path.write_text("\n".join([*lines[:2], "", *lines[2:]]) + "\n")
    done = ingest([path], ReadOptions())
    assert dict(zip(done.rejects["row"], done.rejects["cause"], strict=True)) == {3: STRAY, 6: "malformed row"}
    assert len(done.events) == 7


def test_an_open_mark_among_the_names_is_told(tmp_path):
    path = tmp_path / "posts.csv"
    path.write_text(written(path, posts(9)).replace("text\n", '"text\n', 1))
    with pytest.raises(ValueError, match=r"opens in the line of column names and does not close"):
        read_table(path)


def is_no_table(text):
    """Whether no line of a text has two commas or more: with numbers beside them it may be taken for a record."""
    return all(line.count(",") < 2 for line in text.splitlines())


TEXTS = st.lists(st.sampled_from([*'ab12 ,\t"\n.-;é', "\r\n"]), max_size=12).map("".join).filter(is_no_table)


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(
    st.lists(TEXTS, min_size=1, max_size=12),
    st.sampled_from(["\n", "\r\n"]),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]),
    st.integers(0, 4),
)
def test_what_is_quoted_rightly_is_read_as_it_was_written(tmp_path_factory, texts, end, quoting, column):
    path = tmp_path_factory.mktemp("quotes") / "posts.csv"
    rows = [[1000 + k, 0.5 * k, -1.25, 3, text or "-"] for k, text in enumerate(texts)]
    written(path, placed(rows, column), names=placed([COLUMNS], column)[0], end=end, quoting=quoting)
    raw = read_table(path)
    assert not raw.malformed
    assert raw.table["text"].to_pylist() == [row[4] for row in rows]


def test_many_lines_inside_quotes_stay_right(tmp_path):
    rng, path = random.Random(0), tmp_path / "posts.csv"
    words = ["rain", "2020-01-01", "5, 6", "\n", "\r\n", '"so"', "a,b,c,d", "7", ",,,,", "-1"]
    texts = [" ".join(rng.choices(words, k=8)) for _ in range(20_000)]
    written(path, [[k, k / 10, 1, 2, text] for k, text in enumerate(texts)])
    raw = read_table(path)
    assert not raw.malformed
    assert raw.table["text"].to_pylist() == texts


def test_a_number_at_the_start_of_a_line_of_text_is_no_record(tmp_path):
    path = tmp_path / "posts.csv"
    written(path, placed(posts(50, "what a year\n2020, wow"), 1), names=placed([COLUMNS], 1)[0])
    raw = read_table(path)
    assert not raw.malformed
    assert raw.table["text"].to_pylist() == ["what a year\n2020, wow"] * 50
