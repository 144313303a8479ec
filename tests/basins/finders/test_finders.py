"""What every finder promises, however it looks for basins: each registered one is walked through the same checks."""

from __future__ import annotations

import dataclasses
import math
import re
import warnings
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from basins.analysis import Analysis, analyse
from basins.basin import Finder, Found
from basins.finders import FINDERS
from basins.finders.markov import MarkovFinder
from basins.measures import MEASURES, measure
from basins.report.report import write_report
from basins.report.tables import write_tables
from basins.space import Snapshot
from basins.tracks.course import Plan
from basins.walks.graph import walk
from stpp.domain import Box
from stpp.events import Events, Window
from stpp.kernels.triggering import TriggeringKernel
from stpp.simulation.branching import simulate_branching
from stpp.simulation.worlds import WORLDS, simulate_world

OPTIONS: dict[str, dict[str, Any]] = {
    **{name: {} for name in FINDERS},
    "consensus": {"replicates": 12},  # a majority of three is no consensus
    "markov, flow": {"transitions": "flow"},
    "markov, four asked for": {"basins": 4},
}
"""Every registered finder as it comes, and the other forms of those that have any."""

ON_A_GRID = {"density", "lyapunov"}
"""Needs a grid, so works in up to 3 dimensions."""

MISSES = {("consensus", 1), ("hawkes-regions", 1), ("hawkes-regions", 5), ("markov, flow", 5)}
"""Finds fewer or more than the two basins of the small world in these dimensions."""

CASES = [(label, d) for label in OPTIONS for d in (1, 2, 3, 5) if d <= 3 or label not in ON_A_GRID]
TRAINING = (Window(0, 10), Window(10, 20))
NOW = Window(20, 30)
SILENCE = Window(90, 100)

pytestmark = pytest.mark.filterwarnings("error::RuntimeWarning")
every_finder = pytest.mark.parametrize("label", OPTIONS)
every_registered_finder = pytest.mark.parametrize("label", FINDERS)
every_finder_in_any_dimension = pytest.mark.parametrize(("label", "d"), CASES)


def unit(d: int) -> Box:
    return Box((0.0,) * d, (1.0,) * d)


@cache
def world(d: int = 2, basins: int = 2, n: int = 800, seed: int = 0) -> Events:
    """Weighted posts over 40 days: basins on the diagonal of the unit box in noise, and posts that these trigger."""
    rng = np.random.default_rng(seed)
    own = rng.random(n) < (0.8 if basins else 0.0)
    centre = (rng.integers(basins or 1, size=(n, 1)) + 0.5) / (basins or 1)
    x = np.where(own[:, None], np.clip(rng.normal(centre, 0.06, (n, d)), 0, 0.999), rng.random((n, d)))
    kernels = [(TriggeringKernel(decay=30.0, bandwidth=0.06), 0.6)] if basins else []
    sample = simulate_branching(Window(0, 40), unit(d), kernels, (rng.uniform(0, 40, n), x), None, None, rng)
    return Events(sample.t, sample.x, rng.gamma(4, 0.25, len(sample.t)), axes=tuple("uvwab"[:d]))


def blank(label: str) -> Finder:
    return FINDERS[label.split(",")[0]](**{"replicates": 3, "windows": 4} | OPTIONS[label])


def fit(label: str, events: Events, d: int = 2, seed: int = 0) -> Finder:
    return blank(label).fit(events, TRAINING, unit(d), np.random.default_rng(seed))


@cache
def fitted(label: str, d: int = 2) -> Finder:
    return fit(label, world(d), d)


def see(label: str, events: Events, d: int = 2, window: Window = NOW, half_life: float | None = None) -> Snapshot:
    return fitted(label, d).fixed.see(events, window, half_life)


def find(label: str, snapshot: Snapshot, d: int = 2, seed: int = 1) -> Found:
    return sound(fitted(label, d).find(snapshot, np.random.default_rng(seed)), snapshot)


@cache
def found(label: str, d: int = 2) -> Found:
    return find(label, see(label, world(d), d), d)


def content(value: object) -> Any:
    """All that a finder, a set of events or what was found holds, in a form that compares."""
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.shape, value.tobytes()
    if dataclasses.is_dataclass(value):
        return {f.name: content(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, tuple):
        return [content(v) for v in value]
    return repr(value)


def sound(result: Found, snapshot: Snapshot) -> Found:
    """The same, once it is seen to be what every finder promises."""
    cells, posts = len(snapshot.space.partition), snapshot.posts
    assert isinstance(result, Found)
    assert "\n" not in result.remark
    assert [basin.id for basin in result.basins] == list(range(len(result.basins)))
    masses = [basin.mass for basin in result.basins]
    assert masses == sorted(masses, reverse=True)
    total = np.zeros(cells)
    for basin in result.basins:
        assert basin.window == snapshot.window
        assert basin.membership.shape == (cells,)
        assert ((basin.membership >= 0) & (basin.membership <= 1)).all()
        total += basin.membership
        assert basin.centre.shape == (posts.d,)
        assert snapshot.space.partition.box.contains(basin.centre[None])[0]
        assert basin.mass == pytest.approx(float(basin.membership @ snapshot.totals))
        assert 0 < basin.share <= 1 + 1e-9
        assert 0 <= basin.probability <= 1
        assert math.isfinite(basin.peak)
        assert 0 <= basin.saddle <= basin.peak * (1 + 1e-9)
        assert 0 <= basin.posts <= len(posts)
        assert set(basin.members) <= set(snapshot.rows.tolist())
        assert len(set(basin.members)) == len(basin.members)
    assert (total <= 1 + 1e-9).all()
    return result


# -- fitting ------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@every_finder
def test_a_fit_returns_a_copy_and_changes_nothing_else(label: str) -> None:
    events, finder = world(), blank(label)
    before = content(events), content(finder)
    first = finder.fit(events, TRAINING, unit(2), np.random.default_rng(0))
    assert (content(events), content(finder)) == before
    assert finder.space is None
    assert type(first) is type(finder)
    assert (first.replicates, first.windows) == (finder.replicates, finder.windows)
    assert content(first) == content(fitted(label))
    assert first.fixed.bandwidth > 0
    assert first.fixed.partition.box == unit(2)


@every_finder
def test_nothing_after_the_training_windows_is_learned_from(label: str) -> None:
    events = world()
    later = events.t >= TRAINING[-1].end
    x, weight = np.where(later[:, None], 1 - 0.5 * events.x, events.x), np.where(later, 7.0, events.weight)
    assert content(fit(label, replace(events, x=x, weight=weight))) == content(fitted(label))


@every_finder
def test_before_a_fit_nothing_can_be_found(label: str) -> None:
    snapshot = see(label, world())
    with pytest.raises(ValueError, match=r"no space yet.*fit it") as caught:
        blank(label).find(snapshot, np.random.default_rng(0))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("label", sorted(ON_A_GRID))
def test_a_finder_on_a_grid_says_how_many_dimensions_it_is_for(label: str) -> None:
    with pytest.raises(ValueError, match=r"3.*take --method markov") as caught:
        fit(label, world(5), 5)
    assert "\n" not in str(caught.value)


@every_finder
def test_no_posts_to_learn_from_are_refused_in_one_line(label: str) -> None:
    for events in (world().before(-1), replace(world(), x=world().x + 5), world().between(Window(25, 40))):
        with pytest.raises(ValueError, match="no posts") as caught:
            fit(label, events)
        assert "\n" not in str(caught.value)


# -- finding ------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@every_finder_in_any_dimension
def test_what_is_found_is_sound_in_every_dimension(label: str, d: int) -> None:
    basins = found(label, d).basins
    assert all(len(basin.members) > 0 for basin in basins)
    if (label, d) not in MISSES:
        assert 2 <= len(basins) <= 3
        assert sum(basin.share for basin in basins) > 0.5
        assert all(basin.probability > 0.5 for basin in basins[:2])
        places = sorted(tuple(basin.centre) for basin in basins[:2])
        np.testing.assert_allclose(places, [[0.25] * d, [0.75] * d], atol=0.1)


@pytest.mark.slow
@every_finder
def test_same_seed_same_basins_and_finding_changes_nothing(label: str) -> None:
    snapshot, finder = see(label, world()), fitted(label)
    before = content(snapshot), content(finder)
    again = find(label, snapshot)
    assert content(again) == content(found(label))
    assert (content(snapshot), content(finder)) == before


@pytest.mark.slow
@every_finder
def test_nothing_from_the_end_of_a_window_on_is_looked_at(label: str) -> None:
    events = world()
    later = np.flatnonzero(events.t >= NOW.end)
    t, x, weight = events.t.copy(), 1 - 0.5 * events.x, np.full(len(events), 9.0)
    x[: later[0]], weight[: later[0]], t[later[0]] = events.x[: later[0]], events.weight[: later[0]], NOW.end
    changed = replace(events, t=t, x=x, weight=weight)
    assert content(find(label, see(label, changed))) == content(found(label))
    half_life = [find(label, see(label, e, half_life=10.0)) for e in (events, changed, events.before(NOW.end))]
    assert content(half_life[0]) == content(half_life[1]) == content(half_life[2])


@pytest.mark.slow
@every_finder
@pytest.mark.parametrize("half_life", [1e-3, 10.0, 1e6])
def test_earlier_posts_may_count_by_a_half_life(label: str, half_life: float) -> None:
    result = find(label, see(label, world(), half_life=half_life))
    if half_life > 1:
        assert len(result.basins) == 2
    long_after = find(label, see(label, world(), window=SILENCE, half_life=half_life))
    assert not long_after.basins or half_life > 1  # weights of 2^−50,000 are 0


# -- hardly anything ----------------------------------------------------------------------------------------------


@every_finder_in_any_dimension
def test_a_window_without_posts_has_no_basins(label: str, d: int) -> None:
    assert find(label, see(label, world(d), d, SILENCE), d).basins == ()
    assert find(label, see(label, world(d).before(-1), d), d).basins == ()


@pytest.mark.slow
@every_finder
@pytest.mark.parametrize("n", [1, 2, 5, 20])
def test_fewer_posts_than_neighbours(label: str, n: int) -> None:
    inside = np.flatnonzero((world().t >= NOW.start) & (world().t < NOW.end))
    few = world().take(inside[:: len(inside) // n][:n])
    assert len(few) == n
    assert len(find(label, see(label, few)).basins) <= n
    few = replace(few, t=few.t - NOW.start + 5)  # all of them in the first training window
    finder = fit(label, few)
    snapshot = finder.fixed.see(few, TRAINING[0])
    assert len(sound(finder.find(snapshot, np.random.default_rng(0)), snapshot).basins) <= n


@pytest.mark.slow
@every_finder
@pytest.mark.parametrize("where", [0.5, 0.0])
def test_all_posts_at_one_place(label: str, where: float) -> None:
    heap = replace(world(), x=np.full_like(world().x, where))
    assert len(find(label, see(label, heap)).basins) <= 1
    finder = fit(label, heap)
    snapshot = finder.fixed.see(heap, NOW)
    assert len(sound(finder.find(snapshot, np.random.default_rng(0)), snapshot).basins) <= 1


@pytest.mark.slow
@every_finder
def test_posts_on_a_line_and_at_one_time(label: str) -> None:
    line = replace(world(), x=np.column_stack([world().x[:, 0], np.full(len(world()), 0.5)]))
    assert len(find(label, see(label, line)).basins) <= 3
    at_once = replace(world(), t=np.where(world().t < NOW.start, world().t, NOW.start))
    find(label, see(label, at_once))


@pytest.mark.slow
@every_finder
def test_posts_without_weight_make_no_basin(label: str) -> None:
    nothing = replace(world(), weight=np.zeros(len(world())))
    assert find(label, see(label, nothing)).basins == ()
    one = np.zeros(len(world()))
    one[np.flatnonzero(world().t >= NOW.start)[0]] = 1.0
    assert len(find(label, see(label, replace(world(), weight=one))).basins) <= 1
    if label in {"density", "lyapunov", "hawkes-regions"}:
        with pytest.raises(ValueError, match="no posts with weight inside the domain"):
            fit(label, nothing)
    else:
        finder = fit(label, nothing)
        assert finder.find(finder.fixed.see(nothing, NOW), np.random.default_rng(0)).basins == ()


@pytest.mark.slow
@every_finder
@pytest.mark.parametrize("unit_of_weight", [1e-12, 1e12])
def test_the_unit_of_weights_does_not_matter(label: str, unit_of_weight: float) -> None:
    scaled = replace(world(), weight=world().weight * unit_of_weight)
    assert len(find(label, see(label, scaled)).basins) == 2


@pytest.mark.slow
@every_finder
@pytest.mark.parametrize("scale", [1e-9, 1e9])
def test_the_unit_of_the_map_does_not_matter(label: str, scale: float) -> None:
    events = replace(world(), x=world().x * scale)
    finder = blank(label).fit(events, TRAINING, Box((0.0, 0.0), (scale, scale)), np.random.default_rng(0))
    snapshot = finder.fixed.see(events, NOW)
    result = sound(finder.find(snapshot, np.random.default_rng(1)), snapshot)
    assert len(result.basins) == len(found(label).basins)
    for basin, other in zip(result.basins, found(label).basins, strict=True):
        np.testing.assert_allclose(basin.centre / scale, other.centre, atol=0.02)


# -- truth --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@every_finder
def test_one_planted_basin_is_one_basin(label: str) -> None:
    events = world(basins=1)
    finder = fit(label, events)
    snapshot = finder.fixed.see(events, NOW)
    (only,) = sound(finder.find(snapshot, np.random.default_rng(1)), snapshot).basins
    np.testing.assert_allclose(only.centre, 0.5, atol=0.05)
    assert 0.5 < only.share < 1


@pytest.mark.slow
@every_finder
def test_uniform_posts_rarely_have_basins(label: str) -> None:
    with_any = 0
    for seed in range(4):
        events = world(basins=0, seed=seed)
        finder = fit(label, events, seed=seed)
        snapshot = finder.fixed.see(events, NOW)
        with_any += bool(sound(finder.find(snapshot, np.random.default_rng(seed)), snapshot).basins)
    assert with_any <= 1


@pytest.mark.slow
@every_registered_finder
def test_the_five_basins_of_the_static_world(label: str) -> None:
    events, truth = simulate_world("static", 12_000, 1)
    finder = blank(label).fit(events, [Window(0, 29)], WORLDS["static"].box, np.random.default_rng(0))
    snapshot = finder.fixed.see(events, Window(29, 59))
    result = sound(finder.find(snapshot, np.random.default_rng(1)), snapshot)
    if label == "hawkes-regions":  # nothing excites anything there
        assert not result.basins
        assert "none of the 5 regions" in result.remark
        return
    assert len(result.basins) >= (4 if label in {"markov", "consensus"} else 5)
    assert len(result.basins) <= 5
    planted = np.array([basin["centre"][0] for basin in truth["basins"]])
    near = [np.linalg.norm(planted - basin.centre, axis=1).min() < 0.4 for basin in result.basins]
    assert sum(near) >= 2 * len(result.basins) - 5  # a basin that is two has its centre between them


def test_more_basins_than_the_spectrum_supports_are_not_made_up() -> None:
    finder = MarkovFinder(replicates=3, basins=6).fit(world(), TRAINING, unit(2), np.random.default_rng(0))
    snapshot = finder.fixed.see(world(), NOW)
    result = sound(finder.find(snapshot, np.random.default_rng(1)), snapshot)
    assert 2 <= len(result.basins) < 6
    assert f"asked for 6 basins, the posts support {len(result.basins)}" in result.remark


# -- what follows from basins -------------------------------------------------------------------------------------


@pytest.mark.slow
@every_registered_finder
def test_every_basin_can_be_measured(label: str) -> None:
    snapshot, basins = see(label, world()), found(label).basins
    past = [see(label, world(), window=window) for window in (*TRAINING, SILENCE)][:2]
    for history in ([], past, [see(label, world().before(-1), window=TRAINING[0])]):
        table = measure(snapshot, basins, walk(snapshot), history, rng=np.random.default_rng(0))
        assert list(table["basin"]) == [basin.id for basin in basins]
        assert set(MEASURES) <= set(table.columns)
        assert table["conductance"].between(0, 1).all()
        assert (table["escape_time"] >= 1).all()


def gappy() -> Events:
    """Posts in all windows but two, one of which trains."""
    t = world().t
    return world().take(np.flatnonzero(((t < 8) | (t >= 16)) & ((t < 24) | (t >= 32))))


@cache
def analysed(label: str, kind: str) -> Analysis:
    events = {"gaps": gappy, "no basin": lambda: world(basins=0, n=300)}[kind]()
    windows = tuple(Window(8 * k, 8 * k + 8) for k in range(5))
    plan = Plan(replace(blank(label), windows=5), windows, 2, unit(2))
    return analyse(events, plan, title="tiny")


@pytest.mark.slow
@every_registered_finder
@pytest.mark.parametrize("kind", ["gaps", "no basin"])
def test_the_whole_account_of_a_world_with_gaps_and_of_one_without_basins(
    label: str, kind: str, tmp_path: Path
) -> None:
    account = analysed(label, kind)
    if kind == "gaps":
        assert account.tracking.tracks
        assert not account.found[1].basins
        assert not account.found[3].basins
        assert set(account.measures["window"]) <= {0, 2, 4}
    else:
        assert len(account.tracking.tracks) <= 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        write_tables(account, gappy(), tmp_path)
        page = write_report(account, gappy(), tmp_path)
    text = page.read_text() if page.is_file() else (tmp_path / "report.html").read_text()
    assert not re.search(r"\b(nan|inf)\b", re.sub(r"base64,[^\"']*", "", text), re.IGNORECASE)
    assert (tmp_path / "basins.csv").exists()
