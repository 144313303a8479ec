"""The locks: what pip installs is complete, pinned and hashed, so that no version of pip has anything to resolve."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LOCKS = [ROOT / "requirements.lock", ROOT / "requirements-dev.lock"]


def pins(lock: Path) -> set[str]:
    return set(re.findall(r"^(\S+==\S+(?: ; [^\\]+)?) \\$", lock.read_text(), re.MULTILINE))


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_every_package_of_a_lock_is_pinned_and_hashed(lock):
    packages = re.split(r"\n(?=\S)", re.sub(r"^\s*#.*\n", "", lock.read_text(), flags=re.MULTILINE).strip())
    assert len(packages) == len(pins(lock)) > 40
    assert all("--hash=sha256:" in package for package in packages)


def test_the_developers_lock_holds_the_users_lock():
    users, developers = map(pins, LOCKS)
    assert users < developers


def test_users_get_no_tools_of_developers():
    assert not [pin for pin in pins(LOCKS[0]) if re.match(r"(pytest|mypy|ruff|tick|sphinx|playwright)\b", pin)]


def test_pip_resolves_nothing():
    """Old versions of pip fail on `coverage[toml]`, apart from its pin, as soon as a newer coverage is out."""
    commands = [line for line in (ROOT / "Makefile").read_text().splitlines() if "--require-hashes" in line]
    assert commands
    assert all("--no-deps" in line for line in commands)
