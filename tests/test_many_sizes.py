"""Pictures of very many sizes: a process lets go of programs before it comes to Linux's limit of mappings."""

import pathlib

import jax
import numpy as np
import pytest
from PIL import Image

from prt_jax import certify, devices, explore, restore
from prt_jax.audit import Auditor, Protocol
from prt_jax.data.image_pairs import Pair
from prt_jax.restorers import as_restorer

MAPS = pathlib.Path("/proc/self/maps")
linux = pytest.mark.skipif(not MAPS.exists(), reason="only Linux has such a limit")


def mappings():
  return len(MAPS.read_text().splitlines())


@jax.jit
def doubled(x):
  return 2 * x


@linux
def test_programs_stay_until_there_are_very_many(monkeypatch):
  doubled(1.0)
  devices.release_programs()
  assert doubled._cache_size() == 1
  monkeypatch.setattr(devices, "MOST_MAPPINGS", mappings() - 100)
  devices.release_programs()
  assert doubled._cache_size() == 0


@linux
def test_an_audits_mappings_stay_bounded_over_sizes(monkeypatch):
  auditor = Auditor(as_restorer(lambda y: 0.5 * y), Protocol(alphas=(0.1,), num_steps=1))

  def audit_sizes(sizes):
    """Mappings before each of them."""
    pairs = [Pair(str(side), None, np.full((side, 16, 3), 0.5, np.float32)) for side in sizes]
    return [mappings() for _ in auditor.audit(pairs)]

  first, *_, last = audit_sizes(range(16, 19))
  assert last > first  # each size takes some
  monkeypatch.setattr(devices, "MOST_MAPPINGS", last)
  assert max(audit_sizes(range(19, 25))) <= last + (last - first)


@pytest.mark.parametrize(
  "command, flags",
  [
    (restore, []),
    (explore, ["--num_outputs=2", "--num_steps=1"]),
    (certify, ["--num_samples=8", "--confidence=0.6", "--radii=0.01", "--num_steps=1"]),
  ],
  ids=["restore", "explore", "certify"],
)
def test_commands_look_before_each_picture(command, flags, tmp_path, monkeypatch):
  (tmp_path / "in").mkdir()
  for name, side in (("a", 16), ("b", 20)):
    Image.new("RGB", (side, side), (90, 120, 150)).save(tmp_path / "in" / f"{name}.png")
  looked = []
  monkeypatch.setattr(devices, "release_programs", lambda: looked.append(1))
  command.main([
    "--restorer=bicubic", "--scale=2", f"--input={tmp_path / 'in'}", f"--output={tmp_path / 'out'}",
    "--degradation=none", *flags,
  ])  # fmt: skip
  assert len(looked) == 2
