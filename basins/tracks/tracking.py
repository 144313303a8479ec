"""Following basins from window to window: which goes on, which is born, dies, merges or splits, and how sure that is.

Two basins of consecutive windows are alike as far as their memberships cover the same posts (a mass-weighted Jaccard
index J, the weights those of the posts of both windows) and their centres are near compared with their radius r per
axis: likeness = √(J exp(−(distance/r)²/2)). A merge is a death whose posts are still there, in another basin; a split
is the same seen backwards. What is decided about a window uses that window and the one before it only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from scipy.optimize import linear_sum_assignment

from basins.basin import Basin
from basins.space import Snapshot
from stpp.domain import Array

Kind = Literal["continues", "merges", "splits"]

GATE = 0.3
"""Likeness below which two basins are never the same one."""

TAU = 0.25
"""Temperature of soft matching: unlikeness that divides the odds of a match by e."""

GAMMA = 3.0
"""Cost of dying in soft matching: two basins are as likely the same as not where they are 1 − γτ alike."""

MOSTLY = 0.5
"""Share of the posts of one basin that must lie in another for a merge or a split."""

STAYS = 2 / 3
"""Share of its share that must be in a basin's region after it merged, or before it split off: else it just died, or
was just born, in a region that a neighbour holds at the other time."""


@dataclass(frozen=True)
class Link:
    """What joins a basin to one of the next window.

    Parameters
    ----------
    window : index k of the earlier window
    source : basin id in window k
    target : basin id in window k + 1
    overlap : mass-weighted Jaccard index of their memberships, in [0, 1]
    distance : between their centres, map units
    score : what was decided by, in [0, 1]: likeness of a basin that continues; of a merge (split) the share of the
        dying (born) basin's posts that lie in the other
    confidence : probability of the match (of a merge or split its score) times both basins' probability of existence
    kind : ``continues``: the same basin; ``merges``: the source ends in the target; ``splits``: the target began in
        the source
    """

    window: int
    source: int
    target: int
    overlap: float
    distance: float
    score: float
    confidence: float
    kind: Kind


@dataclass(frozen=True)
class Track:
    """A basin through time.

    Parameters
    ----------
    id : 0, 1, … in order of birth
    basins : (window index, basin id) of each window it is in, without gaps
    birth : index of its first window
    death : index of the first window in which it is gone; None if it lives in the last one
    parents : tracks that it split from
    heir : the track that it merged into, if it did
    """

    id: int
    basins: tuple[tuple[int, int], ...]
    birth: int
    death: int | None
    parents: tuple[int, ...] = ()
    heir: int | None = None


@dataclass(frozen=True)
class Tracking:
    """Tracks in order of birth, and links in order of time."""

    tracks: tuple[Track, ...]
    links: tuple[Link, ...]

    @cached_property
    def _number(self) -> dict[tuple[int, int], int]:
        return {place: track.id for track in self.tracks for place in track.basins}

    def track_of(self, window: int, basin: int) -> int:
        """Id of the track that a basin of a window (by index) is part of; a KeyError if there is no such basin."""
        return self._number[window, basin]


def follow(
    snapshots: Sequence[Snapshot],
    found: Sequence[Sequence[Basin]],
    *,
    method: str = "hungarian",
    gate: float = GATE,
    tau: float = TAU,
    gamma: float = GAMMA,
) -> Tracking:
    """Tracks of the basins found in consecutive windows.

    ``hungarian`` pairs basins one to one so that the sum of likenesses is largest. ``soft`` gives each basin its most
    probable successor, or none where dying is more probable; of several that claim one successor the most probable is
    the same basin. Its probabilities are s_ij / (s_i0 + Σ_j s_ij) with s_ij = exp(−d_ij/τ) c_i c_j prior_j and the null
    option s_i0 = exp(−γ): d is 1 − likeness, c the probability of existence, and prior_j the share of basin j relative
    to the largest basin that could be i's successor. They are the confidence of ``hungarian`` links too.

    Parameters
    ----------
    snapshots : in time order, all in one space
    found : basins of each, possibly none
    method : ``hungarian`` or ``soft``
    gate : likeness, in [0, 1], below which basins are never matched
    tau, gamma : of soft matching, > 0

    Raises
    ------
    ValueError
        if there is no such method, or not one list of basins per window
    """
    if method not in ("hungarian", "soft"):
        raise ValueError(f"no way of tracking '{method}'; there are: hungarian, soft")
    if len(snapshots) != len(found):
        raise ValueError(f"{len(snapshots)} windows, but basins of {len(found)}: give one list of basins per window")
    places: list[list[tuple[int, int]]] = []
    parents: dict[int, tuple[int, ...]] = {}
    heirs: dict[int, int] = {}
    links: list[Link] = []
    before: dict[int, int] = {}  # basin id in the previous window -> track
    for k, basins in enumerate(found):
        step = _step(k - 1, snapshots[k - 1 : k + 1], found[k - 1], basins, method, gate, tau, gamma) if k else []
        origin = {link.target: before[link.source] for link in step if link.kind == "continues"}
        now: dict[int, int] = {}
        for basin in basins:
            if basin.id not in origin:
                origin[basin.id] = len(places)
                places.append([])
            now[basin.id] = origin[basin.id]
            places[now[basin.id]].append((k, basin.id))
        for link in step:
            if link.kind == "splits":
                parents[now[link.target]] = (before[link.source],)
            elif link.kind == "merges":
                heirs[before[link.source]] = now[link.target]
        links += step
        before = now
    tracks = []
    for number, track in enumerate(places):
        gone = track[-1][0] + 1
        death = gone if gone < len(found) else None
        tracks.append(Track(number, tuple(track), track[0][0], death, parents.get(number, ()), heirs.get(number)))
    return Tracking(tuple(tracks), tuple(links))


def _step(
    k: int,
    pair: Sequence[Snapshot],
    old: Sequence[Basin],
    new: Sequence[Basin],
    method: str,
    gate: float,
    tau: float,
    gamma: float,
) -> list[Link]:
    """Links from window k to window k + 1."""
    if not old or not new:
        return []
    shares = np.stack([s.totals / s.totals.sum() for s in pair], axis=1)
    common, own, other = _masses(old, new, shares)
    overlap = common.sum(axis=2) / (own.sum(axis=1)[:, None] + other.sum(axis=1) - common.sum(axis=2))
    distance = np.linalg.norm(np.array([a.centre for a in old])[:, None] - np.array([b.centre for b in new]), axis=2)
    radius = np.sqrt(np.add.outer(_radii(old, pair[0]) ** 2, _radii(new, pair[1]) ** 2) / 2)
    likeness = np.sqrt(overlap * np.exp(-0.5 * (distance / radius) ** 2))
    exists = np.outer([a.probability for a in old], [b.probability for b in new])
    p, null = _match(likeness, exists, np.array([b.share for b in new]), gate, tau, gamma)
    matches = _hungarian(likeness, gate) if method == "hungarian" else _soft(p, null)

    def link(i: int, j: int, kind: Kind, score: float, sure: float) -> Link:
        overlaps, apart = float(overlap[i, j]), float(distance[i, j])
        return Link(k, old[i].id, new[j].id, overlaps, apart, score, float(sure * exists[i, j]), kind)

    links = [link(i, j, "continues", float(likeness[i, j]), p[i, j]) for i, j in matches]
    dead, born = set(range(len(old))) - {i for i, _ in matches}, set(range(len(new))) - {j for _, j in matches}
    for i in sorted(dead):
        j, part = _inside(common[i, :, 1], own[i, 0], own[i, 1])
        if part >= MOSTLY:
            links.append(link(i, j, "merges", part, part))
    for j in sorted(born):
        i, part = _inside(common[:, j, 0], other[j, 1], other[j, 0])
        if part >= MOSTLY:
            links.append(link(i, j, "splits", part, part))
    return links


def _masses(old: Sequence[Basin], new: Sequence[Basin], shares: Array) -> tuple[Array, Array, Array]:
    """Shares of the weight of both windows (last axis) in both of two regions, in the old ones and in the new ones."""
    after = np.array([b.membership for b in new])
    common = np.empty((len(old), len(new), 2))
    for i, basin in enumerate(old):
        cells = np.flatnonzero(basin.membership)
        common[i] = np.minimum(basin.membership[cells], after[:, cells]) @ shares[cells]
    return common, np.array([a.membership @ shares for a in old]), after @ shares


def _radii(basins: Sequence[Basin], snapshot: Snapshot) -> Array:
    """Standard deviation per axis of where each basin's weight lies, map units; no less than the bandwidth."""
    own = np.array([b.membership for b in basins]) * snapshot.totals
    own /= own.sum(axis=1, keepdims=True)
    places = snapshot.space.partition.centres
    variance = (own @ places**2 - (own @ places) ** 2).mean(axis=1)
    return np.asarray(np.sqrt(np.maximum(variance, snapshot.space.bandwidth**2)))


def _match(likeness: Array, exists: Array, share: Array, gate: float, tau: float, gamma: float) -> tuple[Array, Array]:
    """Probability (A, B) that a basin goes on as each of the next window's, and (A,) that it dies."""
    near = likeness >= gate
    largest = np.where(near, share, 0).max(axis=1, keepdims=True)
    prior = np.divide(share, largest, out=np.zeros_like(likeness), where=near)
    s = np.exp((likeness - 1) / tau) * exists * prior
    total = s.sum(axis=1, keepdims=True) + np.exp(-gamma)
    return s / total, np.exp(-gamma) / total[:, 0]


def _hungarian(likeness: Array, gate: float) -> list[tuple[int, int]]:
    gain = np.where(likeness >= gate, likeness, 0.0)
    pairs = zip(*linear_sum_assignment(gain, maximize=True), strict=True)
    return [(int(i), int(j)) for i, j in pairs if gain[i, j] > 0]


def _soft(p: Array, null: Array) -> list[tuple[int, int]]:
    best = p.argmax(axis=1)
    sure = p[np.arange(len(p)), best]
    matches: dict[int, int] = {}
    for i in np.argsort(-sure, kind="stable"):
        if sure[i] > null[i]:
            matches.setdefault(int(best[i]), int(i))
    return sorted((i, j) for j, i in matches.items())


def _inside(common: Array, was: float, now: float) -> tuple[int, float]:
    """Which basin holds most of the region's weight, and how much of it; 0 if too much of that weight is gone."""
    j = int(common.argmax())
    return j, float(common[j] / now) if now >= STAYS * was and now > 0 else 0.0
