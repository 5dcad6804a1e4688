# Two commands do everything: `make demo` and `make test`. Each sets up .venv by itself.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=
SEEDS ?= 5
SECONDS ?= 20

.PHONY: help demo test check bench chaos lock clean
.DEFAULT_GOAL := help

help: ## show this help
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 12

demo: $(VENV)/.demo ## mirror a live DynamoDB table into Valkey, here, and prove that both agree
	@$(BIN)/dynamirror demo $(ARGS)

test: check ## run every check and every test
	@$(BIN)/python -m pytest $(ARGS)

check: $(VENV)/.dev ## lint, types and import floors
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache

bench: $(VENV)/.dev ## measure apply against this machine's SET and EVALSHA ceilings
	@$(BIN)/python bench/bench.py $(ARGS)

chaos: $(VENV)/.dev ## break everything under a live writer, SEEDS times for SECONDS each
	@$(BIN)/python chaos/chaos.py --seeds $(SEEDS) --seconds $(SECONDS) $(ARGS)

lock: $(VENV)/.dev ## renew the hash-locked requirements from pyproject.toml
	@$(BIN)/python requirements/lock.py

clean: ## remove what the other targets made
	rm -rf $(VENV) .mypy_cache .ruff_cache .hypothesis build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A stamp per level: the demo needs neither test tools nor CDK. Both live in one .venv.
$(VENV)/.demo: requirements/demo.txt pyproject.toml
	@$(MAKE) --no-print-directory install LOCK=demo
	@touch $@

$(VENV)/.dev: requirements/dev.txt pyproject.toml
	@$(MAKE) --no-print-directory install LOCK=dev
	@touch $@ $(VENV)/.demo

.PHONY: install
install:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "dynamirror needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) -V 2>&1). Name another: make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null \
		|| { echo "$(PYTHON) has no venv module (on Debian: apt-get install python3-venv)." >&2; exit 1; }
	@echo "setting up $(VENV) ($(LOCK))"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/$(LOCK).txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
