"""Every public function and class has an example in its docstring, and each gives what it says."""

import importlib
import inspect

import pytest

import prt_jax
from tests.examples import run_example

MODULES = (
  "attacks", "audit", "decision_attack", "degradations", "evaluation.exploration", "features", "lipschitz", "losses",
  "metrics", "models", "quality_bounds", "restorers", "smoothing",
)  # fmt: skip
# They train or read a run: theirs are run in test_points.py and test_evaluate.py, which have one.
OF_A_RUN = {"train", "load_run", "evaluate", "load_restorer"}


def public():
  """{name: function or class} of what users import."""
  found = {}
  for name in MODULES:
    module = importlib.import_module(f"prt_jax.{name}")
    own = [name for name, value in vars(module).items() if getattr(value, "__module__", "") == module.__name__]
    names = getattr(module, "__all__", [name for name in own if not name.startswith("_")])
    found |= {f"{module.__name__}.{name}": getattr(module, name) for name in names}
  found |= {f"prt_jax.{name}": getattr(prt_jax, name) for name in prt_jax.__all__ if name not in OF_A_RUN}
  inner = {name: inspect.unwrap(value) for name, value in found.items()}
  return {
    name: value for name, value in inner.items()
    if inspect.isfunction(value) or (inspect.isclass(value) and not issubclass(value, Exception))
  }  # fmt: skip


PUBLIC = public()


def test_there_are_many():
  assert {"prt_jax.UNet", "prt_jax.metrics.psnr", "prt_jax.losses.r1_penalty"} <= PUBLIC.keys()
  assert len(PUBLIC) > 80


@pytest.mark.parametrize("name", PUBLIC)
def test_the_example_gives_what_it_says(name):
  run_example(PUBLIC[name])
