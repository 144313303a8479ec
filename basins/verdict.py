"""What an analysis of basins comes to, in five sentences that need no prior knowledge."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from basins.tracking import Track
from stpp.columns import in_words
from stpp.events import Events

if TYPE_CHECKING:
    from basins.analysis import Analysis

SAID = 5
"""Basins that one sentence speaks of, at most."""

LIKELY = 0.7
"""Probability from which on growth, or the end, is called likely."""


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


def called(analysis: Analysis, track: int) -> str:
    """Number and name of a track, for sentences."""
    return f"{track} “{analysis.names[track].text}”"


def some(names: Iterable[str]) -> str:
    """A few names as a list in words; of many the first ones and how many more."""
    every = list(names)
    shown = every if len(every) <= SAID else [*every[: SAID - 1], f"{len(every) - SAID + 1} more"]
    return " and ".join([", ".join(shown[:-1]), shown[-1]] if len(shown) > 1 else shown)


def newest(analysis: Analysis) -> list[int]:
    """The tracks of the newest window, the largest first."""
    k = len(analysis.windows) - 1
    return [analysis.tracking.track_of(k, basin.id) for basin in analysis.found[k].basins]


def current_forecasts(analysis: Analysis) -> dict[int, dict[str, Any]]:
    """Track → what was forecast of it at the end of the newest window."""
    rows: list[Any] = analysis.forecasts.to_dict("records")
    return {int(row["track"]): row for row in rows if row["window"] == len(analysis.windows) - 1}


def _how_many(analysis: Analysis, events: Events | None) -> str:
    basins, window = analysis.found[-1].basins, analysis.windows[-1]
    posts, length = len(analysis.snapshots[-1].posts), in_words(round(window.duration, 6))
    dates = f" ({events.date(window.start):%Y-%m-%d} to {events.date(window.end):%Y-%m-%d})" if events else ""
    where = f"the newest {length}{dates}"
    if not basins:
        why = "holds no posts" if not posts else f"has no basin among its {posts:,} posts"
        return f"There is no basin now: {where} {why}; {len(analysis.tracking.tracks)} lived earlier."
    share = sum(basin.share for basin in basins)
    there, they = ("is 1 basin", "it holds") if len(basins) == 1 else (f"are {len(basins)} basins", "they hold")
    return f"There {there} now: in {where} {they} {in_percent(share)} of {posts:,} posts."


def _strongest(analysis: Analysis) -> str:
    k = len(analysis.windows) - 1
    basins, tracks = analysis.found[k].basins, newest(analysis)
    line = f"The largest is {called(analysis, tracks[0])} with {in_percent(basins[0].share)} of the posts"
    measures: list[Any] = analysis.measures.to_dict("records")
    barrier = {int(row["track"]): float(row.get("barrier", math.nan)) for row in measures if row["window"] == k}
    barrier = {track: value for track, value in barrier.items() if not math.isnan(value)}
    if not barrier:
        return f"{line}."
    hardest = max(barrier, key=lambda track: barrier[track])
    if math.isinf(barrier[hardest]):
        how = "no way leads out of it"
    else:
        how = f"its peak is {math.exp(barrier[hardest]):.2g} times as dense as the easiest way out"
    if hardest == tracks[0]:
        return f"{line}; {'it is also the hardest to leave, and ' if len(tracks) > 1 else ''}{how}."
    return f"{line}; the hardest to leave is {called(analysis, hardest)}: {how}."


def _lately(analysis: Analysis) -> str:
    last, tracks = len(analysis.windows) - 1, analysis.tracking.tracks

    def name(track: Track) -> str:
        return called(analysis, track.id)

    born = [track for track in tracks if track.birth == last and last > 0]
    died = [track for track in tracks if track.death == last]
    news = [
        ("new", [name(track) for track in born if not track.parents]),
        (
            "split off",
            [f"{name(t)} from {some(called(analysis, parent) for parent in t.parents)}" for t in born if t.parents],
        ),
        ("merged", [f"{name(t)} into {called(analysis, t.heir)}" for t in died if t.heir is not None]),
        ("gone", [name(track) for track in died if track.heir is None]),
    ]
    told = [f"{what}: {some(names)}" for what, names in news if names]
    before = sum(1 for track in tracks for k in (track.birth, track.death) if k and k < last)
    earlier = f"{before} births and deaths earlier" if before != 1 else "1 birth or death earlier"
    if not told:
        return f"Since the window before nothing was born, died, merged or split ({earlier})."
    return f"Since the window before, {'; '.join(told)} ({earlier})."


def _expected(analysis: Analysis) -> str:
    rows, tracks = current_forecasts(analysis), newest(analysis)
    length = in_words(round(analysis.windows[-1].duration, 6))
    known = [t for t in tracks if t in rows and math.isfinite(rows[t]["p_continue"])]
    if not known:
        return f"What the next {length} will bring was not forecast: too few windows to learn from."
    going = some(f"{called(analysis, t)} {chance_of(rows[t]['p_continue'])}" for t in known)
    line = f"Expected to go on in the next {length}: {going}"
    growing = [called(analysis, t) for t in known if rows[t]["p_grow"] >= LIKELY]
    shrinking = [called(analysis, t) for t in known if rows[t]["p_grow"] <= 1 - LIKELY]
    more = [f"likely to {verb}: {some(names)}" for verb, names in (("grow", growing), ("shrink", shrinking)) if names]
    return "; ".join([line, *more]) + "."


def in_percent(share: float) -> str:
    """A share or a probability in percent; a dash where unknown."""
    return "–" if math.isnan(share) else "< 1 %" if 0 < share < 0.005 else f"{100 * share:.0f} %"


def chance_of(p: float) -> str:
    """A probability in percent that is never rounded to certainty."""
    return "> 99 %" if p > 0.995 else in_percent(p)


def _chance(analysis: Analysis) -> str:
    table = analysis.significance
    tests = analysis.tests
    if not len(table):
        return "There is nothing to hold against chance."
    if not len(tests):
        return "Nothing was held against null worlds, so what is more than chance is not known."
    if not table["change_p"].notna().any():
        return "No share here can change: the basins hold all posts, or one window only."
    against = f"{int(tests['B'].iloc[0])} {tests['null'].iloc[0]} worlds"
    real: dict[str, list[str]] = {}
    for track, said in zip(table["track"], table["verdict"], strict=True):
        if said.endswith("beyond chance") and not said.startswith("no "):
            real.setdefault(said, []).append(called(analysis, int(track)))
    if not real:
        return (
            "No signal in time: these basins are places, not events; "
            f"{against} change as much as they do."
        )  # fmt: skip
    told = "; ".join(f"{some(names)} {_plural(said, names)}" for said, names in real.items())
    rest = len(table) - sum(map(len, real.values()))
    more = f", the other {rest} do not" if rest > 1 else ", the other one does not" if rest else ""
    return f"Held against {against}, {told}{more}."


def _plural(said: str, names: Sequence[str]) -> str:
    """``grows beyond chance`` of one basin, ``grow beyond chance`` of several."""
    if len(names) == 1:
        return said
    return said.replace("grows", "grow").replace("shrinks", "shrink").replace("comes and goes", "come and go")
