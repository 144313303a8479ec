"""Cluster (branching) simulation of triggering kernels, and a Hawkes process of known truth."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from stpp.domain import Array, Box
from stpp.events import Events, Window
from stpp.kernels.triggering import TriggeringKernel

MAX_EVENTS = 20_000_000
"""More events than this in one draw are refused: a cascade that large is an error in the kernels."""

PILOT = 10_000
"""Productivities drawn to estimate the branching ratio before a simulation starts."""

Productivity = Callable[[int, np.random.Generator], Array]
"""(n, rng) → (n, K) productivities of n new events under each of K kernels."""

Places = Callable[[int, np.random.Generator], Array]
"""(n, rng) → (n, d) places in the box."""


@dataclass(frozen=True)
class BranchingSample:
    """Events of one branching simulation, in time order.

    Parameters
    ----------
    t : (n,) days
    x : (n, d) places
    parent : (n,) row of the event that triggered it; −1 for immigrants and for offspring of the history
    history_parent : (n,) row in the history of the event that triggered it; −1 otherwise
    generation : (n,) 0 for immigrants, 1 for direct offspring (of the history too), …
    productivity : (n, K) productivity of each event under each kernel
    """

    t: Array
    x: Array
    parent: NDArray[np.int64]
    history_parent: NDArray[np.int64]
    generation: NDArray[np.int64]
    productivity: Array


def simulate_branching(
    window: Window,
    box: Box,
    kernels: Sequence[tuple[TriggeringKernel, float]],
    immigrants: tuple[Array, Array],
    history: Events | None,
    productivity: Productivity | None,
    rng: np.random.Generator,
    *,
    history_productivity: Array | None = None,
    anywhere: Places | None = None,
    allow_supercritical: bool = False,
    max_events: int = MAX_EVENTS,
) -> BranchingSample:
    """A draw of Σ_k c_k κ_k(m) g_k(t − t_j) φ_k(x − x_j) and its immigrants, generation by generation.

    Every event, old or new, has Poisson(c_k κ_k · share of the delays that end in the window) direct offspring
    under kernel k [1]_. Offspring outside the box are lost and trigger nothing. The work is O(n + history) array
    operations per generation.

    Parameters
    ----------
    window : events are drawn in [start, end)
    box : the domain
    kernels : (kernel, expected direct offspring per unit of productivity, before any is lost over the edge)
    immigrants : t (n,), x (n, d): background events inside window and box, in any order
    history : events whose offspring may fall in the window (those before its start count), or None
    productivity : draws (n, K) productivities of new events; None: all 1
    rng : the only source of randomness
    history_productivity : (m, K) productivities of the history; None: all 1
    anywhere : draws places for offspring of kernels of infinite bandwidth; None: uniform in the box
    allow_supercritical : simulate although the branching ratio is 1 or more
    max_events : refuse to draw more events than this

    Raises
    ------
    ValueError
        if immigrants lie outside, shapes disagree, the branching ratio is ≥ 1 (it is named), or the events would
        be more than ``max_events``

    References
    ----------
    .. [1] Hawkes & Oakes (1974), A cluster process representation of a self-exciting process.
    """
    draw = productivity or (lambda n, _: np.ones((n, len(kernels))))
    places = anywhere or (lambda n, g: g.uniform(box.low, box.high, size=(n, box.d)))
    if not allow_supercritical:
        _refuse_supercritical(branching_ratio(kernels, productivity))
    t, x = _checked_immigrants(immigrants, window, box)
    past_t, past_x, past_productivity = _past(history, history_productivity, window, box, len(kernels))

    times, spots, productivities = [t], [x], [draw(len(t), rng)]
    # A parent is named by its row in order of birth; row j of the history by −2 − j.
    parents = [np.full(len(t), -1, dtype=np.int64)]
    born = len(t)
    name = np.concatenate([-2 - np.arange(len(past_t)), np.arange(born)])
    frontier = (np.concatenate([past_t, t]), np.concatenate([past_x, x]))
    vigour = np.concatenate([past_productivity, productivities[0]])
    while len(name) and len(kernels):
        t, x, parent = _offspring(frontier, vigour, kernels, window, box, places, rng, max_events - born)
        times.append(t)
        spots.append(x)
        parents.append(name[parent])
        productivities.append(draw(len(t), rng))
        name = np.arange(born, born + len(t))
        born += len(t)
        frontier, vigour = (t, x), productivities[-1]

    generation = np.repeat(np.arange(len(times)), [len(part) for part in times])
    return _in_time_order(
        np.concatenate(times),
        np.concatenate(spots),
        np.concatenate(parents),
        np.concatenate(productivities),
        generation,
    )


def _in_time_order(
    t: Array, x: Array, parent: NDArray[np.int64], productivity: Array, generation: NDArray[np.int64]
) -> BranchingSample:
    """The sample sorted by time, parents renumbered from the order of birth."""
    order = np.argsort(t, kind="stable")
    row = np.full(len(t) + 1, -1)  # the last slot answers for −1
    row[order] = np.arange(len(t))
    return BranchingSample(
        t=t[order],
        x=x[order],
        parent=row[np.maximum(parent, -1)][order],
        history_parent=np.where(parent < -1, -2 - parent, -1)[order],
        generation=generation[order],
        productivity=productivity[order],
    )


def branching_ratio(kernels: Sequence[tuple[TriggeringKernel, float]], productivity: Productivity | None) -> float:
    """Expected direct offspring of a new event before edge losses: Σ_k c_k E[κ_k], by a seeded pilot draw of κ."""
    coefficients = np.array([c for _, c in kernels], dtype=float)
    if not (np.isfinite(coefficients).all() and (coefficients >= 0).all()):
        raise ValueError("kernel coefficients must be finite and ≥ 0")
    if productivity is None:
        return float(coefficients.sum())
    return float(productivity(PILOT, np.random.default_rng(0)).mean(axis=0) @ coefficients)


def _refuse_supercritical(ratio: float) -> None:
    if ratio >= 1:
        raise ValueError(
            f"the branching ratio is {ratio:.3g}: at 1 or more each event triggers at least another and the "
            "cascade does not die out; lower the coefficients or pass allow_supercritical=True"
        )


def _checked_immigrants(immigrants: tuple[Array, Array], window: Window, box: Box) -> tuple[Array, Array]:
    t, x = np.asarray(immigrants[0], dtype=float), np.asarray(immigrants[1], dtype=float)
    if t.ndim != 1 or x.shape != (len(t), box.d):
        raise ValueError(f"immigrants need t (n,) and x (n, {box.d}); got {t.shape} and {x.shape}")
    if not (((t >= window.start) & (t < window.end)).all() and box.contains(x).all()):
        raise ValueError("immigrants must lie inside the window and the box")
    return t, x


def _past(
    history: Events | None, productivity: Array | None, window: Window, box: Box, k: int
) -> tuple[Array, Array, Array]:
    """Times, places and productivities of the events before the window."""
    if history is None:
        return np.empty(0), np.empty((0, box.d)), np.empty((0, k))
    past = history.before(window.start)
    kappa = np.ones((len(history), k)) if productivity is None else np.asarray(productivity, dtype=float)
    if kappa.shape != (len(history), k):
        raise ValueError(f"history_productivity is {kappa.shape}; it needs {(len(history), k)}: a row per event")
    return past.t, past.x, kappa[: len(past)]


def _offspring(
    parents: tuple[Array, Array],
    productivity: Array,
    kernels: Sequence[tuple[TriggeringKernel, float]],
    window: Window,
    box: Box,
    places: Places,
    rng: np.random.Generator,
    room: int,
) -> tuple[Array, Array, NDArray[np.int64]]:
    """Times, places and parents (positions in ``parents``) of all direct offspring inside window and box."""
    t, x = parents
    since = np.maximum(t, window.start)  # an exponential has no memory: a delay that outlives the start begins anew
    times, spots, origins = [], [], []
    for k, (kernel, coefficient) in enumerate(kernels):
        within = -np.expm1(-kernel.decay * (window.end - since))
        mean = coefficient * productivity[:, k] * np.exp(-kernel.decay * (since - t)) * within
        if not (mean >= 0).all():
            raise ValueError("productivities must be numbers ≥ 0")
        cumulative = np.cumsum(mean)
        _refuse_above(room, float(cumulative[-1]))
        # The sum of the Poisson counts first, then whose they are: the same law, and no draw per childless event.
        n = int(rng.poisson(cumulative[-1]))
        origin = np.searchsorted(cumulative, np.sort(rng.uniform(0, cumulative[-1], size=n)), side="right")
        origin = np.minimum(origin, len(t) - 1)
        delay = -np.log1p(-rng.uniform(size=n) * within[origin]) / kernel.decay
        child = np.maximum(since[origin] + delay, np.nextafter(t[origin], np.inf))  # strictly after, even when rounded
        if math.isinf(kernel.bandwidth):
            spot = places(n, rng)
        else:
            spot = x[origin] + kernel.sample_displacements(n, box.d, rng)
        kept = box.contains(spot) & (child < window.end)
        times.append(child[kept])
        spots.append(spot[kept])
        origins.append(origin[kept])
        room -= len(times[-1])
        _refuse_above(room, 0)
    return np.concatenate(times), np.concatenate(spots), np.concatenate(origins)


def _refuse_above(room: int, expected: float) -> None:
    if not expected <= room:
        raise ValueError(
            "the simulation exceeds max_events: the kernels are close to or above a branching ratio of 1, or the "
            "rate is too high; shorten the window, lower the coefficients or raise max_events"
        )


# -- a Hawkes process with known truth ----------------------------------------------------------------------


def immigrants_for(n: float, offspring: float, decay: float, duration: float) -> float:
    """How many uniform immigrants an exponential Hawkes process needs for ``n`` expected events in a window.

    From E N(T) = μ/(1 − η)·[T − η (1 − e^{−β(1−η)T})/(β(1 − η))], started empty [1]_.

    Parameters
    ----------
    n : expected events
    offspring : η < 1, expected direct offspring that stay in the box
    decay : β, per day
    duration : T, days

    References
    ----------
    .. [1] Hawkes (1971), Spectra of some self-exciting and mutually exciting point processes.
    """
    late = -offspring * math.expm1(-decay * (1 - offspring) * duration) / (decay * (1 - offspring))
    return n * (1 - offspring) * duration / (duration - late)


def family_size(branching: float, bandwidth: float, d: int, cells: int = 400) -> float:
    """Expected events per cluster on the unit box, the immigrant (uniform) included; 1/(1 − η) without edges.

    Σ_k η^k s_k^d, s_k being the probability that one coordinate of a random walk stays inside for k steps: each
    generation lost at the edges also thins the next ones there, so that one average mass would be biased.
    """
    edges = np.linspace(0, 1, cells + 1)
    centres = (edges[1:] + edges[:-1]) / 2
    step = np.diff(ndtr((edges[:, None] - centres) / bandwidth), axis=0).T  # (from, to)
    alive, size, share = np.ones(cells), 0.0, 1.0
    while share > 1e-9:
        size += share * float(alive.mean()) ** d
        alive = step @ alive
        share *= branching
    return size


def simulate_hawkes(
    n: int,
    seed: int,
    d: int = 2,
    branching: float = 0.6,
    decay: float = 1.0,
    bandwidth: float = 0.02,
    duration: float = 1000.0,
) -> tuple[Events, dict[str, Any]]:
    """A Hawkes process on the unit box with a uniform background, and its truth.

    Parameters
    ----------
    n : expected number of events (the number drawn varies); the background rate is set to reach it
    seed : same seed, same events
    d : dimensions
    branching : expected direct offspring per event, before any is lost over the edge, < 1
    decay : β, per day
    bandwidth : h, standard deviation per axis of the displacement from parent to offspring
    duration : days

    Returns
    -------
    Events, and a dict of the parameters with ``parent`` (n,), the row of each event's parent or −1

    Raises
    ------
    ValueError
        if a parameter is out of its range
    """
    if n < 1 or d < 1 or not (0 <= branching < 1 and decay > 0 and bandwidth > 0 and duration > 0):
        raise ValueError(
            f"a Hawkes process needs n ≥ 1, d ≥ 1, 0 ≤ branching < 1 and positive decay, bandwidth and duration; got "
            f"n={n}, d={d}, branching={branching:g}, decay={decay:g}, bandwidth={bandwidth:g}, duration={duration:g}"
        )
    rng = np.random.default_rng(seed)
    box, window = Box((0.0,) * d, (1.0,) * d), Window(0.0, duration)
    expected = immigrants_for(n, 1 - 1 / family_size(branching, bandwidth, d), decay, duration)
    count = int(rng.poisson(expected))
    background = (rng.uniform(0, duration, size=count), rng.uniform(size=(count, d)))
    sample = simulate_branching(
        window, box, [(TriggeringKernel(decay, bandwidth), branching)], background, None, None, rng
    )
    truth = {
        "world": "hawkes",
        "n": n,
        "seed": seed,
        "window": [window.start, window.end],
        "box": box.to_list(),
        "background_rate": expected / duration,
        "branching": branching,
        "decay": decay,
        "bandwidth": bandwidth,
        "parent": sample.parent,
    }
    return Events(sample.t, sample.x), truth
