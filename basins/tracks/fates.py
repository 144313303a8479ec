"""How the regions of tracks fare over all windows, before and after their basins lived too."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from basins.tracks.course import Course
from stpp.compute.blas import one_blas_thread
from stpp.domain import Array
from stpp.events import Window

PARTS = 4
"""Pieces of a window, between which posts vary too: what comes and goes within hours is no change from week to week."""

ENOUGH = 10.0
"""Posts per window, in the mean, from which on a region helps to say what a typical region did."""


@dataclass(frozen=True, eq=False)
class Fate:
    """How the region of one track fared.

    Parameters
    ----------
    share : (W,) its posts in each window relative to ``posts``; NaN where there are none
    posts : (W,) posts that the whole window would have if it did as the typical region does
    change : variance of its posts between windows relative to that within them, both relative to counting noise; about
        1 where nothing changes. NaN with fewer than two windows with posts, or where all posts are its
    """

    share: Array
    posts: Array
    change: float


@one_blas_thread
def fates(course: Course) -> list[Fate]:
    """The fate of each track's region, that of the track's largest basin.

    Shares sum to 1, so that one storm makes every other share fall. Posts are therefore compared with those of the
    *typical* region: the posts of a window are scaled by the median, over regions and what lies outside all of them, of
    their posts there relative to their mean posts (median of ratios [1]_). With fewer than three such regions it is all
    posts of the window that they are compared with. Posts of unequal weight count as the number of equal ones that they
    amount to. Variance within windows is that between their quarters, given how many posts each quarter has in all, but
    no less than counting noise.

    References
    ----------
    .. [1] Anders & Huber (2010), Differential expression analysis for sequence count data, Genome Biology 11, eq. 5.
    """
    tracks = course.tracking.tracks
    if not tracks:
        return []
    lives = [[course.basins[k][b] for k, b in track.basins] for track in tracks]
    regions = np.array([max(life, key=lambda basin: basin.share).membership for life in lives])
    rows = np.vstack([regions, 1 - regions.max(axis=0), np.ones(regions.shape[1])])  # and what is nobody's, and all
    counts = np.stack([_parts(course, k, rows) for k in range(len(course.snapshots))], axis=1)
    typical = _typical(counts[:-1].sum(axis=2), counts[-1].sum(axis=1))
    return [_fate(own, typical, counts[-1]) for own in counts[: len(tracks)]]


def _parts(course: Course, k: int, rows: Array) -> Array:
    """(R, PARTS) effective posts of a window in each region and each piece of the window."""
    snapshot = course.snapshots[k]
    total = float(snapshot.own.sum())
    if not total > 0:
        return np.zeros((len(rows), PARTS))
    pieces = _pieces(snapshot.window)
    totals = np.stack([snapshot.part(piece).own_totals for piece in pieces], axis=1)
    return np.asarray(rows @ totals * (snapshot.effective_posts / total))


def _pieces(window: Window) -> Sequence[Window]:
    edges = np.linspace(window.start, window.end, PARTS + 1)
    return [Window(float(a), float(b)) for a, b in pairwise(edges)]


def _typical(counts: Array, whole: Array) -> Array:
    """(W,) posts that each window would have if it did as the typical of the (R, W) regions does."""
    seen = whole > 0
    mean = counts[:, seen].mean(axis=1) if seen.any() else np.zeros(len(counts))
    telling = mean >= ENOUGH
    if telling.sum() < 3:
        return whole
    ratio = np.median(counts[telling] / mean[telling, None], axis=0)
    ratio = np.where(seen, np.maximum(ratio, 1e-3), 0.0)
    return np.asarray(ratio * (whole.sum() / ratio.sum()))


def _fate(own: Array, typical: Array, whole: Array) -> Fate:
    """From the (W, PARTS) posts of one region, those of a typical window, and all."""
    count = own.sum(axis=1)
    seen = typical > 0
    share = np.divide(count, typical, out=np.full(len(count), math.nan), where=seen)
    n = int(seen.sum())
    if n < 2 or not count.any() or count.sum() > 0.999 * whole.sum():
        return Fate(share, typical, math.nan)
    expected = typical * (count.sum() / typical.sum())
    between = _chi_squared(count[seen], expected[seen]) / (n - 1)
    alike = count[seen, None] * whole[seen] / whole[seen].sum(axis=1, keepdims=True)
    within = _chi_squared(own[seen], alike) / ((PARTS - 1) * n)
    return Fate(share, typical, between / max(1.0, within))


def _chi_squared(seen: Array, expected: Array) -> float:
    """Pearson's, an expectation below one post counted as one: rare posts are no evidence."""
    return float(((seen - expected) ** 2 / np.maximum(expected, 1.0)).sum())
