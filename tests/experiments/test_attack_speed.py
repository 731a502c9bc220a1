"""The PyTorch side of the comparison is the same attack as attacks.ifgsm."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

torch = pytest.importorskip("torch")

from experiments.attack_speed import attack_torch, timed  # noqa: E402
from prt_jax.attacks import sign_ascent  # noqa: E402


def test_both_loops_take_the_same_steps():
  rng = np.random.default_rng(0)
  matrix = rng.normal(size=(12, 48)).astype(np.float32)
  y = rng.uniform(size=(1, 3, 2, 2)).astype(np.float32)
  start = (0.001 * rng.uniform(-1, 1, y.shape)).astype(np.float32)

  def squared(y):
    return (y.reshape(1, 12) @ matrix).reshape(1, 3, 4, 4) ** 2

  ours = attack_torch(lambda y: (y.reshape(1, 12) @ torch.from_numpy(matrix)).reshape(1, 3, 4, 4) ** 2,
                      torch.from_numpy(y), torch.from_numpy(start), 0.1, 5)  # fmt: skip

  def distance(attacked):
    return jnp.sqrt(jnp.sum((squared(attacked) - squared(y)) ** 2) + 1e-20)

  theirs = sign_ascent(jax.tree_util.Partial(distance), jnp.asarray(y), jnp.asarray(start), alpha=0.1, num_steps=5)
  np.testing.assert_allclose(ours.numpy(), theirs, atol=1e-6)


def test_times_are_of_the_call():
  assert timed(lambda: sum(range(100_000)))["processor_seconds"] > 0
