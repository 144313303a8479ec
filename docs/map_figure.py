"""Draw the map of a world of storms and take its picture for ``README.md``: ``docs/images/map.png``.

Needs Chromium. Takes two minutes.
"""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
import tempfile
from io import BytesIO
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

ROOT = Path(__file__).parents[1]
PICTURE = ROOT / "docs" / "images" / "map.png"
FLAGS = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
COMMANDS = (
    "simulate storms -n 60000 --seed 5 -o storms.parquet",
    "basins storms.parquet --start 0 --end 182 --box -6,6,-6,6 -o storms",
    "evaluate storms.parquet --models historical-average,decaying-kde,hawkes --train-start 0 --test-start 91 "
    "--test-end 182 --step 7d --box -6,6,-6,6 -o forecasts",
    "map forecasts storms -o map.html",
)
"""Those that ``README.md`` shows."""

VIEW = "w=5&m=decaying-kde&i=forecast"


def main() -> None:
    """Run the commands in a temporary folder, open the map and take its picture."""
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as driver:
        for command in COMMANDS:
            words = [str(Path(sys.executable).with_name("stpp")), *shlex.split(command)]
            subprocess.run(words, cwd=folder, check=True)
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        tab = browser.new_page(viewport={"width": 1280, "height": 800})
        tab.goto(f"{(Path(folder) / 'map.html').as_uri()}#{VIEW}")
        while not tab.evaluate("Boolean(window.stpp && window.stpp.ready)"):  # the page's policy forbids to wait inside
            tab.wait_for_timeout(20)
        picture = Image.open(BytesIO(tab.screenshot()))
        browser.close()
    picture.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(PICTURE, optimize=True)  # half the size


if __name__ == "__main__":
    main()
