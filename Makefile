# Two commands for a fresh machine: `make demo` and `make test`. Everything goes into .venv here.
PYTHON ?= python3
PORT ?= 8080
MINUTES ?= 10
SECONDS ?= 60
# Test files that run at the same time.
JOBS ?= 2
# Where pip takes torch from; empty: the default index. PyTorch's own CPU index spares gigabytes of CUDA.
TORCH_INDEX ?=
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PYTEST := $(BIN)/python -m pytest -n $(JOBS) --dist loadfile
FUZZ := .venv-fuzz
MUTANTS := .venv-mutants
# Tests that play faults, platforms and examples, or compile models: long, and so a target of their own.
LONG := tests/corpus tests/platforms tests/examples tests/export tests/test_export.py $(addprefix tests/tune/,test_search.py test_trial_server.py) \
	tests/engine/test_queue_machine.py tests/pool/test_pool_machine.py \
	$(addprefix tests/server/,test_contract.py test_pod.py test_pt2.py test_hostile_clients.py test_grpc_hostile_clients.py \
	test_odd_clients.py test_recycling.py test_drain.py test_image_bombs.py test_dossiers.py \
	test_signed_models.py test_crash_kinds.py test_crashes.py test_leaving.py test_worker_end.py \
	test_log_lines.py test_mapped_weights.py test_odd_handlers.py test_requirements.py test_sandbox.py test_sharing.py test_shared_weights.py test_short_way.py test_execution_variants.py)
# Tests of the core modules that `make mutants` looks at.
CORE := $(addprefix tests/,http/test_grammar.py http/test_corpus.py archive/test_unpack.py corpus/archives keys pool/test_life.py \
	engine/test_queue.py engine/test_queue_machine.py engine/test_retry.py engine/test_dispatch.py \
	engine/test_dispatch_machine.py)

.PHONY: help demo serve test test-clients test-long chaos fuzz mutants check bench clean

help:
	@echo "make demo   set up, then archive, serve, predict and explain MNIST"
	@echo "make serve  the same, and leave the server running"
	@echo "make test   set up and run the tests"
	@echo "make test-clients  the tests with other projects' clients, installed for them"
	@echo "make test-long  the tests that play faults, platforms and examples, or compile models"
	@echo "make chaos  faults at random under load for MINUTES=$(MINUTES) minutes, with figures"
	@echo "make fuzz   inputs that nobody would think of, SECONDS=$(SECONDS) for each of TARGETS (all of them)"
	@echo "make mutants  whether the tests of some core modules notice small changes of them, and their branches"
	@echo "make check  ruff and mypy"
	@echo "make bench  measure against the real TorchServe (needs Java 17 and wrk)"
	@echo "variables: PYTHON=$(PYTHON) PORT=$(PORT) JOBS=$(JOBS) TORCH_INDEX=$(TORCH_INDEX)"

$(STAMP): pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || { echo "missing: Python >= 3.11 (set PYTHON=...)"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "missing: Python >= 3.11, $(PYTHON) is older (set PYTHON=...)"; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "missing: Python's venv module (Debian: apt-get install python3-venv)"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV) (a few minutes the first time)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX) -c constraints.txt torch,--upgrade pip)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]' || { echo "pip could not install; if it tried to build a package from source, a C compiler is missing (Debian: apt-get install build-essential)"; exit 1; }
	@touch $@

demo: $(STAMP)
	@$(BIN)/python scripts/demo.py --port $(PORT)

serve: $(STAMP)
	@$(BIN)/python scripts/demo.py --port $(PORT) --keep

test: $(STAMP)
	$(PYTEST) $(addprefix --ignore=,tests/clients tests/chaos $(LONG))

test-clients: $(STAMP)
	$(BIN)/python -m pytest tests/clients

# What is measured of faults under load is measured alone.
test-long: $(STAMP)
	$(PYTEST) $(LONG)
	$(BIN)/python -m pytest tests/chaos

chaos: $(STAMP)
	CHAOS_SECONDS=$$(($(MINUTES) * 60)) $(BIN)/python -m pytest tests/chaos -s

$(FUZZ)/.installed: fuzz/requirements.txt pyproject.toml constraints.txt $(STAMP)
	@test -x $(FUZZ)/bin/python || $(PYTHON) -m venv $(FUZZ)
	@$(FUZZ)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -r fuzz/requirements.txt -e . || { echo "atheris has wheels for Linux on x86-64 and Python 3.11 to 3.13"; exit 1; }
	@touch $@

fuzz: $(FUZZ)/.installed
	$(FUZZ)/bin/python fuzz/run.py --seconds $(SECONDS) $(TARGETS)

$(MUTANTS)/.installed: fuzz/mutants.txt pyproject.toml constraints.txt $(STAMP)
	@test -x $(MUTANTS)/bin/python || $(PYTHON) -m venv $(MUTANTS)
	@$(MUTANTS)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -r fuzz/mutants.txt -e .
	@touch $@

# What is mutated, by which tests, stands in pyproject.toml.
mutants: $(MUTANTS)/.installed
	$(MUTANTS)/bin/python -m coverage run -m pytest -q -k "not a_server_refuses" $(CORE)
	$(MUTANTS)/bin/python -m coverage report
	$(MUTANTS)/bin/python -m mutmut run --max-children 2
	$(MUTANTS)/bin/python -m mutmut results

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(STAMP)
	$(BIN)/python bench/run.py
	$(BIN)/python bench/protocols.py

clean:
	rm -rf $(VENV) $(FUZZ) $(MUTANTS) mutants .coverage .venv-bench .venv-tools .cache/fuzz demo-output .mypy_cache .ruff_cache .pytest_cache .hypothesis
