"""Lower bounds stay below the constant where it is known, and come near it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from prt_jax.audit import audit
from prt_jax.lipschitz import attack_lower_bound, jacobian_lower_bound, sure_lower_bound

RNG = np.random.default_rng(0)
MATRIX = RNG.normal(size=(12, 20)).astype(np.float32)
NORM = np.linalg.norm(MATRIX.astype(np.float64), 2)
Y = jnp.asarray(RNG.uniform(size=(3, 12)), jnp.float32)
NO_NOISE = jnp.zeros((1, 3))


def linear(y, z):
  return y @ MATRIX


@pytest.mark.parametrize("bounds", [{"eps": 0.1}, {"eps": 1e-3}, {"alpha": 8 / 255}])
def test_attacks_on_a_linear_map_stay_below_its_norm_and_come_near(bounds):
  found = attack_lower_bound(linear, Y, NO_NOISE, jax.random.key(0), num_steps=50, num_restarts=2, **bounds)
  assert np.all(found <= NORM)
  assert np.all(found > (0.85 if "eps" in bounds else 0.7) * NORM)  # a corner of a cube is not the top singular vector


def test_the_jacobians_norm_of_a_linear_map():
  found, direction = jacobian_lower_bound(linear, Y, jnp.zeros(3), jax.random.key(0), num_steps=100)
  assert np.all(found <= NORM)
  np.testing.assert_allclose(found, NORM, rtol=1e-3)
  np.testing.assert_allclose(jnp.linalg.norm(direction, axis=1), 1, rtol=1e-5)


def test_an_early_stop_is_lower_and_more_steps_are_higher():
  bounds = [
    jacobian_lower_bound(linear, Y, jnp.zeros(3), jax.random.key(0), num_steps=steps)[0] for steps in (0, 1, 3, 30)
  ]
  assert np.all(np.diff(np.stack(bounds), axis=0) > 0)


def test_a_network_whose_constant_is_known():
  """A ReLU network from one number: the constant is its steepest piece, by the exact slope on a fine grid."""
  weights = RNG.normal(size=(3, 8)).astype(np.float32)

  def net(y, z):
    return jax.nn.relu(y * weights[0] + weights[1]) @ weights[2][:, None]

  grid = np.linspace(-0.5, 1.5, 20001)[:, None]
  values = np.maximum(grid * weights[0].astype(np.float64) + weights[1], 0) @ weights[2].astype(np.float64)
  true = np.abs(np.diff(values) / np.diff(grid[:, 0])).max()
  y = jnp.linspace(0.0, 1.0, 64)[:, None]
  attacked = attack_lower_bound(net, y, jnp.zeros((1, 64)), jax.random.key(0), eps=0.02, num_steps=10)
  local, _ = jacobian_lower_bound(net, y, jnp.zeros(64), jax.random.key(0), num_steps=3)
  for found in (attacked, local):
    assert found.max() <= true * (1 + 1e-6)
    assert found.max() > 0.5 * true


def test_restarts_never_lower_the_bound():
  def wavy(y, z):
    return jnp.sin(15 * y)

  one, many = (
    attack_lower_bound(wavy, Y, NO_NOISE, jax.random.key(1), eps=0.3, num_steps=3, num_restarts=restarts)
    for restarts in (1, 4)
  )
  assert np.all(many >= one)
  assert np.all(many <= 15)


def test_the_largest_of_the_seeds_counts():
  z = jnp.asarray([1.0, 3.0])[:, None, None] * jnp.ones((2, 3, 1))
  found = attack_lower_bound(lambda y, z: z * y, Y, z, jax.random.key(0), eps=0.1)
  np.testing.assert_allclose(found, 3, rtol=1e-3)


def test_a_constant_restorer_has_bound_zero():
  found, _ = jacobian_lower_bound(lambda y, z: jnp.ones((3, 5)) + 0 * y[:, :5], Y, jnp.zeros(3), jax.random.key(0))
  np.testing.assert_array_equal(found, 0)


def test_exactly_one_kind_of_attack():
  for bounds in ({}, {"eps": 1.0, "alpha": 1.0}):
    with pytest.raises(ValueError, match="either eps"):
      attack_lower_bound(linear, Y, NO_NOISE, jax.random.key(0), **bounds)


def nearly_constant(y, z=None):
  return 0.5 + 0.001 * y


def test_rounding_is_no_change():
  """Outputs about .5 are multiples of 6e-8, and the change of 4e-6 is rounded to one."""
  for bounds in ({"alpha": 1 / 255}, {"alpha": 1e-4}, {"eps": 1e-3}):
    found = attack_lower_bound(nearly_constant, Y, NO_NOISE, jax.random.key(0), num_steps=5, **bounds)
    assert np.all(found <= 0.001)
  assert np.all(attack_lower_bound(nearly_constant, Y, NO_NOISE, jax.random.key(0), alpha=0.1) > 0.0009)
  # The audit's, too, at every bound; the Jacobian needs no differences.
  y = np.random.default_rng(0).uniform(size=(1, 16, 16, 3)).astype(np.float32)
  report = audit(nearly_constant, y, alphas=(1e-4, 1 / 255, 32 / 255), num_steps=5, num_jacobian_steps=2)
  assert all(point["lipschitz"] <= 0.001 for point in report["robustness"])
  assert report["robustness"][-1]["lipschitz"] > 0.00099
  assert 0.00099 < report["lipschitz_lower_bound"] <= 0.001


def test_the_sure_bound_by_hand():
  x = jnp.ones((1, 4))
  # ||1|| = 2 twice, half a unit is 2^-24: 2^-22 is taken off a change of 4 * 2^-20.
  attacked = x + 2.0**-19 * jnp.ones((1, 4))
  expected = (2 * 2.0**-19 - 2.0**-22 - 2.0**-43) / 0.5 * (1 - 1e-5)
  np.testing.assert_allclose(sure_lower_bound(x, attacked, jnp.full((1, 1), 0.5)), expected, rtol=1e-6)
  for same in (x, x * (1 + 2.0**-23)):  # within the rounding: nothing is sure
    np.testing.assert_array_equal(sure_lower_bound(x, same, jnp.ones((1, 1))), 0)
  np.testing.assert_array_equal(sure_lower_bound(x, 2 * x, jnp.zeros((1, 1))), np.inf)  # no function of its input
  np.testing.assert_array_equal(sure_lower_bound(0 * x, 0 * x, jnp.zeros((1, 1))), 0)
