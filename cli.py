"""The entry of the command line: ``stpp``, or ``python -m stpp``."""

from importlib import import_module

from commands.program import main

__all__ = ["main"]

for verbs in ("posts", "fitting", "flows", "judging", "finding", "showing", "again"):  # as help lists them
    import_module(f"commands.{verbs}")

if __name__ == "__main__":
    main()
