"""What flow models share: a decaying KDE, part of which is carried along by a flow learned from recent snapshots."""

from __future__ import annotations

import math
import time
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from stpp.background import RunningMixture
from stpp.carried import CarriedDensity, RunningCarried
from stpp.domain import MAX_GRID_DIMENSIONS, Array, Grid
from stpp.events import Events, Window
from stpp.fitting import Parameter, spread_of
from stpp.flow import Evidence, FlowEstimator
from stpp.intensity import AnyForecast, Forecast
from stpp.models.kde import DecayingKDE
from stpp.rehearsal import Rehearsal
from stpp.tuning import Between, Progress, Space, search

if TYPE_CHECKING:
    import pandas as pd

FRAMES = (1.0, 2.0, 4.0, 8.0, 16.0)
"""Lengths of a frame that are tried, in forecast horizons."""

FLOW_CELLS = {1: 128, 2: 64, 3: 20}
"""Dimensions → cells per axis of the grid on which a flow is estimated."""

NATS_PER_PARAMETER = 1.0
"""What each learned parameter must gain in rehearsals for a flow to be believed (Akaike 1974)."""


@dataclass(frozen=True, kw_only=True, eq=False)
class FlowModel(DecayingKDE):
    """λ(t, x) = ground rate(t) · [(1 − c) · decaying KDE + c · a decaying KDE that moves].

    The moving part is a :class:`stpp.carried.CarriedDensity`: posts of the last ``history_window`` frames are carried
    along by the flow that their own snapshots show, and spread by diffusion and by what is not known of the velocity.
    Its parameters are learned by predictive log score on rolling windows inside the training past, and c with them;
    c is 0, which is the decaying KDE, unless each parameter gains ``NATS_PER_PARAMETER`` in all.

    Parameters
    ----------
    trials : how many sets of parameters are tried
    tuning_seconds : stop trying after so long; None: never
    seed : of the search
    tune : ``log-score``, or ``fds``, which is improper and rewards forecasts that are too sharp
    carried_share : c, set by the fit as are all below
    carried_decay, carried_bandwidth : of the moving kernel density, per day and map units
    frame, history_window : days per snapshot, and how many feed the flow; learned unless they are given
    snapshot_bandwidth : map units
    momentum : weight of a frame relative to the next one
    speed, pace : prior standard deviations of velocity (map units per day) and growth (per day)
    drift_scale, growth_scale : shares of velocity and growth that are believed
    diffusion : map units² per day
    weighted : whether the flow counts posts by their importance
    origin : issue times are counted from this day
    tried_names, tried : every trial: names of the P parameters, and (T, P + 1) their values and the score
    """

    trials: int = 40
    tuning_seconds: float | None = None
    seed: int = 0
    tune: str = "log-score"
    carried_share: float = 0.0
    carried_decay: float = 1.0
    carried_bandwidth: float = 1.0
    frame: float = math.nan
    history_window: int = 0
    snapshot_bandwidth: float = 1.0
    momentum: float = 1.0
    speed: float = 1.0
    pace: float = 1.0
    drift_scale: float = 0.0
    growth_scale: float = 0.0
    diffusion: float = 0.0
    weighted: bool = True
    origin: float = 0.0
    tried_names: tuple[str, ...] = ()
    tried: Array = field(default_factory=lambda: np.zeros((0, 0)))

    def __post_init__(self) -> None:
        if self.tune not in ("log-score", "fds"):
            raise ValueError(f"--tune is log-score or fds, not '{self.tune}'")
        if self.frame <= 0 or self.history_window == 1 or self.history_window < 0:
            raise ValueError("a flow needs a --frame longer than 0 and a --history-window of at least 2 frames")

    @abstractmethod
    def pair(self, before: Array, after: Array, dispersion: float) -> Evidence:
        """What two consecutive snapshots say about velocity and growth."""

    @abstractmethod
    def pair_space(self) -> Space:
        """Where to look for the parameters of :meth:`pair`, which are fields of the same names."""

    @abstractmethod
    def steady_pair(self) -> dict[str, float]:
        """Sensible values of them."""

    @property
    @abstractmethod
    def smoothness(self) -> float:
        """Distance over which errors of the flow go together, map units."""

    @property
    def flow_grid(self) -> Grid:
        """The grid of snapshots and flows."""
        return Grid.over(self.domain, FLOW_CELLS[self.domain.d])

    @property
    def estimator(self) -> FlowEstimator:
        """The flow that goes with the parameters."""
        return FlowEstimator(
            grid=self.flow_grid,
            frame=self.frame,
            frames=self.history_window,
            bandwidth=self.snapshot_bandwidth,
            momentum=self.momentum,
            speed=self.speed,
            pace=self.pace,
            weighted=self.weighted,
            pair=self.pair,
        )

    @property
    def carried(self) -> CarriedDensity:
        """The part of the density that moves."""
        return CarriedDensity(
            box=self.domain,
            decay=self.carried_decay,
            bandwidth=self.carried_bandwidth,
            estimator=self.estimator,
            drift_scale=self.drift_scale,
            diffusion=self.diffusion,
            growth_scale=self.growth_scale,
            origin=self.origin,
            horizon=self.horizon,
        )

    def refuse_shorter(self, window: Window) -> None:
        """Raise ValueError if the history window, as far as it is known, is longer than a window of data."""
        from stpp.columns import in_words

        frame = self.frame if self.frame > 0 else FRAMES[0] * self.horizon
        if self.history_window * frame > window.duration:
            raise ValueError(
                f"the history window of {self.history_window} frames of {in_words(frame)} is longer than the "
                f"{in_words(window.duration)} of data: shorten --frame or --history-window"
            )

    # -- learning -------------------------------------------------------------------------------------------------

    def fit(self, events: Events, window: Window, *, progress: Progress | None = None) -> Self:
        """The decaying KDE, then what moves: its parameters by search, all shares at their one optimum.

        Raises
        ------
        ValueError
            above 3 dimensions, if there are no events to learn from, or as :meth:`refuse_shorter`
        """
        if self.domain.d > MAX_GRID_DIMENSIONS:
            raise ValueError(
                f"{self.name} estimates a flow on a grid, for up to {MAX_GRID_DIMENSIONS} dimensions, and these events "
                f"have {self.domain.d}: use fewer --coords"
            )
        self.refuse_shorter(window)
        began = time.perf_counter()
        past = events.before(window.end)
        still = replace(super().fit(events, window), origin=window.start)
        rehearsal = Rehearsal.of(past, window, still.mixture, self.horizon)
        spread = spread_of(past)
        rate = len(past.between(window)) / window.duration

        def gains(found: dict[str, float]) -> Iterator[float]:
            return rehearsal.gains(still.scaled(found, spread, rate).carried.at, self.domain, self.tune)

        space = self.space(len(past), bool(np.ptp(past.weight) > 0))
        steady = self.steady(len(past), space)
        study = search(
            gains,
            space,
            trials=self.trials if len(rehearsal) else 0,
            seed=self.seed,
            seconds=self.tuning_seconds,
            start=[steady | {"frame": frame} for frame in FRAMES[:3]] if "frame" in space else [steady],
            progress=progress,
        )
        fitted = replace(still.scaled(steady, spread, rate), tried_names=study.names, tried=study.trials)
        gain = 0.0
        if study.best is not None:
            found = fitted.scaled(study.best, spread, rate)
            shares, gain = rehearsal.shares(found.carried.at)
            if gain > NATS_PER_PARAMETER * len(space):
                moving = float(shares[-1])
                fitted = replace(found, shares=shares[:-1] / (1 - moving), carried_share=moving)
        return fitted.reported(past, window, gain / max(len(rehearsal), 1), len(space), time.perf_counter() - began)

    def reported(self, past: Events, window: Window, gain: float, learned: int, seconds: float) -> Self:
        """With what the fit reports."""
        assert self.result is not None, "the decaying KDE was fitted first"
        improper = ", chosen by FDS (improper)" if self.tune == "fds" else ""
        parameters = {
            "share that is carried": Parameter(self.carried_share),
            "gain of the flow in rehearsals" + improper: Parameter(gain, None, "nats/event"),
            "trials": Parameter(float(len(self.tried))),
            "half-life of what is carried": Parameter(math.log(2) / self.carried_decay, None, "days"),
            "bandwidth of what is carried": Parameter(self.carried_bandwidth, None, "map units"),
            "frame": Parameter(self.frame, None, "days"),
            "history window": Parameter(self.history_window, None, "frames"),
            "momentum": Parameter(self.momentum),
            "drift scale": Parameter(self.drift_scale),
            "growth scale": Parameter(self.growth_scale),
            "diffusion": Parameter(self.diffusion, None, "map units²/day"),
        }
        result = replace(self.result, parameters=self.result.parameters | parameters, seconds=seconds)
        if self.carried_share > 0:
            free = result.free_parameters + learned + 1
            result = replace(result, free_parameters=free, log_likelihood=self.log_likelihood(past, window))
        return replace(self, result=result)

    def space(self, n: int, weighted: bool) -> Space:
        """Where to look for parameters, in units of the data (:meth:`scaled`)."""
        scott = n ** (-1 / (self.domain.d + 4))
        space: dict[str, Between | Sequence[float]] = {
            "frame": FRAMES,
            "history_window": Between(2, 10, whole=True),
            "momentum": Between(0.3, 1.0),
            "snapshot_bandwidth": (0.35, 0.5, 0.7, 1.0, 1.4),
            "speed": Between(0.01, 1.0, log=True),
            "pace": Between(0.01, 1.0, log=True),
            "drift_scale": Between(0.0, 1.5),
            "growth_scale": Between(0.0, 1.5),
            "diffusion": Between(1e-3, 1.0, log=True),
            "carried_decay": Between(0.5, 64.0, log=True),
            "carried_bandwidth": Between(scott / 4, 0.5, log=True),
            "weighted": (0.0, 1.0),
            **self.pair_space(),
        }
        settled = {"frame": self.frame > 0, "history_window": self.history_window > 0, "weighted": not weighted}
        return {name: where for name, where in space.items() if not settled.get(name)}

    def steady(self, n: int, space: Space) -> dict[str, float]:
        """A steady flow, believed as it is measured: where the search starts, and what is left if nothing is gained."""
        values = {
            "frame": 1.0,
            "history_window": 5.0,
            "momentum": 0.9,
            "snapshot_bandwidth": 0.5,
            "speed": 0.2,
            "pace": 0.1,
            "drift_scale": 1.0,
            "growth_scale": 0.5,
            "diffusion": 0.01,
            "carried_decay": 4.0,
            "carried_bandwidth": min(n ** (-1 / (self.domain.d + 4)), 0.5),
            "weighted": 1.0,
            **self.steady_pair(),
        }
        return {name: value for name, value in values.items() if name in space}

    def scaled(self, found: dict[str, float], spread: float, rate: float) -> Self:
        """With the parameters of a trial, turned from units of the data into days and map units.

        Times are in horizons, the snapshots' bandwidth in Scott's rule for the events of one frame, speed and pace in
        snapshot bandwidths per frame and per frame, the carried bandwidth in ``spread``, diffusion in its squares per
        horizon.

        Parameters
        ----------
        found : name → value
        spread : root mean square of the axes' standard deviations, map units
        rate : events per day
        """
        frame = found["frame"] * self.horizon if "frame" in found else self.frame
        scott = spread * max(rate * frame, 1.0) ** (-1 / (self.domain.d + 4))
        snapshot = max(found["snapshot_bandwidth"] * scott, 0.75 * float(self.flow_grid.spacing.max()))
        bandwidth = found["carried_bandwidth"] * spread
        of_pairs: dict[str, Any] = {name: found[name] for name in self.pair_space()}
        return replace(
            self,
            **of_pairs,
            frame=frame,
            history_window=int(found.get("history_window", self.history_window)),
            momentum=found["momentum"],
            snapshot_bandwidth=snapshot,
            speed=found["speed"] * snapshot / frame,
            pace=found["pace"] / frame,
            drift_scale=found["drift_scale"],
            growth_scale=found["growth_scale"],
            diffusion=found["diffusion"] * bandwidth**2 / self.horizon,
            carried_decay=math.log(2) / (found["carried_decay"] * self.horizon),
            carried_bandwidth=bandwidth,
            weighted=bool(found.get("weighted", True)),
        )

    def trials_table(self) -> pd.DataFrame:
        """Every trial: its parameters in units of the data, and its gain in rehearsals (NaN: given up half-way)."""
        import pandas as pd

        score = "nats_per_event" if self.tune == "log-score" else "fds"
        return pd.DataFrame(self.tried, columns=[*self.tried_names, score])

    # -- the intensity --------------------------------------------------------------------------------------------

    def intensity(self, t: Array, x: Array, history: Events) -> Array:
        """(n,) ground rate × density."""
        still = super().intensity(t, x, history)
        if self.carried_share == 0:
            return still
        order = np.argsort(t, kind="stable")
        times = np.asarray(t)[order]
        moving = np.empty(len(t))
        moving[order] = self.ground.at(times, history) * self.carried.at(times, np.asarray(x)[order], history)
        return (1 - self.carried_share) * still + self.carried_share * moving

    def compensator(self, window: Window, history: Events, grid: Grid) -> Array:
        """``grid.shape`` exact time integral: the density changes at events and where the flow is looked at only."""
        still = super().compensator(window, history, grid)
        if self.carried_share == 0:
            return still
        carried, moving = self.carried, np.zeros(grid.shape)
        for piece in carried.pieces(window):
            past = history.before(piece.end)
            moving += carried.integral(self.ground.intervals(piece, past), past, piece, grid)
        return (1 - self.carried_share) * still + self.carried_share * moving

    def rolling_forecasts(
        self, events: Events, windows: Sequence[Window], grid: Grid | None, *, first: int = 0
    ) -> Iterator[AnyForecast]:
        """One pass over the events; the flow is looked at when a forecast is issued."""
        if self.carried_share == 0 or grid is None:
            yield from super().rolling_forecasts(events, windows, grid, first=first)
            return
        running, moving, seen = RunningMixture(self.mixture), RunningCarried(self.carried), 0
        for k, window in enumerate(windows):
            past = events.before(window.start)
            running.advance(past.rows(seen, len(past)))
            moving.advance(past, window.start)
            seen = len(past)
            if k >= first:
                shares = (1 - self.carried_share) * running.cell_shares(grid)
                shares += self.carried_share * moving.cell_shares(past, window, grid)
                yield Forecast.of(window, grid, self.ground.expected(window, past) * shares, self.name, self.floor)

    def simulate(self, window: Window, history: Events, rng: np.random.Generator) -> Events:
        """Times from the ground process, places from the density at the start of the window."""
        past = history.before(window.start)
        drawn = super().simulate(window, history, rng)
        if self.carried_share == 0:
            return drawn
        moves = rng.random(len(drawn)) < self.carried_share
        x = drawn.x.copy()
        x[moves] = self.carried.sampler(past, window)(int(moves.sum()), rng)
        return replace(drawn, x=x)
