"""A scene as one HTML page that needs nothing else: no server, no network, no other file."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, select_autoescape
from numpy.typing import NDArray

import stpp
from stpp.files.jsonable import jsonable
from stpp.maps.packing import pack, pack_bytes
from stpp.maps.posts import Shown, shown_posts
from stpp.maps.scene import Arrows, Basins, Canvas, Fields, Scene

PAGE = Path(__file__).with_name("page")

SCRIPTS = (
    "atlas.js", "store.js", "palette.js", "camera.js", "fields.js", "contours.js", "gl.js", "axes.js", "overlay.js",
    "strip.js", "clock.js", "posts.js", "details.js", "reader.js", "selection.js", "exports.js", "link.js",
    "legends.js", "keys.js", "controls.js", "main.js",
)  # fmt: skip
"""In the order in which they are laid into the page, where they share one scope."""

FINEST = 255
"""Steps that a density is kept in, evenly in its square root: small densities are told apart too."""


def write_map(
    scene: Scene,
    path: Path,
    *,
    most: int = 1_000_000,
    texts: Sequence[str] | None = None,
    colours: Sequence[str] = (),
) -> dict[str, Any]:
    """Write a scene as one HTML page; the same scene gives the same bytes.

    Parameters
    ----------
    scene : what to show
    path : of the page
    most : posts that the page carries; above, a sample in which heavier posts are likelier, and all totals stay true
    texts : of all events of the scene, to be read in the page, with their authors; None keeps both out of it
    colours : names of marks that posts can be coloured by, beside basins and authors

    Returns
    -------
    what was written, as JSON values: ``posts``, ``shown``, ``windows``, ``bytes``
    """
    meta, blobs = content(scene, most, texts, colours)
    path.write_text(render(meta, blobs), encoding="utf-8")
    drawn = {"posts": meta["posts"]["total"], "shown": meta["posts"]["shown"], "windows": len(scene.canvas.windows)}
    return drawn | {"bytes": path.stat().st_size}


def render(meta: Mapping[str, Any], blobs: Mapping[str, str]) -> str:
    """The page's text. Nothing but its own script may run in it, and it may load nothing: its policy says so."""
    script = "(() => {\n'use strict';\n" + "\n".join((PAGE / name).read_text("utf-8") for name in SCRIPTS) + "\n})();\n"
    style = (PAGE / "map.css").read_text("utf-8")
    policy = f"default-src 'none'; img-src data: blob:; script-src '{_hash(script)}'; style-src '{_hash(style)}'"
    facts = json.dumps(jsonable(meta), ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for letter in "<>&\u2028\u2029":  # so that no text can end the element that it stands in
        facts = facts.replace(letter, f"\\u{ord(letter):04x}")
    environment = Environment(loader=FileSystemLoader(PAGE), autoescape=select_autoescape())
    return environment.get_template("map.html").render(
        title=meta["title"], policy=policy, style=style, script=script, facts=facts, blobs=blobs
    )


def content(
    scene: Scene, most: int, texts: Sequence[str] | None, colours: Sequence[str] = ()
) -> tuple[dict[str, Any], dict[str, str]]:
    """The facts of a page, and its arrays and texts by name, packed."""
    canvas, arrays, blobs = scene.canvas, {}, {}
    shown = shown_posts(canvas, scene.basins, most, texts, colours)

    def keep(name: str, array: NDArray[Any], *, delta: bool = False) -> None:
        arrays[name], blobs[name] = pack(array, delta=delta)

    for name, array in shown.arrays.items():
        keep(name, array, delta=name == "time")
    for k, one in enumerate((scene.observed, *scene.forecasts)):
        keep(f"field-{k}", quantised(one.values), delta=True)
    if scene.arrows is not None:
        keep("flow", _arrows(scene.arrows))
    if scene.basins is not None and scene.basins.regions is not None:
        keep("regions", scene.basins.regions.transpose(0, 2, 1), delta=True)
    for name, text in shown.blobs.items():
        blobs[name] = pack_bytes(text.encode("utf-8"))
    meta = {
        "version": stpp.__version__,
        "title": scene.title,
        "axes": list(canvas.names),
        "grid": {"box": canvas.grid.box.to_list(), "shape": list(canvas.grid.shape)},
        "windows": _windows(canvas, shown),
        **shown.facts,
        "fields": [_field(one) for one in (scene.observed, *scene.forecasts)],
        "smoothing": scene.smoothing,
        "weight": scene.weight,
        "source": scene.source,
        "scores": {one.model: {"fds": one.fds, "information_gain": one.information_gain} for one in scene.scores},
        "reference": scene.reference,
        "flow": None if scene.arrows is None else _flow(scene.arrows, canvas),
        "basins": None if scene.basins is None else _basins(scene.basins, canvas),
        "remarks": list(scene.remarks),
        "arrays": arrays,
    }
    return meta, blobs


def quantised(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    """(windows, ny, nx) uint8 q of relative densities (windows, nx, ny): top · (q / 255)², the last axis first."""
    top = float(values.max(initial=0.0))
    steps = np.sqrt(values / top) * FINEST if top > 0 else np.zeros_like(values)
    return np.asarray(np.rint(steps).astype(np.uint8).transpose(0, 2, 1))


def _field(one: Fields) -> dict[str, Any]:
    return {"name": one.name, "top": float(one.values.max(initial=0.0)), "totals": one.totals}


def _windows(canvas: Canvas, shown: Shown) -> dict[str, Any]:
    """When they are, how many posts came in each and of what weight, and which of the posts shown are theirs."""
    edges = canvas.edges
    rows = np.searchsorted(canvas.events.t, edges)
    weight = np.concatenate([[0.0], np.cumsum(canvas.events.weight)])
    here = np.searchsorted(shown.rows, rows)
    return {
        "start": canvas.milliseconds(edges[:, 0]),
        "end": canvas.milliseconds(edges[:, 1]),
        "posts": rows[:, 1] - rows[:, 0],
        "so_far": rows[:, 1] - rows[:1, 0],
        "weight": weight[rows[:, 1]] - weight[rows[:, 0]],
        "first": here[:, 0],
        "stop": here[:, 1],
    }


def _fastest(arrows: Arrows) -> float:
    speed = np.sqrt((arrows.velocity**2).sum(axis=2))
    return float(speed[np.isfinite(speed)].max(initial=0.0))


def _flow(arrows: Arrows, canvas: Canvas) -> dict[str, Any]:
    return {
        "name": arrows.name,
        "places": arrows.places,
        "fastest": _fastest(arrows),
        "known": np.isfinite(arrows.times),
        "times": canvas.milliseconds(arrows.times),
        "before": arrows.before,
    }


def _arrows(arrows: Arrows) -> NDArray[np.int8]:
    """(windows, m, 3) components in 127ths of the fastest arrow's speed; 1 where beyond chance."""
    fastest = _fastest(arrows)
    scaled = np.nan_to_num(arrows.velocity) * (127 / fastest if fastest > 0 else 0.0)
    return np.concatenate([np.rint(scaled), arrows.sure[..., None]], axis=2).astype(np.int8)


def _basins(basins: Basins, canvas: Canvas) -> dict[str, Any]:
    return {
        "method": basins.method,
        "grid": None if basins.grid is None else {"box": basins.grid.box.to_list(), "shape": list(basins.grid.shape)},
        "windows": [[vars(one) for one in found] for found in basins.found],
        "spans": canvas.milliseconds(basins.spans),
        "before": basins.before,
        "after": basins.after,
        "tracks": [vars(one) for one in basins.tracks],
    }


def _hash(text: str) -> str:
    """What a content security policy knows an inline element by."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")
