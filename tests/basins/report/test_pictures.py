"""Words and colours of the pictures of basins: nothing covers another, and neighbours do not look alike."""

from __future__ import annotations

import itertools

import matplotlib as mpl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure

from basins.report.colours import COLOURS, colours
from basins.report.labels import spread_out, stack
from basins.tracks.tracking import Track, Tracking

mpl.use("Agg")


def test_labels_moved_far_are_led_back_to_their_basin() -> None:
    figure = Figure()
    ax = figure.subplots()
    texts = [ax.text(0.5, 0.5, word, ha="center", va="center") for word in ("one", "two", "three", "four", "five")]
    spread_out(texts, ax)
    boxes = [text.get_window_extent() for text in texts]
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
    assert texts[0].get_position() == pytest.approx((0.5, 0.5))
    assert ax.lines
    assert all((line.get_xdata()[0], line.get_ydata()[0]) == pytest.approx((0.5, 0.5)) for line in ax.lines)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
@settings(max_examples=15, deadline=None)
def test_names_beside_the_bands_do_not_cover_each_other(heights: list[float]) -> None:
    figure = Figure()
    ax = figure.subplots()
    texts = [ax.text(1, y, "name", ha="left", va="center") for y in heights]
    stack(texts, ax)
    boxes = [text.get_window_extent() for text in texts]
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
    frame = ax.get_window_extent()
    assert all(frame.y0 - 1 <= box.y0 and box.y1 <= frame.y1 + 1 for box in boxes)


def test_basins_seen_together_have_different_colours() -> None:
    births = [k // 2 for k in range(40)]  # two in every window, each of which lives for two
    relay = Tracking(tuple(Track(k, ((a, 0), (a + 1, 0)), a, a + 2) for k, a in enumerate(births)), ())
    shade = colours(relay)
    for one, other in itertools.combinations(relay.tracks, 2):
        if abs(one.birth - other.birth) <= 2:
            assert shade[one.id] != shade[other.id]
    crowd = Tracking(tuple(Track(k, ((0, k),), 0, None) for k in range(len(COLOURS))), ())
    assert set(colours(crowd).values()) == set(COLOURS)
