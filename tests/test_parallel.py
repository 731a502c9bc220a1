"""How training uses a CPU: one device, with the convolutions that suit the nets' width."""

import os
import subprocess
import sys

import jax
import pytest

from prt_jax import parallel
from prt_jax.models.convolution import EIGEN_CONVOLUTIONS


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
    "import os, jax\nfrom prt_jax import parallel\nparallel.use_all_cores(24)\n"
    "from prt_jax.models.convolution import convolve_3x3\n"
    "arrays = [jax.numpy.ones(shape) for shape in ((1, 8, 8, 32), (3, 3, 32, 32))]\n"
    "compiled = jax.jit(convolve_3x3).lower(*arrays).compile().as_text()\n"
    "print('ynn' in compiled, jax.device_count(), os.environ['XLA_FLAGS'], sep='|')"
  )
  result = subprocess.run(
    [sys.executable, "-c", program], env=os.environ | {"XLA_FLAGS": flags}, capture_output=True, text=True, check=True
  )
  ynn, devices, seen = result.stdout.strip().split("|")
  assert (ynn == "False") == (added or "ynn" in flags)
  assert int(devices) == (3 if "count=3" in flags else 1)
  assert flags in seen and (seen != flags) == added


@pytest.mark.parametrize(
  ("environment", "devices"),
  [
    ({}, 1),
    ({"XLA_FLAGS": "--xla_force_host_platform_device_count=3"}, 3),
    ({"JAX_NUM_CPU_DEVICES": "3"}, 3),
  ],
)
@pytest.mark.parametrize("width", [8, 24])
def test_what_the_environment_says_stands(width, environment, devices):
  program = (
    "import jax, os\nfrom prt_jax import parallel\n"
    f"parallel.use_all_cores({width})\nprint(jax.device_count(), os.environ.get('XLA_FLAGS', ''))"
  )
  inherited = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
  result = subprocess.run(
    [sys.executable, "-c", program], env=inherited | environment, capture_output=True, text=True, check=True
  )
  flags = environment.get("XLA_FLAGS", EIGEN_CONVOLUTIONS if width == 24 and not environment else "")
  assert result.stdout.split() == [str(devices), *flags.split()]


def test_an_accelerators_flags_are_left_alone(monkeypatch):
  environment = {}
  monkeypatch.setattr(os, "environ", environment)
  monkeypatch.setattr(parallel.importlib.util, "find_spec", lambda name: name == "libtpu")
  monkeypatch.setattr(type(jax.config), "jax_platforms", property(lambda _: None), raising=False)
  parallel.use_all_cores(24)
  assert not environment
