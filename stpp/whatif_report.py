"""What a what-if found: the change in each region with intervals, as JSON and as sentences."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from stpp.domain import Array


@dataclass(frozen=True)
class Estimate:
    """A mean over simulations and an interval.

    Parameters
    ----------
    mean : over simulations
    low, high : of counts and shares, what 95 % of simulations lie between; of probabilities and their changes, a 95 %
        confidence interval for the number of simulations
    """

    mean: float
    low: float
    high: float

    @classmethod
    def of_draws(cls, draws: Array) -> Estimate:
        """Mean and central 95 % of simulated values."""
        low, high = np.quantile(draws, [0.025, 0.975]).tolist()
        return cls(float(draws.mean()), low, high)

    @classmethod
    def of_chance(cls, happened: Array, lowest: float = 0.0) -> Estimate:
        """Mean of what happened (1), did not (0) or stopped happening (−1), and its confidence interval."""
        mean, error = float(happened.mean()), float(happened.std() / math.sqrt(len(happened)))
        return cls(mean, max(lowest, mean - 1.96 * error), min(1.0, mean + 1.96 * error))


@dataclass(frozen=True)
class BasinChange:
    """What the added posts do to one region.

    Parameters
    ----------
    share_before : of the posts of the step before, the added ones not counted
    extra : posts more, over all steps
    count_without, count_with : posts in the last step
    share_without, share_with : of the posts in the last step
    share_change : with less without, simulation by simulation
    continuation_without, continuation_with, continuation_change : probability that in the last step the region holds
        at least half of ``share_before``, and one post
    """

    share_before: float
    extra: Estimate
    count_without: Estimate
    count_with: Estimate
    share_without: Estimate
    share_with: Estimate
    share_change: Estimate
    continuation_without: Estimate
    continuation_with: Estimate
    continuation_change: Estimate


@dataclass(frozen=True, eq=False)
class WhatIf:
    """What adding posts would do, according to a model.

    Parameters
    ----------
    model : its name
    at, date : when the posts are added, days and ISO
    step, steps : days of a step, and how many of them are looked ahead
    place, n, weight : of the added posts
    simulations : of each future
    branching_ratio : of the model; below 1, what is added dies out
    exact : whether the two futures differ by the progeny alone
    extra : posts more than without, the added ones not counted
    extra_per_step : the same, step by step
    extra_per_cell : (cells,) mean of extra posts in each cell of the partition
    basins : change per region, in the order of the memberships given
    fledgling : number of the region at ``place``; −1 if it is in none
    needed : fewest added posts with which the fledgling's continuation reaches ``p``; None if no number does
    searched : the largest number tried
    p : the probability asked for
    """

    model: str
    at: float
    date: str
    step: float
    steps: int
    place: tuple[float, ...]
    n: int
    weight: float
    simulations: int
    branching_ratio: float
    exact: bool
    extra: Estimate
    extra_per_step: tuple[Estimate, ...]
    extra_per_cell: Array
    basins: tuple[BasinChange, ...]
    fledgling: int
    needed: int | None
    searched: int
    p: float

    def to_json_dict(self) -> dict[str, Any]:
        """The object that ``stpp whatif --json`` prints; places by cell are left to :attr:`extra_per_cell`."""
        names = (
            "model", "date", "step", "steps", "place", "n", "weight", "simulations", "branching_ratio", "exact",
            "fledgling", "needed", "searched", "p",
        )  # fmt: skip
        out: dict[str, Any] = {name: getattr(self, name) for name in names}
        out["place"] = list(self.place)
        out["extra"] = asdict(self.extra)
        out["extra_per_step"] = [asdict(one) for one in self.extra_per_step]
        out["basins"] = [{"id": k, **asdict(basin)} for k, basin in enumerate(self.basins)]
        return out

    def lines(self, names: Sequence[str] = ()) -> list[str]:
        """What was found, in a few sentences.

        Parameters
        ----------
        names : of the regions; numbers where there are none
        """
        ahead = f"{self.steps} × {self.step:g} days"
        where = ", ".join(f"{v:.3g}" for v in self.place)
        lines = [f"{self.n} posts added at ({where}) on {self.date[:16]} bring {_text(self.extra)} more in {ahead}"]
        if not any(e.mean or e.low or e.high for e in (self.extra, *self.extra_per_step)):
            lines[0] = f"{self.n} posts added at ({where}) on {self.date[:16]} bring no others in {ahead}"
            if self.n:
                lines.append(
                    f"{self.model} has no excitation: only where posts fall can change, not how many there are"
                )
        for k, basin in enumerate(self.basins):
            if basin.extra.mean or basin.share_change.mean or k == self.fledgling:
                name = names[k] if k < len(names) else f"region {k}"
                continues = basin.continuation_without.mean, basin.continuation_with.mean
                lines.append(
                    f"{name}: {_text(basin.extra)} more posts; share in the last step "
                    f"{_percent(basin.share_without)} without, {_percent(basin.share_with)} with; continues with "
                    f"probability {continues[0]:.2f} without, {continues[1]:.2f} with"
                )
        lines.append(self._verdict())
        return lines

    def _verdict(self) -> str:
        if self.fledgling < 0:
            return "the place lies in no region, so nothing there can continue"
        goal = f"continues with probability {self.p:g}"
        if self.needed == 0:
            return f"the region at that place {goal} or more without any posts added"
        if self.needed is None:
            return f"no number of added posts up to {self.searched} makes the region at that place one that {goal}"
        text = f"with {self.needed} added posts the region at that place {goal} over these {self.steps} steps"
        if self.branching_ratio < 1:
            text += f"; not for good: at a branching ratio of {self.branching_ratio:.2g}, what is added dies out"
        return text


def _text(estimate: Estimate) -> str:
    return f"{estimate.mean:.3g} ({estimate.low:.3g} to {estimate.high:.3g})"


def _percent(estimate: Estimate) -> str:
    return f"{100 * estimate.mean:.1f} %"
