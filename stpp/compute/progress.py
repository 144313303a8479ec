"""How long work tells how far it is."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str, int, int], None]
"""Called with (what is worked on, pieces done, pieces in all) after every trial, window, null world or page."""
