"""``python -m stpp``: the command line."""

from importlib import import_module

import_module("cli").main()  # by name: the library itself knows nothing of its command line
