# make course   run every notebook in order; the executed copies go to build/course/, to be read as pages there
# make site     the site, out of the stored outputs: build/site/index.html; a warning is an error
# make check    before a commit, two minutes: lint, format, types, the import rule, all tests but the slow ones
# make test     all tests, then the notebooks again, comparing every output with the saved one
# make fuzz     damaged files, kills and made-up inputs, many thousands of them, for an hour or more
# make lab      open the notebooks in JupyterLab
# make address  the repository's address, out of pyproject.toml, into the lessons' badges and first cells
# make editions what teachers hand out: student and instructor editions and slides, in build/teaching/
# make backbone-base   fetch the base backbone (about 400 MB) into the user's cache
# make format   tidy the code and the notebooks
# make coverage how much of the core its own tests run; fails below 99 %
# make test-newest, make test-oldest   the quick tests with the newest or oldest versions that pyproject.toml allows
# make lock     requirements.lock anew, after constraints.txt or pyproject.toml has changed
# make clean    remove build/ and caches (to set up anew, delete .venv as well)
#
# Each sets up .venv first, once. With another Python: make PYTHON=python3.12 test. With one process: make WORKERS=1 test

PYTHON ?= python3
WORKERS ?= logical
BIN = .venv/bin
INSTALLED = .venv/.installed

# The kernel is .venv's own, even where the user has one of the same name.
export JUPYTER_PREFER_ENV_PATH = 1
unexport JUPYTER_PATH
# Without a hub, transformers would try to reach it for a minute before going on.
OFFLINE = HF_HUB_OFFLINE=1
# A file, or a notebook, per process, each with one thread: threads of several processes would wait for each other.
SPHINX = $(OFFLINE) $(BIN)/python -m sphinx -q -c docs
PARALLEL = OMP_NUM_THREADS=1 $(OFFLINE) $(BIN)/python -m pytest -n $(WORKERS) --maxprocesses 8 --dist loadfile

.PHONY: course site check lint quick test fuzz lab address editions backbone-base format coverage test-newest test-oldest lock clean

# Notebooks that fail are shown as well, with their errors.
course: $(INSTALLED)
	@$(OFFLINE) $(BIN)/python -m apt_minimal.course.run; status=$$?; rm -rf build/course/pages; \
	LESSONS=build/course $(SPHINX) . build/course/pages && echo "pages: build/course/pages/index.html"; exit $$status

site: $(INSTALLED)
	rm -rf build/site
	$(SPHINX) -W --keep-going . build/site
	@echo "build/site/index.html"

# What a stored notebook keeps beside its cells: no times, no user's settings.
STORED = --preserve-cell-metadata-field tags --preserve-cell-metadata-field jupyter --preserve-cell-outputs --preserve-execution-counts
lint: $(INSTALLED)
	$(BIN)/nb-clean check $(STORED) notebooks
	$(BIN)/python -m ruff check
	$(BIN)/python -m ruff format --check
	$(BIN)/lint-imports --no-cache
	$(BIN)/basedpyright --pythonpath $(BIN)/python

# Both at once: the type checker has one thread.
check: $(INSTALLED)
	$(MAKE) -j 2 lint quick

quick: $(INSTALLED)
	$(PARALLEL) -p no:nbval -m "not slow" tests

test: $(INSTALLED)
	$(PARALLEL) -p no:nbval tests
	$(PARALLEL) --nbval --nbval-current-env notebooks

fuzz: $(INSTALLED)
	$(OFFLINE) HYPOTHESIS_PROFILE=long $(BIN)/python -m pytest tests/test_identities.py tests/lab/test_data_fuzz.py tests/lab/test_properties.py
	$(OFFLINE) FUZZ_CASES=10000 $(BIN)/python -m pytest tests/test_adapter_fuzz.py tests/test_adapter_save.py

lab: $(INSTALLED)
	$(BIN)/python -m jupyter lab notebooks

address: $(INSTALLED)
	$(BIN)/python -m apt_minimal.course.address

editions: $(INSTALLED)
	$(BIN)/python -m apt_minimal.course.editions

backbone-base: $(INSTALLED)
	$(BIN)/python -m apt_minimal.lab.data.backbones base

format: $(INSTALLED)
	$(BIN)/nb-clean clean $(STORED) notebooks
	$(BIN)/python -m ruff check --fix --exit-zero --silent
	$(BIN)/python -m ruff format
	$(BIN)/python -m ruff check

CORE_TESTS = $(filter-out %_package.py %_project.py %_teaching.py,$(wildcard tests/test_*.py)) tests/lab/methods
coverage: $(INSTALLED)
	$(OFFLINE) $(BIN)/python -m coverage run -m pytest -q -m "not slow" $(CORE_TESTS)
	$(BIN)/python -m coverage report

# TORCH fixes torch's version, for a CPU-only one, say: make TORCH=2.13.0 test-newest
test-newest test-oldest: test-%:
	$(PYTHON) -m venv --clear build/$*
	build/$*/bin/python -m pip install $(if $(TORCH),torch==$(TORCH)) \
		$(if $(filter oldest,$*),`TORCH=$(TORCH) build/$*/bin/python tests/oldest.py`) -e ".[lab,backbone,notebooks,site,test]"
	$(subst $(BIN),build/$*/bin,$(PARALLEL)) -m "not slow" tests

# With the hash of every file, for all systems, out of constraints.txt and pyproject.toml; needs uv.
lock:
	uv pip compile -q --universal --generate-hashes --no-annotate --custom-compile-command "make lock" \
		-c constraints.txt pyproject.toml --all-extras --python-version 3.11 -o requirements.lock

clean:
	rm -rf build .coverage .pytest_cache .ruff_cache apt_minimal.egg-info

# A torch that is already in .venv (a CPU-only one, say) stays: its version takes the place of the pinned one.
$(INSTALLED): pyproject.toml constraints.txt
	@python=$(PYTHON); if test -x $(BIN)/python; then python=$(BIN)/python; fi; \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
	{ echo "apt-minimal needs Python 3.11 or newer; $$python is older or missing. Try: make PYTHON=python3.12" >&2; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(BIN)/python -m ensurepip
	@torch=`$(BIN)/python -c 'from importlib.metadata import version; print(version("torch"))' 2>/dev/null || \
	sed -n 's/^torch==//p' constraints.txt`; \
	sed "s/^torch==.*/torch==$$torch/" constraints.txt > .venv/constraints.txt
	$(BIN)/python -m pip install -c .venv/constraints.txt -e ".[lab,backbone,notebooks,site,test]"
	@touch $@
