"""The models: name → class. A new model is one file and one line here."""

from stpp.intensity import IntensityModel
from stpp.models.hawkes import Hawkes
from stpp.models.kde import DecayingKDE, HistoricalAverage
from stpp.models.poisson import Uniform

MODELS: dict[str, type[IntensityModel]] = {
    model.name: model for model in (Uniform, HistoricalAverage, DecayingKDE, Hawkes)
}

__all__ = ["MODELS", "DecayingKDE", "Hawkes", "HistoricalAverage", "Uniform"]
