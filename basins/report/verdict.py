"""What an analysis of basins comes to, in a few sentences that need no prior knowledge."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from basins.report.trust import against_rules
from basins.tracks.tracking import Track
from stpp.dates import in_words
from stpp.events import Events
from stpp.reports.words import chance_of, in_percent, plural, some

if TYPE_CHECKING:
    from basins.analysis import Analysis


LIKELY = 0.7
"""Probability from which on growth is called likely."""

WHOLE = 0.98
"""Share of the posts from which on basins are said to divide the whole map between them."""

STEEP = 30
"""Posts that a basin needs for its barrier to be spoken of: the density of fewer is mostly noise."""


def verdict(analysis: Analysis, events: Events | None = None) -> list[str]:
    """How many basins, which is strongest, what changed, what is expected, and what of it is more than chance.

    Parameters
    ----------
    analysis : to be summed up
    events : give dates; without them windows are counted
    """
    if not analysis.tracking.tracks:
        return [
            f"There is no basin: in none of the {len(analysis.windows)} windows do posts gather anywhere more than "
            "chance alone makes them.",
            _chance(analysis),
        ]
    lines = [_how_many(analysis, events)]
    if analysis.found[-1].basins:
        lines.append(_strongest(analysis))
    lines.append(_lately(analysis))
    if analysis.found[-1].basins:
        lines.append(_expected(analysis))
    return [*lines, _chance(analysis)]


def when(analysis: Analysis, k: int, events: Events) -> str:
    """First and last day of a window, both in it."""
    window = analysis.windows[k]
    first, last = events.date(window.start), events.date(window.end - 1e-6)
    return f"{first:%Y-%m-%d}" if first.date() == last.date() else f"{first:%Y-%m-%d} to {last:%Y-%m-%d}"


def last_with_basins(analysis: Analysis) -> int | None:
    """Index of the last window that has a basin; None if none ever had."""
    return max((k for k, one in enumerate(analysis.found) if one.basins), default=None)


def counted(analysis: Analysis, k: int) -> str:
    """How many posts and basins a window has, in words."""
    posts, basins = len(analysis.snapshots[k].posts), len(analysis.found[k].basins)
    return f"{plural(posts, 'post')}, {plural(basins, 'basin') if basins else 'no basins'}"


def called(analysis: Analysis, track: int) -> str:
    """Number and name of a track, for sentences."""
    return f"{track} “{analysis.names[track].text}”"


def newest(analysis: Analysis) -> list[int]:
    """The tracks of the newest window, the largest first."""
    return tracks_of(analysis, len(analysis.windows) - 1)


def tracks_of(analysis: Analysis, k: int) -> list[int]:
    """The tracks of a window, the largest first."""
    return [analysis.tracking.track_of(k, basin.id) for basin in analysis.found[k].basins]


def current_forecasts(analysis: Analysis) -> dict[int, dict[str, Any]]:
    """Track → what was forecast of it at the end of the newest window."""
    rows: list[Any] = analysis.forecasts.to_dict("records")
    return {int(row["track"]): row for row in rows if row["window"] == len(analysis.windows) - 1}


def formed_from(analysis: Analysis, track: Track) -> list[int]:
    """The tracks that ended in this one when it was born."""
    return [old.id for old in analysis.tracking.tracks if old.heir == track.id and old.death == track.birth]


def _how_many(analysis: Analysis, events: Events | None) -> str:
    basins, window, last = analysis.found[-1].basins, analysis.windows[-1], len(analysis.windows) - 1
    posts, length = len(analysis.snapshots[-1].posts), in_words(round(window.duration, 6))
    where = f"the newest {length}{f' ({when(analysis, last, events)})' if events else ''}"
    if not basins:
        k, tracks = last_with_basins(analysis), len(analysis.tracking.tracks)
        assert k is not None, "where tracks are, basins were"
        why = "holds no posts" if not posts else f"has no basin among its {plural(posts, 'post')}"
        ago = f"{plural(last - k, 'window')} earlier{f' ({when(analysis, k, events)})' if events else ''}"
        return (
            f"There is no basin now: {where} {why}; {tracks} lived earlier. The last window with basins was {ago}: "
            f"{counted(analysis, k)}."
        )
    share = sum(basin.share for basin in basins)
    there, they = ("is 1 basin", "it holds") if len(basins) == 1 else (f"are {len(basins)} basins", "they hold")
    whole = ""
    if share >= WHOLE:
        whole = " and covers the whole map" if len(basins) == 1 else " and divide the whole map between them"
    return f"There {there} now: in {where} {they} {in_percent(share)} of {posts:,} posts{whole}."


def _strongest(analysis: Analysis) -> str:
    k = len(analysis.windows) - 1
    basins, tracks = analysis.found[k].basins, newest(analysis)
    line = f"The largest is {called(analysis, tracks[0])} with {in_percent(basins[0].share)} of the posts"
    rows: list[Any] = analysis.measures.to_dict("records")
    barrier = {
        int(row["track"]): float(row["barrier"])
        for row in rows
        if row["window"] == k and row["posts"] >= STEEP and not math.isnan(row.get("barrier", math.nan))
    }
    if not barrier:
        return f"{line}."
    steepest = max(barrier, key=lambda track: barrier[track])
    if math.isinf(barrier[steepest]):
        how = "no way leads out of it"
    else:
        times = math.exp(barrier[steepest])
        dense = f"{times:.2g}" if times < 100 else f"{times:,.0f}"
        how = f"its peak is {dense} times as dense as the easiest way out"
    if len(tracks) == 1:
        return f"{line}; {how}."
    if steepest == tracks[0]:
        return f"{line}; it also has the steepest sides: {how}."
    few = f"of the basins with {STEEP} posts or more, " if len(barrier) < len(tracks) else ""
    return f"{line}; {few}{called(analysis, steepest)} has the steepest sides: {how}."


def _lately(analysis: Analysis) -> str:
    last, tracks = len(analysis.windows) - 1, analysis.tracking.tracks

    def name(track: Track) -> str:
        return called(analysis, track.id)

    born = [track for track in tracks if track.birth == last and last > 0]
    died = [track for track in tracks if track.death == last]
    sources = {track.id: [*track.parents, *formed_from(analysis, track)] for track in born}
    merged = {track.id for track in born if formed_from(analysis, track)}

    def listed(tracks: Iterable[int]) -> str:
        return some(called(analysis, track) for track in tracks)

    split: dict[tuple[int, ...], list[int]] = {}
    for track in born:
        if track.parents and track.id not in merged:
            split.setdefault(track.parents, []).append(track.id)
    into: dict[int, list[int]] = {}
    for track in died:
        if track.heir is not None and track.heir not in merged:
            into.setdefault(track.heir, []).append(track.id)
    news = [
        ("new", [name(track) for track in born if not sources[track.id]]),
        ("formed", [f"{name(t)} from {listed(dict.fromkeys(sources[t.id]))}" for t in born if t.id in merged]),
        ("split off", [f"{listed(those)} from {listed(parents)}" for parents, those in split.items()]),
        ("merged", [f"{listed(those)} into {called(analysis, heir)}" for heir, those in into.items()]),
        ("gone", [name(track) for track in died if track.heir is None]),
    ]
    told = [f"{what}: {some(names)}" for what, names in news if names]
    before = sum(1 for track in tracks for k in (track.birth, track.death) if k and k < last)
    earlier = f"{before} births and deaths earlier" if before != 1 else "1 birth or death earlier"
    said = f"Since the window before, {'; '.join(told)} ({earlier})."
    if not told:
        said = f"Since the window before nothing was born, died, merged or split ({earlier})."
    older = [track for track in tracks if track.birth < last]
    brief = sum(len(track.basins) == 1 for track in older)
    if 2 * brief > len(older) and brief > 1:
        said += f" Most do not last: {brief} of the {len(older)} basins before this window lived for one window only."
    return said


def _expected(analysis: Analysis) -> str:
    rows, tracks = current_forecasts(analysis), newest(analysis)
    length = in_words(round(analysis.windows[-1].duration, 6))
    known = [t for t in tracks if t in rows and math.isfinite(rows[t]["p_continue"])]
    if not known:
        return f"What the next {length} will bring was not forecast: too few windows to learn from."
    chance = {t: rows[t]["p_continue"] for t in known}
    groups = [
        (f"likely to go on in the next {length}", [t for t in known if chance[t] >= 0.5], True),
        ("likely to end", [t for t in known if chance[t] < 0.5], True),
        ("likely to grow", [t for t in known if rows[t]["p_grow"] >= LIKELY], False),
        ("likely to shrink", [t for t in known if rows[t]["p_grow"] <= 1 - LIKELY], False),
    ]
    told = []
    for what, those, how_sure in groups:
        names = [
            called(analysis, t) + (f" {chance_of(max(chance[t], 1 - chance[t]))}" if how_sure else "") for t in those
        ]
        if names:
            told.append(f"{what}: {some(names)}")
    line = "; ".join(told) + "."
    return " ".join([line[0].upper() + line[1:], *against_rules(analysis)])


def _chance(analysis: Analysis) -> str:
    table, tests = analysis.significance, analysis.tests
    if not len(table):
        return "There is nothing to hold against chance."
    if not len(tests):
        return "Nothing was held against chance, so what of this is more than chance is not known; -B 19 tests it."
    if not table["change_p"].notna().any():
        return "No basin could be tested for change: they hold all posts, or there is one window only."
    worlds, null = int(tests["B"].iloc[0]), tests["null"].iloc[0]
    real: dict[str, list[str]] = {}
    for track, said in zip(table["track"], table["verdict"], strict=True):
        if said.endswith("beyond chance") and not said.startswith("no "):
            real.setdefault(said, []).append(called(analysis, int(track)))
    if not real:
        return f"No signal in time: none of these basins changes more than chance does ({worlds} {null} worlds)."
    told = "; ".join(f"{some(names)} {_plural(said, names)}" for said, names in real.items())
    rest = len(table) - sum(map(len, real.values()))
    more = f"; of the other {rest} no change is shown" if rest > 1 else "; of the other one no change is shown"
    return f"Held against {worlds} {null} worlds, {told}{more if rest else ''}."


def _plural(said: str, names: Sequence[str]) -> str:
    """``grows beyond chance`` of one basin, ``grow beyond chance`` of several."""
    if len(names) == 1:
        return said
    return said.replace("grows", "grow").replace("shrinks", "shrink").replace("comes and goes", "come and go")
