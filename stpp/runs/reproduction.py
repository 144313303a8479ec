"""Making a run again from its manifest, and comparing what comes out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from stpp.compute.progress import Progress
from stpp.registry import Registry
from stpp.runs.manifest import kind_of, read_again

MAKERS: Registry[Callable[..., Any]] = Registry(
    "run of",
    {
        "fit": "stpp.runs.fits:fit",
        "flow": "stpp.runs.flows:find_flows",
        "evaluate": "evaluation.run:evaluate",
        "null": "evaluation.nulls.run:null_test",
        "null of basins": "basins.run:null_test",
        "basins": "basins.run:find",
    },
)
"""Kind of run → the function that makes such runs; known by name, so that runs of other packages are no import."""


def run_again(manifest: Mapping[str, Any], output: Path, progress: Progress | None = None) -> None:
    """Make the run of a manifest again, of the same events with the same arguments, elsewhere.

    Raises
    ------
    ValueError
        if its events are gone or changed, or it was made by a release whose runs do not tell their arguments
    """
    kind, arguments = kind_of(manifest), dict(manifest.get("arguments", {}))
    if "arguments" not in manifest or kind not in MAKERS:
        raise ValueError("the run does not tell what it was asked, as runs of this release do: make it again")
    if "basins" in arguments and kind == "null":
        kind, arguments["method"] = "null of basins", arguments.pop("basins")
    MAKERS[kind](read_again(manifest), seed=manifest["seed"], output=output, progress=progress, **arguments)


def compare_runs(one: Path, other: Path) -> dict[str, str]:
    """File → ``same``, ``differs`` or ``missing``, over the files of two run directories.

    Manifests hold times and places that no two runs share; a diagnosis is made later, by another command.
    """
    files = {p.relative_to(root) for root in (one, other) for p in root.rglob("*") if p.is_file()}
    found = {}
    for file in sorted(files - {Path("manifest.json")}):
        if file.name.startswith("diagnosis-"):
            continue
        if not ((one / file).is_file() and (other / file).is_file()):
            found[str(file)] = "missing"
        else:
            found[str(file)] = "same" if (one / file).read_bytes() == (other / file).read_bytes() else "differs"
    return found
