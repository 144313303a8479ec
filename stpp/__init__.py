"""Discourse as a spatio-temporal marked point process: events, intensity models, their runs and maps.

The names below are imported when they are first used.
"""

import lazy_loader

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
