"""Iso-lines and outlines, by themselves: the same as contourpy's, closed, and where the field says."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import contourpy
import numpy as np
import pytest

from stpp.maps.html import PAGE

SCRIPT = (PAGE / "contours.js").read_text("utf-8")


@pytest.fixture(scope="module")
def contours(chromium) -> Iterator[Callable[..., list[np.ndarray]]]:
    """Call a function of the script; polylines (k, 2) come back."""
    page = chromium.new_page()
    page.evaluate(f"() => {{ {SCRIPT}; window.contours = Contours; }}")

    def call(name: str, field: np.ndarray, *more: float) -> list[np.ndarray]:
        ny, nx = field.shape
        kind = "Uint8Array" if name == "outline" else "Float32Array"
        code = f"([v, nx, ny, more]) => contours.{name}({kind}.from(v), nx, ny, ...more).map((line) => [...line])"
        return [np.reshape(line, (-1, 2)) for line in page.evaluate(code, [field.ravel().tolist(), nx, ny, list(more)])]

    yield call
    page.close()


def closed(line: np.ndarray) -> bool:
    return bool((line[0] == line[-1]).all())


def area(ring: np.ndarray) -> float:
    x, y = ring.T
    return float((x[:-1] * y[1:] - x[1:] * y[:-1]).sum() / 2)


def crossings(lines: list[np.ndarray]) -> np.ndarray:
    """The points of some lines, each once, in order."""
    points = np.concatenate([line[: -1 if closed(line) else None] for line in lines] or [np.empty((0, 2))])
    return np.array(sorted(points.round(4).tolist()))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_lines_meet_the_grid_where_contourpys_do(contours, seed) -> None:
    rng = np.random.default_rng(seed)
    field = rng.normal(size=rng.integers(2, 25, 2)).astype(np.float32)
    found = contours("lines", field, 0.3)
    oracle = contourpy.contour_generator(z=field).lines(0.3)
    np.testing.assert_allclose(crossings(found), crossings(oracle), atol=2e-3)
    top, right = np.array(field.shape) - 1
    for line in found:
        ends = [(x in (0, right)) or (y in (0, top)) for x, y in line[[0, -1]]]
        assert closed(line) or all(ends)


def test_a_circle(contours) -> None:
    y, x = np.mgrid[:81, :101]
    (ring,) = contours("lines", -np.hypot(x - 50.3, y - 40.7), -30.0)
    np.testing.assert_allclose(np.hypot(*(ring - [50.3, 40.7]).T), 30, atol=0.01)
    assert closed(ring)
    assert area(ring) == pytest.approx(np.pi * 900, rel=1e-3)  # anticlockwise: what is high lies on the left


def test_nothing_where_nothing_changes(contours) -> None:
    assert contours("lines", np.full((9, 9), 3.0), 3.0) == []
    assert contours("outline", np.zeros((9, 9))) == []


def test_an_outline_runs_around_its_cells_and_along_the_border(contours) -> None:
    mask = np.zeros((20, 30))
    mask[:10, :12] = 1
    (ring,) = contours("outline", mask)
    assert closed(ring)
    np.testing.assert_allclose(ring.min(axis=0), -0.5)  # the outer edge of the outermost cells
    assert area(ring) == pytest.approx(120, abs=3)


def test_a_hole_turns_the_other_way(contours) -> None:
    mask = np.ones((20, 30))
    mask[5, 5] = 0
    rings = contours("outline", mask)
    assert len(rings) == 2
    assert area(rings[0]) * area(rings[1]) < 0
