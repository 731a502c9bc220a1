"""The console commands that an installation brings, each the same as python -m on a module of prt_jax."""

import os
import runpy
import sys


def train() -> None:
  """prt-train."""
  _run("prt_jax.main")


def audit() -> None:
  """prt-audit."""
  _run("prt_jax.audit")


def restore() -> None:
  """prt-restore."""
  _run("prt_jax.restore")


def explore() -> None:
  """prt-explore."""
  _run("prt_jax.explore")


def export() -> None:
  """prt-export."""
  _run("prt_jax.export")


def view() -> None:
  """prt-view."""
  _run("prt_jax.view")


def compare() -> None:
  """prt-compare."""
  _run("prt_jax.compare")


def _run(module: str) -> None:
  # What python -m does, and a script does not: --restorer=mine:function is looked for where the command is given.
  if not sys.flags.safe_path:
    sys.path.insert(0, os.getcwd())
  # As __main__, since absl's --help lists the flags of that module alone.
  runpy.run_module(module, run_name="__main__")
