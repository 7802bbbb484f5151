# Two commands: `make demo` sets up and runs the main job, `make test` sets up and passes the tests.
# Needs Debian or Ubuntu with Python 3.11+, venv, git and make; a C compiler, prometheus, chromium,
# poppler-utils, node_exporter, Slurm (slurm-wlm slurmdbd mariadb-server munge) and slapd are used where present.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
TRACE  ?=
ONCE   ?=

.PHONY: demo test check assets dist soak fuzz docs clean
.DEFAULT_GOAL := test

$(READY): pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing ullage with its extras into $(VENV) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@

assets: $(READY)
	@$(BIN)/python assets/build.py

demo: assets
	@$(BIN)/python -m demo $(if $(TRACE),--trace $(TRACE)) $(if $(ONCE),--once)

test: assets
	@$(BIN)/python -m pytest -q -n 2 --dist loadfile -m "not soak"

# What takes long: kill loops, an hour of ticks.
soak: assets
	@$(BIN)/python -m pytest -q -m soak --timeout 3600

# Damaged texts to everything that reads what others wrote; SEED=0 takes one from the clock.
SECONDS ?= 600
SEED    ?= 0
fuzz: $(READY)
	@$(BIN)/python tests/fuzz/fuzz_readers.py --seconds $(SECONDS) --seed $(SEED)

check: $(READY)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/python -m pytest -q tests/test_arrows.py tests/test_interfaces.py

docs: $(READY)
	@$(BIN)/python docs/generate_metrics.py
	@$(BIN)/python docs/generate_makers.py
	@$(BIN)/python docs/generate_sharing_systems.py
	@$(BIN)/python dashboards/generate.py

dist: assets
	@rm -rf dist
	@$(BIN)/python -m build --no-isolation --outdir dist
	@$(BIN)/python assets/check_wheel.py dist/*.whl

clean:
	rm -rf dist build .demo .pytest_cache .mypy_cache .ruff_cache
