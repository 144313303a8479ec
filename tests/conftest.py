"""What several test files share: the command line in-process, and small files of posts."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from hypothesis import settings

from cli import main

Invoke = Callable[..., Result]

settings.register_profile("stpp", deadline=None)  # a busy machine is no failure
settings.load_profile("stpp")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep a file's tests on one worker, so that its fixtures are made once; the largest file is dealt out."""
    for item in items:
        if item.path.name != "test_conformance.py":
            item.add_marker(pytest.mark.xdist_group(str(item.path)))


@pytest.fixture(scope="session")
def stpp() -> Invoke:
    """Run ``stpp`` in this process; an unexpected exception fails the test with its traceback."""

    def invoke(*words: object) -> Result:
        return CliRunner().invoke(main, [str(word) for word in words], catch_exceptions=False)

    return invoke


@pytest.fixture
def write_posts(tmp_path: Path) -> Callable[..., Path]:
    """Write rows of posts to a CSV and return its path."""

    def write(rows: list[list[object]], header: str = "id,t,x,y,retweet_count", name: str = "posts.csv") -> Path:
        path = tmp_path / name
        with path.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(header.split(","))
            writer.writerows(rows)
        return path

    return write


@pytest.fixture(scope="session")
def posts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """400 posts in two clusters over forty days from 2020-01-01, as a CSV."""
    rng = np.random.default_rng(1)
    days = np.sort(rng.uniform(0, 40, 400))
    place = rng.normal(size=(400, 2)) * 0.1 + rng.integers(0, 2, size=(400, 1))
    path = tmp_path_factory.mktemp("posts") / "posts.csv"
    times = np.datetime64("2020-01-01T00:00:00") + (days * 86400).astype("timedelta64[s]")
    lines = [f"{k},{t}Z,{x:.6f},{y:.6f},{k % 7}" for k, (t, (x, y)) in enumerate(zip(times, place, strict=True))]
    path.write_text("\n".join(["id,datetime,x,y,retweet_count", *lines]) + "\n")
    return path


@pytest.fixture(scope="session")
def events(posts: Path, stpp: Invoke) -> Path:
    """The same posts after ``stpp ingest``."""
    path = posts.with_name("events.parquet")
    assert stpp("ingest", posts, "-o", path).exit_code == 0
    return path


@pytest.fixture(scope="session")
def run(events: Path, stpp: Invoke) -> Path:
    """A historical average fitted to the first thirty days."""
    path = events.with_name("run")
    fitted = stpp("fit", "historical-average", events, "--end", "2020-01-31", "-o", path)
    assert fitted.exit_code == 0, fitted.stderr
    return path
