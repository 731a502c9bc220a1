"""The chips' numbers agree with one another, and a wrong name is one line."""

import subprocess
import sys

import pytest

from prt_jax import targets
from prt_jax.errors import UserError

# Multiplications and additions that all matrix units of a chip do in a cycle.
MATRIX_UNITS = {"tpu-v5e": 4 * 128**2, "tpu-v6e": 4 * 256**2, "tpu-v5p": 2 * 4 * 128**2}


@pytest.mark.parametrize("name", MATRIX_UNITS)
def test_a_tpus_peak_is_its_clock_times_its_matrix_units(name):
  target = targets.find(name)
  assert target.peak_flops["bfloat16"] == pytest.approx(2 * MATRIX_UNITS[name] * target.clock_hz, rel=0.01)


@pytest.mark.parametrize("target", targets.TARGETS.values(), ids=lambda target: target.name)
def test_a_slices_sides_multiply_to_its_chips(target):
  for chips, topology in target.topologies.items():
    sides = [int(side) for side in topology.rpartition(":")[2].split("x")]
    product = 1
    for side in sides:
      product *= side
    assert product == chips


def test_unknown_chips_are_one_line():
  with pytest.raises(UserError, match="--target='tpu-v7' is unknown: choose one of tpu-v5e, tpu-v6e, "):
    targets.find("tpu-v7")
  with pytest.raises(UserError, match="--chips=3: of tpu-v5e choose one of 1, 4, 8, 16"):
    targets.check_chips(targets.find("tpu-v5e"), 3)


def test_importing_them_does_not_import_jax():
  script = "import sys, prt_jax.targets; sys.exit('jax' in sys.modules)"
  assert subprocess.run([sys.executable, "-c", script]).returncode == 0
