"""The flows of a fitted flow model."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from stpp.dates import in_words
from stpp.events import Events, Window
from stpp.flow.flow import Flow
from stpp.intensity import IntensityModel
from stpp.models.flow import FlowModel

MOST_FLOWS = 1000
"""Flows, and pages of them, that one command makes."""


def flows_of(model: IntensityModel, events: Events, window: Window) -> tuple[list[Flow], float, str]:
    """The flows of a fitted flow model, one per horizon, from when its history window is full.

    They are shown as they were measured: with so weak a prior (a tenth of the map per frame, and a growth of e per
    frame) that it does not shrink the arrows where there is mass, as the learned one does that serves forecasts.

    Returns
    -------
    the flows in time order, the distance in map units over which their errors go together, and a title

    Raises
    ------
    ValueError
        if the model has no flow, its history window is longer than the data, or there would be too many flows
    """
    if not isinstance(model, FlowModel):
        raise ValueError(f"'{model.name}' has no flow: take drift or transport")
    speed = 0.1 * float(model.domain.widths.max()) / model.frame
    estimator = replace(model, velocity_prior=speed, growth_prior=1 / model.frame).estimator
    unit = min(model.horizon, 1.0)
    latest = math.floor(window.end / unit + 0.01) * unit  # whole days, or whole steps if shorter
    if latest - window.start < estimator.reach:
        latest = window.end
    model.refuse_longer_than(latest - window.start)
    count = math.floor((latest - window.start - estimator.reach) / model.horizon + 1e-9) + 1
    if count > MOST_FLOWS:
        raise ValueError(f"{count:,} flows, and a page for each, are too many: take a longer --step, or --start, --end")
    times = latest - model.horizon * np.arange(count)[::-1]
    inside = events.before(window.end).inside(model.domain)
    title = f"{model.name}, {model.history_window} frames of {in_words(model.frame)}"
    return [estimator.flow(inside, float(time)) for time in times], model.smoothness, title
