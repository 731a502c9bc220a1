"""The worlds of points: the very points of before they were a data source, drawn from the seed, and nothing on disk."""

import numpy as np
import pytest

from configs import toy_disk
from prt_jax.data import prepare
from prt_jax.errors import UserError

# Recorded from the experiments' code of before points were a data source: first and last of training, last validation.
RECORDED = {
  ("disk", 0): [
    (-0.5079852938652039, -0.5907167792320251), (-0.6679123044013977, -0.026295367628335953),
    (0.027583783492445946, 0.8203222155570984),
  ],
  ("ellipses", 3): [
    (0.03662306070327759, 0.8818217515945435), (-0.3431910574436188, 0.09243277460336685),
    (0.28945648670196533, -0.5622546672821045),
  ],
}  # fmt: skip


def data(**fields):
  config = toy_disk.get_config().unlock()
  config.data.update(**fields)
  return config.data


@pytest.mark.parametrize(("name", "seed"), RECORDED)
def test_the_points_are_those_of_the_published_runs(name, seed):
  dataset = prepare(data(name=name), seed)
  assert (dataset.train.shape, dataset.val.shape, dataset.train.dtype) == ((100_000, 2), (10_000, 2), np.float32)
  found = [dataset.train[0], dataset.train[-1], dataset.val[-1]]
  np.testing.assert_allclose(found, RECORDED[name, seed], rtol=3e-7)


def test_the_seed_is_a_part_of_what_they_are(tmp_path):
  first, again, other = (prepare(data(cache_dir=str(tmp_path / "cache")), seed) for seed in (0, 0, 1))
  assert first.fingerprint == again.fingerprint != other.fingerprint
  assert first.digests == again.digests != other.digests
  assert first.folder is None and not (tmp_path / "cache").exists()


def test_a_world_that_is_none():
  with pytest.raises(UserError, match=r"data\.name='square' is no world of points: .* disk, ellipses"):
    prepare(data(name="square"))
