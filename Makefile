# `make help` lists the targets; every target first builds .venv when it is missing or out of date.
PYTHON  ?= python3
VENV    ?= .venv
PROFILE ?= nano
ARGS    ?=

PYVER       := $(shell $(PYTHON) -c 'import sys; print("py%d%d" % sys.version_info[:2])')
CONSTRAINTS := $(wildcard constraints/$(PYVER).txt)
OLDEST      := $(wildcard constraints/oldest-$(PYVER).txt)
ARMS        := $(subst _,-,$(basename $(notdir $(wildcard ablations/*.yaml))))
STUDIES     := $(subst _,-,$(filter-out %claims tuning,$(basename $(notdir $(wildcard ablations/studies/*.yaml)))))
BIN         := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help install test test-slow test-fuzz test-extras test-oldest format tuning

help: ## list targets and arms
	@grep -hE '^[a-z%-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14
	@echo "arms (PROFILE=$(PROFILE)):"
	@for arm in $(ARMS); do echo "  make ablation-$$arm"; done
	@echo "studies:"
	@for study in $(STUDIES); do echo "  make study-$$study"; done

$(VENV)/.stamp: pyproject.toml $(CONSTRAINTS)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet $(addprefix -c ,$(CONSTRAINTS)) -e '.[dev]'
	touch $@

install: $(VENV)/.stamp ## create .venv and install unimm, with exact versions where constraints/ has them

# Two workers on two cores: with more threads each they would wait for one another.
test test-slow test-fuzz test-extras test-oldest: export OMP_NUM_THREADS = 1

test: $(VENV)/.stamp ## lint, formatting, types, import contract, tests
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy src/unimm
	$(BIN)/lint-imports
	$(BIN)/pytest -q -n 2 -m "not repeat"

test-slow: $(VENV)/.stamp ## what `make test` does once, at length: all prompts, each file on a full disk, kills at random moments
	$(BIN)/pytest -q -n 2 -m repeat

test-fuzz: $(VENV)/.stamp ## the fuzz of readers and configurations with 1,500 draws each, where `make test` takes 20; counts and times
	UNIMM_FUZZ_EXAMPLES=1500 $(BIN)/pytest -q -n 2 -rP tests/test_fuzz.py

test-extras: ## tests that need optional packages (LoRA, GGUF, shards, SLURM, Ray, PostgreSQL, trackers, other FID libraries), in .venv-extras
	$(PYTHON) -m venv .venv-extras
	.venv-extras/bin/python -m pip install --quiet $(addprefix -c ,$(CONSTRAINTS)) \
		-e '.[dev,lora,gguf,shards,hf,slurm,ray,postgres,tensorboard,trackio,wandb]' optuna-dashboard statsmodels torch-fidelity
	.venv-extras/bin/pytest -q -n 2 -rs -m "not repeat" $$(grep -rl --include='*.py' importorskip tests)

test-oldest: ## the tests with the oldest versions that pyproject allows (constraints/oldest-*.txt), in .venv-oldest
	$(PYTHON) -m venv .venv-oldest
	.venv-oldest/bin/python -m pip install --quiet $(addprefix -c ,$(OLDEST)) -e '.[test]'
	.venv-oldest/bin/pytest -q -n 2 -m "not repeat"

format: $(VENV)/.stamp ## apply the formatter and the safe fixes
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

ablation-%: $(VENV)/.stamp ## train and score one arm, e.g. make ablation-clip-fm PROFILE=nano ARGS="seed=1"
	$(BIN)/unimm run ablations/$(subst -,_,$*).yaml profile=$(PROFILE) \
		--out experiments/runs/$(PROFILE)/$* $(ARGS)

study-%: $(VENV)/.stamp ## run a whole study and report it, e.g. make study-design-choices ARGS="--workers 2"; again: continues
	$(BIN)/unimm study run ablations/studies/$(subst -,_,$*).yaml $(ARGS)
	$(BIN)/unimm study report ablations/studies/$(subst -,_,$*).yaml

tuning: $(VENV)/.stamp ## tune every arm with the same budget, before a study; again: continues
	$(BIN)/unimm study tune ablations/studies/tuning.yaml $(ARGS)
