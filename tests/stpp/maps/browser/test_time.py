"""Time moves: by play, by keys and buttons, by the slider, by a click on the strip; a link brings it back."""

from __future__ import annotations

import json

import pytest

LAST = 5
"""The number of the last window."""

LINKED = {
    "at": 3,
    "mode": "cumulative",
    "raster": "difference",
    "contours": "observed",
    "posts": False,
    "flow": False,
    "model": "historical-average",
    "other": "hawkes",
    "compare": "swipe",
    "divider": 0.25,
    "colour": "plain",
    "halfLife": 3.5,
    "selection": [[-1, -1], [1, -1], [0, 1]],
    "view": {"x": 0.5, "y": -0.25, "scale": 2},
    "theme": "dark",
    "search": "plain & <b>words</b> #12",
}

SENSELESS = (
    "#w=9999&m=%3Cimg%20src=x%20onerror=window.pwned=1%3E&v=NaN,,&x=1,2&s=moon&d=-3&n=1e9&k=0&h=-1",
    "#%E0%A4%A&&&=&w=&w=-1&__proto__=1&constructor=2&toString=3",
    "#<script>window.pwned=1</script>",
    "#v=1e999,0,1&x=" + "9," * 3000,
    "#w=1.5&p=2&a=red&v=0,0,0&v=0,0,-1",
)


def at(page) -> float:
    return page.evaluate("stpp.state.at")


@pytest.mark.slow
def test_play_goes_on_to_the_end_and_stops(open_map, until, full) -> None:
    page = open_map(full.path)
    page.evaluate("stpp.set({ at: 0, speed: 4 })")
    frames = page.evaluate("stpp.frames")
    page.evaluate("stpp.play()")
    until(page, "stpp.state.at > 0 && stpp.state.at < 5")
    until(page, "!stpp.state.playing")
    assert at(page) == LAST
    assert page.evaluate("stpp.frames") > frames + 3
    page.evaluate("stpp.play()")  # from the end, again from the beginning
    until(page, "stpp.state.playing && stpp.state.at < 4")
    page.evaluate("stpp.pause()")
    assert at(page) == round(at(page))
    assert page.evaluate("stpp.state.playing") is False


@pytest.mark.slow
def test_play_in_two_beats(open_map, until, full) -> None:
    page = open_map(full.path)
    page.evaluate(
        """() => {
          window.seen = [];
          stpp.set({ at: 0, mode: 'sequential', speed: 4 });
          stpp.play();
          const note = () => {
            const beat = `${stpp.state.at}:${stpp.state.beat}:${stpp.shown()}`;
            if (window.seen.at(-1) !== beat) window.seen.push(beat);
            if (stpp.state.playing) requestAnimationFrame(note);
          };
          note();
        }"""
    )
    until(page, "!stpp.state.playing")
    seen = [tuple(map(int, beat.split(":"))) for beat in page.evaluate("window.seen")]
    assert seen == sorted(seen, key=lambda beat: beat[:2])
    assert {w for w, _, _ in seen} == set(range(LAST + 1))
    for w, beat, shown in seen:
        assert shown == (full.inside(w).sum() if beat else 0)


@pytest.mark.slow
def test_nothing_is_told_before_its_time(open_map, full) -> None:
    page = open_map(full.path)
    page.evaluate("stpp.set({ at: 3, mode: 'sequential', beat: 0, raster: 'forecast' })")
    assert page.locator("#when-posts").inner_text() == "not yet come"
    assert page.evaluate("stpp.density('observed')") is None
    told = page.locator("#panel").inner_text()
    assert "nobody knows yet how many come" in told
    assert "of 2023-01-16 to 01-23" in told  # the basins known when the window began
    box = page.locator("#strip").bounding_box()
    page.mouse.move(box["x"] + box["width"] - 20, box["y"] + 12)
    assert page.locator("#tooltip").inner_text().endswith("still to come")
    page.mouse.move(box["x"] + 0.35 * box["width"], box["y"] + 12)
    assert "posts" in page.locator("#tooltip").inner_text()
    page.evaluate("stpp.set({ beat: 1 })")
    assert page.locator("#when-posts").inner_text() == f"{full.inside(3).sum():,} posts"
    assert "of 2023-01-23 to 01-30" in page.locator("#panel").inner_text()


@pytest.mark.slow
def test_buttons_slider_and_strip_move_time(open_map, full) -> None:
    page = open_map(full.path)
    page.evaluate("stpp.set({ at: 2 })")
    page.locator("#forward").click()
    assert at(page) == 3
    page.locator("#back").click()
    page.locator("#back").click()
    assert at(page) == 1
    page.locator("#slider").fill("4")
    assert at(page) == 4
    page.evaluate("stpp.step(-10)")
    assert at(page) == 0
    page.evaluate("stpp.step(1)")
    assert at(page) == 1
    box, slider = page.locator("#strip").bounding_box(), page.locator("#slider").bounding_box()
    for w in (5, 0, 3):  # a window lies below where the slider stands for it, whose thumb is 16 pixels wide
        place = slider["x"] + 8 + w / LAST * (slider["width"] - 16)
        page.mouse.click(place, box["y"] + box["height"] / 2)
        assert at(page) == w
    assert "2023-" in page.locator("#when").text_content()


@pytest.mark.slow
def test_a_link_brings_the_state_back(open_map, until, full) -> None:
    page = open_map(full.path)
    page.evaluate("(patch) => stpp.set(patch)", LINKED)
    until(page, "location.hash.includes('w=3')")
    fragment = page.evaluate("location.hash")
    again = open_map(full.path, fragment)
    state = json.loads(again.evaluate("JSON.stringify(stpp.state)"))
    assert {key: state[key] for key in LINKED} == LINKED
    assert again.evaluate("stpp.shown()") == page.evaluate("stpp.shown()")
    again.evaluate("location.hash = '#w=1'")
    until(again, "stpp.state.at === 1")
    assert again.evaluate("stpp.state.mode") == "window"


@pytest.mark.slow
def test_a_link_that_makes_no_sense_changes_nothing(open_map, full) -> None:
    usual = open_map(full.path).evaluate("JSON.stringify(stpp.state)")
    page = open_map(full.path, SENSELESS[0])
    for fragment in SENSELESS:
        page.evaluate("(fragment) => { location.hash = fragment; }", fragment)
        page.wait_for_timeout(50)
        assert page.evaluate("JSON.stringify(stpp.state)") == usual
    assert page.evaluate("window.pwned") is None
    assert page.evaluate("stpp.shown()") == full.inside(LAST).sum()
