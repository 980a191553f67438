# Two commands do everything on a machine that has python3, make and git: make demo, make test.

PYTHON ?= python3
BIN := .venv/bin
KEDRO := $(BIN)/python -m kedro
# Two processes at once, with one thread each.
PYTEST := OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder --durations 10
export DO_NOT_TRACK := true
export MLFLOW_DISABLE_TELEMETRY := true

.PHONY: help demo test test-slow mutants check lint types laws mlflow viz docs docs-serve lock bench lessons results release clean

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' Makefile

demo: .venv/installed ## run the main job on the built-in dataset; finished results are kept
	@echo "Three networks are trained on 6,000 images: on clean, on poisoned and on recovered ones. That takes one to four minutes."
	$(KEDRO) run --pipeline=orthoproj --only-missing-outputs

test: .venv/installed ## run the tests
	./tests/install_browser.sh
	./tests/install_postgresql.sh
	$(PYTEST)

test-slow: .venv/installed ## run the tests that take minutes
	./tests/install_browser.sh
	./tests/install_postgresql.sh
	$(PYTEST) -m slow

mutants: .venv/installed ## check that the tests catch each of many deliberate faults
	./tests/install_browser.sh
	./tests/install_postgresql.sh
	$(BIN)/python -m tests.mutants

check: lint types laws ## run the linters, the type checker and the import rules

lint: .venv/installed
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/python -m bandit --quiet --recursive src benchmarks docsite

types: .venv/installed
	$(BIN)/python -m mypy

laws: .venv/installed
	PYTHONPATH=src $(BIN)/python -c "from importlinter.cli import lint_imports_command as lint; lint()"

mlflow: .venv/installed ## open the tracked runs at http://127.0.0.1:5000
	MLFLOW_ALLOW_PICKLE_DESERIALIZATION=false $(BIN)/python -m mlflow server --backend-store-uri sqlite:///mlflow.db --host 127.0.0.1 --port 5000

viz: .venv/installed ## open the graph of the pipelines at http://127.0.0.1:4141
	$(KEDRO) viz run --host 127.0.0.1 --port 4141

docs: .venv/installed ## build the documentation in build/site; a warning is an error
	PYTHONPATH=src $(BIN)/python -m docsite
	$(BIN)/python -m zensical build --strict --clean --config-file site.yml

docs-serve: .venv/installed ## show the documentation at http://127.0.0.1:8000
	PYTHONPATH=src $(BIN)/python -m docsite
	$(BIN)/python -m zensical serve --config-file site.yml --dev-addr 127.0.0.1:8000

bench: .venv/installed ## measure the speed of projection, training and start-up, and what reliability costs
	$(BIN)/python -m benchmarks.projection
	$(BIN)/python -m benchmarks.training
	$(BIN)/python -m benchmarks.startup
	$(BIN)/python -m benchmarks.reliability

lessons: .venv/installed ## run the lessons in notebooks, and keep their output; takes ten minutes
	PYTHONPATH=src $(BIN)/python -m docsite.lessons

results: .venv/installed ## write the tables and figures of docs/results from the data beside them
	$(BIN)/python -m benchmarks.results

release: .venv/installed ## build wheel, source, configuration and bill of materials (SBOM) in dist
	rm -rf dist build
	SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct) $(BIN)/uv build --quiet --offline --no-build-isolation --python $(BIN)/python
	git archive --output dist/conf.tar.gz HEAD conf
	$(BIN)/python -W ignore -m cyclonedx_py requirements requirements.lock --pyproject pyproject.toml --output-reproducible --output-file dist/sbom.cdx.json

# ---- setting up: the lock names every version and its hash
.venv/installed: requirements.lock requirements-uv.lock
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements-uv.lock
	$(BIN)/uv pip sync --quiet --compile-bytecode --python $(BIN)/python --require-hashes requirements.lock
	PYTHONPATH=src $(BIN)/python -m unlearnable.config.settings # reads what may be set, so that a misspelt name is reported at once
	touch $@

lock: | .venv/installed ## write the lock files again
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-emit-find-links --group dev --group docs --all-extras pyproject.toml --custom-compile-command "make lock" --output-file requirements.lock
	sed -n "s|^\(uv==[^ ]*\).*|\1|p" requirements.lock | $(BIN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-emit-find-links - --custom-compile-command "make lock" --output-file requirements-uv.lock

clean: ## remove the environment and everything that runs wrote
	rm -rf .venv mlflow.db mlartifacts .mlflow.lock
	git clean -fdXq data
