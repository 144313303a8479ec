"""The numbers behind the map are Python's: posts per window, densities, what each mode of time shows."""

from __future__ import annotations

import numpy as np
import pytest

from stpp.maps.html import quantised


def kept(fields) -> np.ndarray:
    """(windows, ny, nx) the densities of a page, after their 256 steps."""
    return float(fields.values.max()) * (quantised(fields.values) / 255.0) ** 2


@pytest.mark.slow
def test_counts_and_posts_of_every_window(open_map, full) -> None:
    page = open_map(full.path)
    events, windows = full.scene.canvas.events, full.scene.canvas.windows
    counts = [len(events.between(window)) for window in windows]
    assert page.evaluate("stpp.meta.windows.posts.map((_, w) => stpp.counts(w))") == counts
    found = page.evaluate("stpp.meta.windows.posts.map((_, w) => { stpp.set({ at: w }); return stpp.shown(); })")
    assert found == counts
    assert page.evaluate("stpp.meta.windows.weight") == [events.between(window).weight.sum() for window in windows]
    assert page.evaluate("[stpp.meta.posts.total, stpp.meta.posts.shown]") == [len(events)] * 2
    assert page.locator("h1").text_content() == full.scene.title


@pytest.mark.slow
def test_fields_and_their_sums(open_map, full) -> None:
    page = open_map(full.path)
    scene = full.scene
    for fields in (scene.observed, *scene.forecasts):
        values = kept(fields)
        for w in range(len(values)):
            told = page.evaluate("([name, w]) => stpp.fieldSum(name, w)", [fields.name, w])
            assert told == pytest.approx(values[w].sum(), rel=1e-6)
            step = fields.values.max() * 2 / 255  # of the coarsest two of the 256 steps
            assert abs(told - fields.values[w].sum()) <= step * values[w].size
            density = page.evaluate(
                "([name, w]) => stpp.density(name, w) && [...stpp.density(name, w)]", [fields.name, w]
            )
            if np.isnan(fields.totals[w]):
                assert density is None
            else:
                np.testing.assert_allclose(np.reshape(density, values[w].shape), values[w], rtol=1e-6, atol=1e-9)


@pytest.mark.slow
def test_between_two_windows_densities_are_in_between(open_map, full) -> None:
    page = open_map(full.path)
    values = kept(full.scene.forecasts[0])
    density = np.reshape(page.evaluate("[...stpp.density('hawkes', 2.25)]"), values[2].shape)
    np.testing.assert_allclose(density, 0.75 * values[2] + 0.25 * values[3], rtol=1e-5, atol=1e-7)


@pytest.mark.slow
def test_the_three_modes_show_what_they_say(open_map, full) -> None:
    page = open_map(full.path)
    counts = np.array([full.inside(k).sum() for k in range(len(full.scene.canvas.windows))])

    def shown(mode: str, w: int, beat: int = 1) -> int:
        page.evaluate("(patch) => stpp.set(patch)", {"mode": mode, "at": w, "beat": beat})
        return page.evaluate("stpp.shown()")

    for w in range(len(counts)):
        assert shown("window", w) == counts[w]
        assert shown("cumulative", w) == counts[: w + 1].sum()
        assert shown("sequential", w, 0) == 0  # the forecast alone
        assert shown("sequential", w, 1) == counts[w]
    observed, totals = kept(full.scene.observed), full.scene.observed.totals
    shown("cumulative", 3)
    density = np.reshape(page.evaluate("[...stpp.density('observed', 3)]"), observed[0].shape)
    np.testing.assert_allclose(density, np.average(observed[:4], axis=0, weights=totals[:4]), rtol=1e-5, atol=1e-7)
    shown("sequential", 3, 0)
    assert page.evaluate("stpp.density('observed', 3)") is None


@pytest.mark.slow
def test_a_map_without_runs(open_map, bare) -> None:
    page = open_map(bare.path)
    assert page.evaluate("stpp.meta.fields.map((one) => one.name)") == ["observed"]
    assert page.evaluate("[stpp.state.raster, stpp.state.model]") == ["observed", ""]
    assert page.evaluate("stpp.shown()") == bare.inside(len(bare.scene.canvas.windows) - 1).sum()
    for name in ("model-row", "other-row", "flow-row", "basins-row", "find"):
        assert not page.locator(f"#{name}").is_visible(), f"{name} chooses among what is not there"
