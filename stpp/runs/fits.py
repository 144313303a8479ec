"""What the verbs write and read back: ingested and simulated events, fitted models, and what is said of them."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from stpp.compute.memory import peak_memory_mb
from stpp.compute.progress import Progress
from stpp.dates import day_of, duration, in_words
from stpp.domain import MAX_GRID_DIMENSIONS, Box, Grid, as_box
from stpp.events import Events, Window
from stpp.files.outputs import new_file, new_run
from stpp.influence.declustering import write_parents
from stpp.intensity import AnyForecast, Forecast, IntensityModel
from stpp.models import MODELS, make_models
from stpp.models.stored import load_model
from stpp.runs.manifest import Source, arguments_of, describe_run, read_manifest, sha256, source_of, write_manifest

logger = logging.getLogger(__name__)

ROUGH_FIT = "its numbers are rough; train on more events (an earlier start), or take hawkes' other --kernel"
"""What to do about a fit that stopped before it met its tolerance."""


def train(
    name: str,
    events: Events,
    *,
    start: str | float | None = None,
    end: str | float | None = None,
    box: Box | Sequence[float] | None = None,
    horizon: float | None = None,
    seed: int = 0,
    options: Mapping[str, object] | None = None,
    progress: Progress | None = None,
) -> tuple[IntensityModel, Window, list[str]]:
    """Fit a model by name.

    Parameters
    ----------
    name : a key of :data:`stpp.models.MODELS`
    events : those before the training window count as history
    start, end : dates of the training window; by default the first and the last event
    box : the domain; by default around the training events
    horizon, seed, options : as in :func:`stpp.models.make_models`
    progress : told (stage, done, in all)

    Returns
    -------
    the fitted model, its training window, and what the user should know about them

    Raises
    ------
    ValueError
        if no event lies in the window, or all events are at one time, which does not say how long the window is
    """
    span = events.span
    if events.t[0] == events.t[-1] and (start is None or end is None):
        raise ValueError(f"all events are at one time ({len(events):,}): say when to train, --start and --end")
    first = span.start if start is None else day_of(start, events.epoch)
    window = Window(first, span.end if end is None else day_of(end, events.epoch))
    training = events.between(window)
    if not len(training):
        dates = f"{events.date(span.start):%Y-%m-%d %H:%M} to {events.date(span.end):%Y-%m-%d %H:%M}"
        raise ValueError(f"no events from --start to --end: there are events from {dates}")
    unfitted = make_models([name], as_box(box) or Box.around(training.x), horizon, seed, options)[name]
    known = events.before(window.end).inside(unfitted.domain)
    notes = []
    if outside := len(training) - len(known.between(window)):
        notes.append(f"{outside:,} of {len(training):,} training events lie outside the box and are left out")
    fitted = unfitted.fit(known, window, progress=progress)
    if fitted.remark:
        notes.append(f"{name} {fitted.remark}")
    if fitted.result and not fitted.result.converged:
        notes.append(f"the fit did not converge: {ROUGH_FIT}")
    return fitted, window, notes


def fit(
    events: Events | Source | str | Path,
    model: str = "hawkes",
    *,
    start: str | float | None = None,
    end: str | float | None = None,
    box: Box | Sequence[float] | None = None,
    horizon: str | float | None = None,
    options: Mapping[str, object] | None = None,
    parents: bool = False,
    output: str | Path | None = None,
    seed: int = 0,
    force: bool = False,
    progress: Progress | None = None,
) -> IntensityModel:
    """Fit a model by name; with ``output`` a run directory with the model and its manifest.

    Parameters
    ----------
    events : a file that :func:`stpp.ingest` wrote or reads, or events in memory
    model : a key of :data:`stpp.MODELS`
    start, end : dates of the training window; by default the first and the last event
    box : the domain; by default around the training events
    horizon : learn to look so far ahead: days, or a word such as ``7d``; 1 day by default
    options : of the model, see ``stpp fit MODEL --help``
    parents : write each event's probable parent to ``OUTPUT/parents.parquet``
    output : the run directory
    seed : of all randomness
    force : replace what exists
    progress : told (stage, done, in all)

    Raises
    ------
    ValueError
        in one sentence with the way out: no such model or option, no event in the window, an output that exists

    Examples
    --------
    >>> import stpp
    >>> model = stpp.fit("data/planted.parquet", "hawkes", end=40)
    >>> 0.4 < model.result.branching_ratio < 0.7
    True
    """
    began, arguments = time.perf_counter(), arguments_of(fit, locals())
    output = None if output is None else Path(output)
    if parents and (not MODELS[model].excites or not output):
        raise ValueError("--parents is for 'fit hawkes' with -o RUN")
    ahead = None if horizon is None else duration(horizon)
    with new_run(output, force=force) if output else nullcontext() as directory:
        source = source_of(events, output)
        when: dict[str, Any] = {"start": start, "end": end, "box": box, "horizon": ahead}
        fitted, window, notes = train(model, source.events, seed=seed, progress=progress, options=options, **when)
        if directory:
            fitted.save(directory)
            write_trials(directory, fitted)
            settings = {"window": [window.start, window.end], "box": fitted.domain.to_list()}
            write_manifest(directory, describe_run("fit", seed, source, arguments, **settings), source, began)
            if parents:
                write_parents(directory / "parents.parquet", fitted, source.events, window)
    for note in notes:
        logger.info("%s", note)
    return fitted


def write_trials(directory: Path, model: IntensityModel) -> None:
    """Write every trial of a model that searched for its parameters as ``trials.csv``.

    Those of an ensemble's members go to ``trials-NAME.csv``; other models have none.
    """
    for name, table in model.trial_tables().items():
        table.to_csv(directory / f"{name}.csv", index_label="trial")


def fit_facts(model: IntensityModel) -> dict[str, Any]:
    """What ``stpp fit --json`` says of a fitted model."""
    result = model.result
    assert result is not None, "every fit reports"
    facts: dict[str, Any] = {"model": model.name}
    for key in ("n_events", "log_likelihood", "aic", "background_rate", "branching_ratio", "seconds"):
        facts[key] = getattr(result, key)
    parameters = {name: asdict(parameter) for name, parameter in result.parameters.items()}
    return facts | {"peak_memory_mb": peak_memory_mb(), "parameters": parameters}


def forecast_facts(forecast: AnyForecast, events: Events, k: int = 5) -> dict[str, Any]:
    """What ``stpp forecast --json`` says: how many events are expected, and the k cells that expect most of them."""
    facts = {
        "model": forecast.model,
        "issue_time": events.date(forecast.window.start).isoformat(),
        "horizon_days": forecast.window.duration,
        "expected_count": forecast.total,
        "highest": [],
    }
    if isinstance(forecast, Forecast):
        order = forecast.counts.argsort(axis=None)[::-1][:k]
        places = forecast.grid.points()[order].tolist()
        values = zip(places, forecast.counts.flat[order], forecast.density.flat[order], strict=True)
        facts["highest"] = [
            dict(zip(events.axes, place, strict=True)) | {"expected_count": float(n), "relative_density": float(g)}
            for place, n, g in values
        ]
    return facts


def forecast_lines(facts: Mapping[str, Any], axes: Sequence[str]) -> list[str]:
    """The same in words."""
    when = facts["issue_time"].replace("T", " ")[:16]
    lines = [f"{facts['expected_count']:,.1f} events expected in {in_words(facts['horizon_days'])} from {when} UTC"]
    if facts["highest"]:
        lines.append(f"{'most of them at':32}  expected  times uniform")
    for cell in facts["highest"]:
        place = ", ".join(f"{axis} {cell[axis]:.4g}" for axis in axes)
        lines.append(f"  {place:30}  {cell['expected_count']:8.4g}  {cell['relative_density']:13.2f}")
    return lines


@dataclass(frozen=True)
class Run:
    """A run directory that ``stpp fit -o`` wrote, read back.

    Parameters
    ----------
    directory : where it lies
    model : the fitted model
    manifest : what ``write_manifest`` wrote
    """

    directory: Path
    model: IntensityModel
    manifest: dict[str, Any]

    @property
    def window(self) -> Window:
        """The training window."""
        return Window(*self.manifest["window"])

    @property
    def source(self) -> Path:
        """The events file that the model was fitted to."""
        return Path(self.manifest["input"]["path"])

    @property
    def reading(self) -> dict[str, Any]:
        """The fields of :class:`stpp.ingest.posts.ReadOptions` that were named when the events were read."""
        return dict(self.manifest["input"]["reading"])

    def forecast(
        self, source: Source, at: str | float, horizon: float, cells: int, *, seen_too: bool = False
    ) -> tuple[AnyForecast, list[str]]:
        """The forecast issued at a date, from the events before it that lie in the model's box.

        Parameters
        ----------
        source : the history
        at : issue date
        horizon : days
        cells : of the grid, per axis; above 3 dimensions there is none
        seen_too : also forecast what the model was trained on

        Returns
        -------
        the forecast, and what the user should know about it

        Raises
        ------
        ValueError
            if the date lies in the training window, or the events are of other dimensions, count days from another
            epoch or all lie elsewhere
        """
        path, events, box = source.path, source.events, self.model.domain
        known = self.manifest["input"]
        if events.d != box.d:
            raise ValueError(f"{path} has {events.d} dimensions, the model {box.d}: give the events it was fitted to")
        if events.epoch != known["epoch"]:
            raise ValueError(f"{path} counts days since {events.epoch}, the model since {known['epoch']}: fit it again")
        inside = events.inside(box)
        if not len(inside):
            raise ValueError(f"none of the {len(events):,} events of {path} lies in the model's box {box.to_list()}")
        issue = day_of(at, events.epoch)
        if issue < self.window.end and not seen_too:
            trained = f"{events.date(self.window.end):%Y-%m-%d %H:%M}"
            raise ValueError(
                f"the model was trained to {trained}, so it has seen what comes after {at}: choose a later --at"
            )
        notes = []
        if sha256(path) != known["sha256"]:
            notes.append(f"{path} is not, or no longer, the file that the model was fitted to")
        if outside := len(events) - len(inside):
            notes.append(f"{outside:,} of {len(events):,} events lie outside the model's box and are left out")
        if issue - events.t[-1] > horizon:
            notes.append(f"the events end {issue - events.t[-1]:.3g} days before --at; from then on none are assumed")
        grid = Grid.over(box, cells) if box.d <= MAX_GRID_DIMENSIONS else None
        return self.model.forecast(Window(issue, issue + horizon), inside.before(issue), grid), notes

    def forecast_to(
        self,
        output: Path | None,
        source: Source,
        at: str | float,
        horizon: str | float,
        cells: int,
        *,
        seen_too: bool = False,
        force: bool = False,
    ) -> tuple[AnyForecast, list[str]]:
        """As :meth:`forecast`, written to a NetCDF file if one is named.

        Raises
        ------
        ValueError
            as :meth:`forecast`, if the file exists and ``force`` is not given, or there is no grid to write
        """
        if output and (d := self.model.domain.d) > MAX_GRID_DIMENSIONS:
            raise ValueError(f"-o writes a grid, and there is none over {d} dimensions: leave it out")
        with new_file(output, force=force) if output else nullcontext() as temporary:
            issued, notes = self.forecast(source, at, duration(horizon), cells, seen_too=seen_too)
            if temporary and isinstance(issued, Forecast):
                issued.to_xarray(source.events).to_netcdf(temporary, engine="h5netcdf")
        return issued, notes


def load_run(directory: Path) -> Run:
    """Read a run directory of ``stpp fit -o``.

    Raises
    ------
    ValueError
        if the manifest or the model is missing or cannot be read (the file is named)

    Examples
    --------
    >>> import stpp, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = stpp.fit("data/planted.parquet", "uniform", output=f"{folder}/run")
    ...     run = load_run(Path(folder, "run"))
    >>> run.model.name, round(run.window.end)
    ('uniform', 59)
    """
    manifest = read_manifest(directory, "stpp fit -o")
    run = Run(directory, load_model(directory), manifest)
    try:
        run.window  # noqa: B018  a manifest without one is no fit's
    except (KeyError, TypeError) as error:
        raise ValueError(f"{directory} is not a run of 'stpp fit -o' ({error!s:.80}): fit again") from error
    return run
