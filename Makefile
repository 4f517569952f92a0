# Orderloop needs only Python 3.11 or newer, make and git; everything else is fetched into .venv.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

UV_VERSION := 0.13.9
# Of `make chaos`.
MINUTES ?= 20
SEED ?= 1
# Of `make fuzz`: requests made up for each operation.
EXAMPLES ?= 100
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.synced
MEMBERS := schemas libs/chassis libs/devkit services/crm services/erp services/mes services/gateway
SOURCES := $(MEMBERS:%=%/src)
MANIFESTS := pyproject.toml uv.lock $(MEMBERS:%=%/pyproject.toml)

.PHONY: help setup demo up down test chaos fuzz bench outages audit lint fmt schemas lock clean

help: ## Show these targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/  make \1\t\2/' | expand -t 16

setup: $(STAMP) ## Create .venv and install the locked dependencies

$(STAMP): $(MANIFESTS)
	@python=; for candidate in $${PYTHON:-} python3 python3.14 python3.13 python3.12 python3.11; do \
	  if "$$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then python=$$candidate; break; fi; \
	done; \
	if [ -z "$$python" ]; then \
	  echo "Orderloop needs Python 3.11 or newer, found $$(python3 --version 2>&1 || true): install one, or run make PYTHON=/path/to/it" >&2; exit 1; \
	fi; \
	if ! $(BIN)/python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	  "$$python" -m venv --clear $(VENV) || { echo "cannot create $(VENV): install Python's venv module (Debian, Ubuntu: apt install python3-venv)" >&2; exit 1; }; \
	fi
	@if [ "$$($(BIN)/uv --version 2>/dev/null | cut -d' ' -f2)" != "$(UV_VERSION)" ]; then \
	  echo "installing uv $(UV_VERSION)"; $(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION); \
	fi
	@echo "installing the locked dependencies"
	@VIRTUAL_ENV=$(CURDIR)/$(VENV) UV_PYTHON_DOWNLOADS=never UV_COMPILE_BYTECODE=1 $(BIN)/uv sync --quiet --frozen --inexact
	@touch $@

demo: setup ## Start everything and play the closed loop from order to invoice
	@$(BIN)/orderloop demo

up: setup ## Start the platform with the furniture factory loaded; print addresses and credentials
	@$(BIN)/orderloop up
	@$(BIN)/orderloop demo --load-only

down: setup ## Stop what `make up` started; the data stays
	@$(BIN)/orderloop down

test: setup ## Run the whole test suite on a real PostgreSQL and a real Kafka
	@$(BIN)/pytest

chaos: setup ## Break everything, again and again, under load, and check the guarantees (MINUTES=20 SEED=1)
	@PYTHONPATH=tests $(BIN)/python -m chaos --minutes $(MINUTES) --seed $(SEED)

fuzz: setup ## Ask every service what its document allows and what not, at length (EXAMPLES=100 SEED=1)
	@FUZZ_EXAMPLES=$(EXAMPLES) FUZZ_SEED=$(SEED) $(BIN)/pytest tests/contract/test_fuzz.py

audit: setup ## Look for known holes in the locked dependencies and for risky code (docs/security.md)
	@$(BIN)/uv tool run --quiet bandit@1.9.4 --quiet --recursive --skip B101,B311,B404,B603,B606,B608 $(SOURCES)
	@$(BIN)/uv export --quiet --frozen --no-emit-workspace --output-file $(VENV)/audited.txt
	@$(BIN)/uv tool run --quiet pip-audit@2.10.1 --strict --disable-pip --require-hashes --requirement $(VENV)/audited.txt

bench: setup ## Measure what one run on this machine does per second; takes a quarter of an hour
	@PYTHONPATH=tests $(BIN)/python -m load

outages: setup ## Take Kafka and each database away for two minutes and write docs/outages.md
	@PYTHONPATH=tests $(BIN)/python -m load.outages --write docs/outages.md

lint: setup ## Check formatting, style, types and the import rules
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy $(SOURCES)
	@$(BIN)/lint-imports

fmt: setup ## Format the code and fix what can be fixed by itself
	@$(BIN)/ruff check --fix --quiet .
	@$(BIN)/ruff format .

schemas: setup ## Write the published schemas, OpenAPI, AsyncAPI and the event catalogue anew
	@$(BIN)/python -m schema_tools generate

lock: setup ## Lock the newest allowed versions of the Python packages and Kafka's Java archives
	@$(BIN)/uv lock --upgrade
	@$(BIN)/python -m devkit.platform.jars
	@$(BIN)/uv sync --quiet --frozen --inexact

clean: ## Stop what runs and remove its data, logs, secrets and all caches of this checkout
	@if [ -x $(BIN)/orderloop ] && [ -d .orderloop ]; then $(BIN)/orderloop down; fi
	@rm -rf .orderloop .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	@find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +
