# One command runner: CI runs what a developer runs. `make help` lists the targets.
#
#   PYTHON=/path/to/python3.11   the Python that .venv is made with
#   ARGS="--port 9000"           passed on to the command of demo, console, serve, bench and lock

VENV := .venv
RUN  := $(VENV)/bin/python
ARGS ?=

# Tests start many processes, and compiling every module in each costs more than the tests.
unexport PYTHONDONTWRITEBYTECODE

# A Python that was named is the only candidate.
ifeq ($(origin PYTHON),undefined)
PYTHONS := python3 python3.13 python3.12 python3.11
else
PYTHONS := $(PYTHON)
endif

# Two levels of one environment. A user's needs no build: the command runs from src.
USE  := $(VENV)/.installed-to-use
DEV  := $(VENV)/.installed-to-develop
PIP  := $(RUN) -m pip --disable-pip-version-check --no-input install --quiet
MAIN := PYTHONPATH="$(CURDIR)/src" $(RUN) -m ci360_twilio
PINS := $(RUN) -m uv pip compile -q --universal --python-version 3.11 --generate-hashes \
	--no-annotate --no-header --no-emit-index-url --no-emit-find-links
LOCK := $(PINS) --no-emit-package ci360-twilio-connector pyproject.toml

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: help demo console serve check test lint types bench format lock package docs screenshots vectors clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' Makefile

demo: $(USE) ## Show the whole journey of a few events, with nothing set up
	@$(MAIN) demo $(ARGS)

console: $(USE) ## Show the console while a campaign runs, with nothing set up
	@$(MAIN) console $(ARGS)

serve: $(USE) ## Answer CI360 over HTTP and send what it asks for
	@$(MAIN) serve $(ARGS)

check: lint types ## The everyday loop: lint, types, unit and conformance tests
	$(RUN) -m pytest tests/unit tests/conformance -m "not slow" -n 4

test: lint types ## Everything: lint, types, all tests; says what was left out and why
	@rm -f build/tests.xml
	@status=0; \
	$(RUN) -m pytest tests -n 4 -rs --junitxml=build/tests.xml || status=$$?; \
	test "$${CI:-false}" = false || $(RUN) -c "$$LEFT_OUT" || status=1; \
	exit $$status

lint: $(DEV) ## Check style and format
	$(RUN) -m ruff check
	$(RUN) -m ruff format --check

types: $(DEV) ## Check types
	$(RUN) -m mypy

bench: $(DEV) ## Measure what we claim
	$(RUN) -m bench $(ARGS)

format: $(DEV) ## Format the code and fix what can be fixed
	$(RUN) -m ruff check --fix-only
	$(RUN) -m ruff format

lock: $(DEV) ## Compile the pinned requirements (ARGS=--upgrade for newer versions)
	$(LOCK) -o requirements/base.txt $(ARGS)
	$(LOCK) --extra all -o requirements/all.txt $(ARGS)
	$(LOCK) --extra aws --extra jwt -c requirements/all.txt -o requirements/lambda.txt $(ARGS)
	$(LOCK) --extra all --group dev -c requirements/all.txt -o requirements/dev.txt $(ARGS)
	$(PINS) --group emulator --no-deps -o requirements/emulator.txt $(ARGS)

package: $(USE) ## Build the functions' zips for AWS (ARGS="--architecture arm64")
	@$(MAIN) aws package $(ARGS)

docs: $(DEV) ## Write the generated parts of the documents anew
	UPDATE_DOCS=1 $(RUN) -m pytest -q tests/unit/test_docs.py

screenshots: $(DEV) ## Take the pictures of docs/console.md anew
	$(RUN) -m tests.browser.screenshots

vectors: ## Record the test vectors anew (needs node and npm)
	sh tests/vectors/record.sh

clean: ## Remove what make and the tools made, .venv too
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find src tests bench -name __pycache__ -type d -prune -exec rm -rf {} +

$(USE): requirements/all.txt | $(VENV)/bin/pip
	@$(USABLE)
	@echo "Installing what the connector needs (only the first time) ..."
	@$(PIP) --require-hashes -r requirements/all.txt
	@touch $@

$(DEV): requirements/dev.txt requirements/emulator.txt pyproject.toml | $(VENV)/bin/pip
	@$(USABLE)
	@echo "Installing what development needs (only the first time; a minute or two) ..."
	@$(PIP) --require-hashes -r requirements/dev.txt
	@$(PIP) --require-hashes --no-deps -r requirements/emulator.txt
	@$(PIP) --no-deps --no-build-isolation -e .
	@touch $@

USABLE = $(RUN) -c '$(NEW_ENOUGH)' 2>/dev/null || { \
	echo "$(VENV) is not of Python 3.11 or newer: run 'make clean', then try again" >&2; exit 1; }

NEW_ENOUGH = import sys; sys.exit(sys.version_info < (3, 11))

# pip is the last thing that venv makes, so an attempt that broke off is made again.
$(VENV)/bin/pip:
	@trouble="No Python was found: install Python 3.11 or newer, or set PYTHON=/path/to/python3.11"; \
	for python in $(PYTHONS); do \
	  version=$$("$$python" -c 'import platform; print(platform.python_version())' 2>/dev/null) \
	    || continue; \
	  if ! "$$python" -c '$(NEW_ENOUGH)'; then \
	    trouble="$$python is Python $$version, too old: install 3.11 or newer, or set PYTHON=/path/to/python3.11"; \
	    continue; \
	  fi; \
	  echo "Making $(VENV) with Python $$version ($$python) ..."; \
	  if "$$python" -c 'import ensurepip, venv' 2>/dev/null && "$$python" -m venv --clear $(VENV); then \
	    exit 0; \
	  fi; \
	  rm -rf $(VENV); \
	  trouble="This Python has no venv: install python3-venv, or set PYTHON=/path/to/python3.11"; \
	done; \
	echo "$$trouble" >&2; exit 1

define LEFT_OUT
import xml.etree.ElementTree as tree
cases = [(case, case.find("skipped")) for case in tree.parse("build/tests.xml").iter("testcase")]
skipped = [(case, skip) for case, skip in cases if skip is not None]
print("=" * 100)
print(f"LEFT OUT: {len(skipped)} of {len(cases)} tests" if skipped else "No test was skipped.")
for case, skip in skipped:
    print(f"  {case.get('classname')}.{case.get('name')}: {skip.get('message')}")
print("=" * 100)
endef
export LEFT_OUT
