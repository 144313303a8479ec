"""What is shown of a flow: arrows, gathering, growth, its numbers in words, the file and the animation."""

from __future__ import annotations

import json
import subprocess
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.quiver import Quiver, QuiverKey
from PIL import Image
from scipy.ndimage import gaussian_filter

from stpp.domain import Box, Grid
from stpp.events import Events
from stpp.flow.files import VARIABLES, read_flows, write_flows
from stpp.flow.flow import Flow
from stpp.flow.pages import Scale, animate_flows, draw_flow
from stpp.flow.pictures import plot_divergence, plot_flow, plot_growth, plot_uncertainty
from stpp.flow.report import beyond_chance, direction, flow_facts, flow_lines, gathers_or_spreads, grows, moves

mpl.use("Agg")

NAMES = ("sincerity", "$charity", "depth")
CELLS = {1: 40, 2: 40, 3: 12}
WINDOW = 0.3


@pytest.fixture(autouse=True)
def no_warnings() -> Iterator[None]:
    """A picture of anything is drawn without a word from numpy or matplotlib, and none stays open."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield
    plt.close("all")


def events(d: int) -> Events:
    return Events([0.0], np.zeros((1, d)), epoch="2016-01-01T00:00:00+00:00", axes=NAMES[:d])


def blob(d: int = 2, cells: int = 0) -> Flow:
    """A blob in the middle that does not move, errors smaller where there is more mass."""
    grid = Grid.over(Box((-1.0,) * d, (1.0,) * d), cells or CELLS[d])
    squared = (places(grid) ** 2).sum(axis=0)
    density = 400 * np.exp(-squared / 2 / 0.3**2) + 10
    error = 0.004 * np.sqrt(400 / density)
    still = Flow.still(grid, 10.0, 1.0)
    vector = np.stack([error] * d)
    return replace(still, density=density, velocity_error=vector, growth_error=5 * error)


def places(grid: Grid) -> np.ndarray:
    return np.stack(np.meshgrid(*grid.centres, indexing="ij"))


def to_the_right(d: int = 2) -> Flow:
    still = blob(d)
    velocity = np.zeros_like(still.velocity)
    velocity[0] = 0.05
    return replace(still, velocity=velocity)


def noise(seed: int, d: int = 2) -> Flow:
    """Errors as large as they say they are, and alike in neighbouring cells."""
    still, rng = blob(d), np.random.default_rng(seed)
    smooth = np.stack([gaussian_filter(rng.normal(size=still.grid.shape), 4, mode="wrap") for _ in range(d + 1)])
    smooth /= smooth.std(axis=tuple(range(1, d + 1)), keepdims=True)
    return replace(still, velocity=smooth[:d] * still.velocity_error, growth=smooth[d] * still.growth_error)


def empty(d: int = 2) -> Flow:
    still = to_the_right(d)
    return replace(still, density=np.zeros(still.grid.shape))


def arrows(ax: plt.Axes) -> tuple[Quiver, Quiver]:
    pale, dark = (artist for artist in ax.get_children() if isinstance(artist, Quiver))
    return pale, dark


# -- pictures -------------------------------------------------------------------------------------------------------


def test_a_blob_that_moves_right_has_dark_arrows_to_the_right() -> None:
    ax = plot_flow(to_the_right(), events(2), ax=Figure().subplots())
    pale, dark = arrows(ax)
    assert dark.N > 40
    np.testing.assert_array_equal(dark.U, 0.05)
    np.testing.assert_array_equal(dark.V, 0.0)
    assert dark.N + pale.N <= 20 * 20
    assert ax.get_aspect() == 1.0
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("sincerity (map units)", r"\$charity (map units)")
    image = np.asarray(ax.images[0].get_array())
    np.testing.assert_allclose(image, (blob().density / blob().density.mean()).T)
    assert np.hypot(*np.stack([dark.X, dark.Y])).max() < 0.8  # where there is mass


def test_the_key_is_an_arrow_of_a_round_speed_to_the_scale_of_the_others() -> None:
    ax = plot_flow(to_the_right(), events(2), fastest=0.07, ax=Figure().subplots())
    (key,) = (artist for artist in ax.get_children() if isinstance(artist, QuiverKey))
    assert (key.U, key.label) == (0.05, "0.05 map units per day")
    assert arrows(ax)[1].scale == pytest.approx(0.07 / 0.1)  # every second of 40 cells over 2 map units: 0.1 apart


def test_axis_0_of_the_arrays_runs_along_x() -> None:
    still = blob()
    x, y = places(still.grid)
    turning = replace(still, velocity=np.stack([-0.1 * y, 0.1 * x]))
    dark = arrows(plot_flow(turning, ax=Figure().subplots()))[1]
    np.testing.assert_allclose(np.column_stack([dark.U, dark.V]), 0.1 * np.column_stack([-dark.Y, dark.X]))


def test_what_is_within_chance_is_pale() -> None:
    pale, dark = arrows(plot_flow(noise(0), ax=Figure().subplots()))
    assert (dark.N, pale.N > 40) == (0, True)
    image = plot_growth(noise(0), ax=Figure().subplots()).images[0]
    assert np.max(image.get_alpha()) == pytest.approx(0.2)


def test_a_sink_gathers_in_orange_and_is_marked() -> None:
    still = blob()
    sink = replace(still, velocity=-0.1 * places(still.grid))
    ax = plot_divergence(sink, events(2), window=WINDOW, ax=Figure().subplots())
    np.testing.assert_allclose(np.asarray(ax.images[0].get_array()), -0.2, atol=1e-12)
    low, high = ax.images[0].get_clim()
    assert low == -high
    red, _, blue, _ = ax.images[0].to_rgba(np.array([low]))[0]
    assert red > blue
    assert "gathers (orange)" in ax.get_title(loc="left")
    (mark,) = ax.lines
    assert np.hypot(*mark.get_xydata()[0]) < 0.1
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["most gathers here"]


def test_a_blob_that_grows_shows_growth_and_no_motion() -> None:
    still = blob()
    growing = replace(still, growth=0.3 * np.exp(-(places(still.grid) ** 2).sum(axis=0) / 0.18))
    ax = plot_growth(growing, events(2), ax=Figure().subplots())
    opacity = ax.images[0].get_alpha()
    assert opacity[20, 20] == 1.0
    assert opacity[20, 5] < 0.2  # little mass, and no growth
    red, _, blue, _ = ax.images[0].to_rgba(np.array([0.3]))[0]
    assert red > blue
    assert arrows(plot_flow(growing, ax=Figure().subplots()))[1].N == 0


def test_in_one_dimension_lines_with_bands() -> None:
    flow = to_the_right(1)
    dark = arrows(plot_flow(flow, events(1), ax=Figure().subplots()))[1]
    assert (dark.U > 0).all()
    assert dark.N > 4
    ax = plot_uncertainty(flow, events(1), ax=Figure().subplots())
    assert ax.get_ylabel() == "velocity (map units per day)"
    black = ax.lines[-1].get_ydata()
    np.testing.assert_array_equal(black[np.isfinite(black)], 0.05)
    (band,) = ax.collections
    widest = band.get_paths()[0].vertices[:, 1].max()
    here = flow.density >= flow.density.mean() / 2
    assert widest == pytest.approx((0.05 + 1.959964 * flow.velocity_error[0][here]).max())


def test_in_three_dimensions_the_mean_over_the_last_axis_by_mass() -> None:
    flow = to_the_right(3)
    upper = places(flow.grid)[2] > 0
    velocity, density = flow.velocity.copy(), np.where(upper, 3.0, 1.0) * flow.density
    velocity[:, upper] = 0.01
    ax = plot_flow(replace(flow, velocity=velocity, density=density), events(3), ax=Figure().subplots())
    dark = arrows(ax)[1]
    np.testing.assert_allclose(dark.U, (3 * 0.01 + 0.05) / 4)
    assert "mean over depth" in ax.images[0].colorbar.ax.get_ylabel()


@pytest.mark.slow
@pytest.mark.parametrize("d", [1, 2, 3])
@pytest.mark.parametrize("of", [empty, to_the_right])
def test_every_flow_has_a_page(of, d: int) -> None:
    figure = draw_flow(of(d), events(d), "drift", window=WINDOW)
    figure.set_dpi(40)
    FigureCanvasAgg(figure).draw()
    assert figure.get_suptitle() == "drift, at 2016-01-11 UTC\ndensity of the last frame (1 day)"
    said = [text.get_text() for ax in figure.axes for text in ax.texts]
    assert said.count("no events in this frame") == (0 if of(d).density.any() else 4)


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (30, 2)])
def test_odd_grids_are_drawn(shape: tuple[int, int]) -> None:
    grid = Grid(Box((0, 0), (3, 1)), shape)
    flow = replace(Flow.still(grid, 0.25, 0.5), density=np.ones(shape))
    figure = draw_flow(flow, events(2), window=WINDOW)
    figure.set_dpi(40)
    FigureCanvasAgg(figure).draw()
    assert "at 2016-01-01 06:00 UTC" in figure.get_suptitle()


def test_pages_can_share_a_scale() -> None:
    flows = [to_the_right(), replace(to_the_right(), velocity=3 * to_the_right().velocity), empty()]
    scale = Scale.of(flows, WINDOW)
    assert scale.fastest == pytest.approx(0.15)
    first, other = (draw_flow(flow, events(2), window=WINDOW, scale=scale) for flow in flows[:2])
    for one, two in zip(first.axes, other.axes, strict=True):
        if one.images:
            assert one.images[0].get_clim() == two.images[0].get_clim()
    assert arrows(first.axes[0])[1].scale == arrows(other.axes[0])[1].scale


# -- numbers --------------------------------------------------------------------------------------------------------


def test_facts_of_a_blob_that_moves_right() -> None:
    facts = flow_facts(to_the_right(), events(2), window=WINDOW)
    flow = to_the_right()
    weight = flow.density / flow.density.sum()
    assert facts["time"] == "2016-01-11T00:00:00+00:00"
    assert facts["mass"] == pytest.approx(flow.density.sum() * 0.05**2)
    assert facts["mean_velocity"] == pytest.approx([0.05, 0.0])
    assert facts["mean_velocity_error"] == pytest.approx([(weight * flow.velocity_error[0]).sum()] * 2)
    assert facts["mean_speed"] == pytest.approx(0.05)
    # the mean length of a vector of two independent standard Gaussians is √(π/2)
    assert facts["chance_speed"] == pytest.approx(np.sqrt(np.pi / 2) * (weight * flow.velocity_error[0]).sum())
    assert facts["share_moving"] > 0.8
    assert (facts["sink"], facts["source"]) == (None, None)
    assert json.loads(json.dumps(facts)) == facts
    lines = flow_lines(facts)
    assert lines[0].endswith("of the mass moves beyond chance, on the whole towards higher sincerity")
    assert "mean speed 0.0500 ± 0.0082 map units per day" in lines[1]
    assert lines[2].startswith("no growth or decay beyond chance (+0.0 ± ")
    assert lines[3] == "gathers and spreads nowhere beyond chance"


def test_facts_of_a_sink_and_of_decay() -> None:
    still = blob()
    flow = replace(still, velocity=-0.1 * places(still.grid), growth=np.full(still.grid.shape, -0.2))
    facts = flow_facts(flow, events(2), window=WINDOW)
    assert facts["sink"]["divergence"] == pytest.approx(-0.2)
    assert np.abs(facts["sink"]["place"]).max() <= 0.05
    assert facts["source"] is None
    assert facts["growth"] == pytest.approx(-0.2)
    lines = flow_lines(facts)
    assert "on the whole" not in lines[0]  # it moves to the middle from all sides
    assert lines[2].startswith("growth -20.0 ± ")
    assert lines[3].startswith("most gathers at (")


def test_motion_is_found_by_chance_in_few_maps() -> None:
    """5 % of the mass is outside the 95 % ellipse of its own cell; hardly a map has any motion beyond chance."""
    flows = [noise(seed) for seed in range(40)]
    shares = [flow_facts(flow, events(2), window=WINDOW)["share_significant"] for flow in flows]
    assert 0.02 < np.mean(shares) < 0.08
    assert sum(bool(moves(flow).any()) for flow in flows) <= 5
    assert sum(bool(grows(flow).any()) for flow in flows) <= 5
    assert not any(gathers_or_spreads(flow, 1e3).any() for flow in flows if not moves(flow).any())  # however sure
    quiet = next(flow for flow in flows if not moves(flow).any())
    lines = flow_lines(flow_facts(quiet, events(2), window=WINDOW))
    assert lines[0].startswith("no motion is certain on the map as a whole")


@given(st.integers(0, 10_000), st.integers(1, 40))
@settings(max_examples=50, deadline=None)
def test_equal_masses_give_the_rule_of_benjamini_and_hochberg(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    p = rng.uniform(size=n) ** 4
    ranked = np.sort(p)
    passing = np.flatnonzero(ranked <= 0.05 * np.arange(1, n + 1) / n)
    expected = p <= ranked[passing[-1]] if len(passing) else np.zeros(n, dtype=bool)
    np.testing.assert_array_equal(beyond_chance(p, np.full(n, 2.0)), expected)
    assert not beyond_chance(p, np.zeros(n)).any()


def test_mass_counts() -> None:
    p, mass = np.array([0.04, 0.5]), np.array([9.0, 1.0])
    np.testing.assert_array_equal(beyond_chance(p, mass), [True, False])  # 0.04 ≤ 0.05 · 9/10
    np.testing.assert_array_equal(beyond_chance(p, mass[::-1]), [False, False])  # 0.04 > 0.05 · 1/10


def test_divergence_of_velocities_known_to_0_1() -> None:
    flow = replace(blob(), velocity_error=np.full_like(blob().velocity_error, 0.1))
    np.testing.assert_allclose(flow.divergence_error(0.5), np.sqrt(2) * 0.1 / 0.5)


def test_an_empty_frame_is_said() -> None:
    facts = flow_facts(empty(), events(2), window=WINDOW)
    assert facts["mass"] == 0
    assert facts["share_moving"] is facts["growth"] is facts["sink"] is None
    assert set(facts) == set(flow_facts(blob(), events(2), window=WINDOW))
    assert flow_lines(facts) == ["no events in this frame"]


@pytest.mark.parametrize(
    ("velocity", "words"),
    [
        ((1, 0.1), "higher a"),
        ((-1, -1), "lower a and lower b"),
        ((0.0, -2.0), "lower b"),
        ((0.5, 0.9), "higher a and higher b"),
    ],
)
def test_directions_in_words(velocity: tuple[float, float], words: str) -> None:
    assert direction(np.array(velocity), ("a", "b")) == words


# -- files ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("d", [1, 2, 3])
def test_what_is_written_is_read_back_to_the_last_bit(d: int, tmp_path: Path) -> None:
    grid = Grid(Box((-0.1, 0.3, 1e-3)[:d], (1 / 3, 7.7, 2.0)[:d]), (5, 4, 3)[:d])
    rng = np.random.default_rng(d)

    def some(*shape: int) -> np.ndarray:
        return rng.normal(size=(*shape, *grid.shape))

    flows = [Flow(grid, k / 3, 1 / 24, some() ** 2, some(d), some(d) ** 2, some(), some() ** 2) for k in range(4)]
    write_flows(tmp_path / "f.nc", flows, events(d))
    back = read_flows(tmp_path / "f.nc")
    assert len(back) == 4
    for one, two in zip(flows, back, strict=True):
        assert (one.grid, one.time, one.frame) == (two.grid, two.time, two.frame)
        for name in VARIABLES:
            mine, yours = (f.significant() if name == "significant" else getattr(f, name) for f in (one, two))
            np.testing.assert_array_equal(mine, yours)
    write_flows(tmp_path / "again.nc", flows, events(d))
    assert (tmp_path / "again.nc").read_bytes() == (tmp_path / "f.nc").read_bytes()


def test_the_file_is_laid_out_as_climate_and_forecast_conventions_say(tmp_path: Path) -> None:
    flow = to_the_right()
    write_flows(tmp_path / "f.nc", [flow, replace(flow, time=10.5)], events(2))
    with xr.open_dataset(tmp_path / "f.nc", engine="h5netcdf", decode_timedelta=False) as file:
        assert file.attrs["Conventions"] == "CF-1.11"
        assert file["time"].values.astype("M8[h]").astype(str).tolist() == ["2016-01-11T00", "2016-01-11T12"]
        assert file["velocity"].dims == ("time", "component", "$charity", "sincerity")
        assert file["density"].dims == ("time", "$charity", "sincerity")
        eastward = file["velocity"].sel(component="sincerity", time="2016-01-11T12").values
        np.testing.assert_array_equal(eastward, flow.velocity[0].T)
        assert file["velocity"].attrs["ancillary_variables"] == "velocity_error"
        assert file["significant"].attrs["flag_meanings"] == "within_chance beyond_chance"
        assert {name: file[name].attrs["units"] for name in ("velocity", "growth", "density")} == {
            "velocity": "map_units day-1",
            "growth": "day-1",
            "density": "map_units-2 day-1",
        }


def test_what_cannot_be_one_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no flows to write"):
        write_flows(tmp_path / "f.nc", [], events(2))
    with pytest.raises(ValueError, match="one grid"):
        write_flows(tmp_path / "f.nc", [blob(), blob(cells=8)], events(2))
    with pytest.raises(ValueError, match="'time' cannot be told from the file's own: rename that column"):
        write_flows(tmp_path / "f.nc", [blob(1)], Events([0.0], [[0.0]], axes=("time",)))
    xr.Dataset({"a": 1}).to_netcdf(tmp_path / "other.nc", engine="h5netcdf")
    with pytest.raises(ValueError, match=r"other\.nc holds no flows"):
        read_flows(tmp_path / "other.nc")


# -- animation ------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_an_animation_has_a_frame_per_window_to_one_scale(tmp_path: Path) -> None:
    flows = [replace(flow, time=10.0 + k) for k, flow in enumerate((noise(1), to_the_right(), empty()))]
    heard: list[tuple[int, int]] = []
    folder = tmp_path / "deep" / "er"
    (gif,) = animate_flows(flows, events(2), folder, formats=["gif"], progress=lambda *said: heard.append(said))
    assert heard == [(1, 3), (2, 3), (3, 3)]
    assert [path.name for path in folder.iterdir()] == ["flow.gif"]
    with Image.open(gif) as image:
        assert image.n_frames == 3
        frames = []
        for k in range(3):
            image.seek(k)
            frames.append(np.asarray(image.convert("RGB")).astype(int))
    height, width, _ = frames[0].shape
    assert height % 2 == width % 2 == 0
    bar = slice(int(0.86 * width), width)
    assert (np.abs(frames[0] - frames[1])[:, bar] < 60).all()
    black = [(frame[height // 4 : -height // 8, width // 5 : width // 2].max(axis=2) < 40).sum() for frame in frames]
    assert black[1] > 10 * (black[0] + 1)  # arrows beyond chance
    animate_flows(flows, events(2), tmp_path, formats=["gif"])
    assert (tmp_path / "flow.gif").read_bytes() == gif.read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("d", [1, 2, 3])
def test_flows_become_an_mp4_that_browsers_play(d: int, tmp_path: Path) -> None:
    ffmpeg = pytest.importorskip("imageio_ffmpeg")
    (path,) = animate_flows([to_the_right(d), empty(d)], events(d), tmp_path, formats=["mp4"])
    told = subprocess.run([ffmpeg.get_ffmpeg_exe(), "-i", path], capture_output=True, text=True).stderr
    assert "Video: h264" in told
    assert "Duration: 00:00:01.00" in told


def test_what_cannot_be_animated_is_said(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no flows to animate"):
        animate_flows([], events(2), tmp_path)
    with pytest.raises(ValueError, match="there are gif and mp4"):
        animate_flows([blob()], events(2), tmp_path, formats=["avi"])
    (tmp_path / "flow.gif").write_text("mine")
    with pytest.raises(ValueError, match=r"flow\.gif exists: --force overwrites it"):
        animate_flows([blob()], events(2), tmp_path, formats=["gif"])
    assert (tmp_path / "flow.gif").read_text() == "mine"
