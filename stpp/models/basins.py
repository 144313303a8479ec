"""Rates over basins: a finder's basins as an intensity, so that finders stand in the leaderboard too."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np

from stpp.compute.progress import Progress
from stpp.dates import format_days
from stpp.domain import Array
from stpp.events import Events, Window
from stpp.fitting.concave import concave_weights
from stpp.fitting.results import FitResult, Parameter
from stpp.kernels.fields import decayed_totals
from stpp.models.rates import NEGLIGIBLE, RegionRates, excitation_ladder, reached


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class BasinRates(RegionRates):
    """λ(t, x) = ν f(x | H_t) + Σ_b [Σ_c a_c Σ_{t_j < t} m_b(x_j) β_c e^{−β_c(t − t_j)}] f_b(x | H_t).

    Every post makes others likelier in its own basin, for a while; ν and a_c ≥ 0 are the one maximum of the concave
    log-likelihood. Without excitation this is the historical average, so in sample it can only tie with it or win.
    See :class:`stpp.models.rates.RegionRates` for the fields; membership is a finder's, or adaptive.
    """

    name: ClassVar[str] = "basins"
    summary_line: ClassVar[str] = "rates over basins: every post makes others likelier in its own basin, for a while"

    def fit(self, events: Events, window: Window, *, progress: Progress | None = None) -> Self:
        """Place densities by predictive log score, rates by maximum likelihood over the window.

        Raises
        ------
        ValueError
            if there are too few events in the window
        """
        began = time.perf_counter()
        past = events.before(window.end)
        inside = self.training_events(past, window)
        model = self.with_places(past, window, progress)
        decays = excitation_ladder(inside, window)
        columns, masses = model._design(past, window, decays)
        fit = concave_weights(columns, masses)
        a = fit.weights[1:]
        kept = np.flatnonzero(fit.weights[1:] * masses[1:] > NEGLIGIBLE * len(inside))
        r = len(model.cell_members.T)
        model = replace(
            model,
            even_rate=float(fit.weights[0]),
            rates=np.zeros(r),
            decays=decays[kept],
            excitation=np.eye(r)[:, :, None] * a[kept],
        )
        errors = fit.standard_errors()
        parameters = {"background rate": Parameter(float(fit.weights[0]), float(errors[0]), "events/day")}
        for k in kept:
            name = f"kernel half-life {format_days(float(math.log(2) / decays[k]))}"
            parameters[name] = Parameter(float(a[k]), float(errors[1 + k]), "offspring")
        parameters["regions"] = Parameter(float(r))
        result = FitResult(
            n_events=len(inside),
            log_likelihood=model.log_likelihood(past, window),
            parameters=parameters,
            free_parameters=int((fit.weights > 0).sum()),
            background_rate=model.even_rate,
            branching_ratio=float(a[kept].sum()),
            converged=fit.converged,
            seconds=time.perf_counter() - began,
        )
        return replace(model, result=result)

    def _design(self, past: Events, window: Window, decays: Array) -> tuple[Array, Array]:
        """(n, 1 + C) density of the background and of each kernel at the window's events, (1 + C,) their integrals."""
        inside = past.between(window)
        columns = np.zeros((len(inside), 1 + len(decays)))
        columns[:, 0] = self.place.at(inside.t, inside.x, past)
        members = np.ascontiguousarray(self.members(past.x).T)
        for m, (part, _) in zip(members, self._of_regions(past), strict=True):
            density = self.place.at(inside.t, inside.x, part)
            for c, decay in enumerate(decays, start=1):
                columns[:, c] += density * decay * decayed_totals(past.t, m, inside.t, decay)
        masses = [window.duration, *(reached(past.t, members.sum(axis=0), window, decay) for decay in decays)]
        return columns, np.array(masses)
