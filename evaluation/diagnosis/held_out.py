"""Every check of fitted models on events that they were not fitted to: what ``stpp diagnose`` puts together."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from evaluation.backtests.plan import Plan
from evaluation.backtests.runs import load_fits, load_result
from evaluation.diagnosis.consistency import CalibrationResult, ConsistencyResult, calibration, consistency
from evaluation.diagnosis.diagnosis import Diagnosis, Segment, diagnose
from evaluation.diagnosis.replies import CorePull, ParentScores, has_replies, pull_of_cores, score_parents
from stpp.compute.progress import Progress
from stpp.dates import in_words
from stpp.domain import MAX_GRID_DIMENSIONS, Grid
from stpp.events import Events, Window
from stpp.models import Hawkes, HistoricalAverage
from stpp.runs.fits import load_run
from stpp.runs.manifest import read_again, read_manifest

SIMULATIONS = 100
"""Catalogues per window behind the consistency tests."""


@dataclass(frozen=True)
class HeldOut:
    """Fitted models, and the windows after their training that they are judged on.

    Parameters
    ----------
    events : those inside the models' domain
    training : that the first model was fitted to
    segments : model and windows, one per fit
    """

    events: Events
    training: Window
    segments: list[Segment]

    @property
    def windows(self) -> list[Window]:
        """All of them, in time order."""
        return [window for _, windows in self.segments for window in windows]


def load_held_out(directory: Path, model: str | None, step: float) -> HeldOut:
    """What a run of ``stpp fit`` or ``stpp evaluate`` holds out.

    Parameters
    ----------
    directory : the run
    model : of an evaluation, which of its models; None: the first beside the reference
    step : days per window, for a fit; an evaluation has its own

    Raises
    ------
    ValueError
        if there is no such run or model, its events changed, or none fall into a whole window after the training
    """
    manifest = read_manifest(directory, "stpp fit -o")
    if "plan" in manifest:
        result, _ = load_result(directory)
        plan: Plan = result.plan
        if plan.history is not None:
            raise ValueError(
                f"{directory} looks back {plan.history:g} days only: diagnose a run of --history expanding"
            )
        names = [name for name in result.gains if name != plan.reference] or [plan.reference]
        return HeldOut(result.events, plan.training, load_fits(directory, model or names[0], plan.windows))
    run, events = load_run(directory), read_again(manifest).events
    if model not in (None, run.model.name):
        raise ValueError(f"{directory} is a fit of {run.model.name}, not of {model}: leave --model out")
    start, end, inside = run.window.end, events.span.end, events.inside(run.model.domain)
    windows = list(Window(start, end).rolling(step)) if start < end else []
    if not (windows and len(inside.between(Window(start, windows[-1].end)))):
        raise ValueError(
            f"no events in a whole window of {in_words(step)} after the training of {directory}: "
            "fit with an earlier --end, or take a shorter --step"
        )
    return HeldOut(inside, run.window, [(run.model, windows)])


@dataclass(frozen=True)
class Judgement:
    """All checks of one model.

    Parameters
    ----------
    diagnosis : residuals and calibration
    consistency, calibrated : CSEP's tests of every window, and their calibration over windows
    parents : probable parents against true ones, where events carry replies and the model is self-exciting
    cores : how often replies land nearer the density core than their parents, where events carry replies
    """

    diagnosis: Diagnosis
    consistency: list[ConsistencyResult]
    calibrated: list[CalibrationResult]
    parents: ParentScores | None
    cores: CorePull | None

    def lines(self) -> list[str]:
        """In words."""
        out = [*self.diagnosis.lines(), "", "consistency with simulated catalogues, window by window"]
        out += [result.words for result in self.calibrated]
        for replies in (self.parents, self.cores):
            if replies is not None:
                out += ["", *replies.lines()]
        return out

    def to_json_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return self.diagnosis.to_json_dict() | {
            "consistency": [result.to_json_dict() for result in self.consistency],
            "consistency_over_windows": [asdict(result) for result in self.calibrated],
            "parents": None if self.parents is None else self.parents.to_json_dict(),
            "cores": None if self.cores is None else self.cores.to_json_dict(),
        }


def judge(
    held: HeldOut,
    *,
    cells: int,
    mark: str | None,
    rng: np.random.Generator,
    progress: Progress | None = None,
) -> Judgement:
    """Diagnose, test consistency and, where there are replies, hold probable parents against true ones.

    Parameters
    ----------
    held : models and windows
    cells : of the grid, per axis
    mark : numeric mark for CSEP's mark test, such as a magnitude
    rng : of everything random
    progress : told (what, windows done, windows in all)
    """
    first, events, domain = held.segments[0][0], held.events, held.segments[0][0].domain
    grid = Grid.over(domain, cells) if domain.d <= MAX_GRID_DIMENSIONS else None
    found = diagnose(held.segments, events, grid, rng=rng, progress=progress)
    tests: list[ConsistencyResult] = []
    for model, windows in held.segments:
        for window in windows:
            tests += consistency(model, window, events, events, grid, simulations=SIMULATIONS, mark=mark, rng=rng)
            if progress is not None:
                done = sum(test.test == tests[0].test for test in tests)
                progress("simulated catalogues", done, len(held.windows))
    parents = cores = None
    span = Window(held.windows[0].start, held.windows[-1].end)
    if has_replies(events, span):
        if isinstance(first, Hawkes):
            parents = score_parents(first, events, span, rng=rng)
        if grid is not None:
            density = HistoricalAverage(domain=domain).fit(events.before(span.start), held.training)
            cores = pull_of_cores(density, events, span, grid, step=held.windows[0].duration, rng=rng)
    return Judgement(found, tests, calibration(tests, rng), parents, cores)
