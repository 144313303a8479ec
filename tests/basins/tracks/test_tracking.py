"""Following basins: planted lives are recovered, nothing later is used, and hostile input is answered plainly."""

import math
from collections import Counter
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from basins.basin import Basin, describe
from basins.finders.density import DensityFinder
from basins.space import Snapshot, Space
from basins.tracks.course import Course, Plan, follow_basins, windows_of
from basins.tracks.tracking import Tracking, follow
from stpp.domain import Array, Box, Grid
from stpp.events import Events, Window
from stpp.partition import Partition
from stpp.simulation.worlds import simulate_world

BOX = Box((-6.0, -6.0), (6.0, 6.0))
SPACE = Space(Partition.of_grid(Grid.over(BOX, 48)), 0.4)
METHODS = ("hungarian", "soft")


def blobs(centres: list[tuple[float, float]], start: float, seed: int = 0, n: int = 300, sd: float = 0.5) -> Snapshot:
    """A week's window with a blob of ``n`` posts around each centre."""
    rng = np.random.default_rng(seed)
    x = np.concatenate([rng.normal(c, sd, (n, 2)) for c in centres]) if centres else np.empty((0, 2))
    t = np.sort(rng.uniform(start, start + 7, len(x)))
    return SPACE.see(Events(t, np.clip(x, -5.9, 5.9)), Window(start, start + 7))


def discs(
    snapshot: Snapshot, centres: list[tuple[float, float]], radius: float = 1.2, p: float = 1.0
) -> tuple[Basin, ...]:
    """Basins whose regions are the discs around the centres, cells going to the nearest."""
    if not centres:
        return ()
    apart = np.linalg.norm(SPACE.partition.centres - np.array(centres)[:, None], axis=2)
    own = (apart == apart.min(axis=0)) & (apart <= radius)
    return describe(snapshot, own.astype(float), np.full(len(centres), p))


def tracked(story: list[list[tuple[float, float]]], **how: Any) -> tuple[Tracking, list[tuple[Basin, ...]]]:
    seen = [blobs(centres, 7.0 * k, k) for k, centres in enumerate(story)]
    found = [discs(s, centres) for s, centres in zip(seen, story, strict=True)]
    return follow(seen, found, **how), found


@cache
def course(world: str, n: int = 20_000, seed: int = 1) -> tuple[Course, Plan, dict[str, Any]]:
    events, truth = simulate_world(world, n, seed)
    windows, training = windows_of(Window(0.0, 59.0), 7.0)
    plan = Plan(DensityFinder(replicates=5), windows, training, BOX)
    return follow_basins(events, plan), plan, truth


def planted(run: Course, labels: Array, window: int, basin: int) -> Counter[int]:
    """How many posts of each planted basin lie in a found one's region."""
    snapshot, found = run.snapshots[window], run.basins[window][basin]
    own = labels[snapshot.rows[found.region[snapshot.cell]]]
    return Counter(own[own >= 0].tolist())


def purity(run: Course, tracking: Tracking, labels: Array, until: int = 99) -> dict[int, tuple[int, float]]:
    """Track -> planted basin that most of its posts come from, and their share."""
    out = {}
    for track in tracking.tracks:
        posts = sum((planted(run, labels, k, b) for k, b in track.basins if k < until), Counter[int]())
        if posts:
            label, most = posts.most_common(1)[0]
            out[track.id] = (label, most / posts.total())
    return out


# -- planted worlds ------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_births_and_deaths_are_found_within_one_window(method: str) -> None:
    run, plan, truth = course("lifecycle")
    tracking = follow(run.snapshots, run.basins, method=method)
    pure = purity(run, tracking, truth["labels"])
    lasting = [track for track in tracking.tracks if len(track.basins) > 1]  # a stray find of one window is no track
    assert len(lasting) == 5
    assert all(pure[track.id][1] >= 0.9 for track in lasting)
    assert {pure[track.id][0] for track in lasting} == set(range(5))
    start, length = plan.windows[0].start, 7.0
    for track in lasting:
        rate = truth["basins"][pure[track.id][0]]["rate"]
        alive = truth["days"][rate > 0.15 * rate.max()]
        born, gone = ((day - start) / length for day in (alive[0], alive[-1] + 1))
        assert abs(track.birth - max(0, math.floor(born))) <= 1
        assert abs((len(plan.windows) if track.death is None else track.death) - min(8, math.ceil(gone))) <= 1


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_basins_that_move_are_followed(method: str) -> None:
    run, _, truth = course("moving", 8_000)
    tracking = follow(run.snapshots, run.basins, method=method)
    whole = [track for track in tracking.tracks if track.birth == 0 and track.death is None]
    assert len(whole) == len(tracking.tracks) == 5
    assert all(share >= 0.9 for _, share in purity(run, tracking, truth["labels"]).values())
    assert {link.kind for link in tracking.links} == {"continues"}
    assert min(link.confidence for link in tracking.links) > 0.5


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_what_merges_and_what_parts_is_told(method: str) -> None:
    run, plan, truth = course("merging", 12_000)
    tracking = follow(run.snapshots, run.basins, method=method)
    pure = purity(run, tracking, truth["labels"], until=4)
    merged = [track for track in tracking.tracks if track.heir is not None]
    split = [track for track in tracking.tracks if track.parents]
    assert len(merged) == len(split) == 1
    assert {pure[merged[0].id][0], pure[merged[0].heir or 0][0]} == {0, 1}  # from the left, from the right
    middle = [(w.start + w.end) / 2 for w in plan.windows]
    assert 24 < middle[merged[0].death or 0] < 54  # they meet on day 40
    assert pure[split[0].parents[0]][0] in (2, 3)
    assert 7 < middle[split[0].birth] < 40  # they part on day 21


# -- small stories --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_a_small_story(method: str) -> None:
    """One stays; one dies without heir; one is born out of nothing; a pair merges; the merged one parts again."""
    still, dying, born, left, right, middle = (
        (4.0, 4.0),
        (-4.0, 4.0),
        (4.0, -4.0),
        (-4.0, -4.0),
        (-2.4, -4.0),
        (-3.2, -4.0),
    )
    tracking, found = tracked([[still, dying, left, right], [still, middle], [still, born, left, right]], method=method)

    def track(window: int, place: tuple[float, float]) -> Any:
        near = min(found[window], key=lambda b: math.dist(b.centre, place))
        return tracking.tracks[tracking.track_of(window, near.id)]

    assert track(0, still).basins[-1][0] == 2
    assert (track(0, dying).death, track(0, dying).heir) == (1, None)
    assert (track(2, born).birth, track(2, born).parents) == (2, ())
    pair = {track(0, left).id, track(0, right).id}
    assert track(1, middle).id in pair
    gone = (pair - {track(1, middle).id}).pop()
    assert tracking.tracks[gone].heir == track(1, middle).id
    ends = [track(2, left), track(2, right)]
    assert sorted(t.birth for t in ends) == [0, 2]
    assert max(ends, key=lambda t: t.birth).parents == (track(1, middle).id,)


def test_a_neighbour_that_takes_an_empty_region_over_is_no_heir() -> None:
    """The posts of the dying basin do not appear anywhere else; they are just gone."""
    seen = [blobs([(0.0, 0.0), (2.0, 0.0)], 0.0), blobs([(0.0, 0.0)], 7.0)]
    tracking = follow(seen, [discs(seen[0], [(0.0, 0.0), (2.0, 0.0)]), discs(seen[1], [(0.0, 0.0)], radius=3.5)])
    dead = next(track for track in tracking.tracks if track.death == 1)
    assert dead.heir is None
    assert [link.kind for link in tracking.links] == ["continues"]


def test_confidence_falls_with_distance_and_with_doubtful_existence() -> None:
    seen = [blobs([(0.0, 0.0)], 0.0), *(blobs([(shift, 0.0)], 7.0, 1) for shift in (0.0, 0.4, 0.7))]
    old = discs(seen[0], [(0.0, 0.0)])
    sure = [
        follow([seen[0], s], [old, discs(s, [(x, 0.0)])]).links[0] for s, x in zip(seen[1:], (0, 0.4, 0.7), strict=True)
    ]
    assert 0.9 < sure[0].confidence <= 1
    assert sure[0].confidence > sure[1].confidence > sure[2].confidence
    assert sure[2].distance == pytest.approx(0.7, abs=0.1)
    doubtful = follow(seen[:2], [old, discs(seen[1], [(0.0, 0.0)], p=0.5)]).links[0]
    assert doubtful.confidence < 0.5
    assert doubtful.score == sure[0].score


def test_soft_prefers_dying_to_a_doubtful_successor() -> None:
    seen = [blobs([(0.0, 0.0)], 0.0), blobs([(0.6, 0.0)], 7.0)]
    found = [discs(seen[0], [(0.0, 0.0)], p=0.6), discs(seen[1], [(0.6, 0.0)], p=0.2)]
    assert len(follow(seen, found, method="hungarian").tracks) == 1
    assert len(follow(seen, found, method="soft").tracks) == 2


# -- properties -----------------------------------------------------------------------------------------------------

PLACES = st.lists(st.tuples(st.integers(-4, 4), st.integers(-4, 4)), max_size=4, unique=True)


@settings(max_examples=25, deadline=None)
@given(st.lists(PLACES, min_size=1, max_size=5), st.sampled_from(METHODS), st.integers(1, 5))
def test_what_is_decided_at_t_uses_windows_up_to_t(
    story: list[list[tuple[float, float]]], method: str, first: int
) -> None:
    seen = [blobs(centres, 7.0 * k, k, n=30) for k, centres in enumerate(story)]
    found = [discs(s, centres) for s, centres in zip(seen, story, strict=True)]
    whole, part = (follow(seen[:k], found[:k], method=method) for k in (len(seen), first))
    assert part.links == tuple(link for link in whole.links if link.window + 1 < first)
    early = [track for track in whole.tracks if track.birth < first]
    assert len(part.tracks) == len(early)
    for now, later in zip(part.tracks, early, strict=True):
        assert (now.id, now.birth, now.parents) == (later.id, later.birth, later.parents)
        assert now.basins == tuple(place for place in later.basins if place[0] < first)
        known = later.death is not None and later.death < first
        assert (now.death, now.heir) == ((later.death, later.heir) if known else (None, None))


@settings(max_examples=25, deadline=None)
@given(st.lists(PLACES, min_size=1, max_size=5), st.sampled_from(METHODS))
def test_every_basin_is_in_one_track_and_tracks_have_no_gaps(
    story: list[list[tuple[float, float]]], method: str
) -> None:
    tracking, found = tracked(story, method=method)
    places = [place for track in tracking.tracks for place in track.basins]
    assert sorted(places) == sorted((k, basin.id) for k, basins in enumerate(found) for basin in basins)
    for number, track in enumerate(tracking.tracks):
        assert track.id == number
        assert [k for k, _ in track.basins] == list(range(track.birth, track.birth + len(track.basins)))
        assert track.death == (track.birth + len(track.basins) if track.basins[-1][0] < len(story) - 1 else None)
    for link in tracking.links:
        assert 0 <= link.confidence <= 1
        assert 0 <= link.score <= 1 + 1e-12
        same = tracking.track_of(link.window, link.source) == tracking.track_of(link.window + 1, link.target)
        assert same == (link.kind == "continues")


# -- hostile input --------------------------------------------------------------------------------------------------


def test_windows_without_posts_end_tracks_and_nothing_else() -> None:
    tracking, _ = tracked([[(0.0, 0.0)], [], [(0.0, 0.0)]])
    assert [(track.birth, track.death) for track in tracking.tracks] == [(0, 1), (2, None)]
    assert tracking.links == ()


def test_nothing_found_gives_nothing() -> None:
    assert follow([], []) == Tracking((), ())
    assert follow([blobs([], 0.0)], [()]) == Tracking((), ())


def test_unknown_methods_and_missing_windows_are_refused() -> None:
    with pytest.raises(ValueError, match="no way of tracking 'nearest'; there are: hungarian, soft"):
        follow([], [], method="nearest")
    with pytest.raises(ValueError, match="1 windows, but basins of 0"):
        follow([blobs([], 0.0)], [])
    with pytest.raises(KeyError):
        Tracking((), ()).track_of(0, 0)
