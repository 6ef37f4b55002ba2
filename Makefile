# make quickstart   a fresh machine to a finished comparison: virtual environment, install, the main job
# make test         format, lint, types, and the tests in their tiers: of `system` one of each kind (tests/README.md)
# make test-all     every test that this machine can run
# make check        formatting, lint, types
# make benchmark    tunefleet against its peers; wants a quiet machine and most of an hour

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
SPEC ?= quickstart

TIERS ?=

.PHONY: quickstart test test-all check benchmark install install-dev

# A second call goes on where the first was stopped, or shows its comparison again.
quickstart: install
	if [ -e runs/$(SPEC)/spec.yaml ]; then $(BIN)/tunefleet resume $(SPEC); else $(BIN)/tunefleet run $(SPEC); fi

test: install-dev check
	$(BIN)/python -m tests.run $(TIERS)

test-all: install-dev check
	$(BIN)/python -m tests.run --all $(TIERS)

check: install-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

benchmark: install-dev
	$(BIN)/python -m pip install --quiet -e '.[benchmarks]'
	$(BIN)/python -m benchmarks.throughput
	$(BIN)/python -m benchmarks.controller
	$(BIN)/python -m benchmarks.exploit

install: $(VENV)/installed
install-dev: $(VENV)/installed-dev

$(VENV)/installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -e '.[quickstart]'
	touch $@

$(VENV)/installed-dev: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -e '.[dev]'
	$(BIN)/python -m pip install --quiet --no-deps 'sweeps>=0.3'  # it declares numpy < 2, so no extra can name it
	touch $@ $(VENV)/installed
