"""The Monte-Carlo p: exact under the null, never 0, ties counted alike however they are rounded."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kstest

from stpp.chance import monte_carlo_p

NUMBERS = st.lists(st.integers(-50, 50).map(lambda k: k / 7), min_size=1, max_size=30)


@given(st.integers(-50, 50).map(lambda k: k / 7), NUMBERS)
def test_it_is_the_rank_of_the_data_among_all_worlds(observed, null):
    p = float(monte_carlo_p(observed, null))
    reached = sum(value >= observed - 1e-9 * abs(observed) for value in null)
    assert p == pytest.approx((1 + reached) / (len(null) + 1))
    assert 1 / (len(null) + 1) <= p <= 1


@given(NUMBERS)
def test_a_tie_is_one_however_it_is_rounded(null):
    exact, rounded = (float(monte_carlo_p(null[0] * grown, null)) for grown in (1.0, 1 + 1e-12))
    assert exact == rounded


@pytest.mark.parametrize("discrete", [False, True])
def test_under_the_null_it_is_uniform_or_on_the_safe_side(discrete):
    rng = np.random.default_rng(0)
    worlds = rng.poisson(3.0, (2000, 40)) if discrete else rng.normal(size=(2000, 40))
    p = monte_carlo_p(worlds[:, 0], worlds[:, 1:].T)
    for level in (0.05, 0.1, 0.5):
        assert (p <= level).mean() <= level + 3 * np.sqrt(level * (1 - level) / 2000)
    if not discrete:
        assert kstest(p - rng.uniform(size=2000) / 40, "uniform").pvalue > 0.01


def test_what_is_not_known_has_no_p():
    assert np.isnan(monte_carlo_p(np.nan, [1.0, 2.0]))
    assert np.isnan(monte_carlo_p(1.0, [1.0, np.nan]))
    assert np.isnan(monte_carlo_p(1.0, []))
    assert monte_carlo_p(np.array([1.0, 5.0]), np.array([[0.0, 9.0], [2.0, 9.0]])).tolist() == pytest.approx([2 / 3, 1])
