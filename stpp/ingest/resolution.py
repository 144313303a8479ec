"""How finely times and places are known, and events spread out over what is not.

Dates without hours, and places on a lattice, tie events that did not happen together. A kernel finer than the step
then sees pairs at distance 0 or none at all: of a planted branching ratio of 0.6, 0.0 was left in times cut to days,
and 0.94 came out of places rounded to a twentieth of the map. A likelihood of the events that the rounding hides would
integrate over where in its step each may lie; one seeded draw of that is what is taken here.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from stpp.domain import Array
from stpp.events import Events

STEPS = {"1 day": 1.0, "12 hours": 0.5, "6 hours": 0.25, "1 hour": 1 / 24}
"""Steps of time that are looked for, in days; finer ones blur nothing that a kernel of minutes cannot bear."""

_NAMES = {step: name for name, step in STEPS.items()}

NEAR = 1e-6
"""Of a step, within which a value counts as one of its multiples."""

FEWEST = 20
"""Events without which nothing is said."""

CROWDED = 5
"""Events per value of a coordinate from which on its values may be a lattice."""


def time_step(t: Array) -> float:
    """The coarsest of :data:`STEPS` that all times are whole multiples of, up to a common shift; 0 where none is.

    Examples
    --------
    >>> time_step(np.arange(100.0))
    1.0
    """
    if len(t) < FEWEST:
        return 0.0
    for step in STEPS.values():
        rest = (t - t[0]) / step
        if np.abs(rest - np.rint(rest)).max() < NEAR:
            return step if np.ptp(t) > 0 else 0.0
    return 0.0


def place_steps(x: Array) -> Array:
    """(d,) step of the lattice that the places (n, d) lie on, by axis; 0 where they lie on none."""
    steps = np.zeros(x.shape[1])
    for axis, values in enumerate(x.T):
        known = np.unique(values)
        if len(values) < FEWEST or len(known) < 2 or len(values) < CROWDED * len(known):
            continue
        step = float(np.diff(known).min())
        multiples = (known - known[0]) / step
        if np.abs(multiples - np.rint(multiples)).max() < 1e3 * NEAR:
            steps[axis] = step
    return steps


def spread_out(events: Events) -> tuple[Events, list[str]]:
    """The events, each somewhere within the step of time and the cell of the lattice that it was rounded to.

    Times were cut, so that events lie up to a step later; places were rounded, so that they lie up to half a step to
    either side, within the range of all. The same events give the same draw.

    Returns
    -------
    the events, as they are where they are known finely; and what was done, in words
    """
    late, wide = time_step(events.t), place_steps(events.x)
    if not late and not wide.any():
        return events, []
    rng, told = np.random.default_rng(0), []
    t, x = events.t, events.x
    if late:
        t = t + rng.uniform(0, late, len(events))
        told.append(
            f"times are known to {_NAMES[late]} only: events are spread out over it, and nothing finer is known"
        )
    if wide.any():
        inside = x + rng.uniform(-wide / 2, wide / 2, x.shape)
        x = np.clip(inside, x.min(axis=0), x.max(axis=0))
        steps = ", ".join(f"{name} {step:.3g}" for name, step in zip(events.axes, wide.tolist(), strict=True) if step)
        told.append(f"places lie on a lattice (steps of {steps}): events are spread out over its cells")
    return replace(events, t=t, x=x), told
