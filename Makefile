# `make demo` shows haulier at work, `make test` runs every test. Both first make an environment of their own in
# .venv. It is made once, and again when pyproject.toml changes. Only test-pythons touches what is outside this
# directory: a folder below /tmp.

# The first Python that is new enough. Another one: make test PYTHON=/path/to/python
PYTHON ?= $(shell for python in python3 python3.15 python3.14 python3.13 python3.12 python3.11 python; do \
	"$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo "$$python" && break; done)

# Handed on to what the target runs: make test ARGS="-k cancel"
ARGS ?=

BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo check test test-pythons chaos lint bench soak mutants clean

help:
	@echo "make demo    a look at haulier at work"
	@echo "make check   format, lint, types and the fast tests: while you work"
	@echo "make test    all tests                                    make test ARGS='-k cancel'"
	@echo "make test-pythons  all tests on every Python found; ARGS are pytest's"
	@echo "make chaos   everything goes wrong at once, 3 minutes     make chaos ARGS='--minutes 10 --seed 7'"
	@echo "make lint    format, lint, types and the order of imports"
	@echo "make bench   every workload, the curves, their pictures   make bench ARGS=--quick"
	@echo "make soak    a million downloads: does anything grow?     make soak ARGS=--smoke"
	@echo "make mutants break core/ on purpose: does a test notice?  make mutants ARGS='haulier._engine.core.gate.*'"
	@echo "make clean   remove .venv and what the tools leave behind"

demo: .venv/.demo
	@$(BIN)/python -m haulier demo $(ARGS)

test: .venv/.test
	@$(BIN)/python -m pytest $(ARGS)

# PYTHONS names the Pythons, or their paths. BRING=1, as root on Debian, brings the missing ones of Debian's newest release
# into a folder below /tmp.
test-pythons:
	@PYTHONS="$(PYTHONS)" tools/test_pythons.sh $(if $(BRING),-b) $(ARGS)

# What is worth running after each change. FAST may name other tests: make check FAST=tests/fetchers
FAST ?= tests/core tests/suite/test_links.py tests/suite/test_behaviour_page.py tests/suite/test_commit_message.py \
	tests/fronts

check: .venv/.lint
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	@$(BIN)/python -m pytest -q $(FAST) $(ARGS)

chaos: .venv/.demo
	@$(BIN)/python -m tests.chaos $(ARGS)

lint: .venv/.lint
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: .venv/.bench
	@$(BIN)/python -m benchmarks $(ARGS)

soak: .venv/.demo
	@$(BIN)/python benchmarks/soak.py $(ARGS)

mutants: .venv/.mutation
	@nice -n 10 $(BIN)/python tests/mutation/mutants.py $(ARGS)

clean:
	rm -rf .venv dist mutants .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# .made holds the directory that the environment was made in: a moved or copied .venv would import the old place's code,
# and one whose Python has gone would not run at all. Both are made anew.
ifneq ($(shell $(BIN)/python -c '' 2>/dev/null && cat .venv/.made 2>/dev/null),$(CURDIR))
.PHONY: .venv/.made
endif

# Debian and Ubuntu ship Python without ensurepip, which venv needs; a pip outside can fill an environment as well.
.venv/.made: pyproject.toml
	@test -n "$(PYTHON)" || { \
		echo "haulier needs Python 3.11 or newer, and there is none on the PATH."; \
		echo "Debian 12 or Ubuntu 24.04, or newer: apt install python3 python3-venv"; \
		echo "Elsewhere: make <target> PYTHON=/path/to/python"; exit 1; } >&2
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "haulier needs Python 3.11 or newer; $(PYTHON) is $$("$(PYTHON)" -V 2>&1)."; exit 1; } >&2
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || "$(PYTHON)" -m pip --version >/dev/null 2>&1 || { \
		echo "$$("$(PYTHON)" -V) cannot make an environment: its venv package is not installed. As root:"; \
		echo "    apt install python3-venv"; \
		echo "Then run make again."; exit 1; } >&2
	@echo "Making .venv with $$("$(PYTHON)" -V): once, a minute or less."
	@if "$(PYTHON)" -c 'import ensurepip' 2>/dev/null; then "$(PYTHON)" -m venv --clear .venv; \
	else "$(PYTHON)" -m venv --clear --without-pip .venv \
		&& "$(PYTHON)" -m pip --quiet --python $(BIN)/python install pip; fi
	@$(PIP) install --upgrade 'pip>=25.1'
	@printf '%s' "$(CURDIR)" > $@

.venv/.demo: .venv/.made
	@$(PIP) install --editable '.[cli]'
	@touch $@

.venv/.bench: .venv/.demo
	@$(PIP) install --group bench
	@touch $@

.venv/.test: .venv/.demo
	@$(PIP) install --editable '.[cli,ytdlp,postgres]' --group test
	@touch $@

.venv/.lint: .venv/.test
	@$(PIP) install --group lint
	@touch $@

.venv/.mutation: .venv/.test
	@$(PIP) install --group mutation
	@touch $@
