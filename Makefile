# Everything sets itself up on a machine with make, Python 3.11 or newer and a package index.
# `make` alone lists the targets.

VENV := .venv
PEERS := .venv-peers
BIN := $(VENV)/bin
READY := $(VENV)/.ready
ALL_READY := $(VENV)/.ready-all
# Tests wait for servers, leases and processes now and then; those of the patterns do little else.
CORES := $(shell getconf _NPROCESSORS_ONLN)
WORKERS ?= $(shell echo $$(($(CORES) * 3 / 2)))
PYTEST := $(BIN)/pytest --maxschedchunk 4 --numprocesses $(WORKERS)
PATTERNS := $(BIN)/pytest --maxschedchunk 1 --numprocesses $(shell echo $$(($(CORES) * 2))) tests/patterns

.DEFAULT_GOAL := help
.PHONY: help setup setup-all demo test test-patterns example test-pg15 test-pgmq check package audit format bench bench-peers bench-million bench-scaling chaos soak soak-chaos mutants docs diagrams lock clean

help: ## list the targets
	@sed -n 's/^\([a-z0-9-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 15

setup: $(READY) ## make the virtual environment

setup-all: $(ALL_READY) ## the same, with what the patterns and the documentation need

$(READY): pyproject.toml requirements-dev.lock
	@sh tools/setup.sh $(VENV)
	@touch $@

$(ALL_READY): $(READY) requirements-patterns.lock
	@sh tools/setup.sh $(VENV) requirements-patterns.lock
	@sh tools/system-packages.sh
	@touch $@

demo: $(READY) ## run the seed's email campaign on an embedded PostgreSQL
	@$(BIN)/pgflow demo

test: $(ALL_READY) ## all tests, on an embedded PostgreSQL 18: the patterns of examples/, then the rest
	$(PATTERNS)
	$(PYTEST) --ignore tests/patterns

test-patterns: $(ALL_READY) ## the patterns of examples/ only
	$(PATTERNS)

example: $(ALL_READY) ## run a pattern: make example NAME=etl
	$(BIN)/python -m examples.$(NAME)

test-pg15: $(READY) ## the SQL's tests on Debian's PostgreSQL 15 with the oldest pgmq
	sh tools/with-pgmq.sh 1.1.3 sh tools/with-postgres.sh 15 $(PYTEST) --numprocesses $(CORES) tests/sql tests/schema

test-pgmq: $(READY) ## the SQL, the races and the faults on the oldest pgmq that a package index has as SQL
	sh tools/with-pgmq.sh 1.1.3 $(PYTEST) tests/sql tests/races tests/faults

soak: $(READY) ## 10,000 schedules, all races at all locks, a long hunt; writes docs/reliability.md (about an hour)
	PGFLOW_TEST_SCHEDULES=10000 $(PYTEST) --timeout 3600 tests/model
	PGFLOW_TEST_ALL_LOCKS=1 $(PYTEST) tests/races/test_matrix.py
	$(MAKE) soak-chaos

soak-chaos: $(READY) ## 1,000 killed workers, 200 crashes of the database, 1,000 commits in doubt (about 25 min)
	$(BIN)/python -m tests.chaos --seed $(SEED) --kills 1000 --crashes 200 --doubts 1000 --write docs/reliability.md

mutants: $(READY) ## plant faults in the SQL, show which test notices; writes docs/mutants.md (about 20 min)
	$(BIN)/python -m tools.mutants --write

check: $(ALL_READY) ## format, lint, types, layers, SQL, security
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/pyright
	$(BIN)/lint-imports --no-cache
	$(BIN)/bandit --quiet --recursive --configfile pyproject.toml src
	$(BIN)/ast-grep scan --config tools/ast-grep/sgconfig.yml src
	$(BIN)/sqlfluff lint --disable-progress-bar --processes 0 src/pgflow/sql

package: $(READY) ## build wheel and sdist, install them with each Python that is here, run a flow with each
	$(BIN)/python -m tools.package

audit: $(READY) ## look for known vulnerabilities of the locked packages (needs a vulnerability service)
	$(BIN)/python tools/audit.py requirements-dev.lock

format: $(READY) ## put Python and SQL in form
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	$(BIN)/sqlfluff fix --disable-progress-bar --processes 0 --quiet src/pgflow/sql

bench: $(READY) ## measure pgflow and its limits; writes docs/benchmarks.md (under 3 min)
	$(BIN)/python -m benchmarks --write

bench-peers: $(READY) ## measure pgflow and its peers in turns; writes docs/benchmarks.md (about 25 min)
	@sh tools/setup-peers.sh $(PEERS)
	$(BIN)/python -m benchmarks --peers --write

bench-million: $(READY) ## a map of a million items: curve, memory, small runs beside it (about 2 min)
	$(BIN)/python -m benchmarks.million --write

bench-scaling: $(READY) ## 1 to 8 worker processes: throughput, waits, costs (about 4 min)
	$(BIN)/python -m benchmarks.scaling --write

SEED ?= 20
SECONDS ?= 120
chaos: $(READY) ## kill, stop and cut workers, server and network for SECONDS, from SEED; then check that nothing was lost
	$(BIN)/python -m tests.chaos --seed $(SEED) --seconds $(SECONDS)

docs: $(ALL_READY) ## build the documentation in site/, without network; check its links, run its snippets
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict
	$(PYTEST) tests/examples

diagrams: $(ALL_READY) ## draw new diagrams of docs/ (needs npm and Chromium); write the pages that are generated
	$(BIN)/python -m tools.site.pages
	$(BIN)/python -m tools.site.diagrams

PIN := uv pip compile pyproject.toml --extra all --group dev --universal --python-version 3.11 --no-header --no-annotate \
  --no-emit-index-url --no-emit-find-links --output-file

lock: ## pin the newest versions that pyproject.toml allows (needs uv)
	$(PIN) requirements-dev.lock --upgrade
	$(PIN) requirements-patterns.lock --upgrade --group patterns --group docs --constraint requirements-dev.lock

clean: ## remove the environment, caches and the embedded server's data
	rm -rf $(VENV) $(PEERS) .pgflow .hypothesis .mypy_cache .pytest_cache .ruff_cache
