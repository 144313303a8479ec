"""Drift and transport: direction first, then that nothing is inert, that no signal is none, and what is learned."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest

from stpp.domain import Array, Box, Grid
from stpp.events import Events, Window
from stpp.flow.report import flow_facts
from stpp.models import DecayingKDE, DriftField, TransportFlow
from stpp.models.flow import FlowModel
from stpp.runs.fits import write_trials
from stpp.runs.flows import flows_of

pytestmark = pytest.mark.filterwarnings("error::RuntimeWarning")

both_models = pytest.mark.parametrize("model", [DriftField, TransportFlow])
SD = 0.06
NEXT = Window(16.0, 17.0)


def unit(d: int) -> Box:
    return Box((0.0,) * d, (1.0,) * d)


def blob(velocity: tuple[float, ...], n: int = 2500, days: float = 16.0, seed: int = 0) -> Events:
    """Posts around a place that moves and is in the middle of the box half-way."""
    d, rng = len(velocity), np.random.default_rng(seed)
    t = np.sort(rng.uniform(0, days, n))
    x = 0.5 + (t[:, None] - days / 2) * np.array(velocity) + rng.normal(0, SD, (n, d))
    return Events(t, np.clip(x, 0, 1))


def mover(model: type[FlowModel], d: int, **changes: Any) -> FlowModel:
    """A model all of which is carried, its parameters chosen and not learned."""
    values: dict[str, Any] = {
        "carried_share": 1.0,
        "carried_decay": 0.5,
        "carried_bandwidth": 0.04,
        "frame": 1.0,
        "history_window": 5,
        "snapshot_bandwidth": 0.04,
        "velocity_prior": 0.05,
        "growth_prior": 0.1,
        "drift_scale": 1.0,
        "growth_scale": 0.5,
        "rate": 100.0,
    }
    return model(domain=unit(d), **values | changes)


def centre(model: FlowModel, events: Events, window: Window = NEXT) -> Array:
    grid = Grid.over(unit(events.d), 60)
    shares = model.forecast(window, events, grid).counts.ravel()
    return np.asarray(shares @ grid.points() / shares.sum())


# -- direction -----------------------------------------------------------------------------------------------------


@both_models
@pytest.mark.parametrize(
    "velocity", [(0.03,), (-0.03,), (0.03, 0.0), (-0.03, 0.0), (0.0, 0.03), (0.0, -0.03), (0.02, -0.02)]
)
def test_what_moved_there_will_be_further_on(model: type[FlowModel], velocity: tuple[float, ...]) -> None:
    events, d = blob(velocity), len(velocity)
    decay = 1.0  # so that little is left of what is older than the history window, and stays
    where = 0.5 + 8.5 * np.array(velocity)  # in the middle of the window
    stays = centre(mover(model, d, drift_scale=0.0, carried_decay=decay), events)
    goes = centre(mover(model, d, velocity_prior=0.1, carried_decay=decay), events)
    pace = np.linalg.norm(velocity)
    along = np.array(velocity) / pace
    assert (where - stays) @ along > 0.5 * SD  # standing still is late by more than a day's motion
    assert (goes - stays) @ along > 0.5 * (where - stays) @ along
    np.testing.assert_allclose(goes, where, atol=0.3 * SD)
    flow = mover(model, d, velocity_prior=0.1).estimator.flow(events, 16.0)
    mean = [np.average(v, weights=flow.density) for v in flow.velocity]
    np.testing.assert_allclose(mean, velocity, atol=0.25 * pace)


@both_models
def test_most_of_the_mass_has_a_velocity(model: type[FlowModel]) -> None:
    """The prototype's was zero on 95 % of cells."""
    flow = mover(model, 2, velocity_prior=0.1).estimator.flow(blob((0.03, 0.0)), 16.0)
    busy = flow.density > 0.1 * flow.density.max()
    assert (flow.velocity[0][busy] > 0.01).mean() > 0.9


def growing() -> Events:
    """Two blobs that stay where they are: one steady, the other half as large again each day."""
    rng = np.random.default_rng(4)
    counts = np.rint(80 * 1.5 ** np.arange(6)).astype(int)
    parts = [(10 + k + rng.uniform(size=n), 0.7) for k, n in enumerate(counts)]
    parts += [(10 + k + rng.uniform(size=400), 0.3) for k in range(6)]
    t = np.concatenate([part for part, _ in parts])
    x = np.concatenate([rng.normal(place, SD, (len(part), 2)) for part, place in parts])
    return Events(t, np.clip(x, 0, 1))


@both_models
def test_growth_is_not_motion_and_is_forecast_as_growth(model: type[FlowModel]) -> None:
    events, grid = growing(), Grid.over(unit(2), 20)
    found = mover(model, 2, growth_prior=0.5, growth_scale=1.0, snapshot_bandwidth=0.05, carried_decay=0.2)
    flow = found.estimator.flow(events, 16.0)
    velocity, error, growth = flow.at(np.array([[0.7, 0.7], [0.3, 0.3]]))
    assert (np.abs(velocity).max(axis=1) < 3 * error + 0.005).all()
    assert growth[0] == pytest.approx(math.log(1.5), abs=0.15)
    assert abs(growth[1]) < 0.15
    assert flow_facts(flow, events, window=found.smoothness)["share_growing"] > 0.3

    def share(scale: float) -> float:
        counts = replace(found, growth_scale=scale).forecast(NEXT, events, grid).counts
        return float(counts[10:, 10:].sum() / counts.sum())

    truth = 80 * 1.5**6 / (80 * 1.5**6 + 400)
    now = 80 * 1.5**5 / (80 * 1.5**5 + 400)
    assert share(0.0) < now  # it looks back
    assert share(0.0) < share(0.5) < share(1.0)
    assert share(1.0) == pytest.approx(truth, abs=0.05)


# -- nothing is inert ----------------------------------------------------------------------------------------------

CHANGES: dict[str, Any] = {
    "carried_decay": 1.0,
    "carried_bandwidth": 0.05,
    "frame": 2.0,
    "history_window": 3,
    "snapshot_bandwidth": 0.06,
    "momentum": 0.6,
    "velocity_prior": 0.02,
    "growth_prior": 0.03,
    "drift_scale": 0.7,
    "growth_scale": 1.0,
    "diffusion": 0.001,
    "importance": 0.0,
    "horizon": 2.0,
}


@pytest.mark.parametrize(
    ("model", "name", "value"),
    [
        *((model, name, value) for model in (DriftField, TransportFlow) for name, value in CHANGES.items()),
        (DriftField, "smoothing", 2.0),
        (TransportFlow, "epsilon", 30.0),
        (TransportFlow, "unbalance", 10.0),
    ],
)
def test_no_parameter_is_inert(model: type[FlowModel], name: str, value: Any) -> None:
    events = blob((0.03, 0.01))
    events = replace(events, weight=np.random.default_rng(1).gamma(1, 1, len(events)))
    window, grid = Window(16.0, 16.0 + (value if name == "horizon" else 1.0)), Grid.over(unit(2), 30)
    density, changed = (
        one.forecast(window, events, grid).density for one in (mover(model, 2), mover(model, 2, **{name: value}))
    )
    if name == "horizon":  # of what is learned; a forecast knows its own length
        np.testing.assert_array_equal(changed, density)
        assert len(replace(mover(model, 2), horizon=2.0).carried.pieces(Window(0, 6))) == 3
        return
    assert np.abs(changed - density).max() > 2e-3 * density.max()


@both_models
def test_a_longer_forecast_carries_further(model: type[FlowModel]) -> None:
    events = blob((0.03, 0.0))
    found = mover(model, 2, velocity_prior=0.1)
    near, far = (centre(found, events, Window(16.0, 16.0 + days))[0] for days in (1.0, 5.0))
    assert far - near == pytest.approx(0.03 * 2, abs=0.03)


# -- without motion it is the decaying kernel density --------------------------------------------------------------


@both_models
@pytest.mark.parametrize("d", [1, 2])
def test_without_motion_it_is_a_decaying_kernel_density(model: type[FlowModel], d: int) -> None:
    """Integrals to 1e-10, forecasts to 1e-6 (each part sums to 1 by itself), places to the tolerance of the sums."""
    events, grid = blob((0.03, 0.01)[:d], n=600), Grid.over(unit(d), 20)
    events = replace(events, weight=np.random.default_rng(2).uniform(0.5, 2, len(events)))
    mixture = {"decays": np.array([0.1, 0.0]), "bandwidths": np.array([0.08, 0.2]), "shares": np.array([0.6, 0.3])}
    zero = {"drift_scale": 0.0, "growth_scale": 0.0, "diffusion": 0.0, "carried_share": 0.4, "rate_share": 0.3}
    still = mover(model, d, **mixture, **zero)
    plain = DecayingKDE(
        domain=unit(d),
        decays=np.array([0.1, 0.0, 0.5]),
        bandwidths=np.array([0.08, 0.2, 0.04]),
        shares=np.array([0.6 * 0.6, 0.6 * 0.3, 0.4]),
        rate=100.0,
        rate_share=0.3,
    )
    windows = [Window(start, start + 1) for start in (0.0, 3.0, 9.0, 16.0, 30.0)]
    for ours, theirs in zip(
        still.rolling_forecasts(events, windows, grid), plain.rolling_forecasts(events, windows, grid), strict=True
    ):
        np.testing.assert_allclose(ours.counts, theirs.counts, rtol=1e-6, atol=1e-6 * theirs.counts.max())
    window = Window(5.5, 9.2)
    wanted = plain.compensator(window, events, grid)
    np.testing.assert_allclose(still.compensator(window, events, grid), wanted, rtol=1e-10, atol=1e-10 * wanted.max())
    t, x = np.linspace(1, 20, 200), np.random.default_rng(3).uniform(size=(200, d))
    value = plain.intensity(t, x, events)
    np.testing.assert_allclose(still.intensity(t, x, events), value, rtol=1e-3, atol=1e-4 * value.max())
    likelihood = plain.log_likelihood(events, window)
    assert still.log_likelihood(events, window) == pytest.approx(likelihood, abs=1e-2)


# -- learning ------------------------------------------------------------------------------------------------------

LEARNING = Window(0.0, 20.0)


@cache
def noise(d: int, seed: int = 0) -> Events:
    """Posts around a place that stays, and everywhere."""
    rng, n = np.random.default_rng(seed), 500
    x = np.where(rng.uniform(size=(n, 1)) < 0.5, rng.normal(0.5, 0.1, (n, d)), rng.uniform(size=(n, d)))
    return Events(np.sort(rng.uniform(0, 26, n)), np.clip(x, 0, 1))


@cache
def learned(model: type[FlowModel], kind: str) -> tuple[FlowModel, Events]:
    events = noise(1) if kind == "noise" else blob((0.03,), n=2000, days=26.0)
    return model(domain=unit(1), trials=12).fit(events, LEARNING), events


def held_out(model: DecayingKDE, events: Events) -> Array:
    """(n,) log relative density of each post after the training, forecast a day ahead."""
    windows = [Window(20.0 + k, 21.0 + k) for k in range(6)]
    grid = Grid.over(unit(events.d), 100)
    forecasts = model.rolling_forecasts(events, windows, grid)
    return np.concatenate([np.log(one.relative_at(events.between(one.window).x)) for one in forecasts])


@pytest.mark.slow
@both_models
def test_no_signal_is_the_decaying_kernel_density(model: type[FlowModel]) -> None:
    found, events = learned(model, "noise")
    plain = DecayingKDE(domain=unit(1)).fit(events, LEARNING)
    assert found.carried_share == 0
    told = found.result.parameters
    assert told["share that is carried"].value == 0
    gain = told["gain of the flow in rehearsals"]
    assert gain.unit == "nats/event"
    assert -1e-9 < gain.value * len(events.before(20)) < 2 * len(found.tried_names)
    assert found.result.free_parameters == plain.result.free_parameters
    assert found.result.log_likelihood == plain.result.log_likelihood
    np.testing.assert_array_equal(held_out(found, events), held_out(plain, events))
    t, x = np.linspace(0, 25, 50), np.random.default_rng(0).uniform(size=(50, 1))
    np.testing.assert_array_equal(found.intensity(t, x, events), plain.intensity(t, x, events))


@pytest.mark.slow
@both_models
def test_a_planted_drift_is_found_and_forecast_better(model: type[FlowModel]) -> None:
    found, events = learned(model, "drift")
    plain = DecayingKDE(domain=unit(1)).fit(events, LEARNING)
    assert found.carried_share > 0.3
    assert found.drift_scale > 0.1
    better = held_out(found, events) - held_out(plain, events)
    assert better.mean() > 2 * better.std() / math.sqrt(len(better))
    assert found.result.free_parameters > plain.result.free_parameters + len(found.tried_names)
    table = found.trials_table()
    assert len(table) == 12
    assert len(table.columns) == len(found.tried_names) + 1
    assert table.columns[-1] == "nats_per_event"
    assert found.result.parameters["gain of the flow in rehearsals"].value == pytest.approx(
        table["nats_per_event"].max(), rel=1e-6
    )


@pytest.mark.slow
@both_models
def test_what_comes_after_the_training_window_changes_nothing_that_is_learned(model: type[FlowModel]) -> None:
    rng, events = np.random.default_rng(8), noise(1)
    late = events.t >= LEARNING.end
    x, weight = events.x.copy(), events.weight.copy()
    x[late], weight[late] = rng.uniform(size=(int(late.sum()), 1)), 7.0
    one, other = (
        model(domain=unit(1), trials=4).fit(known, LEARNING) for known in (events, replace(events, x=x, weight=weight))
    )
    np.testing.assert_array_equal(one.tried, other.tried)
    assert one.result.log_likelihood == other.result.log_likelihood
    assert one.result.parameters == other.result.parameters


def test_what_is_given_is_kept_and_not_searched() -> None:
    found = DriftField(domain=unit(1), trials=4, frame=0.5, history_window=7).fit(noise(1), LEARNING)
    assert (found.frame, found.history_window) == (0.5, 7)
    assert not {"frame", "history_window", "importance"} & set(found.tried_names)
    free = DriftField(domain=unit(1), trials=4).fit(noise(1), LEARNING)
    assert {"frame", "history_window"} <= set(free.tried_names)
    assert set(free.tried[:, free.tried_names.index("frame")]) <= {1.0, 2.0, 4.0, 8.0, 16.0}
    weighted = replace(noise(1), weight=np.random.default_rng(0).uniform(1, 2, 500))
    assert "importance" in DriftField(domain=unit(1), trials=2).fit(weighted, LEARNING).tried_names


@pytest.mark.parametrize("wrong", [{"frame": 0.0}, {"frame": -1.0}, {"history_window": 1}, {"history_window": -3}])
def test_a_flow_needs_frames(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"--frame longer than 0 and a --history-window of at least 2 frames"):
        DriftField(domain=unit(1), **wrong)


def test_only_two_scores_can_be_tuned_for() -> None:
    with pytest.raises(ValueError, match="--tune is log-score or fds, not 'auc'"):
        DriftField(domain=unit(1), tune="auc")


@pytest.mark.parametrize(
    "given", [{"history_window": 30}, {"history_window": 10, "frame": 3.0}, {"history_window": 10**9}]
)
def test_a_history_window_longer_than_the_data_is_refused_before_anything_is_learned(given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"is longer than the 20 days of data: shorten --frame or --history-window"):
        DriftField(domain=unit(1), **given).fit(noise(1), LEARNING)


def test_what_is_tuned_for_an_improper_score_says_so() -> None:
    found = DriftField(domain=unit(1), trials=3, tune="fds").fit(noise(1), LEARNING)
    assert "gain of the flow in rehearsals, chosen by FDS (improper)" in found.result.parameters
    assert "improper" in found.result.summary("drift")
    assert found.trials_table().columns[-1] == "fds"
    assert "improper" not in learned(DriftField, "noise")[0].result.summary("drift")


@both_models
def test_without_trials_there_is_a_flow_all_the_same_and_no_share_of_it(model: type[FlowModel]) -> None:
    events = blob((0.03,), n=2000, days=26.0)
    found = model(domain=unit(1), trials=0).fit(events, LEARNING)
    assert found.carried_share == 0
    assert len(found.trials_table()) == 0
    flow = found.estimator.flow(events, 20.0)
    assert np.average(flow.velocity[0], weights=flow.density) == pytest.approx(0.03, abs=0.015)


def test_seconds_may_end_the_search() -> None:
    found = DriftField(domain=unit(1), trials=10**6, tuning_seconds=0.5).fit(noise(1), LEARNING)
    assert 1 <= len(found.tried) < 10_000


@pytest.mark.slow
@both_models
@pytest.mark.parametrize("places", [0.3, 0.7, 0.1 + 0.2])
def test_posts_at_one_place_can_be_learned_from(model: type[FlowModel], places: float) -> None:
    events = Events(np.linspace(0, 19, 37), np.full((37, 2), places))
    found = model(domain=unit(2), trials=6).fit(events, LEARNING)
    grid = Grid.over(unit(2), 11)
    forecast = found.forecast(Window(20, 21), events, grid)
    assert np.isfinite(forecast.counts).all()
    assert forecast.counts.argmax() == grid.index(events.x[:1])[0]


@both_models
def test_posts_mostly_without_importance_can_be_learned_from(model: type[FlowModel]) -> None:
    events = noise(1)
    weight = np.zeros(len(events))
    weight[[0, 300]] = 2.0  # so that whole stages of a rehearsal weigh nothing
    found = model(domain=unit(1), trials=4).fit(replace(events, weight=weight), LEARNING)
    assert math.isfinite(found.result.log_likelihood)


@both_models
def test_far_from_all_posts_a_flow_is_finite(model: type[FlowModel]) -> None:
    """A snapshot of one far blob fades through the smallest floats there are to 0."""
    rng = np.random.default_rng(0)
    events = Events(np.sort(rng.uniform(0, 4, 300)), rng.normal(0.02, 0.003, (300, 2)).clip(0, 1))
    for bandwidth in (0.012, 0.0174, 0.03):
        for time in (2.0, 4.0, 6.0):
            flow = mover(model, 2, snapshot_bandwidth=bandwidth, frame=2.0).estimator.flow(events, time)
            for field in (flow.velocity, flow.velocity_error, flow.growth, flow.growth_error, flow.density):
                assert np.isfinite(field).all()


# -- flows of a fitted model ---------------------------------------------------------------------------------------


def test_flows_are_issued_at_every_horizon_until_the_end(tmp_path) -> None:
    found, events = learned(DriftField, "drift")
    flows, smoothness, title = flows_of(found, events, LEARNING)
    times = [flow.time for flow in flows]
    np.testing.assert_allclose(np.diff(times), 1.0)
    assert times[-1] == LEARNING.end
    reach = found.frame * found.history_window
    assert reach <= times[0] < reach + 1
    assert smoothness == found.smoothing * found.snapshot_bandwidth
    assert title.startswith(f"drift, {found.history_window} frames of ")
    later = replace(events, x=np.where(events.t[:, None] >= LEARNING.end, 0.01, events.x))
    for flow, again in zip(flows, flows_of(found, later, LEARNING)[0], strict=True):
        np.testing.assert_array_equal(flow.velocity, again.velocity)
    write_trials(tmp_path, found)
    assert len((tmp_path / "trials.csv").read_text().splitlines()) == 13
    (tmp_path / "none").mkdir()
    write_trials(tmp_path / "none", DecayingKDE(domain=unit(1)))
    assert not list((tmp_path / "none").iterdir())


def test_a_model_without_flow_says_which_have_one() -> None:
    events = noise(1)
    with pytest.raises(ValueError, match="'decaying-kde' has no flow: take drift or transport"):
        flows_of(DecayingKDE(domain=unit(1)).fit(events, LEARNING), events, LEARNING)
