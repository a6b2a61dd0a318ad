PYTHON ?= python3
BIN := .venv/bin
TESTS :=                        ## folders or files, of `make test` and `make e2e`
WORKFLOWS := .github/workflows/ci.yml .github/workflows/gate.yml ci/github/gate.yml

.PHONY: setup release test e2e check bench lab clean
setup: .venv/.done              ## .venv with both distributions and the development tools

.venv/.done: pyproject.toml export/edge/pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet -e export/edge -e '.[dev]'
	touch $@

release: setup                  ## data, training, export, evaluation, gate, bundle; what is done is not done again
	$(BIN)/shelfgap release

test: setup
	$(BIN)/python -m pytest -m "not slow" $(TESTS)

e2e: setup                      ## whole releases, kills and resumes, the notebook: minutes
	$(BIN)/python -m pytest -m slow -n 2 --dist loadfile $(TESTS)

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/zizmor --offline --no-progress $(WORKFLOWS)
	$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows $(WORKFLOWS)
	$(BIN)/check-jsonschema --builtin-schema vendor.gitlab-ci ci/gitlab/gate.yml
	$(BIN)/shellcheck .ci/run

bench: setup                    ## latency of the bundle that `make release` wrote
	$(BIN)/shelfgap-edge bench release/bundle

lab: setup
	$(BIN)/jupyter lab notebooks

clean:
	rm -rf .venv data models release reports mlflow runs sweep .prefect .scratch .dvc .dvcignore dvc.lock
