"""How training uses a CPU: one device for wide nets, one a core, with examples for each, for narrow ones."""

import os
import subprocess
import sys

import jax
import pytest

from prt_jax import parallel


@pytest.mark.parametrize(
  ("cores", "batch_sizes", "devices"),
  [
    (2, (16,), 2),
    (2, (15,), 1),  # no core without examples
    (2, (16, 15), 1),  # evaluation's batch counts as well
    (8, (32, 48), 8),
    (64, (64,), 16),  # four examples a core at least
    (3, (16,), 2),
    (1, (16,), 1),
  ],
)
def test_one_device_a_core(cores, batch_sizes, devices, monkeypatch):
  monkeypatch.setattr(os, "environ", {})
  monkeypatch.setattr(parallel, "num_cores", lambda: cores)
  updates = {}
  monkeypatch.setattr(jax.config, "update", updates.__setitem__)
  parallel.use_all_cores(8, *batch_sizes)
  assert updates == {"jax_num_cpu_devices": devices}


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
    "import os, jax\nfrom prt_jax import parallel\nparallel.num_cores = lambda: 2\nparallel.use_all_cores(24, 16)\n"
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
  ("environment", "started", "devices"),
  [
    ({}, False, 2),
    ({"XLA_FLAGS": "--xla_force_host_platform_device_count=3"}, False, 3),
    ({"JAX_NUM_CPU_DEVICES": "3"}, False, 3),
    ({}, True, 1),  # what has started keeps its devices
  ],
)
def test_what_the_environment_says_stands(environment, started, devices):
  program = (
    f"import jax\nfrom prt_jax import parallel\nparallel.num_cores = lambda: 2\n{'jax.devices()' if started else ''}\n"
    "parallel.use_all_cores(8, 16)\nprint(jax.device_count())"
  )
  inherited = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
  result = subprocess.run(
    [sys.executable, "-c", program], env=inherited | environment, capture_output=True, text=True, check=True
  )
  assert result.stdout.split() == [str(devices)]


def test_an_accelerators_flags_are_left_alone(monkeypatch):
  environment, updates = {}, {}
  monkeypatch.setattr(os, "environ", environment)
  monkeypatch.setattr(parallel.importlib.util, "find_spec", lambda name: name == "libtpu")
  monkeypatch.setattr(type(jax.config), "jax_platforms", property(lambda _: None), raising=False)
  monkeypatch.setattr(jax.config, "update", updates.__setitem__)
  parallel.use_all_cores(24, 16)
  assert not environment and updates.keys() <= {"jax_num_cpu_devices"}
