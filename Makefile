# `make run` and `make test` set up everything they need in .venv, on a machine with Python 3.11+, Node 20+ and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
EMULATORS := $(VENV)/.emulators

.PHONY: run dev test soak bench emulators lint format expectations fuzz clean

run: $(READY)
	@$(BIN)/python -m ikestream diagnose ikestream/data/samples

# The app and everything around it on this machine, with a sample stream; Ctrl-C ends it.
dev: $(EMULATORS)
	@$(BIN)/python -m tests.emulators.dev

test: $(EMULATORS) lint
	$(BIN)/python -m pytest --numprocesses auto

# The simulation of tests/test_monitor.py over many more seeds than `make test` takes; SEEDS=first:last.
SEEDS ?= 0:10000

soak: $(READY)
	$(BIN)/python -m tests.simulation $(SEEDS)
	$(BIN)/python -m tests.simulation $(SEEDS) configured

# What each step costs beside decoding the JSON alone; BENCH="--grow 5000000" for the whole growth.
bench: $(READY)
	@$(BIN)/python -m tests.bench $(BENCH)

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# Writes what the program now says beside every case, for review with `git diff`; never run it to make a test pass.
expectations: $(READY)
	$(BIN)/python -m tests.expectations

# Seconds of fuzzing; atheris is not among the development packages because it has no wheel for every Python.
FUZZ_SECONDS ?= 600

fuzz: $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check atheris
	$(BIN)/python -m tests.fuzz_grammar $(FUZZ_SECONDS)

$(READY): pyproject.toml requirements.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "ikestream needs Python 3.11 or later; set PYTHON=")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt -e '.[dev]'
	@touch $(READY)

# What only the tests need. Microsoft's worker library wants Python 3.13, but runs on 3.11. Proton is built from source,
# which takes a C compiler and half a minute; without it the tests against a local hub are skipped, and say so. So are
# those against a storage account without Azurite, which needs Node; newer versions of it want a newer Node than 20.
# Those of infra/ use Microsoft's KQL binder (Node), DuckDB to execute queries, and checkov, a quarter of a gigabyte in a folder of its
# own, because it pins what the app does not; each is skipped without its tool, and says so. The report is looked at with
# playwright-core and axe-core in /usr/bin/chromium, which the system brings (apt-get install chromium), or it is not, and says so.
emulators: $(EMULATORS)

$(EMULATORS): $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check azurefunctions-extensions-base grpcio-tools
	-$(BIN)/python -m pip install --quiet --disable-pip-version-check python-qpid-proton
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --ignore-requires-python --no-deps azure-functions-runtime==1.3.0
	-npm install --prefix $(VENV)/node --no-audit --no-fund --loglevel=error azurite@3.35.0 @kusto/language-service-next@12.4.1 playwright-core@1.65.1 axe-core@4.14.1
	$(BIN)/python -m pip install --quiet --disable-pip-version-check duckdb duckdb-kql
	-$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-warn-conflicts --target $(VENV)/checkov --upgrade checkov==3.3.30
	@touch $(EMULATORS)

clean:
	rm -rf $(VENV) build *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
