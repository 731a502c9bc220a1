# Everything a fresh machine needs happens in .venv; PYTHON picks the interpreter it is made from.
PYTHON ?= python3
RUN = .venv/bin/python

.PHONY: demo test lint clean

# Trains the x16 super-resolution demo on the embedded photographs; again: says that the run is complete.
demo: .venv/package
	$(RUN) -m prt_jax.main --config=configs/sr16.py:stochastic-robust,demo

test: .venv/tests
	$(RUN) -m ruff check .
	$(RUN) -m pytest -n 2 --dist loadfile --no-loadscope-reorder

lint: .venv/tests
	$(RUN) -m ruff check .

.venv/package: requirements.txt
	$(PYTHON) -m venv .venv
	$(RUN) -m pip install --quiet --upgrade pip
	$(RUN) -m pip install --quiet -r requirements.txt
	touch $@

.venv/tests: .venv/package requirements-test.txt
	$(RUN) -m pip install --quiet -r requirements-test.txt
	touch $@

clean:
	rm -rf .venv
