"""The examples in docstrings run and print what they say."""

import doctest
import importlib
import pkgutil
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]


def modules() -> list[str]:
    found = []
    for package in ("stpp", "basins", "evaluation"):
        for one in pkgutil.walk_packages([str(ROOT / package)], f"{package}."):
            source = ROOT / f"{one.name.replace('.', '/')}{'/__init__' * one.ispkg}.py"
            if ">>> " in source.read_text():
                found.append(one.name)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", modules())
def test_the_examples_of_a_module_are_true(name, monkeypatch):
    monkeypatch.chdir(ROOT)
    with np.printoptions(legacy="1.25"):
        failed, tried = doctest.testmod(importlib.import_module(name), optionflags=doctest.NORMALIZE_WHITESPACE)
    assert tried
    assert not failed
