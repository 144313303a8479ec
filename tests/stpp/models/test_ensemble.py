"""The ensemble: weights that find the truth, scores never below the best member's, and plain sums of members."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stpp.domain import Array, Box, Grid
from stpp.events import Events, Window
from stpp.intensity import AnyForecast, PointForecast
from stpp.models import DecayingKDE, Hawkes, HistoricalAverage, Uniform, make_models
from stpp.models.ensemble import LEAST_EVENTS, Ensemble, log_score, stack
from stpp.models.stored import load_model

UNIT = Box((0.0, 0.0), (1.0, 1.0))
SPAN, NEXT = Window(0, 30), Window(30, 31)
GRID = Grid.over(UNIT, 20)
TRIO = ("uniform", "historical-average", "decaying-kde")


def ensemble(members: tuple[str, ...] = TRIO, horizon: float | None = None, **options: object) -> Ensemble:
    made = make_models(["ensemble"], UNIT, horizon, options={"members": members, **options})["ensemble"]
    assert isinstance(made, Ensemble)
    return made


@cache
def scene(even: float = 0.0, step: float = 0.0, n: int = 600, d: int = 2) -> Events:
    """Events over 31 days at a Gaussian blob that moves ``step`` a day, a share ``even`` of them anywhere instead."""
    rng = np.random.default_rng(1)
    t = np.sort(rng.uniform(0, 31, n))
    x = 0.3 + step * t[:, None] + 0.05 * rng.normal(size=(n, d))
    anywhere = rng.uniform(size=n) < even
    x[anywhere] = rng.uniform(size=(int(anywhere.sum()), d))
    return Events(t, x.clip(0, 1), rng.gamma(2, 0.5, n))


@cache
def fitted(members: tuple[str, ...] = TRIO, even: float = 0.3, step: float = 0.01) -> Ensemble:
    return ensemble(members).fit(scene(even, step), SPAN)


def reported(model: Ensemble, name: str) -> float:
    assert model.result is not None
    return model.result.parameters[name].value


# -- the weights ---------------------------------------------------------------------------------------------------


def drawn(shares: Array, n: int, seed: int) -> tuple[Array, Array, Array]:
    """What members say of events of two kinds of place, drawn from the convex combination by ``shares`` of the members.

    The box is halved; member m holds probability p_m of the left half, its relative density there being 2 p_m.
    """
    rng = np.random.default_rng(seed)
    left = np.array([0.9, 0.2])
    place = rng.uniform(size=n) < shares @ left
    density = 2 * np.where(place[:, None], left, 1 - left)
    return density, np.ones((n, 2)), np.ones(n)


def test_weights_by_hand() -> None:
    """80 events on the left, 20 on the right: the best mixture of p = 0.9 and p = 0.2 has p = 0.8, so w = (6/7, 1/7).

    Its score is 0.8 ln 1.6 + 0.2 ln 0.4 nats per event.
    """
    place = np.arange(100) < 80
    density = 2 * np.where(place[:, None], [0.9, 0.2], [0.1, 0.8])
    weights, converged = stack(density, np.ones((100, 2)), np.ones(100))
    assert converged
    np.testing.assert_allclose(weights, [6 / 7, 1 / 7], atol=1e-4)
    score = log_score(weights, density, np.ones((100, 2)), np.ones(100))
    assert score == pytest.approx(0.8 * np.log(1.6) + 0.2 * np.log(0.4))


def test_a_member_that_expects_twice_as_many_events_needs_half_the_weight() -> None:
    """λ is what is summed: 6/7 : 1/7 of the density is w·1 : (1 − w)·2, so w = 12/13."""
    place = np.arange(100) < 80
    density = 2 * np.where(place[:, None], [0.9, 0.2], [0.1, 0.8])
    weights, _ = stack(density, np.tile([1.0, 2.0], (100, 1)), np.ones(100))
    np.testing.assert_allclose(weights, [12 / 13, 1 / 13], atol=1e-4)


def test_an_events_importance_counts_as_so_many_events() -> None:
    density = 2 * np.array([[0.9, 0.2], [0.1, 0.8]])
    weights, _ = stack(density, np.ones((2, 2)), np.array([8.0, 2.0]))
    np.testing.assert_allclose(weights, [6 / 7, 1 / 7], atol=1e-4)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.5, 1.0])
def test_the_shares_of_a_planted_mixture_are_recovered(share: float) -> None:
    weights, _ = stack(*drawn(np.array([share, 1 - share]), 40_000, seed=3))
    assert weights[0] == pytest.approx(share, abs=0.02)  # standard error 0.004 in p, over 0.7


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.integers(0, 10_000), st.integers(1, 5), st.integers(1, 60))
def test_the_stacked_score_is_never_below_that_of_a_member_or_an_equal_share(seed: int, members: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    density = rng.gamma(0.5, 2, (n, members)) + 1e-4
    totals = np.repeat(rng.gamma(5, 1, (-(-n // 10), members)), 10, axis=0)[:n]
    weight = rng.gamma(1, 1, n)
    weights, _ = stack(density, totals, weight)
    assert weights.sum() == pytest.approx(1)
    assert (weights >= 0).all()
    best = log_score(weights, density, totals, weight)
    assert all(best >= log_score(one, density, totals, weight) for one in np.eye(members))
    # a stationary point: no small step towards any member raises the score by more than the tolerance
    for one in np.eye(members):
        assert log_score(0.99 * weights + 0.01 * one, density, totals, weight) <= best + 1e-6


def test_of_equal_members_the_first_has_the_weight_of_all() -> None:
    density, totals, weight = drawn(np.array([0.5, 0.5]), 500, seed=0)
    twice = np.concatenate([density, (1 + 1e-12) * density[:, :1]], axis=1)
    (weights, _), (alone, _) = stack(twice, np.ones((500, 3)), weight), stack(density, totals, weight)
    np.testing.assert_array_equal(weights, [*alone, 0.0])


# -- the fit -------------------------------------------------------------------------------------------------------


def test_the_model_that_the_world_follows_gets_the_weight() -> None:
    model = fitted(("uniform", "historical-average"), 0.0, 0.0)
    assert reported(model, "weight of historical-average") > 0.95
    assert reported(model, "added by historical-average") > 1
    assert reported(model, "added by uniform") < 0.01


def test_where_there_is_nothing_to_know_nothing_is_gained() -> None:
    model = fitted(("uniform", "historical-average"), 1.0, 0.0)
    assert abs(reported(model, "predictive log score per event")) < 0.02
    assert reported(model, "added by historical-average") < 0.02


def test_fading_memory_is_preferred_where_the_blob_moves() -> None:
    model = fitted(("historical-average", "decaying-kde"), 0.0, 0.02)
    assert reported(model, "weight of decaying-kde") > 0.95
    assert reported(model, "added by decaying-kde") > 0.1


def test_the_result_tells_what_the_combination_gains() -> None:
    model = fitted()
    weights = [reported(model, f"weight of {name}") for name in TRIO]
    np.testing.assert_array_equal(weights, model.weights)
    assert sum(weights) == pytest.approx(1)
    assert reported(model, "events that the weights are learned from") == pytest.approx(600 / 31 * 30 / 3, rel=0.1)
    assert reported(model, "predictive log score per event") > 0.5
    alone = [name for name in TRIO if f"gain over {name} alone" in model.result.parameters]  # type: ignore[union-attr]
    assert len(alone) == 1
    assert reported(model, f"gain over {alone[0]} alone") >= 0
    assert all(reported(model, f"added by {name}") >= 0 for name in TRIO)


def test_the_reported_score_is_that_of_rolling_forecasts_over_the_last_third() -> None:
    """Done by hand with the models' own interface, as a backtest would."""
    events, model = scene(0.3, 0.01), fitted()
    past = events.before(30)
    start = float(past.t[2 * len(past) // 3])
    first = past.before(start)
    early = [cls(domain=UNIT).fit(first, Window(0, start)) for cls in (Uniform, HistoricalAverage, DecayingKDE)]
    logs, grid = 0.0, Grid.over(UNIT, 100)
    for window in [Window(s, s + 1) for s in np.arange(start, 30)]:
        seen = past.between(window)
        counts = sum(w * m.forecast(window, past, grid).counts for w, m in zip(model.weights, early, strict=True))
        g = counts.ravel()[grid.index(seen.x)] / counts.mean()
        logs += float(seen.weight @ np.log(g))
    expected = logs / past.weight[len(first) :].sum()
    assert reported(model, "predictive log score per event") == pytest.approx(expected, rel=1e-6)


def test_permuted_members_get_permuted_weights() -> None:
    turned = fitted(TRIO[::-1])
    np.testing.assert_allclose(turned.weights[::-1], fitted().weights, atol=1e-3)
    ours, theirs = (m.forecast(NEXT, scene(0.3, 0.01), GRID) for m in (fitted(), turned))
    np.testing.assert_allclose(ours.relative_at(GRID.points()), theirs.relative_at(GRID.points()), rtol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("members", [("hawkes",), ("hawkes", "hawkes")])
def test_one_member_is_that_member(members: tuple[str, ...]) -> None:
    events = scene(0.3, 0.01)
    model, alone = fitted(members), Hawkes(domain=UNIT).fit(events, SPAN)
    assert reported(model, "weight of hawkes") == pytest.approx(1, abs=1e-12)
    assert "added by hawkes" not in model.result.parameters  # type: ignore[union-attr]
    assert model.remark == "weighs hawkes 1.00"
    assert Ensemble(domain=UNIT).remark == ""
    ours, theirs = model.forecast(NEXT, events, GRID), alone.forecast(NEXT, events, GRID)
    np.testing.assert_allclose(ours.counts, theirs.counts, rtol=1e-12)  # type: ignore[union-attr]
    assert model.result is not None
    assert alone.result is not None
    assert model.result.log_likelihood == pytest.approx(alone.result.log_likelihood, rel=1e-12)
    assert model.result.branching_ratio == pytest.approx(alone.result.branching_ratio)
    draws = [m.simulate(NEXT, events, np.random.default_rng(2)) for m in (model, alone)]
    np.testing.assert_array_equal(draws[0].t, draws[1].t)
    np.testing.assert_array_equal(draws[0].x, draws[1].x)


@pytest.mark.slow
def test_nothing_from_the_end_of_the_window_on_is_looked_at() -> None:
    events, rng = scene(0.3, 0.01), np.random.default_rng(0)
    past, later = events.before(30), len(events) - len(events.before(30))
    other = past.then(Events(rng.uniform(30, 90, later), rng.uniform(size=(later, 2)), rng.uniform(5, 9, later)))
    for known in (other, past):
        again = ensemble(TRIO).fit(known, SPAN)
        np.testing.assert_array_equal(again.weights, fitted().weights)
        assert again.result is not None
        assert again.result.parameters == fitted().result.parameters  # type: ignore[union-attr]


def test_the_last_third_teaches_weights_but_no_member_that_forecasts_it() -> None:
    """Where the last third lies elsewhere, members fitted to the first two cannot know, and even is best."""
    events = scene(0.0, 0.0)
    past = events.before(30)
    cut = 2 * len(past) // 3
    moved = replace(past, x=np.concatenate([past.x[:cut], 1 - past.x[cut:]]))
    model = ensemble(("uniform", "historical-average"), horizon=30.0).fit(moved, SPAN)
    assert reported(model, "weight of uniform") > 0.95
    assert reported(model, "predictive log score per event") < 0.05


@pytest.mark.parametrize("n", [2, 3 * LEAST_EVENTS - 3])
def test_with_few_events_all_weights_are_equal(n: int) -> None:
    model = ensemble(TRIO).fit(scene().rows(0, n), SPAN)
    np.testing.assert_array_equal(model.weights, np.full(3, 1 / 3))
    assert model.result is not None
    assert set(model.result.parameters) == {f"weight of {name}" for name in TRIO}


def test_events_all_at_one_time_say_nothing_about_forecasts() -> None:
    together = replace(scene(), t=np.full(600, 12.0))
    model = ensemble(TRIO).fit(together, SPAN)
    np.testing.assert_array_equal(model.weights, np.full(3, 1 / 3))


def test_events_before_the_window_are_history_and_teach_no_weights() -> None:
    model = ensemble(TRIO).fit(scene(0.3, 0.01), Window(15, 30))
    assert reported(model, "events that the weights are learned from") == pytest.approx(600 / 31 * 15 / 3, rel=0.2)
    assert model.result is not None
    assert model.result.n_events == len(scene(0.3, 0.01).between(Window(15, 30)))


def test_at_most_so_many_windows_teach_weights_evenly_over_the_last_third(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stpp.models.ensemble.MAX_WINDOWS", 5)
    events = scene(0.3, 0.01)
    model = ensemble(("uniform", "historical-average")).fit(events, SPAN)
    past = events.before(30)
    start = float(past.t[2 * len(past) // 3])
    starts = start + np.arange(np.ceil(30 - start))
    kept = starts[np.linspace(0, len(starts) - 1, 5).astype(int)]
    inside = sum(len(past.between(Window(s, s + 1))) for s in kept)
    assert reported(model, "events that the weights are learned from") == inside


def test_without_any_importance_all_events_count_the_same() -> None:
    events = scene(0.3, 0.01)
    judged = [ensemble(("uniform",)).fit(replace(events, weight=np.full(600, w)), SPAN).result for w in (0.0, 1.0)]
    assert judged[0].parameters == judged[1].parameters  # type: ignore[union-attr]


def test_members_take_the_options_that_they_have() -> None:
    model = ensemble(("uniform", "hawkes"), kernel="exponential")
    fit = model.fit(scene(0.3, 0.01), SPAN)
    assert [m.name for m in fit.models] == ["uniform", "hawkes"]
    assert isinstance(fit.models[1], Hawkes)
    assert fit.models[1].kernel == "exponential"
    with pytest.raises(ValueError, match=r"--colour does not apply to ensemble, uniform"):
        ensemble(("uniform",), colour=1)


def test_the_horizon_reaches_the_members() -> None:
    model = ensemble(TRIO, horizon=3.0).fit(scene(0.3, 0.01), SPAN)
    assert [getattr(m, "horizon", None) for m in model.models] == [None, 3.0, 3.0]


def test_bad_members_are_refused_in_one_line() -> None:
    with pytest.raises(ValueError, match=r"no model 'oracle'; there are: uniform"):
        ensemble(("oracle",)).fit(scene(), SPAN)
    with pytest.raises(ValueError, match="at least one member"):
        Ensemble(domain=UNIT, members=())
    with pytest.raises(ValueError, match="no events between day 50 and 60"):
        ensemble(TRIO).fit(scene(), Window(50, 60))


# -- the interface -------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_everything_is_the_weighted_sum_of_the_members() -> None:
    events = scene(0.3, 0.01)
    model = replace(fitted(("uniform", "decaying-kde", "hawkes")), weights=np.array([0.2, 0.3, 0.5]))

    def summed(parts: list[Array]) -> Array:
        return np.asarray(sum(w * part for w, part in zip((0.2, 0.3, 0.5), parts, strict=True)))

    t, x = events.t[200:260], events.x[200:260]
    window, models = Window(20, 22), model.models
    np.testing.assert_allclose(model.intensity(t, x, events), summed([m.intensity(t, x, events) for m in models]))
    np.testing.assert_allclose(
        model.compensator(window, events, GRID), summed([m.compensator(window, events, GRID) for m in models])
    )
    increments = [m.compensator_increments(window, events) for m in models]
    np.testing.assert_allclose(model.compensator_increments(window, events), summed(increments))
    total = summed([np.array(m.total_compensator(window, events)) for m in models])
    assert model.total_compensator(window, events) == pytest.approx(float(total))
    counts = summed([m.forecast(window, events, GRID).counts for m in models])  # type: ignore[union-attr]
    forecast = model.forecast(window, events, GRID)
    floored = (1 - model.floor) * counts + model.floor * counts.mean()
    np.testing.assert_allclose(forecast.counts, floored)  # type: ignore[union-attr]
    assert all(m.floor == 0 for m in models)


def test_members_without_weight_cost_nothing_and_change_nothing() -> None:
    events, model = scene(0.3, 0.01), fitted()
    less = replace(model, weights=np.array([0.0, 1.0, 0.0]))
    assert [m.name for _, m in less.parts] == ["historical-average"]
    alone = replace(less, models=less.models[1:2], weights=np.ones(1))
    draws = [m.simulate(NEXT, events, np.random.default_rng(0)).x for m in (less, alone)]
    np.testing.assert_array_equal(*draws)


def test_simulated_counts_have_the_mean_of_the_forecast_though_members_disagree() -> None:
    """One member expects 30 events a day, the other 90: 60 by equal weights, Poisson since neither reacts to any."""
    models = tuple(Uniform(domain=UNIT, rate=rate, floor=0.0) for rate in (30.0, 90.0))
    model = Ensemble(domain=UNIT, members=("uniform", "uniform"), models=models, weights=np.array([0.5, 0.5]))
    history, rng = scene(), np.random.default_rng(1)
    assert model.forecast(NEXT, history, GRID).total == pytest.approx(60)
    sizes = np.array([len(model.simulate(NEXT, history, rng)) for _ in range(2_000)])
    assert sizes.mean() == pytest.approx(60, abs=4 * np.sqrt(60 / 2_000))
    assert sizes.var() == pytest.approx(60, rel=4 * np.sqrt(2 / 2_000))  # a draw of one member would have 960


def test_above_three_dimensions_densities_are_mixed_by_expected_counts() -> None:
    events = scene(0.3, 0.0, d=4)
    box = Box((0.0,) * 4, (1.0,) * 4)
    made = make_models(["ensemble"], box, options={"members": ("uniform", "historical-average")})["ensemble"]
    model = made.fit(events, SPAN)
    assert 0.2 < reported(model, "weight of uniform") + reported(model, "weight of historical-average") <= 1 + 1e-12
    model = replace(model, weights=np.array([0.25, 0.75]))
    forecast = model.forecast(NEXT, events, None)
    assert isinstance(forecast, PointForecast)
    apart = [m.forecast(NEXT, events, None) for m in model.models]
    expected = np.array([0.25 * apart[0].total, 0.75 * apart[1].total])
    assert forecast.total == pytest.approx(expected.sum())
    x = np.random.default_rng(0).uniform(size=(50, 4))
    mixed = expected @ [f.relative_at(x) for f in apart] / expected.sum()
    np.testing.assert_allclose(forecast.relative_at(x), (1 - model.floor) * mixed + model.floor)

    def near(f: AnyForecast) -> float:
        assert isinstance(f, PointForecast)
        return float((np.abs(f.draw_raw(4_000, np.random.default_rng(1)) - 0.3).max(axis=1) < 0.25).mean())

    assert near(forecast) == pytest.approx(expected @ [near(f) for f in apart] / expected.sum(), abs=0.04)


# -- saving --------------------------------------------------------------------------------------------------------


def test_members_come_back_from_the_same_two_files(tmp_path: Path) -> None:
    events, model = scene(0.3, 0.01), fitted(("uniform", "decaying-kde", "hawkes"))
    model.save(tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == {"model.json", "model.npz"}
    back = load_model(tmp_path)
    assert isinstance(back, Ensemble)
    assert back.members == model.members
    assert [type(m) for m in back.models] == [Uniform, DecayingKDE, Hawkes]
    np.testing.assert_array_equal(back.weights, model.weights)
    for ours, theirs in zip(model.models, back.models, strict=True):
        assert ours.domain == theirs.domain
        assert theirs.result is not None
        assert theirs.result.parameters == ours.result.parameters  # type: ignore[union-attr]
    ours, theirs = (m.forecast(NEXT, events, GRID) for m in (model, back))
    np.testing.assert_array_equal(ours.counts, theirs.counts)  # type: ignore[union-attr]


def test_an_ensemble_can_be_a_member(tmp_path: Path) -> None:
    inner, blank = fitted(), Ensemble(domain=UNIT, members=("ensemble", "uniform"))
    outer = replace(
        blank, models=(replace(inner, floor=0.0), Uniform(domain=UNIT, rate=5.0)), weights=np.array([0.4, 0.6])
    )
    outer.save(tmp_path)
    back = load_model(tmp_path)
    t, x = np.full(9, 30.0), GRID.points()[:9]
    np.testing.assert_array_equal(back.intensity(t, x, scene()), outer.intensity(t, x, scene()))


def test_an_unfitted_ensemble_is_saved_too(tmp_path: Path) -> None:
    ensemble(("uniform", "hawkes"), kernel="exponential").save(tmp_path)
    back = load_model(tmp_path)
    assert isinstance(back, Ensemble)
    assert (back.members, len(back.weights)) == (("uniform", "hawkes"), 0)
    assert [getattr(model, "kernel", None) for model in back.models] == [None, "exponential"]


def test_an_ensemble_of_an_older_release_still_opens(tmp_path: Path) -> None:
    fitted().save(tmp_path)
    path = tmp_path / "model.json"
    stored = json.loads(path.read_text())
    stored["parameters"]["options"] = {"kernel": "exponential"}  # which it kept for members that it made itself
    path.write_text(json.dumps(stored))
    assert load_model(tmp_path).members == TRIO  # type: ignore[attr-defined]


def test_without_its_members_it_cannot_be_fitted() -> None:
    with pytest.raises(ValueError, match="made with its members"):
        Ensemble(domain=UNIT, members=TRIO).fit(scene(), SPAN)


@pytest.mark.parametrize("harm", ["a member of an unknown model", "a member without a box", "a member's array lost"])
def test_a_damaged_member_is_refused_in_one_line(harm: str, tmp_path: Path) -> None:
    fitted().save(tmp_path)
    path = tmp_path / "model.json"
    stored = json.loads(path.read_text())
    member = stored["parameters"]["models"][1]
    if harm == "a member of an unknown model":
        member["model"] = "oracle"
    elif harm == "a member without a box":
        del member["parameters"]["domain"]
    else:
        stored["arrays"].append("models.1.colours")
    path.write_text(json.dumps(stored))
    with pytest.raises(ValueError, match="is not a model that stpp can read") as caught:
        load_model(tmp_path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
