"""Frechet distance: closed forms, scipy's matrix root as a peer, singular covariances, batches."""

import numpy as np
import pytest
import scipy.linalg

from prt_jax.errors import UserError
from prt_jax.metrics import FeatureStatistics, Gaussian, frechet_distance


def _features(count, dimension, seed):
  rng = np.random.default_rng(seed)
  return rng.normal(size=(count, dimension)) @ rng.normal(size=(dimension, dimension)) + rng.normal(size=dimension)


def _by_matrix_root(a, b):
  """Heusel et al.'s formula as TTUR computes it, with scipy's complex root."""
  covariance_a, covariance_b = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
  root = scipy.linalg.sqrtm(covariance_a @ covariance_b).real
  return np.sum((a.mean(0) - b.mean(0)) ** 2) + np.trace(covariance_a + covariance_b - 2 * root)


def test_by_hand():
  # On the line: (difference of means)^2 + (difference of deviations)^2, deviations with divisor N - 1.
  a, b = np.array([[0.0], [2.0]]), np.array([[4.0], [10.0]])  # means 1, 7; deviations sqrt(2), sqrt(18)
  np.testing.assert_allclose(frechet_distance(a, b), 36 + (np.sqrt(18) - np.sqrt(2)) ** 2)
  # Commuting covariances: sum over axes.
  a, b = Gaussian(np.zeros(2), np.diag([4.0, 9.0])), Gaussian(np.array([3.0, 4.0]), np.diag([1.0, 25.0]))
  np.testing.assert_allclose(frechet_distance(a, b), 25 + 1 + 4)


def test_agrees_with_the_matrix_root():
  a, b = _features(300, 20, 0), _features(400, 20, 1)
  expected = _by_matrix_root(a, b)
  np.testing.assert_allclose(frechet_distance(a, b), expected, rtol=1e-9)
  np.testing.assert_allclose(frechet_distance(b, a), expected, rtol=1e-9)
  np.testing.assert_allclose(frechet_distance((a.mean(0), np.cov(a, rowvar=False)), b), expected, rtol=1e-9)
  np.testing.assert_allclose(frechet_distance(a.astype(np.float32), b.astype(np.float32)), expected, rtol=1e-4)


def test_fewer_features_than_dimensions():
  a = _features(20, 100, 0)
  scale = np.trace(np.cov(a, rowvar=False))
  assert frechet_distance(a, a) <= 1e-7 * scale
  shift = np.linspace(-1, 1, 100)
  np.testing.assert_allclose(frechet_distance(a, a + shift), shift @ shift, atol=1e-7 * scale)
  # Scaling about the mean by 2 moves each standard deviation by itself: the distance is the trace.
  np.testing.assert_allclose(frechet_distance(a, 2 * a - a.mean(0)), scale, rtol=1e-7)
  # Rank 2 in 4 dimensions with nothing in common: no cross term. Sharing one axis: sqrt(1 * 4) on it.
  low, high = Gaussian(np.zeros(4), np.diag([1.0, 1, 0, 0])), Gaussian(np.zeros(4), np.diag([0.0, 0, 3, 1]))
  np.testing.assert_allclose(frechet_distance(low, high), 6)
  np.testing.assert_allclose(frechet_distance(low, Gaussian(np.zeros(4), np.diag([0.0, 4, 4, 0]))), 2 + 8 - 4)
  # The singular case where the complex root gets it wrong: n < D on both sides, by the nuclear norm of the data.
  b = _features(30, 100, 1)
  centred = [(x - x.mean(0)) / np.sqrt(len(x) - 1) for x in (a, b)]
  cross = np.linalg.svd(centred[0] @ centred[1].T, compute_uv=False).sum()
  expected = np.sum((a.mean(0) - b.mean(0)) ** 2) + sum(np.sum(x * x) for x in centred) - 2 * cross
  np.testing.assert_allclose(frechet_distance(a, b), expected, rtol=1e-9)


def test_a_wide_spectrum_leaves_no_remainder():
  # Real features' variances span twelve orders of magnitude; their squares, as a product's eigenvalues, twenty-four.
  rng = np.random.default_rng(0)
  rotation = np.linalg.qr(rng.normal(size=(300, 300)))[0]
  a = rng.normal(size=(900, 300)) * np.logspace(0, -6, 300) @ rotation
  assert frechet_distance(a, a) <= 1e-11 * np.trace(np.cov(a, rowvar=False))
  # Each standard deviation three times as large: the distance is the trace times (3 - 1)^2.
  trace = np.trace(np.cov(a, rowvar=False))
  np.testing.assert_allclose(frechet_distance(a, 3 * a - 2 * a.mean(0)), 4 * trace, rtol=1e-11)


def test_degenerate_covariances():
  point = np.ones((5, 3))
  assert frechet_distance(point, point) == 0
  np.testing.assert_allclose(frechet_distance(point, point + np.array([2, 0, 0])), 4)


def test_statistics_do_not_depend_on_batches_or_their_order():
  features = (_features(1000, 30, 0) + 1e3).astype(np.float32)
  expected = features.astype(np.float64).mean(0), np.cov(features.astype(np.float64), rowvar=False)
  for cuts in ([], [1, 2, 500], [333, 333, 999], list(range(7, 1000, 7))):
    batches = np.split(features, cuts)
    for order in (batches, batches[::-1]):
      statistics = FeatureStatistics()
      for batch in order:
        statistics.update(batch)
      mean, covariance = statistics.gaussian()
      assert statistics.count == 1000
      np.testing.assert_allclose(mean, expected[0], rtol=1e-12)
      np.testing.assert_allclose(covariance, expected[1], rtol=1e-8, atol=1e-9)
  left, right = FeatureStatistics().update(features[:300]), FeatureStatistics().update(features[300:])
  np.testing.assert_allclose(left.merge(right).gaussian().covariance, expected[1], rtol=1e-8, atol=1e-9)
  np.testing.assert_allclose(FeatureStatistics().merge(left).gaussian().mean, expected[0], rtol=1e-12)


def test_gaussian_is_a_snapshot():
  statistics = FeatureStatistics().update(_features(10, 3, 0))
  before = statistics.gaussian()
  mean, covariance = before.mean.copy(), before.covariance.copy()
  statistics.update(_features(10, 3, 1))
  np.testing.assert_array_equal(before.mean, mean)
  np.testing.assert_array_equal(before.covariance, covariance)


@pytest.mark.parametrize(
  ("a", "b", "match"),
  [
    (np.zeros((5, 3)), np.zeros((5, 2)), "one dimension"),
    (np.zeros((1, 3)), np.zeros((5, 3)), "at least 2 features"),
    (np.full((5, 3), np.nan), np.zeros((5, 3)), "not finite"),
    (np.zeros(5), np.zeros((5, 3)), r"array \[N, D\]"),
    ((np.zeros(2), np.zeros((3, 3))), np.zeros((5, 2)), "statistics are"),
    ((np.zeros(2), np.array([[1.0, 2], [0, 1]])), np.zeros((5, 2)), "not symmetric"),
    ((np.zeros(2), np.diag([1.0, -1])), np.ones((5, 2)), "not a covariance"),
  ],
)
def test_mistakes(a, b, match):
  with pytest.raises(UserError, match=match):
    frechet_distance(a, b)
