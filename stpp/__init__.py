"""Discourse as a spatio-temporal marked point process: events and intensity models."""

from stpp.domain import Box, Grid
from stpp.events import Events, Window
from stpp.intensity import Forecast, IntensityModel

__version__ = "0.1.0"

__all__ = ["Box", "Events", "Forecast", "Grid", "IntensityModel", "Window", "__version__"]
