"""Devices and processes: their order, who knows of them, and how a CPU is used: one device, fitting convolutions."""

import collections
import os
import re
import subprocess
import sys

import jax
import numpy as np
import pytest

from prt_jax import devices
from prt_jax.devices import EIGEN_CONVOLUTIONS
from prt_jax.errors import UserError
from tests.conftest import ROOT


@pytest.mark.parametrize(
  ("flags", "added"),
  [
    ("", True),
    ("--xla_cpu_multi_thread_eigen=true", True),
    ("--xla_force_host_platform_device_count=3", False),
    ("--xla_cpu_experimental_ynn_fusion_type=reduce", False),
  ],
)
def test_wide_nets_get_convolutions_on_all_threads(flags, added):
  """XLA accepts the flag, and its convolution is then no longer YNN's."""
  program = (
    "import os, jax\nfrom prt_jax import devices\ndevices.use_all_cores(24)\n"
    "from prt_jax.models.convolution import convolve_3x3\n"
    "arrays = [jax.numpy.ones(shape) for shape in ((1, 8, 8, 32), (3, 3, 32, 32))]\n"
    "compiled = jax.jit(convolve_3x3).lower(*arrays).compile().as_text()\n"
    "print('ynn' in compiled, jax.device_count(), os.environ['XLA_FLAGS'], sep='|')"
  )
  result = subprocess.run(
    [sys.executable, "-c", program], env=os.environ | {"XLA_FLAGS": flags}, capture_output=True, text=True, check=True
  )
  ynn, count, seen = result.stdout.strip().split("|")
  assert (ynn == "False") == (added or "ynn" in flags)
  assert int(count) == (3 if "count=3" in flags else 1)
  assert flags in seen and (seen != flags) == added


@pytest.mark.parametrize(
  ("environment", "count"),
  [
    ({}, 1),
    ({"XLA_FLAGS": "--xla_force_host_platform_device_count=3"}, 3),
    ({"JAX_NUM_CPU_DEVICES": "3"}, 3),
  ],
)
@pytest.mark.parametrize("width", [8, 24])
def test_what_the_environment_says_stands(width, environment, count):
  program = (
    "import jax, os\nfrom prt_jax import devices\n"
    f"devices.use_all_cores({width})\nprint(jax.device_count(), os.environ.get('XLA_FLAGS', ''))"
  )
  inherited = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
  result = subprocess.run(
    [sys.executable, "-c", program], env=inherited | environment, capture_output=True, text=True, check=True
  )
  flags = environment.get("XLA_FLAGS", EIGEN_CONVOLUTIONS if width == 24 and not environment else "")
  assert result.stdout.split() == [str(count), *flags.split()]


def test_an_accelerators_flags_are_left_alone(monkeypatch):
  environment = {}
  monkeypatch.setattr(os, "environ", environment)
  monkeypatch.setattr(devices.importlib.util, "find_spec", lambda name: name == "libtpu")
  before = jax.config.jax_platforms  # with "cpu", as in these tests, no accelerator is looked for
  jax.config.update("jax_platforms", None)
  try:
    devices.use_all_cores(24)
  finally:
    jax.config.update("jax_platforms", before)
  assert not environment


def test_the_rows_are_in_the_order_in_which_pmap_takes_the_devices(monkeypatch):
  """Two processes whose devices alternate in jax.devices(): pmap takes process 0's, then process 1's."""
  Device = collections.namedtuple("Device", "id process_index")
  everything = [Device(0, 0), Device(1, 1), Device(2, 0), Device(3, 1)]
  monkeypatch.setattr(jax, "devices", lambda: everything)
  monkeypatch.setattr(jax, "device_count", lambda: 4)
  found = []
  for process in range(2):
    monkeypatch.setattr(jax, "local_devices", lambda process=process: [d for d in everything if d[1] == process])
    found.append(devices.local_rows(np.arange(8)).tolist())
  # What step.global_examples gives the places 0 to 3 of the axis, two examples each.
  assert found == [[[0, 1], [2, 3]], [[4, 5], [6, 7]]]


def test_no_other_module_asks_jax_for_devices_or_processes():
  """And this one imports nothing of the package but its errors: what it spreads is passed to it."""
  package = ROOT / "prt_jax"

  def with_match(pattern):
    return {str(path.relative_to(package)) for path in package.rglob("*.py") if re.search(pattern, path.read_text())}

  asks = r"\bjax\.(pmap|(local_)?devices|(local_)?device_count|process_(index|count)|default_backend)\b"
  assert with_match(asks) == with_match(r"\b(multihost_utils|distributed\.is_initialized)\b") == {"devices.py"}
  # Joining is no question: it is processes' part, and has nothing else of jax.distributed.
  assert with_match(r"\bjax\.distributed\b(?!\.is_initialized)") == {"training/processes.py"}
  imports = re.findall(r"^ *(?:from|import) (prt_jax[\w.]*)", (package / "devices.py").read_text(), re.M)
  assert imports == ["prt_jax.errors"]


def test_a_platform_that_is_not_here_is_one_line(monkeypatch):
  def none():
    raise RuntimeError("Unable to initialize backend 'tpu'\nand more")

  before = jax.config.jax_platforms
  devices.use_platform("cpu")
  monkeypatch.setattr(jax, "default_backend", none)
  with pytest.raises(UserError, match=r"--device=tpu: there is none here .* .Unable to .*: leave the flag"):
    devices.use_platform("tpu")
  assert jax.config.jax_platforms == before == "cpu"
