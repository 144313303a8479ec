"""Forward chaining: every forecast from a model fitted to outcomes that were known by then, and so is every choice.

Choices are made on few outcomes, so they are made with reserve: the default stands unless another would have been
better by more than one standard error. So it is with hyperparameters, and with how far a probability is drawn towards
the base rate, logit p = logit base + λ (logit model − logit base) with λ = 1 by default. A size is λ · model away from
no change, with λ = 0 by default: the model has to earn its place beside persistence. Where too few outcomes are known a
forecast is the base rate, or no change, itself.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit, xlogy

from stpp.domain import Array

ENOUGH, OF_EACH = 20, 3
"""Known outcomes, and outcomes of either kind, below which a forecast is the base rate."""

BLENDS = (1.0, 0.75, 0.5, 0.25, 0.0)
"""Weights λ of the model that are tried, the default for probabilities first; 0 is the base rate."""

DOUBT = 5
"""Outcomes that would have been the other way, added to those known: no probability is nearer to 0 or 1."""

GRIDS: dict[str, tuple[dict[str, float], ...]] = {
    "logistic": ({"C": 1.0}, {"C": 0.3}, {"C": 0.1}, {"C": 0.01}, {"C": 10.0}),
    "boosting": ({"max_depth": 1, "n_estimators": 60}, {"max_depth": 2, "n_estimators": 60}),
}
"""Hyperparameters tried per family, the default first; 1/C is the penalty of logistic and of ridge regression."""


@dataclass(frozen=True)
class Choice:
    """A family of models and its hyperparameters."""

    family: str
    parameters: Mapping[str, float] = field(hash=False)


@dataclass(frozen=True, eq=False)
class Chain:
    """Examples in time, and the forecasts of their outcomes.

    Parameters
    ----------
    features : (n, F), known at the end of each example's window
    outcome : (n,) 0 or 1, or a change of any size if not ``binary``; NaN where unknown
    window : (n,) index
    lag : windows after which an outcome is known
    seed : of the boosted trees
    weight : (n,) of the squared errors by which forecasts of a change are judged; None: outcomes are 0 or 1, their
        forecasts are probabilities, and are judged by log loss
    """

    features: Array
    outcome: Array
    window: NDArray[np.int64]
    lag: int
    seed: int
    weight: Array | None = None
    _fits: dict[tuple[str, str, int], Array] = field(default_factory=dict, repr=False)

    @property
    def binary(self) -> bool:
        """Whether a probability is forecast."""
        return self.weight is None

    def forecasts(self, choice: Choice, windows: Sequence[int]) -> tuple[Array, NDArray[np.object_]]:
        """(n,) forecasts made at the end of each of the windows, NaN in others; (n,) why one is the base rate."""
        base, model, why = self._raw(choice, range(max(windows, default=-1) + 1))
        out = np.full(len(self.outcome), np.nan)
        for t in windows:
            here, past = self.window == t, self._known(t) & np.isfinite(model)
            blend, _ = self._best_blend(base, model, past)
            out[here] = self._blend(base[here], model[here], blend)
        return out, why

    def errors(self, choice: Choice, t: int) -> Array:
        """Outcomes known at the end of window t, less forecasts as they would then have been made for them.

        They come from the models of their own time, with the weight that the model has at t.
        """
        base, model, _ = self._raw(choice, range(t + 1))
        past = self._known(t) & np.isfinite(model)
        blend, _ = self._best_blend(base, model, past)
        past = past if blend else self._known(t)
        return np.asarray(self.outcome[past] - self._blend(base[past], model[past], blend))

    def base_rates(self, windows: Iterable[int]) -> Array:
        """(n,) share of 1 among outcomes known by then (with one of each kind added); 0 if not ``binary``."""
        out = np.full(len(self.outcome), np.nan)
        for t in windows:
            known = self.outcome[self._known(t)]
            out[self.window == t] = (known.sum() + 1) / (len(known) + 2) if self.binary else 0.0
        return out

    def choose(self, families: Sequence[str], until: int) -> tuple[Choice, list[dict[str, Any]]]:
        """The best of the models by the end of window ``until``: the first unless another is better for sure.

        Loss is log loss, or the weighted squared error if not ``binary``. Also a row per candidate of how each did:
        ``model``, ``parameters``, ``blend`` (its best), ``examples``, ``loss``, ``baseline`` (of the base rate on the
        same examples) and ``chosen``.
        """
        choices = [Choice(family, parameters) for family in families for parameters in GRIDS[family]]
        rows: list[dict[str, Any]] = []
        losses = []
        for choice in choices:
            base, model, _ = self._raw(choice, range(until - self.lag + 1))
            past = self._known(until) & np.isfinite(model)
            blend, loss = self._best_blend(base, model, past)
            losses.append(loss)
            row = {"model": choice.family, "parameters": json.dumps(choice.parameters), "blend": blend}
            baseline = _mean(self._losses(base, model, past, 0.0))
            row |= {"examples": int(past.sum()), "loss": _mean(loss), "baseline": baseline}
            rows.append(row | {"chosen": False})
        chosen = _better(losses)
        rows[chosen]["chosen"] = True
        return choices[chosen], rows

    def _known(self, t: int) -> NDArray[np.bool_]:
        return np.isfinite(self.outcome) & (self.window + self.lag <= t)

    def _raw(self, choice: Choice, windows: Iterable[int]) -> tuple[Array, Array, NDArray[np.object_]]:
        """(n,) base rates, (n,) the model's forecasts, NaN where there are too few outcomes, and (n,) why."""
        base, model = self.base_rates(windows), np.full(len(self.outcome), np.nan)
        why = np.full(len(self.outcome), "", dtype=object)
        for t in windows:
            known, here = self._known(t), self.window == t
            if not here.any():
                continue
            why[here] = self._too_few(self.outcome[known])
            if not why[here][0]:
                key = (choice.family, json.dumps(choice.parameters), t)
                if key not in self._fits:
                    self._fits[key] = self._fitted(choice, known, here)
                model[here] = self._fits[key]
        return base, model, why

    def _too_few(self, known: Array) -> str:
        if len(known) < ENOUGH:
            return f"base rate: {len(known)} known outcomes, {ENOUGH} needed"
        rare = int(min(known.sum(), len(known) - known.sum())) if self.binary else OF_EACH
        return f"base rate: {rare} of {len(known)} known outcomes differ from the rest" if rare < OF_EACH else ""

    def _fitted(self, choice: Choice, known: NDArray[np.bool_], here: NDArray[np.bool_]) -> Array:
        from sklearn.ensemble import GradientBoostingClassifier, GradientBoostingRegressor
        from sklearn.linear_model import LogisticRegression, Ridge
        from sklearn.preprocessing import StandardScaler

        scale = StandardScaler().fit(self.features[known])
        x, new = scale.transform(self.features[known]), scale.transform(self.features[here])
        weight = np.ones(known.sum()) if self.weight is None else self.weight[known]
        if choice.family == "boosting":
            options: dict[str, Any] = {**choice.parameters, "random_state": self.seed, "subsample": 0.7}
            trees = GradientBoostingClassifier(**options) if self.binary else GradientBoostingRegressor(**options)
            fit = trees.fit(x, self.outcome[known], sample_weight=weight)
        elif self.binary:
            fit = LogisticRegression(C=choice.parameters["C"], max_iter=500).fit(x, self.outcome[known])
        else:
            penalty = float(np.mean(weight)) / choice.parameters["C"]
            fit = Ridge(alpha=penalty).fit(x, self.outcome[known], sample_weight=weight)
        if not self.binary:
            return np.asarray(fit.predict(new))
        surest = DOUBT / (known.sum() + 2 * DOUBT)
        return np.asarray(np.clip(fit.predict_proba(new)[:, 1], surest, 1 - surest))

    def _blend(self, base: Array, model: Array, blend: float) -> Array:
        mix = np.where(np.isfinite(model), model, base)
        if not self.binary:
            return np.asarray(base + blend * (mix - base))
        return np.asarray(expit((1 - blend) * logit(base) + blend * logit(mix)))

    def _best_blend(self, base: Array, model: Array, past: NDArray[np.bool_]) -> tuple[float, Array]:
        """The weight of the model for which past forecasts were best, and the losses that they then had."""
        blends = BLENDS if self.binary else BLENDS[::-1]
        losses = [self._losses(base, model, past, blend) for blend in blends]
        best = _better(losses)
        return blends[best], losses[best]

    def _losses(self, base: Array, model: Array, past: NDArray[np.bool_], blend: float) -> Array:
        y, forecast = self.outcome[past], self._blend(base[past], model[past], blend)
        if self.weight is not None:
            return np.asarray(self.weight[past] * (forecast - y) ** 2)
        return np.asarray(-xlogy(y, forecast) - xlogy(1 - y, 1 - forecast))


def _better(losses: Sequence[Array]) -> int:
    """Which of several losses (n,) is the least; 0 unless that is lower than the first by over a standard error."""
    if len(losses[0]) < ENOUGH:
        return 0
    best = int(np.argmin([loss.mean() for loss in losses]))
    gain = losses[0] - losses[best]
    return best if gain.mean() > gain.std() / np.sqrt(len(gain)) else 0


def _mean(values: Array) -> float:
    return float(values.mean()) if len(values) else np.nan
