"""App. B.1: the geometry and the two hand-made estimators against the four published numbers."""

import numpy as np
import pytest

from experiments import two_ellipses
from prt_jax.data.points_source import HOLE_AXES, OUTER_AXES, ellipses, in_hole

ESTIMATORS = two_ellipses.hand_made(4)


@pytest.mark.parametrize("name", two_ellipses.PUBLISHED)
@pytest.mark.parametrize("index", [0, 1])
def test_published_numbers_within_three_hundredths(name, index):
  score = ("precision", "recall")[index]
  assert ESTIMATORS[name][score] == pytest.approx(two_ellipses.PUBLISHED[name][index], abs=0.03)


def test_points_fill_the_ring_uniformly():
  points = ellipses(np.random.default_rng(0), 20_000)
  assert not in_hole(points).any()
  assert (np.sum((points / OUTER_AXES) ** 2, axis=1) <= 1 + 1e-5).all()
  # Left of -.3 there is no hole: that cap's share of the area, (.5 * 1 * (acos .6 - .6 * .8)) of pi (.5 - .21).
  assert np.mean(points[:, 0] < -0.3) == pytest.approx(0.5 * (np.arccos(0.6) - 0.48) / (np.pi * 0.29), abs=0.01)
  np.testing.assert_array_equal(in_hole(np.array([[0, 0.69], [0, 0.71], [0.31, 0]])), [True, False, False])


@pytest.mark.parametrize("name", two_ellipses.SWINGS)
def test_estimators_are_consistent_and_continuous(name):
  y = np.linspace(-0.5, 0.5, 100_001)
  points = two_ellipses.hand_made_points(name, y)
  np.testing.assert_array_equal(points[:, 0], y)
  assert np.abs(np.diff(points[:, 1])).max() < 1e-3


def test_one_stays_out_of_the_middle_of_the_hole():
  y = np.linspace(-0.2, 0.2, 10_001)
  hole = [np.mean(in_hole(two_ellipses.hand_made_points(name, y) * 1.01)) for name in two_ellipses.SWINGS]
  assert hole[0] < 0.01
  assert hole[1] > 0.4
  assert HOLE_AXES[0] * two_ellipses.AVOIDED > 0.2
