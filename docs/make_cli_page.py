"""Write docs/cli.md from the commands' own --help: `make docs`."""

from __future__ import annotations

from pathlib import Path

import click

from cli import main

PAGE = Path(__file__).with_name("cli.md")
WIDTH = 100

OPENING = """# The command line

Generated from `--help` by `make docs`; a test keeps it current.

Data goes to stdout (text, or one JSON object with `--json`); log, seed and progress go to stderr. A mistake ends in one
line, `stpp: error: …`, and exit code 2. Outputs are written under a temporary name and renamed, so that an interrupted
run (exit code 130) leaves none that is half-written; what exists is kept unless `--force` is given.
"""


def page() -> str:
    """The page as it should be."""
    root = click.Context(main, info_name="stpp", **main.context_settings, terminal_width=WIDTH)
    contexts = [root, *(click.Context(command, parent=root, info_name=name) for name, command in main.commands.items())]
    return "\n".join([OPENING, *(f"## {c.command_path}\n\n```text\n{c.get_help()}\n```\n" for c in contexts)])


if __name__ == "__main__":
    PAGE.write_text(page())
