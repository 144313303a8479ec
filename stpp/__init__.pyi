"""The faces of the package, for type checkers and for the lazy imports of ``__init__.py``."""

from .domain import Box, Grid
from .events import Events, Window
from .fitting.results import FitResult
from .ingest.posts import ReadOptions
from .ingest.readers import Ingested, read_events, write_events
from .intensity import Forecast, IntensityModel
from .maps.run import animate, draw_map
from .models import MODELS, make_models
from .models.stored import load_model
from .options import option
from .runs.events import ingest_to, simulate_to
from .runs.fits import fit, load_run
from .runs.flows import find_flows

__version__: str

__all__ = [
    "MODELS",
    "Box",
    "Events",
    "FitResult",
    "Forecast",
    "Grid",
    "Ingested",
    "IntensityModel",
    "ReadOptions",
    "Window",
    "__version__",
    "animate",
    "draw_map",
    "find_flows",
    "fit",
    "ingest_to",
    "load_model",
    "load_run",
    "make_models",
    "option",
    "read_events",
    "simulate_to",
    "write_events",
]
