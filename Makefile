# Two commands do everything on a machine with Python 3.11 or 3.12 and make: `make start` and `make test`.

SHELL := /bin/bash
.DEFAULT_GOAL := help

VENV ?= .venv
HOST ?= 127.0.0.1
PORT ?= 8000
# Of the browser page; the next free one if it is taken.
PAGE_PORT ?= 8080
STUDIES ?=
# Two workers; each file stays with one of them, so that its servers and data are made once.
PYTEST_ARGS ?= -n 2 --dist loadfile
# INSTALL=no uses the environment in VENV as it is, with the package of this checkout.
INSTALL ?= yes

# The first Python of a fitting version that can make an environment.
PYTHON ?= $(shell for p in python3.11 python3.12 python3 python; do \
	$$p -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info < (3, 13))' \
	>/dev/null 2>&1 && { command -v $$p; break; }; done)

BIN := $(VENV)/bin
ifeq ($(INSTALL),no)
SERVER :=
DEV :=
PROGRAMS :=
export PYTHONPATH := $(CURDIR)/training$(if $(PYTHONPATH),:$(PYTHONPATH))
else
SERVER := $(VENV)/.installed-server
DEV := $(VENV)/.installed-dev
PROGRAMS := programs
endif

# The command by its module, which INSTALL=no takes from this checkout.
STROKELABEL := "$(BIN)/python" -m strokelabel.cli.main

# Served are copies of the sample data, so that annotating leaves the checkout clean, or your own folder in STUDIES.
SERVED := $(if $(STUDIES),"$(STUDIES)",--copy-to runs/studies)

.PHONY: help
help: ## Show this help
	@echo "StrokeLabel: stroke lesion segmentation on any brain MRI"
	@echo
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1|\2/p' $(firstword $(MAKEFILE_LIST)) | awk -F'|' '{ printf "  make %-12s %s\n", $$1, $$2 }'
	@echo
	@echo "  make start HOST=$(HOST) PORT=$(PORT) PAGE_PORT=$(PAGE_PORT) STUDIES=folder/of/scans VENV=$(VENV)"

.PHONY: start
start: $(SERVER) ## Install what is missing and serve the app and its browser page on the sample data until Ctrl-C
	@exec $(STROKELABEL) start $(SERVED) --host "$(HOST)" --port "$(PORT)" --page-port "$(PAGE_PORT)"

.PHONY: test
# One thread each: small tensors gain nothing from more, and lose much when the cores are busy.
test: $(PROGRAMS) lint ## Lint, check types and layers, and run all tests
	OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} "$(BIN)/python" -m pytest $(PYTEST_ARGS)

.PHONY: coverage
coverage: $(PROGRAMS) $(DEV) ## All tests, counting the lines they run; fails below the floor in pyproject.toml
	OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} "$(BIN)/python" -m pytest $(PYTEST_ARGS) --cov

# Orthanc, CMake and Chromium: installed where that is allowed, else named.
.PHONY: programs
programs: | $(VENV)/bin/python
	@"$(BIN)/python" tests/support/system_programs.py

# Where the packages of pyproject.toml's [tool.importlinter] lie.
LINTED := training:monailabel_app:slicer_extension/StrokeLabel:slicer_extension/browser

.PHONY: lint
lint: $(DEV) ## Ruff, mypy and import-linter only
	"$(BIN)/ruff" check .
	"$(BIN)/ruff" format --check .
	"$(BIN)/mypy"
	PYTHONPATH="$(LINTED)" "$(BIN)/lint-imports"

.PHONY: env
env: $(DEV) ## Create the environment with everything for development
	@echo "Activate it with: source $(BIN)/activate"

.PHONY: sample-data
sample-data: $(DEV) ## Make the sample data again from its scripts
	"$(BIN)/python" sample-data/code/make_sample_data.py
	"$(BIN)/python" sample-data/code/preview.py training/docs/images/sample-data.png

.PHONY: clean
clean: ## Remove caches and build output; keep the environment, runs and trained weights
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -not -path './.venv*' -prune -exec rm -rf {} +

$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "error: Python 3.11 or 3.12 with its venv module is needed (Debian, Ubuntu:" \
		"apt-get install python3.11-venv), or name one: make $(MAKECMDGOALS) PYTHON=/path/to/python3.11" >&2; exit 1; }
	"$(PYTHON)" -m venv "$(VENV)"

$(VENV)/.installed-server: pyproject.toml constraints.txt | $(VENV)/bin/python
	"$(BIN)/python" -m pip install --disable-pip-version-check -c constraints.txt -e ".[server,browser]" || { \
		echo "The browser page's packages cannot be installed here: trying the server alone." >&2; \
		"$(BIN)/python" -m pip install --disable-pip-version-check -c constraints.txt -e ".[server]"; }
	@touch $@

# Everything of the server and the page is in it too.
$(VENV)/.installed-dev: pyproject.toml constraints.txt | $(VENV)/bin/python
	"$(BIN)/python" -m pip install --disable-pip-version-check -c constraints.txt -e ".[dev]"
	@touch $(VENV)/.installed-server $@
