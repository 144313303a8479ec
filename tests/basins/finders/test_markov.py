"""Markov measures against deeptime, networkx and formulae by hand; the finder on planted worlds and on none."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.linalg import expm
from scipy.sparse import csr_array
from sklearn.metrics import adjusted_rand_score

from basins.basin import Found
from basins.finders.markov import MarkovFinder
from basins.walks.chain import conductance, markov_stability, mean_first_passage_time, pcca_memberships, spectral_gap
from basins.walks.graph import Walk
from basins.walks.scan import scan_markov_times, variation_of_information
from stpp.domain import Array, Box
from stpp.events import Events, Window
from stpp.simulation.worlds import WORLDS, simulate_world

MONTH = Window(0.0, 59.0)


def blocks(sizes: tuple[int, ...] = (8, 6, 7), across: float = 0.02, seed: int = 0) -> tuple[Walk, Array]:
    """A reversible walk with metastable blocks, and the block of each state."""
    rng = np.random.default_rng(seed)
    member = np.repeat(np.arange(len(sizes)), sizes)
    flows = rng.uniform(0.5, 1.5, (len(member), len(member)))
    flows = np.where(np.equal.outer(member, member), flows, across * flows)
    return Walk.of_flows(csr_array(flows + flows.T)), member


def found_in(events: Events, box: Box, **options: Any) -> tuple[MarkovFinder, Found, Array]:
    """The finder, what it finds in all 59 days, and the basin of each post (−1 for none)."""
    finder = MarkovFinder(times=10, seeds=3, replicates=5, **options).fit(
        events, [MONTH], box, np.random.default_rng(0)
    )
    snapshot = finder.fixed.see(events, MONTH)
    found = finder.find(snapshot, np.random.default_rng(1))
    label = np.full(len(finder.fixed.partition), -1)
    for basin in found.basins:
        label[basin.region] = basin.id
    return finder, found, label[snapshot.cell]


# -- measures ------------------------------------------------------------------------------------------------------


def test_conductance_equals_networkx() -> None:
    nx = pytest.importorskip("networkx", reason="networkx is the oracle for conductance")
    walk, member = blocks()
    graph = nx.from_numpy_array(np.where(np.eye(len(member)) > 0, 0, walk.flows.toarray()))
    no_loops = Walk.of_flows(csr_array(nx.to_numpy_array(graph)))
    for part in range(3):
        truth = nx.conductance(graph, np.flatnonzero(member == part).tolist(), weight="weight")
        assert conductance(no_loops, member == part) == pytest.approx(truth)
    assert np.isnan(conductance(walk, np.zeros(len(member))))
    assert np.isnan(conductance(walk, np.ones(len(member))))


def test_conductance_of_a_soft_membership_by_hand() -> None:
    walk = Walk.of_transition(np.array([[0.75, 0.25], [0.25, 0.75]]))
    # Σ m_i π_i P_ij (1 − m_j) = ½ [.8 (.75·.2 + .25·.6) + .4 (.25·.2 + .75·.6)] = ½ [.24 + .2] = .22; sides .6 and .4
    assert conductance(walk, [0.8, 0.4]) == pytest.approx(0.22 / 0.4)


def test_passage_times_equal_deeptime() -> None:
    analysis = pytest.importorskip("deeptime.markov.tools.analysis")
    walk, member = blocks()
    inside, outside = np.flatnonzero(member == 0), np.flatnonzero(member != 0)
    truth = analysis.mfpt(walk.transition.toarray(), outside)[inside]
    np.testing.assert_allclose(mean_first_passage_time(walk.transition, inside), truth, rtol=1e-9)


def test_passage_times_by_hand_and_without_a_way_out() -> None:
    matrix = np.array([[0.9, 0.1, 0, 0], [0, 0.5, 0.5, 0], [0, 0, 1, 0], [0, 0, 0.5, 0.5]])
    np.testing.assert_allclose(mean_first_passage_time(matrix, [0]), [10])
    np.testing.assert_allclose(mean_first_passage_time(matrix, [1, 0]), [2, 12])
    np.testing.assert_array_equal(mean_first_passage_time(matrix, [1, 2, 3]), np.inf)
    assert len(mean_first_passage_time(matrix, [])) == 0
    with pytest.raises(ValueError, match=r"row 0 sums to 0\.5"):
        mean_first_passage_time(matrix / 2, [0])


@pytest.mark.parametrize("time", [0.0, 0.5, 7.0])
def test_markov_stability_equals_the_dense_formula(time: float) -> None:
    walk, member = blocks()
    h = np.eye(3)[member]
    h[0] = 0.6, 0.3, 0.1  # a soft membership
    pi, generator = np.diag(walk.stationary), walk.transition.toarray() - np.eye(len(member))
    dense = h.T @ (pi @ expm(time * generator) - np.outer(walk.stationary, walk.stationary)) @ h
    np.testing.assert_allclose(markov_stability(walk, h.T, time), np.diag(dense), atol=1e-12)


@pytest.mark.slow
def test_the_spectral_gap_is_that_of_the_slowest_time_scale_of_deeptime() -> None:
    analysis = pytest.importorskip("deeptime.markov.tools.analysis")
    for sizes in ((8, 6, 7), (60, 40, 50)):  # few states are solved densely, more by Lanczos
        walk, _ = blocks(sizes)
        slowest = analysis.timescales(walk.transition.toarray(), k=2)[1]
        assert spectral_gap(walk) == pytest.approx(1 - np.exp(-1 / slowest), rel=1e-6)
    assert spectral_gap(blocks(across=0.0)[0]) == pytest.approx(0, abs=1e-12)


def test_pcca_equals_deeptime_and_finds_the_blocks() -> None:
    deeptime = pytest.importorskip("deeptime.markov")
    walk, member = blocks()
    soft = pcca_memberships(walk, 3)
    truth = deeptime.pcca(walk.transition.toarray(), 3).memberships.T
    np.testing.assert_allclose(soft, truth, atol=1e-6)
    assert adjusted_rand_score(member, soft.argmax(axis=0)) == 1
    np.testing.assert_allclose(soft.sum(axis=0), 1)


@pytest.mark.parametrize("k", [1, 4, 21, 500])
def test_pcca_of_more_sets_than_there_are_leaves_none_empty(k: int) -> None:
    walk, member = blocks()
    soft = pcca_memberships(walk, k)
    assert 1 <= len(soft) <= min(k, len(member))
    assert set(soft.argmax(axis=0)) == set(range(len(soft)))


def test_only_a_reversible_walk_has_pcca_and_a_scan() -> None:
    turning = Walk.of_transition(np.array([[0.5, 0.5, 0.0], [0.0, 0.5, 0.5], [0.5, 0.0, 0.5]]))
    with pytest.raises(ValueError, match="reversible"):
        pcca_memberships(turning, 2)
    with pytest.raises(ValueError, match="reversible"):
        scan_markov_times(turning, 5, 2, np.random.default_rng(0))


# -- the scan ------------------------------------------------------------------------------------------------------


def test_the_robust_scale_of_a_scan_shows_the_blocks() -> None:
    walk, member = blocks((30, 20, 25, 25), 0.01)
    scan = scan_markov_times(walk, 12, 4, np.random.default_rng(0))
    best = int(np.argmin(scan.fragility))
    assert scan.parts[best] == 4
    assert adjusted_rand_score(member, scan.labels[best, 0]) == 1
    assert (np.diff(scan.parts) <= 0).all()
    h = np.eye(4)[scan.labels[best, 0]].T
    assert scan.stability[best] == pytest.approx(markov_stability(walk, h, scan.times[best]).sum(), abs=1e-6)


def test_variation_of_information_by_hand() -> None:
    one, other, weight = np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1]), np.ones(4)
    assert variation_of_information(one, one, weight) == 0
    assert variation_of_information(one, 1 - one, weight) == 0
    assert variation_of_information(one, other, weight) == pytest.approx(2 * np.log(2))


# -- the finder ----------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(("name", "n", "least"), [("static", 12_000, 0.70), ("unequal", 5000, 0.79)])
def test_the_five_planted_basins_are_found(name: str, n: int, least: float) -> None:
    events, truth = simulate_world(name, n, 1)
    _, found, label = found_in(events, WORLDS[name].box, landmarks=500)
    assert len(found.basins) == 5
    assert adjusted_rand_score(truth["labels"], label) > least
    assert all(basin.probability >= 0.5 for basin in found.basins)


@pytest.mark.slow
def test_blobs_in_eight_dimensions_are_found() -> None:
    events, truth = simulate_world("blobs8", 3000, 0)
    _, found, label = found_in(events, WORLDS["blobs8"].box)
    assert len(found.basins) == 6
    assert adjusted_rand_score(truth["labels"], label) > 0.7


@pytest.mark.slow
def test_no_basin_in_uniform_noise() -> None:
    for seed in range(4):
        events, _ = simulate_world("null", 1500, seed)
        found = found_in(events, WORLDS["null"].box)[1]
        assert found.basins == ()
        assert "uniform" in found.remark


@pytest.mark.slow
@pytest.mark.parametrize("d", [2, 5])
def test_copies_at_one_place_make_no_basin(d: int) -> None:
    for seed in range(2):
        rng = np.random.default_rng(seed)
        times = np.minimum(60, rng.pareto(1.1, 500).astype(int) + 1)  # copies of each, four on average
        x = np.repeat(rng.random((500, d)), times, axis=0)
        events = Events(np.linspace(0, 58, len(x)), x)
        assert found_in(events, Box((0.0,) * d, (1.0,) * d))[1].basins == ()


@pytest.mark.slow
def test_same_seed_same_basins() -> None:
    events, _ = simulate_world("static", 1500, 2)
    one, other = (found_in(events, WORLDS["static"].box)[1].basins for _ in range(2))
    assert len(one) == len(other) > 0
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a.membership, b.membership)
        assert a.probability == b.probability


@pytest.mark.slow
def test_more_basins_than_the_posts_support_get_a_remark() -> None:
    events, _ = simulate_world("static", 3000, 1)
    _, found, _ = found_in(events, WORLDS["static"].box, basins=8)
    assert 1 <= len(found.basins) < 8
    assert f"asked for 8 basins, the posts support {len(found.basins)}" in found.remark
    with pytest.raises(ValueError, match="at least 1"):
        MarkovFinder(basins=0)


@pytest.mark.slow
def test_one_basin_is_one_basin() -> None:
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(0, 0.7, (1500, 2)), rng.uniform(-6, 6, (300, 2))])
    events = Events(rng.uniform(0, 59, 1800), x)
    _, found, _ = found_in(events, WORLDS["static"].box)
    assert len(found.basins) == 1
    np.testing.assert_allclose(found.basins[0].centre, 0, atol=0.15)


@pytest.mark.slow
def test_windows_with_nothing_or_hardly_anything() -> None:
    events, _ = simulate_world("static", 1500, 3)
    box = WORLDS["static"].box
    finder, _, _ = found_in(events, box)
    rng = np.random.default_rng(0)
    assert finder.find(finder.fixed.see(events, Window(100, 107)), rng).basins == ()
    silent = replace(events, weight=np.zeros(len(events)))
    assert finder.find(finder.fixed.see(silent, MONTH), rng).basins == ()
    few = events.take(np.arange(4))  # fewer than neighbours
    assert finder.find(finder.fixed.see(few, MONTH), rng).basins == ()
    one_place = replace(events, x=np.full_like(events.x, 0.5))
    assert len(finder.find(finder.fixed.see(one_place, MONTH), rng).basins) <= 1
    at_one = MarkovFinder(replicates=2).fit(one_place, [MONTH], box, rng)
    assert len(at_one.find(at_one.fixed.see(one_place, MONTH), rng).basins) <= 1
    with pytest.raises(ValueError, match="no posts inside the domain"):
        MarkovFinder().fit(events, [Window(100, 107)], box, rng)
    with pytest.raises(ValueError, match="fit it"):
        MarkovFinder().find(finder.fixed.see(events, MONTH), rng)
