"""Copies of posts: they weigh as posts in mass, and neither make a hill nor raise the bar for others."""

from __future__ import annotations

import numpy as np
import pytest

from basins.run import find
from basins.space import Snapshot, Space
from stpp.domain import Array, Box, Grid
from stpp.events import Events, Window
from stpp.partition import Partition

CENTRES = np.array([[0.0, 0.0], [4.0, 0.0], [0.0, 4.0], [4.0, 4.0], [2.0, 8.0]])


def hills(copies: float, seed: int = 0, n: int = 4000) -> Events:
    """Five hills over seven weeks; a share of the posts of each are copies of one viral text."""
    rng = np.random.default_rng(seed)
    which = rng.integers(5, size=n)
    x = CENTRES[which] + 0.4 * rng.normal(size=(n, 2))
    viral = CENTRES + 0.4 * rng.normal(size=(5, 2))
    copied = rng.uniform(size=n) < copies
    x[copied] = viral[which[copied]]
    return Events(np.sort(rng.uniform(0, 49, n)), x)


def noise(seed: int, copies: float = 0.2, n: int = 2000) -> Events:
    """Posts anywhere, a share of them copies of up to five texts."""
    rng = np.random.default_rng(seed)
    x, copied = rng.uniform(size=(n, 2)), rng.uniform(size=n) < copies
    viral = rng.uniform(size=(rng.integers(1, 6), 2))
    x[copied] = viral[rng.integers(len(viral), size=copied.sum())]
    return Events(np.sort(rng.uniform(0, 49, n)), x)


@pytest.mark.slow
@pytest.mark.parametrize("copies", [0.0, 0.2, 0.45])
@pytest.mark.parametrize("method", ["density", "markov", "consensus"])
def test_five_hills_are_five_basins_however_many_are_copies(method: str, copies: float) -> None:
    found = find(hills(copies), method, B=0).found
    assert [len(one.basins) for one in found].count(5) >= 6
    assert sum(basin.share for basin in found[-1].basins) > 0.6  # copies count as posts


@pytest.mark.slow
def test_copies_in_noise_are_no_basins() -> None:
    worlds = [find(noise(seed), "density", B=0).found for seed in range(30)]
    assert sum(any(one.basins for one in found) for found in worlds) <= 4  # 5 % of 30, by binomial chance


def snapshot(x: Array) -> Snapshot:
    space = Space(Partition.of_grid(Grid.over(Box((0.0, 0.0), (1.0, 1.0)), 10)), 0.1)
    return space.see(Events(np.linspace(0, 0.9, len(x)), x), Window(0, 1))


def test_a_place_counts_as_usual_ones_do() -> None:
    x = np.random.default_rng(0).uniform(size=(100, 2))
    alone = snapshot(x)
    assert alone.witnessed is alone
    crowded = snapshot(np.concatenate([x, np.repeat(x[:1], 50, axis=0)])).witnessed
    assert crowded.posts.weight.sum() == pytest.approx(100)
    assert crowded.places.weight.max() == pytest.approx(1)
    everywhere = snapshot(np.repeat(x, 3, axis=0))  # coarse places, where nothing is crowded
    assert everywhere.witnessed is everywhere
