"""Kernel distances by hand, by their closed form, and from block to block."""

import numpy as np
import pytest

from prt_jax.errors import UserError
from prt_jax.metrics.kernel_distance import gaussian_discrepancy, kernel_inception_distance


def test_the_cubic_kernel_by_hand():
  # One dimension: k(a, b) = (a b + 1)^3. Within {0, 1}: k(0, 1) = 1; within {2, 3}: 343; across: 1, 1, 27, 64.
  value, error = kernel_inception_distance(np.array([[0.0], [1.0]]), np.array([[2.0], [3.0]]))
  assert value == pytest.approx(1 + 343 - 2 * (1 + 1 + 27 + 64) / 4)
  assert error is None


def test_it_is_unbiased_and_a_mean_over_blocks():
  """Two samples of one distribution: the estimate is 0 up to its error, below 0 as often as above."""
  rng = np.random.default_rng(0)
  a, b = rng.normal(size=(2, 2000, 8))
  value, error = kernel_inception_distance(a, b, block=100)
  assert abs(value) < 4 * error
  pairs = zip(a.reshape(20, 100, 8), b.reshape(20, 100, 8), strict=True)
  blocks = [kernel_inception_distance(*pair)[0] for pair in pairs]
  assert value == pytest.approx(np.mean(blocks)) and min(blocks) < 0 < max(blocks)
  assert error == pytest.approx(np.std(blocks, ddof=1) / 20**0.5)
  assert kernel_inception_distance(a, b + 0.5, block=100)[0] > 10 * error


def test_the_gaussian_kernel_by_hand():
  # Two points each, a distance of 10 sqrt(2) in all pairs across: exp(-1); within a set the points are equal.
  a, b = np.zeros((2, 2)), np.full((2, 2), 10.0)
  assert gaussian_discrepancy(a, b) == pytest.approx(1000 * (1 + 1 - 2 * np.exp(-1)))
  assert gaussian_discrepancy(a, a) == 0
  rng = np.random.default_rng(0)
  a, b = rng.normal(size=(2, 30, 4))
  assert gaussian_discrepancy(a, b, sigma=1.0, block=7) == pytest.approx(gaussian_discrepancy(a, b, sigma=1.0))


def test_the_gaussian_kernel_of_gaussians_is_their_closed_form():
  """E exp(-(x - y)^2 / (2 s^2)) of x - y ~ N(m, 2): (s^2 / (s^2 + 2))^(1/2) exp(-m^2 / (2 (s^2 + 2)))."""
  rng = np.random.default_rng(1)
  a, b = rng.normal(size=(4000, 1)), rng.normal(size=(4000, 1)) + 2
  within, across = (1 / 3) ** 0.5, (1 / 3) ** 0.5 * np.exp(-4 / 6)
  assert gaussian_discrepancy(a, b, sigma=1.0) == pytest.approx(1000 * 2 * (within - across), rel=0.05)


@pytest.mark.parametrize("distance", [kernel_inception_distance, gaussian_discrepancy])
def test_mistakes(distance):
  for a, b in ((np.zeros((3, 2)), np.zeros((3, 3))), (np.zeros(3), np.zeros(3)), (np.zeros((1, 2)), np.zeros((3, 2)))):
    with pytest.raises(UserError, match="a kernel distance compares"):
      distance(a, b)
