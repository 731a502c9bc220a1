"""Intervals of median smoothing: hand-computed order statistics, and linear maps, whose answer is known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from prt_jax.commands.compile_time import CompileTime
from prt_jax.errors import UserError
from prt_jax.smoothing import certify, order_statistics, ordered_samples

SIGMA, RADIUS, SAMPLES = 0.2, 0.1, 2_000


@pytest.fixture(scope="module")
def matrix():
  return np.random.default_rng(0).normal(size=(5, 8)).astype(np.float32)


@pytest.fixture(scope="module")
def y():
  return np.random.default_rng(1).uniform(size=(3, 8)).astype(np.float32)


@pytest.fixture(scope="module")
def certificate(matrix, y):
  return certify(
    lambda y: y @ matrix.T, y, jax.random.key(0), sigma=SIGMA, radii=(0.0, RADIUS, 9.0), num_samples=SAMPLES,
    least=-1e3, most=1e3,
  )  # fmt: skip


def test_order_statistics_by_hand():
  """Four samples and the median: the smallest lies under it with probability 15/16, the second with 11/16."""
  assert order_statistics(4, 0.0, confidence=1 - 2 / 16) == (1, 4)
  assert order_statistics(4, 0.0, confidence=1 - 2 * 5 / 16) == (2, 3)
  assert order_statistics(4, 0.0, confidence=0.99) == (0, 5)  # too few
  low, high = order_statistics(1_000, 1.0, 0.999)
  assert low + high == 1_001  # symmetric
  # With samples enough, the quantiles themselves.
  low, _ = order_statistics(10**6, 1.0, 0.999)
  assert low / 10**6 == pytest.approx(stats.norm.cdf(-1), rel=0.01)


def test_intervals_of_a_linear_map(certificate, matrix, y):
  """A y + sigma A g is normal around A y: the largest change of pixel i within r is r ||a_i||, and nothing less."""
  reach = RADIUS * np.linalg.norm(matrix, axis=1)
  exact = y @ matrix.T
  assert np.all(certificate.upper[1] >= exact + reach) and np.all(certificate.lower[1] <= exact - reach)
  # No more than the error of 2,000 samples wider.
  slack = 4 * SIGMA * np.linalg.norm(matrix, axis=1) / np.sqrt(SAMPLES) * 2.5
  assert np.all(certificate.upper[1] <= exact + reach + slack) and np.all(certificate.lower[1] >= exact - reach - slack)
  np.testing.assert_allclose(certificate.median, exact, atol=float(slack.max()))
  np.testing.assert_allclose(certificate.widths()[1], np.sqrt(np.mean((2 * reach) ** 2)), rtol=0.35)


def test_no_change_within_the_radius_leaves_its_interval(certificate, matrix, y):
  """1,000 random changes on the sphere, and for every pixel the worst there is."""
  random = np.random.default_rng(2)
  changes = random.normal(size=(1_000, *y.shape))
  changes *= RADIUS / np.linalg.norm(changes, axis=-1, keepdims=True)
  worst = RADIUS * matrix / np.linalg.norm(matrix, axis=1, keepdims=True)
  for change in [*changes, *worst, *-worst]:
    assert np.all(certificate.holds((y + change) @ matrix.T, RADIUS) == 1)
  # Beyond the radius they are left, or the interval would say nothing.
  assert certificate.holds((y + 3 * worst[0]) @ matrix.T, RADIUS).max() < 1


def test_too_large_a_radius_has_no_bound(certificate):
  assert np.all(certificate.lower[2] == -1e3) and np.all(certificate.upper[2] == 1e3)
  assert np.all(certificate.upper[0] - certificate.lower[0] < certificate.upper[1] - certificate.lower[1])


def test_batches_change_nothing(matrix, y):
  one, other = (
    certify(lambda y: jnp.tanh(y @ matrix.T), y, jax.random.key(3), sigma=SIGMA, radii=(RADIUS,), num_samples=70,
            confidence=0.9, batch_size=size, least=-1.0)
    for size in (7, 64)
  )  # fmt: skip
  np.testing.assert_allclose(one.upper, other.upper, atol=1e-6)


def test_another_object_that_computes_the_same_compiles_nothing(matrix, y):
  def samples(weights):
    return ordered_samples(lambda y: y @ weights.T, y, jax.random.key(0), sigma=SIGMA, num_samples=8, batch_size=8)

  first = samples(matrix)
  compiled = CompileTime()
  again = samples(2 * matrix)
  assert compiled.programs == 0
  assert not np.allclose(first, again), "the second object's own weights count"


def test_what_must_not_be_traced_is_called_as_it_is(matrix, y):
  def restore(y):
    return np.asarray(y) @ matrix.T  # a tracer would be an error

  restore.eager = True
  settings = {"sigma": SIGMA, "num_samples": 20, "batch_size": 10, "least": -9.0, "most": 9.0}
  eager = ordered_samples(restore, y, jax.random.key(0), **settings)
  traced = ordered_samples(lambda y: y @ matrix.T, y, jax.random.key(0), **settings)
  np.testing.assert_allclose(eager, traced, atol=1e-5)


def test_mistakes_are_named(y):
  with pytest.raises(UserError, match="sigma > 0"):
    certify(lambda y: y, y, jax.random.key(0), sigma=0.0, radii=(0.1,))
  with pytest.raises(UserError, match="radii of at least 0"):
    certify(lambda y: y, y, jax.random.key(0), sigma=0.1, radii=(-0.1,))
