"""Programs of small nets, big enough for layouts to matter: a batch fills a TPU's 128 lanes."""

import importlib.metadata
import json
import os
import pathlib
import subprocess
import sys

import pytest

from tests.conftest import ROOT

RECORDED = pathlib.Path(__file__).parent / "recorded"
# Of the recorded numbers, by which a program may become dearer before it is told.
MARGIN = 1.03
TOLD = ("estimated_cycles", "copy_cycles")
_NETS = ("--config=configs/sr16.py:stochastic-robust,demo", "--seeds=2", "--dtype=bfloat16")


def compile_program(folder: pathlib.Path, *flags: str) -> dict:
  """The row that the benchmark writes, in a process of its own: JAX's environment is read when it is imported."""
  path = folder / "rows.json"
  command = [sys.executable, "-m", "benchmarks.compiled", *_NETS, *flags, f"--json={path}"]
  environment = {name: value for name, value in os.environ.items() if name not in ("XLA_FLAGS", "JAX_PLATFORMS")}
  finished = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
  assert finished.returncode == 0, finished.stderr[-2000:]
  (row,) = json.loads(path.read_text())
  return row


def check_recorded(name: str, row: dict, *, record: bool) -> None:
  """The cycles, and those of copies and layout, are about those recorded with this JAX; or they are recorded now."""
  path, version = RECORDED / f"{name}.json", importlib.metadata.version("jax")
  now = {"estimated_cycles": row["estimated_cycles"], "copy_cycles": row["by_kind"]["copy and layout"]}
  recorded = json.loads(path.read_text()) if path.exists() else {}
  if record:
    path.write_text(json.dumps(recorded | {version: now}, indent=2) + "\n")
  elif version not in recorded:
    pytest.skip(f"nothing recorded with JAX {version}: `make compiled RECORD=--record`")
  else:
    told = {number: f"{recorded[version][number]:,} -> {now[number]:,}" for number in TOLD}
    dearer = any(now[number] > MARGIN * recorded[version][number] for number in TOLD)
    assert not dearer, f"{name}: {told}; if that is meant: make compiled RECORD=--record"


def unet_flops_inside(width: int, size: int) -> int:
  """The U-Net's convolutions on one image, as roofline.unet_flops, without what falls on their padding."""
  channels = [width * 2**level for level in range(5)]
  layers = [(size, 3, width), (size, width, width)]
  for level in range(1, 5):
    side, below, above = size >> level, channels[level], channels[level - 1]
    layers += [(side, above + 1, below), (side, below, below), (2 * side, above + below, above)]
    layers += [(2 * side, above, above)]
  # Of each row's 3 n places of a kernel, two lie outside. The last layer's kernel is of one pixel.
  return 2 * size**2 * width * 3 + sum(2 * (3 * side - 2) ** 2 * inputs * outputs for side, inputs, outputs in layers)
