"""Parents against replies: planted parents rank high, random ones by chance; a pull is found where one is planted."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluation.diagnosis.replies import ascent, bootstrap_means, pull_of_cores, score_parents, threads, true_parents
from stpp.domain import Box, Grid
from stpp.events import Events, Window
from stpp.ingest.readers import read_events
from stpp.models import Hawkes, HistoricalAverage
from stpp.simulation.branching import simulate_hawkes

BOX = Box((0.0, 0.0), (1.0, 1.0))
PHEME = Path("../shared/data/tweets_pheme_threads.parquet")


def excitation() -> Hawkes:
    """The process that simulate_hawkes draws from by default."""
    one = {"decays": [1.0], "bandwidths": [0.02], "exponents": [0.0], "coefficients": [0.6], "mean_productivity": [1.0]}
    return Hawkes(domain=BOX, uniform_rate=5.0, **{name: np.array(value) for name, value in one.items()})


def density(bandwidth: float = 0.05) -> HistoricalAverage:
    """The density of all posts so far, a tenth of it uniform."""
    return HistoricalAverage(
        domain=BOX, decays=np.zeros(1), bandwidths=np.array([bandwidth]), shares=np.array([0.9]), rate=1.0
    )


# -- who answered whom ----------------------------------------------------------------------------------------


@pytest.mark.slow
def test_planted_parents_stand_above_both_baselines() -> None:
    events, truth = simulate_hawkes(3000, seed=2, branching=0.5, duration=300.0)
    events = replace(events, parent=truth["parent"])
    model = Hawkes(domain=BOX).fit(events, Window(0.0, 200.0))
    found = score_parents(model, events, Window(200.0, 300.0), candidates=500, rng=np.random.default_rng(0))
    assert found.replies == (truth["parent"][events.t >= 200] >= 0).sum()
    assert found.scores["hawkes"]["AUROC"].low > 0.98
    assert found.scores["hawkes"]["mean reciprocal rank"].low > 0.7
    for baseline in ("most recent", "nearest"):
        assert all(gain.low > 0 for gain in found.gains[baseline].values())
        difference = found.scores["hawkes"]["AUROC"].value - found.scores[baseline]["AUROC"].value
        assert found.gains[baseline]["AUROC"].value == pytest.approx(difference)
    assert any(line.startswith("hawkes is better than the nearest event") for line in found.lines())
    stored = json.loads(json.dumps(found.to_json_dict()))
    assert stored["scores"]["nearest"]["AUROC"] == found.scores["nearest"]["AUROC"].to_list()


def test_parents_drawn_at_random_rank_by_chance() -> None:
    """No excitation: each reply's parent is any of the last 200 events."""
    rng = np.random.default_rng(1)
    n = 3000
    row = np.arange(n)
    parent = np.where(row >= 200, row - rng.integers(1, 201, n), -1)
    events = Events(np.sort(rng.uniform(0, 300, n)), rng.uniform(size=(n, 2)), parent=parent)
    found = score_parents(excitation(), events, Window(0.0, 300.0), candidates=200, rng=rng)
    assert found.candidates == 200
    assert found.chance["mean reciprocal rank"] == pytest.approx(sum(1 / k for k in range(1, 201)) / 200)
    for scores in found.scores.values():
        assert scores["AUROC"].value == pytest.approx(0.5, abs=0.02)
        assert scores["mean reciprocal rank"].value == pytest.approx(found.chance["mean reciprocal rank"], abs=0.01)
        assert scores["parent ranked first"].value == pytest.approx(1 / 200, abs=0.005)
    assert "hawkes is no different than" in "\n".join(found.lines())


def test_ranks_by_hand() -> None:
    # The reply at t = 3 answers the event at t = 1, the second of three in time, nearest in space.
    events = Events([0.0, 1.0, 2.0, 3.0], [[0.1, 0.1], [0.5, 0.5], [0.9, 0.9], [0.5, 0.5]], parent=[-1, -1, -1, 1])
    found = score_parents(excitation(), events, Window(0.0, 4.0), rng=np.random.default_rng(0))
    recent = {name: interval.value for name, interval in found.scores["most recent"].items()}
    assert recent == {"AUROC": 0.5, "mean reciprocal rank": 0.5, "parent ranked first": 0.0}
    assert [interval.value for interval in found.scores["nearest"].values()] == [1.0, 1.0, 1.0]
    assert list(found.chance.values()) == pytest.approx([0.5, (1 + 1 / 2 + 1 / 3) / 3, 1 / 3])
    # an older parent than the last so many candidates joins them: last of two
    late = score_parents(excitation(), events, Window(0.0, 4.0), candidates=1, rng=np.random.default_rng(0))
    assert late.candidates == 2
    assert late.scores["most recent"]["mean reciprocal rank"].value == 0.5
    # all three at one time and place tie: the middle rank 2, a third of the first rank
    events = Events([0.0, 0.0, 0.0, 1.0], np.full((4, 2), 0.5), parent=[-1, -1, -1, 1])
    for scores in score_parents(excitation(), events, Window(0.0, 4.0), rng=np.random.default_rng(0)).scores.values():
        assert [interval.value for interval in scores.values()] == pytest.approx([0.5, 0.5, 1 / 3])


def test_replies_whose_parent_is_not_earlier_are_counted_and_left_out() -> None:
    events = Events(
        [0.0, 1.0, 1.0, 2.0, 3.0], np.linspace(0, 1, 10).reshape(5, 2), parent=[-1, 0, 1, 4, 0], epoch="2020-01-01"
    )
    rows, parents, same_time = true_parents(events, Window(0.0, 5.0))
    assert (rows.tolist(), parents.tolist(), same_time) == ([1, 4], [0, 0], 2)
    found = score_parents(excitation(), events, Window(2.5, 5.0), rng=np.random.default_rng(0))
    assert (found.replies, found.same_time, found.threads) == (1, 0, 1)
    assert threads(events).tolist() == [0, 0, 0, 1, 0] or len(np.unique(threads(events))) == 1
    with pytest.raises(ValueError, match="say nothing of replies"):
        true_parents(replace(events, parent=None), Window(0.0, 5.0))
    with pytest.raises(ValueError, match="no reply from 2020-01-02"):
        true_parents(events, Window(1.5, 2.5))
    with pytest.raises(ValueError, match="nothing to rank"):
        score_parents(excitation(), events, Window(0.0, 1.5), rng=np.random.default_rng(0))


def test_threads_are_reply_trees() -> None:
    events = Events(np.arange(7.0), np.zeros((7, 1)), parent=[-1, 0, -1, 1, 2, 3, -1])
    tree = threads(events)
    assert [np.flatnonzero(tree == label).tolist() for label in dict.fromkeys(tree)] == [[0, 1, 3, 5], [2, 4], [6]]


def test_the_bootstrap_draws_whole_threads() -> None:
    rng = np.random.default_rng(4)
    effect = rng.normal(size=200)
    cluster = np.repeat(np.arange(200), 10)
    values = np.stack([effect[cluster], np.ones(2000)], axis=1)
    shared, constant = bootstrap_means(values, cluster, rng)
    # ten equal values per thread: the error is that of 200 values, not of 2,000
    assert (shared.high - shared.low) / 2 == pytest.approx(1.96 * effect.std() / math.sqrt(200), rel=0.1)
    assert constant.to_list() == [1.0, 1.0, 1.0]


# -- towards the core -----------------------------------------------------------------------------------------


@given(shape=st.lists(st.integers(1, 7), min_size=1, max_size=3), seed=st.integers(0, 999))
@settings(deadline=None)
def test_ascent_is_that_of_a_walker(shape: list[int], seed: int) -> None:
    field = np.random.default_rng(seed).permutation(math.prod(shape)).reshape(shape).astype(float)
    found = ascent(field)
    for start in np.ndindex(*shape):
        here = start
        while True:
            near = tuple(slice(max(0, k - 1), k + 2) for k in here)
            offset = np.unravel_index(field[near].argmax(), field[near].shape)
            there = tuple(int(o) + s.start for o, s in zip(offset, near, strict=True))
            if there == here:
                break
            here = there
        assert found[np.ravel_multi_index(start, shape)] == np.ravel_multi_index(here, shape)


def test_a_plain_is_its_own_summit() -> None:
    assert ascent(np.ones((3, 4))).tolist() == list(range(12))


def conversation(n: int, rng: np.random.Generator, kind: str) -> Events:
    """Sources around two cores, half of all posts replies to one of the last twenty sources, of the given kind."""
    cores = np.array([[0.3, 0.3], [0.7, 0.7]])
    x, parent = np.empty((n, 2)), np.full(n, -1)
    side = rng.integers(0, 2, n)
    source = [0, 1, 2]
    for i in range(n):
        x[i] = cores[side[i]] + 0.08 * rng.normal(size=2)
        if i > 20 and rng.uniform() < 0.5:
            parent[i] = rng.choice(source[-20:])
            start, core = x[parent[i]], cores[side[parent[i]]]
            if kind == "pulled":
                x[i] = start + 0.5 * (core - start) + 0.03 * rng.normal(size=2)
            elif kind == "near":
                x[i] = start + 0.04 * rng.normal(size=2)
        else:
            source.append(i)
    return Events(np.sort(rng.uniform(0, 10, n)), np.clip(x, 0, 1), parent=parent)


def nulls(kind: str, seed: int, permutations: int = 39) -> dict[str, float]:
    rng = np.random.default_rng(seed)
    events = conversation(400, rng, kind)
    found = pull_of_cores(
        density(), events, Window(2.0, 10.0), Grid.over(BOX, 20), step=10.0, permutations=permutations, rng=rng
    )
    return {null.null: null.p_value for null in found.nulls}


def test_replies_pulled_to_their_core_beat_both_nulls() -> None:
    for seed in range(5):
        assert max(nulls("pulled", seed).values()) <= 0.05


@pytest.mark.slow
def test_each_null_explains_what_it_should() -> None:
    """Replies anywhere regress to the mean, replies near their parents stay there: neither is a pull."""
    anywhere, near = ([nulls(kind, seed) for seed in range(40)] for kind in ("anywhere", "near"))
    assert np.mean([p["within-window"] <= 0.05 for p in anywhere]) <= 0.15
    assert 0.35 < np.mean([p["within-window"] for p in anywhere]) < 0.65
    assert np.mean([p["direction"] <= 0.05 for p in near]) <= 0.15
    assert 0.35 < np.mean([p["direction"] for p in near]) < 0.65
    # and each is what the other null cannot explain
    assert np.mean([p["direction"] <= 0.05 for p in anywhere]) > 0.9
    assert np.mean([p["within-window"] <= 0.05 for p in near]) > 0.9


def test_the_share_is_counted_from_the_past_only_and_told_in_words() -> None:
    rng = np.random.default_rng(3)
    events = conversation(300, rng, "pulled")
    events = replace(events, author=np.arange(300) % 7, authors=tuple("abcdefg"))
    window, grid = Window(2.0, 8.0), Grid.over(BOX, 20)
    found = pull_of_cores(density(), events, window, grid, permutations=19, rng=np.random.default_rng(0))
    later = events.t >= 8.0
    moved = np.where(later[:, None], 1 - events.x, events.x)
    same = pull_of_cores(
        density(), replace(events, x=moved), window, grid, permutations=19, rng=np.random.default_rng(0)
    )
    assert same == found
    assert [null.null for null in found.nulls] == ["within-window", "within-author", "direction"]
    first, *rest = found.lines()
    assert f"{found.nearer.value:.1%} [" in first
    assert all(line.startswith("more than ") for line in rest)
    stored = json.loads(json.dumps(found.to_json_dict()))
    assert stored["nearer"][0] == found.nulls[0].observed
    assert "seconds" not in stored["nulls"][0]


@pytest.mark.skipif(not PHEME.exists(), reason="needs ../shared/data/tweets_pheme_threads.parquet")
def test_reply_trees_of_nine_news_events() -> None:
    events = read_events(PHEME)
    rows, parents, same_time = true_parents(events, events.span)
    assert len(rows) + same_time == 19_267
    assert (events.t[parents] < events.t[rows]).all()
    assert len(np.unique(threads(events)[rows])) <= 1_594
