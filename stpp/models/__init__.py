"""The models: name → class. A new model is one file and one line here; its options come with it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from stpp.options import parsed
from stpp.registry import Registry

if TYPE_CHECKING:
    from stpp.domain import Box
    from stpp.intensity import IntensityModel
    from stpp.models.basins import BasinRates as BasinRates
    from stpp.models.drift import DriftField as DriftField
    from stpp.models.ensemble import Ensemble as Ensemble
    from stpp.models.hawkes import Hawkes as Hawkes
    from stpp.models.kde import DecayingKDE as DecayingKDE
    from stpp.models.kde import HistoricalAverage as HistoricalAverage
    from stpp.models.poisson import Uniform as Uniform
    from stpp.models.regions import HawkesRegions as HawkesRegions
    from stpp.models.transport import TransportFlow as TransportFlow

PLACES = {
    "uniform": "stpp.models.poisson:Uniform",
    "historical-average": "stpp.models.kde:HistoricalAverage",
    "decaying-kde": "stpp.models.kde:DecayingKDE",
    "hawkes": "stpp.models.hawkes:Hawkes",
    "basins": "stpp.models.basins:BasinRates",
    "hawkes-regions": "stpp.models.regions:HawkesRegions",
    "drift": "stpp.models.drift:DriftField",
    "transport": "stpp.models.transport:TransportFlow",
    "ensemble": "stpp.models.ensemble:Ensemble",
}

MODELS: Registry[type[IntensityModel]] = Registry("model", PLACES, {"basins:": "basins.models:finder_model"})
"""The models: name → class; ``basins:METHOD`` is a finder of basins as a model."""


def __getattr__(name: str) -> Any:
    """A model by the name of its class, imported when it is asked for."""
    for key, place in PLACES.items():
        if place.endswith(f":{name}"):
            return MODELS[key]
    raise AttributeError(f"module 'stpp.models' has no attribute '{name}'")


def make_models(
    names: Iterable[str],
    domain: Box,
    horizon: float | None = None,
    seed: int = 0,
    options: Mapping[str, object] | None = None,
) -> dict[str, IntensityModel]:
    """Unfitted models by name, each given those options that it has; what is None stays at its default.

    Parameters
    ----------
    names : keys of :data:`MODELS`
    domain : the box that events fall in
    horizon : days ahead that forecasts will look, for the models that learn for it
    seed : for the models that search for their parameters
    options : of the models, and of the members of an ensemble: see :func:`stpp.options.options_of`

    Raises
    ------
    ValueError
        if there is no such model, no model of these has an option that is given, or a value is not what it wants

    Examples
    --------
    >>> from stpp.domain import Box
    >>> made = make_models(["hawkes", "uniform"], Box((0, 0), (1, 1)), options={"kernel": "exponential"})
    >>> made["hawkes"].kernel
    'exponential'
    """
    names, given = list(dict.fromkeys(names)), dict(options or {})
    inside = {name: MODELS[name].members_of(given) for name in names}
    everyone = dict.fromkeys([*names, *(member for members in inside.values() for member in members)])
    own = parsed({name: MODELS[name] for name in everyone}, given)
    common = {"seed": seed, **({} if horizon is None else {"horizon": horizon})}

    def made(name: str, members: Sequence[str], mine: Mapping[str, object]) -> IntensityModel:
        has = {field.name for field in dataclasses.fields(MODELS[name])}
        values: dict[str, Any] = {key: value for key, value in common.items() if key in has} | dict(mine)
        if members:
            values["models"] = tuple(made(member, MODELS[member].members_of({}), own[member]) for member in members)
        return MODELS[name](domain=domain, **values)

    return {name: made(name, inside[name], own[name]) for name in names}
