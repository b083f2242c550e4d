# Two commands do everything on a fresh machine with Python 3.11+ and make: `make demo` and `make test`.
# Each sets the environment up where it is missing or out of date; `PYTHON=python3.13` says with which Python.

PYTHON ?= python3
VENV ?= .venv
UV_VERSION := 0.13.8
BIN := $(VENV)/bin
READY := $(VENV)/.ready
XDIST := -n auto --dist loadfile --no-loadscope-reorder
export DO_NOT_TRACK := 1
version = $(shell $(1) -c 'import sys; print("{}.{}".format(*sys.version_info))' 2>&1)
ifeq ($(origin PYTHON),command line)
OTHER := $(if $(wildcard $(BIN)/python),$(filter-out $(call version,$(BIN)/python),$(call version,$(PYTHON))))
endif

.PHONY: help install demo demo-check test test-times test-breakage test-serving smoke screenshots FORCE docs picture lint lock \
    benchmark benchmark-corrections benchmark-executors benchmark-gate benchmark-labels benchmark-predict benchmark-prefect \
    benchmark-saliency benchmark-stages benchmark-store clean

help:                 ## these lines
	@grep -hE "^[a-z.-]+:.*##" $(MAKEFILE_LIST) | sed -E "s/:[^#]*##/\t/" | expand -t 22

install: $(READY)     ## the environment and the dependencies alone, in .venv; what `make demo` does first

demo: $(READY)        ## draw a small set, run every stage on it, say where the report is
	$(BIN)/tag2mask demo

demo-check: $(READY)  ## the demo as on a plain computer (AVX2, float32), its figures held to tests/demo_figures.yaml
	$(BIN)/python -m pytest -q -s -m demo --timeout=0 tests/test_demo.py

test: $(READY)        ## the tests but those of minutes to hours, in a process for each of up to four cores
	$(BIN)/python -m pytest -q $(XDIST)

test-times: $(READY)  ## the same, and the seconds that each file took
	$(BIN)/python -m pytest -q $(XDIST) --file-times

test-serving: $(READY) ## minutes: killed and missed runs, the UI in a browser, PostgreSQL; mostly waiting, so four at once
	$(BIN)/python -m pytest -q -m serving -n 4 --dist loadgroup --no-loadscope-reorder

test-breakage: $(READY) ## an hour or two: kills, damages, full disks, broken inputs, the same bytes by all executors; a table
	$(BIN)/python -m pytest -q -m "breakage or not breakage" --timeout=0 tests/breakage \
	    tests/flows/serving/test_same_bytes.py

smoke: $(READY)       ## a minute: whether it starts and computes on a Python; .ci/run asks with PYTHON=... VENV=...
	$(BIN)/tag2mask --help >build/help
	$(BIN)/python -c "import tag2mask.flows.deployments, tag2mask.tasks.train_segmenter, tag2mask.tasks.render_report"
	$(BIN)/python -m pytest -q tests/configs tests/tasks/algorithms tests/tasks/test_mine_objects.py \
	    tests/tasks/test_mask_nonsalient.py

screenshots: $(READY) ## the pictures of the UI and of Label Studio, anew (needs chromium, and a finished demo)
	TAG2MASK_SCREENSHOTS=docs $(BIN)/python -m pytest -q -m serving tests/flows/serving/test_browser.py \
	    tests/flows/serving/test_label_studio.py

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

benchmark: $(READY)   ## an hour on real images: the segmenter trained on the masks, three seeds, to compare with
	$(BIN)/python -m pytest -q -s -m benchmark --timeout=0 tests/benchmarks/test_trained_on_masks.py

benchmark-saliency: $(READY) ## hours on real images: all saliency systems beside each other, as a table
	$(BIN)/python -m pytest -q -s -m benchmark --timeout=0 tests/benchmarks/test_saliency_systems.py

benchmark-labels: $(READY) ## hours more: what each saliency system does to the labels, as a table
	$(BIN)/python -m pytest -q -s -m benchmark --timeout=0 tests/benchmarks/test_saliency_in_labels.py

benchmark-gate: $(READY) ## minutes on a finished run of configs/voc-mini.yaml: what the gate's signals are worth, as a table
	$(BIN)/python -m pytest -q -s -m benchmark --timeout=0 tests/benchmarks/test_gate_signals.py

benchmark-corrections: $(READY) ## hours on a finished voc-mini run: what corrected images are worth, as a table
	$(BIN)/python -m pytest -q -s -m benchmark --timeout=0 tests/benchmarks/test_corrections_worth.py

benchmark-prefect: $(READY) ## half an hour: what Prefect adds to the demo from scratch and to a cached run, as a table
	$(BIN)/python -m pytest -q -s -m benchmark --timeout=0 tests/benchmarks/test_prefect_overhead.py

benchmark-predict: $(READY) ## minutes on real images: what `tag2mask predict` adds to the bare network
	$(BIN)/python -m pytest -q -s -m benchmark --timeout=0 tests/benchmarks/test_predict_speed.py

benchmark-stages: $(READY) ## minutes: mining, masking, CRF, CAM and waiting for data beside plain ones, as a table
	$(BIN)/python -m pytest -q -s -m benchmark --timeout=0 tests/benchmarks/test_stage_speed.py

benchmark-executors: $(READY) ## an hour or so: images a second here and by one and two Dask workers, as a table
	$(BIN)/python -m pytest -q -s -m benchmark --timeout=0 tests/benchmarks/test_executor_rates.py

benchmark-store: $(READY) ## an hour: what the store costs at 1,000 to 100,000 tiny images (TAG2MASK_IMAGES), as a table
	$(BIN)/python -m pytest -q -s -m benchmark --timeout=0 tests/benchmarks/test_store_scale.py

picture: $(READY)     ## the README's picture, anew, from the newest run of the demo
	$(BIN)/python docs/demo_picture.py

lock:                 ## resolve the dependencies anew into requirements.lock
	$(BIN)/uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --no-header \
	    --no-annotate --upgrade --quiet --output-file requirements.lock

clean:                ## the environment and what the tools left; artifacts stay
	rm -rf .venv build *.egg-info .mypy_cache .pytest_cache .ruff_cache

$(READY): requirements.lock pyproject.toml $(if $(OTHER),FORCE)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "tag2mask needs Python 3.11 to 3.14; set PYTHON=/path/to/it" >&2; exit 1; }
	test -x $(BIN)/python -a -z "$(OTHER)" || $(PYTHON) -m venv --clear $(VENV)  # OTHER: it has another Python so far
	$(BIN)/python -m pip install --quiet uv==$(UV_VERSION)
	@mkdir -p build/types
	$(BIN)/uv pip install --python $(BIN)/python --quiet --compile-bytecode --only-binary :all: -r requirements.lock || \
	    { echo "where a package has no wheel for $(PYTHON), take Python 3.11 to 3.14: make demo PYTHON=python3.12" >&2; exit 1; }
	$(BIN)/uv pip install --python $(BIN)/python --quiet --no-deps --editable .
	ln -sfn "$(CURDIR)" build/types/tag2mask
	touch $(READY)
