# `make` alone lists the targets. Each sets up on its own what it needs: a virtual environment in
# .venv, which lasts until a pyproject.toml changes.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check
CONFIG := $(wildcard pyproject.toml packages/*/pyproject.toml)
PACKAGES := $(patsubst %/pyproject.toml,%,$(wildcard packages/*/pyproject.toml))
ARGS ?=

.PHONY: help demo test test-a-e test-f-r test-s-z test-properties test-units check docs bench bundle dist clean

help:
	@echo 'make demo    run docs/examples/inventory.py (ARGS="target ..." for its arguments)'
	@echo 'make test    run all tests (ARGS="-k word ..." for pytest)'
	@echo 'make check   lint, formatting, types, import rules, size table'
	@echo 'make docs    build the documentation into docs/_build'
	@echo 'make bench   compare with other libraries, rewrite docs/speed (ARGS="--quick", ARGS="call fork" ...)'
	@echo 'make bundle  compress the core for children of other Python versions (minutes)'
	@echo 'make dist    build every wheel and sdist into dist'
	@echo 'make clean   remove what the other targets made'

demo: $(VENV)/installed
	@$(BIN)/python docs/examples/inventory.py $(ARGS)

# Two processes share the work, so each group's output comes at once, when the group ends; the integration
# tests are three groups, by the letters that their files begin with. The longest begins first. With ARGS it is
# one process, with its output as it comes.
test: $(VENV)/installed-test
ifeq ($(strip $(ARGS)),)
	@echo 'groups of tests, two at a time: each is shown when it ends, all within some minutes'
	@$(MAKE) --no-print-directory --jobs=2 --keep-going --output-sync=target \
	    test-s-z test-f-r test-a-e test-units test-properties
else
	@$(BIN)/python -m pytest $(ARGS)
endif

test-a-e test-f-r test-s-z:
	@$(BIN)/python -m pytest tests/integration/test_[$(@:test-%=%)]*.py -o cache_dir=.pytest_cache/$@

test-properties:
	@$(BIN)/python -m pytest tests/properties -o cache_dir=.pytest_cache/$@

test-units:
	@$(BIN)/python -m pytest tests --ignore=tests/integration --ignore=tests/properties \
	    -o cache_dir=.pytest_cache/$@

check: $(VENV)/installed-lint
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/python -m pytest --quiet tests/import_rules
	$(BIN)/python tests/size_table.py

docs: $(VENV)/installed-docs
	$(BIN)/python -m sphinx -n -W --keep-going -q docs docs/_build
	@echo 'docs/_build/index.html'

bench: $(VENV)/installed-test
	@$(BIN)/python -m tests.benchmarks $(ARGS)

# After any change to a module of the core's bundle: a test tells when it is due.
bundle: $(VENV)/installed-bundle
	$(BIN)/python .ci/make_bundle.py $(ARGS)

dist: $(VENV)/installed-test
	@$(BIN)/python -m tests.packaging.build dist

clean:
	rm -rf $(VENV) .bench dist docs/_build .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage

# The distributions are installed editable for their metadata (versions, entry points). They share
# one import package, so the mitogen.pth that each of them writes replaces the last one's: a .pth of
# our own lists all source folders, and no edit needs another install. pip 25.1 is the first that
# knows dependency groups, which the rule below asks it for.
$(VENV)/installed: $(CONFIG)
	@echo 'setting up $(VENV) ...'
	@$(PYTHON) -m venv --clear $(VENV)
	@$(PIP) install 'pip>=25.1' 'flit_core>=4,<5'
	@$(PIP) install --no-build-isolation \
	    $(foreach package,$(PACKAGES),-e './$(package)$(if $(filter packages/mitogen,$(package)),[all])')
	@printf '%s\n' $(foreach package,$(PACKAGES),'$(CURDIR)/$(package)/src') \
	    > "$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/mitogen-workspace.pth"
	@touch $@

# What a dependency group of pyproject.toml adds.
$(VENV)/installed-%: $(VENV)/installed
	@echo 'adding to $(VENV): $* ...'
	@$(PIP) install --group $*
	@touch $@
