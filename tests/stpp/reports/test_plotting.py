"""Pictures: what they show and say, drawn by Agg without a screen."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from stpp.domain import Box, Grid
from stpp.events import Events, Window
from stpp.intensity import Forecast
from stpp.reports.plotting import (
    contrast_limit,
    draw_dots,
    house_style,
    map_size,
    plot_contrast,
    plot_forecast,
    top_density,
)

mpl.use("Agg")


def forecast(d: int, high: float = 1.0) -> Forecast:
    """Rising along the first axis."""
    grid = Grid.over(Box((0,) * d, (high, *(1,) * (d - 1))), 8)
    return Forecast.of(Window(3, 4), grid, np.cumsum(np.ones(grid.shape), axis=0), "model")


def events(d: int) -> Events:
    names = ("sincerity", "charity", "depth")[:d]
    return Events([3.1, 3.2, 3.3], np.full((3, d), 0.5), axes=names)


def test_map_shows_density_and_events() -> None:
    ax = plot_forecast(forecast(2), events(2), ax=Figure().subplots())
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("sincerity (map units)", "charity (map units)")
    assert ax.get_title(loc="left") == "model, 1 day from 1970-01-04\nand the 3 events that came"
    (image,), (points,) = ax.images, ax.collections
    # axis 0 of the field runs along x: rows of the image (y) are equal, columns (x) rise
    field = np.asarray(image.get_array())
    np.testing.assert_allclose(field, forecast(2).density.T)
    assert field[0, -1] > field[0, 0]
    assert len(points.get_offsets()) == 3
    assert ax.get_aspect() == 1.0
    labels = [a.get_ylabel() for a in ax.figure.axes]
    assert "relative density (1 = uniform)" in labels


def test_stretched_domain_is_not_drawn_to_one_scale() -> None:
    assert plot_forecast(forecast(2, high=10.0), ax=Figure().subplots()).get_aspect() == "auto"


def test_line_in_one_dimension() -> None:
    ax = plot_forecast(forecast(1), events(1), ax=Figure().subplots())
    assert ax.get_xlabel() == "sincerity (map units)"
    assert ax.get_ylabel() == "relative density (1 = uniform)"
    assert len(ax.collections[0].get_segments()) == 3  # the rug


def test_third_axis_is_averaged_and_said() -> None:
    ax = plot_forecast(forecast(3), events(3), ax=Figure().subplots())
    assert ax.get_title(loc="left").startswith("model, mean over depth, 1 day")
    field = np.asarray(ax.images[0].get_array())
    np.testing.assert_allclose(field, forecast(3).density.mean(axis=2).T)


def test_contrast_is_signed_in_powers_of_two() -> None:
    grid = forecast(2).grid
    twice = np.where(np.arange(8)[:, None] < 4, 2.0, 1.0) * np.ones(grid.shape)
    flat = Forecast.of(Window(3, 4), grid, np.ones(grid.shape), "flat", 0.0)
    ax = plot_contrast(Forecast.of(Window(3, 4), grid, twice, "model", 0.0), flat, events(2), ax=Figure().subplots())
    field = np.asarray(ax.images[0].get_array())
    # densities 4/3 and 2/3 of the reference's
    np.testing.assert_allclose(field[:, 0], np.log2(4 / 3))
    np.testing.assert_allclose(field[:, -1], np.log2(2 / 3))
    low, high = ax.images[0].get_clim()
    assert low == -high
    assert "flat" in ax.get_title(loc="left")
    assert len(ax.collections[0].get_offsets()) == 3


def test_figures_follow_the_shape_of_the_map() -> None:
    tall, wide = map_size(Box((0, 0), (1, 2)), 1), map_size(Box((0, 0), (2, 1)), 1)
    assert tall[1] == wide[1]
    assert tall[0] < wide[0]
    assert map_size(Box((0, 0), (1, 1)), 2)[0] == 2 * map_size(Box((0, 0), (1, 1)), 1)[0]
    assert map_size(Box((0, 0), (1, 1000)), 1) == map_size(Box((0, 0), (1, 3)), 1)  # not to one scale beyond that


def test_without_events_axes_are_named_on_request() -> None:
    ax = forecast(2).plot(axes=("a", "b"), ax=Figure().subplots())
    assert ax.get_xlabel() == "a (map units)"
    assert ax.get_title(loc="left") == "model\nforecast of 1 day"


def test_events_outside_are_not_drawn() -> None:
    away = Events([3.1, 3.2], [[0.5, 0.5], [4.0, 4.0]])
    ax = plot_forecast(forecast(2), away, ax=Figure().subplots())
    assert len(ax.collections[0].get_offsets()) == 1


def test_contrast_in_one_and_three_dimensions() -> None:
    for d in (1, 3):
        grid = forecast(d).grid
        flat = Forecast.of(Window(3, 4), grid, np.ones(grid.shape), "flat", 0.0)
        ax = plot_contrast(forecast(d), flat, events(d), ax=Figure().subplots())
        shown = ax.patches[0].get_data().values if d == 1 else np.asarray(ax.images[0].get_array())[0]
        rising = forecast(d).density if d == 1 else forecast(d).density[:, 0, 0]
        np.testing.assert_allclose(shown, np.log2(rising))
        assert "flat" in ax.get_title(loc="left")


def test_a_forecast_of_nothing_somewhere_can_be_contrasted() -> None:
    grid = forecast(2).grid
    half = Forecast.of(Window(3, 4), grid, (np.arange(8)[:, None] < 4) * np.ones(grid.shape), "half", 0.0)
    ax = plot_contrast(half, forecast(2), events(2), limit=2.0, ax=Figure().subplots())
    assert np.isfinite(np.asarray(ax.images[0].get_array())).all()
    assert ax.images[0].get_clim() == (-2, 2)
    assert contrast_limit(half, forecast(2)) == 3.0


def test_pictures_can_share_a_scale() -> None:
    ax = plot_forecast(forecast(2), events(2), top=7.0, ax=Figure().subplots())
    assert ax.images[0].get_clim() == (0, 7)
    assert top_density([np.zeros(999), np.ones(1)]) < 1 < top_density([np.ones(9), np.full(999, 2.0)])


def test_many_dots_are_small_and_faint_and_weights_show() -> None:
    ax = Figure().subplots()
    few, many = (draw_dots(np.random.default_rng(0).uniform(size=(n, 2)), ax) for n in (10, 17_000))
    assert many.get_sizes()[0] < few.get_sizes()[0] / 5
    assert many.get_alpha() < few.get_alpha() / 3
    weighted = draw_dots(np.zeros((3, 2)), ax, np.array([1.0, 2.0, 1000.0]))
    assert weighted.get_sizes()[2] / weighted.get_sizes()[1] == 8  # bounded
    assert weighted.get_sizes()[1] / weighted.get_sizes()[0] == 2


def test_names_are_drawn_as_they_are() -> None:
    odd = Events([3.1], [[0.5, 0.5]], axes=("$x_$", "<b>\n\x00"))
    figure = Figure()
    ax = plot_forecast(forecast(2), odd, ax=figure.subplots())
    FigureCanvasAgg(figure).draw()  # no mathematics to parse
    assert ax.get_xlabel() == r"\$x_\$ (map units)"


def test_house_style_leaves_no_trace() -> None:
    before = mpl.rcParams["font.size"]
    with house_style():
        assert mpl.rcParams["font.size"] == 13
    assert mpl.rcParams["font.size"] == before
