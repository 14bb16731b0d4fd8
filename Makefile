# What one needs to work on vllmsim; `make` alone lists it.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
ARGS ?=
AUDIT = build/audit

FUZZ_CASES ?= 2000
FUZZ_SEED ?= 2
SOAK_SECONDS ?= 3600
PROPERTY_EXAMPLES ?= 2000
PROPERTY_SEED ?= 1

.PHONY: help run test lint unit integration robust fuzz soak faults properties audit test-oldest clients cluster bench docs sample dashboard tokenizer \
	wheel deb pins clean

help: ## list these targets
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 22

run: $(VENV)/.run ## start the daemon on its defaults, port 8000; ARGS="--port 9000" adds options
	$(BIN)/twistd -n --pidfile= vllmsim --config etc/vllmsim/sim.yaml $(ARGS)

test: lint unit integration robust ## check everything: style, types, layers, tests with coverage, hard times

lint: $(VENV)/.dev ## check style, types and layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

# What is drawn at random, and finds what it finds with or without measuring coverage, which takes long.
DRAWN = tests/properties tests/scheduling/steps/test_against_reference.py

# What load, faults and hostile input do; most of it waits, so that it goes beside the others.
ROBUST = $(wildcard $(addprefix tests/,catalogue faults fuzz security soak)) $(DRAWN)

unit: $(VENV)/.dev ## run the tests of each module with branch coverage
	$(BIN)/python -m pytest --cov --cov-report=term $(addprefix --ignore=,tests/integration $(ROBUST))

integration: $(VENV)/.dev ## try daemons with programs and libraries of others
	$(BIN)/python -m pytest tests/integration

robust: $(VENV)/.dev ## try load, faults and hostile input, each for a short time
	$(BIN)/python -m pytest $(ROBUST)

fuzz: $(VENV)/.dev ## send every surface what nobody should; FUZZ_CASES says how many cases, FUZZ_SEED which
	FUZZ_CASES=$(FUZZ_CASES) FUZZ_SEED=$(FUZZ_SEED) $(BIN)/python -m tests.fuzz

soak: $(VENV)/.dev ## put a server under mixed load for an hour, or SOAK_SECONDS, and see that nothing is lost or grows
	$(BIN)/python -m tests.soak --seconds $(SOAK_SECONDS) $(ARGS)

faults: $(VENV)/.dev ## kill, stop, starve and cut off daemons under load, many times over
	FAULTS_FULL=1 $(BIN)/python -m pytest -s tests/faults

properties: $(VENV)/.dev ## have ranks live thousands of lives, and schedule steps as slow rules do; PROPERTY_EXAMPLES and PROPERTY_SEED say how many and which
	PROPERTY_EXAMPLES=$(PROPERTY_EXAMPLES) PROPERTY_SEED=$(PROPERTY_SEED) $(BIN)/python -m pytest -q -s $(DRAWN)

# What depends on no library's release, or needs long for what others try too.
LONG = $(addsuffix .py,$(addprefix tests/integration/test_,adapters_under_load anthropic bench calibrate clock data_parallel \
	dataset_command datasets debian debian_boot disaggregated docs_pages example_plugin front_end grpc grpc_base grpc_streams \
	http2 journal kv_events_grpc kv_picture kv_subscriber live_configuration lora monitoring openai_embeddings openai_tools pacing \
	preparing processes prometheus remote retries scenario schemathesis shared_cache tenants token_routes virtual_clock)) \
	$(ROBUST) tests/calibration tests/cluster tests/scheduling/steps tests/structured tests/web/test_structure_properties.py \
	$(shell find tests -name 'test_*at_random.py') tests/test_whole_changes.py

audit: $(AUDIT)/.done ## look for faults in the program, and for known ones in the releases that the Debian package has
	$(AUDIT)/bin/python -m tests.auditing

test-oldest: ## run the tests on the oldest libraries that are supported
	$(MAKE) VENV=.venv-oldest CONSTRAINTS=.ci/oldest.txt .venv-oldest/.test
	.venv-oldest/bin/python -m pytest $(addprefix --ignore=,$(LONG))

clients: ## try large client libraries against the daemon, and compare tokens and chat templates with transformers
	$(MAKE) VENV=.venv-clients EXTRAS=grpc,test,clients .venv-clients/.test
	.venv-clients/bin/python -m pytest $(addprefix tests/integration/test_,clients.py load_client.py perfetto.py smg.py transformers.py)

cluster: $(VENV)/.cluster ## render the Helm chart and the manifests, and hold them against Kubernetes' schemas
	$(BIN)/python -m pytest tests/cluster

bench: $(VENV)/.run ## measure what tokens and requests cost beside controls; ARGS="paced --streams 500" measures one thing
	$(BIN)/python -m bench $(ARGS)

docs: $(VENV)/.dev ## build the documentation, with warnings as errors
	$(BIN)/sphinx-build -q -E -W --keep-going -b html docs docs/_build/html

sample: $(VENV)/.run ## write etc/vllmsim/sim.yaml from the option table
	$(BIN)/python -c "from vllmsim.config.listing import sample_yaml; print(sample_yaml(), end='')" > etc/vllmsim/sim.yaml

dashboard: $(VENV)/.run ## write etc/grafana/vllm.json from its panels
	$(BIN)/python -m tests.monitoring.drawing

tokenizer: $(VENV)/.run ## train the built-in tokenizer anew on tests/tokenization/corpus
	$(BIN)/python -m tests.tokenization.training

wheel: ## build the wheel and try it in an empty environment
	.ci/try-wheel $(PYTHON)

# What the package is made of; it is built in a copy, so that nothing is left here.
DEB_PARTS = debian etc/grafana etc/prometheus etc/vllmsim examples twisted vllmsim LICENSE README.rst pyproject.toml setup.cfg
DEB_FILES := $(shell find $(DEB_PARTS) -type f ! -name '*.pyc' ! -name dropin.cache ! -path '*.egg-info/*')
DEB_TREE = build/deb/vllmsim
# The package is for the distribution's own Python.
DEB_PIP = /usr/bin/python3 -m pip --isolated --disable-pip-version-check wheel --quiet --wheel-dir
PINNED = --no-index --find-links build/pinned

deb: dist/.deb ## build and check the Debian package, dist/vllmsim_*.deb

dist/.deb: build/wheels/.done $(DEB_FILES)
	@rm -rf build/deb dist/vllmsim_*.deb
	@mkdir -p $(DEB_TREE) dist
	@cp -r --parents $(DEB_PARTS) $(DEB_TREE)
	@$(DEB_PIP) $(DEB_TREE)/wheels $(PINNED) --no-deps ./$(DEB_TREE)
	@cp build/wheels/*.whl $(DEB_TREE)/wheels
	# Nothing is compiled.
	cd $(DEB_TREE) && dpkg-buildpackage --build=binary --unsigned-changes --ignore-builtin-builddeps
	lintian --fail-on error,warning --tag-display-limit 0 build/deb/vllmsim_*.changes
	@mv build/deb/vllmsim_*.deb dist
	@touch $@

# Nothing is downloaded that debian/wheels.txt has no hash of, and nothing else is used.
build/wheels/.done: setup.cfg pyproject.toml debian/wheels.txt
	@echo "downloading what vllmsim needs, for /usr/bin/python3"
	@rm -rf build/pinned build/wheels build/metadata
	@mkdir -p build/metadata/vllmsim
	@cp --parents setup.cfg pyproject.toml README.rst LICENSE vllmsim/__init__.py build/metadata
	@/usr/bin/python3 -m pip --disable-pip-version-check download --quiet --dest build/pinned --no-deps \
	  --only-binary :all: --require-hashes --requirement debian/wheels.txt
	@$(DEB_PIP) build/wheels $(PINNED) './build/metadata[grpc,otel]' || { \
	  echo "debian/wheels.txt does not go with setup.cfg: make pins writes it anew" >&2; exit 1; }
	@rm -rf build/metadata build/wheels/vllmsim-*.whl
	@touch $@

PINS = build/pins
# Pinned too, as what it writes is compared.
UV = uv==0.13.9

pins: $(PINS)/.done ## write debian/wheels.txt, the releases and hashes of what the Debian package has; ARGS=--upgrade for new ones
	.ci/pin-wheels $(PINS)/bin/uv $(ARGS)

# Pinned, because each release finds something new.
$(AUDIT)/.done: Makefile
	@$(PYTHON) -m venv $(AUDIT)
	@$(AUDIT)/bin/python -m pip --disable-pip-version-check install --quiet bandit==1.9.4 pip-audit==2.10.1
	@touch $@

$(PINS)/.done: Makefile
	@$(PYTHON) -m venv $(PINS)
	@$(PINS)/bin/python -m pip --disable-pip-version-check install --quiet $(UV)
	@touch $@

clean: ## remove everything that was made
	rm -rf .venv .venv-oldest .venv-clients build dist docs/_build docs/generated *.egg-info .coverage* .hypothesis .*_cache
	find . -name __pycache__ -prune -exec rm -rf {} +

CONSTRAINTS ?=
EXTRAS ?= grpc,test
PIP = $(BIN)/python -m pip --disable-pip-version-check install --quiet --no-compile $(addprefix --constraint ,$(CONSTRAINTS))

$(VENV)/bin/python:
	@echo "making $(VENV)"
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
	  echo "vllmsim needs Python 3.11 or later with venv (on Debian: apt install python3-venv)" >&2; exit 1; }

$(VENV)/.run: $(VENV)/bin/python setup.cfg
	@echo "installing vllmsim"
	@$(PIP) --editable '.[grpc]'
	@touch $@

$(VENV)/.test: $(VENV)/bin/python setup.cfg $(CONSTRAINTS)
	@echo "installing vllmsim and what its tests need"
	@$(PIP) --editable '.[$(EXTRAS)]'
	@touch $@

$(VENV)/.dev: $(VENV)/bin/python setup.cfg
	@echo "installing vllmsim and what its checks need"
	@$(PIP) --editable '.[grpc,test,lint,docs]'
	@touch $@ $(VENV)/.run

$(VENV)/.cluster: $(VENV)/.dev .ci/get-cluster-tools
	@echo "getting helm, kubectl, hadolint and Kubernetes' schemas"
	@.ci/get-cluster-tools $(VENV)
	@touch $@
