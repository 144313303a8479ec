"""Consistency tests: by hand, equal to pyCSEP's, calibrated under the true model, and strict with a wrong one."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from scipy import stats

from evaluation.diagnosis.consistency import (
    ConsistencyResult,
    calibration,
    catalogue_mark_test,
    catalogue_number_test,
    catalogue_spatial_tests,
    consistency,
)
from evaluation.diagnosis.poisson_tests import (
    conditional_likelihood_test,
    likelihood_test,
    mark_test,
    number_test,
    poisson_consistency,
    spatial_test,
)
from stpp.domain import Box, Grid
from stpp.events import Events, Window
from stpp.models import Hawkes, Uniform

BOX = Box((0.0, 0.0), (1.0, 1.0))
DAY = Window(0.0, 1.0)
NOTHING = Events(np.zeros(0), np.zeros((0, 2)))

# What pycsep 0.8.0 makes of gridded_case() with random_numbers = default_rng(7).random((200, 9)): statistic, quantile
PYCSEP_GRIDDED = {"spatial": (-12.364029099301588, 0.795), "conditional": (-12.586805838593575, 0.795)}

# What pycsep 0.8.0 makes of catalogue_case(): statistic, delta 1, delta 2
PYCSEP_CATALOGUE = {
    "number": (7.0, 0.22666666666666666, 0.82),
    "spatial": (-2.5252159828884304, 0.8947368421052632, 0.10526315789473684),
    "pseudo-likelihood": (-11.680011294894793, 0.91, 0.09),
    "mark": (0.3118133058447345, 0.45864661654135336, 0.5413533834586466),
}


class Scripted:
    """A generator whose uniform numbers are given."""

    def __init__(self, numbers: list[float]) -> None:
        self._numbers = numbers

    def random(self, n: int) -> np.ndarray:
        taken, self._numbers = self._numbers[:n], self._numbers[n:]
        return np.array(taken)


def gridded_case() -> tuple[np.ndarray, np.ndarray]:
    """Expected counts in 5 × 4 cells, and nine events."""
    rng = np.random.default_rng(3)
    expected = rng.gamma(0.7, 1.0, size=(5, 4))
    return expected, rng.multinomial(9, expected.ravel() / expected.sum()).reshape(5, 4)


def catalogue_case() -> tuple[list[np.ndarray], np.ndarray, np.ndarray, np.ndarray]:
    """300 simulated catalogues over 12 cells (some empty) and what came; mark histograms of either over 6 bins."""
    rng = np.random.default_rng(5)
    share = rng.dirichlet(np.ones(12))
    cells = [rng.choice(12, size=n, p=share) for n in rng.negative_binomial(2, 0.3, size=300)]
    marks = np.array([np.bincount(rng.binomial(5, 0.3, size=len(c)), minlength=6) for c in cells])
    return cells, rng.choice(12, size=7), marks, np.bincount(rng.binomial(5, 0.45, size=7), minlength=6)


# -- by hand --------------------------------------------------------------------------------------------------


def test_number_test_by_hand() -> None:
    # N ~ Poisson(2): P(N ≥ 4) = 1 − e⁻²(1 + 2 + 2 + 8/6), P(N ≤ 4) = e⁻²(1 + 2 + 2 + 8/6 + 16/24)
    result = number_test(2.0, 4)
    assert result.at_least == pytest.approx(1 - math.exp(-2) * (5 + 4 / 3), abs=1e-14)
    assert result.at_most == pytest.approx(math.exp(-2) * 7, abs=1e-14)
    assert (result.low, result.high, result.consistent) == (0.0, 5.0, True)
    assert not number_test(2.0, 6).consistent
    # far out in the tail 1 − cdf would round to 0
    assert 0 < number_test(2.0, 40).at_least < 1e-30


def test_empirical_number_test_by_hand() -> None:
    # half of 100 simulated catalogues hold one event, half none (the cases of pyCSEP's own test suite)
    counts = np.repeat([0, 1], 50)
    for observed, at_least, at_most in ((0, 1.0, 0.5), (1, 0.5, 1.0), (2, 0.0, 1.0), (-1, 1.0, 0.0)):
        result = catalogue_number_test(counts, observed)
        assert (result.at_least, result.at_most) == (at_least, at_most)


def test_likelihood_tests_by_hand() -> None:
    # Four cells, one expected and one observed in each: Σ ln Poisson(1; 1) = −4 (Zechar et al. 2010, eq. 9).
    # Numbers 0.1, 0.1, 0.1, 0.1 put all four simulated events into the first cell: −4 − ln 4!.
    # Numbers 0.1, 0.3, 0.6, 0.9 put one into each: −4, a tie with what came, and ties count as ≤.
    expected, observed = np.ones((2, 2)), np.ones((2, 2))
    rng: Any = Scripted([0.1] * 4 + [0.1, 0.3, 0.6, 0.9])
    result = conditional_likelihood_test(expected, observed, simulations=2, rng=rng)
    assert result.observed == pytest.approx(-4)
    np.testing.assert_allclose(result.simulated, [-4 - math.log(24), -4])
    assert result.at_most == 1.0
    # Two events where one cell of two expects 3 and the other 1; scaled to two events: 1.5 and 0.5.
    # Both came in the second: 2 ln ½ − ln 2! − 2
    rng = Scripted([0.2, 0.8])
    result = spatial_test([3.0, 1.0], [0, 2], simulations=1, rng=rng)
    assert result.observed == pytest.approx(2 * math.log(0.5) - math.log(2) - 2)
    assert result.simulated[0] == pytest.approx(math.log(1.5) + math.log(0.5) - 2)
    assert result.at_most == 0.0


def test_catalogue_tests_by_hand() -> None:
    # Catalogues {0, 0}, {0, 1}, {}: mean counts 1 and 1/3 in two cells, 4/3 in all; shares ¾ and ¼.
    cells = [np.array([0, 0]), np.array([0, 1]), np.array([], dtype=int)]
    spatial, pseudo = catalogue_spatial_tests(cells, np.array([1]), [1, 1 / 3])
    np.testing.assert_allclose(spatial.simulated, [math.log(0.75), (math.log(0.75) + math.log(0.25)) / 2])
    assert spatial.observed == pytest.approx(math.log(0.25))
    assert (spatial.at_least, spatial.at_most) == (1.0, 0.0)
    np.testing.assert_allclose(pseudo.simulated, [-4 / 3, math.log(1 / 3) - 4 / 3, -4 / 3])
    assert pseudo.observed == pytest.approx(math.log(1 / 3) - 4 / 3)
    assert (pseudo.at_least, pseudo.at_most) == (1.0, 1 / 3)
    # Marks in two bins: (2, 0) and (1, 1) simulated, (0, 2) came; the mean scaled to two events is (1.5, 0.5).
    mark = catalogue_mark_test([[2, 0], [1, 1], [0, 0]], [0, 2])
    target = np.log10([2.5, 1.5])
    np.testing.assert_allclose(
        mark.simulated, [((np.log10([3, 1]) - target) ** 2).sum(), ((np.log10([2, 2]) - target) ** 2).sum()]
    )
    assert mark.observed == pytest.approx(((np.log10([1, 3]) - target) ** 2).sum())
    assert (mark.at_least, mark.consistent) == (0.0, False)


def test_events_where_none_is_expected_are_left_out_and_counted() -> None:
    cells = [np.array([0, 1]), np.array([1])]
    with_them, _ = catalogue_spatial_tests(cells, np.array([0, 2, 2]), [0.5, 1.0, 0.0])
    without, _ = catalogue_spatial_tests(cells, np.array([0]), [0.5, 1.0, 0.0])
    assert with_them.observed == without.observed
    assert with_them.note == "2 events in cells where none is expected are left out"
    assert catalogue_spatial_tests(cells, np.array([2]), [0.5, 1.0, 0.0]) == []


# -- pyCSEP ---------------------------------------------------------------------------------------------------


def test_equal_to_frozen_pycsep() -> None:
    expected, observed = gridded_case()
    for name, test in (("spatial", spatial_test), ("conditional", conditional_likelihood_test)):
        result = test(expected, observed, simulations=200, rng=np.random.default_rng(7))
        assert (result.observed, result.at_most) == pytest.approx(PYCSEP_GRIDDED[name], abs=1e-12)
    cells, came, marks, marks_came = catalogue_case()
    rate = np.mean([np.bincount(c, minlength=12) for c in cells], axis=0)  # pyCSEP's default
    spatial, pseudo = catalogue_spatial_tests(cells, came, rate)
    results = {
        "number": catalogue_number_test([len(c) for c in cells], len(came)),
        "spatial": spatial,
        "pseudo-likelihood": pseudo,
        "mark": catalogue_mark_test(marks, marks_came),
    }
    for name, result in results.items():
        assert (result.observed, result.at_least, result.at_most) == pytest.approx(PYCSEP_CATALOGUE[name], abs=1e-12)


def test_equal_to_pycsep_gridded(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("csep", reason="pip install pycsep to compare with it")
    from csep.core import poisson_evaluations as theirs

    for seed in range(5):
        rng = np.random.default_rng(seed)
        expected = rng.gamma(0.7, 1.0, size=(6, 5))
        observed = rng.poisson(expected)
        n = int(observed.sum())
        delta = theirs._number_test_ndarray(expected.sum(), n)
        mine = number_test(float(expected.sum()), n)
        assert (mine.at_least, mine.at_most) == pytest.approx(delta, abs=1e-12)
        for test, conditional, normalised in (
            (spatial_test, True, True),
            (mark_test, True, True),
            (conditional_likelihood_test, True, False),
            (likelihood_test, False, False),
        ):
            same = np.random.default_rng(seed)  # pyCSEP draws from the global generator: give it ours
            monkeypatch.setattr(np.random, "poisson", same.poisson)
            monkeypatch.setattr(np.random, "rand", same.random)
            quantile, value, simulated = theirs._poisson_likelihood_test(
                expected, observed, num_simulations=100, use_observed_counts=conditional,
                normalize_likelihood=normalised,
            )  # fmt: skip
            monkeypatch.undo()
            result = test(expected, observed, simulations=100, rng=np.random.default_rng(seed))
            assert result.observed == pytest.approx(value, abs=1e-10)
            np.testing.assert_allclose(result.simulated, simulated, atol=1e-10)
            assert result.at_most == pytest.approx(quantile, abs=1e-12)


@dataclass
class Histogram:
    """Stands in for a pyCSEP catalogue, and for the mean rates of its catalogue forecast."""

    cells: np.ndarray
    marks: np.ndarray
    name: str = ""
    magnitudes: tuple[int, ...] = ()

    @property
    def event_count(self) -> int:
        return int(self.cells.sum())

    def sum(self) -> float:
        return float(self.cells.sum())

    def spatial_counts(self) -> np.ndarray:
        return self.cells

    def magnitude_counts(self) -> np.ndarray:
        return self.marks


class CatalogueForecast(list[Histogram]):
    """Stands in for a pyCSEP catalogue forecast."""

    name = "mock"
    min_magnitude = 0.0
    region = Histogram(np.zeros(0), np.zeros(0))
    expected_rates: Histogram


def pycsep_catalogue() -> dict[str, tuple[float, float, float]]:
    """pyCSEP's statistic and quantile scores of catalogue_case()."""
    from csep.core import catalog_evaluations as theirs

    cells, came, marks, marks_came = catalogue_case()
    counts = [np.bincount(c, minlength=12) for c in cells]
    forecast = CatalogueForecast(Histogram(c, m) for c, m in zip(counts, marks, strict=True))
    forecast.expected_rates = Histogram(np.mean(counts, axis=0), np.mean(marks, axis=0))
    observed = Histogram(np.bincount(came, minlength=12), marks_came)
    tests = {
        "number": theirs.number_test,
        "spatial": theirs.spatial_test,
        "pseudo-likelihood": theirs.pseudolikelihood_test,
        "mark": theirs.magnitude_test,
    }
    found = {name: test(forecast, observed) for name, test in tests.items()}
    return {name: (float(r.observed_statistic), *map(float, r.quantile)) for name, r in found.items()}


def test_equal_to_pycsep_catalogue() -> None:
    pytest.importorskip("csep", reason="pip install pycsep to compare with it")
    for name, values in pycsep_catalogue().items():
        assert values == pytest.approx(PYCSEP_CATALOGUE[name], abs=1e-12)  # which the tests above equal


# -- of models ------------------------------------------------------------------------------------------------


def excited() -> Hawkes:
    """Ten background events a day, each with 0.6 offspring expected within hours and nearby."""
    one = {"decays": [6.0], "bandwidths": [0.05], "exponents": [0.0], "coefficients": [0.6], "mean_productivity": [1.0]}
    return Hawkes(domain=BOX, uniform_rate=10.0, **{name: np.array(value) for name, value in one.items()})


@pytest.mark.slow
def test_quantiles_of_the_true_model_are_uniform_and_a_wrong_one_is_found() -> None:
    rng = np.random.default_rng(0)
    truth, grid = excited(), Grid.over(BOX, 8)
    less = replace(truth, uniform_rate=5.0)
    past = Events(np.linspace(-0.3, -0.01, 25), np.tile([[0.2, 0.3], [0.7, 0.8]], (13, 1))[:25])
    results: list[ConsistencyResult] = []
    wrong: list[ConsistencyResult] = []
    for _ in range(60):
        came = truth.simulate(DAY, past, rng)
        results += consistency(truth, DAY, past, came, grid, simulations=59, rng=rng)
        wrong += consistency(less, DAY, past, came, None, simulations=19, rng=rng)
    found = calibration(results, rng)
    assert [c.test for c in found] == ["number", "spatial", "pseudo-likelihood"]
    for c in found:
        assert c.p_value > 0.01, c.words
        assert c.failed <= 8  # 3 expected
    assert calibration(wrong, rng)[0].p_value < 1e-4


@pytest.mark.slow
def test_clustered_counts_fail_the_poisson_number_test_but_not_their_own() -> None:
    """The reason for tests from simulated catalogues: a self-exciting truth spreads wider than Poisson."""
    rng = np.random.default_rng(1)
    model, window = excited(), Window(0.0, 4.0)
    own, poisson = [], []
    # the mean by a pilot, so that both tests have the right one
    mean = float(np.mean([len(model.simulate(window, NOTHING, rng)) for _ in range(400)]))
    for _ in range(60):
        came = model.simulate(window, NOTHING, rng)
        own += consistency(model, window, NOTHING, came, None, simulations=99, rng=rng)
        poisson.append(number_test(mean, len(came)))
    by_own, by_poisson = calibration(own, rng)[0], calibration(poisson, rng)[0]
    assert by_own.p_value > 0.01
    assert by_own.failed <= 8  # 3 expected
    assert by_poisson.failed >= 15
    assert by_poisson.p_value < by_own.p_value


def test_places_and_marks_of_another_kind_are_found() -> None:
    rng = np.random.default_rng(2)
    model, grid = Uniform(domain=BOX, rate=60.0), Grid.over(BOX, 5)
    history = Events(
        np.linspace(-5, -0.1, 300), BOX.sample(300, rng), marks=pa.table({"mag": rng.exponential(size=300)})
    )
    corner = Events(
        np.linspace(0, 0.9, 60), 0.25 * BOX.sample(60, rng), marks=pa.table({"mag": 1 + rng.normal(size=60) ** 2})
    )
    like = Events(np.linspace(0, 0.9, 60), BOX.sample(60, rng), marks=pa.table({"mag": rng.exponential(size=60)}))
    off = {r.test: r for r in consistency(model, DAY, history, corner, grid, simulations=200, mark="mag", rng=rng)}
    fine = {r.test: r for r in consistency(model, DAY, history, like, grid, simulations=200, mark="mag", rng=rng)}
    assert list(off) == list(fine) == ["number", "spatial", "pseudo-likelihood", "mark"]
    assert off["number"].consistent
    assert not off["mark"].consistent
    assert off["mark"].words.endswith(
        "INCONSISTENT: the marks are distributed differently (mag as before the window, for the model does not "
        "simulate it)"
    )
    assert all(result.consistent for result in fine.values())
    # a uniform model finds all places alike, so its spatial test has no power; a model with a centre has
    centred = excited()
    past = Events(np.full(200, -0.01), np.full((200, 2), 0.9))
    spatial = consistency(centred, DAY, past, corner, grid, simulations=200, rng=rng)[1]
    assert not spatial.consistent
    assert "INCONSISTENT: they fell where the model expects few" in spatial.words


def test_marks_that_the_model_simulates_are_its_own() -> None:
    rng = np.random.default_rng(4)
    n = 400
    marks = pa.table({"mag": 2 + rng.exponential(0.4, n)})
    history = Events(np.sort(rng.uniform(-20, 0, n)), BOX.sample(n, rng), marks=marks)
    model = Hawkes(domain=BOX, productivity="mag").fit(history, Window(-15.0, 0.0))
    came = Events(np.linspace(0, 0.9, 20), BOX.sample(20, rng), marks=pa.table({"mag": 2 + rng.exponential(0.4, 20)}))
    result = consistency(model, DAY, history, came, None, simulations=50, mark="mag", rng=rng)[-1]
    assert result.test == "mark"
    assert result.note == "mag as the model simulates it"
    assert result.consistent


def test_words_and_json() -> None:
    result = catalogue_number_test(np.repeat(np.arange(20), 5), 12)
    assert result.words == "12 events came, the model expects 9.5 (95 %: 0 to 19): consistent"
    assert catalogue_number_test([3, 4, 5], 9).words.endswith("INCONSISTENT: more came than the model allows")
    assert number_test(8.0, 1).words == (
        "1 event came, the model expects 8 (95 %: 3 to 14): INCONSISTENT: fewer came than the model allows "
        "(as if counts were Poisson)"
    )
    spatial = spatial_test([1.0, 1.0], [1, 1], simulations=20, rng=np.random.default_rng(0))
    stored = json.loads(json.dumps(spatial.to_json_dict()))
    assert stored["high"] is None
    assert stored["p_value"] == stored["at_most"]
    assert stored["simulations"] == 20
    found = calibration([result] * 3, np.random.default_rng(0))[0]
    assert found.words.startswith("number test: failed in 0 of 3 windows; its quantiles are ")


def test_poisson_tests_of_a_forecast() -> None:
    rng = np.random.default_rng(6)
    model, grid = Uniform(domain=BOX, rate=30.0), Grid.over(BOX, 5)
    forecast = model.forecast(DAY, NOTHING, grid)
    came = model.simulate(DAY, NOTHING, rng)
    names = ["Poisson number", "spatial likelihood", "conditional likelihood", "likelihood"]
    results = poisson_consistency(forecast, came, simulations=100, rng=rng)
    assert [r.test for r in results] == names
    assert all(r.consistent for r in results)
    assert [r.test for r in poisson_consistency(forecast, NOTHING, simulations=10, rng=rng)] == [names[0], names[3]]


def test_nothing_came_and_bad_input() -> None:
    rng = np.random.default_rng(0)
    model, grid = Uniform(domain=BOX, rate=3.0), Grid.over(BOX, 3)
    assert [r.test for r in consistency(model, DAY, NOTHING, NOTHING, grid, simulations=20, rng=rng)] == ["number"]
    silent = Uniform(domain=BOX, rate=0.0)
    came = Events([0.5], [[0.5, 0.5]])
    only = consistency(silent, DAY, NOTHING, came, grid, simulations=20, rng=rng)
    assert [(r.test, r.consistent) for r in only] == [("number", False)]
    with pytest.raises(ValueError, match="no mark column 'mag'"):
        consistency(model, DAY, came, came, grid, simulations=5, mark="mag", rng=rng)
    with pytest.raises(ValueError, match="another box"):
        consistency(model, DAY, NOTHING, NOTHING, Grid.over(Box((0.0, 0.0), (2.0, 1.0)), 3), rng=rng)
    with pytest.raises(ValueError, match="differ in shape"):
        spatial_test(np.ones(3), np.ones(4), rng=rng)
    with pytest.raises(ValueError, match="no event came"):
        spatial_test(np.ones(3), np.zeros(3), rng=rng)
    with pytest.raises(ValueError, match="whole numbers"):
        likelihood_test(np.ones(3), np.full(3, 0.5), rng=rng)


def test_an_event_in_an_impossible_cell_sinks_the_likelihood() -> None:
    result = likelihood_test([1.0, 0.0], [0, 1], simulations=50, rng=np.random.default_rng(0))
    assert result.observed == -math.inf
    assert result.at_most == 0.0
    assert not result.consistent
    assert result.to_json_dict()["observed"] is None


def test_pit_of_known_and_simulated_laws() -> None:
    known = number_test(3.0, 2)
    assert known.pit(0.5) == pytest.approx(stats.poisson(3).cdf(1) + 0.5 * stats.poisson(3).pmf(2))
    ranked = catalogue_number_test([1, 2, 2, 5], 2)  # one below, two tied
    assert [ranked.pit(0.0), ranked.pit(1.0)] == pytest.approx([1 / 5, 4 / 5])
