"""Scenes at the edges: nothing to show, very many posts or windows, coordinates of any size."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from stpp.domain import Box, Grid
from stpp.events import Events, Window
from stpp.maps.html import write_map
from stpp.maps.scene import Basins, Canvas, Fields, Scene, Scores


def scene_of(t, x, windows, *, box: Box, models: int = 1, **more) -> Scene:
    """Posts at times and places with even forecasts on a coarse grid."""
    canvas = Canvas(Events(t, np.reshape(x, (-1, 2))), tuple(Window(*edges) for edges in windows), Grid.over(box, 6))
    n, shape = len(windows), canvas.grid.shape
    counts = np.array([canvas.grid.histogram(canvas.events.between(w).x) for w in canvas.windows]).reshape(n, *shape)
    mean = np.maximum(counts.mean(axis=(1, 2), keepdims=True), 1e-12)
    observed = Fields("observed", (counts / mean).astype(np.float32), counts.sum(axis=(1, 2)))
    even = [Fields(f"model {k}", np.ones((n, *shape), np.float32), np.full(n, 3.0)) for k in range(models)]
    scores = [Scores(one.name, np.full(n, np.nan), np.full(n, np.nan)) for one in even]
    return Scene("edge", canvas, observed, 0.1, even, scores, even[0].name if even else "", **more)


UNIT = Box((0.0, 0.0), (1.0, 1.0))
RNG = np.random.default_rng(4)
T, X = np.sort(RNG.uniform(0, 30, 200)), RNG.uniform(size=(200, 2))
WEEKS = [(7.0 * k, 7.0 * k + 7) for k in range(4)]


def no_basins(n: int, windows: int) -> Basins:
    return Basins(
        "density",
        None,
        None,
        ((),) * windows,
        np.full((windows, 2), np.nan),
        np.full(windows, -1),
        np.full(windows, -1),
        (),
        np.full(n, -1),
    )


SCENES = {
    "no posts": lambda: scene_of([], [], WEEKS, box=UNIT),
    "no posts, no windows": lambda: scene_of([], [], [], box=UNIT, models=0),
    "one post": lambda: scene_of([3.0], [[0.2, 0.7]], WEEKS, box=UNIT),
    "one post, one window": lambda: scene_of([3.0], [[0.2, 0.7]], WEEKS[:1], box=UNIT, models=0),
    "posts in one place": lambda: scene_of(T, np.full((200, 2), 0.5), WEEKS, box=UNIT),
    "no forecasts": lambda: scene_of(T, X, WEEKS, box=UNIT, models=0),
    "no basin was found": lambda: scene_of(T, X, WEEKS, box=UNIT, basins=no_basins(200, 4)),
    "windows that overlap": lambda: scene_of(T, X, [(k, k + 10.0) for k in range(0, 20, 3)], box=UNIT),
    "windows with gaps": lambda: scene_of(T, X, [(0.0, 1.0), (10.0, 10.5), (29.0, 30.0)], box=UNIT),
    "seconds": lambda: scene_of(T / 1e6, X, np.array(WEEKS) / 1e6, box=UNIT),
    "centuries": lambda: scene_of(T * 3e4, X, np.array(WEEKS) * 3e4, box=UNIT),
    "a span of 1e-9": lambda: scene_of(T, X * 1e-9, WEEKS, box=Box((0.0, 0.0), (1e-9, 1e-9))),
    "a span of 1e9": lambda: scene_of(T, X * 1e9, WEEKS, box=Box((0.0, 0.0), (1e9, 1e9))),
    "far from zero": lambda: scene_of(T, X + 1e6, WEEKS, box=Box((1e6, 1e6), (1e6 + 1, 1e6 + 1))),
    "a thin strip": lambda: scene_of(T, X * [1, 1e-6], WEEKS, box=Box((0.0, 0.0), (1.0, 1e-6))),
    "posts around the grid": lambda: scene_of(T, X * 1.9 - 0.45, WEEKS, box=UNIT),
    "posts far from the grid": lambda: scene_of(T, X * 50 - 20, WEEKS, box=UNIT),
}


def drawn(scene: Scene) -> np.ndarray:
    """(n,) which events are on the grid or less than half of it away: others would crowd it."""
    box, x = scene.canvas.grid.box, scene.canvas.places(scene.canvas.events.x)
    reach = 0.5 * box.widths
    return ((x >= np.array(box.low) - reach) & (x <= np.array(box.high) + reach)).all(axis=1)


@pytest.mark.slow
@pytest.mark.parametrize("name", list(SCENES))
def test_a_scene_at_the_edge_has_its_numbers_right(open_map, tmp_path: Path, name: str) -> None:
    scene = SCENES[name]()
    write_map(scene, tmp_path / "map.html")
    page = open_map(tmp_path / "map.html")
    events, windows = scene.canvas.events, scene.canvas.windows
    near = events.take(drawn(scene))
    counts = [len(near.between(window)) for window in windows]
    found = page.evaluate("stpp.meta.windows.posts.map((_, w) => { stpp.set({ at: w }); return stpp.shown(); })")
    assert found == counts
    assert page.evaluate("stpp.meta.windows.posts") == [len(events.between(window)) for window in windows]
    assert page.evaluate("stpp.meta.posts.far") == len(events) - len(near)
    if windows:
        page.evaluate("stpp.set({ at: 0 })")
        low, high = np.array(page.evaluate("stpp.meta.box")).reshape(2, 2).T
        far = (high - low) + 1e-3 * np.abs(high)
        (left, bottom), (right, top) = low - far, high + far
        everything = [[left, bottom], [right, bottom], [right, top], [left, top]]
        assert page.evaluate("(all) => stpp.select(all).posts", everything) == counts[0]
        assert len(page.evaluate("stpp.csv()").splitlines()) == counts[0] + 1
        page.evaluate("stpp.set({ raster: 'observed', contours: 'observed', compare: 'side', halfLife: 3 })")
        page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        step = float(scene.observed.values.max()) * 2 / 255
        total = float(scene.observed.values[0].sum())
        assert page.evaluate("stpp.fieldSum('observed', 0)") == pytest.approx(total, abs=36 * step)
    assert page.evaluate("stpp.play(), stpp.state.playing") == (len(windows) > 1)
    page.evaluate("stpp.step(1)")
    assert page.evaluate("stpp.state.playing") is False
    text = page.locator("body").inner_text()
    assert "NaN" not in text
    assert "undefined" not in text
    assert "Infinity" not in text
    assert "Invalid" not in text


@pytest.mark.slow
def test_ten_thousand_windows(open_map, tmp_path: Path) -> None:
    n = 10_000
    t = np.sort(np.random.default_rng(1).uniform(0, n / 24, 20_000))
    scene = scene_of(
        t, np.random.default_rng(2).uniform(size=(20_000, 2)), [(k / 24, (k + 1) / 24) for k in range(n)], box=UNIT
    )
    small = Grid.over(UNIT, 2)
    thin = [replace(one, values=one.values[:, :2, :2]) for one in (scene.observed, *scene.forecasts)]
    scene = replace(scene, canvas=replace(scene.canvas, grid=small), observed=thin[0], forecasts=thin[1:])
    write_map(scene, tmp_path / "map.html")
    page = open_map(tmp_path / "map.html", "#w=9998")
    window = scene.canvas.windows[9998]
    assert page.evaluate("stpp.shown()") == len(scene.canvas.events.between(window))
    page.locator("#forward").click()
    assert page.evaluate("stpp.state.at") == n - 1
    page.locator("#slider").fill("1234")
    assert page.evaluate("stpp.shown()") == len(scene.canvas.events.between(scene.canvas.windows[1234]))
    page.evaluate("stpp.set({ mode: 'cumulative' })")
    assert page.evaluate("stpp.shown()") == int((t < 1235 / 24).sum())
    box, slider = page.locator("#strip").bounding_box(), page.locator("#slider").bounding_box()
    page.mouse.click(slider["x"] + slider["width"] / 2, box["y"] + box["height"] / 2)  # below the middle of the slider
    assert abs(page.evaluate("stpp.state.at") - n / 2) < n / 500


@pytest.mark.slow
def test_a_million_posts(open_map, tmp_path: Path) -> None:
    n = 1_000_000
    rng = np.random.default_rng(3)
    t, x = np.sort(rng.uniform(0, 28, n)), rng.normal(0.5, 0.15, size=(n, 2))
    scene = scene_of(t, x, WEEKS, box=UNIT)
    told = write_map(scene, tmp_path / "map.html")
    assert (told["posts"], told["shown"]) == (n, n)
    assert told["bytes"] < 20e6
    page = open_map(tmp_path / "map.html")
    counts = [int(((t >= start) & (t < end)).sum()) for start, end in WEEKS]
    assert page.evaluate("[0, 1, 2, 3].map((w) => { stpp.set({ at: w }); return stpp.shown(); })") == counts
    page.evaluate("stpp.set({ mode: 'cumulative', at: 3 })")
    assert page.evaluate("stpp.shown()") == n
    low, high = np.minimum(0, x.min(axis=0)), np.maximum(1, x.max(axis=0))
    places = low + np.rint((x - low) / (high - low) * 65535) / 65535 * (high - low)
    inside = ((places > 0.4) & (places < 0.61)).all(axis=1)
    corners = [[0.4, 0.4], [0.61, 0.4], [0.61, 0.61], [0.4, 0.61]]
    assert page.evaluate("(corners) => stpp.select(corners).posts", corners) == inside.sum()


@pytest.mark.slow
def test_of_more_posts_than_asked_for_a_sample_is_drawn_and_counts_stay_true(open_map, full, tmp_path: Path) -> None:
    write_map(full.scene, tmp_path / "map.html", most=500)
    page = open_map(tmp_path / "map.html", "#w=2")
    total = len(full.scene.canvas.events)
    assert page.evaluate("[stpp.meta.posts.total, stpp.meta.posts.shown]") == [total, 500]
    assert page.evaluate("stpp.counts(2)") == full.inside(2).sum() > page.evaluate("stpp.shown()")
    assert "500 of 3,000 posts" in page.locator("#thinned").inner_text()
    assert f"{full.inside(2).sum():,}" in page.locator("#when").inner_text()
