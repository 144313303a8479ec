"""The models: name → class. A new model is one file and one line here."""

import dataclasses
from collections.abc import Iterable
from typing import Any

from stpp.domain import Box
from stpp.intensity import IntensityModel
from stpp.models.drift import DriftField
from stpp.models.hawkes import Hawkes
from stpp.models.kde import DecayingKDE, HistoricalAverage
from stpp.models.poisson import Uniform
from stpp.models.transport import TransportFlow

MODELS: dict[str, type[IntensityModel]] = {
    model.name: model for model in (Uniform, HistoricalAverage, DecayingKDE, Hawkes, DriftField, TransportFlow)
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
    fields = {name: {field.name for field in dataclasses.fields(cls)} for name, cls in classes.items()}
    given = {key: value for key, value in options.items() if value is not None}
    for key in given:
        if not any(key in known for known in fields.values()):
            raise ValueError(f"--{key.replace('_', '-')} does not apply to {', '.join(classes)}: leave it out")
    given["seed"] = seed
    if horizon is not None:
        given["horizon"] = horizon
    return {
        name: cls(domain=domain, **{key: value for key, value in given.items() if key in fields[name]})
        for name, cls in classes.items()
    }
