"""Runs the command line as its user would, on one CPU device, quickly compiled."""

import os
import subprocess
import sys

from tests.conftest import CACHE, FLAGS, ROOT


def command(*arguments, config="tests/tiny.py", path=None):
  """The argument list of python -m prt_jax.main on the tiny config."""
  data = [f"--config.data.cache_dir={CACHE}", *([f"--config.data.path={path}"] if path else [])]
  return [sys.executable, "-m", "prt_jax.main", f"--config={config}", *data, *arguments]


def environment(**extra):
  """This process's, less the four fake devices."""
  return {**os.environ, "XLA_FLAGS": FLAGS, "JAX_PLATFORMS": "cpu", **extra}


def run(*arguments, timeout=300, env=None, **keywords):
  """Runs to the end; returns the completed process with its text."""
  return subprocess.run(
    command(*arguments, **keywords), cwd=ROOT, env=environment(**(env or {})), capture_output=True, text=True,
    timeout=timeout, check=False,
  )


def start(*arguments, **keywords):
  """Starts in the background, output joined."""
  return subprocess.Popen(
    command(*arguments, **keywords), cwd=ROOT, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    text=True,
  )


def assert_one_line(result, *parts):
  """Exit code 1, no traceback, and a last line that holds all parts."""
  assert result.returncode == 1, result.stderr
  assert "Traceback" not in result.stderr + result.stdout
  errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
  assert len(errors) == 1, result.stderr
  for part in parts:
    assert part in errors[0], errors[0]
