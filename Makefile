# Everything runs in a virtual environment of this folder; nothing outside it is touched.
#
#   make reproduce                                regenerate every study of the cpu profile
#   make reproduce STUDY=01_data_scaling          one study
#   make report                                   ledger, figures and notebooks as static HTML
#   make test                                     install what is missing, run the tests
#
# TORCH_ARGS reaches the installation of torch alone, for example
#   make setup TORCH_ARGS="--extra-index-url https://download.pytorch.org/whl/cpu"     a smaller build without CUDA

PYTHON ?= python3
PROFILE ?= cpu
STUDY ?=
TORCH_ARGS ?=
LOCK_ARGS ?= --extra-index-url https://download.pytorch.org/whl/cpu

TEST_WORKERS ?= 2
BENCH_STUDIES = $(patsubst %,params/cpu/%.yaml,01_data_scaling 02_data_selection 03_robustness 04_lora_vs_full)

BIN := .venv/bin
STAMP := .venv/installed
PIP := $(BIN)/python -m pip --disable-pip-version-check
# No backend of matplotlib is named here: a notebook that draws by hand shows its figures with the one of its kernel.
QUIET := HF_HUB_DISABLE_TELEMETRY=1 TOKENIZERS_PARALLELISM=false
OFFLINE := $(QUIET) HF_HUB_OFFLINE=1

.PHONY: help setup reproduce smoke test lint types docs bench new lab figures report verify lock
.DELETE_ON_ERROR:

help: ## this list
	@grep -E '^[a-z]+:.*## ' $(firstword $(MAKEFILE_LIST)) | sed -E 's/^([a-z]+):.*## /make \1	/' | expand -t 18

setup: $(STAMP) ## install the locked environment into .venv

# The lock comes first, so that installing torch finds its own requirements already there at their pinned versions.
$(STAMP): requirements.lock requirements-torch.txt pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) not found; name a Python 3.11 or newer: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, $(PYTHON) is " + sys.version.split()[0] + "; name another: make PYTHON=python3.12")'
	$(PYTHON) -m venv .venv
	$(PIP) install --quiet --require-hashes --no-deps -r requirements.lock
	$(PIP) install --quiet $(TORCH_ARGS) -r requirements-torch.txt
	$(PIP) install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

reproduce: setup ## regenerate figures, tables and verdicts: PROFILE=cpu STUDY=01_data_scaling
	$(QUIET) $(BIN)/itlib reproduce --profile $(PROFILE) $(STUDY)

smoke: setup ## every study end to end in its smallest form
	$(OFFLINE) $(BIN)/itlib reproduce --profile smoke $(STUDY)

test: setup ## the tests that take seconds, on two cores
	$(OFFLINE) OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -m "not slow" -n $(TEST_WORKERS) --dist worksteal

lint: setup ## ruff, and no output in the notebooks
	$(BIN)/ruff check .
	$(BIN)/nbstripout --keep-id --verify notebooks/*.ipynb

types: setup ## mypy
	$(PIP) install --quiet --editable ".[types]"
	$(BIN)/mypy

docs: setup ## these pages and the reference as HTML in results/docs; a warning is an error
	$(PIP) install --quiet --editable ".[docs]"
	$(BIN)/mkdocs build --quiet --strict

figures: setup ## draw every figure of PROFILE again from stored frames, and a contact sheet at print size
	MPLBACKEND=Agg $(OFFLINE) $(BIN)/itlib figures --profile $(PROFILE) --sheet

report: setup ## the static HTML report of PROFILE: ledger, gallery, executed notebooks
	MPLBACKEND=Agg $(OFFLINE) $(BIN)/itlib report --profile $(PROFILE)

verify: setup ## hashes, verdicts and dates of the reports of PROFILE, and the committed reference
	$(OFFLINE) $(BIN)/itlib verify --profile $(PROFILE)

# Alone on the machine, please. DATA and DATA_MODEL name a file of instructions and a model for the part on real rows.
bench: setup ## ratios to public trainers, harness and loops, and what a user waits for, what costs grow with; JSON in results/bench
	$(OFFLINE) $(BIN)/python benchmarks/fine_tuning.py --repetitions 15 --json results/bench/fine_tuning.json
	$(OFFLINE) $(BIN)/python benchmarks/evaluation.py --json results/bench/evaluation.json
	$(OFFLINE) $(BIN)/python benchmarks/scoring.py --json results/bench/scoring.json
	$(OFFLINE) $(BIN)/python benchmarks/workers.py --repetitions 3 --json results/bench/workers.json
	$(OFFLINE) $(BIN)/python benchmarks/waiting.py --json results/bench/waiting.json
	$(OFFLINE) $(BIN)/python benchmarks/status.py --json results/bench/status.json
	$(OFFLINE) $(BIN)/python benchmarks/cost_model.py --repetitions 3 --json results/bench/cost_model.json --figure results/bench/cost_model.png
	$(OFFLINE) $(BIN)/python benchmarks/where_time_goes.py $(BENCH_STUDIES) --json results/bench/where_time_goes.json
	$(OFFLINE) $(BIN)/python benchmarks/gpu.py --json results/bench/gpu.json
	$(if $(DATA),$(OFFLINE) $(BIN)/python benchmarks/fine_tuning.py --max-length 512 --model $(DATA_MODEL) --data $(DATA) --json results/bench/fine_tuning_rows.json)
	$(if $(DATA),$(OFFLINE) $(BIN)/python benchmarks/scoring.py --max-length 512 --model $(DATA_MODEL) --data $(DATA) --json results/bench/scoring_rows.json)

new: setup ## a new study that runs at once: make new STUDY=05_my_question
	$(BIN)/itlib new $(STUDY)

lab: setup ## JupyterLab on the notebooks
	$(QUIET) $(BIN)/jupyter lab notebooks

# The CPU build of torch stands in while resolving, so that the CUDA libraries of the other build are not locked.
lock: setup ## resolve the locked environment again; add LOCK_ARGS="--upgrade" for newer versions
	sed 's/$$/+cpu/' requirements-torch.txt > .venv/torch-cpu.txt
	CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/pip-compile --quiet --generate-hashes --extra dev --unsafe-package torch \
		--constraint .venv/torch-cpu.txt --strip-extras --no-annotate --no-emit-index-url --no-emit-find-links \
		--no-emit-trusted-host $(LOCK_ARGS) --output-file requirements.lock pyproject.toml
	sed -n -E 's/^([a-z0-9][^ ]*==[^ ]*) .*/\1/p' requirements.lock > requirements-conda.txt
