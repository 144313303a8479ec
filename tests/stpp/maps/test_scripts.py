"""The scripts of the page share one scope: what the linter is told of it is true."""

import json
import re
from pathlib import Path

from stpp.maps.html import PAGE, SCRIPTS

ROOT = Path(__file__).parents[3]


def constants() -> dict[str, str]:
    """Constant of the shared scope → the script that makes it."""
    return {
        name: script for script in SCRIPTS for name in re.findall(r"^const (\w+) =", (PAGE / script).read_text(), re.M)
    }


def test_every_script_is_laid_into_the_page():
    assert sorted(SCRIPTS) == sorted(path.name for path in PAGE.glob("*.js"))


def test_the_linter_knows_the_shared_scope():
    told = json.loads((ROOT / ".oxlintrc.json").read_text())
    assert set(told["globals"]) == set(constants())
    assert told["rules"]["no-undef"] == "error"


def test_the_last_script_starts_the_others_and_none_depends_on_it():
    assert "main.js" not in constants().values()
    assert not [script for script in SCRIPTS if re.search(r"\bMain\b", (PAGE / script).read_text())]
