# One target for each intention. `make help` lists them; `make serve` is the place to start.

PYTHON ?= $(firstword $(foreach name,python3.11 python3.12 python3.13 python3,$(shell command -v $(name) 2>/dev/null)))
ARGS   ?=
VENV   := .venv
BIN    := $(VENV)/bin
# What is installed is remembered inside the virtual environment, so that the memory goes when the environment goes.
STAMPS := $(VENV)/stamps
PIP    := $(BIN)/python -m pip install --quiet --quiet --disable-pip-version-check --no-compile
# What the service imports is compiled once, here, and not by its first start (or by every one, where nothing may be written).
COMPILE := PYTHONDONTWRITEBYTECODE= $(BIN)/python -c 'import service.process, service.store.redis'
# By a path and not by an import hook: beside a hook, a folder named tapehead where Python was started hides the package.
EDITABLE := --config-settings editable_mode=compat --editable
# The pin stands in pyproject.toml alone; this reads it.
TORCH  := $(shell sed -n 's/^ *"\(torch==[^"]*\)".*/\1/p' pyproject.toml)
PROTOS := $(wildcard proto/tapehead/v1/*.proto)
# Package `inference` is read at run time into a pool of its own: descriptors for Python, types for the checker.
OIP    := service/api/inference

# Tests wait for processes, disks and clocks, and a second worker computes meanwhile; more were not tried. They stand here
# and not in pyproject.toml, so that `python -m pytest tests/one.py` and its debugger are one process.
WORKERS ?= $(shell test "$$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 1)" -ge 2 && echo 2 || echo 1)
# The tests start hundreds of Pythons. Where bytecode is forbidden, each would compile all that it imports again; in the
# environment it is in nobody's way.
test: export PYTHONDONTWRITEBYTECODE :=
test: export PYTHONPYCACHEPREFIX := $(abspath $(VENV))/bytecode

# onnxruntime reports to its vendor unless this is set when it is loaded; the service and training set it themselves too.
export ORT_DISABLE_TELEMETRY := 1

.DEFAULT_GOAL := help
.SUFFIXES:
.NOTPARALLEL:
.PHONY: help serve demo test setup lint format proto breaking bench bench-peers crash tools clean

help: ## List these targets
	@echo "Usage: make TARGET [ARGS='...']"
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1|\2/p' $(firstword $(MAKEFILE_LIST)) | awk -F'|' '{ printf "%-11s %s\n", $$1, $$2 }'

# For users

serve: $(STAMPS)/service ## Install what the service needs and serve the shipped models (ARGS go to `python -m service`)
	@exec $(BIN)/python -m service $(ARGS)

demo: $(STAMPS)/service ## Ask, stream, kill the server in mid-sequence, go on: half a minute, starts its own servers
	@exec $(BIN)/python examples/demo.py $(ARGS)

test: tools $(STAMPS)/test lint ## Install what the tests need and run every check (ARGS go to pytest, WORKERS=N at once)
	@$(call announce,pytest)
	@$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal $(ARGS)
	@printf '\nmake test: all checks and all tests passed.\n'

# For developers

setup: $(STAMPS)/test ## Install everything for development, and the commit hooks where this is a git clone
	@if [ -e .git ]; then $(BIN)/pre-commit install; fi

lint: $(STAMPS)/test ## Check format, rules, types, imports and contracts, without running a test
	@$(call announce,ruff format)
	@$(BIN)/ruff format --check --quiet . || { echo "Run 'make format'."; exit 1; }
	@$(call announce,ruff check)
	@$(BIN)/ruff check --quiet .
	@$(call announce,mypy)
	@$(BIN)/mypy
	@$(call announce,import rules)
	@$(BIN)/lint-imports --no-cache
	@$(call announce,buf lint)
	@$(BIN)/buf lint proto

format: $(STAMPS)/test ## Format the code and mend what can be mended mechanically
	@$(BIN)/ruff check --quiet --fix . ; $(BIN)/ruff format .

proto: $(STAMPS)/test ## Generate tapehead/v1 from the contracts in proto/, and the error page from its table
	@$(BIN)/python -m grpc_tools.protoc -Iproto --python_out=. --pyi_out=. --grpc_python_out=. $(PROTOS)
	@$(BIN)/python -m grpc_tools.protoc -Iproto --include_imports --descriptor_set_out=$(OIP)/descriptors.binpb \
		--pyi_out=service/api $(wildcard proto/inference/*.proto)
	@sed -i 's/^from inference import/from . import/' $(OIP)/*_pb2.pyi
	@$(BIN)/python -m service.api.status > docs/errors.md.new && mv docs/errors.md.new docs/errors.md

breaking: $(STAMPS)/test ## Compare the contracts with those of the branch main: nothing may be renumbered, renamed or retyped
	@$(BIN)/buf breaking proto --against '.git#branch=main,subdir=proto'

bench: $(STAMPS)/test ## Measure streams, chunks, batches, unary calls and model, each beside its floor: one table of ratios
	@$(BIN)/python -m benchmarks $(ARGS)

bench-peers: $(STAMPS)/test ## Measure beside other servers, each in an environment of its own (.venv-peers)
	@$(BIN)/python -m benchmarks.peers

crash: $(STAMPS)/test ## Kill servers at random and at failpoints, and judge what their clients got (ARGS: --setting, --seeds, ...)
	@$(BIN)/python -m tests.campaigns.crash $(ARGS)

clean: ## Remove the virtual environment and every cache; sessions and models stay
	@rm -rf $(VENV) .venv-peers build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage

# What the targets above stand on

define announce
printf '\n== %s\n' '$(1)'
endef

$(STAMPS):
	@test -n "$(PYTHON)" || { echo "make: no python3 found; Tapehead needs Python 3.11 or newer."; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "make: $(PYTHON) is older than Python 3.11; name another with 'make $(MAKECMDGOALS) PYTHON=/path/to/python3.11'."; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || \
		{ rm -rf $(VENV); echo "make: no virtual environment could be made; on Debian: apt-get install -y python3-venv"; exit 1; }
	@mkdir -p $@

$(STAMPS)/service: pyproject.toml | $(STAMPS)
	@echo "Installing the service into $(VENV) (once) ..."
	@$(PIP) $(EDITABLE) '.[service,tools]'
	@$(COMPILE)
	@touch $@

# torch first and by its pin: whatever else is installed then finds it there and looks for no other build of it.
$(STAMPS)/test: pyproject.toml | $(STAMPS)
	@echo "Installing everything that the tests need into $(VENV) (once; PyTorch is large) ..."
	@$(PIP) '$(TORCH)'
	@$(PIP) $(EDITABLE) '.[test]'
	@$(COMPILE)
	@touch $@ $(STAMPS)/service

# Programs that the tests start, each in the Debian package of (nearly) its name. Nothing is skipped for want of them: the
# tests stop here. promtool comes with prometheus.
PROGRAMS := promtool prometheus redis-server haproxy
PACKAGES := prometheus redis-server haproxy

tools: | $(STAMPS)
	@missing=""; for program in $(PROGRAMS); do command -v $$program >/dev/null || missing="$$missing $$program"; done; \
	test -n "$$missing" || exit 0; \
	command -v apt-get >/dev/null || \
		{ echo "make test: not on the PATH:$$missing; install Prometheus, Redis and HAProxy and run 'make test' again."; exit 1; }; \
	if [ "$$(id -u)" = 0 ]; then as_root=""; \
	elif sudo -n true 2>/dev/null; then as_root="sudo -n"; \
	else echo "make test: missing:$$missing, and this user may not install them. Type:"; \
		echo "  sudo apt-get install -y --no-install-recommends $(PACKAGES)"; exit 1; fi; \
	echo "Installing$$missing (Debian's packages) ..."; \
	{ $$as_root apt-get update -q && $$as_root env DEBIAN_FRONTEND=noninteractive \
		apt-get install -q -y --no-install-recommends $(PACKAGES); } >$(STAMPS)/apt.log 2>&1 || \
		{ cat $(STAMPS)/apt.log; exit 1; }
