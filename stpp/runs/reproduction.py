"""Running a run again from its manifest, and comparing what comes out."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stpp.runs.manifest import MANNERS, essence, read_again


def run_again(manifest: Mapping[str, Any], output: Path) -> None:
    """Run the command line of a manifest again, in the directory where it ran, with another output.

    Raises
    ------
    ValueError
        if its events are gone or changed, it wrote no run directory, or the command fails
    """
    read_again(manifest)
    if len(essence(manifest)["argv"]) == len([word for word in manifest["argv"] if word not in MANNERS]):
        raise ValueError("its command line names no output: run it again with -o RUN")
    words = [*essence(manifest)["argv"][1:], "--quiet", "-o", str(output)]
    command = [sys.executable, "-P", "-c", "from cli import main; main()", *words]
    done = subprocess.run(command, cwd=manifest["directory"], env=_environment(), capture_output=True, text=True)
    if done.returncode:
        told = done.stderr.strip().splitlines()
        raise ValueError(f"running it again failed: {told[-1] if told else f'exit code {done.returncode}'}")


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


def _environment() -> dict[str, str]:
    """The environment of this process, with the modules that it found on its path found again."""
    return os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, [*sys.path]))}
