# Every target needs Python 3.11 or newer, git and make, and brings the rest itself.
# PYTHON=/path/to/python3 names the interpreter; PYTEST_ARGS="-k name" goes to pytest; WORKERS=1
# runs the tests in fewer or more processes.

export PYTHON
# Tests start hundreds of Python processes, and without bytecode each compiles all that it imports.
unexport PYTHONDONTWRITEBYTECODE
# Browsers and servers make tests wait: three at a time keep two cores busy.
WORKERS = 3

.PHONY: demo demo-cluster test check docs docs-serve docs-links release-check bench mutants test-matrix soak setup system version
.NOTPARALLEL:

demo: setup  ## the live dashboard, at the address it prints
	.venv/bin/python examples/demo/app.py

demo-cluster: setup  ## the same on three workers around a Redis of its own
	.venv/bin/python examples/demo/cluster.py

test: setup system  ## every test
	.venv/bin/pytest --numprocesses $(WORKERS) --dist worksteal $(PYTEST_ARGS)

# pyright is given the folders by name: it is content with a pattern that matches nothing.
check: setup  ## lint, format, types, structure
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/pyright packages/*/src
	.venv/bin/pytest --quiet integration-tests/tests/test_workspace.py

# Every warning of Sphinx is an error. `make docs SPHINX="-E"` reads every page again.
docs: setup  ## the documentation as a site, in docs/_build/html
	.venv/bin/sphinx-build -W --keep-going -q $(SPHINX) docs docs/_build/html
	@echo "docs/_build/html/index.html"

docs-serve: docs  ## the same at http://127.0.0.1:8051
	.venv/bin/python -m http.server --bind 127.0.0.1 --directory docs/_build/html 8051

docs-links: setup  ## ask every address that the pages name whether it is there; needs the network
	.venv/bin/sphinx-build -q -b linkcheck docs docs/_build/links

# TAG=v0.2.0 checks that the tag is the version, as a release does.
release-check: setup  ## build all packages and install them into empty environments with each extra
	.venv/bin/python scripts/release_check.py $(TAG:%=--tag %)

bench: setup  ## Flash and its peers in the same run
	.venv/bin/python benchmarks/run.py

# ROOM=flash_ws/protocol tries one room; SAMPLE=all tries every mutant, SAMPLE=30 so many of a module.
SAMPLE = 15
mutants: setup  ## how many small mistakes, planted in a copy of the source, the tests notice
	nice -n 10 .venv/bin/python scripts/mutants.py $(ROOM:%=--room %) --sample $(SAMPLE)

test-matrix: setup system  ## flash-core on the lowest and the newest releases it allows
	sh scripts/matrix.sh $(PYTEST_ARGS)

soak: setup system  ## the long runs that `make test` leaves out
	.venv/bin/pytest -m soak --timeout 7200 $(PYTEST_ARGS)

setup:  ## uv in .tools, the workspace in .venv
	@sh scripts/bootstrap.sh

system:  ## Chromium with its driver, and Redis
	@sh scripts/system.sh

version: setup  ## print the version of all packages; VERSION=0.2.0 raises it
	@.venv/bin/python scripts/version.py $(VERSION)
