"""How many devices a CPU is: as many as have examples to work on."""

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
  parallel.one_device_a_core(*batch_sizes)
  assert updates == {"jax_num_cpu_devices": devices}


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
    "parallel.one_device_a_core(16)\nprint(jax.device_count())"
  )
  inherited = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
  result = subprocess.run(
    [sys.executable, "-c", program], env=inherited | environment, capture_output=True, text=True, check=True
  )
  assert result.stdout.split() == [str(devices)]
