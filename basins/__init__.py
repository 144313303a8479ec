"""Basins: regions that hold and attract posts, found, measured, followed, predicted and judged.

The names below are imported when they are first used.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
