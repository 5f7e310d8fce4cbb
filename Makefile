# `make` lists the targets. `make test` is exactly what CI runs.
PYTHON ?= python3
VENV ?= .venv
BIN ?= $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help install demo test format lint types sql pytest bench lock package clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: $(VENV)/.installed ## create .venv with the locked dependencies and tutorflow itself, editable

$(VENV)/.installed: requirements.lock pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

demo: install ## simulate a programme, run the pipeline on it and show the coach queue (under three minutes)
	$(BIN)/tutorflow demo

test: install lint types sql pytest ## everything CI runs: format, lint, types, SQL style, tests

format: ## rewrite the Python files in the project's format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lint: ## check Python format and lint
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: ## mypy, strict
	$(BIN)/mypy

sql: ## sqlfluff over the dbt project
	cd dbt_project && $(abspath $(BIN))/sqlfluff lint --processes 0 --disable-progress-bar models tests

pytest: ## the tests alone
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

bench: ## measure the pipeline at growing sizes (minutes; see tests/bench)
	$(BIN)/python -m tests.bench

lock: ## resolve the dependencies again and write requirements.lock with hashes
	$(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --no-strip-extras \
		--all-extras --quiet --custom-compile-command "make lock" pyproject.toml -o requirements.lock

package: ## build the wheel and the source archive into dist/
	$(BIN)/python -m hatchling build

clean: ## remove what the targets above made, except .venv
	rm -rf dist .mypy_cache .ruff_cache .pytest_cache .hypothesis dbt_project/target dbt_project/logs
