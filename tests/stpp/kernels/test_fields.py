"""Decayed kernel sums: the grid engine against the pair engine, the pair engine against a plain sum."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.special import ndtr

from stpp.domain import Box, Grid
from stpp.kernels.fields import DecayedField, Engine, Sums, decayed_sums, decayed_totals
from stpp.simulation.branching import simulate_hawkes

Array = NDArray[np.float64]
ENGINES: tuple[Engine, ...] = ("grid", "pairs")
ENGINES_AND_DIMENSIONS = [*(("grid", d) for d in (1, 2, 3)), *(("pairs", d) for d in (1, 2, 3, 5, 16))]


@dataclass(frozen=True)
class Case:
    """Sources, targets and a kernel."""

    source_t: Array
    source_x: Array
    weight: Array
    t: Array
    x: Array
    decay: float
    bandwidth: float

    def sums(self, engine: Engine, tol: float, derivatives: bool = True) -> Sums:
        return decayed_sums(
            self.source_t, self.source_x, self.weight, self.t, self.x, self.decay, self.bandwidth,
            tol=tol, derivatives=derivatives, engine=engine,
        )  # fmt: skip

    def plain(self) -> Sums:
        """The definition, over all pairs."""
        h, d = self.bandwidth, self.x.shape[1]
        delay = self.t[:, None] - self.source_t
        square = ((self.x[:, None] - self.source_x) ** 2).sum(axis=2)
        # the sources at or after a target add exp(−inf) = 0
        exponent = np.where(delay > 0, -self.decay * delay - square / (2 * h**2), -np.inf)
        part = self.weight * np.exp(exponent) / (math.sqrt(2 * math.pi) * h) ** d
        return Sums(part.sum(1), (part * np.maximum(delay, 0)).sum(1), (part * (square / h**2 - d) / h).sum(1))

    def bounds(self, tol: float) -> Sums:
        """What the documentation of stpp.kernels.fields promises; 1e-12 of it more for rounding."""
        delay = self.t[:, None] - self.source_t
        kept = self.weight * np.where(delay > 0, np.exp(-self.decay * np.maximum(delay, 0)), 0.0)
        peak = (math.sqrt(2 * math.pi) * self.bandwidth) ** -self.x.shape[1]
        longer = 1 / self.decay if self.decay > 0 else 0.0
        d_bandwidth = (tol * 4 * math.log(10 / tol) + 1e-12) / self.bandwidth
        total, late = kept.sum(1), (kept * np.maximum(delay + longer, 0)).sum(1)
        return Sums((tol + 1e-12) * peak * total, (tol + 1e-12) * peak * late, d_bandwidth * peak * total)


def assert_within(got: Sums, wanted: Sums, bounds: Sums) -> None:
    for name, a, b, bound in zip(Sums._fields, got, wanted, bounds, strict=True):
        excess = np.abs(a - b) - bound - 1e-170
        assert excess.max(initial=0.0) <= 0, f"{name}: {a[excess.argmax()]} for {b[excess.argmax()]}"


def random_case(
    seed: int, d: int, n: int = 60, m: int = 60, decay: float = 1.0, bandwidth: float = 0.3, duration: float = 5.0
) -> Case:
    rng = np.random.default_rng(seed)
    return Case(
        np.sort(rng.uniform(0, duration, m)), rng.normal(size=(m, d)), rng.uniform(0, 2, m),
        np.sort(rng.uniform(0, duration * 1.1, n)), rng.normal(size=(n, d)), decay, bandwidth,
    )  # fmt: skip


@st.composite
def cases(draw: st.DrawFn, d: int) -> Case:
    """Few events, many ties in time and place; distances from nothing to many bandwidths."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    m, n = draw(st.integers(1, 12)), draw(st.integers(1, 12))
    bandwidth = 10 ** draw(st.floats(-3, 2))
    spread = bandwidth * draw(st.sampled_from([0.0, 0.2, 1.0, 3.0, 20.0]))
    start = draw(st.sampled_from([0.0, -3.0, 17_000.0]))
    decay = draw(st.sampled_from([0.0, 0.01, 1.0, 30.0, 1000.0]))
    digits = draw(st.sampled_from([0, 1, 12]))
    source_t, t = (start + np.sort(rng.uniform(0, 3, k).round(digits)) for k in (m, n))
    source_x, x = (rng.normal(size=(k, d)) * spread + 5.0 for k in (m, n))
    return Case(source_t, source_x, rng.uniform(0, 3, m), t, x, decay, bandwidth)


# -- the documented bounds ------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("d", [1, 2, 3])
@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_errors_are_within_the_documented_bounds(engine: Engine, d: int, data: st.DataObject) -> None:
    case = data.draw(cases(d))
    tol = 10.0 ** -data.draw(st.integers(1, 11 if d < 3 else 8))
    assert_within(case.sums(engine, tol), case.sums("pairs", 1e-13), case.bounds(tol))


@pytest.mark.parametrize("tol", [1e-1, 1e-4, 1e-8])
@pytest.mark.parametrize("d", [1, 2, 3])
def test_the_bound_is_needed_where_a_pair_sits_on_a_node(d: int, tol: float) -> None:
    # The trapezoid sum errs most for two events at one place; there the error is 4/5 of the bound.
    case = Case(np.zeros(1), np.zeros((1, d)), np.ones(1), np.ones(1), np.zeros((1, d)), 0.0, 1.0)
    exact = (2 * math.pi) ** (-d / 2)
    share = (case.sums("grid", tol).value[0] - exact) / (tol * exact)
    assert 0.75 < share < 1.0


@pytest.mark.parametrize("d", [1, 2, 3, 5, 16])
@pytest.mark.parametrize("decay", [0.0, 1.0, 40.0])
def test_pairs_are_the_plain_sum(d: int, decay: float) -> None:
    case = random_case(d, d, n=300, m=400, decay=decay, bandwidth=0.3 * math.sqrt(d))
    wanted = case.plain()
    assert wanted.value.max() > 0
    assert_within(case.sums("pairs", 1e-13), wanted, case.bounds(1e-13))


@pytest.mark.parametrize(("engine", "d"), ENGINES_AND_DIMENSIONS)
def test_derivatives_are_central_differences(engine: Engine, d: int) -> None:
    case, tol = random_case(7, d, decay=0.7, bandwidth=0.4 * math.sqrt(d)), 1e-12
    here = case.sums(engine, tol)
    for field, sign, gradient in (("decay", -1, here.lag), ("bandwidth", 1, here.d_bandwidth)):
        value = getattr(case, field)
        step = 1e-4 * value
        up, down = (replace(case, **{field: value + s * step}).sums("pairs", 1e-13).value for s in (1, -1))
        np.testing.assert_allclose(sign * (up - down) / (2 * step), gradient, atol=1e-6 * np.abs(gradient).max())


# -- time ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ENGINES)
def test_ties_share_a_history(engine: Engine) -> None:
    # three events at t = 1 and one at 2, all at one place: the first three see nothing, the last sees all three
    t, x = np.array([1.0, 1.0, 1.0, 2.0]), np.zeros((4, 1))
    got = Case(t, x, np.array([1.0, 2.0, 3.0, 9.0]), t, x, math.log(2), 1.0).sums(engine, 1e-10).value
    np.testing.assert_allclose(got, [0, 0, 0, 6 / 2 / math.sqrt(2 * math.pi)], rtol=1e-9)


@pytest.mark.parametrize("engine", ENGINES)
def test_long_before_the_first_event_there_is_nothing(engine: Engine) -> None:
    # e^{β · 1 day} = e^1000 overflows, and must not turn 0 into NaN
    case = Case(np.full(1, 2.0), np.zeros((1, 2)), np.ones(1), np.ones(1), np.zeros((1, 2)), 1000.0, 1.0)
    assert [part.tolist() for part in case.sums(engine, 1e-4)] == [[0]] * 3


@pytest.mark.parametrize("engine", ENGINES)
def test_what_happens_later_changes_nothing_before(engine: Engine) -> None:
    case = random_case(3, 2)
    early = case.t < 2.0
    later = case.source_t >= 2.0
    moved = replace(case, weight=np.where(later, 50.0, case.weight))
    np.testing.assert_array_equal(moved.sums(engine, 1e-6).value[early], case.sums(engine, 1e-6).value[early])


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("gap", [0.3, 3.0, 30.0])
def test_long_silences(engine: Engine, gap: float) -> None:
    """Bursts separated by up to 3,000 memory lengths: β·gap beyond what a float64 exponential holds."""
    rng = np.random.default_rng(0)
    t = np.sort(np.concatenate([k * gap + rng.uniform(0, 0.02, 40) for k in range(6)]))
    case = Case(t, rng.normal(size=(240, 2)) * 0.1, np.ones(240), t + 1e-3, rng.normal(size=(240, 2)) * 0.1, 100.0, 0.1)
    assert_within(case.sums(engine, 1e-6), case.plain(), case.bounds(1e-6))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("age", [5.0, 30.0, 200.0])
def test_old_events_count_where_there_are_no_newer_ones(engine: Engine, age: float) -> None:
    case = replace(random_case(5, 2, decay=1.0, duration=1.0), t=np.full(60, 1.0 + age))
    wanted = case.plain()
    assert_within(case.sums(engine, 1e-4), wanted, case.bounds(1e-4))
    assert wanted.value.max() > 1e3 * case.bounds(1e-4).value.max()


@pytest.mark.slow
@pytest.mark.parametrize("engine", ENGINES)
def test_thousands_of_memory_lengths(engine: Engine) -> None:
    rng = np.random.default_rng(1)
    t = np.sort(rng.uniform(0, 10, 5_000))  # β·duration = 10⁴, about 33 rescalings of the field
    case = Case(t, rng.uniform(size=(5_000, 2)), np.ones(5_000), t[::10], rng.uniform(size=(500, 2)), 1000.0, 0.1)
    assert_within(case.sums(engine, 1e-8), case.plain(), case.bounds(1e-8))


@pytest.mark.parametrize("engine", ENGINES)
def test_times_far_from_zero(engine: Engine) -> None:
    near = random_case(9, 2, decay=1000.0, duration=0.05)
    shift = 17_000.0
    far = replace(near, source_t=near.source_t + shift, t=near.t + shift)
    near = replace(near, source_t=far.source_t - shift, t=far.t - shift)  # the same rounded times
    assert_within(far.sums(engine, 1e-10), near.plain(), near.bounds(1e-10))


@pytest.mark.parametrize("engine", ENGINES)
def test_without_decay_nothing_is_forgotten(engine: Engine) -> None:
    case = random_case(4, 2, decay=0.0, duration=1e6)
    assert_within(case.sums(engine, 1e-6), case.plain(), case.bounds(1e-6))


def test_totals_are_the_plain_sum() -> None:
    case = random_case(2, 1, n=200, m=300, decay=3.0)
    delay = case.t[:, None] - case.source_t
    wanted = (case.weight * np.where(delay > 0, np.exp(-3.0 * np.maximum(delay, 0)), 0)).sum(1)
    np.testing.assert_allclose(decayed_totals(case.source_t, case.weight, case.t, 3.0), wanted, rtol=1e-12)
    tied = decayed_totals(np.array([1.0, 1.0, 2.0]), np.array([1.0, 2.0, 4.0]), np.array([1.0, 2.0, 3.0]), math.log(2))
    np.testing.assert_allclose(tied, [0, 1.5, 2.75])


# -- places --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("engine", "d"), ENGINES_AND_DIMENSIONS)
def test_all_events_at_one_place(engine: Engine, d: int) -> None:
    case = random_case(6, d)
    case = replace(case, source_x=np.full_like(case.source_x, 0.3), x=np.full_like(case.x, 0.3))
    assert_within(case.sums(engine, 1e-6), case.plain(), case.bounds(1e-6))


@pytest.mark.parametrize("engine", ["auto", *ENGINES])
def test_one_event_and_none(engine: Engine) -> None:
    one = Case(np.zeros(1), np.zeros((1, 2)), np.ones(1), np.array([0.0, 1.0]), np.zeros((2, 2)), 1.0, 0.5)
    np.testing.assert_allclose(one.sums(engine, 1e-9).value, [0, math.exp(-1) / (2 * math.pi * 0.25)], rtol=1e-8)
    none = replace(one, source_t=np.zeros(0), source_x=np.zeros((0, 2)), weight=np.zeros(0))
    assert [part.tolist() for part in none.sums(engine, 1e-4)] == [[0, 0]] * 3
    unasked = replace(one, t=np.zeros(0), x=np.zeros((0, 2))).sums(engine, 1e-4, derivatives=False)
    assert [len(part) for part in unasked] == [0, 0, 0]


@pytest.mark.slow
@pytest.mark.parametrize("tol", [1e-4, 1e-8])
@pytest.mark.parametrize("engine", ENGINES)
def test_hawkes_intensity(engine: Engine, tol: float) -> None:
    """λ = 40 + 0.6 S within tol (2 tol at 1e-8) of itself."""
    events, _ = simulate_hawkes(20_000, 1)
    case = Case(events.t, events.x, events.weight, events.t, events.x, 1.0, 0.02)
    wanted = 40 + 0.6 * case.sums("pairs", 1e-13, derivatives=False).value
    got = 40 + 0.6 * case.sums(engine, tol, derivatives=False).value
    assert np.abs(got / wanted - 1).max() < (1e-4 if tol == 1e-4 else 2e-8)


@pytest.mark.parametrize("engine", ENGINES)
def test_the_answer_does_not_depend_on_the_number_of_threads(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each thread reads one strip of the plane; events beyond its cuts reach into it."""
    rng = np.random.default_rng(2)
    n = 30_000
    t, x = np.sort(rng.uniform(0, 30, n)), rng.uniform(size=(n, 2))
    case = Case(t, x, np.ones(n), t, x, 1.0, 0.01)
    oracle = case.sums("pairs", 1e-13)
    answers = []
    for threads in (1, 2, 5):
        monkeypatch.setattr(numba, "get_num_threads", lambda threads=threads: threads)
        answers.append(case.sums(engine, 1e-8))
    peak = 1 / (2 * math.pi * 0.01**2) * n / 30
    assert np.abs(answers[0].value - oracle.value).max() < 1e-8 * peak
    for answer in answers[1:]:
        for part, same in zip(answer, answers[0], strict=True):
            np.testing.assert_allclose(part, same, rtol=0, atol=1e-12 * np.abs(same).max())


# -- the choice of the engine, and errors --------------------------------------------------------------------------


def test_auto_is_one_of_the_engines() -> None:
    sparse = random_case(1, 2, n=2_000, m=2_000, decay=100.0, bandwidth=0.01)
    np.testing.assert_array_equal(sparse.sums("auto", 1e-6).value, sparse.sums("pairs", 1e-6).value)
    dense = random_case(1, 2, n=2_000, m=2_000, decay=0.01, bandwidth=0.3)
    np.testing.assert_array_equal(dense.sums("auto", 1e-6).value, dense.sums("grid", 1e-6).value)
    wide = replace(random_case(1, 2), bandwidth=1e-7)  # a lattice of 10¹⁵ nodes
    assert_within(wide.sums("auto", 1e-6), wide.plain(), wide.bounds(1e-6))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"decay": -1.0}, "decay must be ≥ 0 and bandwidth > 0, both finite; got -1 and 0.3"),
        ({"decay": math.nan}, "got nan and 0.3"),
        ({"bandwidth": 0.0}, "got 1 and 0"),
        ({"bandwidth": math.inf}, "got 1 and inf"),
        (
            {"bandwidth": 1e-7},
            r"a field of bandwidth 1e-07 over .* needs .* nodes, more than 4e\+07: use a smaller --box",
        ),
    ],
)
def test_what_is_refused(change: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(random_case(1, 2), **change).sums("grid", 1e-4)


@pytest.mark.parametrize("tol", [0.0, -1.0, 1.0, math.nan])
def test_a_tolerance_out_of_range_is_refused(tol: float) -> None:
    with pytest.raises(ValueError, match="tol must be above 0 and below 1"):
        random_case(1, 2).sums("pairs", tol)


def test_the_grid_engine_is_refused_above_three_dimensions() -> None:
    with pytest.raises(ValueError, match="up to 3 dimensions, these events have 4"):
        random_case(1, 4).sums("grid", 1e-4)
    with pytest.raises(ValueError, match="up to 3 dimensions, these events have 4"):
        DecayedField(Box((0,) * 4, (1,) * 4), 1.0, 0.1)


# -- the running field ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("d", [1, 2, 3])
@pytest.mark.parametrize("decay", [0.0, 2.0])
def test_cell_means_are_averages_over_the_cells(d: int, decay: float) -> None:
    """Against Gauss–Legendre quadrature of decayed_sums over every cell, events taken in by several steps."""
    rng = np.random.default_rng(d)
    m, now, tol, h = 50, 4.0, 1e-5, 0.2
    t, x, w = np.sort(rng.uniform(0, 3.9, m)), rng.uniform(size=(m, d)), rng.uniform(0, 2, m)
    grid = Grid(Box((0.0,) * d, (1.0,) * d), (4, 3, 2)[:d])
    running = DecayedField(grid.box, decay, h, tol=tol)
    for start, stop, until in ((0, 20, t[20]), (20, 20, t[20] + 0.01), (20, m, now)):
        running.advance(t[start:stop], x[start:stop], w[start:stop], until)
    nodes, node_weights = np.polynomial.legendre.leggauss(6)
    offsets = np.stack(np.meshgrid(*[nodes] * d, indexing="ij"), axis=-1).reshape(-1, d) / 2 * grid.spacing
    shares = np.prod(np.meshgrid(*[node_weights / 2] * d, indexing="ij"), axis=0).ravel()
    places = (grid.points()[:, None] + offsets).reshape(-1, d)
    values = decayed_sums(t, x, w, np.full(len(places), now), places, decay, h, tol=1e-12, engine="pairs").value
    wanted = (values.reshape(grid.cells, -1) @ shares).reshape(grid.shape)
    bound = tol * (w * np.exp(-decay * (now - t))).sum() * (math.sqrt(2 * math.pi) * h) ** -d
    assert np.abs(running.cell_means(grid) - wanted).max() < bound
    assert wanted.min() > 100 * bound


@pytest.mark.parametrize("tol", [1e-4, 1e-8])
def test_cell_means_hold_the_kernels_mass_inside_the_box(tol: float) -> None:
    x = np.array([[0.5, 0.5], [0.02, 0.9], [0.0, 0.0]])
    box, h = Box((0.0, 0.0), (1.0, 1.0)), 0.05
    running = DecayedField(box, 1.0, h, tol=tol)
    running.advance(np.zeros(3), x, np.array([1.0, 2.0, 4.0]), 2.0)
    grid = Grid.over(box, 50)
    mass = np.prod(ndtr((1 - x) / h) - ndtr(-x / h), axis=1) @ [1.0, 2.0, 4.0] * math.exp(-2)
    assert running.cell_means(grid).sum() * grid.cell_volume == pytest.approx(mass, rel=tol)


def test_a_zoom_grid_reads_the_same_field() -> None:
    rng = np.random.default_rng(0)
    box = Box((0.0, 0.0), (1.0, 1.0))
    running = DecayedField(box, 0.0, 0.1, tol=1e-8)
    running.advance(np.zeros(30), rng.uniform(size=(30, 2)), np.ones(30), 1.0)
    whole = running.cell_means(Grid.over(box, 4))
    quarter = running.cell_means(Grid.over(Box((0.5, 0.0), (1.0, 0.5)), 2))
    np.testing.assert_allclose(quarter, whole[2:, :2], rtol=1e-6)


def test_events_outside_the_field_are_refused() -> None:
    running = DecayedField(Box((0.0,), (1.0,)), 1.0, 0.1)
    with pytest.raises(ValueError, match="2 events lie outside the box"):
        running.advance(np.zeros(3), np.array([[0.5], [1.5], [-9.0]]), np.ones(3), 1.0)
