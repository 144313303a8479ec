"""Output files and directories: complete or not there at all; long work resumes in a directory beside its own."""

from __future__ import annotations

import fcntl
import glob
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any


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
    _check_run(path, force)
    temporary = _temporary(path)
    temporary.mkdir()
    try:
        yield temporary
        _take_place(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def resumable_run(path: Path, identity: Mapping[str, Any], *, force: bool = False) -> Iterator[Path]:
    """A working directory beside ``path`` that takes its place when the block ends well, and stays if interrupted.

    What an interrupted run of the same identity left in it is there to be continued; what one of another identity
    left is removed. It lies in ``.NAME.partial``.

    Parameters
    ----------
    path : of the run directory
    identity : all that the results depend on, as JSON values
    force : replace a run directory that exists

    Raises
    ------
    ValueError
        at once, as :func:`new_run`, or if another process is at work on it
    OSError
        at once, if ``path`` cannot be written
    """
    path = path.resolve()
    _check_run(path, force)
    partial, text = unfinished(path), json.dumps(identity, sort_keys=True)
    with _locked(path) as lock:
        stamp = partial / "identity.json"
        try:
            if not (stamp.is_file() and stamp.read_text() == text):
                shutil.rmtree(partial, ignore_errors=True)
                partial.mkdir()
                stamp.write_text(text)
            yield partial
            stamp.unlink()
            _take_place(partial, path)
        except ValueError:
            if not any(file.stat().st_size for file in partial.rglob("*") if file.is_file() and file != stamp):
                shutil.rmtree(partial)  # a mistake before anything was done
            raise
        finally:
            lock.unlink()


def unfinished(path: Path) -> Path:
    """Where :func:`resumable_run` works until ``path`` is complete."""
    return path.resolve().with_name(f".{path.resolve().name}.partial")


@contextmanager
def _locked(path: Path) -> Iterator[Path]:
    """The path of a lock that the system lets go of, however the process ends.

    Raises
    ------
    ValueError
        if another process holds it
    """
    lock = path.with_name(f".{path.name}.lock")
    while True:
        with lock.open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ValueError(f"another process is at work on {path}: wait for it, or name another output") from None
            if lock.exists() and lock.stat().st_ino == os.fstat(file.fileno()).st_ino:  # not one just removed
                yield lock
                return


def read_journal(path: Path) -> list[dict[str, Any]]:
    """The entries of a journal, none where there is no file; a last line torn by a kill is none."""
    lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith(b"\n")]


def append_journal(path: Path, entry: Mapping[str, Any]) -> None:
    """Add a line of JSON to a journal, once a torn last line is cut off: a new one would be glued to it.

    The line is the system's before this returns, so that a kill loses no entry. It is not forced to the disk, since
    the files that an entry speaks of are not either: after a power failure it must not stand without them.
    """
    with path.open("ab+") as file:
        if file.tell():
            file.seek(-1, os.SEEK_END)
            if file.read() != b"\n":
                file.seek(0)
                file.truncate(file.read().rfind(b"\n") + 1)
        file.write(json.dumps(entry).encode() + b"\n")


def _take_place(directory: Path, path: Path) -> None:
    """Rename a finished directory, and only then remove what was there before."""
    if path.exists():
        replaced = path.with_name(f".{os.getpid()}.replaced.{path.name}")
        path.rename(replaced)
        directory.rename(path)
        shutil.rmtree(replaced)
    else:
        directory.rename(path)


def _check_run(path: Path, force: bool) -> None:
    _check_folder(path.parent)
    if path.exists():
        if not force:
            raise ValueError(f"{path} exists: --force replaces it")
        if not (path / "manifest.json").is_file():
            raise ValueError(f"{path} is not a run directory, so it is not replaced: name another")


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
