"""A scene's posts as a Parquet file that embedding-atlas opens."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from stpp.maps.posts import engagement_of, names_of, printable
from stpp.maps.scene import Canvas, Scene


def write_atlas_parquet(scene: Scene, path: Path, texts: Sequence[str] | None = None) -> dict[str, Any]:
    """Write all posts of a scene, one a row; the same scene gives the same bytes.

    ``embedding-atlas FILE --x x --y y`` opens it, with ``--text text`` where texts are in it. Its columns are ``x``,
    ``y`` (map units), ``time`` (UTC), ``weight``, ``engagement`` where the marks tell of it, ``window`` (the last one
    that a post came in, from 0; −1 for none), ``basin`` (its name; null for none) where basins are known, and
    ``author`` and ``text`` where texts are given.

    Parameters
    ----------
    scene : whose posts
    path : of the file
    texts : of all events of the scene; None keeps them and their authors out of it

    Returns
    -------
    what was written, as JSON values: ``posts``, ``columns``, ``bytes``
    """
    events = scene.canvas.events
    places = scene.canvas.places(events.x)
    epoch = round(datetime.fromisoformat(events.epoch).timestamp() * 1e6)
    time = epoch + np.rint(events.t * 86_400e6).astype(np.int64)
    columns = {
        "x": pa.array(places[:, 0]),
        "y": pa.array(places[:, 1]),
        "time": pa.array(time, pa.timestamp("us", "UTC")),
        "weight": pa.array(events.weight),
    }
    _, engagement = engagement_of(events)
    if engagement is not None:
        columns["engagement"] = pa.array(engagement)
    columns["window"] = pa.array(_last_window(scene.canvas))
    if scene.basins is not None:
        names = {track.id: track.name for track in scene.basins.tracks}
        columns["basin"] = pa.array([names.get(track) for track in scene.basins.of_event.tolist()], pa.string())
    if texts is not None:
        columns["author"] = pa.array([name or None for name in names_of(events)], pa.large_string())
        columns["text"] = pa.array([printable(text) for text in texts], pa.large_string())
    pq.write_table(pa.table(columns), path, compression="zstd")
    return {"posts": len(events), "columns": list(columns), "bytes": path.stat().st_size}


def _last_window(canvas: Canvas) -> NDArray[np.int32]:
    """(n,) number of the last window that each event is in; −1 where it is in none."""
    start, end = (np.array([getattr(w, side) for w in canvas.windows]) for side in ("start", "end"))
    last = np.searchsorted(start, canvas.events.t, side="right") - 1
    return np.where((last >= 0) & (canvas.events.t < np.append(end, -np.inf)[last]), last, -1).astype(np.int32)
