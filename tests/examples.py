"""Runs the example in a docstring."""

import doctest
import importlib
import inspect

import jax
import jax.numpy as jnp
import numpy as np

import prt_jax


def run_example(value, **names):
  """Fails where an example is missing or gives something else; `names` are what it takes for given."""
  value = inspect.unwrap(value)
  module = importlib.import_module(value.__module__)
  known = vars(module) | {"prt_jax": prt_jax, "jax": jax, "jnp": jnp, "np": np} | names
  (example,) = doctest.DocTestFinder(recurse=False).find(value, value.__name__, module=module, globs=known)
  assert example.examples, f"{value.__name__} has no example"
  said = []
  runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
  runner.run(example, out=said.append)
  assert not runner.failures, "".join(said)
