# Everything a fresh machine needs happens in .venv; PYTHON picks the interpreter it is made from.
PYTHON ?= python3
RUN = .venv/bin/python

.PHONY: demo test wheel view-test compiled compiled-gpu docs lint clean

# Trains the x16 super-resolution demo on the embedded photographs; again: says that the run is complete.
demo: .venv/package
	$(RUN) -m prt_jax.main --config=configs/sr16.py:stochastic-robust,demo
	@echo "Look at: runs/sr16-stochastic-robust-demo/images/00000660.png (original, measurement, four draws, their std)"
	@echo "Next:    .venv/bin/python -m prt_jax.main --mode=eval --config=configs/sr16.py:stochastic-robust,demo"

# A worker that dies fails the run at once: one started in its place would be waited for without an end.
test: lint wheel
	$(RUN) -m pytest -n 2 --dist loadfile --no-loadscope-reorder --max-worker-restart=0

# What a user installs, in an environment of its own that sees no checkout; the other packages are those of .venv.
wheel: .venv/tests
	rm -rf .venv/dist .venv/wheel
	$(RUN) -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir .venv/dist .
	$(RUN) -m venv --without-pip .venv/wheel
	$(RUN) -c "import sysconfig; print('import site; site.addsitedir(%r)' % sysconfig.get_path('purelib'))" > .venv/packages.pth
	cp .venv/packages.pth .venv/wheel/lib/python3.*/site-packages
	$(RUN) -m pip --python .venv/wheel/bin/python install --quiet --no-deps --no-index .venv/dist/*.whl

# What a TPU's compiler makes of small training steps, compared with what is recorded (RECORD=--record: records it).
compiled: .venv/tests .venv/compiler-tpu
	$(RUN) -m pytest -n 2 --dist loadfile $(RECORD) tests/compiled/test_one_chip.py tests/compiled/test_slice.py

compiled-gpu: .venv/tests .venv/compiler-gpu
	$(RUN) -m pytest tests/compiled/test_gpu.py

# The viewer in a headless browser (Debian: apt install chromium chromium-driver). An environment of its own, since gradio
# needs an older Pillow.
view-test: .venv/view
	.venv/view/bin/python -m pytest tests/viewer/test_browser.py

# The pages of docs/ and the API's reference, into site/; a broken link ends it.
docs: .venv/docs
	$(RUN) -m mkdocs build --strict --quiet

lint: .venv/tests
	$(RUN) -m ruff check .
	$(RUN) -m pyright --pythonpath $(RUN)

.venv/package: requirements.txt
	$(PYTHON) -m venv .venv
	$(RUN) -m pip install --quiet --upgrade pip
	$(RUN) -m pip install --quiet -r requirements.txt
	touch $@

.venv/tests: .venv/package requirements-test.txt
	$(RUN) -m pip install --quiet -r requirements-test.txt
	touch $@

.venv/docs: .venv/package
	$(RUN) -m pip install --quiet "mkdocs-material>=9.8,<10" "mkdocstrings[python]>=1.0,<2"
	touch $@

# In folders of their own, where JAX does not find them: with libtpu in .venv, training would look for a TPU.
.venv/compiler-tpu: .venv/package
	$(RUN) -m pip install --quiet --upgrade --no-deps --target=.venv/libtpu "$$($(RUN) -m benchmarks.compilers tpu)"
	touch $@

.venv/compiler-gpu: .venv/package
	$(RUN) -m pip install --quiet --upgrade --target=.venv/cuda "$$($(RUN) -m benchmarks.compilers gpu)"
	touch $@

.venv/view: pyproject.toml
	$(PYTHON) -m venv .venv/view
	.venv/view/bin/python -m pip install --quiet '.[view]' pytest selenium
	touch $@

clean:
	rm -rf .venv
