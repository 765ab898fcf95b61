# `make` shows what there is to do. Nothing needs installing before, beyond Python 3.11 or newer.
.DEFAULT_GOAL := help
SHELL := /bin/sh
VENV := .venv
PYTHON := $(VENV)/bin/python
# Made when the environment has what the demo needs, or what developing needs as well.
FOR_RUNNING := $(VENV)/.for-running
FOR_DEVELOPING := $(VENV)/.for-developing

# Vehicles of the demo; arguments for demo-once, test and bench.
VEHICLES ?= 20
ARGS ?=
export VEHICLES

.PHONY: help setup demo demo-once demo-reset check test proof bench lock clean

help:  ## show this
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-11s %s\n", $$1, $$2 }' Makefile

setup: $(FOR_DEVELOPING)  ## make the virtual environment .venv with everything in it
	@echo "Everything is in $(VENV)"

demo: $(FOR_RUNNING)  ## run the whole platform on this machine; VEHICLES=20
	@sh scripts/install_mosquitto.sh
	@$(VENV)/bin/caas demo

demo-once: $(FOR_RUNNING)  ## run the demo's story once and end; ARGS="…"
	@sh scripts/install_mosquitto.sh
	@$(VENV)/bin/caas demo --once $(ARGS)

demo-reset: $(FOR_RUNNING)  ## forget the demo's data
	@$(VENV)/bin/caas demo --reset

check: $(FOR_DEVELOPING)  ## style, types and architecture
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/pyright --pythonpath $(PYTHON)
	$(VENV)/bin/lint-imports

test: $(FOR_DEVELOPING)  ## check, then all tests but the slow proofs; ARGS="tests/…"
	sh scripts/install_test_deps.sh
	$(MAKE) check
	$(PYTHON) -m pytest -m "not proof" $(ARGS)

proof: $(FOR_DEVELOPING)  ## the slow proofs; their reports go to docs/proof/
	sh scripts/install_test_deps.sh
	PROOF_REPORTS=1 $(PYTHON) -m pytest -m proof $(ARGS)

bench: $(FOR_RUNNING)  ## measure; ARGS="NAME --json"
	@sh scripts/install_mosquitto.sh
	@$(VENV)/bin/caas bench $(ARGS)

# `make lock UPGRADE=--upgrade` takes newer versions; without it only what changed is resolved.
UPGRADE ?=
COMPILE := $(VENV)/bin/uv pip compile pyproject.toml --universal --generate-hashes \
	--no-emit-index-url --no-header -q $(UPGRADE)
lock: $(FOR_DEVELOPING)  ## write the lock files anew from pyproject.toml
	$(COMPILE) --group build -o requirements.lock
	$(COMPILE) --group build --group dev -c requirements.lock -o requirements-dev.lock

clean:  ## remove the virtual environment and caches (not the demo's data)
	rm -rf $(VENV) .pytest_cache .ruff_cache .hypothesis .import_linter_cache dist build
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(FOR_RUNNING): requirements.lock pyproject.toml scripts/make_venv.sh
	@sh scripts/make_venv.sh $(VENV) requirements.lock
	@touch $@

$(FOR_DEVELOPING): requirements-dev.lock pyproject.toml scripts/make_venv.sh
	@sh scripts/make_venv.sh $(VENV) requirements-dev.lock
	@touch $@ $(FOR_RUNNING)
