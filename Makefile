# `make demo` and `make test` are all a newcomer needs: both build the environment first.
PYTHON ?= python3
SETDIR ?=
BENCH_FLAGS ?=
REGRESS_FLAGS ?=

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
DOCS := $(VENV)/.docs

.PHONY: venv demo test lint docs bench regress clean

venv: $(READY)

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test,examples,cluster]'
	touch $@

demo: $(READY)
	$(BIN)/python vnnlib_examples/run.py

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/mypy

# One thread a worker: two workers that each start a thread per core are slower than one.
test: lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --timeout 300

# The pages, in site/: open site/index.html, or see them while they are written: .venv/bin/mkdocs serve
docs: $(DOCS)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

$(DOCS): $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[docs]'
	touch $@

# make bench SETDIR=... [BENCH_FLAGS="--benchmarks acasxu --timeout 60"]
bench: $(READY)
	@test -n "$(SETDIR)" || { echo "usage: make bench SETDIR=folder-of-benchmarks [BENCH_FLAGS=...]"; exit 2; }
	$(BIN)/python benchmarks/vnncomp.py "$(SETDIR)" $(BENCH_FLAGS)

# make regress SETDIR=... [REGRESS_FLAGS="--minutes 30"]: what was solved before must be solved again
regress: $(READY)
	@test -n "$(SETDIR)" || { echo "usage: make regress SETDIR=folder-of-benchmarks [REGRESS_FLAGS=...]"; exit 2; }
	$(BIN)/python benchmarks/regress.py "$(SETDIR)" $(REGRESS_FLAGS)

clean:
	rm -rf $(VENV) build dist site *.egg-info .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
