"""Reading posts: a box or a lasso counts them, hover, click and search show them; hostile words are never run."""

from __future__ import annotations

import base64
import csv
import io
import json
from collections.abc import Callable

import numpy as np
import pytest
from matplotlib.path import Path as Outline
from PIL import Image

LAST = 5
"""The number of the last window; its last posts bear the hostile texts."""

SHOWN_TAGS = """() => [...new Set([...document.querySelectorAll('body *')].map((one) => one.tagName))]"""


def within(polygon, places: np.ndarray) -> np.ndarray:
    return Outline(np.asarray(polygon)).contains_points(places)


def drag(page, tool: str, corners: list[tuple[float, float]]) -> list[list[float]]:
    """Draw on the map, corners as shares of its width and height; the polygon in map units."""
    page.locator(f"#tool-{tool}").check(force=True)
    box = page.locator("#overlay").bounding_box()
    pixels = [(box["x"] + u * box["width"], box["y"] + v * box["height"]) for u, v in corners]
    page.mouse.move(*pixels[0])
    page.mouse.down()
    for pixel in pixels[1:]:
        page.mouse.move(*pixel, steps=4)
    page.mouse.up()
    return page.evaluate("stpp.state.selection")


def to_pixels(page) -> Callable[[np.ndarray], np.ndarray]:
    """Where places (2,) on the map are in the window, as drawing a box tells."""
    (left, top), _, (right, bottom), _ = drag(page, "box", [(0.2, 0.2), (0.8, 0.8)])
    box = page.locator("#overlay").bounding_box()
    low, high = np.array([left, top]), np.array([right, bottom])
    start = np.array([box["x"] + 0.2 * box["width"], box["y"] + 0.2 * box["height"]])
    size = 0.6 * np.array([box["width"], box["height"]])
    page.locator("#tool-pan").check(force=True)
    page.evaluate("stpp.set({ selection: null })")
    return lambda place: start + (place - low) / (high - low) * size


def check_selection(page, written, polygon, w: int) -> int:
    """Hold what is selected against Python; how many that is."""
    events = written.scene.canvas.events
    rows = np.flatnonzero(written.inside(w) & within(polygon, written.places))
    summary = page.evaluate("(polygon) => stpp.select(polygon)", polygon)
    engagement = np.asarray(events.marks["retweet_count"])[rows]
    assert page.evaluate("[...stpp.rows()]") == rows.tolist()
    assert summary["posts"] == len(rows)
    assert summary["weight"] == events.weight[rows].sum()
    assert summary["engagement"] == engagement.sum()
    assert summary["share"] == pytest.approx(len(rows) / written.inside(w).sum())
    order = rows[np.lexsort((rows, -engagement))]
    assert summary["top"] == order[:5].tolist()
    return len(rows)


@pytest.mark.slow
def test_a_box_and_a_lasso_count_what_lies_inside(open_map, full) -> None:
    page = open_map(full.path, "#w=2")
    box = drag(page, "box", [(0.3, 0.25), (0.7, 0.6)])
    assert len(box) == 4
    assert check_selection(page, full, box, 2) > 20
    size = page.locator("#overlay").bounding_box()
    across, up = (0.4 * size["width"]) / (box[2][0] - box[0][0]), (0.35 * size["height"]) / (box[0][1] - box[2][1])
    assert across == pytest.approx(up, rel=1e-3)  # one scale on both axes
    lasso = drag(page, "lasso", [(0.2, 0.3), (0.75, 0.2), (0.7, 0.8), (0.4, 0.5), (0.25, 0.7)])
    assert len(lasso) > 4
    assert check_selection(page, full, lasso, 2) > 20
    told = page.locator("#selection").text_content()
    assert f"{page.evaluate('stpp.rows().length'):,}" in told
    page.keyboard.press("Escape")
    assert page.evaluate("stpp.state.selection") is None


@pytest.mark.slow
def test_selections_by_polygon_follow_the_window(open_map, full) -> None:
    page = open_map(full.path)
    star = [[-2, -1], [0, 2], [2, -1], [-2.2, 1], [2.2, 1.1]]  # it crosses itself
    for w in range(LAST + 1):
        page.evaluate("(w) => stpp.set({ at: w })", w)
        check_selection(page, full, [[-1.5, -1.2], [1.1, -1], [0.4, 1.7]], w)
        assert check_selection(page, full, [[50, 50], [51, 50], [51, 51]], w) == 0
    rows = page.evaluate("(star) => { stpp.select(star); return [...stpp.rows()]; }", star)
    inside = full.inside(LAST)
    assert 0 < len(rows) < inside.sum()
    assert inside[rows].all()


@pytest.mark.slow
def test_hostile_words_are_shown_and_never_run(open_map, until, full) -> None:
    page = open_map(full.path)
    tags = set(page.evaluate(SHOWN_TAGS))
    assert page.locator("#title").text_content() == full.scene.title == page.title()
    pixel, canvas = to_pixels(page), full.scene.canvas
    tail = len(full.texts) - 8
    for row in range(tail, len(full.texts)):
        text = full.texts[row].replace("\x00", "")
        start = text[:60].strip()
        page.mouse.move(*pixel(full.places[row]))
        until(page, f"document.getElementById('tooltip').textContent.includes({json.dumps(start)})")
        page.mouse.click(*pixel(full.places[row]))
        assert page.evaluate("stpp.state.post") == row
        assert page.evaluate("stpp.state.view") is None, "a click here and a click there are no double click"
        until(page, f"document.getElementById('details').textContent.includes({json.dumps(start)})")
        said = page.locator("#details").text_content()
        assert canvas.events.authors[row % 4] in said
        assert len(said) < 2000
    for word in ("onerror", "</script>", "שלום", "🎉", "&quot;"):
        expected = sum(word in text for text in full.texts) + sum(
            word in canvas.events.authors[k % 4] and word not in text for k, text in enumerate(full.texts)
        )
        found = page.evaluate("(word) => stpp.search(word)", word)
        assert found["total"] == expected, word
    page.evaluate("stpp.set({ colour: 'mood', compare: 'side', flow: true, basins: true, search: '' })")
    page.wait_for_timeout(200)
    assert page.evaluate("window.pwned") is None
    assert not set(page.evaluate(SHOWN_TAGS)) & {"IMG", "IFRAME", "OBJECT", "EMBED", "B"}
    assert page.evaluate("document.querySelectorAll('script:not([type])').length") == 1
    assert "IMG" not in tags


@pytest.mark.slow
def test_a_search_finds_what_python_finds(open_map, until, full) -> None:
    page = open_map(full.path, "#w=1")
    page.locator("#search").fill("WORDS #12")
    expected = [k for k, text in enumerate(full.texts) if "words" in text and "#12" in text]
    until(page, f"document.getElementById('search-result').textContent.includes('{len(expected):,}')")
    found = page.evaluate("stpp.search('WORDS #12')")
    assert found == {"total": len(expected), "shown": int(full.inside(1)[expected].sum())}
    page.locator("#search").fill("no such words")
    until(page, "document.getElementById('search-result').textContent.includes('No post')")


@pytest.mark.slow
def test_the_policy_stops_what_a_page_would_let_through(chromium, full) -> None:
    page = chromium.new_page()  # whose console does tell of what it stops
    came, stopped = [], {}
    page.goto(full.path.as_uri())
    page.on("requestfinished", lambda request: came.append(request.url))
    page.on("requestfailed", lambda request: stopped.update({request.url: request.failure}))
    page.evaluate(
        """() => {
          const hole = document.createElement('div');
          hole.innerHTML = '<img src=x onerror="window.pwned=1"><img src="https://example.org/a.png">';
          document.body.append(hole);
        }"""
    )
    fetched = page.evaluate("fetch('https://example.org/').then(() => 'came', () => 'stopped')")
    page.wait_for_timeout(200)
    assert fetched == "stopped"
    assert page.evaluate("window.pwned") is None
    assert came == []
    assert stopped["https://example.org/a.png"] == "csp"
    page.close()


@pytest.mark.slow
def test_the_selection_becomes_a_csv(open_map, full) -> None:
    page = open_map(full.path, "#w=5")
    events, canvas = full.scene.canvas.events, full.scene.canvas
    polygon = [[-2.9, -1.95], [2.9, -1.95], [2.9, -1.0], [-2.9, -1.0]]
    rows = np.flatnonzero(full.inside(LAST) & within(polygon, full.places))
    page.evaluate("(polygon) => stpp.select(polygon)", polygon)
    text = page.evaluate("stpp.csv()")
    table = list(csv.DictReader(io.StringIO(text, newline="")))
    assert len(table) == len(rows) >= 8
    for line, row in zip(table, rows, strict=True):
        assert [float(line["x"]), float(line["y"])] == pytest.approx(canvas.places(events.x)[row].tolist(), abs=2e-4)
        assert float(line["weight"]) == events.weight[row]
        assert float(line["engagement"]) == events.marks["retweet_count"][row].as_py()
        assert int(line["window"]) == LAST
        assert np.datetime64(line["time"].rstrip("Z")) - np.datetime64(
            events.date(events.t[row]).replace(tzinfo=None), "ms"
        ) <= np.timedelta64(1, "s")
        said = full.texts[row].replace("\x00", "")
        assert line["text"].lstrip("'")[:200].strip() == said[:200].strip()
        assert line["text"][:1] not in ("=", "+", "-", "@")


@pytest.mark.slow
def test_the_view_becomes_a_picture(open_map, full) -> None:
    page = open_map(full.path, device_scale_factor=2)
    size = page.locator("#scene").bounding_box()
    data = page.evaluate(
        """async () => {
          const bytes = new Uint8Array(await (await stpp.png()).arrayBuffer());
          return btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(''));
        }"""
    )
    with Image.open(io.BytesIO(base64.b64decode(data))) as image:
        assert image.format == "PNG"
        assert image.width == pytest.approx(2 * size["width"], abs=2)
        assert 2 * size["height"] <= image.height <= 2 * size["height"] + 300
        colours = np.asarray(image.convert("RGB")).reshape(-1, 3)
    assert len(np.unique(colours, axis=0)) > 100
