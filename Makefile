# Everything a newcomer and a contributor needs. Each target makes .venv when it is missing.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed
DEV := .venv/.installed-dev
PYTEST := $(BIN)/python -m pytest

.PHONY: demo test test-all check recipes wheel clean help

help:
	@echo "make demo      from raw text to a verified model that answers over HTTP"
	@echo "make test      the quick tests (at most 5 minutes)"
	@echo "make test-all  and the slow ones: recipes, faults"
	@echo "make check     lint, types, layers"
	@echo "make recipes   train every recipe in full and check its figures"
	@echo "make wheel     build the wheel and the source package"

$(INSTALLED): pyproject.toml constraints.txt scripts/setup.sh
	PYTHON=$(PYTHON) scripts/setup.sh

$(DEV): pyproject.toml constraints.txt scripts/setup.sh
	PYTHON=$(PYTHON) scripts/setup.sh dev

demo: $(INSTALLED)
	$(BIN)/llmwright demo

test: $(DEV)
	$(PYTEST) -q -m "not slow and not recipe and not fault"

test-all: $(DEV)
	$(PYTEST) -q

check: $(DEV)
	$(BIN)/ruff check src tests benchmarks examples
	$(BIN)/ruff format --check src tests benchmarks examples
	$(BIN)/mypy
	$(BIN)/lint-imports

recipes: $(DEV)
	$(BIN)/python benchmarks/recipes.py

wheel: $(DEV)
	$(BIN)/python -m build --outdir dist .

clean:
	rm -rf .venv dist build .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
