"""The hand-made estimators: their formula, and the four published numbers of Fig. 2."""

import numpy as np
import pytest

from experiments import hand_made


def test_the_formula_by_hand():
  np.testing.assert_allclose(hand_made.second_coordinate(np.array([0.0, 0.6, 1.0]), 1), [0, 0.8 * np.sin(0.6), 0])


@pytest.mark.parametrize("name", hand_made.ALPHAS)
def test_published_scores_within_a_twentieth(name):
  scores = hand_made.estimate(hand_made.ALPHAS[name], 3)
  for score, published in zip(("precision", "recall"), hand_made.PUBLISHED[name], strict=True):
    assert scores[score] == pytest.approx(published, abs=0.05)
  assert scores["recall_spread"]["count"] == 3


def test_the_erratic_one_changes_far_more():
  robust, erratic = (hand_made.measure(alpha, 0)["sqrt_R_1e-3"] for alpha in hand_made.ALPHAS.values())
  assert erratic > 20 * robust
