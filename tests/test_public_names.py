"""What `import prt_jax` gives, and when."""

import inspect
import subprocess
import sys

import pytest

import prt_jax
from tests.commands import environment


def python(script):
  """The output of a script in a process of its own."""
  done = subprocess.run([sys.executable, "-c", script], env=environment(), capture_output=True, text=True, timeout=120)
  assert not done.returncode, done.stderr
  return done.stdout.split()


def test_every_name_is_there_and_listed():
  assert all(getattr(prt_jax, name) is not None for name in prt_jax.__all__)
  assert set(prt_jax.__all__) <= set(dir(prt_jax))
  with pytest.raises(AttributeError, match="nothing"):
    _ = prt_jax.nothing


def test_jax_is_imported_with_the_first_name():
  script = "import sys, prt_jax; dir(prt_jax); print('jax' in sys.modules, 'numpy' in sys.modules); "
  assert python(f"{script}prt_jax.UNet; print('jax' in sys.modules)") == ["False", "False", "True"]


@pytest.mark.parametrize("imports", [
  "import prt_jax; f = prt_jax.{0}; from prt_jax.{0} import {0}",
  "from prt_jax.{0} import {0}; import prt_jax; f = prt_jax.{0}",
  "from prt_jax import {0} as f; import prt_jax.{0}; from prt_jax.{0} import {0}",
])  # fmt: skip
def test_a_command_is_a_function_too_however_it_is_imported(imports):
  script = "import inspect\n"
  for name in ("audit", "explore", "evaluate", "train"):
    script += imports.format(name) + f"\nprint(callable(f), f is prt_jax.{name}, f.{name} is {name})\n"
    script += f"print(inspect.signature(f) == inspect.signature({name}))\n"
  assert python(script) == 16 * ["True"]


def test_calling_the_module_calls_the_function():
  with pytest.raises(prt_jax.UserError, match="nothing to audit"):
    prt_jax.audit(lambda y: y, [])
  assert list(inspect.signature(prt_jax.explore).parameters)[:4] == ["restore", "y", "z", "key"]
