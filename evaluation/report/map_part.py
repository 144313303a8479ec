"""What an evaluation brings to a map: the forecasts of its models in its windows, and how they did."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import ClassVar, Self

import numpy as np

from evaluation.backtests.backtest import BacktestResult
from stpp.compute.progress import Progress
from stpp.domain import MAX_GRID_DIMENSIONS
from stpp.maps.parts import Part, fields_of
from stpp.maps.scene import Canvas, Fields, Scores
from stpp.runs.manifest import Source, read_again, read_manifest


@dataclass(frozen=True, eq=False)
class EvaluationPart(Part):
    """A backtest; it is shown in its own windows only.

    Parameters
    ----------
    result : what it found
    """

    precedence: ClassVar[int] = 3

    _: KW_ONLY
    result: BacktestResult

    @classmethod
    def of(cls, result: BacktestResult, source: Source, run: Path | None = None) -> Self:
        """The part that a backtest brings.

        Parameters
        ----------
        result : with all forecasts, unless there is a ``run``
        source : the events that were evaluated
        run : the run directory, whose fits issue again what was not kept
        """
        names = tuple(result.gains) if result.domain.d <= MAX_GRID_DIMENSIONS else ()
        return cls(source, run=run, windows=result.plan.windows, box=result.domain, models=names, result=result)

    @classmethod
    def of_run(cls, directory: Path) -> Self:
        """The part that a run directory brings.

        Raises
        ------
        ValueError
            as :func:`evaluation.backtests.runs.load_result`
        """
        from evaluation.backtests.runs import load_result

        result, _ = load_result(directory)
        return cls.of(result, read_again(read_manifest(directory, "stpp evaluate -o")), directory)

    def forecasts(self, canvas: Canvas, progress: Progress | None = None) -> list[Fields]:
        """Those that were kept, or issued again; none above three dimensions, where there is no grid."""
        from evaluation.backtests.reissue import forecasts_of

        return [
            fields_of(canvas, name, enumerate(forecasts_of(self.result, self.run, name, progress)))
            for name in self.models
        ]

    def scores(self, canvas: Canvas) -> tuple[str, list[Scores]]:
        """FDS and information gain of every model in every window."""
        found = []
        for name, part in self.result.table.groupby("model", sort=False):
            ordered = part.sort_values("window")
            fds, gain = (ordered[column].to_numpy(dtype=float) for column in ("fds", "information_gain"))
            found.append(Scores(str(name), np.asarray(fds), np.asarray(gain)))
        return self.result.plan.reference, found

    def remarks(self, canvas: Canvas) -> tuple[str, ...]:
        """Where it was scored, and what is not drawn."""
        said = [f"{name} {remark}" for name, remark in self.result.remarks.items()]
        if zoom := self.result.plan.zoom:
            said.append(f"Scores are those of the zoom box {zoom.to_list()}.")
        if not self.models:
            said.append(
                f"No forecast is drawn: they have {self.result.domain.d} dimensions, and are drawn for up to "
                f"{MAX_GRID_DIMENSIONS}."
            )
        return tuple(said)
