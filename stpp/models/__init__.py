"""The models: name → class. A new model is one file and one line here."""

import dataclasses
from collections.abc import Iterable
from typing import Any

from stpp.domain import Box
from stpp.intensity import IntensityModel
from stpp.models.drift import DriftField
from stpp.models.ensemble import Ensemble
from stpp.models.hawkes import Hawkes
from stpp.models.kde import DecayingKDE, HistoricalAverage
from stpp.models.poisson import Uniform
from stpp.models.transport import TransportFlow

MODELS: dict[str, type[IntensityModel]] = {
    model.name: model
    for model in (Uniform, HistoricalAverage, DecayingKDE, Hawkes, DriftField, TransportFlow, Ensemble)
}

__all__ = [
    "MODELS",
    "DecayingKDE",
    "DriftField",
    "Hawkes",
    "HistoricalAverage",
    "TransportFlow",
    "Uniform",
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
    classes = {}
    for name in names:
        if name not in MODELS:
            raise ValueError(f"no model '{name}'; there are: {', '.join(MODELS)}")
        classes[name] = MODELS[name]
    given = {key: value for key, value in options.items() if value is not None}
    members = given.get("members", Ensemble.members) if "ensemble" in classes else ()
    known = {name: _options(MODELS[name]) for name in (*classes, *members) if name in MODELS}
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
            mine["options"] = {key: value for key, value in passed.items() if key not in ("horizon", "floor")}
        models[name] = cls(domain=domain, **mine)
    return models


def _options(model: type[IntensityModel]) -> set[str]:
    return {field.name for field in dataclasses.fields(model)}
