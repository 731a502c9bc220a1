"""How far two samplers lie apart."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from prt_jax.audit import audit
from prt_jax.metrics import coupled_change, sampler_wasserstein
from prt_jax.restorers import as_restorer


def test_w1_is_the_least_over_all_pairings():
  draws, others = np.random.default_rng(0).uniform(size=(2, 5, 2, 3, 4, 3))

  def rmse(one, other):
    return np.sqrt(np.mean((one - other) ** 2))

  for b in range(2):
    pairings = [
      np.mean([rmse(draws[s, b], others[place, b]) for s, place in enumerate(order)])
      for order in itertools.permutations(range(5))
    ]
    assert sampler_wasserstein(draws, others)[b] == pytest.approx(min(pairings))
    assert coupled_change(draws, others)[b] == pytest.approx(pairings[0])


def test_the_audit_tells_a_moved_sampler_from_one_whose_draws_change_places():
  """f = y + .1 z moves with y: W1 is the change. cos(..) z, z being 1 or -1, ends with the same two pictures."""
  y = np.full((1, 16, 16, 3), 0.5, np.float32)

  def one_sign(keys, shape, num_seeds):
    del shape
    return jax.random.rademacher(keys[0], (num_seeds, len(keys), 1, 1, 1), np.float32)

  def moves(y, z):
    return y + 0.1 * z

  def exchanges(y, z):
    sign = jnp.cos(jnp.pi * (y[:, :1, :1, :1] - 0.5) / 0.1)
    return 0.5 + 0.1 * sign * z + 0 * y

  found = {}
  for restore in (moves, exchanges):
    report = audit(restore, y, draw_noise=one_sign, alphas=(0.1,), num_steps=5, num_strong_steps=0, num_seeds=16)
    found[restore] = report["images"][0]["robustness"][0]
  at = found[moves]
  assert at["w1"] == pytest.approx(at["w1_coupled"], rel=1e-3) == pytest.approx(0.1, rel=0.01)
  at = found[exchanges]
  z = as_restorer(exchanges, draw_noise=one_sign).draws(np.array([0]), range(16), (16, 16, 3))
  assert at["w1_coupled"] == pytest.approx(0.2, rel=0.02)
  assert at["w1"] == pytest.approx(0.2 * abs(float(np.mean(z))), rel=0.02) and abs(np.mean(z)) < 0.6
  # Under fresh noise neither looks robust, with or without an attack.
  assert found[moves]["fresh_robustness_db"] < found[moves]["robustness_db"] - 2


def test_a_deterministic_restorer_has_no_such_measures():
  y = np.full((1, 16, 16, 3), 0.5, np.float32)
  point = audit(lambda y: 2 * y, y, alphas=(0.1,), num_steps=2, num_strong_steps=0)["images"][0]["robustness"][0]
  assert "w1" not in point and "robustness_db" in point
