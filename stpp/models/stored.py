"""Models read back from run directories."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from stpp.domain import Array, Box
from stpp.fitting.results import FitResult
from stpp.intensity import IntensityModel
from stpp.models import MODELS


def _restored(stored: dict[str, Any], prefix: str, arrays: dict[str, Array]) -> IntensityModel:
    """The model that :meth:`IntensityModel.save` put into words and arrays."""

    def part(name: str, k: int, value: Any) -> Any:
        return _restored(value, f"{prefix}{name}.{k}.", arrays) if isinstance(value, dict) else value

    cls, values = MODELS[stored["model"]], dict(stored["parameters"])
    values["domain"] = Box.from_flat(values["domain"])
    if values["result"] is not None:
        values["result"] = FitResult(**values["result"])
    for name, value in values.items():
        if isinstance(value, list):
            values[name] = tuple(part(name, k, v) for k, v in enumerate(value))
    for name, array in arrays.items():
        own = name.removeprefix(prefix)
        if name.startswith(prefix) and "." not in own:
            values[own] = array
    known = {field.name for field in dataclasses.fields(cls)}
    return cls(**{name: value for name, value in values.items() if name in known})  # older releases had others too


def load_model(directory: Path) -> IntensityModel:
    """The model that :meth:`IntensityModel.save` wrote.

    Raises
    ------
    ValueError
        if ``model.json`` is missing, corrupt or of an unknown model (the file is named)

    Examples
    --------
    >>> import stpp, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     fitted = stpp.fit("data/planted.parquet", "uniform", output=f"{folder}/run")
    ...     again = load_model(Path(folder, "run"))
    >>> again.rate == fitted.rate
    True
    """
    path = Path(directory) / "model.json"
    try:
        stored = json.loads(path.read_text())
        arrays: dict[str, Array] = {}
        if stored["arrays"]:
            with np.load(path.with_suffix(".npz"), allow_pickle=False) as file:
                arrays = {name: file[name] for name in stored["arrays"]}
        return _restored(stored, "", arrays)
    except FileNotFoundError as error:
        raise ValueError(f"{error.filename} is missing: give a directory that 'stpp fit -o' wrote") from error
    except (OSError, EOFError, BadZipFile, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is not a model that stpp can read ({error!s:.80}): fit it again") from error
