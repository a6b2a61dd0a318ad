PYTHON ?= python3
BIN := .venv/bin

.PHONY: setup test check clean
setup: .venv/.done

.venv/.done: pyproject.toml export/edge/pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install -e export/edge -e '.[dev]'
	touch $@

test: setup
	$(BIN)/python -m pytest

check: setup
	$(BIN)/lint-imports

clean:
	rm -rf .venv
