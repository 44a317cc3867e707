# Every target does its own set-up: it makes .venv when there is none and installs what it needs, once, until
# pyproject.toml or constraints.txt change.
#
#   make demo PYTHON=python3.12              another interpreter
#   make demo PIP_FLAGS="--extra-index-url URL"
#                                            PyTorch without CUDA (on Linux this saves a few gigabytes); PyTorch's
#                                            installation page names the URL of its CPU builds
#   make test PYTEST_FLAGS="-k balancer -x"  some tests only

# The first Python on the path that is new enough; "python3" if none is, so that the message below can name it.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; exit; }; done; echo python3)
PIP_FLAGS ?=
PYTEST_FLAGS ?=
WORKERS ?= 2

VENV := .venv
BIN := $(VENV)/bin
RUN_READY := $(VENV)/.ready-run
DEV_READY := $(VENV)/.ready-dev
PIP := $(BIN)/python -m pip install --disable-pip-version-check $(PIP_FLAGS) -c constraints.txt

# One thread for each process: the small models of the tests and the demo gain nothing from more, and results do not
# depend on the number of cores.
export OMP_NUM_THREADS := 1

.DEFAULT_GOAL := help
.PHONY: help demo test test-all lint format bench docs clean distclean

help:
	@echo "make demo       train, compare and report on built-in data (CPU, about two minutes after set-up)"
	@echo "make test       tests, docstring examples and the snippets of README and docs, without the slow ones"
	@echo "make test-all   the slow ones too"
	@echo "make lint       ruff and mypy"
	@echo "make format     let ruff rewrite the files, and write down what polytask methods lists"
	@echo "make bench      run the scripts in benchmarks/"
	@echo "make docs       build the documentation into docs/_build/html"
	@echo "make clean      remove what these targets made, except .venv and runs/"
	@echo "make distclean  remove .venv too"

demo: $(RUN_READY)
	$(BIN)/polytask demo

test: $(DEV_READY)
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile -m "not slow" $(PYTEST_FLAGS)

test-all: $(DEV_READY)
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile $(PYTEST_FLAGS)

lint: $(DEV_READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(DEV_READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/python -c "from polytask.cli.catalogue import write; write()"

bench: $(DEV_READY)
	@set -e; for script in benchmarks/*.py; do echo "== $$script"; $(BIN)/python $$script; done

docs: $(DEV_READY)
	$(BIN)/sphinx-build -W --keep-going -q -b html docs docs/_build/html
	@echo "open docs/_build/html/index.html"

clean:
	rm -rf build dist docs/_build docs/generated .pytest_cache .ruff_cache .mypy_cache
	find src tests docs benchmarks examples -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean
	rm -rf $(VENV)

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "polytask needs Python 3.11 or newer; '$(PYTHON)' is: $$($(PYTHON) --version 2>&1 || true)"; \
		echo "Name a newer one: make $(firstword $(MAKECMDGOALS)) PYTHON=python3.12"; exit 2; }
	@echo "Making $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 2; }

# A light install is enough for the demo.
$(RUN_READY): pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing polytask into $(VENV) (PyTorch is large: a few minutes the first time)"
	@$(PIP) -e .
	@touch $@

$(DEV_READY): pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing polytask and the development tools into $(VENV) (a few minutes the first time)"
	@$(PIP) -e ".[dev]"
	@touch $(RUN_READY) $@
