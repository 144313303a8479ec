"""Names of basins: typical words in any language, places in plain words, and never the same name twice."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from basins.basin import Basin, describe
from basins.space import Snapshot, Space
from basins.tracks.naming import KEY_WORDS, LONGEST, Name, names, words_of
from basins.tracks.tracking import Track, Tracking
from stpp.domain import Box, Grid
from stpp.events import Events, Window
from stpp.partition import Partition

AXES = ("sincerity", "charity")
CORNERS = np.array([[0.2, 0.2], [0.8, 0.2], [0.2, 0.8], [0.8, 0.8]])


def corners(labels: np.ndarray, axes: tuple[str, ...] = AXES) -> tuple[Snapshot, tuple[Basin, ...], Tracking]:
    """A window of posts in the corners of the unit square, each corner a basin and a track."""
    space = Space(Partition.of_grid(Grid.over(Box((0.0, 0.0), (1.0, 1.0)), 10)), 0.1)
    rng = np.random.default_rng(0)
    x = CORNERS[labels] + rng.uniform(-0.1, 0.1, (len(labels), 2))
    events = Events(np.linspace(0, 6.9, len(labels)), x, axes=axes)
    snapshot = space.see(events, Window(0, 7))
    kinds = np.unique(labels)
    nearest = np.argmin(((space.partition.centres[:, None] - CORNERS[kinds]) ** 2).sum(axis=2), axis=1)
    basins = describe(snapshot, np.eye(len(kinds))[nearest].T, np.ones(len(kinds)))
    tracks = tuple(Track(k, ((0, k),), 0, None) for k in range(len(basins)))
    return snapshot, basins, Tracking(tracks, ())


def named(labels: np.ndarray, texts: list[str] | None) -> dict[int, Name]:
    snapshot, basins, tracking = corners(labels)
    return names([snapshot], [basins], tracking, texts, AXES)


def test_a_post_gives_its_words() -> None:
    text = "RT @who: The #Zika funding isn't 2016's 40% https://t.co/x &amp; WE VOTE!! virus-free"
    assert words_of(text) == ["#zika", "funding", "vote", "virus", "free"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Los niños están aquí", ["los", "niños", "están", "aquí"]),
        ("हिन्दी में लिखा", ["हिन्दी", "में", "लिखा"]),
        ("Ελλάδα 🇬🇷 10.000", ["ελλάδα"]),
        ("السلام عليكم، شكرا", ["السلام", "عليكم", "شكرا"]),
        ("こんにちは世界", ["こんにちは世界"]),
        ("", []),
        ("x" * (LONGEST + 1), []),
    ],
)
def test_words_of_any_script_stay_whole(text: str, words: list[str]) -> None:
    assert words_of(text) == words


@pytest.mark.slow
@given(st.text())
def test_any_text_has_words_or_none(text: str) -> None:
    assert all(0 < len(word) <= LONGEST + 1 and not word.isspace() for word in words_of(text))


def test_key_words_are_typical_of_the_basin_and_not_of_all() -> None:
    labels = np.repeat([0, 1, 2, 3], [40, 30, 20, 10])
    topics = ["zika virus funding", "tax reform bill", "#climate ocean plastic", "football match goal"]
    texts = [f"everyone says {topics[label]} {k}" for k, label in enumerate(labels)]
    found = named(labels, texts)
    assert [set(name.words) for name in found.values()] == [set(topic.split()) for topic in topics]
    assert found[0].text == ", ".join(found[0].words)
    assert all(len(name.words) == KEY_WORDS for name in found.values())


def test_a_hashtag_and_its_word_are_one_key_word() -> None:
    texts = ["zika #zika virus outbreak"] * 20 + ["other words here"] * 20
    words = named(np.repeat([0, 3], 20), texts)[0].words
    assert sorted(word.lstrip("#") for word in words) == ["outbreak", "virus", "zika"]


def test_one_post_that_repeats_itself_names_no_basin() -> None:
    texts = ["spam " * 50, *["budget vote today"] * 19, *["other words here"] * 20]
    assert "spam" not in named(np.repeat([0, 3], 20), texts)[0].words


def test_two_basins_never_share_a_name() -> None:
    texts = ["the same words everywhere"] * 40
    found = named(np.repeat([0, 1, 2, 3], 10), texts)
    assert len({name.text for name in found.values()}) == 4
    assert all(name.text.startswith(", ".join(name.words)) for name in found.values())


def test_without_texts_the_name_is_the_place() -> None:
    found = named(np.repeat([0, 1, 2, 3], [40, 30, 20, 30]), None)
    assert found[0].text == "low sincerity, low charity"
    assert {name.place for name in found.values()} == {
        f"{one} sincerity, {other} charity" for one in ("low", "high") for other in ("low", "high")
    }
    assert all(not name.words and name.text == name.place for name in found.values())


@pytest.mark.parametrize("text", ["", "http://t.co/a @b 123", "the and of"])
def test_posts_without_words_fall_back_to_the_place(text: str) -> None:
    assert named(np.repeat([0, 3], 20), [text] * 40)[0].text == "low sincerity, low charity"


def test_the_most_central_posts_are_kept() -> None:
    snapshot, basins, tracking = corners(np.repeat([0, 3], 20))
    found = names([snapshot], [basins], tracking, None, AXES)
    assert found[1].posts == basins[1].members


@pytest.mark.slow
def test_many_axes_are_named_by_the_two_that_matter() -> None:
    rng = np.random.default_rng(0)
    box = Box((-5.0,) * 6, (5.0,) * 6)
    x = rng.normal(0, 0.5, (400, 6))
    x[:200, 4] += 3
    x[:200, 1] -= 2
    cells = Partition.around_landmarks(x, 40, box, rng)
    snapshot = Space(cells, 0.5).see(Events(np.arange(400) / 100, x), Window(0, 5))
    basins = describe(snapshot, (cells.centres[:, 4] > 1.5).astype(float)[None], np.ones(1))
    tracking = Tracking((Track(0, ((0, 0),), 0, None),), ())
    assert names([snapshot], [basins], tracking, None, snapshot.posts.axes)[0].text == "low x1, high x4"


def test_no_tracks_no_names() -> None:
    snapshot, _, _ = corners(np.repeat([0, 3], 20))
    assert names([snapshot], [()], Tracking((), ()), ["a post"] * 40, AXES) == {}
