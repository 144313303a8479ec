"""The map: seconds to write, megabytes, seconds to the first picture, and frames per second while it plays.

Usage: python benchmarks/map.py [--sizes 200000,1000000,2500000]

A world of storms, 26 weeks, half of them forecast by two models, with basins. The page is opened from disk in headless
Chromium, which draws without a graphics card: a floor of what readers see. datamapplot, where it is installed, writes
an interactive page of the same posts; it shows no time, and nothing without a network. Writes results_map.csv.
"""

from __future__ import annotations

import argparse
import csv
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from stpp.simulation.worlds import simulate_world

RESULTS = Path(__file__).with_name("results_map.csv")
BOX = "--box=-6,6,-6,6"
BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
FLAGS = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
SECONDS = 5.0
"""Of playing."""


def stpp(*words: str | Path) -> float:
    """Run a command in a process of its own; its seconds."""
    code = "import sys; sys.argv[0] = 'stpp'; from cli import main; main()"
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", code, *map(str, words), "--quiet"], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def look(page: Path) -> dict[str, Any]:
    """Open a page: seconds until it has drawn, frames per second while it plays, requests other than itself."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        return {}
    if BROWSER is None:
        return {}
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=BROWSER, args=FLAGS)
        tab = browser.new_page(viewport={"width": 1280, "height": 800})
        asked: list[str] = []
        tab.on("request", lambda request: asked.append(request.url))
        began = time.perf_counter()
        tab.goto(page.as_uri())
        found: dict[str, Any] = {}
        if tab.evaluate("document.getElementById('scene') !== null"):
            while not tab.evaluate("Boolean(window.stpp && window.stpp.ready)"):  # its policy forbids waiting inside
                tab.wait_for_timeout(20)
            found["load_seconds"] = time.perf_counter() - began
            tab.evaluate("window.stpp.set({ at: 0, speed: 2, mode: 'window' }), window.stpp.play()")
            before, began = tab.evaluate("window.stpp.frames"), time.perf_counter()
            tab.wait_for_timeout(1000 * SECONDS)
            found["frames_per_second"] = (tab.evaluate("window.stpp.frames") - before) / (time.perf_counter() - began)
        else:
            tab.wait_for_timeout(1000 * SECONDS)
        found["requests"] = len([url for url in asked if not url.startswith(("file:", "blob:", "data:"))])
        browser.close()
    return found


def ours(n: int, folder: Path) -> dict[str, Any]:
    """The map of an evaluation and of basins of ``n`` posts."""
    stpp("simulate", "storms", "-n", n, "-o", folder / "events.parquet")
    dates = ["--train-start", "0", "--test-start", "91", "--test-end", "182", "--step", "7d"]
    models = ["--models", "historical-average,decaying-kde"]
    stpp("evaluate", folder / "events.parquet", *models, *dates, BOX, "-o", folder / "evaluation")
    stpp("basins", folder / "events.parquet", "--start", "91", "--end", "182", BOX, "-B", "0", "-o", folder / "basins")
    page = folder / "map.html"
    seconds = stpp("map", folder / "evaluation", folder / "basins", "-o", page)
    return {"page": "stpp map", "posts": n, "seconds": seconds, "mb": page.stat().st_size / 1e6} | look(page)


def events_alone(n: int, folder: Path) -> dict[str, Any]:
    """The map of all ``n`` posts in 26 weeks, without any run."""
    page = folder / "events.html"
    seconds = stpp("map", folder / "events.parquet", "--window", "7d", BOX, "-o", page)
    return {"page": "stpp map, events alone", "posts": n, "seconds": seconds, "mb": page.stat().st_size / 1e6} | look(
        page
    )


def peer(n: int, folder: Path) -> dict[str, Any] | None:
    """datamapplot's interactive page of the same posts."""
    try:
        import datamapplot
    except ImportError:
        print("datamapplot is not installed: left out")
        return None
    import numpy as np

    events, _ = simulate_world("storms", n, 0)
    labels = np.where(events.x[:, 0] > 0, "right", "left")
    began = time.perf_counter()
    datamapplot.create_interactive_plot(events.x, labels).save(folder / "peer.html")
    seconds = time.perf_counter() - began
    return {
        "page": "datamapplot",
        "posts": n,
        "seconds": seconds,
        "mb": (folder / "peer.html").stat().st_size / 1e6,
    } | (look(folder / "peer.html"))


def main() -> None:
    """Run all and write the CSV."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", default="200000,1000000,2500000")
    rows: list[dict[str, Any]] = []
    for n in map(int, parser.parse_args().sizes.split(",")):
        with tempfile.TemporaryDirectory() as name:
            for make in (ours, events_alone, *([peer] if not rows else [])):
                if (row := make(n, Path(name))) is not None:
                    rows.append(row)
                    print("  ".join(f"{k} {v:.2f}" if isinstance(v, float) else f"{k} {v}" for k, v in row.items()))
    columns = ["page", "posts", "seconds", "mb", "load_seconds", "frames_per_second", "requests"]
    with RESULTS.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows({k: f"{v:.3g}" if isinstance(v, float) else v for k, v in row.items()} for row in rows)


if __name__ == "__main__":
    main()
