# `make demo` and `make test` set up everything they need, on a machine with git, make and a Python 3.11 to 3.13.

# The first interpreter that runs (a version manager's shim may exist and fail), is in range and can make environments.
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do \
	$$p -c 'import ensurepip, sys, venv; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null \
	&& echo $$p && break; done)
BIN := .venv/bin
READY := .venv/ready
DEV := .venv/ready-dev
# Every version is pinned and the locks are complete (`pip check` in $(DEV) holds that), so pip has nothing to resolve:
# old ones look for an extra's requirements apart from its pin, and fail as soon as a newer release is out.
LOCKED := -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps --requirement

.PHONY: demo test check lint format docs lock lock-check clean

demo: $(READY)
	$(BIN)/stpp demo --force

# Everything that CI checks.
test: lint
	$(BIN)/pytest -n 2 --dist loadgroup --cov

# The same in two minutes, without the tests that are marked slow.
check: lint
	$(BIN)/pytest -n 2 --dist loadgroup -q -m 'not slow'

lint: $(DEV)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/oxlint stpp/maps/page
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(DEV)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The command page, the page on FDS, and what README.md takes from `make demo` and from benchmarks/results_*.csv.
docs: $(DEV) demo
	$(BIN)/python docs/make_pages.py
	$(BIN)/python docs/fds_figure.py
	$(BIN)/python docs/map_figure.py

# Needs uv; run it after a change of the dependencies in pyproject.toml. The second lock holds the first.
COMPILE := uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	--custom-compile-command 'make lock' --quiet
lock:
	$(COMPILE) --extra animate --extra demo --group build --output-file requirements.lock
	$(COMPILE) --all-extras --group dev --constraint requirements.lock --output-file requirements-dev.lock

# Both locks by the oldest pip that a supported Python brings (3.11.0: 22.3), whatever has come out since they were made.
lock-check:
	$(PYTHON) -m venv --clear .venv-lock
	.venv-lock/bin/python -m pip install --quiet --disable-pip-version-check pip==22.3
	.venv-lock/bin/python $(LOCKED) requirements.lock --dry-run
	.venv-lock/bin/python $(LOCKED) requirements-dev.lock --dry-run
	rm -rf .venv-lock

clean:
	rm -rf .venv .venv-lock .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis .coverage dist stpp-demo

$(READY): requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo 'no Python 3.11, 3.12 or 3.13 with venv runs here: install one, or make PYTHON=/path/to/python' >&2; exit 1; }
	$(PYTHON) -m venv --clear .venv
	$(BIN)/python $(LOCKED) requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

$(DEV): requirements-dev.lock $(READY)
	$(BIN)/python $(LOCKED) requirements-dev.lock
	$(BIN)/python -m pip check --disable-pip-version-check
	@touch $@
