# Each target does its own set-up: a virtual environment in .venv, from requirements.lock alone.
# `make demo ARGS="--control"` and `make test ARGS="-k prover"` pass options on; PYTHON=… names the interpreter to use.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup hosts demo test test-faults pictures check up lock

BIN := .venv/bin
SET_UP := .venv/.set-up
PYTHON ?=
ARGS ?=
PORT ?= 4200

export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_NO_INPUT := 1
export DO_NOT_TRACK := 1
export PREFECT_SERVER_ANALYTICS_ENABLED := false

# Prefect reads nothing of the person who runs the tests, and leaves nothing behind.
ISOLATED := home=$$(mktemp -d) && trap 'rm -rf "$$home"' EXIT && trap 'exit 130' INT TERM && \
	env -u PREFECT_API_URL -u PREFECT_API_KEY -u PREFECT_PROFILE PREFECT_HOME="$$home"

# Most of a test's time is waiting for real servers; a file's tests stay together, for they share what they set up.
PARALLEL := --numprocesses=auto --maxprocesses=4 --dist=loadfile --no-loadscope-reorder

help:
	@echo 'make setup         a virtual environment in .venv, every package by its hash'
	@echo "make hosts         Debian's packages for make demo ARGS=--hosts, where each host is a machine; as root"
	@echo 'make demo          a real PostgreSQL fleet on this machine, and a refresh of its chain under load'
	@echo 'make test          unit, integration and end-to-end tests: half an hour on two slow cores'
	@echo 'make test-faults   the whole fault matrix, and the longest end-to-end tests: more than an hour'
	@echo 'make check         format, lint, types, import contract'
	@echo 'make pictures      the pictures of the documentation again'
	@echo 'make up            a Prefect server with its UI, a worker and a fleet to try on, until Ctrl-C'
	@echo 'make bench-NAME    a benchmark: bench-generate, bench-scan, bench-files, bench-prove, bench-rollout'
	@echo 'make lock          requirements.lock again, from pyproject.toml; ARGS=--upgrade for newest versions'

setup: $(SET_UP)

$(SET_UP): requirements.lock pyproject.toml deployments/setup.sh
	@PYTHON='$(PYTHON)' sh deployments/setup.sh
	@touch $@

hosts:
	@sh deployments/hosts.sh

demo: $(SET_UP)
	@$(BIN)/rechain demo $(ARGS)

test: $(SET_UP)
	@$(ISOLATED) $(BIN)/python -m pytest -m 'not faults and not long' $(PARALLEL) $(ARGS)

test-faults: $(SET_UP)
	@$(ISOLATED) $(BIN)/python -m pytest -m 'faults or long' tests/faults tests/e2e $(PARALLEL) $(ARGS)

# What people see, for the documentation: a real refresh, started and answered in a browser.
pictures: $(SET_UP)
	@$(ISOLATED) RECHAIN_PICTURES=docs/pictures $(BIN)/python -m pytest tests/e2e/test_waiting_run.py \
		tests/e2e/test_page_in_a_browser.py $(ARGS)

check: $(SET_UP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

up: $(SET_UP)
	@$(BIN)/python -m deployments.up --port '$(PORT)' $(ARGS)

bench-%: $(SET_UP)
	@$(BIN)/python -m benchmarks.$* $(ARGS)

# uv resolves, for every Python and platform at once, and keeps the versions of the present lock: `make lock
# ARGS=--upgrade` takes the newest. A package locked with an extra stands there without it too: pip 23.0 and 23.2, which
# come with Python 3.11 and 3.12, otherwise look for a newer one and refuse it for lack of a hash.
lock:
	@test -x .venv-lock/bin/uv || { $(or $(PYTHON),python3) -m venv .venv-lock && .venv-lock/bin/pip install -q uv; }
	@cp requirements.lock .venv-lock/requirements.lock
	@.venv-lock/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-strip-extras \
		--no-emit-index-url --no-emit-find-links --custom-compile-command 'make lock' \
		--extra postgres --group dev $(ARGS) pyproject.toml --output-file .venv-lock/requirements.lock
	@awk '/^[a-z0-9]/ { printf "%s", twin; twin = "" } \
		/^[a-z0-9-]+\[/ { twin = $$0 "\n"; sub(/\[[^]]*\]/, "", twin) } \
		twin && /--hash/ { twin = twin $$0 "\n" } \
		{ print } END { printf "%s", twin }' .venv-lock/requirements.lock > requirements.lock
