"""How far work is: a line now and then without a terminal, a bar on one, nothing when quiet."""

import io
import sys

from hypothesis import given
from hypothesis import strategies as st

from stpp.compute.progress import Reporter, each


def reported(calls, *, clock, **how):
    told = []
    seconds = iter(clock)
    reporter = Reporter(told.append, clock=lambda: next(seconds), terminal=False, **how)
    for call in calls:
        reporter(*call)
    return told


def test_short_work_says_nothing_and_quiet_work_never():
    calls = [("windows", k, 9) for k in range(1, 10)]
    assert reported(calls, clock=[0.1 * k for k in range(9)]) == []
    assert reported(calls, clock=[100.0 * k for k in range(9)], quiet=True) == []


def test_every_stage_is_told_of_after_two_seconds():
    calls = [("densities", 1, 4), ("densities", 2, 4), ("kernels", 1, 4), ("kernels", 2, 4), ("likelihoods", 7, 0)]
    told = reported([*calls, ("likelihoods", 9, 0)], clock=[0, 3, 4, 7, 8, 20])
    assert told == ["densities: 2 of 4 done, 6 s left", "kernels: 2 of 4 done, 6 s left", "likelihoods: 9 done"]


@given(st.lists(st.floats(0.01, 5), min_size=300, max_size=300))
def test_it_is_no_flood(gaps):
    clock, now = [], 0.0
    for gap in gaps:
        now += gap
        clock.append(now)
    told = reported([("windows", k, 301) for k in range(1, 301)], clock=clock)
    assert len(told) <= 3 + (now - clock[0]) / 60


def test_on_a_terminal_there_is_a_bar_that_goes(monkeypatch):
    screen = io.StringIO()
    monkeypatch.setattr(sys, "stderr", screen)
    reporter = Reporter(print, terminal=True)
    for _ in each(range(3), "kernels", reporter):
        pass
    assert "kernels" in screen.getvalue()
    assert screen.getvalue().endswith("\r")
