"""The models: name → class. A new model is one file and one line here."""

import dataclasses
from collections.abc import Iterable
from typing import Any

from stpp.compute.progress import Progress
from stpp.domain import Box
from stpp.events import Events, Window
from stpp.intensity import IntensityModel
from stpp.models.basins import BasinRates
from stpp.models.drift import DriftField
from stpp.models.ensemble import Ensemble
from stpp.models.flow import FlowModel
from stpp.models.hawkes import Hawkes
from stpp.models.kde import DecayingKDE, HistoricalAverage
from stpp.models.poisson import Uniform
from stpp.models.regions import HawkesRegions
from stpp.models.transport import TransportFlow

MODELS: dict[str, type[IntensityModel]] = {
    model.name: model
    for model in (
        Uniform,
        HistoricalAverage,
        DecayingKDE,
        Hawkes,
        BasinRates,
        HawkesRegions,
        DriftField,
        TransportFlow,
        Ensemble,
    )
}

__all__ = [
    "MODELS",
    "BasinRates",
    "DecayingKDE",
    "DriftField",
    "Ensemble",
    "Hawkes",
    "HawkesRegions",
    "HistoricalAverage",
    "TransportFlow",
    "Uniform",
    "fit_model",
    "make_models",
]


def make_models(
    names: Iterable[str], domain: Box, horizon: float | None = None, seed: int = 0, **options: Any
) -> dict[str, IntensityModel]:
    """Unfitted models by name, each given those options that it has; what is None stays at its default.

    Parameters
    ----------
    names : keys of :data:`MODELS`
    domain : the box that events fall in
    horizon : days ahead that forecasts will look, for the models that learn for it
    seed : for the models that search for their parameters
    options : other fields of the models

    Raises
    ------
    ValueError
        if there is no such model, or no model of these has an option that is given
    """
    given = {key: value for key, value in options.items() if value is not None}
    names = list(names)
    members = given.get("members", Ensemble.members) if "ensemble" in names else ()
    for name in (*names, *members):
        if name not in MODELS:
            raise ValueError(f"no model '{name}'; there are: {', '.join(MODELS)}")
    classes = {name: MODELS[name] for name in names}
    known = {name: _options(MODELS[name]) for name in (*names, *members)}
    for key in given:
        if not any(key in fields for fields in known.values()):
            raise ValueError(f"--{key.replace('_', '-')} does not apply to {', '.join(classes)}: leave it out")
    given["seed"] = seed
    if horizon is not None:
        given["horizon"] = horizon
    models = {}
    for name, cls in classes.items():
        mine = {key: value for key, value in given.items() if key in known[name]}
        if name == "ensemble":
            passed = {key: value for key, value in given.items() if any(key in known[member] for member in members)}
            mine["options"] = {
                key: value for key, value in passed.items() if key not in ("horizon", "floor", "members")
            }
        models[name] = cls(domain=domain, **mine)
    return models


def fit_model(
    model: IntensityModel, events: Events, window: Window, progress: Progress | None = None
) -> IntensityModel:
    """The model fitted; one that searches for its parameters tells ``progress`` of every trial."""
    if isinstance(model, FlowModel | Ensemble):
        return model.fit(events, window, progress=progress)
    return model.fit(events, window)


def _options(model: type[IntensityModel]) -> set[str]:
    return {field.name for field in dataclasses.fields(model)}
