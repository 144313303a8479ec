"""Worlds: planted basins that are born, grow, drift and fade in noise, with the truth beside the events."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray

from stpp.domain import Array, Box
from stpp.events import Events, Window
from stpp.kernels import TriggeringKernel
from stpp.simulation import BranchingSample, immigrants_for, simulate_branching

START = "2023-01-01T00:00:00+00:00"
AXES = ("sincerity", "charity")
AUTHORS = 400
NOISE = -1
"""The label of events that belong to no basin."""


@dataclass(frozen=True)
class Basin:
    """A Gaussian basin whose place and rate are closed functions of time (days since the world's start).

    The rate rises as a raised cosine from ``birth`` to ``peak`` and falls likewise from ``peak`` to ``death``. It
    neither rises nor falls on a side where that end is infinite.

    Parameters
    ----------
    name : what it shows
    centre : place at time 0, map units
    velocity : map units per day
    sd : standard deviation per axis, map units
    birth, peak, death : days
    height : rate at the peak, relative to the other basins'
    """

    name: str
    centre: tuple[float, ...]
    velocity: tuple[float, ...] = (0.0, 0.0)
    sd: float = 0.8
    birth: float = -math.inf
    peak: float = 0.0
    death: float = math.inf
    height: float = 1.0

    def rate(self, t: ArrayLike) -> Array:
        """(n,) relative rate at ``t``."""
        time = np.asarray(t, dtype=float)
        return self.height * _ramp(time, self.birth, self.peak) * _ramp(time, self.death, self.peak)

    def centre_at(self, t: ArrayLike) -> Array:
        """(n, d) centre at ``t``."""
        start, velocity = np.array(self.centre, dtype=float), np.array(self.velocity, dtype=float)
        return np.asarray(start + np.asarray(t, dtype=float)[:, None] * velocity)


def _ramp(t: Array, zero: float, peak: float) -> Array:
    """0 at ``zero``, 1 at ``peak`` and beyond it, a raised cosine between; 1 everywhere if ``zero`` is infinite."""
    if math.isinf(zero):
        return np.ones(len(t))
    return np.asarray(0.5 - 0.5 * np.cos(np.pi * np.clip((t - zero) / (peak - zero), 0, 1)))


@dataclass(frozen=True)
class World:
    """What is planted: basins, uniform noise, and self-excitation on top of both.

    Parameters
    ----------
    summary : one line
    basins : the planted basins
    noise : share of the background that is uniform over box and window
    branching : expected direct offspring per event, < 1
    kernel : where and when offspring fall
    box, duration : the domain and its days
    """

    summary: str
    basins: tuple[Basin, ...]
    noise: float = 0.15
    branching: float = 0.0
    kernel: TriggeringKernel = TriggeringKernel(decay=4.0, bandwidth=0.15)  # noqa: RUF009  (frozen)
    box: Box = Box((-6.0, -6.0), (6.0, 6.0))  # noqa: RUF009  (frozen)
    duration: float = 59.0


_STATIC = tuple(
    Basin(f"static {k}", centre)
    for k, centre in enumerate([(-2.5, -2.0), (2.8, -1.8), (-0.2, 2.5), (-3.2, 1.2), (2.2, 2.8)])
)

WORLDS: dict[str, World] = {
    "static": World("five basins that neither move nor change", _STATIC),
    "moving": World(
        "five basins of constant rate, four of which drift by 4 to 5 standard deviations",
        (
            Basin("to the right", (-4.0, -3.5), velocity=(0.07, 0.0)),
            Basin("upwards", (3.5, -3.5), velocity=(0.0, 0.05)),
            Basin("to the left", (3.2, 3.6), velocity=(-0.06, 0.0)),
            Basin("down and right", (-4.0, 3.6), velocity=(0.03, -0.04)),
            Basin("still", (0.5, 0.3)),
        ),
    ),
    "lifecycle": World(
        "basins that grow, fade, are born, pass like a storm, and drift",
        (
            Basin("steady and drifting", (-3.5, -2.5), velocity=(0.04, 0.0)),
            Basin("growing", (2.8, -1.8), birth=-10, peak=59),
            Basin("fading", (-0.2, 3.0), peak=0, death=45),
            Basin("born", (-3.6, 1.4), birth=20, peak=35),
            Basin("storm", (3.2, 3.0), birth=12, peak=24, death=36, height=1.5),
        ),
    ),
    "null": World("uniform noise: no basin, no dynamics", (), noise=1.0),
    "bursts": World("the static basins, and every event triggers others near it within hours", _STATIC, branching=0.5),
}


def simulate_world(name: str, n: int, seed: int) -> tuple[Events, dict[str, Any]]:
    """Events of a planted world, and its truth.

    Without self-excitation exactly ``n`` events are drawn: a multinomial number per basin, times from the basin's
    rate, places from its Gaussian at that time (drawn again when outside the box). With it, the number of
    immigrants is fixed so that ``n`` events are expected. Each event has heavy-tailed engagement (most have none)
    and an author; neither depends on the basin.

    Parameters
    ----------
    name : a key of :data:`WORLDS`
    n : number of events, ≥ 1
    seed : same seed, same events

    Returns
    -------
    Events with marks ``retweet_count``, ``favorite_count``, and the truth: ``labels`` (n,) basin id or −1 (noise;
    offspring carry the label of their cluster's immigrant), ``parent`` (n,) row or −1, ``basins`` with life span,
    sd, velocity, and daily ``centre`` and ``rate`` (background events per day), ``noise_rate``, ``branching``

    Raises
    ------
    ValueError
        if there is no such world, or ``n`` < 1
    """
    if name not in WORLDS:
        raise ValueError(f"no world '{name}'; there are: {', '.join(WORLDS)}")
    if n < 1:
        raise ValueError(f"a world needs at least 1 event; got {n}")
    world = WORLDS[name]
    rng = np.random.default_rng(seed)
    window = Window(0.0, world.duration)
    immigrants = max(1, round(immigrants_for(n, world.branching, world.kernel.decay, world.duration)))
    t, x, label = _background(world, immigrants, rng)
    kernels = [(world.kernel, world.branching)] if world.branching else []
    sample = simulate_branching(window, world.box, kernels, (t, x), None, None, rng)
    labels = _inherit(label, sample)
    author, authors = _authors(len(labels), rng)
    events = Events(
        sample.t, sample.x, author=author, authors=authors, marks=_engagement(labels, rng), epoch=START, axes=AXES
    )
    days = np.arange(math.ceil(world.duration) + 1, dtype=float)
    shares, total = _shares(world)
    truth = {
        "world": name,
        "summary": world.summary,
        "n": n,
        "seed": seed,
        "epoch": START,
        "window": [window.start, window.end],
        "box": world.box.to_list(),
        "axes": list(AXES),
        "noise_share": world.noise,
        "noise_rate": immigrants * shares[-1] / world.duration,
        "branching": world.branching,
        "kernel": {"decay": world.kernel.decay, "bandwidth": world.kernel.bandwidth} if world.branching else None,
        "days": days,
        "basins": [_describe(k, basin, days, immigrants / total) for k, basin in enumerate(world.basins)],
        "labels": labels,
        "parent": sample.parent,
    }
    return events, truth


def truth_path(events: Path) -> Path:
    """Where the truth of an events file lies: ``NAME.truth.json`` beside it."""
    return Path(events).with_suffix(".truth.json")


def write_truth(events: Path, truth: dict[str, Any]) -> Path:
    """Write the truth beside an events file, atomically; what is infinite (a basin without birth or death) is null.

    Parameters
    ----------
    events : path of the events file; the truth goes to :func:`truth_path`
    truth : as :func:`simulate_world` or :func:`stpp.simulation.simulate_hawkes` returns it

    Returns
    -------
    Path written
    """
    path = truth_path(events)
    temporary = path.with_name(path.name + ".tmp")
    try:
        temporary.write_text(json.dumps(truth, default=np.ndarray.tolist, allow_nan=False) + "\n")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def _shares(world: World) -> tuple[Array, float]:
    """Expected shares of the background per basin and (last) noise, and Σ ∫ rate / (1 − noise)."""
    grid = _time_grid(world)
    masses = np.array([np.trapezoid(basin.rate(grid), grid) for basin in world.basins])
    total = float(masses.sum()) / (1 - world.noise) if world.basins else 1.0
    return np.append(masses / total, world.noise), total


def _time_grid(world: World) -> Array:
    return np.linspace(0, world.duration, 8193)


def _background(world: World, n: int, rng: np.random.Generator) -> tuple[Array, Array, NDArray[np.int64]]:
    """Times in order, places and labels of ``n`` background events."""
    counts = rng.multinomial(n, _shares(world)[0])
    label = np.repeat(np.append(np.arange(len(world.basins)), NOISE), counts)
    t = np.empty(n)
    x = rng.uniform(world.box.low, world.box.high, size=(n, world.box.d))
    t[label == NOISE] = rng.uniform(0, world.duration, size=counts[-1])
    grid = _time_grid(world)
    for k, basin in enumerate(world.basins):
        rate = basin.rate(grid)
        cumulative = np.append(0, np.cumsum(rate[1:] + rate[:-1]))
        t[label == k] = np.interp(rng.uniform(0, cumulative[-1], size=counts[k]), cumulative, grid)
        open_rows = np.flatnonzero(label == k)
        while len(open_rows):
            centre = basin.centre_at(t[open_rows])
            x[open_rows] = rng.normal(centre, basin.sd)
            open_rows = open_rows[~world.box.contains(x[open_rows])]
    t = np.minimum(t, np.nextafter(world.duration, 0))  # the window is half open
    order = np.argsort(t, kind="stable")
    return t[order], x[order], label[order]


def _inherit(label: NDArray[np.int64], sample: BranchingSample) -> NDArray[np.int64]:
    """Labels of all events from those of the immigrants (both in time order)."""
    labels = np.empty(len(sample.t), dtype=np.int64)
    labels[sample.generation == 0] = label
    for generation in range(1, int(sample.generation.max()) + 1):
        rows = sample.generation == generation
        labels[rows] = labels[sample.parent[rows]]
    return labels


def _engagement(labels: NDArray[np.int64], rng: np.random.Generator) -> pa.Table:
    """Retweets and favourites: mostly 0, else a power law of exponent 2.5; noise is shared less."""
    noise = labels == NOISE
    columns = {}
    for name, silent, silent_noise in (("retweet_count", 0.75, 0.85), ("favorite_count", 0.70, 0.80)):
        size = 10 * (1 - rng.uniform(size=len(labels))) ** (-1 / 2.5)
        count = np.minimum(size, np.where(noise, 500, 1000)).astype(np.int64)
        heard = rng.uniform(size=len(labels)) >= np.where(noise, silent_noise, silent)
        columns[name] = np.where(heard, count, 0)
    return pa.table(columns)


def _authors(n: int, rng: np.random.Generator) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Authors with shares ∝ 1/(rank + 10): a few post a lot."""
    share = 1 / (np.arange(AUTHORS) + 10.0)
    code = rng.choice(AUTHORS, size=n, p=share / share.sum())
    return code.astype(np.int64), tuple(f"user{k:03d}" for k in range(AUTHORS))


def _describe(k: int, basin: Basin, days: Array, scale: float) -> dict[str, Any]:
    return {
        "id": k,
        "name": basin.name,
        "sd": basin.sd,
        "velocity": list(basin.velocity),
        "birth": basin.birth if math.isfinite(basin.birth) else None,
        "peak": basin.peak,
        "death": basin.death if math.isfinite(basin.death) else None,
        "centre": basin.centre_at(days),
        "rate": scale * basin.rate(days),
    }
