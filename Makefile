# Each target makes .venv when it is missing; nothing else is installed by hand.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
INSTALLED := .venv/installed

# Compiled modules are kept: otherwise each of the many processes of the tests compiles them anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: install demo test bench matrix papers lint structure format clean

install: $(INSTALLED)

demo: $(INSTALLED)
	$(BIN)/python -m flows demo

# Three processes for two cores: tests of servers wait much of their time, and a fourth only takes turns.
# `make test TEST=--cov` prints the coverage too; `make test TEST=tests/unit/gate` runs a part.
test: $(INSTALLED)
	$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder $(TEST)

# `make bench BENCH=--quick` only sees whether they run.
bench: $(INSTALLED)
	$(BIN)/python -m benchmarks.against_published $(BENCH)
	$(BIN)/python -m benchmarks.against_forward $(BENCH)
	$(BIN)/python -m benchmarks.cost_vs_rows $(BENCH)
	$(BIN)/python -m benchmarks.rerun $(BENCH)
	$(BIN)/python -m benchmarks.memory $(BENCH)
	$(BIN)/python -m benchmarks.verify $(BENCH)
	$(BIN)/python -m benchmarks.signals $(BENCH)
	$(BIN)/python -m benchmarks.safety $(BENCH)

# Goes on where it was broken off; `make matrix MATRIX="--limit 300 --seeds 0"` is a quick look.
matrix: $(INSTALLED)
	$(BIN)/python -m benchmarks.matrix run $(MATRIX)
	$(BIN)/python -m benchmarks.matrix report $(MATRIX)

# The same for the tables of the papers; `make papers PAPERS=--quick` is a quick look.
papers: $(INSTALLED)
	$(BIN)/python -m benchmarks.papers run $(PAPERS)

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/vulture

# The picture of the packages in docs/architecture.md.
structure: $(INSTALLED)
	$(BIN)/python -m tools.structure

format: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14) and "gradgate needs Python 3.11 to 3.13; say make PYTHON=...")'
	test -d .venv || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@

clean:
	rm -rf .venv .gradgate .pytest_cache .mypy_cache .ruff_cache
