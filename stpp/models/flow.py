"""What flow models share: a decaying KDE, part of which is carried along by a flow learned from recent snapshots."""

from __future__ import annotations

import math
import time
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from stpp.compute.progress import Progress
from stpp.domain import MAX_GRID_DIMENSIONS, Array, Grid
from stpp.events import Events, Window
from stpp.fitting.mixture import spread_of
from stpp.fitting.rehearsal import Rehearsal
from stpp.fitting.results import Parameter
from stpp.fitting.search import Space, search
from stpp.flow.carried import CarriedDensity, RunningCarried
from stpp.flow.flow import Evidence, FlowEstimator
from stpp.intensity import AnyForecast, Forecast
from stpp.kernels.background import RunningMixture
from stpp.models.flow_search import FRAMES, UNITS, FlowSearch
from stpp.models.kde import DecayingKDE
from stpp.options import option

if TYPE_CHECKING:
    import pandas as pd

FLOW_CELLS = {1: 128, 2: 64, 3: 20}
"""Dimensions → cells per axis of the grid on which a flow is estimated."""

LEAST_SHARE = 1e-4
"""A component of the mixture with less is left out."""

_LEARNED: dict[str, Any] = {"frame": math.nan, "history_window": 0}
"""What says that these are to be learned."""


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class FlowModel(DecayingKDE):
    """λ(t, x) = ground rate(t) · [(1 − c) · decaying KDE + c · a decaying KDE that moves].

    The moving part is a :class:`stpp.flow.carried.CarriedDensity`: posts of the last ``history_window`` frames are
    carried along by the flow that their own snapshots show, and spread by diffusion and by what is not known of the
    velocity. Its parameters are learned by predictive log score on rolling windows inside the training past, and c with
    them; c is 0, which is the decaying KDE, unless the gain is more than chance gives so many parameters
    (:meth:`stpp.fitting.rehearsal.Rehearsal.shares`).

    The intensity looks at the flow every ``horizon`` days, counted from the start of training; a forecast, and a
    simulation, when it is issued, which is the same moment where forecasts follow that clock.

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
    velocity_prior, growth_prior : prior standard deviations of velocity (map units per day) and growth (per day)
    drift_scale, growth_scale : shares of velocity and growth that are believed
    diffusion : map units² per day
    importance : how far the flow counts posts by their weight, wᵅ: 0 all alike, 1 as they weigh
    origin : issue times are counted from this day
    tried_names, tried : every trial: names of the P parameters, and (T, P + 1) their values and the score
    """

    trials: int = option(40, "sets of parameters tried", least=0, metavar="N")
    tuning_seconds: float | None = option(None, "stop trying after so long", above=0, metavar="S")
    seed: int = 0
    tune: str = option("log-score", "what is learned; fds is improper", choices=("log-score", "fds"))
    carried_share: float = 0.0
    carried_decay: float = 1.0
    carried_bandwidth: float = 1.0
    frame: float = option(_LEARNED["frame"], "length of a snapshot; learned if not given", kind="duration")
    history_window: int = option(
        _LEARNED["history_window"], "frames behind each; learned if not given", least=2, metavar="N"
    )
    snapshot_bandwidth: float = 1.0
    momentum: float = 1.0
    velocity_prior: float = 1.0
    growth_prior: float = 1.0
    drift_scale: float = 0.0
    growth_scale: float = 0.0
    diffusion: float = 0.0
    importance: float = 1.0
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
    def default_pair(self) -> dict[str, float]:
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
            velocity_prior=self.velocity_prior,
            growth_prior=self.growth_prior,
            importance=self.importance,
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

    @property
    def remark(self) -> str:
        """Whether the flow has a part in the forecasts, and if it was chosen by an improper score."""
        improper = "tuned on FDS, which is improper; " if self.tune == "fds" else ""
        if self.carried_share > 0:
            return f"{improper}carries {100 * self.carried_share:.0f} % of the density along"
        why = "that would not have forecast better" if len(self.tried) else "no parameters were tried"
        return f"{improper}carries nothing, since {why}: its forecasts are the decaying KDE's"

    def refuse_longer_than(self, days: float) -> None:
        """Raise ValueError if the history window, as far as it is known, is longer than so many days of data."""
        from stpp.dates import in_words

        frame = self.frame if self.frame > 0 else FRAMES[0] * self.horizon
        frames = self.history_window or (2 if self.frame > 0 else 0)
        if frames * frame > days:
            raise ValueError(
                f"the history window of {frames} frames of {in_words(frame)} is longer than the "
                f"{in_words(days)} of data: shorten --frame or --history-window"
            )

    # -- learning -------------------------------------------------------------------------------------------------

    def fit(self, events: Events, window: Window, *, progress: Progress | None = None) -> Self:
        """The decaying KDE, then what moves: its parameters by search, all shares at their one optimum.

        Raises
        ------
        ValueError
            above 3 dimensions, if there are no events to learn from, or as :meth:`refuse_longer_than`
        """
        if self.domain.d > MAX_GRID_DIMENSIONS:
            raise ValueError(
                f"{self.name} estimates a flow on a grid, for up to {MAX_GRID_DIMENSIONS} dimensions, and these events "
                f"have {self.domain.d}: use fewer --coords"
            )
        began = time.perf_counter()
        past = events.before(window.end)
        blank = replace(
            self, carried_share=0.0, **{name: _LEARNED[name] for name in self.tried_names if name in _LEARNED}
        )
        blank.refuse_longer_than(window.duration)
        still = replace(DecayingKDE.fit(blank, events, window, progress=progress), origin=window.start)
        where = still._search(past, window)
        rehearsal = Rehearsal.of(past, window, still.mixture, self.horizon)

        def gains(found: dict[str, float]) -> Iterator[float]:
            return rehearsal.gains(replace(still, **where.fields(found)).carried.at, self.domain, self.tune)

        study = search(
            gains,
            where.space,
            trials=self.trials if len(rehearsal) else 0,
            seed=self.seed,
            seconds=self.tuning_seconds,
            start=where.start,
            progress=progress,
        )
        fitted = replace(still, **where.fields(where.defaults), tried_names=study.names, tried=study.trials)
        gain = 0.0
        if study.best is not None:
            found = replace(fitted, **where.fields(study.best))
            shares, gain, chance = rehearsal.shares(found.carried.at)
            if gain > chance * (len(study.names) + 1):
                moving, stays = float(shares[-1]), shares[:-1] / (1 - shares[-1])
                kept = stays > LEAST_SHARE
                fitted = replace(
                    found,
                    carried_share=moving,
                    decays=still.decays[kept],
                    bandwidths=still.bandwidths[kept],
                    shares=stays[kept],
                )
        return fitted.reported(
            past, window, gain / max(len(rehearsal), 1), len(study.names), time.perf_counter() - began
        )

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
        ground = {name: value for name, value in self.result.parameters.items() if "rate" in name}
        still = self.mixture_parameters(1 - self.carried_share)
        result = replace(self.result, parameters=ground | still | parameters, seconds=seconds)
        if self.carried_share > 0:
            free = result.free_parameters + learned + 1
            result = replace(result, free_parameters=free, log_likelihood=self.log_likelihood(past, window))
        return replace(self, result=result)

    def _search(self, past: Events, window: Window) -> FlowSearch:
        """Where to look for parameters; the decaying KDE is fitted."""
        half_life, bandwidth = 4.0 * self.horizon, spread_of(past)
        if len(self.shares):
            largest = int(np.argmax(self.shares))
            bandwidth = float(self.bandwidths[largest])
            half_life = math.log(2) / self.decays[largest] if self.decays[largest] > 0 else math.inf
        return FlowSearch(
            d=self.domain.d,
            n=len(past),
            rate=len(past.between(window)) / window.duration,
            duration=window.duration,
            spread=spread_of(past),
            weighted=bool(np.ptp(past.weight) > 0),
            horizon=self.horizon,
            frame=self.frame,
            history_window=self.history_window,
            finest=0.75 * float(self.flow_grid.spacing.max()),
            half_life=half_life,
            bandwidth=bandwidth,
            pair=self.pair_space(),
            default_pair=self.default_pair(),
        )

    def trial_tables(self) -> dict[str, pd.DataFrame]:
        """Its own, as ``trials``."""
        return {"trials": self.trials_table()}

    def trials_table(self) -> pd.DataFrame:
        """Every trial: its parameters in units of the data, and its gain in rehearsals (NaN: given up half-way)."""
        import pandas as pd

        score = "nats_per_event" if self.tune == "log-score" else "fds"
        named = [f"{name}_in_{UNITS[name]}" if name in UNITS else name for name in self.tried_names]
        return pd.DataFrame(self.tried, columns=[*named, score])

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
        if self.carried_share == 0:
            yield from super().rolling_forecasts(events, windows, grid, first=first)
            return
        assert grid is not None, "a fit is refused above 3 dimensions"
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
