"""Output files and directories: complete or not there at all."""

from __future__ import annotations

import glob
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def new_file(path: Path, *, force: bool = False) -> Iterator[Path]:
    """A temporary name beside ``path`` that takes its place when the block ends well, and vanishes if it does not.

    What a process that was killed left there is removed.

    Raises
    ------
    ValueError
        at once, before any work is done, if ``path`` exists and ``force`` is not given
    OSError
        at once, if ``path`` cannot be written
    """
    _check_folder(path.parent)
    if path.is_dir():
        raise ValueError(f"{path} is a directory: name a file")
    if path.exists() and not force:
        raise ValueError(f"{path} exists: --force overwrites it")
    temporary = _temporary(path)
    temporary.touch()
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def new_run(path: Path, *, force: bool = False) -> Iterator[Path]:
    """A temporary directory beside ``path`` that takes its place when the block ends well, and vanishes if it does not.

    What a process that was killed left there is removed.

    Raises
    ------
    ValueError
        at once, if ``path`` exists and ``force`` is not given, or is anything but a run directory
    OSError
        at once, if ``path`` cannot be written
    """
    path = path.resolve()
    _check_folder(path.parent)
    if path.exists():
        if not force:
            raise ValueError(f"{path} exists: --force replaces it")
        if not (path / "manifest.json").is_file():
            raise ValueError(f"{path} is not a run directory, so it is not replaced: name another")
    temporary = _temporary(path)
    temporary.mkdir()
    try:
        yield temporary
        if path.exists():
            replaced = temporary.with_name(f"{temporary.name}.replaced")
            path.rename(replaced)
            temporary.rename(path)
            shutil.rmtree(replaced)
        else:
            temporary.rename(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _temporary(path: Path) -> Path:
    """``.PID.NAME`` beside a path, once those of processes that are no more are gone: nobody survives a kill -9."""
    for left in path.parent.glob(f".*.{glob.escape(path.name)}"):
        pid = left.name.split(".")[1]
        if pid.isdigit() and not _alive(int(pid)):
            if left.is_dir():
                shutil.rmtree(left, ignore_errors=True)
            else:
                left.unlink(missing_ok=True)
    return path.with_name(f".{os.getpid()}.{path.name}")


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # somebody else's, but alive
    return True


def _check_folder(folder: Path) -> None:
    if not folder.is_dir():
        raise ValueError(f"{folder} is not a folder that exists: make it, or write elsewhere")
