"""Run directories: manifests, fits, flows, forecasts, and running them again."""

from contextvars import ContextVar

COMMAND: ContextVar[tuple[str, ...]] = ContextVar("COMMAND", default=())
"""The words of the command line that is at work, for the manifest; none when a script is."""
