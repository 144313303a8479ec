"""Null worlds: what the data could have looked like if one thing in them did not exist.

Each null destroys one thing and keeps the rest, so that a statistic recomputed on many null worlds says how much of it
that one thing is worth. Which null is rejected matters more than that one is: any slow drift rejects ``time-shuffle``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from textwrap import wrap
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluation.backtests.plan import Plan
from evaluation.nulls import NULLS
from stpp.chance import monte_carlo_p
from stpp.domain import Array, Box
from stpp.events import Events, Window

MAP_CELLS = 10
"""Cells per axis of the coarse map whose cells stand in for authors where there are none."""

TREND_PIECES = 20
"""Pieces of the trend of the background's rate over the span, at most."""

EVENTS_PER_PIECE = 50
"""Events that a piece of the trend needs: a rate that follows the noise of small data bursts more than it should."""

STEPS_PER_PIECE = 4
"""Steps of time per piece of the trend, at least; they are an hour where that is shorter."""

FACTOR_SD = 2.0
"""Prior standard deviation of the logarithms of the background rate's factors.

It is wide on purpose: at 0.5 the rate of 300 events was too even, and the likelihood of a Hawkes process told Poisson
worlds from their own background too often (mean p of 14 was 0.24; 0.54 with 2.0). Knox' statistic errs on the safe
side there: at a level of 5 % it rejected 1 of 80.
"""

World = Callable[[np.random.Generator], Events]
"""rng → one null world."""


@dataclass(frozen=True)
class Context:
    """What a null must know beside the events.

    Parameters
    ----------
    domain : the box that events fall in
    span : the time that is analysed; all events lie in it
    step : days from one forecast window to the next
    origin : days; some forecast window starts here
    """

    domain: Box
    span: Window
    step: float
    origin: float


def analysed(events: Events, domain: Box, plan: Plan) -> tuple[Events, Context]:
    """The events that a backtest can see, those before the test's end inside the domain, and the nulls' context.

    Raises
    ------
    ValueError
        if there are none
    """
    inside = events.before(plan.test.end).inside(domain)
    if not len(inside):
        raise ValueError("no events inside the domain before the test's end: widen the box or move the dates")
    start = min(plan.train_start, float(inside.t[0]))
    return inside, Context(domain, Window(start, plan.test.end), plan.step, plan.test.start)


@dataclass(frozen=True)
class Null:
    """A named null.

    Parameters
    ----------
    name : key in :data:`NULLS`
    destroys, keeps : what its worlds lack and share with the data
    claim : what is shown when it is rejected
    prepare : (events, context) → the source of its worlds
    """

    name: str
    destroys: str
    keeps: str
    claim: str
    prepare: Callable[[Events, Context], World]

    def world(self, events: Events, context: Context) -> World:
        """The source of null worlds of these events: called with a generator it returns one.

        Reply edges are dropped: none of them would point to the same post at the same time any more.

        Raises
        ------
        ValueError
            if there are no events, some lie outside domain or span, or the null does not apply to them
        """
        if not len(events):
            raise ValueError(f"no events to make '{self.name}' worlds of: widen the box or the dates")
        inside = context.domain.contains(events.x) & (events.t >= context.span.start) & (events.t < context.span.end)
        if not inside.all():
            raise ValueError(
                f"{int((~inside).sum()):,} events lie outside the analysed domain or span: give those inside only"
            )
        return self.prepare(replace(events, parent=None), context)

    def __call__(self, events: Events, rng: np.random.Generator, context: Context) -> Events:
        """One null world."""
        return self.world(events, context)(rng)


def groups(events: Events, domain: Box) -> NDArray[np.int64]:
    """(n,) group 0, 1, … of each event: its author or, in data of one author or none, its cell of a 10 × 10 map.

    The map covers the domain's first two axes. Posts whose author is not known form one group.
    """
    if events.author is not None and (events.author != events.author[0]).any():
        code = events.author
    else:
        low, widths = np.asarray(domain.low)[:2], domain.widths[:2]
        cell = np.clip(np.floor((events.x[:, :2] - low) / widths * MAP_CELLS), 0, MAP_CELLS - 1).astype(np.int64)
        code = cell @ MAP_CELLS ** np.arange(cell.shape[1])
    return np.unique(code, return_inverse=True)[1].astype(np.int64)


@dataclass(frozen=True)
class _Permuted:
    """Times permuted over the places and marks of each group."""

    events: Events
    group: NDArray[np.int64]

    def __call__(self, rng: np.random.Generator) -> Events:
        t = np.empty(len(self.events))
        drawn = np.lexsort((rng.random(len(t)), self.group))
        t[np.argsort(self.group, kind="stable")] = self.events.t[drawn]
        return replace(self.events, t=t)


@dataclass(frozen=True)
class _Rotated:
    """Each group's times shifted around the span by an offset of its own."""

    events: Events
    group: NDArray[np.int64]
    span: Window

    def __call__(self, rng: np.random.Generator) -> Events:
        offset = rng.uniform(0, self.span.duration, self.group.max() + 1)[self.group]
        t = self.span.start + (self.events.t - self.span.start + offset) % self.span.duration
        return replace(self.events, t=np.minimum(t, np.nextafter(self.span.end, -math.inf)))


@dataclass(frozen=True)
class _Background:
    """An inhomogeneous Poisson process given its events' number and places: times drawn independently by a rate.

    Places are kept rather than drawn from a fitted density: a density smooths, its worlds have fewer near pairs than
    the data, and at a level of 5 % Knox' statistic then rejected 38 % of 60 Poisson worlds of 300 events.

    Parameters
    ----------
    events : whose places, weights, authors and marks stay together
    edges : (c + 1,) days, steps of time
    expected : (c,) expected number of events in each step
    """

    events: Events
    edges: Array
    expected: Array

    def __call__(self, rng: np.random.Generator) -> Events:
        step = rng.choice(len(self.expected), size=len(self.events), p=self.expected / self.expected.sum())
        low, high = self.edges[step], self.edges[step + 1]
        return replace(self.events, t=np.minimum(rng.uniform(low, high), np.nextafter(high, -math.inf)))


def _time_shuffle(events: Events, context: Context) -> World:
    return _Permuted(events, np.zeros(len(events), dtype=np.int64))


def _within_author(events: Events, context: Context) -> World:
    return _Permuted(events, groups(events, context.domain))


def _within_window(events: Events, context: Context) -> World:
    window = np.floor((events.t - context.origin) / context.step).astype(np.int64)
    return _Permuted(events, window)


def _rotate(events: Events, context: Context) -> World:
    group = groups(events, context.domain)
    if group.max() == 0:
        raise ValueError("rotate shifts authors or places against each other, and here is only one: use time-shuffle")
    return _Rotated(events, group, context.span)


def _background(events: Events, context: Context) -> World:
    return _Background(events, *expected_counts(events.t, context.span))


def expected_counts(t: Array, span: Window) -> tuple[Array, Array]:
    """Expected counts in steps of time under a smooth trend × day of the week × hour of the day (UTC).

    A log-linear Poisson regression of the counts per step, with Gaussian priors: the logarithm of the trend is linear
    over each of up to ``TREND_PIECES`` equal pieces. A span shorter than two weeks has no days of the week, shorter
    than two days no hours. The expected total is the observed one.

    Parameters
    ----------
    t : (n,) days in the span, n ≥ 1
    span : the time to cover

    Returns
    -------
    (c + 1,) edges of the steps, days, from the span's start to its end; (c,) expected counts
    """
    from scipy import sparse
    from sklearn.linear_model import PoissonRegressor
    from sklearn.preprocessing import OneHotEncoder, SplineTransformer

    pieces = min(TREND_PIECES, max(1, len(t) // EVENTS_PER_PIECE))
    per_hour = math.ceil(pieces * STEPS_PER_PIECE / (24 * span.duration))
    step = 1 / (24 * per_hour)
    ticks = np.arange(math.floor(span.start / step) + 1, math.ceil(span.end / step)) * step
    edges = np.unique(np.concatenate([[span.start], ticks[(ticks > span.start) & (ticks < span.end)], [span.end]]))
    middle, width = (edges[1:] + edges[:-1]) / 2, np.diff(edges)
    knots = np.linspace(span.start, span.end, pieces + 1)[:, None]
    parts = [SplineTransformer(degree=1, knots=knots, sparse_output=True).fit_transform(middle[:, None])]
    if span.duration >= 14:
        parts.append(OneHotEncoder().fit_transform(np.floor(middle)[:, None] % 7))
    if span.duration >= 2:
        parts.append(OneHotEncoder().fit_transform(np.floor(middle % 1 * 24)[:, None]))
    columns = sparse.hstack(parts).tocsr()
    counts = np.histogram(t, edges)[0]
    model = PoissonRegressor(alpha=1 / (len(t) * FACTOR_SD**2), max_iter=1000)
    rate = model.fit(columns, counts / width * (span.duration / len(t)), sample_weight=width).predict(columns)
    return edges, rate * width * (len(t) / float(rate @ width))


TIME_SHUFFLE = Null(
    "time-shuffle",
    "any link between when and where: times are dealt out anew over places and marks",
    "how many events fall when, and what falls where",
    "place and time are linked, be it by slow drift, by one author's bursts or by self-excitation",
    _time_shuffle,
)

WITHIN_AUTHOR = Null(
    "within-author",
    "the order of each author's own posts: times are dealt out anew among the posts of one author "
    "(where there is one author or none: among those of one cell of a 10 × 10 map)",
    "when and where each author posts, hence what follows from who is active when",
    "place and time are linked beyond who posts what, and who is active when",
    _within_author,
)

ROTATE = Null(
    "rotate",
    "the timing of authors against each other, the common trend and rhythm included: each author's times are "
    "shifted around the span by an offset of their own (where there is one author or none: each place's, on a "
    "10 × 10 map)",
    "each author's own bursts and drift (or each place's own)",
    "authors (or places) move together: more is there than each one's own sequence of posts",
    _rotate,
)

WITHIN_WINDOW = Null(
    "within-window",
    "the order of events inside each forecast window: times are dealt out anew within it",
    "everything from window to window: drift, growth, bursts longer than a window",
    "the order of events within one window matters: something acts faster than a window is long",
    _within_window,
)

BACKGROUND = Null(
    "background",
    "self-excitation and drift: a Poisson process, all times drawn anew from a fitted rate",
    "the rate (smooth trend × day of the week × hour of the day), and what falls where",
    "events excite each other or places drift: fixed places under a common smooth rate do not explain it",
    _background,
)


def describe_nulls() -> str:
    """What each null destroys, keeps, and shows when it is rejected; for ``stpp nulls``."""
    lines = []
    for null in NULLS.values():
        lines += ["", null.name]
        for label, text in (("destroys", null.destroys), ("keeps", null.keeps), ("rejected, it shows", null.claim)):
            lines += wrap(
                text, 110, initial_indent=f"  {label:<20}", subsequent_indent=" " * 22, break_on_hyphens=False
            )
    return "\n".join(lines[1:])


@dataclass(frozen=True)
class NullResult:
    """One statistic against one null.

    Parameters
    ----------
    statistic : name of the value
    null : name of the null
    observed : value on the data
    values : (B,) on null worlds, in the order of their seeds
    seconds : wall time of what this run computed of them; not reproducible, and no part of equality

    Examples
    --------
    >>> NullResult("gain", "time-shuffle", 2.0, (0.0, 1.0, 1.0)).p_value
    0.25
    """

    statistic: str
    null: str
    observed: float
    values: tuple[float, ...]
    seconds: float = field(default=0.0, compare=False)

    @property
    def p_value(self) -> float:
        """One-sided: see :func:`stpp.chance.monte_carlo_p`."""
        return float(monte_carlo_p(self.observed, self.values))

    @property
    def mean(self) -> float:
        """Mean over null worlds."""
        return float(np.mean(self.values))

    @property
    def sd(self) -> float:
        """Standard deviation over null worlds."""
        return float(np.std(self.values, ddof=1))

    @property
    def effect_size(self) -> float:
        """(observed − mean) / sd; NaN where the null worlds do not differ."""
        return (self.observed - self.mean) / self.sd if self.sd > 0 else math.nan

    @property
    def share_kept(self) -> float:
        """How much of the observed value the null keeps, mean / observed; NaN where there is nothing to keep."""
        return self.mean / self.observed if self.observed > 0 else math.nan

    def to_json_dict(self) -> dict[str, Any]:
        """The object that ``stpp null --json`` prints."""
        effect = self.effect_size
        return {
            "statistic": self.statistic,
            "observed": self.observed,
            "null": self.null,
            "B": len(self.values),
            "null_mean": self.mean,
            "null_sd": self.sd,
            "effect_size": effect if math.isfinite(effect) else None,
            "p_value": self.p_value,
            "seconds": self.seconds,
        }
