"""Theorem 1 in the discrete world, with numbers worked out by hand."""

import json

import numpy as np
import pytest

from experiments import theorem1
from prt_jax.errors import UserError


def test_posterior_by_hand():
  np.testing.assert_allclose(theorem1.posterior(), [[0.25, 0.75, 0, 0], [0, 0, 0.5, 0.5]])


def test_simplex_holds_every_vector_once():
  points = theorem1.simplex(3, 4)
  assert len(points) == 15  # 6 choose 2
  assert len(np.unique(points, axis=0)) == 15
  np.testing.assert_allclose(points.sum(axis=1), 1)
  assert points.min() == 0


def test_divergences_by_hand():
  # Always the likelier state: p_Xhat = (0, 1/2, 1/2, 0), at total variation 1/8 + 1/4 from (1, 3, 2, 2) / 8.
  best_guess = np.array([[[0, 1, 0, 0], [0, 0, 1, 0]]], float)
  swapped = best_guess[:, ::-1]
  assert theorem1.divergences(best_guess) == {"perceptual": [0.375], "inconsistency": [0], "from_posterior": [0.375]}
  assert theorem1.divergences(swapped)["inconsistency"] == [1]


def test_only_the_posterior_sampler_has_both():
  found = theorem1.search(4)
  assert found["estimators"] == 35**2
  assert found["both_is_the_posterior_sampler"]
  assert found["least_perceptual_plus_inconsistency_of_others"] > 0.1
  assert found["perfect_perceptual_quality"] > 1  # inconsistent ones too
  assert found["least_perceptual_of_consistent_deterministic"] == pytest.approx(0.375)
  assert found["largest_gap_perceptual_to_distance_from_posterior_of_consistent"] < 1e-12


def test_the_command(tmp_path):
  theorem1.main(["--resolution=4", f"--out={tmp_path}"])
  results = json.loads((tmp_path / "theorem1.json").read_text())
  assert results["both"] == 1
  assert results["command"].startswith("python -m experiments.")
  with pytest.raises(UserError, match="--resolution=6 leaves the posterior off the grid"):
    theorem1.main(["--resolution=6"])
