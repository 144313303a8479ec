"""Judging forecasts: scores, rolling-origin backtests, comparisons with honest intervals, null worlds, reports.

The names below are imported when they are first used.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
