"""Self- and cross-excitation between regions: recovered with covering intervals, and not found where there is none."""

from __future__ import annotations

import math
from dataclasses import replace

import networkx as nx
import numpy as np
import pytest
from numpy.typing import NDArray

from basins.basin import Basin, describe
from basins.excitation import antimemes, excitation, influence_graph, influence_of, memeplexes
from basins.finders.density import DensityFinder
from basins.finders.regions import RegionsFinder
from basins.space import Snapshot, Space
from stpp.domain import Array, Box, Grid
from stpp.events import Events, Window
from stpp.influence.regions import Influence, influence
from stpp.partition import Partition
from stpp.simulation.worlds import simulate_world

SPAN = Window(0.0, 100.0)
BOX = Box((0.0, 0.0), (1.0, 1.0))


def hawkes(matrix: Array, rate: Array, decay: float, rng: np.random.Generator) -> tuple[Array, NDArray[np.int64]]:
    """Sorted times and regions of a multivariate Hawkes process on ``SPAN``; matrix_rs offspring in r per post in s."""
    region = np.repeat(np.arange(len(rate)), rng.poisson(rate * SPAN.duration))
    t = rng.uniform(0, SPAN.duration, len(region))
    times, regions = [t], [region]
    while len(t):
        counts = rng.poisson(matrix[:, region].T)  # (parents, R)
        parent, region = np.nonzero(counts)
        number = counts[parent, region]
        parent, region = np.repeat(parent, number), np.repeat(region, number)
        t = t[parent] + rng.exponential(1 / decay, len(parent))
        t, region = t[t < SPAN.end], region[t < SPAN.end]
        times.append(t)
        regions.append(region)
    order = np.argsort(np.concatenate(times), kind="stable")
    return np.concatenate(times)[order], np.concatenate(regions)[order]


def known(excites: list[tuple[int, int]], inhibits: list[tuple[int, int]] = [], r: int = 4) -> Influence:  # noqa: B006
    """An influence in which exactly the given (source, target) pairs are certain."""
    matrix = np.zeros((r, r))
    for pairs, value in ((excites, 0.5), (inhibits, -0.5)):
        for s, target in pairs:
            matrix[target, s] = value
    error, ones = np.full((r, r), 0.05), np.ones((r, r))
    return Influence(
        matrix, error, matrix - 0.2, matrix + 0.2, ones, 0.05, np.full(r, 100.0), np.array([0.1]), 50 * ones, 1
    )


# -- the estimates ------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_planted_matrix_is_recovered_with_intervals_that_cover_it() -> None:
    truth = np.array([[0.5, 0.0, 0.0], [0.4, 0.3, 0.0], [0.0, 0.0, 0.0]])
    covered, estimates, rng = 0, [], np.random.default_rng(0)
    for _ in range(20):
        t, region = hawkes(truth, np.full(3, 5.0), 6.0, rng)
        found = influence(t, np.eye(3)[region], SPAN)
        covered += bool(((found.low <= truth) & (truth <= found.high)).all())
        estimates.append(found.matrix)
    assert covered >= 17  # 19 expected at 95 % for all pairs at once
    error = np.std(estimates, axis=0) / math.sqrt(20)
    assert (np.abs(np.mean(estimates, axis=0) - truth) < 4 * error + 0.03).all()
    assert np.median(np.abs(found.error / np.std(estimates, axis=0) - 1)) < 0.3


def test_known_half_lives_make_what_is_planted_certain() -> None:
    truth = np.array([[0.5, 0.0], [0.4, 0.0]])
    t, region = hawkes(truth, np.full(2, 8.0), 6.0, np.random.default_rng(1))
    found = influence(t, np.eye(2)[region], SPAN, half_lives=[math.log(2) / 6])
    np.testing.assert_array_equal(found.excites, truth > 0)
    assert not found.inhibits.any()
    assert (found.p_value[truth > 0] < 0.05).all()


def test_inhibition_is_seen() -> None:
    """Posts in the second region are struck out for a while after each post in the first one."""
    rng = np.random.default_rng(2)
    first = np.sort(rng.uniform(0, 100, 300))
    second = np.sort(rng.uniform(0, 100, 3000))
    since = second - first[np.maximum(np.searchsorted(first, second) - 1, 0)]
    second = second[~((since > 0) & (since < 0.1))]
    t, region = np.concatenate([first, second]), np.repeat([0, 1], [len(first), len(second)])
    order = np.argsort(t)
    found = influence(t[order], np.eye(2)[region[order]], SPAN, half_lives=[0.05])
    assert found.inhibits[1, 0]
    assert found.high[1, 0] < 0
    assert not found.inhibits[0, 0]


@pytest.mark.slow
@pytest.mark.parametrize("rate", [1.0, 10.0])
def test_independent_regions_do_not_influence_each_other(rate: float) -> None:
    rng, wrong, worlds = np.random.default_rng(3), 0, 40
    for _ in range(worlds):
        t, region = hawkes(np.zeros((4, 4)), np.full(4, rate), 1.0, rng)
        found = influence(t, np.eye(4)[region], SPAN)
        wrong += bool((found.excites | found.inhibits).any())
    assert wrong <= 6  # 2 expected at 5 %; more than 6 has a chance below 1 %


@pytest.mark.slow
def test_regions_that_wake_up_together_do_not_excite_each_other() -> None:
    rng, wrong = np.random.default_rng(4), 0
    for _ in range(30):
        region = rng.integers(0, 3, 9000)
        t = rng.uniform(0, 100, 9000)
        rate = (1 + 0.9 * np.sin(2 * np.pi * t)) * (1 + 0.8 * np.sin(2 * np.pi * t / 70)) / 3.42
        kept = rng.uniform(size=9000) < rate
        order = np.argsort(t[kept])
        found = influence(t[kept][order], np.eye(3)[region[kept][order]], SPAN)
        wrong += bool((found.excites | found.inhibits).any())
    assert wrong <= 5


def test_regions_with_few_posts_are_left_open() -> None:
    rng = np.random.default_rng(5)
    t, region = hawkes(np.zeros((3, 3)), np.array([3.0, 3.0, 0.05]), 1.0, rng)
    found = influence(t, np.eye(3)[region], SPAN)
    assert np.isnan(found.matrix[2]).all()
    assert np.isnan(found.matrix[:, 2]).all()
    assert np.isfinite(found.matrix[:2, :2]).all()
    assert not (found.excites[2] | found.inhibits[2]).any()
    empty = influence(np.zeros(0), np.zeros((0, 2)), SPAN)
    assert np.isnan(empty.matrix).all()


def test_the_unit_of_time_does_not_matter_and_the_future_does_not_either() -> None:
    t, region = hawkes(0.4 * np.eye(2), np.full(2, 6.0), 6.0, np.random.default_rng(6))
    members = np.eye(2)[region]
    short = influence(t, members, Window(20, 22.5))  # no cycles in so short a window
    hours = influence(24 * t, members, Window(480, 540), half_lives=24 * short.half_lives)
    assert hours.posts.tolist() == short.posts.tolist()
    early = t < 22.5
    np.testing.assert_array_equal(influence(t[early], members[early], Window(20, 22.5)).matrix, short.matrix)


@pytest.mark.parametrize(
    ("t", "members", "given", "message"),
    [
        ([1.0, 0.5], np.ones((2, 1)), {}, "sorted times"),
        ([1.0, 2.0], np.ones((3, 1)), {}, "members"),
        ([1.0, 2.0], np.ones((2, 1)), {"half_lives": [0.0]}, "above 0"),
    ],
)
def test_what_cannot_be_analysed_is_refused(
    t: list[float], members: Array, given: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        influence(np.array(t), members, SPAN, **given)  # type: ignore[arg-type]


# -- graph and groups ---------------------------------------------------------------------------------------------


def test_groups_that_excite_each_other_are_memeplexes_and_pairs_that_inhibit_antimemes() -> None:
    found = known([(0, 0), (0, 1), (1, 2), (2, 0), (3, 3), (3, 0)], [(1, 3)])
    assert memeplexes(found, 4) == [(0, 1, 2)]  # 3 excites 0, but nothing excites 3 but itself
    assert memeplexes(found, 2) == []
    assert antimemes(found, 4) == [(1, 3)]
    graph = influence_graph(found, ["a", "b", "c"])
    assert [graph.nodes[k]["name"] for k in range(4)] == ["a", "b", "c", "elsewhere"]
    assert graph.edges[1, 3]["kind"] == "inhibits"
    assert graph.edges[3, 0]["kind"] == "excites"
    assert graph.number_of_edges() == 7
    assert [graph.nodes[k]["memeplex"] for k in range(4)] == [0, 0, 0, -1]
    back = nx.parse_graphml("\n".join(nx.generate_graphml(graph)))
    assert back.number_of_edges() == 7


def test_uncertain_influences_are_no_edges() -> None:
    found = known([])
    assert influence_graph(found, ["a"]).number_of_edges() == 0
    assert memeplexes(found, 4) == []


# -- snapshots ----------------------------------------------------------------------------------------------------


def halves(t: Array, region: NDArray[np.int64], seed: int = 0) -> tuple[Snapshot, tuple[Basin, ...]]:
    """Posts of two regions placed in the halves of a box, and the two basins that hold them."""
    x = np.random.default_rng(seed).uniform(size=(len(t), 2))
    x[:, 0] = (x[:, 0] + region) / 2
    space = Space(Partition.of_grid(Grid(BOX, (2, 1))), 0.1)
    snapshot = space.see(Events(t, x), SPAN)
    return snapshot, describe(snapshot, np.eye(2), np.ones(2))


def test_branching_inside_and_across_comes_with_intervals() -> None:
    truth = np.array([[0.5, 0.0], [0.4, 0.0]])
    snapshot, basins = halves(*hawkes(truth, np.array([9.0, 3.0]), 6.0, np.random.default_rng(7)))
    table = excitation(snapshot, basins).set_index("basin")
    sources = [int(basin.centre[0] > 0.5) for basin in basins]
    for basin, s in zip(basins, sources, strict=True):
        row = table.loc[basin.id]
        assert row["branching_inside_low"] <= row["branching_inside"] <= row["branching_inside_high"]
        assert row["branching_inside"] == pytest.approx(truth[s, s], abs=0.3)
        assert row["branching_across"] == pytest.approx(truth[1 - s, s], abs=0.3)
    assert table.columns.tolist() == [
        "branching_inside",
        "branching_inside_low",
        "branching_inside_high",
        "branching_across",
        "branching_across_low",
        "branching_across_high",
    ]


@pytest.mark.slow
def test_intervals_of_branching_cover_what_is_planted_as_often_as_they_say() -> None:
    """Few posts, and half-lives that are the best of six: normal quantiles would cover nine of ten."""
    truth, rng, covered = np.array([[0.4, 0.0], [0.3, 0.0]]), np.random.default_rng(11), []
    for seed in range(60):
        snapshot, basins = halves(*hawkes(truth, np.array([1.0, 1.0]), 6.0, rng), seed=seed)
        table = excitation(snapshot, basins)
        for row, basin in zip(table.to_dict("records"), basins, strict=True):
            s = int(basin.centre[0] > 0.5)
            covered.append(row["branching_inside_low"] <= truth[s, s] <= row["branching_inside_high"])
            covered.append(row["branching_across_low"] <= truth[1 - s, s] <= row["branching_across_high"])
    assert np.mean(covered) >= 0.94


def test_branching_is_unknown_where_there_are_too_few_posts_or_no_basin() -> None:
    t, region = np.linspace(0, 99, 10), np.arange(10) % 2
    snapshot, basins = halves(t, region)
    assert excitation(snapshot, basins).drop(columns="basin").isna().all(axis=None)
    assert excitation(snapshot, ()).empty
    assert len(influence_of(snapshot, ()).posts) == 1


def test_only_regions_that_excite_are_basins(monkeypatch: pytest.MonkeyPatch) -> None:
    truth = np.array([[0.7, 0.0], [0.0, 0.0]])
    snapshot, basins = halves(*hawkes(truth, np.array([5.0, 10.0]), 20.0, np.random.default_rng(8)))
    hills = DensityFinder(space=snapshot.space)
    finder = RegionsFinder(space=snapshot.space, hills=hills)
    found_regions = replace(finder)  # a copy: a finder is a value
    monkeypatch.setattr(RegionsFinder, "_regions", lambda *_: basins)
    found = found_regions.find(snapshot, np.random.default_rng(0))
    assert len(found.basins) == 1
    assert found.basins[0].centre[0] < 0.5
    assert found.basins[0].id == 0
    assert found.basins[0].probability == 1  # that of the region
    assert "1 of 2 regions" in found.remark


def test_the_static_world_has_no_excitation_and_an_empty_window_no_region() -> None:
    events, _ = simulate_world("static", 3000, 1)
    box, rng = Box((-6.0, -6.0), (6.0, 6.0)), np.random.default_rng(0)
    finder = RegionsFinder(replicates=2, windows=4).fit(events, [Window(0, 30)], box, rng)
    found = finder.find(finder.fixed.see(events, Window(30, 59)), rng)
    assert found.basins == ()
    assert "excites itself beyond chance" in found.remark
    empty = finder.find(finder.fixed.see(events, Window(200, 207)), rng)
    assert empty.basins == ()
    assert "no region holds posts beyond chance" in empty.remark


def test_above_three_dimensions_regions_are_adaptive_cells() -> None:
    rng = np.random.default_rng(0)
    events = Events(np.sort(rng.uniform(0, 60, 900)), rng.normal(size=(900, 5)))
    box = Box((-4.0,) * 5, (4.0,) * 5)
    finder = RegionsFinder().fit(events, [Window(0, 30)], box, rng)
    assert finder.cells is not None
    np.testing.assert_array_equal(finder.cells.sum(axis=0), 1)
    assert finder.find(finder.fixed.see(events, Window(30, 60)), rng).remark
    with pytest.raises(ValueError, match="no training windows"):
        RegionsFinder().fit(events, [], box, rng)
    with pytest.raises(ValueError, match="fit it to training windows"):
        RegionsFinder().find(finder.fixed.see(events, Window(30, 60)), rng)
