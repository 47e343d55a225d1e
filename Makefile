# The settings that requirements/install.sh takes from the command line.
PYTHON ?= python3
TEST_PROCESSES ?= 2
SUITE ?= configs/benchmarks/study.py
export PYTHON TORCH_ARGS MAX_JOBS

.DEFAULT_GOAL := help
.PHONY: help demo study test lint docs dist install

help:
	@echo 'make demo     score, prune, train and test a small detector'
	@echo 'make study    run a small suite of comparisons and report on it'
	@echo 'make test     run the tests (PYTEST_ARGS="-k masks" chooses)'
	@echo 'make lint     check style and format'
	@echo 'make docs     build the site of docs/ into docs/_build/html'
	@echo 'make dist     build the wheel and the source archive, and check them'
	@echo 'make install  only fill .venv, which the others do by themselves'

demo: install
	.venv/bin/python tools/demo.py

study: install
ifeq ($(SUITE),configs/benchmarks/study.py)
	.venv/bin/python tools/prepare_data.py cifar10
endif
	.venv/bin/python tools/benchmark.py run $(SUITE) $(STUDY_ARGS); \
	ran=$$?; .venv/bin/python tools/benchmark.py report $(SUITE) && exit $$ran

test: install
	OMP_NUM_THREADS=1 .venv/bin/python -m pytest -n $(TEST_PROCESSES) \
		--dist loadfile $(PYTEST_ARGS)

lint: install
	.venv/bin/python -m ruff check .
	.venv/bin/python -m ruff format --check .

docs: install
	.venv/bin/python -m pip install --quiet -r requirements/docs.txt
	.venv/bin/python -m sphinx --quiet --fail-on-warning --keep-going \
		-b html docs docs/_build/html
	@echo 'The site is docs/_build/html/index.html'

dist: install
	.venv/bin/python -m pip install --quiet --no-warn-conflicts \
		-r requirements/dist.txt
	rm -rf dist
	.venv/bin/python -m build --no-isolation
	.venv/bin/python -m twine check --strict dist/*

install:
	@bash requirements/install.sh
