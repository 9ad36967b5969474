# Everything a newcomer and a contributor needs. Each target makes .venv when it is missing.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed
DEV := .venv/.installed-dev
PYTEST := $(BIN)/python -m pytest

.PHONY: demo test test-slow test-all check recipes wheel clean help

help:
	@echo "make demo      from raw text to a verified model that answers over HTTP"
	@echo "make test      the quick tests (at most 5 minutes)"
	@echo "make test-slow the slow ones: faults, then recipes"
	@echo "make test-all  both"
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
	OMP_NUM_THREADS=1 $(PYTEST) -q -n 2 --dist loadfile -m "not slow and not recipe and not fault"

test-slow: $(DEV)
	OMP_NUM_THREADS=1 $(PYTEST) -q -n 2 --dist loadfile -m "(slow or fault) and not recipe"
	$(PYTEST) -q -m recipe

test-all: test test-slow

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
