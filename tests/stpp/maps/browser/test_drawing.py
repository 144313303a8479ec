"""What is drawn: not blank in either theme, other without posts, two models beside each other, and without WebGL2."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

NO_WEBGL = """
const real = HTMLCanvasElement.prototype.getContext;
HTMLCanvasElement.prototype.getContext = function (kind, ...rest) {
  return kind.startsWith('webgl') ? null : real.call(this, kind, ...rest);
};
"""


def pixels(page) -> np.ndarray:
    """(height, width, 3) the map as it is on the screen, once it is drawn, its axes' margins left out."""
    page.mouse.move(1, 1)
    page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    with Image.open(io.BytesIO(page.locator("#stage").screenshot())) as image:
        return np.asarray(image.convert("RGB")).astype(int)[20:-40, 50:-60]


def share_changed(a: np.ndarray, b: np.ndarray) -> float:
    return float((np.abs(a - b).sum(axis=2) > 24).mean())


@pytest.mark.slow
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_map_is_drawn_in_both_themes(open_map, full, theme: str) -> None:
    page = open_map(full.path, "#w=2", color_scheme=theme)
    assert page.evaluate("document.documentElement.dataset.theme") == theme
    bright = pixels(page).mean()
    assert (bright > 128) == (theme == "light")
    plain = {"posts": False, "flow": False, "basins": False}
    page.evaluate("(plain) => stpp.set(plain)", plain)
    field = pixels(page)
    assert len(np.unique(field.reshape(-1, 3), axis=0)) > 50
    for layer in plain:
        page.evaluate("(name) => stpp.set({ [name]: true })", layer)
        assert share_changed(field, pixels(page)) > 0.002, layer
        page.evaluate("(name) => stpp.set({ [name]: false })", layer)
    page.evaluate("stpp.set({ raster: 'none' })")
    empty = pixels(page)
    assert share_changed(field, empty) > 0.3
    for raster in ("observed", "difference"):
        page.evaluate("(raster) => stpp.set({ raster })", raster)
        assert share_changed(empty, pixels(page)) > 0.1, raster
    page.evaluate("stpp.set({ raster: 'none', contours: 'forecast' })")
    assert share_changed(empty, pixels(page)) > 0.005


@pytest.mark.slow
def test_a_density_is_brighter_where_it_is_larger(open_map, full) -> None:
    """The second model's forecast is six times as large on the left: pixels tell, and not upside down."""
    page = open_map(full.path, "#w=3&m=historical-average&p=0&f=0&b=0")
    field = pixels(page)
    paper = field[2, 2]
    strength = np.abs(field - paper).sum(axis=2)
    middle = field.shape[1] // 2
    assert strength[:, :middle].mean() > 1.5 * strength[:, middle:].mean()


@pytest.mark.slow
def test_two_models_side_by_side_or_with_a_divider(open_map, full) -> None:
    page = open_map(full.path, "#w=3&m=hawkes&o=historical-average&p=0&f=0&b=0")
    one = pixels(page)
    page.evaluate("stpp.set({ model: 'historical-average' })")
    other = pixels(page)
    assert share_changed(one, other) > 0.1
    page.evaluate("stpp.set({ model: 'hawkes', compare: 'swipe', divider: 0.5 })")
    swiped, middle, away = pixels(page), one.shape[1] // 2, 40
    assert share_changed(swiped[:, : middle - away], one[:, : middle - away]) < 0.02
    assert share_changed(swiped[:, middle + away :], other[:, middle + away :]) < 0.02
    page.evaluate("stpp.set({ divider: 0.25 })")
    assert share_changed(swiped, pixels(page)) > 0.02
    page.evaluate("stpp.set({ compare: 'side' })")
    sides = pixels(page)
    page.evaluate("stpp.set({ other: 'hawkes' })")
    same = pixels(page)
    assert share_changed(sides[:, : middle - away], same[:, : middle - away]) < 0.02
    assert share_changed(sides[:, middle + away :], same[:, middle + away :]) > 0.05


@pytest.mark.slow
def test_posts_fade_by_the_decay_that_is_set(open_map, full) -> None:
    page = open_map(full.path, "#w=3&r=none&f=0&b=0&g=plain")
    now = pixels(page)
    page.evaluate("stpp.set({ halfLife: 14 })")
    assert share_changed(now, pixels(page)) > 0.005  # earlier ones show too
    assert page.evaluate("stpp.shown()") == full.inside(3).sum()  # but they are not counted


@pytest.mark.slow
def test_without_webgl_the_page_says_so_and_its_numbers_work(open_map, full) -> None:
    page = open_map(full.path, "#w=2", before=NO_WEBGL)
    assert "WebGL2" in page.locator("#notice").text_content()
    assert page.locator("#notice").is_visible()
    assert page.evaluate("stpp.shown()") == full.inside(2).sum()
    assert page.evaluate("stpp.select([[-9, -9], [9, -9], [9, 9], [-9, 9]]).posts") == full.inside(2).sum()
    assert page.evaluate("stpp.csv()").splitlines()[0].startswith("time,x,y")
    page.locator("#forward").click()
    assert page.evaluate("stpp.shown()") == full.inside(3).sum()
