# Two commands do the whole set-up: `make sweep` and `make test`. The README has the commands for plain pip.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
ARGS ?= +sweep=bgem3
TEST_ARGS ?=
# Bytecode is written: tests start processes that import all of embsweep, and pytest rewrites its 400 files.
PYTEST := PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(BIN)/python -m pytest
IN_TWO := -n 2 --max-worker-restart 0 --dist loadfile --no-loadscope-reorder

.PHONY: install sweep test test-fast test-nightly test-gpu coverage bench bench-full chaos lint audit format clean

install: $(VENV)/.installed

# constraints.txt holds the tested versions. torch comes first: it is the largest, and pip takes the build that
# suits the machine.
$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -c constraints.txt torch
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[embedded,cluster,dev,browser]"
	touch $@

sweep: install
	$(BIN)/python run_sweep.py $(ARGS)

# Everything except `gpu` and `nightly`, in two processes and in random order (the seed is printed;
# TEST_ARGS="--randomly-seed=N" repeats it). The tests of a file run in one process and share their expensive fixtures.
# Browser tests are skipped if there is no Chromium.
test: install
	$(PYTEST) -m "not gpu and not nightly" $(IN_TWO) $(TEST_ARGS)

test-fast: install
	$(PYTEST) $(IN_TWO) $(TEST_ARGS)

# Tests that take too long for every change: random kills, simulations, and tests of code that will be removed.
test-nightly: install
	$(PYTEST) -m "nightly and not gpu" $(IN_TWO) --timeout 1200 $(TEST_ARGS)

# The eleven steps of `embsweep doctor --all`, one after the other on this machine's GPUs (docs/hardware.md).
test-gpu: install
	$(PYTEST) -m gpu -s -n 0 -p no:randomly $(TEST_ARGS) tests/gpu

# Separate from `test`: measuring coverage slows down every Python process.
coverage: install
	$(PYTEST) -m "not gpu and not nightly" $(IN_TWO) --cov --cov-report=term-missing:skip-covered --cov-fail-under=90 $(TEST_ARGS)

# Ratios against other code, side by side: benchmarks/results.json and the table of docs/performance.md.
bench bench-full: install
	$(BIN)/python benchmarks/bench.py $(if $(filter bench-full,$@),--full --resume) $(BENCH_ARGS)

# Random faults in a scripted sweep of 30 trials; SEED=7 repeats a run (docs/faults.md).
chaos: install
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.chaos.chaos $(if $(SEED),--seed $(SEED))

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Known vulnerabilities of the pinned versions, if PyPI can be reached, and secrets in the tracked files.
audit: install
	BIN=$(BIN) .ci/audit

format: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage*
