"""Intervals by hand, and by closed forms that they approach."""

import numpy as np
import pytest

from prt_jax.evaluation import statistics
from prt_jax.metrics import frechet_distance


def test_average_by_hand():
  result = statistics.average(np.array([1.0, 2.0, 6.0]))
  assert result["value"] == 3 and result["n"] == 3
  assert result["std"] == pytest.approx(7**0.5)  # (4 + 1 + 9) / 2


def test_bootstrap_of_a_mean_is_its_standard_error():
  values = np.random.default_rng(1).normal(size=4000)
  low, high = statistics.average(values)["interval"]
  expected = 1.96 * values.std() / len(values) ** 0.5
  assert (high - low) / 2 == pytest.approx(expected, rel=0.1)
  assert low < values.mean() < high
  assert statistics.average(values)["interval"] == [low, high]


def test_quantiles():
  values = np.arange(101.0)
  assert statistics.quantile(values, 0.95)["value"] == 95
  largest = statistics.quantile(values, 1)
  assert largest["value"] == 100 and "interval" not in largest
  low, high = statistics.quantile(values, 0.5)["interval"]
  assert 35 < low < 50 < high < 65


def test_wilson_by_hand():
  # 0 of 10: the upper end is z^2 / (n + z^2) = 3.8415 / 13.8415.
  assert statistics.proportion(0.0, 10)["interval"] == pytest.approx([0, 0.277533], abs=1e-5)
  # 50 of 100: centre 0.5, half width 1.96 / (1 + .038415) * sqrt(.0025 + .000096).
  assert statistics.proportion(0.5, 100)["interval"] == pytest.approx([0.403832, 0.596168], abs=1e-5)


def test_jackknife_of_the_frechet_distance_by_leaving_groups_out():
  rng = np.random.default_rng(2)
  features, reference = rng.normal(size=(10, 2)) + 1, rng.normal(size=(50, 2))
  groups = np.array_split(np.arange(10), 5)
  values = [frechet_distance(np.delete(features, group, 0), reference) for group in groups]
  expected = (4 / 5 * np.sum((values - np.mean(values)) ** 2)) ** 0.5
  assert statistics.frechet_error(features, reference)["standard_error"] == pytest.approx(expected, rel=1e-9)
  assert statistics.frechet(features, reference)["value"] == pytest.approx(frechet_distance(features, reference))
