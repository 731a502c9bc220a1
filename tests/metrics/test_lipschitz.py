"""The lower bound of the Lipschitz constant."""

import numpy as np
import pytest

from prt_jax.errors import UserError
from prt_jax.metrics import lipschitz_lower_bound


def test_by_hand():
  delta = np.zeros((4, 2, 1), np.float32)
  delta[0, :, 0] = [0.3, 0.4]  # norm 0.5
  delta[1, 0, 0] = 2
  restored = np.ones((4, 3, 3), np.float32)
  attacked = restored.copy()
  attacked[0, 0, 0] += 1  # 1 / 0.5
  attacked[3] += 1  # a change from no change
  np.testing.assert_allclose(lipschitz_lower_bound(restored, attacked, delta), [2, 0, 0, np.inf])


def test_a_linear_restorer_never_exceeds_its_norm_and_reaches_it():
  rng = np.random.default_rng(0)
  matrix = rng.normal(size=(6, 4))
  _, singular, right = np.linalg.svd(matrix)
  y = rng.normal(size=(50, 4))
  delta = np.concatenate([rng.normal(size=(49, 4)), 0.01 * right[:1]])
  bound = lipschitz_lower_bound(y @ matrix.T, (y + delta) @ matrix.T, delta)
  assert np.all(bound <= singular[0] * (1 + 1e-4))
  np.testing.assert_allclose(bound[-1], singular[0], rtol=1e-3)


def test_shapes_that_do_not_go_together_are_refused():
  with pytest.raises(UserError, match="lipschitz_lower_bound needs"):
    lipschitz_lower_bound(np.zeros((2, 3)), np.zeros((2, 3)), np.zeros((3, 3)))
  with pytest.raises(UserError, match="lipschitz_lower_bound needs"):
    lipschitz_lower_bound(np.zeros((2, 3)), np.zeros((2, 1)), np.zeros((2, 3)))
