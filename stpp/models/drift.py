"""The drift field: density that moves as weather does, its velocity measured by local least squares."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from stpp.domain import Array
from stpp.fitting.search import Between, Space
from stpp.flow.flow import Evidence
from stpp.flow.motion import drift_evidence
from stpp.models.flow import FlowModel


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class DriftField(FlowModel):
    """A decaying KDE, part of which drifts along a velocity field: density Lucas–Kanade with growth.

    Parameters
    ----------
    smoothing : standard deviation of the window that shares one velocity, in bandwidths of the snapshots
    """

    name: ClassVar[str] = "drift"
    summary_line: ClassVar[str] = "a decaying KDE whose recent posts drift along the velocity that snapshots show"

    smoothing: float = 4.0

    def pair(self, before: Array, after: Array, dispersion: float) -> Evidence:
        """Local least squares on the continuity equation, :func:`stpp.flow.motion.drift_evidence`."""
        return drift_evidence(
            before,
            after,
            self.flow_grid,
            frame=self.frame,
            bandwidth=self.snapshot_bandwidth,
            window=self.smoothness,
            dispersion=dispersion,
        )

    def pair_space(self) -> Space:
        """A window from little wider than the kernel to much wider."""
        return {"smoothing": Between(1.5, 8.0, log=True)}

    def default_pair(self) -> dict[str, float]:
        """What had the least error on moving blobs (benchmarks/flow.py)."""
        return {"smoothing": 4.0}

    @property
    def smoothness(self) -> float:
        """The window that shares one velocity, map units."""
        return self.smoothing * self.snapshot_bandwidth
