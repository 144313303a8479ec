"""How much memory this process has held."""

from __future__ import annotations

import resource
import sys
from contextlib import suppress
from pathlib import Path


def peak_memory_mb() -> float:
    """The most memory this process has held since :func:`reset_peak_memory`, in MB of 10⁶ bytes."""
    status = Path("/proc/self/status")
    if status.is_file():
        peak = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(peak.split()[1]) * 1024 / 1e6
    peak_rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak_rss * (1 if sys.platform == "darwin" else 1024) / 1e6  # bytes on macOS, KiB elsewhere


def reset_peak_memory() -> None:
    """Forget the peak so far; where the system cannot (macOS), later peaks are upper bounds."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
