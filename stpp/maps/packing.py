"""Arrays as text inside a page: differences, bytes of one significance together, gzip, base64."""

from __future__ import annotations

import base64
import gzip
from typing import Any

import numpy as np
from numpy.typing import NDArray

LEVEL = 6
"""Of gzip: 9 takes three times as long and saves a hundredth."""


def pack(array: NDArray[Any], *, delta: bool = False) -> tuple[dict[str, Any], str]:
    """An array as base64, and how to read it.

    Bytes of one significance are laid together, so that those which hardly change cost nothing. The page's
    ``atlas.js`` undoes it.

    Parameters
    ----------
    array : of uint8, int8, uint16, uint32 or float32
    delta : keep differences along the first axis (integers only, modulo their range)

    Returns
    -------
    ``dtype``, ``shape`` and ``delta``, as JSON values; the text
    """
    kept = np.ascontiguousarray(array)
    if delta and len(kept) > 1:
        kept = kept.copy()
        kept[1:] -= array[:-1]  # integers wrap round
    planes = kept.astype(kept.dtype.newbyteorder("<")).reshape(-1).view(np.uint8).reshape(-1, kept.itemsize).T
    about = {"dtype": array.dtype.name, "shape": list(array.shape), "delta": delta}
    return about, pack_bytes(planes.tobytes())


def pack_bytes(content: bytes) -> str:
    """Bytes as base64 of gzip; the same bytes give the same text."""
    return base64.b64encode(gzip.compress(content, LEVEL, mtime=0)).decode("ascii")
