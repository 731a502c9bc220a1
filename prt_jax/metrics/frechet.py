"""Frechet distance between Gaussians fitted to two sets of features (Heusel et al. 2017).

It is FID only if the features are those of the FID InceptionV3; otherwise call it by the
features' name (`Extractor.distance_name`).
"""

from typing import NamedTuple, Self

import numpy as np
from jax.typing import ArrayLike

from prt_jax.errors import UserError


class Gaussian(NamedTuple):
  """Statistics of a set of features: mean [D] and covariance [D, D] (divisor N - 1), float64.

  Example:
    >>> print(frechet_distance(Gaussian(np.zeros(1), np.eye(1)), Gaussian(np.full(1, 3.0), np.eye(1))))
    9.0
  """

  mean: np.ndarray
  covariance: np.ndarray


class FeatureStatistics:
  """Mean and covariance of features that arrive in batches.

  Exact, not running averages: batches are merged by their means and centred second moments
  (Chan et al. 1979) in float64, so the result depends on their order and size only by rounding.
  Memory is one D x D matrix.

  Attributes:
    count: features seen so far.

  Example:
    >>> statistics = FeatureStatistics()
    >>> for batch in np.split(np.array([[0.0], [1.0], [2.0], [3.0]]), 2):
    ...   _ = statistics.update(batch)
    >>> print(statistics.count, statistics.gaussian().mean)
    4 [1.5]
  """

  def __init__(self):
    self.count = 0
    self._mean = np.zeros(0)  # [D]
    self._scatter = np.zeros((0, 0))  # [D, D], sum of outer products about the mean

  def update(self, features: ArrayLike) -> Self:
    """Adds a batch [B, D] of features; returns self. UserError if they do not fit or are not finite."""
    features = _as_features(features)
    if not len(features):
      return self
    mean = features.mean(axis=0)
    centred = features - mean
    return self._merge(len(features), mean, centred.T @ centred)

  def merge(self, other: "FeatureStatistics") -> Self:
    """Adds all that another accumulator (of another process, say) has seen; returns self."""
    return self._merge(other.count, other._mean, other._scatter) if other.count else self

  def gaussian(self) -> Gaussian:
    """The `Gaussian` of all features seen. UserError for fewer than two."""
    if self.count < 2:
      raise UserError(f"a covariance needs at least 2 features, got {self.count}: raise eval.num_examples")
    return Gaussian(self._mean.copy(), self._scatter / (self.count - 1))

  def _merge(self, count, mean, scatter):
    if not self.count:
      self.count, self._mean, self._scatter = count, mean.copy(), scatter.copy()
      return self
    if mean.shape != self._mean.shape:
      raise UserError(f"features of dimension {mean.size} do not go with those of {self._mean.size} seen before")
    total = self.count + count
    shift = mean - self._mean
    self._scatter += scatter
    self._scatter += np.outer(shift, shift * (self.count * count / total))
    self._mean = self._mean + shift * (count / total)
    self.count = total
    return self


def frechet_distance(a: ArrayLike | tuple[ArrayLike, ArrayLike], b: ArrayLike | tuple[ArrayLike, ArrayLike]) -> float:
  """Frechet (Wasserstein-2) distance, squared, between Gaussians fitted to a and b.

  ||mean_a - mean_b||^2 + trace(A + B - 2 (A^1/2 B A^1/2)^1/2), which is what FID reports
  (Heusel et al. 2017, Eq. 6). In float64. The outer root's trace is a sum of singular values: no complex `sqrtm`,
  and the singular covariances of fewer features than dimensions need no offset.

  The value is biased upwards by order D / N: compare values of equal N only.

  Args:
    a, b: features [N, D] (N >= 2, N may differ), or a `Gaussian` / (mean [D], covariance [D, D]).
      Symmetric in a and b.

  Returns:
    float >= 0.

  Raises:
    UserError: dimensions differ, fewer than two features, values that are not finite, a
      covariance that is not symmetric or has clearly negative eigenvalues.

  Example:
    >>> a = np.array([[0.0], [2.0]])  # mean 1, variance 2
    >>> print(round(frechet_distance(a, a + 3), 6), round(frechet_distance(a, 2 * a), 6))  # 3^2; 1^2 + (1 - 2)^2 2
    9.0 3.0
  """
  a, b = _as_gaussian(a), _as_gaussian(b)
  if a.mean.shape != b.mean.shape:
    raise UserError(f"frechet_distance compares features of one dimension, got {a.mean.size} and {b.mean.size}")
  shift = a.mean - b.mean
  # The trace of that root: the singular values of root_a^T root_b, without the root of a product's rounded eigenvalues.
  cross = np.linalg.svd(_root(a.covariance).T @ _root(b.covariance), compute_uv=False).sum()
  distance = shift @ shift + np.trace(a.covariance) + np.trace(b.covariance) - 2 * cross
  return max(float(distance), 0.0)  # equal inputs may end a rounding below zero


def _root(covariance):
  """root [D,D] with root root^T = covariance, which is its square root but for a rotation.

  Eigenvalues of null directions come out as +-1e-16 of the largest, and would enter by their roots, 1e-8: they are 0.
  """
  values, vectors = np.linalg.eigh(covariance)
  largest = np.abs(values).max()
  if values.min() < -1e-6 * largest:
    raise UserError(f"not a covariance matrix: an eigenvalue is {values.min() / largest:.1e} of the largest")
  rounding = len(values) * np.finfo(np.float64).eps * largest
  return vectors * np.sqrt(np.where(values > rounding, values, 0.0))


def _as_features(features):
  features = np.asarray(features, np.float64)
  if features.ndim != 2:
    raise UserError(f"features must be an array [N, D], got {features.shape}")
  if not np.isfinite(features).all():
    raise UserError("features are not finite: the images or the extractor's weights hold NaN or inf")
  return features


def _as_gaussian(value):
  if not isinstance(value, tuple):
    return FeatureStatistics().update(value).gaussian()
  mean, covariance = (np.asarray(x, np.float64) for x in value)
  if mean.ndim != 1 or covariance.shape != (mean.size, mean.size):
    raise UserError(f"statistics are (mean [D], covariance [D, D]), got {mean.shape} and {covariance.shape}")
  if not (np.isfinite(mean).all() and np.isfinite(covariance).all()):
    raise UserError("statistics are not finite: the features that they came from hold NaN or inf")
  if not np.allclose(covariance, covariance.T, rtol=1e-5, atol=1e-8 * np.abs(covariance).max(initial=0)):
    raise UserError("not a covariance matrix: it is not symmetric")
  return Gaussian(mean, (covariance + covariance.T) / 2)
