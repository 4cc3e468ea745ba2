# Everything a new machine needs: `make demo` makes clusters, `make test` checks the house.
# Another Python: make PYTHON=/path/to/python3.12 test

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
SMILES ?= CC(=O)Oc1ccccc1C(=O)O
OUT ?= demo

CRYSTALS ?= $(or $(KFLOW_CRYSTALS),../shared/crystals)

.PHONY: help setup demo test lint docs bench clean

help:
	@echo "make demo    set up, make ten clusters of aspirin, say where to look"
	@echo "make test    set up, check style and types, run all tests"
	@echo "make lint    style and types only"
	@echo "make docs    set up, build the pages of docs/ into build/site"
	@echo "make bench   set up, run the benchmarks on CRYSTALS, write their tables"
	@echo "make clean   remove what the other targets made"

# The pinned torch goes first and alone: a later package could otherwise pull in another build of it.
$(READY): pyproject.toml constraints.txt
	@python=""; \
	for name in $(or $(PYTHON),python3.11 python3.12 python3.13 python3.14 python3 python); do \
	  if "$$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	    if "$$name" -c 'import ensurepip, venv' 2>/dev/null; then python="$$name"; break; fi; \
	    half="$$name"; \
	  fi; \
	done; \
	if [ -z "$$python" ] && [ -n "$${half:-}" ]; then \
	  echo "make: $$half has no venv module: install it (Debian, Ubuntu: apt install python3-venv)" >&2; exit 2; \
	elif [ -z "$$python" ]; then \
	  echo "make: no Python 3.11 or newer found: install one, or name it: make PYTHON=/path/to/python3 $(MAKECMDGOALS)" >&2; exit 2; \
	fi; \
	echo "Setting up $(VENV) with $$($$python --version); this takes some minutes the first time."; \
	"$$python" -m venv "$(VENV)"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,bench]'
	@touch $(READY)

setup: $(READY)

demo: $(READY)
	$(BIN)/kflow assemble "$(SMILES)" --samples 10 --seed 0 --out "$(OUT)" --force
	@echo "Look at:"; for file in "$(OUT)"/*; do echo "  $$file"; done

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# There is a test process for every core, so each gets one thread.
test: export OMP_NUM_THREADS ?= 1
test: lint
	$(BIN)/python -m pytest -n auto --dist loadfile

docs: export NO_MKDOCS_2_WARNING = 1
docs: $(READY)
	$(BIN)/mkdocs build --strict --quiet
	@echo "Open build/site/index.html in a browser."

bench: $(READY)
	$(BIN)/python benchmarks/assembly_quality.py --crystals "$(CRYSTALS)/experimental" \
	  --model K-Flow=kflow_sci/weights/assembly.safetensors
	$(BIN)/python benchmarks/assembly_speed.py

clean:
	rm -rf "$(VENV)" "$(OUT)" build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis *.egg-info
