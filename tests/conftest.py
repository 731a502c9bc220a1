"""Shared by all tests: four fake devices, quick compiles that are kept, and one small data set."""

import importlib.metadata
import os
import pathlib

ROOT = pathlib.Path(__file__).resolve().parents[1]
CACHE = ROOT / ".pytest_cache" / "prt_jax"
# The tests' nets are compiled far longer than they run; these flags make that several times shorter.
FLAGS = (
  "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true --xla_cpu_parallel_codegen_split_count=1"
)
if importlib.metadata.version("jax").startswith("0.10."):
  FLAGS += " --xla_cpu_use_fusion_emitters=false"  # later versions end the process at this flag
os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["XLA_FLAGS"] = f"{FLAGS} --xla_force_host_platform_device_count=4"
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["OPENBLAS_NUM_THREADS"] = "1"  # two workers' threads on two cores wait for each other

import jax
import numpy as np
import pytest
from PIL import Image

from prt_jax import devices
from tests import tiny

jax.config.update("jax_compilation_cache_dir", str(CACHE / "xla"))

# They need accelerators' compilers, and minutes: `make compiled`; a browser and gradio: `make view-test`.
collect_ignore = ["compiled", "viewer/test_browser.py"]


# The files that take minutes, longest first: started last, one of them would run alone on its worker.
LONG_FILES = (
  "test_loop.py", "test_step.py", "test_evaluate.py", "test_image_comparisons.py", "test_toy_gans.py",
  "test_extending.py",
)  # fmt: skip


def pytest_collection_modifyitems(items):
  rank = {name: place for place, name in enumerate(LONG_FILES)}
  items.sort(key=lambda item: rank.get(item.path.name, len(rank)))


@pytest.fixture(scope="module", autouse=True)
def few_mappings():
  """A worker compiles far more programs than Linux lets it map."""
  yield
  devices.release_programs()


@pytest.fixture(scope="session")
def photographs(tmp_path_factory):
  """A folder of smooth random 32x32 pictures, train/ and val/, the same in every session."""
  folder = tmp_path_factory.mktemp("photographs")
  rng = np.random.default_rng(0)
  for split, count in (("train", 24), ("val", 8)):
    (folder / split).mkdir()
    for i in range(count):
      coarse = Image.fromarray(rng.integers(0, 256, (5, 5, 3), dtype=np.uint8))
      path = folder / split / f"{i:03d}.png"
      coarse.resize((32, 32), Image.Resampling.BICUBIC).save(path)
      os.utime(path, (1_700_000_000, 1_700_000_000))
  return folder


@pytest.fixture
def tiny_config(photographs):
  """The tiny config on those pictures, unlocked, so that a test can change a field."""
  config = tiny.get_config()
  config.unlock()
  config.data.path = str(photographs)
  config.data.cache_dir = str(CACHE)
  return config
