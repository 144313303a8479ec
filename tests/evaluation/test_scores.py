"""Scores against cases worked out by hand, scipy, and the definition of a proper score."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from scipy.spatial import distance
from sklearn import metrics

from evaluation.scores import (
    SCORES,
    describe_scores,
    energy_score,
    fds,
    information_gain,
    kl_divergence,
    log_score,
    overconfidence,
    poisson_log_likelihood,
    quadratic_fds,
    scores_table,
    spherical_fds,
)
from stpp.domain import Box, Grid

DOCS = Path(__file__).parents[2] / "docs"

TRUTH = np.array([0.5, 0.3, 0.15, 0.05])  # probabilities of four equal cells; relative density g = 4·q
SQUARED = TRUTH**2 / np.sum(TRUTH**2)
SPIKE = np.array([1.0, 0.0, 0.0, 0.0])
UNIFORM = np.full(4, 0.25)


def expected_scores(q: np.ndarray) -> tuple[float, float, float, float]:
    """Expected FDS, log, quadratic and spherical score of the forecast q when events follow TRUTH."""
    g = q / q.mean()
    mean_square = float(np.mean(g**2))
    return (
        fds(g, TRUTH),
        log_score(g, TRUTH),
        quadratic_fds(g, TRUTH, mean_square),
        spherical_fds(g, TRUTH, mean_square),
    )


def test_truth_by_hand() -> None:
    # g = 4·(.5, .3, .15, .05) = (2, 1.2, .6, .2)
    # fds = .5·2 + .3·1.2 + .15·.6 + .05·.2 = 1 + .36 + .09 + .01 = 1.46
    # mean(g²) = (4 + 1.44 + .36 + .04)/4 = 1.46, so quadratic = 2·1.46 − 1.46 = 1.46 and spherical = √1.46 = 1.2083
    # log = .5·ln 2 + .3·ln 1.2 + .15·ln .6 + .05·ln .2
    #     = .346574 + .054696 − .076624 − .080472 = .244175
    assert expected_scores(TRUTH) == pytest.approx((1.46, 0.244175, 1.46, 1.208305), abs=1e-6)


def test_sharpened_truth_by_hand() -> None:
    # p² = (.25, .09, .0225, .0025), sum .365; g = 4·p²/.365 = (2.739726, .986301, .246575, .027397)
    # fds = 1.369863 + .295890 + .036986 + .001370 = 1.704110: more than the truth's 1.46, hence improper
    # mean(g²) = (7.506099 + .972790 + .060799 + .000751)/4 = 2.135110; quadratic = 3.408219 − 2.135110 = 1.273110
    # spherical = 1.704110/√2.135110 = 1.704110/1.461202 = 1.166238
    # log = .5·1.007858 + .3·(−.013794) + .15·(−1.400088) + .05·(−3.597312) = .503929 − .004138 − .210013 − .179866
    assert expected_scores(SQUARED) == pytest.approx((1.704110, 0.109912, 1.273110, 1.166238), abs=2e-6)


def test_spike_and_uniform_by_hand() -> None:
    # spike: g = (4, 0, 0, 0): fds = 2, mean(g²) = 4, quadratic = 4 − 4 = 0, spherical = 2/2 = 1, log = −inf
    assert expected_scores(SPIKE) == (2.0, -math.inf, 0.0, 1.0)
    assert expected_scores(UNIFORM) == (1.0, 0.0, 1.0, 1.0)


def test_weights_by_hand() -> None:
    # g = (1, 4), m = (3, 1): fds = (3·1 + 1·4)/4 = 1.75; log = (3·0 + ln 4)/4 = .346574
    assert fds([1, 4], [3, 1]) == 1.75
    assert log_score([1, 4], [3, 1]) == pytest.approx(math.log(4) / 4)
    # an event of weight 0 counts for nothing, even where the forecast was 0
    assert log_score([1, 4, 0], [3, 1, 0]) == pytest.approx(math.log(4) / 4)


def test_zero_density_is_minus_infinity_never_clipped() -> None:
    assert log_score([2.0, 0.0], [1, 1]) == -math.inf
    assert information_gain([2.0, 0.0], [1, 1], [1, 1]) == -math.inf
    with pytest.raises(ValueError, match="floor > 0"):
        information_gain([1, 1], [2.0, 0.0], [1, 1])


def test_overconfidence_splits_fds() -> None:
    g = SQUARED / SQUARED.mean()
    mean_square = float(np.mean(g**2))
    # claims 2.135, gets 1.704
    assert overconfidence(g, TRUTH, mean_square) == pytest.approx(2.135110 - 1.704110, abs=2e-6)
    difference = fds(g, TRUTH) - overconfidence(g, TRUTH, mean_square)
    assert quadratic_fds(g, TRUTH, mean_square) == pytest.approx(difference)


def test_information_gain_is_the_mean_log_ratio() -> None:
    rng = np.random.default_rng(1)
    g, reference, m = rng.gamma(2, size=(3, 50))
    assert information_gain(g, reference, m) == pytest.approx(np.sum(m * np.log(g / reference)) / m.sum(), rel=1e-12)


def test_poisson_log_likelihood_is_scipy_s() -> None:
    rng = np.random.default_rng(2)
    expected = rng.gamma(1, 3, size=(7, 5))
    observed = rng.poisson(expected)
    reference = stats.poisson.logpmf(observed, expected).sum()
    assert poisson_log_likelihood(expected, observed) == pytest.approx(reference, rel=1e-12)
    # an empty cell of no expectation costs nothing; an event there is impossible
    assert poisson_log_likelihood([0.0, 2.0], [0, 1]) == pytest.approx(math.log(2) - 2)
    assert poisson_log_likelihood([0.0, 2.0], [1, 1]) == -math.inf


def test_poisson_log_likelihood_is_pycsep_s() -> None:
    csep = pytest.importorskip("csep.utils.stats", reason="pycsep is not installed")
    rng = np.random.default_rng(3)
    expected = rng.gamma(1, 3, size=40)
    observed = rng.poisson(expected)
    rates = np.repeat(np.log(expected), observed)  # one per event
    theirs = csep.poisson_joint_log_likelihood_ndarray(rates, observed, expected.sum())
    assert poisson_log_likelihood(expected, observed) == pytest.approx(theirs, rel=1e-10)


def test_scores_of_cells_are_scikit_learn_s_and_scipy_s() -> None:
    """Log loss, Brier score and the cosine to the outcome, on a 3-d map of 24 cells with weighted events."""
    rng = np.random.default_rng(5)
    grid = Grid(Box((0, 0, 0), (1, 2, 3)), (2, 3, 4))
    p = rng.dirichlet(np.ones(grid.cells))
    x, weight = grid.box.sample(60, rng), rng.gamma(2, size=60)
    cell = grid.index(x)
    g, mean_square = p[cell] * grid.cells, float(np.mean((p * grid.cells) ** 2))
    forecasts, outcome = np.tile(p, (60, 1)), np.eye(grid.cells)[cell]
    loss = metrics.log_loss(cell, forecasts, sample_weight=weight, labels=np.arange(grid.cells))
    assert log_score(g, weight) == pytest.approx(math.log(grid.cells) - loss, abs=1e-10)
    brier = grid.cells * metrics.mean_squared_error(outcome, forecasts, sample_weight=weight)
    assert quadratic_fds(g, weight, mean_square) == pytest.approx(grid.cells * (1 - brier), abs=1e-10)
    cosine = np.average([1 - distance.cosine(one, p) for one in outcome], weights=weight)
    assert spherical_fds(g, weight, mean_square) == pytest.approx(math.sqrt(grid.cells) * cosine, abs=1e-10)
    # the shares of events against the forecast's: scipy's relative entropy, and the log score less a constant
    shape, observed = grid.shape, grid.histogram(x, weight)
    divergence = kl_divergence(p.reshape(shape), observed)
    assert divergence == pytest.approx(stats.entropy(observed.ravel(), p), abs=1e-10)
    entropy = stats.entropy(observed.ravel())
    assert divergence == pytest.approx(math.log(grid.cells) - entropy - log_score(g, weight), abs=1e-10)


# -- scores of whole fields ---------------------------------------------------------------------------------------


def test_energy_score_by_hand() -> None:
    # two cells 3 apart, p = (.75, .25); one event in each, weights 1 and 3
    # from cell 1: E‖X − x‖ = .25·3 = .75, from cell 2: .75·3 = 2.25; mean (1·.75 + 3·2.25)/4 = 1.875
    # E‖X − X′‖ = 2·.75·.25·3 = 1.125; score = 1.875 − .5625 = 1.3125
    assert energy_score([0.75, 0.25], [1, 3], [3.0]) == pytest.approx(1.3125, rel=1e-12)
    # 2-d: all mass 3 cells along and 4 across (sides 1 and 2) from the event: √(3² + 8²)
    forecast, observed = np.zeros((4, 5)), np.zeros((4, 5))
    forecast[0, 0], observed[3, 4] = 1, 1
    assert energy_score(forecast, observed, [1, 2]) == pytest.approx(math.sqrt(73), rel=1e-12)


def test_a_near_miss_costs_less_than_a_far_one() -> None:
    near, far, observed = np.zeros((3, 20, 20))
    near[10, 11], far[10, 19], observed[10, 10] = 1, 1, 1
    assert energy_score(near, observed, [0.1, 0.1]) == pytest.approx(0.1, rel=1e-10)
    assert energy_score(far, observed, [0.1, 0.1]) == pytest.approx(0.9, rel=1e-10)
    assert kl_divergence(near, observed) == kl_divergence(far, observed) == math.inf


@given(shape=st.lists(st.integers(1, 6), min_size=1, max_size=3), seed=st.integers(0, 999))
def test_energy_score_is_the_double_sum(shape: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    widths = rng.gamma(3, size=len(shape))
    grid = Grid(Box((0,) * len(shape), tuple(widths * shape)), tuple(shape))
    expected, observed = rng.gamma(0.5, size=shape) + 1e-9, rng.poisson(1.0, shape) + rng.uniform(size=shape)
    p, o = (field.ravel() / field.sum() for field in (expected, observed))
    between = distance.cdist(grid.points(), grid.points())
    direct = o @ between @ p - p @ between @ p / 2
    assert energy_score(expected, observed, widths) == pytest.approx(direct, rel=1e-12, abs=1e-12 * between.max())


@pytest.mark.slow
def test_energy_score_is_scoringrules_es() -> None:
    """An ensemble with a weighted member at every cell, scored at every event."""
    scoringrules = pytest.importorskip("scoringrules", reason="scoringrules is not installed")
    rng = np.random.default_rng(6)
    grid = Grid(Box((0, 0), (3, 1)), (9, 7))
    expected = rng.gamma(0.5, size=grid.shape)
    cell, weight = rng.integers(0, grid.cells, 25), rng.gamma(2, size=25)
    members = np.broadcast_to(grid.points(), (25, grid.cells, 2))
    member_weight = np.broadcast_to(expected.ravel(), (25, grid.cells))
    theirs = scoringrules.es_ensemble(grid.points()[cell], members, ens_w=member_weight, backend="numpy")
    observed = np.bincount(cell, weight, grid.cells).reshape(grid.shape)
    ours = energy_score(expected, observed, grid.spacing)
    assert ours == pytest.approx(np.average(theirs, weights=weight), abs=1e-10)


def test_cells_that_do_not_count_change_nothing() -> None:
    """A zoom box: the rest of the grid holds zeros, or is cut off; only shares matter, not counts."""
    rng = np.random.default_rng(7)
    inner, seen = rng.gamma(1, size=(4, 5)), rng.poisson(1.0, (4, 5))
    outer, around = np.zeros((2, 12, 9))
    outer[3:7, 2:7], around[3:7, 2:7] = 10 * inner, seen
    assert energy_score(outer, around, (1, 2)) == pytest.approx(energy_score(inner, seen, (1, 2)), rel=1e-12)
    assert kl_divergence(outer, around) == pytest.approx(kl_divergence(inner, seen), rel=1e-12)


def test_unusable_cells_are_refused() -> None:
    for score in (kl_divergence, lambda p, o: energy_score(p, o, [1.0])):
        with pytest.raises(ValueError, match=r"differ in shape: \(2,\) and \(3,\)"):
            score([0.5, 0.5], [1, 1, 1])
        with pytest.raises(ValueError, match="forecast cells must be finite and ≥ 0"):
            score([math.nan, 0.5], [1, 1])
        with pytest.raises(ValueError, match="observed cells must be finite and ≥ 0"):
            score([0.5, 0.5], [-1, 1])
        with pytest.raises(ValueError, match="no mass"):
            score([0.0, 0.0], [1, 1])
        with pytest.raises(ValueError, match="no score without events"):
            score([0.5, 0.5], [0, 0])
    with pytest.raises(ValueError, match="2 dimensions need as many widths"):
        energy_score(np.ones((2, 2)), np.ones((2, 2)), [1.0])


# -- properness ---------------------------------------------------------------------------------------------------


def relative(q: np.ndarray) -> tuple[np.ndarray, float]:
    g = q / q.mean()
    return g, float(np.mean(g**2))


EXPECTED: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "fds": lambda q, p: fds(relative(q)[0], p),
    "log_score": lambda q, p: log_score(relative(q)[0], p),
    "information_gain": lambda q, p: information_gain(relative(q)[0], np.ones(len(q)), p),
    "quadratic_fds": lambda q, p: quadratic_fds(relative(q)[0], p, relative(q)[1]),
    "spherical_fds": lambda q, p: spherical_fds(relative(q)[0], p, relative(q)[1]),
    "energy_score": lambda q, p: energy_score(q, p, [0.5]),
    "kl_divergence": kl_divergence,
    "poisson_log_likelihood": poisson_log_likelihood,
}
"""Score in expectation of the forecast q when the truth is p, or up to a constant: each is linear in the outcome."""

PROBABILITIES = st.lists(st.floats(0.01, 1), min_size=5, max_size=5).map(lambda v: np.array(v) / np.sum(v))


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name, score in SCORES.items() if score.proper])
@given(truth=PROBABILITIES, other=PROBABILITIES)
def test_no_forecast_beats_the_truth_in_a_proper_score(name: str, truth: np.ndarray, other: np.ndarray) -> None:
    sign = 1 if SCORES[name].orientation == "higher" else -1
    best, rival = (sign * EXPECTED[name](q, truth) for q in (truth, other))
    assert best >= rival - 1e-12
    if np.abs(truth - other).max() > 1e-3:
        assert best > rival


@given(truth=PROBABILITIES)
def test_sharpening_beats_the_truth_in_fds(truth: np.ndarray) -> None:
    """Unless the truth is uniform: hence improper."""
    squared = truth**2 / np.sum(truth**2)
    assert EXPECTED["fds"](squared, truth) >= EXPECTED["fds"](truth, truth) - 1e-12
    if np.ptp(truth) > 1e-2:
        assert EXPECTED["fds"](squared, truth) > EXPECTED["fds"](truth, truth)


def test_registry_tells_which_scores_are_proper() -> None:
    assert {name for name, score in SCORES.items() if not score.proper} == {"fds", "overconfidence"}
    assert all(score.function.__name__ == name for name, score in SCORES.items())
    assert all(score.units and score.meaning and score.citation for score in SCORES.values())


def test_the_table_of_scores_names_all_of_them() -> None:
    rows = scores_table()
    assert [row["name"] for row in rows] == list(SCORES)
    text = describe_scores()
    assert all(row["meaning"] in text and row["citation"] in text for row in rows)
    assert text.count("IMPROPER") == 2
    assert max(map(len, text.splitlines())) <= 130


# -- the page -----------------------------------------------------------------------------------------------------


def module(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    assert spec is not None
    loaded = importlib.util.module_from_spec(spec)
    assert spec.loader is not None
    spec.loader.exec_module(loaded)
    return loaded


def test_the_page_about_fds_is_current() -> None:
    page = (DOCS / "fds.md").read_text()
    figure = module("fds_figure")
    assert module("make_pages").with_block(page, "scores", figure.table()) == page, "run 'python docs/fds_figure.py'"
    favourites = {name: figure.best(figure.forecasts(), name) for name in figure.TITLES}
    assert favourites.pop("fds") == "all on the fullest cell"
    assert favourites.pop("overconfidence") is None
    assert set(favourites.values()) == {"the truth"}


@pytest.mark.parametrize(
    ("g", "weight", "message"),
    [
        ([], [], "no score without events"),
        ([1.0], [0.0], "no score without events"),
        ([1.0], [math.nan], "no score without events"),
        ([math.nan, 1.0], [1.0, 1.0], "outside the domain"),
        ([-1.0], [1.0], "negative"),
        ([1.0, 2.0], [1.0], r"got \(2,\) and \(1,\)"),
    ],
)
def test_unusable_input_is_refused(g: list[float], weight: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fds(g, weight)


def test_unusable_counts_are_refused() -> None:
    with pytest.raises(ValueError, match="shape"):
        poisson_log_likelihood([1.0], [1.0, 2.0])
    with pytest.raises(ValueError, match="forecast counts must be finite"):
        poisson_log_likelihood([math.nan], [1.0])
    with pytest.raises(ValueError, match="observed counts must be finite"):
        poisson_log_likelihood([1.0], [-1.0])
