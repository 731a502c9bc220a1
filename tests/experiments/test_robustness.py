"""sqrt(R): estimators whose change is known, the attack against the exact maximum, the posterior sampler's bound."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.robustness import largest_change, posterior_sampler_bound, root_robustness

ATTACK = (("eps", 1e-3), ("num_steps", 4), ("learning_rate", 1e-4))


def line(slope, y, z):
  return slope * y + z


def test_a_line_changes_by_its_slope():
  y = np.random.default_rng(0).uniform(-0.5, 0.5, (400, 1)).astype(np.float32)
  z = jnp.ones((3, 400, 1))
  attacked, exact = root_robustness(line, 3.0, y, z, jax.random.key(0), ATTACK)
  assert attacked == pytest.approx(3e-3, rel=1e-3)
  assert exact == pytest.approx(3e-3, rel=1e-3)


def test_each_measurement_keeps_its_own_draws():
  # z multiplies: the mean squared slope over the draws (1, 2) of the first half and (3, 4) of the second.
  y = jnp.zeros((400, 1))
  z = jnp.repeat(jnp.array([[1.0, 3.0], [2.0, 4.0]]), 200, axis=1)[..., None]
  _, exact = root_robustness(lambda _, y, z: z * y, None, y, z, jax.random.key(0), ATTACK)
  assert exact == pytest.approx(1e-3 * np.sqrt((1 + 4 + 9 + 16) / 4), rel=1e-4)


def test_the_exact_maximum_sees_a_bump_inside_the_interval():
  def bump(y, z):
    return jnp.maximum(0, 1 - jnp.abs(y - 0.5) / 0.25)

  y, z = jnp.zeros((1, 1)), jnp.zeros((1, 1, 1))
  assert float(largest_change(bump, y, z, bump(y, z)[None], eps=1.0)[0]) == pytest.approx(1)


def test_posterior_samplers_bound_is_eps_over_root_three():
  assert posterior_sampler_bound(1e-3) == pytest.approx(0.577e-3, abs=0.002e-3)
