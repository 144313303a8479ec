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
from stpp.kernels.triggering import TriggeringKernel
from stpp.simulation.branching import BranchingSample, immigrants_for, simulate_branching

START = "2023-01-01T00:00:00+00:00"
AXES = ("sincerity", "charity")
AUTHORS = 400
NOISE = -1
"""The label of events that belong to no basin."""


@dataclass(frozen=True)
class PlantedBasin:
    """A Gaussian basin, or an arc, whose place and rate are closed functions of time (days since the world's start).

    The rate rises as a raised cosine from ``birth`` to ``peak`` and falls likewise from ``peak`` to ``death``. It
    neither rises nor falls on a side where that end is infinite.

    Parameters
    ----------
    name : what it shows
    centre : place at time 0, map units
    velocity : map units per day; still if empty
    sd : standard deviation per axis, map units
    birth, peak, death : days
    height : rate at the peak, relative to the other basins'
    arc : radius in map units, first and last angle in radians: where given (2-d only), posts lie along this arc around
        the centre, ``sd`` away from it
    """

    name: str
    centre: tuple[float, ...]
    velocity: tuple[float, ...] = ()
    sd: float = 0.8
    birth: float = -math.inf
    peak: float = 0.0
    death: float = math.inf
    height: float = 1.0
    arc: tuple[float, float, float] | None = None

    def rate(self, t: ArrayLike) -> Array:
        """(n,) relative rate at ``t``."""
        time = np.asarray(t, dtype=float)
        return self.height * _ramp(time, self.birth, self.peak) * _ramp(time, self.death, self.peak)

    def centre_at(self, t: ArrayLike) -> Array:
        """(n, d) centre at ``t``."""
        start, velocity = np.array(self.centre), np.array(self.velocity or np.zeros(len(self.centre)))
        return np.asarray(start + np.asarray(t, dtype=float)[:, None] * velocity)

    def places(self, t: Array, rng: np.random.Generator) -> Array:
        """(n, d) places of posts at ``t``, wherever they fall."""
        middle = self.centre_at(t)
        if self.arc is not None:
            radius, first, last = self.arc
            angle = rng.uniform(first, last, len(t))
            middle = middle + radius * np.column_stack([np.cos(angle), np.sin(angle)])
        return np.asarray(rng.normal(middle, self.sd))


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
    basins: tuple[PlantedBasin, ...]
    noise: float = 0.15
    branching: float = 0.0
    kernel: TriggeringKernel = TriggeringKernel(decay=4.0, bandwidth=0.15)  # noqa: RUF009  (frozen)
    box: Box = Box((-6.0, -6.0), (6.0, 6.0))  # noqa: RUF009  (frozen)
    duration: float = 59.0


def _storms(days: float = 182.0, n: int = 44, apart: float = 2.4) -> tuple[PlantedBasin, ...]:
    """Storms of 2 to 8 weeks, always the same ones, none so near another of its time that the two would be one."""
    rng = np.random.default_rng(2026)
    storms: list[PlantedBasin] = []
    while len(storms) < n:
        birth, life = float(rng.uniform(-28, days - 7)), float(rng.uniform(14, 56))
        centre, share = rng.uniform(-5, 5, 2), float(rng.uniform(0.25, 0.6))
        rivals = [s for s in storms if s.birth < birth + life and birth < s.death]
        if all(math.dist(centre, s.centre) >= apart for s in rivals):
            place = (round(float(centre[0]), 2), round(float(centre[1]), 2))
            height, end = float(rng.uniform(0.5, 1.5)), birth + life
            storms.append(
                PlantedBasin(f"storm {len(storms)}", place, (), 0.6, birth, birth + share * life, end, height)
            )
    return tuple(storms)


def _blobs(d: int) -> World:
    """Six basins in d dimensions, their centres on a sphere of radius 3."""
    rng = np.random.default_rng(d)
    centres = rng.normal(size=(6, d))
    centres *= 3 / np.linalg.norm(centres, axis=1, keepdims=True)
    basins = tuple(PlantedBasin(f"blob {k}", tuple(map(float, centre))) for k, centre in enumerate(centres))
    return World(f"six basins in {d} dimensions", basins, box=Box((-6.0,) * d, (6.0,) * d))


_STATIC = tuple(
    PlantedBasin(f"static {k}", centre)
    for k, centre in enumerate([(-2.5, -2.0), (2.8, -1.8), (-0.2, 2.5), (-3.2, 1.2), (2.2, 2.8)])
)

WORLDS: dict[str, World] = {
    "static": World("five basins that neither move nor change", _STATIC),
    "moving": World(
        "five basins of constant rate, four of which drift by 4 to 5 standard deviations",
        (
            PlantedBasin("to the right", (-4.0, -3.5), velocity=(0.07, 0.0)),
            PlantedBasin("upwards", (3.5, -3.5), velocity=(0.0, 0.05)),
            PlantedBasin("to the left", (3.2, 3.6), velocity=(-0.06, 0.0)),
            PlantedBasin("down and right", (-4.0, 3.6), velocity=(0.03, -0.04)),
            PlantedBasin("still", (0.5, 0.3)),
        ),
    ),
    "lifecycle": World(
        "basins that grow, fade, are born, pass like a storm, and drift",
        (
            PlantedBasin("steady and drifting", (-3.5, -2.5), velocity=(0.04, 0.0)),
            PlantedBasin("growing", (2.8, -1.8), birth=-10, peak=59),
            PlantedBasin("fading", (-0.2, 3.0), peak=0, death=45),
            PlantedBasin("born", (-3.6, 1.4), birth=20, peak=35),
            PlantedBasin("storm", (3.2, 3.0), birth=12, peak=24, death=36, height=1.5),
        ),
    ),
    "storms": World("basins that are born, live for 2 to 8 weeks and die, all the time", _storms(), duration=182.0),
    "merging": World(
        "two basins that merge on day 40, two that part on day 21, and one that is still",
        (
            PlantedBasin("from the left", (-4.0, 2.0), velocity=(0.08, 0.0)),
            PlantedBasin("from the right", (4.0, 2.0), velocity=(-0.08, 0.0)),
            PlantedBasin("parting to the left", (0.7, -3.0), velocity=(-0.07, 0.0)),
            PlantedBasin("parting to the right", (-0.7, -3.0), velocity=(0.07, 0.0)),
            PlantedBasin("still", (0.0, 5.0), sd=0.5),
        ),
    ),
    "unequal": World(
        "five basins of very unequal size and density",
        (
            PlantedBasin("small and dense", (-3.5, -3.0), sd=0.25, height=0.4),
            PlantedBasin("wide", (2.8, -2.6), sd=1.2, height=2.0),
            PlantedBasin("common", (-3.0, 3.0), sd=0.7),
            PlantedBasin("thin", (3.2, 3.2), sd=0.9, height=0.5),
            PlantedBasin("tiny", (-0.3, 0.3), sd=0.2, height=0.15),
        ),
    ),
    "rings": World(
        "basins that are not convex: a ring around a blob, and two arcs that clasp each other",
        (
            PlantedBasin("blob", (-2.8, 2.5), sd=0.4, height=0.5),
            PlantedBasin("ring", (-2.8, 2.5), sd=0.25, arc=(2.2, 0.0, 2 * math.pi), height=2.0),
            PlantedBasin("upper arc", (1.2, -2.6), sd=0.25, arc=(2.0, 0.0, math.pi)),
            PlantedBasin("lower arc", (3.2, -2.0), sd=0.25, arc=(2.0, math.pi, 2 * math.pi)),
        ),
    ),
    "blobs8": _blobs(8),
    "blobs16": _blobs(16),
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
        sample.t,
        sample.x,
        author=author,
        authors=authors,
        marks=_engagement(labels, rng),
        epoch=START,
        axes=AXES if world.box.d == len(AXES) else (),
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
        "axes": list(events.axes),
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
    truth : as :func:`simulate_world` or :func:`stpp.simulation.branching.simulate_hawkes` returns it

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
            x[open_rows] = basin.places(t[open_rows], rng)
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


def _describe(k: int, basin: PlantedBasin, days: Array, scale: float) -> dict[str, Any]:
    return {
        "id": k,
        "name": basin.name,
        "sd": basin.sd,
        "velocity": list(basin.velocity or (0.0,) * len(basin.centre)),
        "arc": None if basin.arc is None else list(basin.arc),
        "birth": basin.birth if math.isfinite(basin.birth) else None,
        "peak": basin.peak,
        "death": basin.death if math.isfinite(basin.death) else None,
        "centre": basin.centre_at(days),
        "rate": scale * basin.rate(days),
    }
