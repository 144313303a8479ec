"""Rehearsals: what a further component would have added to a density's forecasts of the training past."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from stpp.compute.blas import one_blas_thread
from stpp.domain import Array, Box
from stpp.events import Events, Window
from stpp.fitting.concave import concave_weights
from stpp.fitting.mixture import BURN_IN, LEAST_UNIFORM, window_numbers
from stpp.kernels.background import KernelMixture, component_density

STAGES = 3
"""Parts, each spread over the whole time, after which a bad trial may be given up."""

CARRIED_EVENTS = 1_000_000
"""What one trial may cost, in events of all histories, while there are at least ``FEWEST`` windows."""

HISTORY = 20
"""Forecast horizons of history that a trial is expected to look at."""

FEWEST, MOST = 12, 100
"""Windows of a rehearsal."""

TARGETS = 20_000
"""Events that are forecast in a rehearsal; more only cost time."""

DensityAt = Callable[[Array, Array, Events], Array]
"""(n,) sorted times, (n, d) places and the history → (n,) density."""


@dataclass(frozen=True, eq=False)
class Rehearsal:
    """Forecasts of past windows, each issued at its start from what was known then.

    Parameters
    ----------
    past : the history
    issue : (n,) the start of the window that each target event fell in, sorted
    x, weight : (n, d), (n,) the targets' places, and importance with mean 1
    stage : (n,) at which stage a target is looked at
    columns : (n, C + 1) the densities that are there already: the components and the uniform
    """

    past: Events
    issue: Array
    x: Array
    weight: Array
    stage: NDArray[np.int64]
    columns: Array

    @classmethod
    def of(cls, past: Events, window: Window, mixture: KernelMixture, horizon: float) -> Rehearsal:
        """Windows of length ``horizon`` counted from the window's start, spread over it after a burn-in."""
        first = max(int(np.searchsorted(past.t, window.start)), int(BURN_IN * len(past)))
        number = window_numbers(past.t[first:], window.start, horizon)
        number = number[number > 0]  # a window that the burn-in ends in is as good as the others, but for the first
        occupied = np.unique(number)
        per_window = len(past) / max(past.t[-1] - past.t[0], horizon) * horizon * HISTORY
        most = int(np.clip(CARRIED_EVENTS / per_window, FEWEST, MOST))
        if len(occupied) > most:
            occupied = occupied[np.linspace(0, len(occupied) - 1, most).round().astype(int)]
        rows = len(past) - len(number) + np.flatnonzero(np.isin(number, occupied))
        rows = rows[:: max(1, -(-len(rows) // TARGETS))]
        number = window_numbers(past.t[rows], window.start, horizon)
        issue = window.start + number.astype(np.float64) * horizon
        x, weight = past.x[rows], past.weight[rows]
        weight = np.ones(len(rows)) if weight.sum() == 0 else weight / weight.mean()
        columns = np.full((len(rows), len(mixture.decays) + 1), 1 / mixture.box.volume)
        for k, (decay, bandwidth) in enumerate(zip(mixture.decays, mixture.bandwidths, strict=True)):
            columns[:, k] = component_density(past, issue, x, decay, bandwidth, mixture.box)
        stage = np.searchsorted(occupied, number) % STAGES
        return cls(past, issue, x, weight, stage, columns)

    def __len__(self) -> int:
        return len(self.issue)

    def gains(self, density: DensityAt, box: Box, score: str) -> Iterator[float]:
        """Gain of the best mixture with one more component over the best without, after more and more windows.

        Parameters
        ----------
        score : ``log-score``, nats per event, or ``fds``, which is improper
        """
        column = np.full(len(self), np.nan)
        for stage in range(STAGES):
            now = np.flatnonzero(self.stage == stage)
            if len(now) == 0:
                continue
            column[now] = density(self.issue[now], self.x[now], self.past)
            rows, before = self._still[stage]
            weight = self.weight[rows]
            if not weight.sum() > 0:  # events without importance say nothing yet
                continue
            after = self._best(self._with(column[rows], rows), weight)[1]
            gained = np.log(after / before) if score == "log-score" else (after - before) * box.volume
            yield float(weight @ gained / weight.sum())

    def shares(self, density: DensityAt) -> tuple[Array, float, float]:
        """The mixture with one more component, and what it gains.

        Returns
        -------
        (C + 1,) shares, the new one last (the rest is uniform); the gain in nats; and what chance gains, in nats per
        parameter and at least 1. That is 1 for independent events of one weight [1]_. Weights and events that come
        together, as replies do, make it larger: the variance of the gain between windows over that of as many
        independent events.

        .. [1] Akaike (1974), A new look at the statistical model identification, IEEE TAC 19, 716; with a variance
           that is estimated: Takeuchi (1976).
        """
        rows, before = self._still[STAGES - 1]
        shares, after = self._best(self._with(density(self.issue, self.x, self.past), rows), self.weight)
        gained = np.log(after / before)
        apart = gained - self.weight @ gained / self.weight.sum()
        noise = self.weight * apart
        together = np.bincount(np.unique(self.issue, return_inverse=True)[1], noise)
        single = float(noise @ apart)
        chance = max(1.0, float(together @ together) / single) if single > 0 else 1.0
        return shares[:-1], float(self.weight @ gained), chance

    @cached_property
    def _still(self) -> list[tuple[NDArray[np.int64], Array]]:
        """Per stage, the targets up to it and the best density that they have without anything new."""
        found = []
        for stage in range(STAGES):
            rows = np.flatnonzero(self.stage <= stage)
            usable = self.weight[rows].sum() > 0
            found.append((rows, self._best(self.columns[rows], self.weight[rows])[1] if usable else np.ones(len(rows))))
        return found

    def _with(self, column: Array, rows: NDArray[np.int64]) -> Array:
        still = self.columns[rows]
        return np.column_stack([still[:, :-1], column, still[:, -1]])

    @staticmethod
    @one_blas_thread
    def _best(columns: Array, weight: Array) -> tuple[Array, Array]:
        """Shares that maximise the log score, and the density that they give."""
        fit = concave_weights(columns, np.full(columns.shape[1], weight.sum()), weight)
        shares = (1 - LEAST_UNIFORM) * fit.weights / fit.weights.sum()
        shares[-1] += LEAST_UNIFORM
        return shares, columns @ shares
