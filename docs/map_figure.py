"""Take the picture of the map for ``README.md`` from what ``make demo`` left in ``stpp-demo/``.

Needs Chromium. Writes ``docs/images/map.png``.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from playwright.sync_api import sync_playwright

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "stpp-demo" / "map.html"
PICTURE = ROOT / "docs" / "images" / "map.png"
FLAGS = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]


def main() -> None:
    """Open the demo's map at the week that README.md shows, and take its picture."""
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        tab = browser.new_page(viewport={"width": 1280, "height": 800})
        tab.goto(f"{PAGE.as_uri()}#t=2016-04-13")
        tab.wait_for_function("window.stpp && window.stpp.ready")
        tab.screenshot(path=PICTURE)
        browser.close()


if __name__ == "__main__":
    main()
