"""Density and coverage of hand-made points on a line, and exactly those of float64 on many."""

import sys

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from prt_jax.errors import UserError
from prt_jax.metrics import density_coverage, precision_recall


def line(*points):
  return np.array(points, np.float64)[:, None]


def test_by_hand():
  """Radii of 0, 1, 2, 10 to the first other: 1, 1, 1, 8. 0.5 lies in two balls, 2.5 in two, 30 in none."""
  density, coverage = density_coverage(line(0, 1, 2, 10), line(0.5, 2.5, 30), k=1)
  assert (density, coverage) == (4 / 3, 1.0)


def test_it_is_not_symmetric():
  """The ball of 0.5 around 29.5 holds all four of the others, that of 30 three of them (0.5 is its own edge)."""
  real, fake = line(0, 1, 2, 10), line(0.5, 30)
  assert density_coverage(real, fake, k=1) == (1.0, 0.5)
  assert density_coverage(fake, real, k=1) == (7 / 4, 1.0)


def test_balls_are_closed_and_duplicates_have_none_to_spare():
  assert density_coverage(line(0, 1), line(2, -1), k=1) == (1.0, 1.0)  # both on the edge of one ball
  assert density_coverage(line(0, 0, 3), line(0.1, 50), k=1) == (0.5, 1 / 3)  # in the ball of 3 alone


def test_an_outlier_among_the_fakes_gains_nothing():
  """Its own ball would hold every real point: recall counts that, coverage does not."""
  real, fake = line(0, 1, 2, 3), line(100, 101, 200, 201, 900)
  assert precision_recall(real, fake, k=3)[1] == 1.0
  assert density_coverage(real, fake, k=3) == (0.0, 0.0)


def test_samples_of_one_distribution_have_density_one():
  rng = np.random.default_rng(0)
  density, coverage = density_coverage(rng.normal(size=(800, 2)), rng.normal(size=(700, 2)), k=5)
  assert density == pytest.approx(1, abs=0.05) and coverage > 0.9


@pytest.mark.parametrize("k", [1, 3])
def test_exactly_float64_across_blocks(k, monkeypatch):
  monkeypatch.setattr(sys.modules["prt_jax.metrics.precision_recall"], "_BLOCK", 56)
  rng = np.random.default_rng(1)
  real, fake = rng.integers(0, 20, (150, 4)), rng.integers(0, 20, (97, 4))  # many ties at the edges
  radii = np.sort(cdist(real, real, "sqeuclidean"), axis=1)[:, k]
  inside = cdist(fake, real, "sqeuclidean") <= radii
  density, coverage = density_coverage(real, fake, k=k)
  assert density == pytest.approx(inside.sum() / (k * len(fake)), rel=1e-12)
  assert coverage == inside.any(0).mean()


def test_what_does_not_fit_is_named():
  with pytest.raises(UserError, match="density_coverage compares features of one dimension"):
    density_coverage(np.zeros((5, 2)), np.zeros((5, 3)))
  with pytest.raises(UserError, match="k=5 neighbours need more than k points"):
    density_coverage(np.zeros((5, 2)), np.zeros((9, 2)))
