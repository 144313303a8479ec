"""Optimal-transport flow: density that moves along the cheapest way from one snapshot to the next."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from stpp.domain import Array
from stpp.fitting.search import Between, Space
from stpp.flow.flow import Evidence
from stpp.flow.sinkhorn import transport_evidence
from stpp.models.flow import FlowModel


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class TransportFlow(FlowModel):
    """A decaying KDE, part of which moves on along the entropic, unbalanced optimal transport between snapshots.

    Parameters
    ----------
    epsilon : entropic regularisation, in squared bandwidths of the snapshots; the larger, the smoother the flow
    unbalance : Kullback–Leibler penalty on mass that is created or destroyed, in the same unit
    """

    name: ClassVar[str] = "transport"
    summary_line: ClassVar[str] = "a decaying KDE whose recent posts move on along the optimal transport of snapshots"

    epsilon: float = 10.0
    unbalance: float = 100.0

    def pair(self, before: Array, after: Array, dispersion: float) -> Evidence:
        """Displacement and growth of the transport plan, :func:`stpp.flow.sinkhorn.transport_evidence`."""
        return transport_evidence(
            before,
            after,
            self.flow_grid,
            frame=self.frame,
            bandwidth=self.snapshot_bandwidth,
            epsilon=self.epsilon,
            unbalance=self.unbalance,
            dispersion=dispersion,
        )

    def pair_space(self) -> Space:
        """From the width of the kernels to so smooth that noise moves little."""
        return {"epsilon": Between(3.0, 100.0, log=True), "unbalance": Between(10.0, 1000.0, log=True)}

    def default_pair(self) -> dict[str, float]:
        """Moderate smoothing; mass that moved by some bandwidths is not taken for new."""
        return {"epsilon": 10.0, "unbalance": 100.0}

    @property
    def smoothness(self) -> float:
        """The blur of the entropic plan, map units."""
        return self.snapshot_bandwidth * math.sqrt(self.epsilon / 2)
