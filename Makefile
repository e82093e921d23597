# Needs Python 3.11 or newer and make; everything else is installed into .venv, and only when the pins have changed.
# Paths are relative on purpose: a checkout whose own path has spaces in it works too.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet
TYPED := app workers alembic tests docs

.PHONY: demo test lint bench docs recording clean

demo: $(READY)
	$(BIN)/tollkeeper demo

# Most tests wait for servers, so two processes of them share two cores well; each has servers of its own.
test: lint .venv/.browser-ready
	$(BIN)/python -m pytest --numprocesses 2 --dist worksteal --durations=10

lint: $(READY)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/python -m mypy $(TYPED)
	$(BIN)/lint-imports

# About five minutes on two cores; a rougher look in about one: make bench BENCH=--quick
bench: .venv/.bench-ready
	$(BIN)/python benchmarks/request_path.py $(BENCH)

# Closing ten thousand customers: a million events in two minutes, or as many as asked for: make scale SCALE="--events 20000000"
scale: $(READY)
	$(BIN)/python benchmarks/close.py $(SCALE)

# The pages of docs/reference, out of the code, on a PostgreSQL that is started for it.
docs: $(READY)
	$(BIN)/python docs/build_reference.py

# The demo as a picture that moves: docs/images/demo.svg
recording: $(READY)
	$(BIN)/python docs/record_demo.py

# The README's pictures of the pages, out of a real browser.
pictures: .venv/.browser-ready
	TOLLKEEPER_PICTURES=docs/images $(BIN)/python -m pytest tests/browser/test_pictures.py

clean:
	rm -rf .venv build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache

# The build backend is among the pins, so that the package itself is built without downloading a second copy of it.
$(READY): requirements.txt pyproject.toml
	@echo "Installing the pinned requirements into .venv (this once; about a minute)"
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Python 3.11 or newer is needed; name one with: make PYTHON=/path/to/python3")'
	$(PYTHON) -m venv .venv
	$(PIP) --requirement requirements.txt
	$(PIP) --no-deps --no-build-isolation --editable .
	@touch $(READY)

.venv/.bench-ready: benchmarks/requirements.txt $(READY)
	$(PIP) --constraint requirements.txt --requirement benchmarks/requirements.txt
	@touch $@

# Chromium, for the tests of the pages: found on the PATH, else installed with apt-get where that is possible.
.venv/.browser-ready: $(READY)
	$(BIN)/python tests/browser/chromium.py
	@touch $@
