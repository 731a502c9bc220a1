"""Exact Wasserstein distances: by hand, over all permutations, and scipy's on the line."""

import itertools

import numpy as np
import pytest
import scipy.stats

from prt_jax.errors import UserError
from prt_jax.metrics import wasserstein


def test_by_hand():
  # Best: (0,0) -> (0,3) and (4,0) -> (4,0): W1 = 3/2, W2 = sqrt(9/2); the order of the points is irrelevant.
  a, b = [[0, 0], [4, 0]], [[4, 0], [0, 3]]
  np.testing.assert_allclose([wasserstein(a, b, 1), wasserstein(a, b, 2)], [1.5, np.sqrt(4.5)])
  np.testing.assert_allclose(wasserstein([0.0, 1.0, 2.0], [5.0, 3.0, 4.0], 2), 3)
  assert wasserstein(a, a[::-1], 2) == 0


@pytest.mark.parametrize("p", [1, 2, 3.5])
@pytest.mark.parametrize("dimension", [1, 3])
def test_is_the_minimum_over_permutations(p, dimension):
  rng = np.random.default_rng(0)
  a, b = rng.normal(size=(6, dimension)), rng.normal(size=(6, dimension)) + 0.5
  costs = [np.mean(np.linalg.norm(a - b[list(order)], axis=1) ** p) for order in itertools.permutations(range(6))]
  np.testing.assert_allclose(wasserstein(a, b, p), min(costs) ** (1 / p))


def test_agrees_with_scipy_on_the_line_and_with_the_plane_there():
  rng = np.random.default_rng(0)
  a, b = rng.normal(size=200), rng.exponential(size=200)
  np.testing.assert_allclose(wasserstein(a, b, 1), scipy.stats.wasserstein_distance(a, b))
  embedded = [np.stack([x, np.zeros(200)], 1) for x in (a, b)]
  np.testing.assert_allclose(wasserstein(a, b, 2), wasserstein(*embedded, 2))


def test_translation_moves_by_its_length():
  a = np.random.default_rng(0).normal(size=(300, 2))
  np.testing.assert_allclose(wasserstein(a, a + np.array([3, 4]), 2), 5)


@pytest.mark.parametrize(
  ("a", "b", "p", "match"),
  [
    (np.zeros((3, 2)), np.zeros((4, 2)), 2, "equal size"),
    (np.zeros((3, 2)), np.zeros((3, 1)), 2, "equal size"),
    (np.zeros((0, 2)), np.zeros((0, 2)), 2, "equal size"),
    (np.zeros(3), np.zeros(3), 0.5, "p >= 1"),
    (np.zeros(3), np.zeros(3), np.inf, "p >= 1"),
    (np.zeros(3), np.array([0, np.nan, 1]), 2, "not finite"),
  ],
)
def test_mistakes(a, b, p, match):
  with pytest.raises(UserError, match=match):
    wasserstein(a, b, p)
