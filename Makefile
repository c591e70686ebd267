# Two commands on a fresh machine: `make bench` and `make test`.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
PIP    := $(BIN)/python -m pip install --quiet --disable-pip-version-check
# Processes that run the tests: each takes the next of them when it has none left. 0 runs them all in one.
JOBS   ?= 2
# Each of the hundreds of processes that the tests start would parse every module anew.
unexport PYTHONDONTWRITEBYTECODE
CHECKED := harness baselines tests examples docs

.PHONY: help bench sweep docs test nightly cov house benchmarks benchmarks-check peer peer-bench scale limits check format lock clean

help:  ## print what there is to make
	@grep -hE '^[a-z-]+:.*##' Makefile | sed -E 's/^([a-z-]+):[^#]*## /\1|/' | awk -F'|' '{printf "  make %-18s%s\n", $$1, $$2}'

# Four rows within a minute: conf/experiment/quick.yaml says what its market leaves out; boosting stops after 20 trees,
# in the rows and in DDG-DA's choice of features, instead of 1000 and 100. `make sweep` runs the same rows in full.
bench: $(STAMP)  ## four rows within a minute, on a simulated market
	$(BIN)/bench run -m experiment=quick model=linear,lightgbm model.num_boost_round=20 adaptation=rolling_retrain,ddgda adaptation.choice_gbdt.rounds=20

sweep: $(STAMP)  ## the same rows in full size
	$(BIN)/bench run -m model=linear,lightgbm adaptation=rolling_retrain,ddgda

test: $(STAMP) check  ## what CI runs: check and the tests
	$(BIN)/python -m pytest --numprocesses $(JOBS) --dist worksteal

cov: $(STAMP)  ## the tests with coverage of harness and baselines, subprocesses included
	$(BIN)/python -m pytest --numprocesses $(JOBS) --dist worksteal \
	    --cov --cov-report=term:skip-covered --cov-report=html:build/coverage

house: $(STAMP)  ## the size of the house: entries, floors, files, lines, functions
	@$(BIN)/python -m tests.house

nightly: $(STAMP)  ## the expensive tests too
	$(BIN)/python -m pytest -m "nightly or not nightly"

NAME_IT := import hashlib; from harness.execution.machine import machine as m; \
           print(hashlib.sha256(repr(sorted(m().items())).encode()).hexdigest()[:8])
# Times are kept under .benchmarks, apart for every machine: a laptop is never held against a server.
TIMED := tests/benchmarks --benchmark-enable --benchmark-only -m "nightly or not nightly" \
         -W default::pytest_benchmark.logger.PytestBenchmarkWarning \
         --benchmark-storage=.benchmarks/$$($(BIN)/python -c "$(NAME_IT)")

benchmarks: $(STAMP)  ## measure speed, and keep the times under .benchmarks
	$(BIN)/python -m pytest $(TIMED) --benchmark-autosave

benchmarks-check: $(STAMP)  ## measure speed, fail where it fell by a quarter
	$(BIN)/python -m pytest $(TIMED) --benchmark-compare --benchmark-compare-fail=median:25%

# What the recorded oracle was made with. The peer has an environment of its own: its pins fit into no other.
PEER := torch==2.13.0 pyqlib==0.9.7 mlflow==2.22.5 pandas==2.3.3 lightgbm==4.1.0 ipdb
peer: .peer/.installed  ## install pyqlib into .peer, to measure it beside us
.peer/.installed: Makefile
	$(PYTHON) -m venv .peer
	.peer/bin/python -m pip install --quiet --disable-pip-version-check $(PEER)
	grep -l 'group_keys=False' .peer/lib/python*/site-packages/qlib/contrib/meta/data_selection/dataset.py \
	    | xargs sed -i.asis 's/group_keys=False/group_keys=True/'  # DDG-DA's similarity loses its dates in current pandas
	@touch $@

peer-bench: $(STAMP) .peer/.installed  ## both sides in turn on the CSI 300, into docs/reference/peer.md; an hour
	$(BIN)/python -m tests.benchmarks.peer_bench

scale: $(STAMP)  ## peak memory and seconds as a panel grows, into docs/reference/scale.md; an hour and 15 GB of disk
	$(BIN)/python -m tests.benchmarks.scale_bench --size 1/8 --size 1/4 --size 1/2 --size 1

limits: $(STAMP)  ## where the seconds of the main job go, beside what the machine can do, into docs/reference/limits.md
	$(BIN)/python -m tests.benchmarks.limits

docs: $(STAMP)  ## build the documentation into build/docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

check: $(STAMP)  ## ruff, mypy and the import floors
	$(BIN)/ruff check $(CHECKED)
	$(BIN)/ruff format --check $(CHECKED)
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/test_import_floors.py

format: $(STAMP)  ## put the code into its form
	$(BIN)/ruff check --fix $(CHECKED)
	$(BIN)/ruff format $(CHECKED)

# The lock file pins every package for every platform. The libraries that only a CUDA build of torch needs are left
# to torch's own exact pins, so that a CPU build installs none of them.
CUDA_ONLY := cuda-bindings cuda-pathfinder cuda-toolkit triton nvidia-cublas nvidia-cuda-cupti nvidia-cuda-nvrtc \
             nvidia-cuda-runtime nvidia-cudnn-cu13 nvidia-cufft nvidia-cufile nvidia-curand nvidia-cusolver \
             nvidia-cusparse nvidia-cusparselt-cu13 nvidia-nccl-cu13 nvidia-nvjitlink nvidia-nvshmem-cu13 nvidia-nvtx
lock:  ## resolve requirements.lock anew (needs uv)
	uv pip compile pyproject.toml --all-extras --universal --python-version 3.11 --no-header --no-annotate \
	    $(addprefix --no-emit-package ,$(CUDA_ONLY)) --output-file requirements.lock

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, this is " + sys.version.split()[0])'
	@echo "creating $(VENV)"
	@$(PYTHON) -m venv $(VENV)
	@echo "installing $$(grep -c '==' requirements.lock) packages, about 2 minutes"
	@began=$$(date +%s); \
	$(PIP) -r requirements.lock && $(PIP) --no-deps --no-build-isolation --editable . && \
	echo "done in $$(( $$(date +%s) - began )) s"
	@touch $@

clean:  ## remove the environment, runs, the store and builds
	rm -rf $(VENV) runs .bench build dist
