"""What a flow says in numbers and in words, and which of its arrows are more than chance.

Chance alone makes one cell in twenty look as if it moved, and where errors of neighbours go together it does so in
whole patches. A cell is called *beyond chance* only if it is so among all cells that were looked at: by the rule of
Benjamini and Hochberg [1]_, cells weighted by their mass, as is recommended for maps [2]_. In words: there is a level p
at which at least 20 p of the mass is significant, while chance gives p. Where nothing moves at all, the rule finds some
motion in at most 5 % of maps; where something does, about 5 % of what it finds is chance. Chance is that of
independent events, which the standard errors of a flow speak of; posts that answer one another vary more, so that a
burst may look like motion.

References
----------
.. [1] Benjamini & Hochberg (1997), Multiple hypotheses testing with weights, Scand. J. Stat. 24, 407.
.. [2] Wilks (2016), "The stippling shows statistically significant grid points", Bull. Am. Meteorol. Soc. 97, 2263.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln
from scipy.stats import chi2, norm

from stpp.domain import Array
from stpp.events import Events
from stpp.flow.flow import Flow
from stpp.reports.words import in_percent

LEVEL = 0.05
"""Share of false alarms among what is called beyond chance."""

PRESENT = 0.5
"""Relative density (1 = uniform) from which on a place has mass worth an arrow or a name."""

ALONG = math.sin(math.pi / 8)
"""Share of a direction that an axis must have to be named in it: eight directions in 2-d."""


def relative_mass(flow: Flow) -> Array:
    """``grid.shape`` density over its mean; 0 everywhere where there is none."""
    mean = float(flow.density.mean())
    return np.asarray(flow.density / mean) if mean > 0 else np.zeros(flow.grid.shape)


def beyond_chance(p: Array, mass: Array) -> NDArray[np.bool_]:
    """Which of many cells are significant among all of them, weighted by mass (Benjamini & Hochberg 1997).

    Parameters
    ----------
    p : p-value per cell
    mass : ≥ 0, of the same shape; a cell without mass is never significant
    """
    total = float(mass.sum())
    if not total > 0:
        return np.zeros(p.shape, dtype=bool)
    order = np.argsort(p, axis=None, kind="stable")
    ranked, share = p.ravel()[order], np.cumsum(mass.ravel()[order]) / total
    holds = np.flatnonzero(ranked <= LEVEL * share)
    return np.asarray((p <= (ranked[holds[-1]] if len(holds) else -1.0)) & (mass > 0))


def moves(flow: Flow) -> NDArray[np.bool_]:
    """``grid.shape`` cells with mass whose velocity is beyond chance."""
    squared = (_ratio(flow.velocity, flow.velocity_error) ** 2).sum(axis=0)
    return beyond_chance(chi2.sf(squared, flow.grid.box.d), _present_mass(flow))


def grows(flow: Flow) -> NDArray[np.bool_]:
    """``grid.shape`` cells with mass whose growth or decay is beyond chance."""
    return beyond_chance(_two_sided(flow.growth, flow.growth_error), _present_mass(flow))


def gathers_or_spreads(flow: Flow, window: float) -> NDArray[np.bool_]:
    """``grid.shape`` cells with mass whose divergence is beyond chance; none where no motion is."""
    sure = beyond_chance(_two_sided(flow.divergence, flow.divergence_error(window)), _present_mass(flow))
    return sure & moves(flow).any()


def _present_mass(flow: Flow) -> Array:
    """The density where there is enough of it: standard errors of a few events are not to be trusted in the tails."""
    return np.where(relative_mass(flow) >= PRESENT, flow.density, 0.0)


def speed(flow: Flow) -> Array:
    """``grid.shape`` length of the velocity, map units per day."""
    return np.asarray(np.linalg.norm(flow.velocity, axis=0))


def speed_error(flow: Flow) -> Array:
    """``grid.shape`` standard error of the speed, to first order; of any component where there is none."""
    length = speed(flow)
    flat = np.sqrt((flow.velocity_error**2).mean(axis=0))
    along = np.sqrt(((flow.velocity * flow.velocity_error) ** 2).sum(axis=0))
    return np.asarray(np.divide(along, length, out=flat, where=length > 0))


def flow_facts(flow: Flow, events: Events, *, window: float) -> dict[str, Any]:
    """The numbers that describe a flow; means are over mass, and what is not known is None.

    Standard errors of means are upper bounds: they take it that all cells err together.

    Parameters
    ----------
    flow : of one window
    events : give the date and the names of the axes
    window : of the estimator, map units: see :meth:`stpp.flow.flow.Flow.divergence_error`

    Returns
    -------
    ``time`` (ISO), ``axes``, ``mass`` (weight per day in the last frame);
    shares of the mass: ``share_significant`` (outside 95 % of chance, cell by cell; chance alone: 0.05 on average) and
    ``share_moving`` (beyond chance among all cells, see the module);
    map units per day: ``mean_speed`` and ``mean_speed_error``, ``chance_speed`` (expected if all were chance),
    ``mean_velocity`` and ``mean_velocity_error`` (lists), ``fastest`` (``place``, ``speed``, ``error``) of what is
    beyond chance;
    per day: ``growth``, ``growth_error``, ``share_growing`` (of the mass, beyond chance, either way), ``sink`` and
    ``source`` (``place``, ``divergence``, ``error``): beyond chance, and where most mass gathers or spreads
    """
    mass = float(flow.density.sum()) * flow.grid.cell_volume
    facts: dict[str, Any] = {"time": events.date(flow.time).isoformat(), "axes": list(events.axes), "mass": mass}
    if not mass > 0:
        unknown = (
            "share_significant", "share_moving", "mean_speed", "mean_speed_error", "chance_speed", "mean_velocity",
            "mean_velocity_error", "fastest", "growth", "growth_error", "share_growing", "sink", "source",
        )  # fmt: skip
        return facts | dict.fromkeys(unknown)
    weight, d = flow.density / flow.density.sum(), flow.grid.box.d

    def mean(field: Array | NDArray[np.bool_]) -> float:
        return float((weight * field).sum())

    present = relative_mass(flow) >= PRESENT
    moving, growing, length, error = moves(flow), grows(flow), speed(flow), speed_error(flow)
    facts["share_significant"] = mean(flow.significant())
    facts["share_moving"] = mean(moving)
    facts["mean_speed"], facts["mean_speed_error"] = mean(length), mean(error)
    # the mean length of a d-dimensional Gaussian vector whose components have standard deviation 1
    unit = math.sqrt(2) * math.exp(gammaln((d + 1) / 2) - gammaln(d / 2))
    facts["chance_speed"] = unit * mean(np.sqrt((flow.velocity_error**2).mean(axis=0)))
    facts["mean_velocity"] = [mean(v) for v in flow.velocity]
    facts["mean_velocity_error"] = [mean(v) for v in flow.velocity_error]
    facts["fastest"] = _extreme(flow, length, error, moving & present, length, "speed")
    facts["growth"], facts["growth_error"] = mean(flow.growth), mean(flow.growth_error)
    facts["share_growing"] = mean(growing)
    divergence, certain = flow.divergence, gathers_or_spreads(flow, window) & present
    unsure = flow.divergence_error(window)
    for name, sign in (("sink", -1), ("source", 1)):
        among, most = certain & (sign * divergence > 0), sign * divergence * flow.density
        facts[name] = _extreme(flow, divergence, unsure, among, most, "divergence")
    return facts


def flow_lines(facts: Mapping[str, Any]) -> list[str]:
    """What :func:`flow_facts` found, in a few sentences; ± is one standard error."""
    if not facts["mass"] > 0:
        return ["no events in this frame"]
    velocity, velocity_error = np.array(facts["mean_velocity"]), np.array(facts["mean_velocity_error"])
    lines = []
    if facts["share_moving"] > 0:
        heading = ""
        if (np.abs(velocity) > norm.isf(LEVEL / 2) * velocity_error).any():
            heading = f", on the whole towards {direction(velocity, facts['axes'])}"
        mean = _plus_minus(facts["mean_speed"], facts["mean_speed_error"])
        lines.append(f"{in_percent(facts['share_moving'])} of the mass moves beyond chance{heading}")
        lines.append(f"mean speed {mean} map units per day (chance alone: {_two_digits(facts['chance_speed'])})")
        if facts["fastest"]:
            fastest = facts["fastest"]
            lines[-1] += f"; fastest {_plus_minus(fastest['speed'], fastest['error'])} at {_place(fastest)}"
    else:
        lines.append("no motion is certain on the map as a whole")
        if facts["share_significant"] > LEVEL:
            share = in_percent(facts["share_significant"])
            lines[-1] += (
                f": cells with {share} of the mass would each pass a test of their own, but neighbours err together"
            )
        lines.append(
            f"mean speed {_two_digits(facts['mean_speed'])} map units per day; chance alone gives "
            f"{_two_digits(facts['chance_speed'])} on average"
        )
    growth = _plus_minus(100 * facts["growth"], 100 * facts["growth_error"], sign=True)
    if facts["share_growing"] > 0:
        lines.append(f"growth {growth} % per day; {in_percent(facts['share_growing'])} of the mass grows or shrinks")
        lines[-1] += " beyond chance"
    else:
        lines.append(f"no growth or decay beyond chance ({growth} % per day)")
    ends = [
        f"most {verb} at {_place(end)} ({_plus_minus(end['divergence'], end['error'], sign=True)} per day)"
        for verb, end in (("gathers", facts["sink"]), ("spreads", facts["source"]))
        if end
    ]
    lines.append("; ".join(ends) or "gathers and spreads nowhere beyond chance")
    return lines


def direction(velocity: Array, axes: Sequence[str]) -> str:
    """A direction by the axes that it mostly runs along, such as "higher sincerity and lower charity"."""
    share = velocity / np.linalg.norm(velocity)
    named = [(part, name) for part, name in zip(share, axes, strict=True) if abs(part) > ALONG]
    return " and ".join(f"{'higher' if part > 0 else 'lower'} {name}" for part, name in named)


def _ratio(value: Array, error: Array) -> Array:
    """Values in standard errors; what has no error has no evidence either."""
    return np.divide(value, error, out=np.zeros_like(value), where=error > 0)


def _two_sided(value: Array, error: Array) -> Array:
    return np.asarray(2 * norm.sf(np.abs(_ratio(value, error))))


def _extreme(
    flow: Flow, value: Array, error: Array, among: NDArray[np.bool_], size: Array, name: str
) -> dict[str, Any] | None:
    """The place of the largest size among some cells, with the value and the standard error there."""
    if not among.any():
        return None
    cell = np.unravel_index(int(np.argmax(np.where(among, size, -np.inf))), size.shape)
    place = [float(centre[k]) for centre, k in zip(flow.grid.centres, cell, strict=True)]
    return {"place": place, name: float(value[cell]), "error": float(error[cell])}


def _place(extreme: Mapping[str, Any]) -> str:
    return f"({', '.join(f'{v:.3g}' for v in extreme['place'])})"


def _two_digits(value: float) -> str:
    """To two significant digits, without an exponent where that is short."""
    return f"{value:.2g}" if value == 0 or not 1e-4 <= abs(value) < 1e4 else _fixed(value, value)


def _plus_minus(value: float, error: float, *, sign: bool = False) -> str:
    """A value and its standard error, both to the error's two digits."""
    if not error > 0:
        return f"{value:+.3g}" if sign else f"{value:.3g}"
    text = _fixed(value, error)
    return f"{'+' if sign and value >= 0 else ''}{text} ± {_fixed(error, error)}"


def _fixed(value: float, by: float) -> str:
    """With as many decimals as give ``by`` two significant digits."""
    decimals = max(0, 1 - math.floor(math.log10(abs(by))))
    return f"{round(value, decimals) + 0.0:.{decimals}f}"
