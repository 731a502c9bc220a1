"""Spread between seeds: hand-computed numbers and numpy as a peer."""

import itertools

import numpy as np
import pytest

from prt_jax.errors import UserError
from prt_jax.metrics import per_pixel_std, seed_diversity


def test_per_pixel_std_by_hand():
  samples = np.zeros((3, 2, 1, 2, 1), np.float32)
  samples[:, 0, 0, 0, 0] = [0.1, 0.2, 0.3]  # deviation 0.1 with divisor 2, and the other pixel is constant
  samples[:, 1, 0, :, 0] = np.array([[0, 0.5, 1]]).T * [1, 0.2]  # 0.5 and 0.1
  np.testing.assert_allclose(per_pixel_std(samples), [0.05, 0.3], rtol=1e-6)


def test_per_pixel_std_estimates_the_true_one_from_few_and_many_draws():
  rng = np.random.default_rng(0)
  for draws in (2, 32):
    samples = 0.5 + 0.1 * rng.normal(size=(draws, 1, 200, 200, 1))
    variance = np.square(0.1)
    # The mean of the squares is unbiased for any number of draws (divisor draws - 1).
    np.testing.assert_allclose(np.mean(np.std(samples, axis=0, ddof=1) ** 2), variance, rtol=0.03)
    np.testing.assert_allclose(per_pixel_std(samples)[0], np.std(samples, axis=0, ddof=1).mean(), rtol=1e-5)


def test_per_pixel_std_of_a_small_spread_on_a_bright_image():
  samples = 0.9 + 1e-4 * np.random.default_rng(0).normal(size=(8, 1, 16, 16, 3))
  samples = samples.astype(np.float32)
  np.testing.assert_allclose(per_pixel_std(samples)[0], samples.astype(np.float64).std(0, ddof=1).mean(), rtol=1e-3)


def test_seed_diversity_by_hand():
  # Images 0, 0.3 and 0.9 everywhere: distances 0.3, 0.6, 0.9. The second measurement has one answer only.
  levels = np.float32([[0, 0.4], [0.3, 0.4], [0.9, 0.4]])
  samples = np.broadcast_to(levels[:, :, None, None, None], (3, 2, 4, 4, 3))
  np.testing.assert_allclose(seed_diversity(samples), [0.6, 0], rtol=1e-6)


@pytest.mark.parametrize("draws", [2, 5])
def test_seed_diversity_is_the_mean_over_pairs(draws):
  samples = np.random.default_rng(0).uniform(size=(draws, 3, 5, 4, 3)).astype(np.float32)
  pairs = itertools.combinations(samples.astype(np.float64), 2)
  expected = np.mean([np.sqrt(np.square(a - b).mean((1, 2, 3))) for a, b in pairs], axis=0)
  np.testing.assert_allclose(seed_diversity(samples), expected, rtol=1e-5)


@pytest.mark.parametrize("metric", [per_pixel_std, seed_diversity])
def test_one_draw_is_refused(metric):
  with pytest.raises(UserError, match=r"eval\.num_std_seeds >= 2"):
    metric(np.zeros((1, 2, 4, 4, 3)))
