"""Simulated events follow the law they claim: counts, delays, displacements, and planted truth."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from stpp.domain import Array, Box, Grid
from stpp.events import Events, Window
from stpp.ingest.readers import read_events
from stpp.intensity import IntensityModel
from stpp.kernels.triggering import TriggeringKernel
from stpp.simulation.branching import (
    BranchingSample,
    branching_ratio,
    family_size,
    immigrants_for,
    simulate_branching,
    simulate_hawkes,
)
from stpp.simulation.thinning import thinning
from stpp.simulation.worlds import NOISE, WORLDS, PlantedBasin, simulate_world, truth_path, write_truth

UNIT = Box((0.0, 0.0), (1.0, 1.0))
EMPTY = Events(np.empty(0), np.empty((0, 2)))


def digest(events: Events) -> str:
    marks = b"" if events.marks is None else str(events.marks.to_pydict()).encode()
    return hashlib.sha256(events.t.tobytes() + events.x.tobytes() + marks).hexdigest()


def uniform_immigrants(n: int, window: Window, box: Box, rng: np.random.Generator) -> tuple[Array, Array]:
    return rng.uniform(window.start, window.end, size=n), rng.uniform(box.low, box.high, size=(n, box.d))


# -- branching ------------------------------------------------------------------------------------------------


def test_mean_count_of_a_cluster_process() -> None:
    """Far from edges of space and time every immigrant brings 1/(1 − η) events."""
    window, box = Window(0.0, 400.0), Box((0.0,), (1000.0,))
    kernels = [(TriggeringKernel(2.0, 0.01), 0.3), (TriggeringKernel(5.0, 0.1), 0.4)]
    rng = np.random.default_rng(1)
    counts = []
    for _ in range(300):
        t, x = rng.uniform(0, 350, size=100), rng.uniform(5, 995, size=(100, 1))
        counts.append(len(simulate_branching(window, box, kernels, (t, x), None, None, rng).t))
    error = float(np.std(counts)) / math.sqrt(len(counts))
    assert np.mean(counts) == pytest.approx(100 / (1 - 0.7), abs=4 * error)


@pytest.mark.slow
@pytest.mark.parametrize(("branching", "bandwidth", "d", "duration"), [(0.6, 0.02, 2, 1000.0), (0.8, 0.2, 1, 30.0)])
def test_simulate_hawkes_draws_the_expected_number(branching: float, bandwidth: float, d: int, duration: float) -> None:
    """With events lost over the edges of the box and after the end."""
    counts = [len(simulate_hawkes(1000, seed, d, branching, 1.0, bandwidth, duration)[0]) for seed in range(300)]
    assert np.mean(counts) == pytest.approx(1000, abs=4 * float(np.std(counts)) / math.sqrt(len(counts)))


def test_family_size_with_and_without_edges() -> None:
    assert family_size(0.6, 1e-4, 2) == pytest.approx(2.5, rel=1e-3)
    assert 1 < family_size(0.6, 0.02, 2) < 2.5
    assert family_size(0.0, 0.02, 2) == 1.0


def test_delays_and_displacements_follow_their_kernels() -> None:
    window, box = Window(0.0, 100.0), Box((-5.0, -5.0), (5.0, 5.0))
    fast, slow = TriggeringKernel(20.0, 0.1), TriggeringKernel(1.0, 0.5)
    rng = np.random.default_rng(2)
    immigrants = rng.uniform(0, 60, size=4000), np.zeros((4000, 2))
    for kernel in (fast, slow):
        sample = simulate_branching(window, box, [(kernel, 0.5)], immigrants, None, None, rng)
        child = np.flatnonzero(sample.generation == 1)
        parent = sample.parent[child]
        delay = sample.t[child] - sample.t[parent]
        assert stats.kstest(delay, stats.expon(scale=1 / kernel.decay).cdf).pvalue > 1e-3
        for axis in range(2):
            displacement = (sample.x[child] - sample.x[parent])[:, axis]
            assert stats.kstest(displacement, stats.norm(scale=kernel.bandwidth).cdf).pvalue > 1e-3


def test_offspring_of_the_history_are_counted_from_the_start_of_the_window() -> None:
    """Of the offspring of an event a days before a window of b days, e^{−βa}(1 − e^{−βb}) fall in it."""
    window, box = Window(10.0, 11.0), Box((-5.0,), (5.0,))
    kernel, eta = TriggeringKernel(0.5, 0.3), 0.001  # so small that there are no grandchildren to speak of
    history = Events(np.array([4.0, 9.0]), np.array([[1.0], [-1.0]]))
    kappa = np.array([[4e5], [2e5]])
    none = np.empty(0), np.empty((0, 1))
    rng = np.random.default_rng(3)
    # eta * kappa = 400 and 200 direct offspring in all; theirs have productivity 1.
    samples = [
        simulate_branching(window, box, [(kernel, eta)], none, history, None, rng, history_productivity=kappa)
        for _ in range(200)
    ]
    for row, (t, offspring) in enumerate([(4.0, 400.0), (9.0, 200.0)]):
        expected = offspring * math.exp(-0.5 * (10 - t)) * (1 - math.exp(-0.5))
        counts = [int((s.history_parent == row).sum()) for s in samples]
        assert np.mean(counts) == pytest.approx(expected, abs=4 * math.sqrt(expected / 200))
        after_start = np.concatenate([s.t[s.history_parent == row] for s in samples]) - 10
        assert stats.kstest(after_start, stats.truncexpon(b=0.5, scale=2.0).cdf).pvalue > 1e-3
    assert all((s.parent[s.history_parent >= 0] == -1).all() for s in samples)


def test_events_inside_the_window_are_not_history() -> None:
    history = Events(np.array([5.0, 12.0]), np.full((2, 2), 0.5))
    sample = simulate_branching(
        Window(10.0, 20.0), UNIT, [(TriggeringKernel(0.1, 0.01), 0.9)], (np.empty(0), np.empty((0, 2))), history, None,
        np.random.default_rng(0), history_productivity=np.array([[0.0], [1e6]]),
    )  # fmt: skip
    assert len(sample.t) == 0


def test_each_kernel_has_its_own_productivity() -> None:
    """κ = (1, 3): 0.2 direct offspring by the narrow kernel, 0.3 by the wide one."""
    window, box = Window(0.0, 100.0), Box((0.0,), (1000.0,))
    kernels = [(TriggeringKernel(10.0, 1e-6), 0.2), (TriggeringKernel(10.0, 1.0), 0.1)]
    rng = np.random.default_rng(4)
    immigrants = rng.uniform(0, 90, size=20_000), rng.uniform(10, 990, size=(20_000, 1))
    sample = simulate_branching(window, box, kernels, immigrants, None, lambda n, _: np.tile([1.0, 3.0], (n, 1)), rng)
    child = np.flatnonzero(sample.parent >= 0)
    far = np.abs(sample.x[child] - sample.x[sample.parent[child]])[:, 0] > 1e-5
    assert far.mean() == pytest.approx(0.6, abs=4 * math.sqrt(0.24 / len(child)))
    assert len(sample.t) == pytest.approx(40_000, rel=0.03)
    assert sample.productivity.shape == (len(sample.t), 2)
    assert (sample.productivity == [1.0, 3.0]).all()


def test_infinite_bandwidth_drops_offspring_anywhere() -> None:
    window = Window(0.0, 50.0)
    immigrants = np.linspace(0, 30, 3000), np.full((3000, 2), 0.01)
    kernels = [(TriggeringKernel(5.0, math.inf), 0.5)]
    rng = np.random.default_rng(5)
    sample = simulate_branching(window, UNIT, kernels, immigrants, None, None, rng)
    assert stats.kstest(sample.x[sample.generation > 0, 0], "uniform").pvalue > 1e-3
    half = simulate_branching(
        window, UNIT, kernels, immigrants, None, None, rng, anywhere=lambda n, g: g.uniform(0.5, 1.0, size=(n, 2))
    )
    assert (half.x[half.generation > 0] >= 0.5).all()
    assert (half.generation > 0).sum() == pytest.approx(3000, abs=400)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(0, 60),
    d=st.integers(1, 4),
    start=st.floats(-1e4, 1e4),
    duration=st.floats(1e-3, 1e3),
    decay=st.floats(1e-3, 1e9),
    bandwidth=st.one_of(st.floats(1e-6, 10.0), st.just(math.inf)),
    eta=st.floats(0.0, 0.9),
)
def test_structure_of_any_sample(
    seed: int, n: int, d: int, start: float, duration: float, decay: float, bandwidth: float, eta: float
) -> None:
    """Inside window and box, sorted, parents strictly before children and one generation up; same seed, same bytes."""
    window, box = Window(start, start + duration), Box((0.0,) * d, (1.0,) * d)
    history = Events(np.array([start - 1.0]), np.full((1, d), 0.5))

    def draw() -> BranchingSample:
        rng = np.random.default_rng(seed)
        immigrants = uniform_immigrants(n, window, box, rng)
        return simulate_branching(
            window, box, [(TriggeringKernel(decay, bandwidth), eta)], immigrants, history, None, rng
        )

    sample = draw()
    assert (np.diff(sample.t) >= 0).all()
    assert ((sample.t >= window.start) & (sample.t < window.end)).all()
    assert box.contains(sample.x).all()
    child = np.flatnonzero(sample.parent >= 0)
    parent = sample.parent[child]
    assert (sample.t[parent] < sample.t[child]).all()
    assert (sample.generation[child] == sample.generation[parent] + 1).all()
    assert ((sample.generation == 0) == ((sample.parent < 0) & (sample.history_parent < 0))).all()
    assert (sample.generation == 0).sum() == n
    again = draw()
    assert sample.t.tobytes() + sample.x.tobytes() == again.t.tobytes() + again.x.tobytes()


def test_delays_below_the_resolution_of_time() -> None:
    """Rounded delays still put offspring strictly after their parents and before the end."""
    end = 1e4
    last = np.nextafter(end, 0)
    immigrants = np.repeat([end - 1, last], 200), np.full((400, 2), 0.5)
    kernels = [(TriggeringKernel(1e13, 0.01), 0.9)]
    sample = simulate_branching(Window(0.0, end), UNIT, kernels, immigrants, None, None, np.random.default_rng(0))
    child = sample.parent >= 0
    assert child.any()
    assert (sample.t[child] > sample.t[sample.parent[child]]).all()
    assert (sample.t[child] < end - 0.5).all()  # no room after the last instant


def test_supercritical_kernels_are_refused_with_their_ratio() -> None:
    immigrants = np.array([1.0]), np.array([[0.5, 0.5]])
    kernels = [(TriggeringKernel(1.0, 0.1), 0.7), (TriggeringKernel(1.0, 0.1), 0.5)]
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match=r"branching ratio is 1\.2"):
        simulate_branching(Window(0.0, 3.0), UNIT, kernels, immigrants, None, None, rng)
    sample = simulate_branching(Window(0.0, 3.0), UNIT, kernels, immigrants, None, None, rng, allow_supercritical=True)
    assert len(sample.t) >= 1
    assert branching_ratio(kernels, lambda n, g: g.exponential([1.0, 2.0], size=(n, 2))) == pytest.approx(1.7, rel=0.05)


def test_too_many_events_are_refused_before_they_fill_the_memory() -> None:
    immigrants = np.zeros(100), np.full((100, 2), 0.5)
    kernels = [(TriggeringKernel(10.0, 0.01), 5.0)]
    with pytest.raises(ValueError, match="max_events") as refused:
        simulate_branching(
            Window(0.0, 100.0), UNIT, kernels, immigrants, None, None, np.random.default_rng(0),
            allow_supercritical=True, max_events=10_000,
        )  # fmt: skip
    assert "\n" not in str(refused.value)


def test_bad_input_is_named() -> None:
    window, kernel, rng = Window(0.0, 1.0), TriggeringKernel(1.0, 0.1), np.random.default_rng(0)
    good = np.array([0.5]), np.array([[0.5, 0.5]])
    with pytest.raises(ValueError, match="inside the window"):
        simulate_branching(window, UNIT, [(kernel, 0.5)], (np.array([1.0]), good[1]), None, None, rng)
    with pytest.raises(ValueError, match="immigrants need"):
        simulate_branching(window, UNIT, [(kernel, 0.5)], (good[0], np.zeros((1, 3))), None, None, rng)
    with pytest.raises(ValueError, match="coefficients"):
        simulate_branching(window, UNIT, [(kernel, -0.5)], good, None, None, rng)
    with pytest.raises(ValueError, match="productivities"):
        simulate_branching(window, UNIT, [(kernel, 0.5)], good, None, lambda n, _: np.full((n, 1), -1.0), rng)
    with pytest.raises(ValueError, match="history_productivity"):
        simulate_branching(window, UNIT, [(kernel, 0.5)], good, EMPTY, None, rng, history_productivity=np.ones((2, 1)))
    with pytest.raises(ValueError, match="branching=1"):
        simulate_hawkes(100, 0, branching=1.0)


def test_simulate_hawkes_is_reproducible_and_says_its_truth() -> None:
    events, truth = simulate_hawkes(5000, seed=7)
    again, _ = simulate_hawkes(5000, seed=7)
    other, _ = simulate_hawkes(5000, seed=8)
    assert digest(events) == digest(again) != digest(other)
    assert (truth["branching"], truth["decay"], truth["bandwidth"]) == (0.6, 1.0, 0.02)
    assert len(truth["parent"]) == len(events)
    immigrants = (truth["parent"] == -1).sum()
    assert immigrants / 1000 == pytest.approx(truth["background_rate"], abs=4 * math.sqrt(immigrants) / 1000)
    lost = 1 - family_size(0.6, 0.02, 2) * (1 - 0.6)
    assert 0 < lost < 0.05  # few offspring leave the box
    assert 1 - immigrants / len(events) == pytest.approx(0.6, abs=0.03)


def test_immigrants_for_a_long_window_and_a_short_one() -> None:
    assert immigrants_for(1000, 0.6, 1.0, 1e9) == pytest.approx(400)
    assert immigrants_for(1000, 0.6, 1.0, 1e-6) == pytest.approx(1000)  # no time for offspring
    assert immigrants_for(1000, 0.0, 1.0, 10.0) == 1000


# -- thinning -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Toy(IntensityModel):
    """μ(1 + a·sin 2πt) + η β e^{−βτ} φ_h(r), summed over every pair."""

    name: ClassVar[str] = "toy"
    summary_line: ClassVar[str] = "for tests"

    mu: float = 10.0
    wave: float = 0.0
    eta: float = 0.0
    decay: float = 1.0
    bandwidth: float = 0.3

    def intensity(self, t: Array, x: Array, history: Events) -> Array:
        delay = t[:, None] - history.t
        square = ((x[:, None] - history.x) ** 2).sum(axis=2)
        pairs = np.exp(-self.decay * np.maximum(delay, 0) - 0.5 * square / self.bandwidth**2) * (delay > 0)
        scale = self.eta * self.decay / (2 * math.pi * self.bandwidth**2)
        return np.asarray(self.mu * (1 + self.wave * np.sin(2 * math.pi * t)) + scale * pairs.sum(axis=1))

    def fit(self, events: Events, window: Window) -> Toy:
        return self

    def compensator(self, window: Window, history: Events, grid: Grid) -> Array:
        raise NotImplementedError

    def simulate(self, window: Window, history: Events, rng: np.random.Generator) -> Events:
        return thinning(self, window, history, rng)


@pytest.mark.slow
@pytest.mark.parametrize(("bandwidth", "bound"), [(0.3, None), (0.05, 7.0)])
def test_thinning_agrees_with_branching(bandwidth: float, bound: float | None) -> None:
    """A self-exciting toy with a history: two samplers, one law, and a first bound far below the peaks does no harm."""
    model = Toy(domain=UNIT, mu=6.0, eta=0.7, bandwidth=bandwidth)
    window = Window(3.0, 6.0)
    history = Events(np.linspace(2.0, 2.9, 10), np.full((10, 2), 0.4))
    rng = np.random.default_rng(11)
    thinned = [len(thinning(model, window, history, rng, bound=bound)) for _ in range(150)]
    kernels = [(TriggeringKernel(model.decay, model.bandwidth), model.eta)]
    branched = [
        len(
            simulate_branching(
                window, UNIT, kernels, uniform_immigrants(int(rng.poisson(18.0)), window, UNIT, rng), history, None, rng
            ).t
        )
        for _ in range(3000)
    ]
    error = math.hypot(np.std(thinned) / math.sqrt(150), np.std(branched) / math.sqrt(3000))
    assert np.mean(thinned) == pytest.approx(np.mean(branched), abs=4 * error)
    assert np.std(thinned) == pytest.approx(np.std(branched), rel=0.25)


@pytest.mark.slow
@pytest.mark.parametrize("bound", [None, 3.0, 200.0])
def test_thinning_of_an_inhomogeneous_poisson_process(bound: float | None) -> None:
    """λ = 30(1 + 0.9 sin 2πt), up to 57: the law is the same from a low bound, which is doubled, as from a high one."""
    model = Toy(domain=UNIT, mu=30.0, wave=0.9)
    window = Window(0.0, 1.0)
    rng = np.random.default_rng(12)
    draws = [thinning(model, window, EMPTY, rng, bound=bound) for _ in range(100)]
    counts = [len(e) for e in draws]
    assert np.mean(counts) == pytest.approx(30, abs=4 * math.sqrt(30 / 100))
    assert np.var(counts) == pytest.approx(30, rel=0.5)  # Poisson
    phase = np.concatenate([e.t for e in draws])
    assert stats.kstest(phase, lambda s: s + 0.9 * (1 - np.cos(2 * np.pi * s)) / (2 * np.pi)).pvalue > 1e-3
    assert stats.kstest(np.concatenate([e.x[:, 0] for e in draws]), "uniform").pvalue > 1e-3


def test_thinning_keeps_the_history_apart_and_repeats_itself() -> None:
    model = Toy(domain=UNIT, eta=0.5)
    history = Events(np.array([0.5, 1.5]), np.full((2, 2), 0.5), epoch="2023-01-01T00:00:00+00:00", axes=("a", "b"))
    one = thinning(model, Window(1.0, 2.0), history, np.random.default_rng(1))
    two = thinning(model, Window(1.0, 2.0), history.before(1.0), np.random.default_rng(1))
    assert digest(one) == digest(two)  # what lies in the window is no history
    assert (one.axes, one.epoch) == (history.axes, history.epoch)
    assert ((one.t >= 1) & (one.t < 2)).all()


def test_thinning_refuses_what_it_cannot_bound() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="toy is negative or not finite"):
        thinning(Toy(domain=UNIT, mu=math.inf), Window(0.0, 1.0), EMPTY, rng)
    with pytest.raises(ValueError, match="proposals"):
        thinning(Toy(domain=UNIT, mu=1e9), Window(0.0, 1.0), EMPTY, rng)
    with pytest.raises(ValueError, match="bound"):
        thinning(Toy(domain=UNIT), Window(0.0, 1.0), EMPTY, rng, bound=0.0)
    assert len(thinning(Toy(domain=UNIT, mu=0.0), Window(0.0, 1.0), EMPTY, rng)) == 0


# -- worlds -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(WORLDS))
def test_every_world_keeps_its_promises(name: str) -> None:
    world = WORLDS[name]
    events, truth = simulate_world(name, 4000, seed=3)
    again, _ = simulate_world(name, 4000, seed=3)
    assert digest(events) == digest(again) != digest(simulate_world(name, 4000, seed=4)[0])
    labels, parent = truth["labels"], truth["parent"]
    assert len(labels) == len(parent) == len(events)
    assert (parent < np.arange(len(events))).all()
    assert world.box.contains(events.x).all()
    assert ((events.t >= 0) & (events.t < world.duration)).all()
    assert events.date(0.0).year == 2023
    assert events.axes == (("sincerity", "charity") if events.d == 2 else tuple(f"x{k}" for k in range(events.d)))
    share = (labels == NOISE).mean()
    spread = 1.0 if world.branching == 0 else 1 / (1 - world.branching) ** 1.5
    assert share == pytest.approx(
        world.noise, abs=0.001 + 4 * spread * math.sqrt(world.noise * (1 - world.noise) / 4000)
    )
    if world.branching:
        assert len(events) == pytest.approx(4000, abs=4 * math.sqrt(4000) / (1 - world.branching))
        triggered = parent >= 0
        assert triggered.mean() == pytest.approx(world.branching, abs=0.05)
        assert (labels[triggered] == labels[parent[triggered]]).all()
    else:
        assert len(events) == 4000
        assert (parent == -1).all()


def test_an_arc_has_its_radius_and_storms_of_one_time_stay_apart() -> None:
    events, truth = simulate_world("rings", 20_000, seed=1)
    ring = truth["basins"][1]
    own = events.x[truth["labels"] == 1] - ring["centre"][0]
    assert np.abs(np.hypot(*own.T) - ring["arc"][0]).max() < 5.5 * ring["sd"]
    assert np.abs(own.mean(axis=0)).max() < 0.15
    storms = WORLDS["storms"].basins
    for k, one in enumerate(storms):
        assert 14 <= one.death - one.birth <= 56
        for other in storms[:k]:
            if one.birth < other.death and other.birth < one.death:
                assert math.dist(one.centre, other.centre) >= 2.39


@pytest.mark.parametrize("name", ["static", "moving", "lifecycle"])
def test_centres_rates_and_spreads_match_the_truth(name: str) -> None:
    events, truth = simulate_world(name, 30_000, seed=5)
    for basin in truth["basins"]:
        for day in (3, 30, 56):
            near = (np.abs(events.t - day) < 2) & (truth["labels"] == basin["id"])
            expected = 4 * basin["rate"][day]
            assert near.sum() == pytest.approx(expected, abs=4 * math.sqrt(expected) + 0.06 * expected + 3)
            if near.sum() > 50:
                error = basin["sd"] / math.sqrt(near.sum())
                assert events.x[near].mean(axis=0) == pytest.approx(basin["centre"][day], abs=4 * error + 0.02)
                assert events.x[near].std(axis=0) == pytest.approx(
                    [basin["sd"]] * 2, rel=4 / math.sqrt(2 * near.sum()) + 0.02
                )


def test_lifecycle_has_each_fate() -> None:
    events, truth = simulate_world("lifecycle", 10_000, seed=6)
    by_name = {basin["name"]: basin for basin in truth["basins"]}

    def count(name: str, start: float, end: float) -> int:
        return int(((truth["labels"] == by_name[name]["id"]) & (events.t >= start) & (events.t < end)).sum())

    assert count("born", 0, by_name["born"]["birth"]) == 0 < count("born", 40, 59)
    assert count("fading", by_name["fading"]["death"], 59) == 0 < count("fading", 0, 10)
    assert count("storm", 0, 12) == count("storm", 36, 59) == 0 < count("storm", 20, 28)
    assert count("growing", 40, 59) > 3 * count("growing", 0, 19)
    assert np.linalg.norm(by_name["steady and drifting"]["velocity"]) * 59 > 2 * by_name["steady and drifting"]["sd"]


def test_null_has_no_structure() -> None:
    events, truth = simulate_world("null", 20_000, seed=7)
    assert truth["basins"] == []
    counts = Grid.over(WORLDS["null"].box, 12).histogram(events.x)
    assert stats.chisquare(counts.ravel()).pvalue > 1e-3
    assert stats.kstest(events.t / 59, "uniform").pvalue > 1e-3


def test_bursts_cluster_in_time_where_the_static_world_does_not() -> None:
    """Neighbours within 0.3 follow one another within two hours far more often than by chance."""

    def close_pairs(name: str) -> float:
        events, _ = simulate_world(name, 3000, seed=8)
        close = (np.diff(events.t) < 1 / 12) & (np.linalg.norm(np.diff(events.x, axis=0), axis=1) < 0.3)
        return float(close.mean())

    assert close_pairs("bursts") > 2 * close_pairs("static")


def test_engagement_is_mostly_none_and_heavy_tailed() -> None:
    events, truth = simulate_world("static", 40_000, seed=9)
    noise = truth["labels"] == NOISE
    for name, silent, silent_noise in (("retweet_count", 0.75, 0.85), ("favorite_count", 0.70, 0.80)):
        count = events.mark(name)
        assert (count[~noise] == 0).mean() == pytest.approx(silent, abs=0.01)
        assert (count[noise] == 0).mean() == pytest.approx(silent_noise, abs=0.02)
        heard = count[count > 0]
        assert heard.min() == 10
        assert heard.max() <= 1000
        # P(10·u^(−1/2.5) ≥ 40) = 4^−2.5 = 1/32
        assert (heard >= 40).mean() == pytest.approx(1 / 32, abs=0.01)
    posts = np.bincount(events.author, minlength=len(events.authors))  # type: ignore[arg-type]
    assert posts.max() > 20 * np.median(posts[posts > 0]) / 4


def test_a_basin_is_a_closed_function_of_time() -> None:
    basin = PlantedBasin("b", (1.0, 2.0), velocity=(0.5, -1.0), birth=10, peak=20, death=40, height=3.0)
    assert basin.rate([5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0]) == pytest.approx(
        [0, 0, 1.5, 3.0, 1.5, 0, 0], abs=1e-12
    )
    assert basin.centre_at([0.0, 4.0]).tolist() == [[1.0, 2.0], [3.0, -2.0]]
    assert replace(basin, birth=-math.inf, death=math.inf).rate([-1e6, 0.0, 1e6]).tolist() == [3.0, 3.0, 3.0]


def test_unknown_worlds_and_empty_ones_are_refused() -> None:
    with pytest.raises(ValueError, match="no world 'atlantis'; there are: static, moving"):
        simulate_world("atlantis", 10, 0)
    with pytest.raises(ValueError, match="at least 1 event; got 0"):
        simulate_world("static", 0, 0)
    for name in WORLDS:
        assert len(simulate_world(name, 1, 0)[0]) >= 1


def test_truth_sidecar_reads_back(tmp_path: Path) -> None:
    events, truth = simulate_world("lifecycle", 500, seed=1)
    path = write_truth(tmp_path / "planted.parquet", truth)
    assert path == truth_path(tmp_path / "planted.parquet") == tmp_path / "planted.truth.json"
    stored = json.loads(path.read_text())
    assert stored["labels"] == truth["labels"].tolist()
    assert stored["basins"][0]["birth"] is None  # always there
    assert stored["basins"][4]["death"] == 36
    assert stored["basins"][0]["centre"][10] == pytest.approx([-3.1, -2.5])
    assert [p.name for p in tmp_path.iterdir()] == ["planted.truth.json"]
    assert len(stored["labels"]) == len(events)
    write_truth(tmp_path / "hawkes.parquet", simulate_hawkes(50, 1)[1])
    assert json.loads((tmp_path / "hawkes.truth.json").read_text())["world"] == "hawkes"


def test_the_bundled_sample_is_what_its_readme_says() -> None:
    """The checksums hold, and the command named there draws these events."""
    data = Path(__file__).parents[3] / "data"
    readme = (data / "README.md").read_text()
    files = [data / "planted.parquet", data / "planted.truth.json"]
    for file in files:
        assert hashlib.sha256(file.read_bytes()).hexdigest() in readme
    assert "stpp simulate bursts -n 20000 --seed 1 -o data/planted.parquet" in readme
    assert sum(file.stat().st_size for file in files) < 3_000_000
    events, truth = simulate_world("bursts", 20_000, seed=1)
    stored, planted = read_events(files[0]), json.loads(files[1].read_text())
    np.testing.assert_allclose(stored.t, events.t, rtol=1e-12)
    np.testing.assert_allclose(stored.x, events.x, rtol=1e-9, atol=1e-12)
    assert stored.mark("retweet_count").tolist() == events.mark("retweet_count").tolist()
    assert (stored.axes, stored.epoch) == (events.axes, events.epoch)
    assert planted["labels"] == truth["labels"].tolist()
