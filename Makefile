# make demo    install into .venv and run the demo; prints the path of its report last
# make test    install the extras and run everything that has to pass
# make fuzz    read damaged files for SECONDS (600) seconds
# make lint | docs | bench | clean

MAKEFLAGS += --no-print-directory
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
SINGLE := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1

# A name may be on the path and still not run (pyenv's shims), so each is tried; 3.13 before what is newer than CI tests.
USABLE := import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3 python; do \
	if $$p -c '$(USABLE)' >/dev/null 2>&1; then echo $$p; break; fi; done)

.PHONY: demo test lint docs bench fuzz clean chromium
.DELETE_ON_ERROR:
.DEFAULT_GOAL := demo

demo: $(VENV)/.core
	@$(BIN)/isthmus demo

test: $(VENV)/.dev chromium lint
	$(SINGLE) $(BIN)/python -m pytest -q -n 2 --dist worksteal

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(VENV)/.docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo site/index.html

bench: $(VENV)/.dev
	$(BIN)/python benchmarks/imports.py
	$(SINGLE) $(BIN)/python benchmarks/throughput.py

SECONDS ?= 600
fuzz: $(VENV)/.dev
	$(SINGLE) $(BIN)/python tests/fuzz.py $(SECONDS)
	@if $(BIN)/python -c 'import atheris' 2>/dev/null; then \
		$(SINGLE) $(BIN)/python tests/fuzz_guided.py -max_total_time=$(SECONDS) -print_final_stats=1; \
	else echo "atheris is not installed: no fuzzing guided by coverage"; fi

clean:
	rm -rf $(VENV) site dist isthmus-demo .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis

# An environment that is half made, broken or too old is made anew.
$(VENV)/.made:
	@if ! $(BIN)/python -c '$(USABLE); import pip' >/dev/null 2>&1; then \
		if [ -z "$(PYTHON)" ]; then \
			echo "error: no Python >= 3.11 with the venv module found; install one (Debian: apt-get install python3-venv)," >&2; \
			echo "or name it: make $(MAKECMDGOALS) PYTHON=/path/to/python" >&2; exit 1; fi; \
		if ! "$(PYTHON)" -c '$(USABLE)'; then \
			echo "error: $(PYTHON) is not Python >= 3.11 with the venv module" >&2; exit 1; fi; \
		echo "making $(VENV) with $$("$(PYTHON)" --version)"; "$(PYTHON)" -m venv --clear $(VENV); fi
	@touch $@

# The stamps: installed again only when the requirements change. Each set-up includes the one before.
$(VENV)/.core: pyproject.toml constraints.txt | $(VENV)/.made
	@echo "installing isthmus (some minutes the first time)"
	@$(PIP) -e .
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(VENV)/.made
	@echo "installing isthmus with the extras dev and full (some minutes the first time)"
	@$(PIP) -e '.[dev,full]'
	@touch $(VENV)/.core $@

$(VENV)/.docs: $(VENV)/.dev
	@echo "installing the extra docs"
	@$(PIP) -e '.[dev,full,docs]'
	@touch $(VENV)/.core $(VENV)/.dev $@

# The browser with which the tests open a report. Without one those tests skip and say so: never a failure here.
chromium:
	@if command -v chromium >/dev/null 2>&1; then :; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then \
		echo "installing chromium"; \
		export DEBIAN_FRONTEND=noninteractive; \
		{ timeout 120 apt-get update -qq && timeout 400 apt-get install -y -qq --no-install-recommends chromium; } \
			>/dev/null 2>&1 </dev/null || echo "chromium could not be installed; the tests that need it are skipped"; \
	else echo "no chromium here; the tests that need it are skipped"; fi
