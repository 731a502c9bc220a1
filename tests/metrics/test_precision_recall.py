"""Precision and recall: counts equal to brute force in float64, in the cases where float32 alone errs."""

import importlib

import jax
import numpy as np
import pytest

from prt_jax.errors import UserError
from prt_jax.metrics import precision_recall

module = importlib.import_module("prt_jax.metrics.precision_recall")


def _brute_force(real, fake, k):
  """By the definition, one point at a time, from differences in float64."""
  real, fake = real.astype(np.float64), fake.astype(np.float64)

  def share_inside(queries, points):
    radii = []
    for index, point in enumerate(points):
      others = np.delete(points, index, axis=0)
      radii.append(np.sort(((others - point) ** 2).sum(1))[k - 1])
    return np.mean([np.any(((points - query) ** 2).sum(1) <= radii) for query in queries])

  return share_inside(fake, real), share_inside(real, fake)


def test_by_hand():
  # Real 0, 1, 3 with k = 1: balls [-1, 1], [0, 2], [1, 5]. Fake 2, 6, 6.5, 10: balls [-2, 6], [5.5, 6.5],
  # [6, 7], [6.5, 13.5]. Fake 2 is on the ring of 1's ball and inside 3's; 6, 6.5 and 10 are outside.
  real, fake = np.array([[0.0], [1], [3]]), np.array([[2.0], [6], [6.5], [10]])
  assert precision_recall(real, fake, 1) == (0.25, 1.0)
  # Precision and recall are not each other's mirror image by accident: swapped sets swap them.
  assert precision_recall(fake, real, 1) == (1.0, 0.25)
  # k = 2 counts other points only: balls [-3, 3], [-1, 3], [0, 6]. Were the point its own neighbour, they
  # would be those of k = 1, with none of these four inside.
  assert precision_recall(real, np.array([[-3.0], [-3.1], [5.9], [6.1]]), 2) == (0.5, 1.0)


def test_a_boundary_point_is_inside_and_a_hair_outside_is_not():
  real = np.array([[0.0, 0], [3, 4], [100, 100], [103, 104]])  # k = 1: radius 5 each
  fake = np.array([[-3.0, -4], [np.nextafter(-5, -6), 0], [0, -5], [0, np.nextafter(-5, -6)]])
  assert precision_recall(real, fake, 1)[0] == 0.5


def _cases():
  """name -> (real, fake, k); most of one shape, so that the blocked pass is compiled once."""
  rng = np.random.default_rng(0)
  few = rng.normal(size=(40, 4))

  def normal(scale=1.0, shift=0.0, size=(200, 4)):
    return scale * rng.normal(size=size) + shift

  def clusters(spread):
    return few[rng.integers(0, 4, 200)] + normal(spread)

  return {
    "precision above recall": (normal(size=(500, 16)), normal(0.6, size=(400, 16)), 3),
    "recall above precision": (normal(0.6, size=(400, 16)), normal(size=(500, 16)), 3),
    "many dimensions, float32": (normal(size=(150, 2048)).astype("f"), normal(0.97, size=(130, 2048)).astype("f"), 3),
    "far from the origin": (normal(1, 1e4), normal(0.7, 1e4), 3),
    "clusters tighter than float32's cancellation": (clusters(1e-6), clusters(1e-6), 3),
    "two points are far off": (np.r_[normal()[:198], [[1e6] * 4] * 2], normal(), 3),
    "ties": (rng.integers(0, 6, (200, 4)), rng.integers(2, 8, (200, 4)), 3),
    "duplicates": (np.repeat(few, 5, axis=0), np.r_[few, normal()[:160]], 3),
    "more duplicates than neighbours kept": (np.repeat(few[:5], 40, axis=0), np.r_[few[:10], normal()[:190]], 3),
    "one point, many times": (np.ones((200, 4)), np.ones((200, 4)), 3),
    "huge": (normal(1e200), normal(0.7e200), 3),
    "tiny": (normal(1e-200), normal(0.7e-200), 3),
    "out of float32's range": (normal(), np.r_[normal()[:190], normal(1e60)[:10]], 3),
    "all neighbours": (normal(size=(12, 2)), normal(1, 3, size=(9, 2)), 8),
    "one dimension": (normal(size=(200, 1)), normal(0.5, size=(300, 1)), 1),
  }


@pytest.mark.parametrize("case", _cases())
def test_counts_equal_brute_force(case):
  real, fake, k = _cases()[case]
  scaled = 1e200 if case == "tiny" else 1e-200 if case == "huge" else 1.0  # the peer's squares would leave float64
  assert precision_recall(real, fake, k) == _brute_force(real * scaled, fake * scaled, k)


def test_cases_tell_precision_and_recall_apart():
  for case, sign in (("precision above recall", 1), ("recall above precision", -1)):
    precision, recall = precision_recall(*_cases()[case])
    assert sign * (precision - recall) > 0.3


def test_blocks_do_not_matter(monkeypatch):
  real, fake, k = _cases()["far from the origin"]
  expected = precision_recall(real, fake, k)
  lattice = _cases()["ties"]
  expected_lattice = precision_recall(*lattice)
  monkeypatch.setattr(module, "_BLOCK", 56)
  monkeypatch.setattr(module, "_FEW", 5)
  monkeypatch.setattr(module, "_PAIR_VALUES", 1000)
  jax.clear_caches()
  assert precision_recall(real, fake, k) == expected
  assert precision_recall(*lattice) == expected_lattice


def test_the_bracket_holds_the_exact_distances():
  rng = np.random.default_rng(0)
  points = 5 + rng.uniform(size=(4, 512))[rng.integers(0, 4, 200)] + 1e-3 * rng.normal(size=(200, 512))
  manifold = module._Manifold(points)
  block, norms = manifold._block(points)
  lower, upper = module._bracket(block, norms, manifold.blocks[0][0], manifold.blocks[1][0], manifold.error)
  exact = (((points[:, None] - points) * manifold.scale) ** 2).sum(2)
  assert np.all(lower <= exact) and np.all(exact <= upper)
  # And it is no vacuous one: narrow next to the distance between clusters.
  assert np.max(upper - lower) < 1e-3 * exact.max()


def test_only_a_few_comparisons_are_made_in_float64(monkeypatch):
  """The promise of speed: on generic features nearly everything is settled by the float32 pass."""
  rng = np.random.default_rng(0)
  real, fake = rng.normal(size=(600, 256)), 0.95 * rng.normal(size=(500, 256))
  pairs = []
  exact = module._Manifold._squared_distances
  monkeypatch.setattr(
    module._Manifold, "_squared_distances", lambda self, *args: pairs.append(len(args[1])) or exact(self, *args)
  )
  precision_recall(real, fake, 3)
  assert sum(pairs) < 5 * (600 + 500)


@pytest.mark.parametrize(
  ("real", "fake", "k", "match"),
  [
    (np.zeros((3, 2)), np.zeros((9, 2)), 3, "k=3 neighbours need more than k points .* 3 real and 9 fake"),
    (np.zeros((9, 2)), np.zeros((3, 2)), 5, "raise eval.num_examples or lower k"),
    (np.zeros((9, 2)), np.zeros((9, 2)), 0, "raise k to at least 1"),
    (np.zeros((9, 2)), np.zeros((9, 3)), 3, "one dimension"),
    (np.zeros(9), np.zeros((9, 1)), 3, "real features must be numbers"),
    (np.zeros((9, 1)), np.full((9, 1), np.inf), 3, "fake features are not finite"),
  ],
)
def test_mistakes(real, fake, k, match):
  with pytest.raises(UserError, match=match) as error:
    precision_recall(real, fake, k)
  assert "\n" not in str(error.value)
