# The targets ask no question and read no input. Each does all of its own set-up.
VENV := .venv
READY := $(VENV)/.ready
DAE := $(VENV)/bin/dae
PYTHON := $(VENV)/bin/python

.PHONY: help up demo down test check bench
.DEFAULT_GOAL := help

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-6s %s\n", $$1, $$2 }' Makefile

up: $(READY) ## Install what is missing, start the platform, print its addresses
	@$(DAE) up </dev/null

demo: $(READY) ## The same, then push, promote, change and roll back an example app
	@$(DAE) demo </dev/null

down: $(READY) ## Stop the platform and its apps; state is kept
	@$(DAE) down </dev/null

check: $(READY) ## Lint, formatting, types, layers
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/mypy
	@$(VENV)/bin/lint-imports

test: check ## All checks and all tests
	@$(PYTHON) -I -m control.platform.packages tests </dev/null
	@bin/run-tests

bench: $(READY) ## Run every benchmark, one after another
	@set -e; for program in benchmarks/[a-z]*.py; do \
	  echo "-----> $$program"; $(PYTHON) "$$program" </dev/null; done

# What .venv holds follows from these files; it is made anew when one of them changes.
$(READY): setup.py sdk/pyproject.toml pyproject.toml bin/make-venv
	@bin/make-venv $(VENV)
	@touch $@
