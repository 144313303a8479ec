"""Where flow models look for their parameters: the search space in units of the data, and the way back."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from stpp.fitting.search import Between, Space, nearest

FRAMES = (1.0, 2.0, 4.0, 8.0, 16.0)
"""Lengths of a frame that are tried, in forecast horizons."""

FIRST_FRAMES = 3
"""How many of them the search begins with."""

UNITS = {
    "frame": "horizons",
    "half_life": "horizons",
    "snapshot_bandwidth": "scott_bandwidths",
    "velocity_prior": "snapshot_bandwidths_per_frame",
    "growth_prior": "1_per_frame",
    "carried_bandwidth": "spreads",
    "diffusion": "squared_carried_bandwidths_per_horizon",
    "smoothing": "snapshot_bandwidths",
    "epsilon": "squared_snapshot_bandwidths",
    "unbalance": "squared_snapshot_bandwidths",
}
"""What a search measures its parameters in; the others have no unit."""

MOST_OF_THE_PAST = 0.5
"""Share of the training time that the history window of a search may take."""


@dataclass(frozen=True)
class FlowSearch:
    """The search for the parameters of one flow model on one set of training events.

    Parameters
    ----------
    d : dimensions
    n, rate, duration : events, events per day and days of training
    spread : of the places, root mean square of the axes' standard deviations, map units
    weighted : whether importance differs between events
    horizon : days ahead that is forecast
    frame, history_window : as given, or NaN and 0 where they are to be learned
    finest : least bandwidth of a snapshot, map units
    half_life, bandwidth : of the largest part of the decaying KDE, days and map units; the first trials carry it: they
        gain as soon as there is motion, where another kernel has share 0 whatever moves, and nothing to climb
    pair, default_pair : space and sensible values of what one pair of snapshots needs
    """

    d: int
    n: int
    rate: float
    duration: float
    spread: float
    weighted: bool
    horizon: float
    frame: float
    history_window: int
    finest: float
    half_life: float
    bandwidth: float
    pair: Space
    default_pair: dict[str, float]

    @property
    def space(self) -> Space:
        """Where to look."""
        scott = self.n ** (-1 / (self.d + 4))
        space: dict[str, Between | Sequence[float]] = {
            "frame": self._frames,
            "history_window": Between(2, 10, whole=True),
            "momentum": Between(0.3, 1.0),
            "snapshot_bandwidth": (0.35, 0.5, 0.7, 1.0, 1.4),
            "velocity_prior": Between(0.01, 1.0, log=True),
            "growth_prior": Between(0.01, 1.0, log=True),
            "drift_scale": Between(0.0, 1.5),
            "growth_scale": Between(0.0, 1.5),
            "diffusion": Between(1e-3, 1.0, log=True),
            "half_life": Between(0.5, 64.0, log=True),
            "carried_bandwidth": Between(scott / 4, 0.5, log=True),
            "importance": Between(0.0, 1.0),
            **self.pair,
        }
        inert = {"frame": self.frame > 0, "history_window": self.history_window > 0, "importance": not self.weighted}
        return {name: where for name, where in space.items() if not inert.get(name)}

    @property
    def _frames(self) -> Sequence[float]:
        """Lengths of a frame to try, in horizons: two of them shall fit."""
        longest = MOST_OF_THE_PAST * self.duration / (2 * self.horizon)
        return [frame for frame in FRAMES if frame <= longest] or FRAMES[:1]

    @property
    def defaults(self) -> dict[str, float]:
        """A steady flow, believed as it is measured: what is left if nothing is gained."""
        values = {
            "frame": 1.0,
            "history_window": 5.0,
            "momentum": 0.9,
            "snapshot_bandwidth": 0.5,
            "velocity_prior": 0.2,
            "growth_prior": 0.1,
            "drift_scale": 1.0,
            "growth_scale": 0.5,
            "diffusion": 0.01,
            "half_life": self.half_life / self.horizon,
            "carried_bandwidth": self.bandwidth / self.spread,
            "importance": 1.0,
            **self.default_pair,
        }
        return {name: nearest(values[name], where) for name, where in self.space.items()}

    @property
    def start(self) -> list[dict[str, float]]:
        """The trials to begin with."""
        if "frame" not in self.space:
            return [self.defaults]
        return [self.defaults | {"frame": frame} for frame in self._frames[:FIRST_FRAMES]]

    def fields(self, found: dict[str, float]) -> dict[str, Any]:
        """Fields of the model, in days and map units, from a point of the search space.

        Times are in horizons, the snapshots' bandwidth in Scott's rule for the events of one frame, the priors in
        snapshot bandwidths per frame and per frame, the carried bandwidth in the spread, diffusion in squared carried
        bandwidths per horizon. A learned history window is at most ``MOST_OF_THE_PAST``.
        """
        frame, frames = self.frame, self.history_window
        if "frame" in found:
            frame = found["frame"] * self.horizon
        if "history_window" in found:
            frames = max(2, min(int(found["history_window"]), int(MOST_OF_THE_PAST * self.duration / frame)))
        scott = self.spread * max(self.rate * frame, 1.0) ** (-1 / (self.d + 4))
        snapshot = max(found["snapshot_bandwidth"] * scott, self.finest)
        bandwidth = found["carried_bandwidth"] * self.spread
        same = ("momentum", "drift_scale", "growth_scale", *self.pair)
        return {name: found[name] for name in same} | {
            "frame": frame,
            "history_window": frames,
            "snapshot_bandwidth": snapshot,
            "velocity_prior": found["velocity_prior"] * snapshot / frame,
            "growth_prior": found["growth_prior"] / frame,
            "diffusion": found["diffusion"] * bandwidth**2 / self.horizon,
            "carried_decay": math.log(2) / (found["half_life"] * self.horizon),
            "carried_bandwidth": bandwidth,
            "importance": found.get("importance", 1.0),
        }
