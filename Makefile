# The commands of a developer and of CI. `make help` lists them. Everything is incremental: what is up to date is not done again.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ROUNDS ?= 1000
SECONDS ?= 600
MINUTES ?= 10
SOURCES := $(shell find ext -name '*.py[xdi]' -o -name '*.h') setup.py
INSTALLED := $(VENV)/.installed
PINS := dev server build bench arcticdb
PYTEST := $(BIN)/python -m pytest
PROPERTIES := tests/codec tests/batch tests/store/test_strings.py tests/store/test_segment.py
COMPILED := $(addprefix tests/,batch calendar codec device engine fuzz ingest log server/test_rows.py store)
RACES := tests/log tests/engine/test_races.py tests/engine/test_background.py tests/device/test_snapshots.py tests/store/test_bulk.py
BENCH := $(PYTEST) --benchmark-enable --benchmark-only --benchmark-quiet
FULL := TSENGINE_BENCH_RESULTS=build/bench/full.json TSENGINE_BENCH_MONTHS=36 TSENGINE_BENCH_DEVICES=10000 TSENGINE_BENCH_TSBS=100,3
QUICK := TSENGINE_BENCH_RESULTS=build/bench/quick.json TSENGINE_BENCH_MONTHS=1 TSENGINE_BENCH_DEVICES=100 TSENGINE_BENCH_TSBS=10,1
FEW := --benchmark-max-time=0.1 --benchmark-min-rounds=3 -k "not kill and not compaction and not through_the_log"
PARTS := store fleet query tsbs log registers codec ingest http mqtt
PEERS := $(VENV)/.peers
JS := tests/server/js/node_modules/.installed
SANITIZERS = LD_PRELOAD="$$(for name in libasan.so libubsan.so libstdc++.so; do gcc -print-file-name=$$name; done | tr '\n' ' ')$(PRELOADED)" \
	ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1 UBSAN_OPTIONS=print_stacktrace=1 PYTHONMALLOC=malloc

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help build build-checked serve test test-normal test-checked test-properties test-asan test-tsan fuzz-http fuzz soak test-crash lint format annotate $(addprefix bench-,$(PARTS)) bench-quick bench-full bench-publish bench-tables bench-peers wheels pin clean

help: ## list these commands
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 16

build: build/in-tree-normal $(BIN)/tsengine ## create .venv, install the pinned packages, compile in place

build-checked: build/in-tree-checked $(BIN)/tsengine ## the same with bounds checks and assertions; replaces the normal build in the tree

serve: build ## build, then serve ./data on 127.0.0.1:8080
	$(BIN)/tsengine serve --host 127.0.0.1 --port 8080 --data ./data

test: ## build, lint, then the tests of what is compiled in the checked build, then all tests in the normal build
	$(MAKE) --no-print-directory lint
	$(MAKE) --no-print-directory test-checked
	$(MAKE) --no-print-directory test-normal

test-normal: build $(JS) ## all tests in the normal build
	$(PYTEST)

test-checked: build-checked ## the tests of what is compiled, but for the slow ones, in the checked build
	$(PYTEST) -m "not slow" $(filter-out tests/engine tests/device,$(COMPILED))

test-properties: build ## codecs, batches and segments with 10,000 examples of each property; SEED=N repeats a run
	seed=$${SEED:-$$(od -An -N4 -tu4 /dev/urandom | tr -d ' ')}; echo "SEED=$$seed"; \
	HYPOTHESIS_PROFILE=properties $(PYTEST) -m hypothesis --hypothesis-seed=$$seed --timeout=1800 $(PROPERTIES)

test-asan: build/in-tree-sanitized ## every floor under AddressSanitizer and UndefinedBehaviorSanitizer; replaces the build in the tree
	$(SANITIZERS) \
	$(PYTEST) -p no:cacheprovider --capture=sys --timeout=1800 $(COMPILED)

# Addresses have to lie where ThreadSanitizer looks for them: setarch -R.
test-tsan: build/in-tree-threads ## the log, readers beside writers, background work under ThreadSanitizer; replaces the build in the tree
	LD_PRELOAD="$$(gcc -print-file-name=libtsan.so)" TSAN_OPTIONS=suppressions=tests/tsan.txt:report_signal_unsafe=0:exitcode=66 \
	setarch -R $(PYTEST) -p no:cacheprovider --capture=sys --timeout=1800 $(RACES)

fuzz-http: build ## schemathesis and 100,000 bodies of any bytes against a real server (15 minutes); SEED=N repeats a run
	seed=$${SEED:-$$(od -An -N4 -tu4 /dev/urandom | tr -d ' ')}; echo "SEED=$$seed"; \
	TSENGINE_FUZZ_BODIES=100000 TSENGINE_HTTP_EXAMPLES=500 $(PYTEST) --hypothesis-seed=$$seed --timeout=3600 tests/server/test_bytes.py tests/server/test_schemathesis.py

fuzz: PRELOADED = $(CURDIR)/build/coverage.so
fuzz: build/in-tree-fuzzed build/coverage.so ## SECONDS=600 of coverage-guided fuzzing for each target, with sanitizers; TARGETS="wal segment" chooses; replaces the build in the tree
	$(SANITIZERS) $(BIN)/python -m tests.fuzz $(SECONDS) $(TARGETS)

build/coverage.so: tests/fuzz/coverage.c
	gcc -O2 -shared -fPIC -o $@ $<

soak: build bench-peers ## MINUTES=10 of mixed load: memory, descriptors and disk have to stay flat; writes build/soak.png
	$(BIN)/python -m tests.soak $(MINUTES)

test-crash: build ## ROUNDS=1000 kills, 0.4 x as many power cuts (as root), every n-th call failed and killed, full disks, limits, ROUNDS damaged files
	TSENGINE_CRASH_ROUNDS=$(ROUNDS) $(PYTEST) -s tests/crash

# pyright is JavaScript: its Python package carries the program but fetches a node when the machine has none, so it runs where node is.
lint: build ## ruff, cython-lint, mypy, pyright (where node is installed)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	PATH="$(CURDIR)/$(BIN):$$PATH" cython-lint ext
	$(BIN)/mypy
	@if node -e 'process.exit(parseInt(process.versions.node) < 18 ? 1 : 0)' 2>/dev/null; then echo pyright; PYRIGHT_PYTHON_IGNORE_WARNINGS=1 $(BIN)/pyright --pythonpath $(BIN)/python; \
	else echo 'lint: pyright SKIPPED, it needs node 18 or newer: apt-get install nodejs'; fi

format: $(INSTALLED) ## let ruff sort the imports and format the Python files
	$(BIN)/ruff check --fix-only --select I .
	$(BIN)/ruff format .

annotate: $(INSTALLED) ## write the annotated HTML of every .pyx (yellow lines touch Python)
	TSENGINE_ANNOTATE=1 $(BIN)/python setup.py -q build_ext
	@echo 'annotated: build/normal-*/ext/**/*.html'

bench-quick: build bench-peers ## everything that has peers, small (1 M points, 3 minutes): prints the tables, draws build/bench/charts
	@rm -f build/bench/quick.json
	$(QUICK) $(BENCH) $(addprefix benches/test_,$(addsuffix .py,store fleet log registers tsbs)) $(FEW)
	$(BIN)/python -m benches charts build/bench/quick.json

bench-full: ## every bench-* below, full size (90 minutes, 25 GB of disk); each adds its figures to build/bench/full.json
	for part in $(PARTS); do $(MAKE) --no-print-directory bench-$$part || exit 1; done
	$(BIN)/python -m benches charts build/bench/full.json

bench-store: build bench-peers ## one device of 36 M points beside the peers: ingest, size, questions, recovery
	$(FULL) $(BENCH) benches/test_store.py

bench-fleet: build bench-peers ## 10,000 devices of 3,600 points beside the peers
	$(FULL) $(BENCH) benches/test_fleet.py

bench-query: build bench-peers ## reads that no peer has, and a fresh process, on 36 M points
	$(FULL) $(BENCH) benches/test_query.py

bench-tsbs: build bench-peers ## the shapes "cpu" and "iot" of the Time Series Benchmark Suite, 26 M values each
	$(FULL) $(BENCH) benches/test_tsbs.py

bench-log: build bench-peers ## durable commits beside the peers
	$(FULL) $(BENCH) benches/test_log.py

bench-registers: build bench-peers ## mutable devices beside the peers
	$(FULL) $(BENCH) benches/test_registers.py

bench-codec: build ## time the codecs
	$(FULL) $(BENCH) benches/test_codec.py

bench-ingest: build ## time every form of body, to records and into memory
	$(FULL) $(BENCH) benches/test_ingest.py

bench-mqtt: build ## MQTT: ten clients, QoS 1 and 0, and 10,000 idle connections, beside Mosquitto (apt-get install mosquitto)
	$(FULL) $(BIN)/python -m benches.mqtt_load

bench-http: build ## the HTTP server under wrk (apt-get install wrk); SOAK=MINUTES holds 10,000 connections open instead
	ulimit -n $$(ulimit -Hn); $(FULL) $(BIN)/python -m benches.http_load $(if $(SOAK),--soak $(SOAK))

bench-publish: build bench-peers ## make build/bench/full.json the committed figures: docs/benchmarks.json, docs/charts and the tables
	$(BIN)/python -m benches publish build/bench/full.json

bench-tables: build ## write the tables of docs/benchmarks.json into docs/benchmarks.md and README.md
	$(BIN)/python -m benches tables

bench-peers: $(PEERS) ## install the peers of the benchmarks into .venv

# Everything is compiled anew, from the unpacked source archive, with what pip finds; other machines' wheels are cibuildwheel's (pyproject.toml).
wheels: build ## build the source archive and this machine's wheel into dist/, install that into empty environments and try it (5 minutes)
	rm -rf dist tsengine.egg-info
	$(BIN)/python setup.py -q sdist
	$(BIN)/python -m pip wheel -q --disable-pip-version-check --no-deps -w dist dist/tsengine-*.tar.gz
	TSENGINE_DIST=dist $(PYTEST) -s tests/packaging
	@ls -l dist

pin: ## compile requirements/*.txt anew from *.in, newest versions (needs uv: pip install uv)
	@command -v uv >/dev/null || { echo 'make: uv is missing: pip install uv'; exit 1; }
	for name in $(PINS); do \
	    case $$name in dev) wish=--upgrade ;; arcticdb) wish='--upgrade --no-deps' ;; *) wish='-c requirements/dev.txt' ;; esac; \
	    UV_CUSTOM_COMPILE_COMMAND='make pin' uv pip compile -q requirements/$$name.in $$wish --universal --python-version 3.11 \
	        --generate-hashes --no-annotate --no-emit-index-url --no-emit-find-links -o requirements/$$name.txt || exit 1; \
	done

clean: ## remove what was built, tested and measured; keeps .venv and data
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks
	find ext -name '*.so' -delete
	rm -rf tests/server/js/node_modules
	find ext tsengine tests benches -name __pycache__ -prune -exec rm -rf {} +

# setup.py leaves exactly one of the two marks, so going over to the other kind runs again; it then only copies, nothing is compiled.
build/in-tree-normal build/in-tree-checked build/in-tree-sanitized build/in-tree-fuzzed build/in-tree-threads: $(SOURCES) $(INSTALLED)
	@mkdir -p build
	@$(PREREQUISITES)
	find ext -name '*.so' -delete
	@echo 'make: compiling what changed; all of it takes some minutes'
	TSENGINE_CHECKED=$(if $(findstring checked,$@),1,0) TSENGINE_SANITIZED=$(if $(findstring sanitized,$@),1,0) TSENGINE_FUZZED=$(if $(findstring fuzzed,$@),1,0) \
	    TSENGINE_THREADS=$(if $(findstring threads,$@),1,0) $(BIN)/python setup.py -q build_ext --inplace

# The command `tsengine`: an editable install that only links, since the extensions are compiled above. `compat` puts the tree on the
# path: the other kind looks for it last, after a folder `tsengine` beside a script, as a clone is.
$(BIN)/tsengine: pyproject.toml $(INSTALLED)
	@PYTHONWARNINGS=ignore TSENGINE_COMPILE=0 $(BIN)/python -m pip install -q --disable-pip-version-check --no-build-isolation --no-deps --no-index --config-settings editable_mode=compat -e .
	@touch $@

# Complete and exact: every package is in the list with its hash, so pip has nothing to resolve.
$(INSTALLED): requirements/dev.txt
	@$(PREREQUISITES)
	[ -x $(BIN)/python ] || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes --only-binary :all: -r requirements/dev.txt
	@touch $@

# Peers are for comparison only: where one has no package for this machine, the benchmarks say so and run without it.
$(PEERS): requirements/bench.txt requirements/arcticdb.txt $(INSTALLED)
	$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes --only-binary :all: -r requirements/bench.txt \
	    || echo 'make: SKIPPED: some peers could not be installed; the benchmarks run without them'
	$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes --only-binary :all: --no-deps -r requirements/arcticdb.txt \
	    || echo 'make: SKIPPED: ArcticDB could not be installed; the benchmarks run without it'
	@touch $@

# The official JavaScript client, for tests/server/test_js.py; where there is no npm, or nothing to install from, those tests are skipped.
$(JS): tests/server/js/package-lock.json
	@if ! command -v npm >/dev/null; then echo 'make: SKIPPED: the tests of the JavaScript client need node 20 or newer and npm: apt-get install nodejs npm'; \
	elif npm ci --prefix tests/server/js --ignore-scripts --no-audit --no-fund --loglevel=error; then touch $@; \
	else echo 'make: SKIPPED: npm could not install the JavaScript client; its tests are skipped'; fi

# One line that says what to install, instead of a compiler's or pip's complaint.
define PREREQUISITES
need() { echo "make: $$1: apt-get install $$2" >&2; exit 1; }; \
command -v $(PYTHON) >/dev/null || need '$(PYTHON) is missing' 'python3 python3-venv python3-dev gcc'; \
$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
    need '$(PYTHON) is too old, tsengine needs Python 3.11 or newer (then: make PYTHON=python3.11)' 'python3.11 python3.11-venv python3.11-dev'; \
$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || need 'the venv module of $(PYTHON) is missing' '$(notdir $(PYTHON))-venv'; \
$(PYTHON) -c 'import os, sys, sysconfig; sys.exit(not os.path.exists(sysconfig.get_path("include") + "/Python.h"))' 2>/dev/null || \
    need 'Python.h of $(PYTHON) is missing' '$(notdir $(PYTHON))-dev'; \
command -v $${CC:-gcc} >/dev/null || need 'the C compiler is missing' gcc
endef
