"""Exploration finds the modes of an erratic restorer, and nothing on a robust one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from prt_jax.errors import UserError
from prt_jax.evaluation.exploration import explore, pairwise_distances, radius, random_outputs
from prt_jax.metrics import psnr

Y = jax.random.uniform(jax.random.key(0), (1, 16, 16, 3), minval=0.3, maxval=0.7)
RNG = np.random.default_rng(0)
# Four orthogonal directions of the measurement, each with a picture that it switches on and off.
DIRECTIONS = jnp.asarray(np.linalg.qr(RNG.normal(size=(768, 4)))[0].T.reshape(4, 16, 16, 3), jnp.float32)
PICTURES = jnp.asarray(RNG.choice([-0.5, 0.5], size=(4, 32, 32, 3)), jnp.float32)


def robust(y, z):
  return y.repeat(2, 1).repeat(2, 2)


def erratic(y, z):
  """Steep along four directions only: a random perturbation has little of them, a chosen one all."""
  eps = radius((16, 16, 3), 30.0)
  coordinates = jnp.einsum("khwc,bhwc->bk", DIRECTIONS, y - Y) / eps
  switches = jnp.sin(np.pi / 2 * coordinates)
  return robust(y, z) + jnp.einsum("bk,khwc->bhwc", switches, PICTURES)


def mean_distances(restore):
  _, found = explore(restore, Y, None, jax.random.key(1), num_outputs=6, num_steps=40)
  blind = random_outputs(restore, Y, None, jax.random.key(2), num_outputs=6)
  return pairwise_distances(found).mean(), pairwise_distances(blind).mean()


def test_exploration_spreads_an_erratic_restorer_five_times_wider_and_not_a_robust_one():
  found, blind = mean_distances(erratic)
  assert found >= 5 * blind
  found, blind = mean_distances(robust)
  assert found < 2 * blind


@pytest.mark.parametrize("min_input_psnr", [30.0, 40.0])
def test_the_input_psnr_holds_and_outputs_belong_to_their_perturbations(min_input_psnr):
  y = jnp.concatenate([Y[:, :8] * 0, Y[:, 8:]], 1)  # black pixels cannot become darker
  delta, found = explore(
    robust, y, None, jax.random.key(0), num_outputs=3, min_input_psnr=min_input_psnr, num_steps=5
  )
  assert np.all(psnr(y + delta[1:], y.repeat(2, 0)) >= min_input_psnr - 1e-3)
  assert (y + delta).min() >= 0
  assert (y + delta).max() <= 1
  np.testing.assert_array_equal(delta[0], 0)
  np.testing.assert_allclose(found, robust(y + delta, None), atol=1e-6)


def test_the_input_psnr_holds_for_a_noisy_measurement():
  y = Y + 0.3 * jax.random.normal(jax.random.key(3), Y.shape)
  assert y.min() < 0 and y.max() > 1
  delta, _ = explore(robust, y, None, jax.random.key(0), num_outputs=3, num_steps=3)
  assert np.all(psnr(y + delta[1:], y.repeat(2, 0)) >= 30 - 1e-3)
  blind = random_outputs(lambda y, z: y, y, None, jax.random.key(0), num_outputs=3)
  assert np.all(psnr(blind[1:], y.repeat(2, 0)) >= 30 - 1e-3)


def test_the_farthest_of_a_linear_restorer_is_along_its_singular_direction():
  gains = jnp.array([0.2, 0.5, 0.9])
  delta, found = explore(lambda y, z: gains * y, Y, None, jax.random.key(0), num_outputs=2, num_steps=30)
  np.testing.assert_allclose(jnp.linalg.norm(found[1] - found[0]), 0.9 * radius((16, 16, 3), 30.0), rtol=1e-3)
  assert np.sum(delta[1, ..., 2] ** 2) > 0.999 * np.sum(delta[1] ** 2)


def test_each_output_is_far_from_all_before_it():
  _, found = explore(erratic, Y, None, jax.random.key(1), num_outputs=4, num_steps=40)
  distances = pairwise_distances(found)
  assert distances.min() > 0.4 * distances.max()


def test_an_eager_restorer_explores_alike():
  class Eager:
    eager = True

    def __call__(self, y, z):
      return erratic(y, z)

  arguments = {"num_outputs": 3, "num_steps": 5}
  _, found = explore(Eager(), Y, None, jax.random.key(1), **arguments)
  np.testing.assert_allclose(found, explore(erratic, Y, None, jax.random.key(1), **arguments)[1], atol=1e-3)


def test_pairwise_distances_by_hand():
  np.testing.assert_allclose(pairwise_distances(np.array([[0.0, 0], [3, 3], [0, 4]])), [3, 8**0.5, 5**0.5])


def test_counts_are_checked():
  with pytest.raises(UserError, match="num_outputs=0"):
    explore(robust, Y, None, jax.random.key(0), num_outputs=0)


@pytest.mark.parametrize(
  ("restore", "part"),
  [
    (lambda y, z: jnp.round(64 * robust(y, z)) / 64, "gradient is zero although its output changes"),
    (lambda y, z: robust(y, z) + jnp.sqrt(0 * y.mean()), "gradient is NaN"),
  ],
)
def test_a_restorer_whose_gradient_says_nothing_is_refused(restore, part):
  with pytest.raises(UserError, match=part):
    explore(restore, Y, None, jax.random.key(0), num_outputs=2, num_steps=2)


def test_a_constant_restorer_has_one_output():
  _, found = explore(lambda y, z: 0 * y + 0.5, Y, None, jax.random.key(0), num_outputs=2, num_steps=2)
  np.testing.assert_array_equal(found, 0.5)
