# Two commands on a fresh machine: `make bench` and `make test`.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
CHECKED := harness baselines tests examples docs

.PHONY: bench docs test nightly benchmarks benchmarks-check check format lock clean

bench: $(STAMP)
	$(BIN)/bench run -m model=linear,lightgbm adaptation=rolling_retrain,ddgda

test: $(STAMP) check
	$(BIN)/python -m pytest

nightly: $(STAMP)
	$(BIN)/python -m pytest -m "nightly or not nightly"

# Times are kept under .benchmarks, apart for every machine: a laptop is never held against a server.
TIMED := tests/benchmarks --benchmark-enable --benchmark-only -m "nightly or not nightly" \
         -W default::pytest_benchmark.logger.PytestBenchmarkWarning \
         --benchmark-storage=.benchmarks/$$($(BIN)/python -c "from harness.machine import machine_name as m; print(m())")

benchmarks: $(STAMP)
	$(BIN)/python -m pytest $(TIMED) --benchmark-autosave

benchmarks-check: $(STAMP)
	$(BIN)/python -m pytest $(TIMED) --benchmark-compare --benchmark-compare-fail=median:25%

docs: $(STAMP)
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

check: $(STAMP)
	$(BIN)/ruff check $(CHECKED)
	$(BIN)/ruff format --check $(CHECKED)
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/test_import_floors.py

format: $(STAMP)
	$(BIN)/ruff check --fix $(CHECKED)
	$(BIN)/ruff format $(CHECKED)

# The lock file pins every package for every platform. The libraries that only a CUDA build of torch needs are left
# to torch's own exact pins, so that a CPU build installs none of them.
CUDA_ONLY := cuda-bindings cuda-pathfinder cuda-toolkit triton nvidia-cublas nvidia-cuda-cupti nvidia-cuda-nvrtc \
             nvidia-cuda-runtime nvidia-cudnn-cu13 nvidia-cufft nvidia-cufile nvidia-curand nvidia-cusolver \
             nvidia-cusparse nvidia-cusparselt-cu13 nvidia-nccl-cu13 nvidia-nvjitlink nvidia-nvshmem-cu13 nvidia-nvtx
lock:
	uv pip compile pyproject.toml --all-extras --universal --python-version 3.11 --no-header --no-annotate \
	    $(addprefix --no-emit-package ,$(CUDA_ONLY)) --output-file requirements.lock

$(STAMP): requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, this is " + sys.version.split()[0])'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@

clean:
	rm -rf $(VENV) runs .bench build dist
