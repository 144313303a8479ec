"""The faces of the package, for type checkers and for the lazy imports of ``__init__.py``."""

from .analysis import Analysis
from .basin import Basin, Finder, Found
from .finders import FINDERS, make_finder
from .run import find, null_test, what_if

__all__ = ["FINDERS", "Analysis", "Basin", "Finder", "Found", "find", "make_finder", "null_test", "what_if"]
