"""What the tests of the map share: a browser, pages opened in it, and a scene that is hostile wherever words go."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest

from stpp.domain import Box, Grid
from stpp.events import Events, Window
from stpp.maps.html import write_map
from stpp.maps.scene import Arrows, Basins, BasinSeen, Canvas, Fields, Scene, Scores, TrackLine

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

SOFTWARE_WEBGL = [
    *("--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]
"""How Chromium draws WebGL2 without a graphics card, and asks the network for nothing of its own accord."""

IMAGE = "<img src=x onerror=window.pwned=1>"

HOSTILE = (
    IMAGE,
    "</script><script>window.pwned=2</script>",
    """quotes " ' ` &quot; &amp; and a \\ backslash""",
    "\u202eright to left\u202c שלום \u2067עולם\u2069",
    "emoji 👩‍👩‍👧 🎉 and 🏳️‍🌈",
    "long " * 2000,
    "a NUL \x00 in between",
    "<svg/onload=window.pwned=3>{{ 7*7 }}${7*7}",
)

DAYS, WINDOWS, START = 7.0, 6, 19359.0  # weeks from 2023-01-02


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """A headless browser that is installed already; none is downloaded. Not for the session: its loop would go on."""
    playwright = pytest.importorskip("playwright.sync_api", reason="no playwright to drive a browser with")
    names = ("chromium", "chromium-browser", "google-chrome")
    path = next(filter(None, map(shutil.which, names)), None)
    if path is None:
        pytest.skip(f"no browser to test the map in: none of {', '.join(names)} is installed")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=SOFTWARE_WEBGL)
        yield browser
        browser.close()


def wait(page: Page, expression: str, seconds: float = 20) -> None:
    """Playwright's own way evaluates strings in the page, which the page's policy forbids."""
    end = time.monotonic() + seconds
    while not page.evaluate(expression):
        assert time.monotonic() < end, f"{expression} did not come true"
        page.wait_for_timeout(20)


@pytest.fixture
def until() -> Callable[..., None]:
    """Wait until a JavaScript expression is true."""
    return wait


@pytest.fixture
def open_map(chromium: Browser) -> Iterator[Callable[..., Page]]:
    """Open a map from the disk and wait until it is ready.

    Every test ends with the check that no page that it opened told of an error or a warning, or asked for anything.
    """
    contexts, problems = [], []

    def open_page(path: Path, fragment: str = "", *, before: str = "", **device: Any) -> Page:
        context = chromium.new_context(**{"viewport": {"width": 1100, "height": 720}, **device})
        contexts.append(context)
        if before:
            context.add_init_script(before)
        page = context.new_page()
        own = path.as_uri()

        def asked(url: str) -> None:
            if url.split("#")[0] != own and not url.startswith(("blob:", "data:")):
                problems.append(url)

        page.on("console", lambda told: problems.append(told.text) if told.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("request", lambda request: asked(request.url))
        page.goto(own + fragment)
        wait(page, "window.stpp?.ready", 60)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert problems == []


@dataclass(frozen=True)
class Written:
    """A scene, the texts of its events, and the page that shows it."""

    scene: Scene
    texts: list[str] | None
    path: Path

    def inside(self, k: int) -> np.ndarray:
        """Which events came in window k."""
        events, window = self.scene.canvas.events, self.scene.canvas.windows[k]
        return (events.t >= window.start) & (events.t < window.end)

    @property
    def places(self) -> np.ndarray:
        """(n, 2) where the page has the events, once its steps are taken."""
        canvas = self.scene.canvas
        x, box = canvas.places(canvas.events.x), canvas.grid.box
        low, high = np.minimum(box.low, x.min(axis=0)), np.maximum(box.high, x.max(axis=0))
        return low + np.rint((x - low) / (high - low) * 65535) / 65535 * (high - low)


def world(n: int = 3000) -> Scene:
    """Posts in three dimensions of which the first and the third are drawn, forecasts, scores, flow and basins."""
    rng = np.random.default_rng(6)
    t = np.sort(START + rng.uniform(0, WINDOWS * DAYS - 1, n))
    t[-len(HOSTILE) :] = START + WINDOWS * DAYS - 0.5  # the last posts bear the hostile texts, apart from all others
    x = rng.normal(size=(n, 3)) * 0.35 + rng.integers(-1, 2, size=(n, 1)) * 0.9
    x[-len(HOSTILE) :, 0], x[-len(HOSTILE) :, 2] = np.linspace(-2.5, 2.5, len(HOSTILE)), -1.8
    x[:, 2] = np.where(np.arange(n) < n - len(HOSTILE), np.clip(x[:, 2], -1.4, 2.3), x[:, 2])
    events = Events(
        t,
        x,
        weight=rng.integers(1, 6, n).astype(float),
        author=np.arange(n) % 4,
        authors=("ada", f'b"{IMAGE}', "‮cyd", ""),
        marks=pa.table({"retweet_count": rng.integers(0, 90, n), "mood": [HOSTILE[k % 3] for k in range(n)]}),
        axes=("sincerity <b>bold</b>", "hidden", f'charity"{IMAGE}'),
    )
    windows = tuple(Window(START + DAYS * k, START + DAYS * (k + 1)) for k in range(WINDOWS))
    grid = Grid.over(Box((-3.0, -2.0), (3.0, 2.0)), 18)
    canvas = Canvas(events, windows, grid, (0, 2))
    counts = np.array([grid.histogram(canvas.places(events.between(w).x)) for w in windows])
    observed = Fields(
        "observed", (counts / counts.mean(axis=(1, 2), keepdims=True)).astype(np.float32), counts.sum(axis=(1, 2))
    )
    smooth = rng.gamma(2.0, 0.5, size=(2, WINDOWS, *grid.shape)).astype(np.float32)
    smooth[1, :, :9] *= 6  # the two models differ in kind between the left and the right of the map
    smooth[1, 0] = 0
    totals = np.array([counts.sum(axis=(1, 2)) * 0.9, counts.sum(axis=(1, 2)) * 1.1])
    totals[1, 0] = np.nan  # no forecast of the first window
    forecasts = [Fields(name, smooth[k], totals[k]) for k, name in enumerate(("hawkes", "historical-average"))]
    scores = [
        Scores(one.name, np.linspace(1, 2, WINDOWS), np.where(np.arange(WINDOWS) == 2, np.nan, 0.3 - 0.3 * k))
        for k, one in enumerate(forecasts)
    ]
    return Scene(
        f"{HOSTILE[1]} {IMAGE} storms & “basins”",
        canvas,
        observed,
        0.2,
        forecasts,
        scores,
        "historical-average",
        _arrows(rng),
        _basins(canvas),
        (f"a remark with {IMAGE}", "</script>"),
    )


def _arrows(rng: np.random.Generator) -> Arrows:
    places = np.stack(np.meshgrid(np.linspace(-2, 2, 5), np.linspace(-1, 1, 4), indexing="ij"), axis=2).reshape(-1, 2)
    velocity = rng.normal(size=(WINDOWS, len(places), 2)) * 0.1
    velocity[0] = np.nan
    times = np.where(np.arange(WINDOWS) > 0, START + DAYS * (np.arange(WINDOWS) + 1), np.nan)
    return Arrows(
        "drift", places, velocity, rng.uniform(size=velocity.shape[:2]) < 0.5, times, np.arange(len(velocity)) - 1
    )


def _basins(canvas: Canvas) -> Basins:
    """Two basins, left and right; the left one is born in the third window and dies in the last."""
    grid = Grid.over(canvas.grid.box, 24)
    regions = np.zeros((WINDOWS, *grid.shape), np.uint8)
    found = []
    for k in range(WINDOWS):
        sides = [(1, 0.9)] + ([(0, -0.9)] if 2 <= k < WINDOWS - 1 else [])
        for i, (_, centre) in enumerate(sides):
            left = 4 if centre < 0 else 14
            regions[k, left : left + 6, 6:18] = i + 1
        found.append(tuple(BasinSeen(track, (centre, 0.0), 0.3, 100, 0.9, 1.2, 0.8, 0.4) for track, centre in sides))
    names = (f"left {IMAGE}", HOSTILE[1])
    tracks = (TrackLine(0, names[0], 2, WINDOWS - 1, "#0072b2"), TrackLine(1, names[1], None, None, "#d55e00"))
    edges = np.array([[window.start, window.end] for window in canvas.windows])
    of_event = np.where(canvas.events.x[:, 0] > 0.5, 1, -1)
    return Basins(
        "density", grid, regions, tuple(found), edges, np.arange(WINDOWS) - 1, np.arange(WINDOWS), tracks, of_event
    )


@pytest.fixture(scope="session")
def full(tmp_path_factory: pytest.TempPathFactory) -> Written:
    """A map of everything, whose words are all hostile."""
    scene, path = world(), tmp_path_factory.mktemp("map") / "a map.html"
    n = len(scene.canvas.events)
    texts = [f"plain words #{k}" for k in range(n - len(HOSTILE))] + list(HOSTILE)
    write_map(scene, path, texts=texts, colours=("mood",))
    return Written(scene, texts, path)


@pytest.fixture(scope="session")
def bare(full: Written) -> Written:
    """The same posts without a run."""
    whole = full.scene
    scene, path = Scene("posts only", whole.canvas, whole.observed, whole.smoothing), full.path.with_name("bare.html")
    write_map(scene, path)
    return Written(scene, None, path)
