# make demo: set up once, then run the whole chain on the bundled model and pictures.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# ZenML's state of this project stays in this folder: no account, no server, no analytics.
export ZENML_CONFIG_PATH := $(CURDIR)/.zenml
export ZENML_LOCAL_STORES_PATH := $(CURDIR)/.zenml/local_stores
export ZENML_ANALYTICS_OPT_IN := false
export HF_HUB_DISABLE_TELEMETRY := 1
# No colours in a log file.
export ZENML_LOGGING_COLORS_DISABLED ?= $(shell test -t 2 -a -z "$$NO_COLOR" || echo true)

.PHONY: help setup demo dashboard lineage test test-cluster check bench sana-tiny clean

help: ## Show this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/'

setup: $(VENV)/.installed ## Create .venv with the tested versions; done once, again when they change

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Sanaflow needs Python 3.11 or newer: make PYTHON=python3.11 ...")'
	@echo "Setting up .venv (about 6 GB, minutes) ..."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

demo: setup ## Fine-tune the bundled tiny Sana on the bundled pictures, score it and write release/
	@$(BIN)/zenml pipeline run pipelines.finetune.finetune -c configs/demo.yaml

dashboard: setup ## Start ZenML's dashboard here and print the page of the last run
	@$(BIN)/python -m pipelines.dashboard

lineage: setup ## Write lineage.html: what each model comes from, and what models share
	@$(BIN)/python -m sanaflow lineage --html lineage.html

test: setup ## Run all tests
	@$(BIN)/python -m pytest

test-cluster: setup ## Run the pipeline on a double of a Kubernetes cluster; minutes, wants the rights of root
	@$(BIN)/python -m pytest -m cluster

check: setup ## Lint, formatting, types
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

bench: setup ## Run every benchmark but that with peers, which have to be brought, and those of a GPU
	@for b in $(filter-out benchmarks/peers.py benchmarks/gpu.py benchmarks/gpu_encoding.py,$(wildcard benchmarks/[a-z]*.py)); do $(BIN)/python -m benchmarks.$$(basename $$b .py) || exit 1; done

sana-tiny: setup ## Build the bundled model anew from packaged pictures, hours on two cores; goes on where it was
	@$(BIN)/python -m benchmarks.sana_tiny

clean: ## Delete this project's ZenML state and the demo's release
	@rm -rf .zenml release lineage.html
