"""Walks over cells: the neighbours of posts, coarse-graining, detailed balance, and the flow between two windows."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array
from scipy.spatial.distance import cdist

from basins.space import Snapshot, Space
from basins.walks import graph
from basins.walks.graph import Walk, flow_walk, nearest_neighbours, walk
from stpp.domain import Array, Box, Grid
from stpp.events import Events, Window
from stpp.partition import Partition

BOX = Box((-6.0, -6.0), (6.0, 6.0))
WINDOW = Window(0.0, 7.0)


def seen(x: Array, *, weight: Array | None = None, parent: Array | None = None, cells: int = 8) -> Snapshot:
    """Posts of one week on a coarse grid."""
    t = np.linspace(0, 6.9, len(x))
    events = Events(t, x, weight, parent=None if parent is None else parent.astype(np.int64))
    return Space(Partition.of_grid(Grid.over(BOX, cells)), 0.5).see(events, WINDOW)


def by_hand(snapshot: Snapshot, k: int) -> Array:
    """The walk from a matrix of posts × posts."""
    x, t, w = snapshot.posts.x, snapshot.posts.t, snapshot.posts.weight
    apart = cdist(x, x)
    np.fill_diagonal(apart, -1)  # itself first, even among posts at the same place
    order = np.argsort(apart, axis=1, kind="stable")[:, 1 : k + 1]
    scale = np.take_along_axis(apart, order, axis=1)[:, -1]
    weights = np.zeros((len(x), len(x)))
    for i in range(len(x)):
        for j in order[i]:
            near = np.exp(-(apart[i, j] ** 2) / (2 * scale[i] * scale[j])) * np.exp(-abs(t[i] - t[j]) / 7.0)
            weights[i, j] += near * np.sqrt(w[i] * w[j])
    weights += weights.T
    member = np.eye(len(snapshot.space.partition))[snapshot.cell]
    flows = member.T @ weights @ member
    sums = flows.sum(axis=1, keepdims=True)
    return np.where(sums > 0, flows / np.where(sums > 0, sums, 1), np.eye(len(flows)))


def test_coarse_graining_equals_the_product_of_whole_matrices() -> None:
    rng = np.random.default_rng(0)
    snapshot = seen(rng.normal(0, 2, (150, 2)).clip(-6, 6), weight=rng.uniform(0.5, 3, 150))
    np.testing.assert_allclose(walk(snapshot, neighbours=6).transition.toarray(), by_hand(snapshot, 6), atol=1e-12)


@settings(max_examples=15, deadline=None)
@given(n=st.integers(1, 60), neighbours=st.integers(1, 20), seed=st.integers(0, 99))
def test_a_walk_is_stochastic_and_in_detailed_balance(n: int, neighbours: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    snapshot = seen(np.round(rng.uniform(-6, 6, (n, 2))), weight=rng.uniform(0, 2, n) + 0.1)
    found = walk(snapshot, neighbours=neighbours)
    flows = found.flows.toarray()
    np.testing.assert_allclose(found.transition.sum(axis=1), 1, atol=1e-12)
    np.testing.assert_allclose(flows, flows.T, atol=1e-14)
    assert found.stationary.sum() == pytest.approx(1)
    np.testing.assert_array_equal(found.visited, snapshot.totals > 0)
    empty = np.flatnonzero(snapshot.totals == 0)
    assert (found.transition.diagonal()[empty] == 1).all()


def test_posts_without_weight_do_not_count_and_no_posts_make_no_walk() -> None:
    rng = np.random.default_rng(1)
    x = rng.uniform(-6, 6, (40, 2))
    weight = np.where(np.arange(40) < 20, 1.0, 0.0)
    all_posts, half = seen(x, weight=weight), seen(x)
    kept = replace(half, posts=half.posts.take(np.arange(20)), rows=half.rows[:20])
    np.testing.assert_allclose(walk(all_posts).transition.toarray(), walk(kept).transition.toarray())
    for nothing in (seen(x, weight=np.zeros(40)), seen(np.empty((0, 2)))):
        found = walk(nothing)
        assert not found.stationary.any()
        np.testing.assert_array_equal(found.transition.toarray(), np.eye(64))


def test_posts_at_one_place_stay_there() -> None:
    found = walk(seen(np.full((50, 2), 1.0)))
    assert found.stationary.max() == 1.0
    assert found.visited.sum() == 1


def test_a_pile_of_identical_posts_can_be_left() -> None:
    rng = np.random.default_rng(2)
    snapshot = seen(np.concatenate([np.full((40, 2), 0.1), rng.normal(0.1, 1.0, (80, 2))]), cells=40)
    found = walk(snapshot)
    pile = int(snapshot.cell[0])
    assert np.isfinite(found.transition.data).all()
    assert found.transition.toarray()[pile, pile] < 1
    assert found.visited[pile]


def test_a_reply_joins_what_neighbourhood_does_not() -> None:
    rng = np.random.default_rng(3)
    x = np.concatenate([rng.normal(-4, 0.2, (30, 2)), rng.normal(4, 0.2, (30, 2))])
    parent = np.full(60, -1)
    parent[45] = 3
    apart, joined = walk(seen(x), neighbours=5), seen(x, parent=parent)
    one, other = joined.cell[3], joined.cell[45]
    assert apart.flows.toarray()[one, other] == 0
    assert walk(joined, neighbours=5).flows.toarray()[one, other] > 0


@pytest.mark.slow
def test_neighbours_in_many_dimensions_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(4)
    x = rng.normal(size=(3000, 12)) + 6 * rng.integers(0, 2, (3000, 1))
    truth = np.argsort(cdist(x, x), axis=1)[:, 1:11]
    exact, distance = nearest_neighbours(x, 10)
    np.testing.assert_array_equal(np.sort(exact), np.sort(truth))
    assert (np.diff(distance) >= 0).all()
    monkeypatch.setattr(graph, "CANDIDATES", 1200)
    found, _ = nearest_neighbours(x, 10)
    shared = [len(np.intersect1d(a, b)) for a, b in zip(found, truth, strict=True)]
    assert np.mean(shared) / 10 > 0.9


def test_nobody_is_his_own_neighbour_among_identical_places() -> None:
    for d in (2, 12):
        index, distance = nearest_neighbours(np.zeros((30, d)), 5)
        assert (index != np.arange(30)[:, None]).all()
        np.testing.assert_allclose(distance, 0, atol=1e-9)


def test_stationary_distribution_of_a_given_matrix() -> None:
    matrix = np.array([[0.5, 0.5, 0.0], [0.0, 0.5, 0.5], [0.5, 0.0, 0.5]])
    found = Walk.of_transition(matrix)
    np.testing.assert_allclose(found.stationary, 1 / 3)
    assert not found.reversible
    leaves = Walk.of_transition(np.array([[0.5, 0.5, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]))
    np.testing.assert_allclose(leaves.stationary, [0, 0.5, 0.5])
    with pytest.raises(ValueError, match=r"row 1 sums to 0\.9"):
        Walk.of_transition(np.array([[1.0, 0.0], [0.4, 0.5]]))
    with pytest.raises(ValueError, match="symmetric"):
        Walk.of_flows(csr_array(np.array([[0.0, 1.0], [0.0, 0.0]])))


def test_a_walk_within_some_cells_does_not_leave_them() -> None:
    rng = np.random.default_rng(5)
    found = walk(seen(rng.uniform(-6, 6, (300, 2))))
    left = np.arange(64) < 32
    inner = found.within(left)
    assert inner.flows.toarray()[left][:, ~left].sum() == 0
    assert inner.stationary[~left].sum() == 0
    ratio = inner.flows.toarray()[:32, :32] / np.where((f := found.flows.toarray()[:32, :32]) > 0, f, 1)
    assert np.ptp(ratio[f > 0]) < 1e-9


def test_the_flow_between_windows_goes_where_the_mass_went() -> None:
    rng = np.random.default_rng(6)
    space = Space(Partition.of_grid(Grid.over(BOX, 20)), 0.4)
    x = np.concatenate([rng.normal((-3, 0), 0.4, (500, 2)), rng.normal((-1.5, 0), 0.4, (500, 2))])
    events = Events(np.concatenate([np.full(500, 1.0), np.full(500, 8.0)]), x)
    before, after = space.see(events, Window(0, 7)), space.see(events, Window(7, 14))
    found = flow_walk(before, after)
    step = found.transition @ space.partition.centres - space.partition.centres
    heavy = before.totals > 10
    assert step[heavy, 0].mean() == pytest.approx(1.5, abs=0.15)
    assert abs(step[heavy, 1].mean()) < 0.1
    assert not found.reversible
    np.testing.assert_allclose(found.transition.sum(axis=1), 1)
    nobody = flow_walk(before, space.see(events, Window(20, 27)))
    assert not nobody.stationary.any()


def test_a_flow_needs_one_space_and_few_cells() -> None:
    one, other = seen(np.zeros((5, 2))), seen(np.zeros((5, 2)))
    with pytest.raises(ValueError, match="one space"):
        flow_walk(one, other)
    fine = seen(np.zeros((5, 2)), cells=60)
    with pytest.raises(ValueError, match="use fewer cells"):
        flow_walk(fine, fine)
    with pytest.raises(ValueError, match="at least 1 neighbour"):
        walk(one, neighbours=0)
