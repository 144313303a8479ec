"""Rolling-origin backtest: fit on the past, forecast the next window, score what came; one tidy table out."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from evaluation.backtests.plan import Plan, training_events
from evaluation.backtests.scoring import PER_EVENT, score_window
from evaluation.backtests.store import Store
from evaluation.comparison import GainInterval, information_gain_intervals
from stpp.compute.memory import peak_memory_mb, reset_peak_memory
from stpp.compute.progress import Progress
from stpp.domain import MAX_GRID_DIMENSIONS, Array, Box, Grid
from stpp.events import Events, Window
from stpp.files.jsonable import jsonable
from stpp.intensity import AnyForecast, Forecast, IntensityModel
from stpp.reports.words import plural


@dataclass(frozen=True, repr=False)
class BacktestResult:
    """What a backtest found.

    Parameters
    ----------
    plan, domain : as run
    events : those inside the domain
    table : one row per model × window: ``model``, ``window`` (number), ``start``, ``end`` (UTC), ``events`` scored,
        ``outside`` (events that fell outside the domain: they have no relative density, so every score leaves them
        out), ``weight`` (Σ over scored events), ``expected_count`` (over the scored region), the scores,
        ``information_gain``, ``mean_square_error`` (Monte-Carlo standard error of mean(g²) in the FDS family; 0 on a
        grid), ``converged`` (whether the fit behind it met its tolerance). Scores are missing in windows without
        weight, and those on cells above 3 dimensions, where there are none
    gains : model → information gain with its intervals
    log_density : model → per window (n,) ln g at the scored events
    cost : by model, ``seconds`` of fitting and forecasting all windows, and ``peak_memory_mb``, the most that the
        process held in the model's turn. The only part that differs from run to run
    forecasts : (model, window number) → forecast, of the windows that are kept
    remarks : model → what a reader of its scores should know, for those that have something to say

    Examples
    --------
    >>> from evaluation import evaluate
    >>> when = {"test_start": 40, "test_end": 42, "grid": 10, "reference": "uniform"}
    >>> evaluate("data/planted.parquet", ["uniform"], **when).result.counts["scored"]
    2
    """

    plan: Plan
    domain: Box
    events: Events
    table: pd.DataFrame
    gains: dict[str, GainInterval]
    log_density: dict[str, list[Array]]
    cost: pd.DataFrame
    forecasts: Mapping[tuple[str, int], Forecast]
    remarks: dict[str, str]

    @property
    def kept(self) -> tuple[int, ...]:
        """The windows whose forecasts are kept."""
        return tuple(sorted({k for _, k in self.forecasts}))

    def forecast(self, model: str, k: int) -> Forecast:
        """The forecast of window ``k``.

        Raises
        ------
        ValueError
            if it is not kept
        """
        if (model, k) not in self.forecasts:
            raise ValueError(f"the forecast of window {k} by {model} was not kept: evaluate with --keep-forecasts")
        return self.forecasts[model, k]

    def scored(self, k: int) -> Events:
        """The events that window ``k`` was scored on."""
        seen = self.events.between(self.plan.windows[k])
        return seen if self.plan.zoom is None else seen.inside(self.plan.zoom)

    @property
    def counts(self) -> dict[str, int]:
        """Windows ``planned``, ``scored`` and ``empty``; events ``events`` scored and ``outside`` the domain."""
        one = self.table[self.table["model"] == self.plan.reference]
        scored = int((one["weight"] > 0).sum())
        totals = {"events": int(one["events"].sum()), "outside": int(one["outside"].sum())}
        return {"planned": len(one), "scored": scored, "empty": len(one) - scored, **totals}

    def summary(self) -> pd.DataFrame:
        """One row per model, best information gain first.

        Every score per event as its mean over scored windows (the headline) and, as ``NAME_pooled``, weighted by the
        windows' event weights; ``information_gain`` with ``pooled``, ``low``, ``high`` (block bootstrap),
        ``hac_low``, ``hac_high``, ``p_value`` (Diebold–Mariano); ``poisson_log_likelihood`` as its mean over all
        windows, since a window without events is news to a forecast of counts; ``expected_count`` and ``events`` over
        all windows; ``seconds`` in all; ``peak_memory_mb``.
        """
        rows = {}
        for name, gain in self.gains.items():
            mine = self.table[self.table["model"] == name]
            scored = mine[mine["weight"] > 0]
            row: dict[str, Any] = {}
            for score in PER_EVENT:
                row[score] = scored[score].mean()
                row[f"{score}_pooled"] = np.average(scored[score], weights=scored["weight"])
            row["poisson_log_likelihood"] = mine["poisson_log_likelihood"].mean()
            row |= {"information_gain": gain.mean, "low": gain.low, "high": gain.high, "pooled": gain.pooled}
            row |= {"hac_low": gain.hac_low, "hac_high": gain.hac_high, "p_value": gain.p_value}
            row |= {"expected_count": mine["expected_count"].sum(), "events": int(mine["events"].sum())}
            rows[name] = row | self.cost.loc[name].to_dict()
        frame = pd.DataFrame.from_dict(rows, orient="index")
        frame.index.name = "model"
        return frame.sort_values("information_gain", ascending=False, kind="stable")

    def verdict(self, model: str) -> str:
        """Whether a model is shown to be better or worse than the reference, in words."""
        reference = self.plan.reference
        return "the reference" if model == reference else self.gains[model].verdict(reference.replace("-", " "))

    def leaderboard(self) -> pd.DataFrame:
        """What the command line prints of the models, best information gain first.

        Columns: ``information_gain`` with ``low`` and ``high`` (95 %), ``pooled``, ``fds``, ``overconfidence``,
        ``quadratic_fds``, ``log_score``, ``verdict``; the rest is in :meth:`summary`.
        """
        columns = ["information_gain", "low", "high", "pooled", "fds", "overconfidence", "quadratic_fds", "log_score"]
        board = self.summary()[columns].copy()
        board["verdict"] = [self.verdict(str(name)) for name in board.index]
        return board

    def __repr__(self) -> str:
        counts = self.counts
        scored = f"{counts['events']:,} events in {counts['scored']} of {counts['planned']} windows"
        return f"<BacktestResult: {plural(len(self.gains), 'model')}, {scored}>"

    def _repr_html_(self) -> str:
        return self.leaderboard().to_html(float_format="{:.4f}".format)

    def to_json_dict(self) -> dict[str, Any]:
        """The object that ``stpp evaluate --json`` prints; a number that is not finite is None (JSON has none)."""
        models: dict[str, Any] = {}
        for name, row in self.summary().iterrows():
            entry: dict[str, Any] = {s: row[s] for s in ("fds", "log_score", "quadratic_fds", "overconfidence")}
            bounds = {"mean": row["information_gain"], "low": row["low"], "high": row["high"], "pooled": row["pooled"]}
            entry |= {"information_gain": bounds, "seconds": row["seconds"], "peak_memory_mb": row["peak_memory_mb"]}
            models[str(name)] = jsonable(entry)
        counts = self.counts
        totals = {"windows": counts["scored"], "events": counts["events"]}
        return {"reference": self.plan.reference, **totals, "models": models}


def backtest(
    events: Events,
    models: Mapping[str, IntensityModel],
    plan: Plan,
    *,
    rng: np.random.Generator,
    progress: Progress | None = None,
    store: Store | None = None,
) -> BacktestResult:
    """Fit every model on the past, forecast every window, score all of them on the same events.

    The models' common domain is where events count: those outside it feed no model and get no score, and the table
    says how many there were. A forecast of a window sees nothing at or after the window's start.

    Parameters
    ----------
    events : all of them, history and test
    models : name → model to fit; all on one domain, which the caller declared or took from :meth:`Plan.domain`
    plan : what to do
    rng : source of the bootstrap
    progress : told about every finished window
    store : where finished windows are kept; those that it has, of the same events, models and plan, are not done
        again. None: nothing is kept but the scores

    Raises
    ------
    ValueError
        if the reference is unknown, the domains differ or do not fit the events or the zoom box, there are no
        training events, no test window has events, or the reference rules out an event that happened

    Examples
    --------
    >>> import stpp
    >>> events = stpp.read_events("data/planted.parquet")
    >>> plan = Plan(0, Window(40, 42), step=1, grid=10, reference="uniform")
    >>> models = stpp.make_models(["uniform"], plan.domain(events))
    >>> backtest(events, models, plan, rng=np.random.default_rng(0)).counts["planned"]
    2
    """
    domain = _check(events, models, plan)
    inside = events.inside(domain)
    grid = Grid.over(domain, plan.grid) if domain.d <= MAX_GRID_DIMENSIONS else None
    windows = plan.windows
    seen = [inside.between(w) for w in windows]
    scored = [e if plan.zoom is None else e.inside(plan.zoom) for e in seen]
    weight = np.array([e.weight.sum() for e in scored])
    if not (weight > 0).any():
        raise ValueError(
            f"none of the {len(windows)} test windows has events to score: move the test dates or widen the box or zoom"
        )
    rows = store.rows() if store else []
    log_density = {
        name: [store.log_density(name, row["window"]) for row in rows if row["model"] == name] if store else []
        for name in models
    }
    fits: dict[str, IntensityModel] = {}
    for name, model in models.items():
        reset_peak_memory()
        clock = time.perf_counter()
        for k, converged, forecast in _forecasts(
            name, model, inside, plan, grid, store, len(log_density[name]), fits, progress
        ):
            seconds = time.perf_counter() - clock
            found, logs = score_window(forecast, scored[k], plan.zoom)
            row = {"model": name, "window": k, **found, "converged": converged, "floor": forecast.floor}
            row |= {"seconds": seconds, "peak_memory_mb": peak_memory_mb()}
            rows.append(row)
            log_density[name].append(logs)
            if store:
                store.add(row, logs, forecast)
            if progress is not None:
                progress(name, k + 1, len(windows))
            clock = time.perf_counter()
    by_model = pd.DataFrame(rows).groupby("model", sort=False)
    cost = pd.DataFrame({"seconds": by_model["seconds"].sum(), "peak_memory_mb": by_model["peak_memory_mb"].max()})
    table = pd.DataFrame(rows).drop(columns=["floor", "seconds", "peak_memory_mb"])
    facts: dict[str, Any] = {
        "start": [events.date(w.start) for w in windows],
        "end": [events.date(w.end) for w in windows],
        "events": [len(e) for e in scored],
        "outside": [len(events.between(w)) - len(e) for w, e in zip(windows, seen, strict=True)],
        "weight": weight,
    }
    for place, (column, values) in enumerate(facts.items(), start=2):
        table.insert(place, column, pd.Series(values).loc[table["window"]].to_numpy())
    gains = information_gains(table, plan.reference)
    table.insert(list(table.columns).index("log_score") + 1, "information_gain", np.concatenate(list(gains.values())))
    intervals = information_gain_intervals(gains, weight, overlap=plan.overlap, rng=rng)
    forecasts = store.forecasts(windows, grid) if store and grid else {}
    remarks = {name: fitted.remark for name, fitted in fits.items() if fitted.remark}
    return BacktestResult(plan, domain, inside, table, intervals, log_density, cost, forecasts, remarks)


def _check(events: Events, models: Mapping[str, IntensityModel], plan: Plan) -> Box:
    """The models' common domain, once everything fits together."""
    if plan.reference not in models:
        raise ValueError(
            f"the reference '{plan.reference}' is not among the models ({', '.join(models) or 'none'}): "
            "add it to them or name another reference"
        )
    domain = models[plan.reference].domain
    for name, model in models.items():
        if model.domain != domain:
            raise ValueError(f"'{name}' has another domain than '{plan.reference}': give all models the same box")
    if domain.d != events.d:
        raise ValueError(f"the domain has {domain.d} dimensions, the events {events.d}: declare a box of {events.d}")
    zoom = plan.zoom
    if zoom is not None and not (zoom.d == domain.d and domain.contains([zoom.low, zoom.high]).all()):
        raise ValueError(
            f"the zoom box {zoom.to_list()} does not lie in the domain {domain.to_list()}: shrink it to that"
        )
    training_events(events.inside(domain), plan.training)
    return domain


def _forecasts(
    name: str,
    model: IntensityModel,
    events: Events,
    plan: Plan,
    grid: Grid | None,
    store: Store | None,
    done: int,
    fits: dict[str, IntensityModel],
    progress: Progress | None,
) -> Iterator[tuple[int, bool, AnyForecast]]:
    """From window ``done`` on: its number, if the fit converged, and the forecast from what is known at its start.

    The last fit is put into ``fits``.
    """
    windows = plan.windows
    every = plan.refit or len(windows)
    last = store.fit(name, (len(windows) - 1) // every * every) if store else None
    if last is not None:  # of an interrupted run whose windows may all be done
        fits[name] = last
    for first in range(done - done % every, len(windows), every):
        batch, ready = windows[first : first + every], max(done - first, 0)
        if not batch[ready:]:
            continue
        start, past = batch[0].start, plan.past(batch[0].start)
        training_events(events, past)
        fitted = store.fit(name, first) if store else None
        if fitted is None:
            fitted = model.fit(plan.known(events, start), past, progress=progress)
            if store:
                store.keep_fit(name, first, fitted)
        fits[name] = fitted
        converged = fitted.result is None or fitted.result.converged
        issued = issue(fitted, events, batch, plan, grid, first=ready)
        for k, forecast in zip(range(first + ready, first + len(batch)), issued, strict=True):
            yield k, converged, forecast


def issue(
    fitted: IntensityModel, events: Events, windows: Sequence[Window], plan: Plan, grid: Grid | None, *, first: int = 0
) -> Iterator[AnyForecast]:
    """The forecasts of successive windows by a model fitted before them, each from what is known at its start.

    Parameters
    ----------
    fitted : that has seen nothing from the start of the first window on
    events : all of them, those inside the domain
    windows : of the plan, in time order
    plan : says how far back a forecast may look
    grid : of the forecasts; None above 3 dimensions
    first : those of windows before this number are passed over
    """
    if plan.history is None:
        yield from fitted.rolling_forecasts(events.before(windows[-1].start), windows, grid, first=first)
    else:
        for window in windows[first:]:
            yield fitted.forecast(window, plan.known(events, window.start), grid)


def information_gains(table: pd.DataFrame, reference: str) -> dict[str, Array]:
    """Model → (W,) log score less the reference's in the same window; NaN where the window has no score."""
    by_model = {str(name): part["log_score"].to_numpy() for name, part in table.groupby("model", sort=False)}
    base = by_model[reference]
    impossible = np.isneginf(base)
    if impossible.any():
        start = table.loc[table["model"] == reference, "start"].iloc[int(np.argmax(impossible))]
        raise ValueError(
            f"the reference '{reference}' gave density 0 to an event in the window from {start:%Y-%m-%d %H:%M}, "
            "so no gain over it is defined: give it a floor > 0"
        )
    return {name: np.asarray(log_score - base) for name, log_score in by_model.items()}


def leader(result: BacktestResult) -> str:
    """The model to look at: the best by information gain beside the reference, or the reference where it is alone."""
    others = [str(name) for name in result.summary().index if name != result.plan.reference]
    return others[0] if others else result.plan.reference


def best_and_worst(result: BacktestResult) -> tuple[int, ...]:
    """The windows in which the leading model gained most and least over the reference; one where there is only one.

    Where the reference is alone, those in which its log score was highest and lowest.
    """
    model = leader(result)
    mine = result.table[(result.table["model"] == model) & (result.table["weight"] > 0)]
    score = mine["log_score" if model == result.plan.reference else "information_gain"].to_numpy()
    windows = mine["window"].to_numpy()
    return tuple(dict.fromkeys((int(windows[np.argmax(score)]), int(windows[np.argmin(score)]))))
