# Two commands do everything on a fresh machine with Python 3.11+ and make: `make demo` and `make test`.

PYTHON ?= python3
UV_VERSION := 0.13.8
BIN := .venv/bin
READY := .venv/.ready
XDIST := -n auto --dist loadfile --no-loadscope-reorder
export DO_NOT_TRACK := 1

.PHONY: help demo test test-times test-serving screenshots FORCE docs lint lock benchmark benchmark-gate benchmark-labels \
    benchmark-prefect benchmark-saliency clean

help:                 ## these lines
	@grep -hE "^[a-z.-]+:.*##" $(MAKEFILE_LIST) | sed -E "s/:[^#]*##/\t/" | expand -t 22

demo: $(READY)        ## draw a small set, run every stage on it, say where the report is
	$(BIN)/tag2mask demo

test: $(READY)        ## the whole test suite, in a process for each of up to four cores
	$(BIN)/python -m pytest -q $(XDIST)

test-times: $(READY)  ## the same, and the seconds that each file took
	$(BIN)/python -m pytest -q $(XDIST) --file-times

test-serving: $(READY) ## minutes: killed and missed runs, the UI in a browser, PostgreSQL
	$(BIN)/python -m pytest -q -m serving

screenshots: $(READY) ## the README's pictures of the UI, anew (needs chromium)
	TAG2MASK_SCREENSHOTS=docs $(BIN)/python -m pytest -q -m serving tests/flows/serving/test_browser.py

prefect.yaml: $(READY) FORCE ## the demo's deployments for a work pool, anew: after settings or stages changed
	@mkdir -p build
	{ sed -n '1,/^$$/p' prefect.yaml; $(BIN)/tag2mask prefect-yaml configs/demo.yaml --cron "0 2 * * *" \
	    --set dataset.root=artifacts/.demo-data --set saliency_set.root=artifacts/.demo-data/saliency; } > build/$@
	mv build/$@ $@

lint: $(READY)        ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check --quiet .
	$(BIN)/mypy

docs: $(READY)        ## the table of stages and the diagram in the documents, anew
	$(BIN)/python docs/refresh.py

benchmark: $(READY)   ## hours on real images: the segmenter trained on the masks, to compare with
	$(BIN)/python -m pytest -q -s -m benchmark --timeout=0 tests/benchmarks/test_trained_on_masks.py

benchmark-saliency: $(READY) ## hours on real images: all saliency systems beside each other, as a table
	$(BIN)/python -m pytest -q -s -m benchmark --timeout=0 tests/benchmarks/test_saliency_systems.py

benchmark-labels: $(READY) ## an hour more: what each saliency system does to the labels, as a table
	$(BIN)/python -m pytest -q -s -m benchmark --timeout=0 tests/benchmarks/test_saliency_in_labels.py

benchmark-gate: $(READY) ## minutes on a finished voc-mini run: what the gate's signals are worth, as a table
	$(BIN)/python -m pytest -q -s -m benchmark --timeout=0 tests/benchmarks/test_gate_signals.py

benchmark-prefect: $(READY) ## half an hour: what Prefect adds to the demo from scratch and to a cached run, as a table
	$(BIN)/python -m pytest -q -s -m benchmark --timeout=0 tests/benchmarks/test_prefect_overhead.py

lock:                 ## resolve the dependencies anew into requirements.lock
	$(BIN)/uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --no-header --no-annotate \
	    --upgrade --quiet --output-file requirements.lock

clean:                ## the environment and what the tools left; artifacts stay
	rm -rf .venv build *.egg-info .mypy_cache .pytest_cache .ruff_cache

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "tag2mask needs Python 3.11 or newer; set PYTHON=/path/to/it" >&2; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet uv==$(UV_VERSION)
	$(BIN)/uv pip install --python $(BIN)/python --quiet --compile-bytecode --requirement requirements.lock
	$(BIN)/uv pip install --python $(BIN)/python --quiet --no-deps --editable .
	mkdir -p build/types && ln -sfn "$(CURDIR)" build/types/tag2mask
	touch $(READY)
