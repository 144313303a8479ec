# `make demo` and `make test` set up everything they need, on a machine with git, make and a Python 3.11 to 3.13.

# The first interpreter that runs (a version manager's shim may exist and fail), is in range and can make environments.
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do \
	$$p -c 'import ensurepip, sys, venv; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null \
	&& echo $$p && break; done)
BIN := .venv/bin
READY := .venv/ready

.PHONY: demo test format docs lock clean

demo: $(READY)
	$(BIN)/stpp demo --force

test: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest -n 2 --cov

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The command page, the page on FDS, and what README.md takes from `make demo` and from benchmarks/results_*.csv.
docs: demo
	$(BIN)/python docs/make_pages.py
	$(BIN)/python docs/fds_figure.py
	$(BIN)/python docs/map_figure.py

# Needs uv; run it after a change of the dependencies in pyproject.toml.
lock:
	uv pip compile pyproject.toml --all-extras --group dev --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --custom-compile-command 'make lock' --quiet --output-file requirements.lock

clean:
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis .coverage dist stpp-demo

$(READY): requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo 'no Python 3.11, 3.12 or 3.13 with venv runs here: install one, or make PYTHON=/path/to/python' >&2; exit 1; }
	$(PYTHON) -m venv --clear .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@
