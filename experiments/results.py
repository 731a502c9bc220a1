"""What an experiment leaves behind: its numbers as JSON, with what is needed to measure them again, and tables."""

import importlib.metadata
import json
import os
import pathlib
import platform
import re
import shlex
import sys

import numpy as np

from prt_jax import devices

FOLDER = pathlib.Path("docs/results")
_PACKAGES = ("jax", "flax", "optax", "numpy", "scipy")


def write_results(folder: pathlib.Path, name: str, results: dict, seconds: float) -> pathlib.Path:
  """Writes folder/NAME.json: the results, then the command, hardware, versions and the seconds it took."""
  folder.mkdir(parents=True, exist_ok=True)
  path = folder / f"{name}.json"
  path.write_text(json.dumps(results | provenance() | {"seconds": round(seconds, 1)}, indent=2) + "\n")
  return path


def provenance() -> dict:
  """The command line, the hardware and the versions of this process."""
  program, *arguments = sys.argv
  return {
    "command": shlex.join(["python", "-m", f"experiments.{pathlib.Path(program).stem}", *map(_elsewhere, arguments)]),
    "hardware": {
      "processor": devices.processor(),
      "cores_used": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
      "jax_device": devices.describe(),
    },
    "versions": {"python": platform.python_version(), **{name: importlib.metadata.version(name) for name in _PACKAGES}},
  }


def _elsewhere(argument: str) -> str:
  """A flag as somebody else would give it: folders of this machine say nothing to them."""
  return re.sub(r"(?<![^=])[/~](?:[^/]*/)*", "DIR/", argument)


def mean_and_spread(values) -> dict[str, float]:
  """{'mean', 'std', 'min', 'max', 'count'}; the deviation has divisor N - 1 and is 0 for a single value."""
  values = np.asarray(values, np.float64)
  return {
    "mean": float(values.mean()),
    "std": float(values.std(ddof=1)) if len(values) > 1 else 0.0,
    "min": float(values.min()),
    "max": float(values.max()),
    "count": len(values),
  }


def format_table(header: list[str], rows: list[list]) -> str:
  """Aligned text; floats to four significant digits, anything else as it is."""
  texts = [header, *([f"{cell:.4g}" if isinstance(cell, float) else str(cell) for cell in row] for row in rows)]
  widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
  lines = ["  ".join(cell.ljust(width) for cell, width in zip(text, widths, strict=True)).rstrip() for text in texts]
  return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])
