"""The joint index against closed forms of Gaussians, and against cases that tell it from a marginal distance."""

import numpy as np
import pytest

from prt_jax.errors import UserError
from prt_jax.metrics.joint import joint_frechet_distance, joint_sinkhorn, joint_wasserstein, sinkhorn_divergence
from prt_jax.metrics.wasserstein import wasserstein


def denoising(count, noise=1.0, seed=0):
  """X ~ N(0, 1), Y = X + N(0, noise^2), and the posterior mean's gain."""
  rng = np.random.default_rng(seed)
  x = rng.normal(size=count)
  return x, x + noise * rng.normal(size=count), 1 / (1 + noise**2)


def gaussian_w2_squared(a, b):
  """Closed form for zero-mean Gaussians with covariances a, b (2 x 2): trace(a + b) - 2 trace((a b)^(1/2))."""
  product = a @ b
  # The root's trace of a 2 x 2 matrix with positive eigenvalues.
  root_trace = np.sqrt(np.trace(product) + 2 * np.sqrt(max(np.linalg.det(product), 0)))
  return np.trace(a) + np.trace(b) - 2 * root_trace


def joint_covariances(noise, gain):
  variance = 1 + noise**2
  original = np.array([[1, 1], [1, variance]])
  restored = variance * np.array([[gain**2, gain], [gain, 1]])
  return original, restored


@pytest.mark.parametrize("noise", [0.5, 1.0])
def test_wasserstein_and_sinkhorn_near_the_gaussian_closed_form(noise):
  x, y, gain = denoising(1500, noise)
  expected = np.sqrt(gaussian_w2_squared(*joint_covariances(noise, gain)))
  assert joint_wasserstein(x, y, gain * y, p=2) == pytest.approx(expected, rel=0.1)
  assert joint_sinkhorn(x, y, gain * y, epsilon=0.005) == pytest.approx(expected, rel=0.1)


def test_frechet_is_the_gaussian_closed_form():
  x, y, gain = denoising(200_000)
  original, restored = joint_covariances(1.0, gain)
  value = joint_frechet_distance(x[:, None], y[:, None], gain * y[:, None])
  assert value == pytest.approx(gaussian_w2_squared(original, restored), rel=0.02)


def test_the_joint_index_sees_what_the_marginals_hide():
  x, y, _ = denoising(600)
  shuffled = np.random.default_rng(1).permutation(x)  # perfect marginal, no consistency
  assert wasserstein(x, shuffled, 2) == 0
  for index in (joint_wasserstein, joint_sinkhorn):
    assert index(x, y, shuffled) > 0.3
  assert joint_frechet_distance(x[:, None], y[:, None], shuffled[:, None]) > 0.1


def test_the_truth_has_index_zero():
  x, y, _ = denoising(200)
  assert joint_wasserstein(x, y, x) == 0
  assert joint_sinkhorn(x, y, x) < 0.02
  assert joint_frechet_distance(x[:, None], y[:, None], x[:, None]) < 1e-12


def test_measurements_of_their_own_are_used():
  x, y, _ = denoising(100)
  assert joint_wasserstein(x, y, x, y + 3) == pytest.approx(3)


@pytest.mark.parametrize("epsilon", [0.05, 1.0, 20.0])
def test_sinkhorn_of_a_translation_is_exact_for_any_epsilon(epsilon):
  a = np.random.default_rng(0).normal(size=(80, 3))
  assert sinkhorn_divergence(a, a + np.array([3, 0, 4]), epsilon=epsilon) == pytest.approx(25, rel=1e-3)


def test_sinkhorn_tends_to_the_exact_assignment():
  rng = np.random.default_rng(0)
  a, b = rng.normal(size=(100, 2)), rng.normal(size=(100, 2)) * [2, 0.5]
  exact = wasserstein(a, b, 2) ** 2
  errors = [abs(sinkhorn_divergence(a, b, epsilon=epsilon, num_steps=1000) - exact) for epsilon in (1.0, 0.1, 0.02)]
  assert errors[0] > errors[1] > errors[2]
  assert errors[2] < 0.05 * exact


def test_sinkhorn_of_equal_and_of_single_points():
  point = np.zeros((1, 2))
  assert sinkhorn_divergence(point, point) == 0
  assert sinkhorn_divergence(point, point + np.array([0, 2])) == pytest.approx(4, rel=1e-5)


def test_sizes_that_do_not_go_together():
  with pytest.raises(UserError, match="as many x as y"):
    joint_wasserstein(np.zeros(3), np.zeros(4), np.zeros(3))
  with pytest.raises(UserError, match=r"\(3, 2\) and \(4, 1\)"):
    sinkhorn_divergence(np.zeros((3, 2)), np.zeros((4, 1)))
  with pytest.raises(UserError, match="epsilon > 0"):
    sinkhorn_divergence(np.zeros((3, 2)), np.ones((3, 2)), epsilon=-1.0)
