# Everything runs in .venv, which each target makes and keeps up to date by itself.
#   make demo [ARGS='-c "SELECT …"']   three PostgreSQL nodes and the proxy on 127.0.0.1:6432
#   make test [ARGS='tests/wire -x']   all tests
#   make test-clients                  drivers of other languages: Node, Go, Java, Rust
#   make test-page                     the live page in headless Chromium
#   make test-system                   nodes with TLS, the system's psql: needs a PostgreSQL server of the system
#   make check                         ruff, mypy --strict, the layer test
#   make bench [ARGS=…]                against direct connections and PgBouncer
#   make hostile                       thousands of hostile clients, and what another client notices
#   make fuzz [FUZZ_SECONDS=60] [FUZZ_SEED=0]  coverage-guided fuzzing of the wire codec, sessions and node connections;
#                                      seed 0 is another one each time
#   make loadtest USERS=100 SPAWN=20 TIME=60s
#   make consistency TRIALS=1000       how long until a write is seen
#   make recovery USERS=100            a node is killed under load and comes back
#   make soak MINUTES=10               everything at once, with random faults: memory must stay flat

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
USERS ?= 100
SPAWN ?= 20
TIME ?= 60s
TRIALS ?= 1000
MINUTES ?= 10
FUZZ_SECONDS ?= 60
FUZZ_SEED ?= 0
ARGS ?=

.PHONY: demo test test-clients test-system test-page check bench hostile fuzz loadtest consistency recovery soak clean
.DELETE_ON_ERROR:

demo: $(VENV)/demo.stamp
	@$(BIN)/pgproxy demo $(ARGS)

test: $(VENV)/dev.stamp
	$(BIN)/python -m pytest $(ARGS)

test-clients: $(VENV)/dev.stamp
	$(BIN)/python -m pytest -m other_clients tests/clients/other $(ARGS)

test-page: $(VENV)/dev.stamp
	$(BIN)/python -m pytest -m browser tests/http/test_page.py $(ARGS)

test-system: $(VENV)/dev.stamp
	$(BIN)/python -m pytest -m system_postgres $(ARGS)

check: $(VENV)/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/test_layers.py

bench: $(VENV)/dev.stamp
	$(BIN)/python -m loadtest.bench $(ARGS)

hostile: $(VENV)/dev.stamp
	$(BIN)/python -m loadtest.hostile $(ARGS)

fuzz: $(VENV)/fuzz.stamp
	@for target in decoders client node; do \
		mkdir -p .fuzz/$$target && \
		$(BIN)/python -m tests.hostile.fuzz $$target -max_total_time=$(FUZZ_SECONDS) -seed=$(FUZZ_SEED) -max_len=400 -print_final_stats=1 \
			-artifact_prefix=.fuzz/$$target- .fuzz/$$target || exit 1; \
	done

loadtest: $(VENV)/dev.stamp
	$(BIN)/python -m loadtest.run --users $(USERS) --spawn $(SPAWN) --time $(TIME) $(ARGS)

consistency: $(VENV)/dev.stamp
	$(BIN)/python -m loadtest.consistency --trials $(TRIALS) $(ARGS)

recovery: $(VENV)/dev.stamp
	$(BIN)/python -m loadtest.recovery --users $(USERS) $(ARGS)

soak: $(VENV)/dev.stamp
	$(BIN)/python -m loadtest.soak --minutes $(MINUTES) $(ARGS)

clean:
	rm -rf $(VENV) build .pytest_cache .mypy_cache .ruff_cache .hypothesis .fuzz dist loadtest/reports
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "pgproxy needs Python 3.11 or newer; say which: make PYTHON=python3.12 …" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }

$(VENV)/%.stamp: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --retries 10 --timeout 60 --constraint constraints.txt --editable '.[$*]'
	@touch $@
