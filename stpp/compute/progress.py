"""How long work tells how far it is."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from stpp.dates import format_days

T = TypeVar("T")

FIRST, LONGEST = 2.0, 60.0
"""Seconds after which a stage is told of for the first time, and at most from one line to the next."""

Progress = Callable[[str, int, int], None]
"""Called with (what is worked on, pieces done, pieces in all) after every trial, window, null world or page.

Pieces in all are 0 where nobody knows how many there will be.
"""


def each(items: Sequence[T], label: str, progress: Progress | None) -> Iterator[T]:
    """The items one by one; ``progress`` is told when the work on one is done.

    Examples
    --------
    >>> for square in each([1, 4], "squares", print):
    ...     pass
    squares 1 2
    squares 2 2
    """
    for done, item in enumerate(items, start=1):
        yield item
        if progress is not None:
            progress(label, done, len(items))


class Reporter:
    """Tells how far work is: a bar on a terminal, otherwise a line now and then.

    Parameters
    ----------
    tell : takes a line, where there is no terminal
    quiet : tell nothing
    clock : seconds

    Examples
    --------
    >>> seconds = iter([0.0, 1.0, 5.0, 6.0, 40.0])
    >>> report = Reporter(print, clock=lambda: next(seconds), terminal=False)
    >>> for done in range(1, 6):
    ...     report("windows", done, 10)
    windows: 3 of 10 done, 18 s left
    windows: 5 of 10 done, 50 s left
    """

    def __init__(
        self,
        tell: Callable[[str], None],
        *,
        quiet: bool = False,
        clock: Callable[[], float] = time.monotonic,
        terminal: bool | None = None,
    ) -> None:
        self._tell, self._quiet, self._clock = tell, quiet, clock
        self._terminal = sys.stderr.isatty() if terminal is None else terminal
        self._bar: Any = None
        self._stage: tuple[str, int] | None = None
        self._began = self._next = self._wait = 0.0
        self._first = 0

    def __call__(self, label: str, done: int, total: int) -> None:
        """Hear of ``done`` pieces of ``total``."""
        if self._quiet:
            return
        if self._terminal:
            self._draw(label, done, total)
            return
        now = self._clock()
        if self._stage != (label, total):
            self._stage, self._began, self._first, self._wait = (label, total), now, done, FIRST
            self._next = now + FIRST
        if now >= self._next and not total:
            self._tell(f"{label}: {done:,} done")
        elif now >= self._next and done < total:
            seen = done - self._first
            left = f", {format_days(round((now - self._began) / seen * (total - done)) / 86_400)} left" if seen else ""
            self._tell(f"{label}: {done:,} of {total:,} done{left}")
        if now >= self._next:
            self._wait = min(self._wait * 5, LONGEST)
            self._next = now + self._wait

    def _draw(self, label: str, done: int, total: int) -> None:
        from tqdm import tqdm

        if self._bar is None or self._stage != (label, total):
            self.close()
            self._stage, self._bar = (label, total), tqdm(total=total or None, desc=label, leave=False)
        self._bar.n = done
        self._bar.refresh()
        if done >= total > 0:
            self.close()

    def close(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None
