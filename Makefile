# `make run` and `make test` do all of the set-up. PYTHON chooses the interpreter for .venv.
SHELL := /bin/sh
.DEFAULT_GOAL := help

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
REQUIREMENTS := requirements.txt requirements-dev.txt constraints.txt
# Libraries of which the tests of the gateway are clients, and Node, which builds the SDK for it.
CLIENTS := $(VENV)/.clients
CLIENT_PINS := $(wildcard tests/gateway/clients/python/*.txt) \
               $(addprefix tests/gateway/clients/node/,requirements.txt package-lock.json) \
               sdks/javascript/package-lock.json
PACKAGES := accounts assistants bench config conversations core gateway knowledge providers \
            realtime tests tooling
# Settings under which the product faces the internet; the keys are only checked, never used.
PRODUCTION := DEBUG=false HTTPS=true ALLOWED_HOSTS=example.org \
              SECRET_KEY=only-for-the-check-0123456789-abcdefghijklmnopqrstuvwxyz-ABCDEFGH \
              FIELD_KEYS=QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE=
TESTS ?=
PYTEST_OPTIONS ?= -n 2 --dist loadfile
# What to measure: voice, turn, chat, tasks, history, retrieval, ingest, relevance, wire or gateway.
BENCH ?= voice
BENCH_OPTIONS ?=

.PHONY: help setup run test check bench bench-peers sdks FORCE

help: ## Say what can be made.
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 13

setup: $(STAMP) $(CLIENTS) ## Make .venv and install the dependencies.

run: $(STAMP) ## Start the whole product (DATA_DIR, PORTS, HOST and more: README).
	@exec $(BIN)/python manage.py up

test: $(STAMP) $(CLIENTS) ## Run the tests (TESTS=tests/core for some of them).
	$(BIN)/python -m pytest $(PYTEST_OPTIONS) $(TESTS)

check: $(STAMP) ## Check style, types, floors, migrations, production settings and the API schema.
	$(BIN)/ruff check . sdks/python
	$(BIN)/ruff format --check . sdks/python
	$(BIN)/lint-imports
	$(BIN)/python -W ignore manage.py makemigrations --check --dry-run
	$(PRODUCTION) $(BIN)/python manage.py check --deploy --fail-level WARNING
	@mkdir -p build
	$(BIN)/python manage.py spectacular --validate --fail-on-warn --file build/schema.yml
	$(BIN)/mypy $(PACKAGES)
	cd sdks/python && ../../$(BIN)/mypy

bench: $(STAMP) ## Measure on this machine (BENCH=voice, turn, chat, tasks, history, retrieval, ingest, relevance, wire or gateway).
	$(BIN)/python -m $(if $(filter history retrieval relevance,$(BENCH)),bench.with_database) bench.$(BENCH) $(BENCH_OPTIONS)

bench-peers: $(STAMP) ## Install other gateways into build/peers, for BENCH=gateway to compare with.
	@sh scripts/bench_peers.sh build/peers $(BIN)/python

sdks: $(STAMP) $(CLIENTS) ## Build the SDKs' packages into build/sdks: a wheel and an npm tarball.
	@VENV="$(VENV)" sh scripts/build_sdks.sh build/sdks

# A named interpreter may differ from the one in .venv; the script looks.
$(STAMP): $(REQUIREMENTS) scripts/set_up.sh $(if $(PYTHON),FORCE)
	@PYTHON="$(PYTHON)" VENV="$(VENV)" sh scripts/set_up.sh
	@touch $@

$(CLIENTS): $(CLIENT_PINS) scripts/set_up_clients.sh | $(STAMP)
	@VENV="$(VENV)" sh scripts/set_up_clients.sh
	@touch $@
