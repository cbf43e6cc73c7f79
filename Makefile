# Every target makes the environment first, from nothing. `make check` is what CI runs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
JOBS ?= 2

# One thread for each of the test processes: more would only wait for each other.
ONE_THREAD := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1

PYTEST := $(ONE_THREAD) $(BIN)/python -m pytest -n $(JOBS) --dist worksteal

.DEFAULT_GOAL := help
.PHONY: help environment demo test unit check format lint types docs clean

help: ## what can be made
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

environment: $(READY) ## .venv with the package and what its development needs

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "equimodal needs Python 3.11 or later: make PYTHON=...")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[dev]"
	touch $@

demo: $(READY) ## train, compare and tabulate four methods on real digits (about 5 minutes, most of them the installation)
	$(BIN)/equimodal demo

test: $(READY) ## the tests
	$(PYTEST)

unit: $(READY) ## the tests of single parts: no processes, no whole commands, benches or hosts
	$(PYTEST) -m "not processes and not whole"

check: lint types docs test ## everything that must hold before a commit

lint: $(READY) ## format and rules
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(READY) ## strict types over src
	$(BIN)/mypy

docs: $(READY) ## the pages, into site/; a warning is an error
	$(ONE_THREAD) NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

format: $(READY) ## put the code into its form
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean: ## take away what was made
	rm -rf $(VENV) site build dist .pytest_cache .ruff_cache .mypy_cache .hypothesis
