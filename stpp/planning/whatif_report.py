"""What a what-if found: the change in each region with intervals, as JSON and as sentences.

References
----------
.. [1] Wilson (1927), Probable inference, the law of succession, and statistical inference, JASA 22.
.. [2] Newcombe (1998), Interval estimation for the difference between independent proportions, Statistics in Medicine
   17, method 10.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stpp.domain import Array

Z = 1.959964
"""Standard normal quantile of 95 % intervals."""


DOUBTFUL = 0.8
"""Branching ratio from which on a fit is more likely to have misread a drift than to be right."""

ASSOCIATION = "if posts beget posts as the model says: association, not effect"


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
    def of_chance(cls, happened: NDArray[np.bool_]) -> Estimate:
        """How often something happened, and Wilson's interval [1]_: not a point where it always, or never, did."""
        n, mean = len(happened), float(happened.mean())
        centre, half = mean + Z**2 / (2 * n), Z * math.sqrt(mean * (1 - mean) / n + Z**2 / (4 * n**2))
        return cls(mean, max(0.0, (centre - half) / (1 + Z**2 / n)), min(1.0, (centre + half) / (1 + Z**2 / n)))

    @classmethod
    def of_difference(cls, one: Estimate, other: Estimate) -> Estimate:
        """Of two probabilities, by Newcombe's interval [2]_: cautious, as the futures go together."""
        mean = one.mean - other.mean
        below = math.hypot(one.mean - one.low, other.high - other.mean)
        above = math.hypot(one.high - one.mean, other.mean - other.low)
        return cls(mean, mean - below, mean + above)


@dataclass(frozen=True)
class BasinChange:
    """What the added posts do to one region.

    Parameters
    ----------
    share_before : of the posts of the time before, the added ones not counted
    reference : the share that it has to keep half of: ``share_before``, or where that is 0 its share in the first step
        of the futures with the added posts
    extra : posts more, over all steps
    count_without, count_with : posts in the last step
    share_without, share_with : of the posts in the last step
    share_change : with less without, simulation by simulation
    continuation_without, continuation_with, continuation_change : probability that in the last step the region holds
        at least half of ``reference``, and one post
    """

    share_before: float
    reference: float
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
    densest : centres of the cells where most extra posts fall, and how many do on average
    basins : change per region, in the order of the memberships given
    fledgling : number of the region at ``place``; −1 if it is in none
    needed : fewest added posts with which the fledgling's continuation reaches ``p``; None if no number does
    needed_low, needed_high : numbers with which the upper and the lower 95 % bound of its probability reach ``p``
    searched : the largest number tried
    p : the probability asked for
    names : of the regions; numbers where there are none
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
    densest: tuple[tuple[tuple[float, ...], float], ...]
    basins: tuple[BasinChange, ...]
    fledgling: int
    needed: int | None
    needed_low: int | None
    needed_high: int | None
    searched: int
    p: float
    names: tuple[str, ...] = ()

    def to_json_dict(self) -> dict[str, Any]:
        """The object that ``stpp whatif --json`` prints; all cells are left to :attr:`extra_per_cell`."""
        names = (
            "model", "date", "step", "steps", "place", "n", "weight", "simulations", "branching_ratio", "exact",
            "fledgling", "needed", "needed_low", "needed_high", "searched", "p",
        )  # fmt: skip
        out: dict[str, Any] = {name: getattr(self, name) for name in names}
        out["place"] = list(self.place)
        out["cautions"] = self.cautions
        out["extra"] = asdict(self.extra)
        out["extra_per_step"] = [asdict(one) for one in self.extra_per_step]
        out["where"] = self.where | {"densest": [{"centre": list(x), "extra": mean} for x, mean in self.densest]}
        out["basins"] = [
            {"id": k, **asdict(basin)} | ({"name": self.names[k]} if self.names else {})
            for k, basin in enumerate(self.basins)
        ]
        return out

    @property
    def where(self) -> dict[str, float]:
        """Mean of the extra posts in the region at the place, in other regions, and elsewhere."""
        here = self.basins[self.fledgling].extra.mean if self.fledgling >= 0 else 0.0
        regions = sum(basin.extra.mean for basin in self.basins)
        return {"at_place": here, "other_regions": regions - here, "elsewhere": self.extra.mean - regions}

    def lines(self) -> list[str]:
        """What was found, in a few sentences."""
        ahead = f"{self.steps} × {self.step:g} days"
        where = ", ".join(f"{v:.3g}" for v in self.place)
        brought = f"{_text(self.extra)} more in {ahead}, {ASSOCIATION}"
        lines = [f"{self.n} posts added at ({where}) on {self.date[:16]} bring {brought}"]
        if not any(e.mean or e.low or e.high for e in (self.extra, *self.extra_per_step)):
            lines[0] = f"{self.n} posts added at ({where}) on {self.date[:16]} bring no others in {ahead}"
            if self.n:
                lines.append(
                    f"{self.model} has no excitation: only where posts fall can change, not how many there are"
                )
        elif self.extra.mean > 0 and self.exact:
            parts = {key: 100 * value / self.extra.mean for key, value in self.where.items()}
            near = "; ".join("(" + ", ".join(f"{v:.3g}" for v in x) + ")" for x, _ in self.densest)
            lines.append(
                f"of these {parts['at_place']:.0f} % fall in the region at that place, {parts['other_regions']:.0f} % "
                f"in other regions and {parts['elsewhere']:.0f} % elsewhere; most around {near}"
            )
        for k, basin in enumerate(self.basins):
            if basin.extra.mean or basin.share_change.mean or k == self.fledgling:
                name = self.names[k] if self.names else f"region {k}"
                stays = f"{_chance(basin.continuation_without)} without, {_chance(basin.continuation_with)} with"
                keeps = f"half of its {100 * basin.reference:.1f} %" if basin.reference > 0 else "one post"
                lines.append(
                    f"{name}: {_text(basin.extra)} more posts; share in the last step "
                    f"{_percent(basin.share_without)} without, {_percent(basin.share_with)} with; continues ({keeps} "
                    f"or more) with probability {stays}"
                )
        return [*lines, self._verdict(), *self.cautions[1:]]

    @property
    def cautions(self) -> list[str]:
        """What to keep in mind: that these are associations, and whether the model is to be believed at all."""
        found = [ASSOCIATION]
        if self.branching_ratio >= DOUBTFUL:
            found.append(
                f"the model's branching ratio is {self.branching_ratio:.2g}: so near 1, a drift that no post brought "
                "about may have been taken for excitation, and these numbers are too large"
            )
        return found

    def _verdict(self) -> str:
        if self.fledgling < 0:
            return "the place lies in no region, so nothing there can continue"
        goal = f"continues with probability {self.p:g}"
        if self.needed == 0:
            return f"the region at that place {goal} or more without any posts added"
        if self.needed is None:
            return f"no number of added posts up to {self.searched} makes the region at that place one that {goal}"
        high = f"{self.needed_high}" if self.needed_high is not None else f"more than {self.searched}"
        text = f"with {self.needed} added posts ({self.needed_low} to {high}) the region at that place {goal} "
        text += f"over these {self.steps} steps"
        if self.branching_ratio < 1:
            text += f"; not for good: at a branching ratio of {self.branching_ratio:.2g}, what is added dies out"
        return text


def _text(estimate: Estimate) -> str:
    return f"{estimate.mean:.3g} ({estimate.low:.3g} to {estimate.high:.3g})"


def _percent(estimate: Estimate) -> str:
    return f"{100 * estimate.mean:.1f} % ({100 * estimate.low:.1f} to {100 * estimate.high:.1f})"


def _chance(estimate: Estimate) -> str:
    return f"{estimate.mean:.2f} ({estimate.low:.2f} to {estimate.high:.2f})"
