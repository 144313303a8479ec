"""Colours of tracks, the same in all pictures."""

from __future__ import annotations

from matplotlib.colors import to_rgb

from basins.tracks.tracking import Track, Tracking

COLOURS = (
    *("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"),
    *("#332288", "#882255", "#999933", "#117733", "#CC6677", "#AA4499", "#44AA99"),
)
"""Of Okabe & Ito (2008) and of Paul Tol's muted scheme; what tells tracks apart for certain is their number."""


def colours(tracking: Tracking) -> dict[int, str]:
    """Track → its colour; different for tracks seen together or one after the other, as far as colours go.

    Those of the newest window choose first, then from the newest to the oldest.
    """
    chosen: dict[int, str] = {}
    for track in sorted(tracking.tracks, key=lambda one: (-one.basins[-1][0], one.id)):
        cost = dict.fromkeys(COLOURS, 0)
        for other in tracking.tracks:
            if other.id in chosen:
                cost[chosen[other.id]] += _beside(track, other)
        used = list(chosen.values())
        chosen[track.id] = min(COLOURS, key=lambda one: (cost[one], used.count(one)))
    return chosen


def _beside(one: Track, other: Track) -> int:
    """How bad it is if two tracks look alike: 10 per window that they share, 1 if one follows on the other."""
    first = max(one.birth, other.birth)
    last = min(one.basins[-1][0], other.basins[-1][0])
    return 10 * (last - first + 1) if last >= first else int(first - last == 1)


def ink(shade: str) -> tuple[float, ...]:
    """A colour for words: dark enough to be read on white."""
    return tuple(0.7 * part for part in to_rgb(shade))
