"""The ensemble: a convex combination of other models, with the weights that would have forecast best."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np

from stpp.compute.progress import Progress, each
from stpp.domain import Array, Grid
from stpp.events import Events, Window
from stpp.fitting.concave import GAP, concave_weights
from stpp.fitting.mixture import issue_times
from stpp.fitting.results import FitResult, Parameter
from stpp.intensity import AnyForecast, Forecast, IntensityModel, PointForecast
from stpp.options import option, options_of

if TYPE_CHECKING:
    import pandas as pd

SIDES = {1: 100, 2: 100, 3: 20}
"""Dimensions → cells per axis of the grid on which forecasts are compared; above 3 they are evaluated at the events."""

LEAST_EVENTS = 20
"""With fewer events to fit members to, or to compare their forecasts on, all weights are equal."""

MAX_WINDOWS = 200
"""Forecasts of each member that the weights are learned from; more only cost time."""


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Ensemble(IntensityModel):
    """λ(t, x | H_t) = Σ_m w_m λ_m(t, x | H_t), w ≥ 0 with sum 1: other models, stacked by predictive log score [1]_.

    Parameters
    ----------
    members : names of the models
    horizon : days ahead that the weights, and whatever the members learn for a horizon, are learned for
    models : the members; once fitted without a floor of their own, since the ensemble spreads its own over the sum
    weights : (M,) w_m

    References
    ----------
    .. [1] Yao, Vehtari, Simpson & Gelman (2018), Using stacking to average Bayesian predictive distributions, eq. 3;
       of densities: Smyth & Wolpert (1999), Linearly combining density estimators via stacking.
    """

    name: ClassVar[str] = "ensemble"
    summary_line: ClassVar[str] = "a convex combination of other models, weighted by how well they forecast"

    members: tuple[str, ...] = option(
        ("historical-average", "decaying-kde", "hawkes", "drift", "transport"),
        "models that it combines",
        metavar="A,B,…",
    )
    horizon: float = 1.0
    models: tuple[IntensityModel, ...] = ()
    weights: Array = field(default_factory=lambda: np.zeros(0))

    def __post_init__(self) -> None:
        if not self.members:
            raise ValueError("an ensemble needs at least one member: name some models")

    @classmethod
    def members_of(cls, options: Mapping[str, object]) -> tuple[str, ...]:
        """Those that are named, or the default ones."""
        named = options.get("members")
        return cls.members if named is None else tuple(options_of(cls)["members"].parse(named))

    # -- fitting ------------------------------------------------------------------------------------------------

    def fit(self, events: Events, window: Window, *, progress: Progress | None = None) -> Self:
        """Members by their own fits to the whole window, weights by forecasts inside it.

        To find the weights, the members are also fitted to the first two thirds of the window's events, and forecast
        the last third from what was known every ``horizon`` days (at most ``MAX_WINDOWS`` times, evenly). The weights
        maximise the log score of the weighted sum of these forecasts, each event counted by its importance
        (:func:`stack`). With fewer than ``LEAST_EVENTS`` events in either part the weights are equal, and the result
        reports no scores.

        The result's parameters are, per event of the last third and in nats: the log score of the combination, its
        gain over the best single member, and what each member adds, which is the gain over the best combination of
        the others. None of these can be negative; a backtest tells what they are worth on new events. Of members that
        forecast the same, the first has the weight of all.

        Raises
        ------
        ValueError
            if there are no events in the window, or a member is unknown or cannot be fitted
        """
        began = time.perf_counter()
        past = events.before(window.end)
        n = len(self.training_events(past, window))
        blank = self._blank_members()
        fitted = {name: model.fit(past, window, progress=progress) for name, model in blank.items()}
        models = tuple(replace(fitted[name], floor=0.0) for name in self.members)
        judged = self._forecast_last_third(blank, past, window, progress)
        if judged is None:
            weights, parameters, converged = np.full(len(models), 1 / len(models)), {}, True
        else:
            weights, converged = stack(*judged)
            parameters = self._gains(weights, *judged)
        combined = replace(self, models=models, weights=weights)
        shares = {name: Parameter(float(weights[np.equal(self.members, name)].sum())) for name in blank}
        parts = [(float(w), fitted[name].result) for w, name in zip(weights, self.members, strict=True) if w > 0]
        results = [(w, r) for w, r in parts if r is not None]
        result = FitResult(
            n_events=n,
            log_likelihood=combined.log_likelihood(past, window),
            parameters={f"weight of {name}": share for name, share in shares.items()} | parameters,
            free_parameters=sum(r.free_parameters for _, r in results) + len(results) - 1,
            background_rate=sum(w * r.background_rate for w, r in results),
            branching_ratio=sum(w * r.branching_ratio for w, r in results),
            converged=converged and all(r.converged for _, r in results),
            seconds=time.perf_counter() - began,
        )
        return replace(combined, result=result)

    def _blank_members(self) -> dict[str, IntensityModel]:
        """The models that it was given, each once.

        Raises
        ------
        ValueError
            if it was given none
        """
        if len(self.models) != len(self.members):
            raise ValueError("an ensemble is made with its members: make_models(['ensemble'], domain)")
        given = zip(self.members, self.models, strict=True)
        return {name: replace(model, domain=self.domain, floor=self.floor) for name, model in given}

    def _forecast_last_third(
        self, blank: dict[str, IntensityModel], past: Events, window: Window, progress: Progress | None
    ) -> tuple[Array, Array, Array] | None:
        """What :func:`stack` needs, from forecasts of the last third of the window's events; None if too few."""
        first = len(past.before(window.start))
        start = float(past.t[first + 2 * (len(past) - first) // 3])
        known = past.before(start)
        targets = past.rows(len(known), len(past))
        if min(len(known) - first, len(targets)) < LEAST_EVENTS:
            return None
        issued = issue_times(targets.t, start, self.horizon)
        starts = np.unique(issued)
        if len(starts) > MAX_WINDOWS:  # evenly from first to last
            starts = starts[np.linspace(0, len(starts) - 1, MAX_WINDOWS).astype(int)]
            chosen = np.isin(issued, starts)
            targets, issued = targets.take(chosen), issued[chosen]
        windows = [Window(s, s + self.horizon) for s in starts.tolist()]
        edges = np.append(np.searchsorted(issued, starts), len(targets))
        sides = SIDES.get(self.domain.d)
        grid = Grid.over(self.domain, sides) if sides else None
        density = np.empty((len(targets), len(self.members)))
        totals = np.empty_like(density)
        for name, model in blank.items():
            columns = np.flatnonzero(np.equal(self.members, name))
            early = model.fit(known, Window(window.start, start), progress=progress)
            stream = early.rolling_forecasts(past, windows, grid)
            for k, _ in enumerate(each(windows, f"rehearsing {name}", progress)):
                forecast = next(stream)
                rows = slice(edges[k], edges[k + 1])
                density[rows, columns] = forecast.relative_at(targets.x[rows])[:, None]
                totals[rows, columns] = forecast.total
        weight = targets.weight if targets.weight.any() else np.ones(len(targets))
        return density, totals, weight

    def _gains(self, weights: Array, density: Array, totals: Array, weight: Array) -> dict[str, Parameter]:
        """The log score of the combination, and its gains over the best member and over doing without each."""

        def score(w: Array) -> float:
            return log_score(w, density, totals, weight)

        alone = [score(one) for one in np.eye(len(weights))]
        best, together = int(np.argmax(alone)), score(weights)
        out = {
            "events that the weights are learned from": Parameter(float(len(weight))),
            "predictive log score per event": Parameter(together, None, "nats"),
            f"gain over {self.members[best]} alone": Parameter(together - alone[best], None, "nats"),
        }
        for name in dict.fromkeys(self.members):
            others = np.flatnonzero(np.not_equal(self.members, name))
            if len(others):
                rest = np.zeros(len(weights))
                rest[others], _ = stack(density[:, others], totals[:, others], weight)
                out[f"added by {name}"] = Parameter(max(0.0, together - score(rest)), None, "nats")
        return out

    # -- the interface ------------------------------------------------------------------------------------------

    @property
    def remark(self) -> str:
        """What weight each member has."""
        shares = [f"{model.name} {weight:.2f}" for weight, model in self.parts]
        return f"weighs {', '.join(shares)}" if shares else ""

    def trial_tables(self) -> dict[str, pd.DataFrame]:
        """Those of the members, as ``trials-NAME``."""
        return {f"{kind}-{model.name}": table for model in self.models for kind, table in model.trial_tables().items()}

    @property
    def parts(self) -> list[tuple[float, IntensityModel]]:
        """The weights above 0 and their models."""
        if not len(self.weights):
            return []
        return [(float(w), model) for w, model in zip(self.weights, self.models, strict=True) if w > 0]

    def intensity(self, t: Array, x: Array, history: Events) -> Array:
        """(n,) Σ w_m λ_m."""
        return _total([w * model.intensity(t, x, history) for w, model in self.parts])

    def compensator(self, window: Window, history: Events, grid: Grid) -> Array:
        """``grid.shape`` Σ of the members' compensators, by weight."""
        return _total([w * model.compensator(window, history, grid) for w, model in self.parts])

    def total_compensator(self, window: Window, history: Events) -> float:
        """Σ of the members' totals, by weight."""
        return sum(w * model.total_compensator(window, history) for w, model in self.parts)

    def compensator_increments(self, window: Window, history: Events) -> Array:
        """(n + 1,) Σ of the members' increments, by weight."""
        return _total([w * model.compensator_increments(window, history) for w, model in self.parts])

    def forecast(self, window: Window, history: Events, grid: Grid | None) -> AnyForecast:
        """Σ of the members' forecasts, by weight: the linear pool, with the ensemble's floor.

        This is what the weights are learned for. Where members self-excite it differs a little from the mean of the
        process with intensity λ: each member expects the offspring of those events that it expects itself.
        """
        return next(self.rolling_forecasts(history, [window], grid))

    def rolling_forecasts(
        self, events: Events, windows: Sequence[Window], grid: Grid | None, *, first: int = 0
    ) -> Iterator[AnyForecast]:
        """The members' rolling forecasts side by side, each in its own one pass over the events."""
        weights = [w for w, _ in self.parts]
        streams = [model.rolling_forecasts(events, windows, grid, first=first) for _, model in self.parts]
        for window, *forecasts in zip(windows[first:], *streams, strict=True):
            if grid is None:
                yield self._pool_points(window, weights, [f for f in forecasts if isinstance(f, PointForecast)])
            else:
                pairs = zip(weights, forecasts, strict=True)
                counts = _total([w * f.counts for w, f in pairs if isinstance(f, Forecast)])
                yield Forecast.of(window, grid, counts, self.name, self.floor)

    def _pool_points(self, window: Window, weights: list[float], forecasts: list[PointForecast]) -> PointForecast:
        counts = np.array([w * f.total for w, f in zip(weights, forecasts, strict=True)])
        shares = counts / counts.sum()

        def density(x: Array) -> Array:
            return _total([s * f.raw_density(x) for s, f in zip(shares, forecasts, strict=True)])

        def draw(n: int, rng: np.random.Generator) -> Array:
            member = rng.choice(len(shares), size=n, p=shares)
            out = np.empty((n, self.domain.d))
            for m, forecast in enumerate(forecasts):
                rows = np.flatnonzero(member == m)
                out[rows] = forecast.draw_raw(len(rows), rng)
            return out

        return PointForecast(window, self.domain, float(counts.sum()), density, draw, self.name, self.floor)

    def simulate(self, window: Window, history: Events, rng: np.random.Generator) -> Events:
        """Every member simulated on its own, each of its events kept with probability w_m, all that is kept together.

        As the score that chose the weights, this lets each event have its own member (to draw one member for the
        whole window would make all events of a window share it).

        Exact: the mean, which is the forecast; the intensity at the start of the window, which is λ; a single member,
        whose own draw it is; and the whole law, where no member reacts to events inside the window. Where one does,
        it reacts to all events of its own draw, kept or not, and to none of the others': clusters are then as large
        as the forecast has them in the mean, but they vary less in size than those of the member, since each of their
        events is kept or not by itself, and none mixes members. Events have weight 1 and no marks.
        """
        past = history.before(window.start)
        t, x = [np.zeros(0)], [np.zeros((0, self.domain.d))]
        for w, model in self.parts:
            drawn = model.simulate(window, past, rng)
            kept = rng.uniform(size=len(drawn)) < w
            t.append(drawn.t[kept])
            x.append(drawn.x[kept])
        return Events(np.concatenate(t), np.concatenate(x), epoch=history.epoch, axes=history.axes)


def _total(terms: Sequence[Array]) -> Array:
    return np.asarray(np.sum(terms, axis=0))


def log_score(weights: Array, density: Array, totals: Array, weight: Array) -> float:
    """Mean of ln g over events, g the relative density of the weighted sum of forecasts; −∞ where an event has g = 0.

    Parameters
    ----------
    weights : (M,) w_m ≥ 0
    density : (n, M) relative density of each member's forecast at each event
    totals : (n, M) expected number of events of each member's forecast of that event's window
    weight : (n,) importance of the events
    """
    with np.errstate(divide="ignore"):
        logs = np.log((totals * density) @ weights / (totals @ weights))
    return float(weight @ logs / weight.sum())


def stack(density: Array, totals: Array, weight: Array) -> tuple[Array, bool]:
    """The convex weights that maximise :func:`log_score` of the weighted sum of forecasts.

    Where members expect equally many events, this is the concave problem of mixing densities. In general
    −ln Σ_m w_m T_im is not concave, but it is convex and so lies above its tangent: with that in its place the problem
    is concave (:func:`stpp.fitting.concave.concave_weights`), and solving it again and again never lowers the score
    (minorisation, Hunter & Lange 2004, A tutorial on MM algorithms). It starts from the best single member. A member
    that forecasts as one before it gets weight 0.

    Returns
    -------
    (M,) weights ≥ 0 with sum 1, and whether every concave problem met its tolerance
    """
    distinct = [m for m in range(density.shape[1]) if not _repeats(m, density, totals)]
    if len(distinct) < density.shape[1]:
        weights = np.zeros(density.shape[1])
        weights[distinct], converged = stack(density[:, distinct], totals[:, distinct], weight)
        return weights, converged
    vertices = np.eye(len(distinct))
    scores = [log_score(one, density, totals, weight) for one in vertices]
    weights, best, converged = vertices[int(np.argmax(scores))], max(scores), True
    rates = totals * density
    while True:
        masses = (weight / (totals @ weights)) @ totals  # the slope of the tangent
        fit = concave_weights(rates, masses, weight)
        trial = fit.weights / fit.weights.sum()
        score = log_score(trial, density, totals, weight)
        if not score > best + GAP:
            return weights, converged
        weights, best, converged = trial, score, fit.converged


def _repeats(m: int, density: Array, totals: Array) -> bool:
    """Whether member ``m`` forecasts as one before it, but for rounding."""
    return any(
        all(np.allclose(values[:, m], values[:, k], rtol=1e-9, atol=0.0) for values in (density, totals))
        for k in range(m)
    )
