"""What a backtest has finished, on disk: so that an interrupted one goes on, and its forecasts can be looked at."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stpp.domain import Array, Grid
from stpp.events import Window
from stpp.files.outputs import append_journal, read_journal
from stpp.intensity import AnyForecast, Forecast, IntensityModel
from stpp.models.stored import load_model
from stpp.runs.fits import write_trials

FLOAT = np.float32
"""How forecasts are kept: a relative error of 6e-8 in what is drawn; scores are computed before."""


@dataclass(frozen=True)
class Store:
    """A directory of finished windows.

    ``rows.jsonl`` has a line per model × window, written last: a window without its line is done again. Beside it lie
    the fitted models, ln g at the scored events and, where there is a grid, the forecasts.

    Parameters
    ----------
    directory : that exists
    """

    directory: Path

    def rows(self) -> list[dict[str, Any]]:
        """The finished rows, in the order in which they were finished."""
        return read_journal(self.directory / "rows.jsonl")

    def add(self, row: Mapping[str, Any], log_density: Array, forecast: AnyForecast) -> None:
        """Keep a finished window: ``row`` has its ``model`` and its number, ``window``."""
        model, k = row["model"], row["window"]
        np.save(self._file("log_density", model, k), log_density)
        if isinstance(forecast, Forecast):
            np.save(self._file("forecasts", model, k), forecast.counts.astype(FLOAT))
        append_journal(self.directory / "rows.jsonl", row)

    def log_density(self, model: str, k: int) -> Array:
        """(n,) ln g at the scored events of window ``k``."""
        return np.asarray(np.load(self._file("log_density", model, k)))

    def forecasts(self, windows: tuple[Window, ...], grid: Grid) -> Forecasts:
        """The forecasts kept, by model and window."""
        return Forecasts(self, windows, grid)

    def fit(self, model: str, first: int) -> IntensityModel | None:
        """The model fitted before window ``first``, if it was."""
        directory = self.directory / "models" / model / f"{first:05}"
        return load_model(directory) if directory.is_dir() else None

    def keep_fit(self, model: str, first: int, fitted: IntensityModel) -> None:
        """Keep a model fitted before window ``first``."""
        directory = self.directory / "models" / model / f"{first:05}"
        unfinished = directory.with_name(f"{directory.name}.new")
        unfinished.mkdir(parents=True, exist_ok=True)
        fitted.save(unfinished)
        write_trials(unfinished, fitted)
        unfinished.rename(directory)

    def _file(self, kind: str, model: str, k: int) -> Path:
        directory = self.directory / kind / model
        directory.mkdir(parents=True, exist_ok=True)
        return directory / f"{k:05}.npy"


class Forecasts(Mapping[tuple[str, int], Forecast]):
    """(model, window number) → forecast, read from a :class:`Store` when asked for."""

    def __init__(self, store: Store, windows: tuple[Window, ...], grid: Grid) -> None:
        self._store, self._windows, self._grid = store, windows, grid
        self._rows = {(row["model"], row["window"]): row["floor"] for row in store.rows()}

    def __getitem__(self, key: tuple[str, int]) -> Forecast:
        floor, (model, k) = self._rows[key], key
        counts = np.load(self._store._file("forecasts", model, k)).astype(float)
        return Forecast(self._windows[k], self._grid, counts, model, floor)

    def __iter__(self) -> Iterator[tuple[str, int]]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)
