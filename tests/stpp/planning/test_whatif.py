"""What if posts were added: closed forms, exact coupling, and plain words where nothing would happen."""

from __future__ import annotations

import dataclasses
import json
import math
from functools import cache

import numpy as np
import pyarrow as pa
import pytest

from stpp.domain import Box, Grid
from stpp.events import Events, Window
from stpp.intensity import IntensityModel
from stpp.models import DecayingKDE, Hawkes, HistoricalAverage, Uniform
from stpp.models.basins import BasinRates
from stpp.models.regions import HawkesRegions
from stpp.partition import Partition
from stpp.planning.whatif import Branching, WhatIf, what_if
from stpp.planning.whatif_report import Estimate
from stpp.simulation.branching import simulate_hawkes

BOX = Box((0.0, 0.0), (1.0, 1.0))
B, BETA, MU = 0.6, 2.0, 3.0


@cache
def world() -> Events:
    events, _ = simulate_hawkes(600, seed=2, d=2, bandwidth=0.05, duration=40.0)
    marks = pa.table({"likes": np.random.default_rng(0).poisson(3, len(events))})
    return Events(events.t, events.x, marks=marks)


@cache
def fitted(cls: type[IntensityModel]) -> IntensityModel:
    return cls(domain=BOX).fit(world(), Window(0, 30))


def planted(bandwidth: float = 0.01) -> Hawkes:
    """A Hawkes process of known truth whose offspring stay in the box."""
    return Hawkes(
        domain=BOX,
        uniform_rate=MU,
        decays=np.array([BETA]),
        bandwidths=np.array([bandwidth]),
        exponents=np.zeros(1),
        coefficients=np.array([B]),
        mean_productivity=np.ones(1),
    )


def halves(bandwidth: float = 0.01) -> HawkesRegions:
    return HawkesRegions(
        domain=BOX,
        membership=np.eye(2),
        cell_shape=(2, 1),
        place_bandwidths=np.array([bandwidth]),
        place_shares=np.array([0.999]),
        rates=np.array([2.0, 2.0]),
        decays=np.array([BETA]),
        excitation=B * np.eye(2)[:, :, None],
        spill=np.eye(2),
    )


def past(lower: float = 0.5) -> Events:
    """200 posts in 20 days, the given share of them around the middle of the lower half of the first axis."""
    rng = np.random.default_rng(1)
    centre = np.where(rng.uniform(size=(200, 1)) < lower, [[0.2, 0.5]], [[0.75, 0.5]])
    return Events(np.sort(rng.uniform(-20, 0, 200)), np.clip(rng.normal(centre, 0.03), 0, 1))


def ask(model: IntensityModel, events: Events, **given: object) -> WhatIf:
    options: dict[str, object] = {"at": 0.0, "step": 1.0, "steps": 3, "place": (0.2, 0.5), "n": 10, "rng": 3}
    return what_if(model, events, **(options | given))  # type: ignore[arg-type]


def expected_progeny(n: int, days: float) -> float:
    """n b/(1 − b) (1 − e^{−β(1 − b)T}): Hawkes (1971), the mean of a cluster up to an age T, its founder left out."""
    return n * B / (1 - B) * -math.expm1(-BETA * (1 - B) * days)


@pytest.mark.slow
@pytest.mark.parametrize("model", [planted(), halves()], ids=["hawkes", "regions"])
@pytest.mark.parametrize("n", [10, 20])
def test_the_mean_of_extra_posts_is_the_closed_form(model: IntensityModel, n: int) -> None:
    found = ask(model, past(), n=n, simulations=600)
    # a cluster's size has variance b/(1 − b)³ in the end, its founder left out
    error = math.sqrt(n * B / (1 - B) ** 3 / 600)
    assert found.extra.mean == pytest.approx(expected_progeny(n, 3.0), abs=4 * error)
    assert found.extra.low < found.extra.mean < found.extra.high
    steps = [e.mean for e in found.extra_per_step]
    assert sum(steps) == pytest.approx(found.extra.mean)
    first = expected_progeny(n, 1.0)
    assert steps[0] == pytest.approx(first, abs=4 * error)
    assert sum(b.extra.mean for b in found.basins) == pytest.approx(found.extra.mean, rel=1e-9)
    assert found.extra_per_cell.sum() == pytest.approx(found.extra.mean, rel=1e-9)
    assert found.exact


@pytest.mark.slow
def test_twice_as_many_posts_bring_twice_as_many() -> None:
    one, two = (ask(planted(), past(), n=n, simulations=250).extra.mean for n in (32, 64))
    assert two == pytest.approx(2 * one, rel=0.1)


@pytest.mark.slow
@pytest.mark.parametrize("cls", [Hawkes, BasinRates, HawkesRegions, DecayingKDE])
def test_no_posts_bring_nothing(cls: type[IntensityModel]) -> None:
    found = ask(fitted(cls), world(), at=30.0, n=0, simulations=20)
    assert (found.extra.mean, found.extra.low, found.extra.high) == (0, 0, 0)
    assert not found.extra_per_cell.any()
    for basin in found.basins:
        assert basin.continuation_with == basin.continuation_without
        assert basin.share_change.mean == 0


@pytest.mark.parametrize("cls", [Uniform, HistoricalAverage])
def test_models_without_excitation_say_so(cls: type[IntensityModel]) -> None:
    found = ask(fitted(cls), world(), at=30.0, n=30, simulations=30)
    assert (found.extra.mean, found.extra.low, found.extra.high) == (0, 0, 0)
    assert "has no excitation" in " ".join(found.lines())


@pytest.mark.slow
@pytest.mark.parametrize("cls", [Hawkes, BasinRates, HawkesRegions, DecayingKDE])
def test_the_same_seed_says_the_same_in_json_and_in_words(cls: type[IntensityModel]) -> None:
    first, second = (ask(fitted(cls), world(), at=30.0, simulations=20) for _ in range(2))
    assert json.dumps(first.to_json_dict(), allow_nan=False) == json.dumps(second.to_json_dict(), allow_nan=False)
    assert first.lines() == second.lines()
    other = ask(fitted(cls), world(), at=30.0, simulations=20, rng=4)
    assert other.to_json_dict() != first.to_json_dict()


@pytest.mark.slow
@pytest.mark.parametrize("cls", [Hawkes, BasinRates, HawkesRegions, DecayingKDE])
def test_nothing_from_the_date_on_is_looked_at(cls: type[IntensityModel]) -> None:
    whole, known = (ask(fitted(cls), e, at=25.0, simulations=20) for e in (world(), world().before(25.0)))
    assert whole.to_json_dict() == known.to_json_dict()


@pytest.mark.parametrize("model", [planted(), halves()], ids=["hawkes", "regions"])
def test_progeny_descends_from_its_parents_alone_and_knows_them(model: IntensityModel) -> None:
    assert isinstance(model, Branching)
    window, n = Window(0, 5), 500
    t = np.full(n, -1e-9)
    parents = Events(t, np.where(np.arange(n)[:, None] % 2 == 0, [[0.25, 0.5]], [[0.75, 0.5]]))
    born, root = model.progeny(window, parents, past(), np.random.default_rng(0))
    assert len(born) == pytest.approx(expected_progeny(n, 5.0), rel=0.2)
    assert ((root >= 0) & (root < n)).all()
    assert ((born.x[:, 0] > 0.5) == (root % 2 == 1)).mean() > 0.97  # children stay on their parent's side
    assert not len(model.progeny(window, parents.take([]), past(), np.random.default_rng(0))[0])


def test_posts_of_more_weight_bring_more_where_productivity_follows_a_mark() -> None:
    model = Hawkes(
        domain=BOX,
        productivity="likes",
        uniform_rate=MU,
        decays=np.array([BETA]),
        bandwidths=np.array([0.05]),
        exponents=np.ones(1),
        coefficients=np.array([0.2]),
        mean_productivity=np.ones(1),
        mark_mean=math.log(4),
    )
    light, heavy = (ask(model, world(), at=30.0, n=20, weight=w).extra.mean for w in (0.0, 15.0))
    assert heavy == pytest.approx(16 * light, rel=0.35)  # productivity is (1 + likes)/4


def test_a_fledgling_needs_a_number_of_posts_and_with_them_continues() -> None:
    model, memberships = halves(), np.eye(2)
    cells = model.partition
    quiet = ask(model, past(0.9), place=(0.75, 0.5), n=0, steps=2, simulations=20)
    assert quiet.fledgling == 1
    recent = past(0.9).take(past(0.9).x[:, 0] < 0.5)  # nothing in the upper half, ever
    silent = HawkesRegions(
        **{f: getattr(model, f) for f in ("domain", "membership", "cell_shape", "place_bandwidths", "place_shares")},
        rates=np.array([4.0, 0.0]),
        decays=model.decays,
        excitation=model.excitation,
        spill=model.spill,
    )
    found = ask(silent, recent, place=(0.75, 0.5), n=20, p=0.2, partition=cells, memberships=memberships)
    basin = found.basins[1]
    assert basin.continuation_without.mean == 0
    assert basin.share_before == 0
    assert 0.1 < basin.reference < 0.6  # its share in the first step with the posts, not one post
    assert found.needed is not None
    assert found.needed_low is not None
    assert found.needed_high is None or found.needed <= found.needed_high
    assert found.needed_low <= found.needed
    assert (basin.continuation_with.mean >= 0.2) == (found.needed <= 20)
    assert f"with {found.needed} added posts ({found.needed_low} to " in found.lines()[-1]


def test_more_posts_never_bring_fewer() -> None:
    """The progeny of the first posts is the same whatever their number."""
    extras = [ask(halves(), past(), n=n, simulations=20).extra for n in range(30, 37)]  # across the edge of a block
    assert [e.mean for e in extras] == sorted(e.mean for e in extras)
    assert [e.high for e in extras] == sorted(e.high for e in extras)


def test_shares_are_compared_with_those_of_the_time_before_that_was_asked_for() -> None:
    history = Events(np.array([-9.0, -8.0, -1.5, -1.0]), np.array([[0.75, 0.5], [0.75, 0.5], [0.2, 0.5], [0.75, 0.5]]))
    shares = [
        ask(halves(), history, simulations=20, **given).basins[1].share_before for given in ({}, {"before": -10.0})
    ]
    assert shares == [0.5, 0.75]


def test_it_says_where_extra_posts_fall() -> None:
    cells = Partition.of_grid(Grid(BOX, (4, 1)))
    memberships = np.array([[1.0, 0, 0, 0], [0, 0, 1.0, 0]])
    found = ask(halves(), past(), n=40, partition=cells, memberships=memberships)
    where = found.to_json_dict()["where"]
    assert where["at_place"] + where["other_regions"] + where["elsewhere"] == pytest.approx(found.extra.mean)
    assert where["at_place"] > 0.8 * found.extra.mean
    assert where["densest"][0]["centre"] == [0.125, 0.5]
    assert "fall in the region at that place" in found.lines()[1]
    assert "most around (0.125, 0.5)" in found.lines()[1]


def test_it_claims_an_association_and_no_effect() -> None:
    found = ask(planted(), past(), n=40, simulations=20)
    claim = "if posts beget posts as the model says: association, not effect"
    assert found.lines()[0].endswith(claim)
    assert found.to_json_dict()["cautions"] == [claim]


@pytest.mark.slow
@pytest.mark.parametrize(("ratio", "doubtful"), [(0.79, False), (0.8, True), (0.95, True)])
def test_it_doubts_a_branching_ratio_from_08_on(ratio: float, doubtful: bool) -> None:
    found = dataclasses.replace(ask(planted(), past(), n=40, simulations=20), branching_ratio=ratio)
    assert ("these numbers are too large" in found.lines()[-1]) == doubtful
    assert len(found.cautions) == 1 + doubtful


def test_what_always_happened_in_a_few_simulations_is_not_certain() -> None:
    always, never = (Estimate.of_chance(np.full(20, value)) for value in (True, False))
    assert (always.mean, always.high) == (1, 1)
    assert always.low == pytest.approx(0.839, abs=1e-3)  # 20 of 20 by Wilson
    change = Estimate.of_difference(always, never)
    assert change.mean == change.high == 1
    assert 0.7 < change.low < 0.85


def test_where_no_number_suffices_it_says_so() -> None:
    quarters, crowded = np.eye(4), past(1.0)
    cells = Partition.of_grid(Grid(BOX, (4, 1)))  # all posts were in a quarter, where a uniform model puts one in four
    found = ask(fitted(Uniform), crowded, place=(0.24, 0.5), simulations=20, partition=cells, memberships=quarters)
    assert found.needed is None
    assert found.searched > 0
    assert "no number of added posts up to" in found.lines()[-1]


def test_outside_all_regions_nothing_can_continue() -> None:
    cells = Partition.of_grid(Grid(BOX, (2, 1)))
    found = ask(planted(), past(), partition=cells, memberships=np.array([[0.0, 1.0]]), simulations=20)
    assert found.fledgling == -1
    assert found.needed is None
    assert "lies in no region" in found.lines()[-1]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"place": (2.0, 0.5)}, "inside the domain"),
        ({"place": (0.5,)}, "2 coordinates"),
        ({"n": -1}, "must be ≥ 0"),
        ({"weight": float("nan")}, "must be ≥ 0"),
        ({"steps": 0}, "steps ≥ 1"),
        ({"before": 0.0}, "an earlier start"),
        ({"step": 0.0}, "longer than 0 days"),
        ({"p": 1.0}, "between 0 and 1"),
        ({"simulations": 1}, "simulations must be ≥ 2"),
        ({"n": 10**6}, "too many at once"),
        ({"memberships": np.eye(2)}, "both the partition and the memberships"),
    ],
)
def test_what_cannot_be_asked_is_refused_in_one_line(given: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        ask(planted(), past(), **given)
    assert "\n" not in str(caught.value)
