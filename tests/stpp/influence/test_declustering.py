"""Declustering against brute force and against the parents that a simulation planted."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stpp.domain import Box
from stpp.events import Events, Window
from stpp.influence.declustering import decluster, rank_parents, write_parents
from stpp.models import Hawkes, Uniform
from stpp.simulation.branching import simulate_hawkes

BOX = Box((0.0, 0.0), (1.0, 1.0))


def three_kernels() -> Hawkes:
    """A known process: two local kernels and one whose offspring fall anywhere."""
    return Hawkes(
        domain=BOX,
        uniform_rate=5.0,
        decays=np.array([1.0, 0.1, 0.5]),
        bandwidths=np.array([0.02, 0.1, math.inf]),
        exponents=np.zeros(3),
        coefficients=np.array([0.3, 0.2, 0.1]),
        mean_productivity=np.ones(3),
    )


def test_the_most_probable_parent_is_the_brute_force_one() -> None:
    rng = np.random.default_rng(0)
    model = three_kernels()
    t = np.sort(rng.uniform(0, 30, 300))
    t[100] = t[99]  # a tie: neither can be the other's parent
    events = Events(t, rng.uniform(size=(300, 2)))
    window = Window(5.0, 30.0)
    found = decluster(model, events, window)
    inside = events.between(window)
    first = len(events) - len(inside)
    rate = model.intensity(inside.t, inside.x, events)
    for i in range(len(inside)):
        delay = inside.t[i] - events.t
        square = ((inside.x[i] - events.x) ** 2).sum(axis=1)
        share = np.zeros(len(events))
        for kernel, c in zip(model.kernels, model.coefficients, strict=True):
            h = kernel.bandwidth
            place = 1.0 if kernel.anywhere else np.exp(-square / (2 * h * h)) / (2 * math.pi * h * h)
            share += c * kernel.decay * np.exp(-kernel.decay * np.maximum(delay, 0)) * place
        share[delay <= 0] = 0
        assert found.parent[i] == share.argmax() < first + i
        assert found.probability[i] == pytest.approx(share.max() / rate[i], rel=1e-3)
        assert found.background[i] == pytest.approx(5.0 / rate[i], rel=1e-3)


def test_ranks_of_true_parents_are_the_brute_force_ones() -> None:
    """Times and places in eighths: many candidates tie with the parent in time, place, or both, and exactly so."""
    rng = np.random.default_rng(2)
    model = replace(three_kernels(), bandwidths=np.array([0.2, 0.5, math.inf]))  # no place too far to tell apart
    events = Events(np.sort(rng.integers(0, 160, 200)) / 8, rng.integers(0, 9, (200, 2)) / 8)
    replies = np.flatnonzero(np.searchsorted(events.t, events.t) > 0)
    parents = np.array([rng.integers(0, np.searchsorted(events.t, events.t[i])) for i in replies])
    density = model.place.at(events.t, events.x, events)
    for candidates in (1, 30, 1000):
        ranks = rank_parents(model, events, replies, parents, candidates)
        for i, (row, parent) in enumerate(zip(replies, parents, strict=True)):
            stop = np.searchsorted(events.t, events.t[row])
            others = np.setdiff1d(np.arange(max(0, stop - candidates), stop), [parent])
            delay, square = events.t[row] - events.t, ((events.x[row] - events.x) ** 2).sum(axis=1)
            share = np.zeros(len(events))
            for kernel, c in zip(model.kernels, model.coefficients, strict=True):
                h = kernel.bandwidth
                place = density[row] if kernel.anywhere else np.exp(-square / (2 * h * h)) / (2 * math.pi * h * h)
                share += c * kernel.decay * np.exp(-kernel.decay * delay) * place
            assert ranks.others[i] == len(others)
            late, far = delay[others] == delay[parent], square[others] == square[parent]
            for k, (score, tied) in enumerate(((share, late & far), (-delay, late), (-square, far))):
                assert ranks.less[i, k] == ((score[others] < score[parent]) & ~tied).sum()
                assert ranks.equal[i, k] == tied.sum()


def test_planted_parents_are_found() -> None:
    events, truth = simulate_hawkes(6000, seed=3)
    window = Window(0.0, 1000.0)
    model = Hawkes(domain=BOX, kernel="exponential").fit(events, window)
    found = decluster(model, events, window)
    child = truth["parent"] >= 0
    right = found.parent == truth["parent"]
    assert found.background.mean() == pytest.approx(1 - child.mean(), abs=0.02)
    assert found.background[child].mean() < 0.2 < 0.6 < found.background[~child].mean()
    sure = found.probability > 0.9
    assert right[sure].mean() == pytest.approx(found.probability[sure].mean(), abs=0.03)


def test_the_first_event_has_no_parent_and_an_empty_window_is_refused() -> None:
    events = Events(np.array([1.0, 1.0, 2.0]), np.full((3, 2), 0.5))
    found = decluster(three_kernels(), events, Window(0.0, 3.0))
    assert found.parent.tolist()[:2] == [-1, -1]
    assert found.parent[2] in (0, 1)
    assert (found.background[:2] == 1).all()
    with pytest.raises(ValueError, match="no events between day 5 and 6"):
        decluster(three_kernels(), events, Window(5.0, 6.0))


def test_the_table_names_rows_and_ids_of_the_file(tmp_path: Path) -> None:
    x = np.array([[2.0, 2.0], [0.5, 0.5], [0.5, 0.5], [0.9, 0.1]])  # the first lies outside the domain
    marks = pa.table({"id": ["a", "b", "c", "d"]})
    events = Events(np.array([0.5, 1.0, 1.1, 1.2]), x, marks=marks)
    write_parents(tmp_path / "parents.parquet", three_kernels(), events, Window(0.9, 3.0))
    table = pq.read_table(tmp_path / "parents.parquet").to_pydict()
    assert table["row"] == [1, 2, 3]
    assert table["id"] == ["b", "c", "d"]
    assert table["parent"][:2] == [-1, 1]
    assert table["parent_id"][:2] == [None, "b"]
    assert table["parent_probability"][1] > 0.9 > table["parent_probability"][2]
    with pytest.raises(ValueError, match="no self-excitation"):
        write_parents(tmp_path / "none.parquet", Uniform(domain=BOX, rate=1.0), events, Window(0.9, 3.0))
