"""App. D: closed forms against hand-computed ones and against scipy's assignment, and the inequality."""

import numpy as np
import pytest

from experiments import upper_bound

PAIRS = upper_bound.gaussian_pairs()


def test_growing_axes_by_hand():
  # W2^2 = .3^2 + .125^2 in both: the same Z is the optimal coupling.
  assert upper_bound.gaussian_w2_squared(*PAIRS["grows"]) == pytest.approx(0.105625)
  assert upper_bound.coupled_change(*PAIRS["grows"]) == pytest.approx(0.105625)


def test_relabelling_moves_the_coupling_alone():
  assert upper_bound.gaussian_w2_squared(*PAIRS["relabels"]) == pytest.approx(0, abs=1e-7)
  assert upper_bound.coupled_change(*PAIRS["relabels"]) == pytest.approx(2 * (1 - np.cos(0.6)) * (1 + 0.0625))


@pytest.mark.parametrize("name", PAIRS)
def test_the_inequality_in_closed_form_and_on_draws(name):
  found = upper_bound.measure_gaussian(*PAIRS[name], num_draws=800, seeds=1)
  assert found["w2_squared"] <= found["coupled"] + 1e-9
  assert found["w2_squared_draws"]["mean"] <= found["coupled_draws"]["mean"] + 1e-12
  assert found["coupled_draws"]["mean"] == pytest.approx(found["coupled"], rel=0.1)
  assert found["w2_squared_draws"]["mean"] == pytest.approx(found["w2_squared"], rel=0.15, abs=0.01)


def test_a_monotone_generator_is_tight_and_a_relabelling_one_is_not():
  z = np.random.default_rng(0).normal(size=50)
  tight = upper_bound.measure_gan(np.stack([z, 2 * z]), np.stack([z + 1, 3 * z]))
  assert tight["ratio"] == pytest.approx(1)
  assert tight["largest_excess"] <= 1e-12
  assert upper_bound.measure_gan(z[None], np.roll(z, 1)[None])["ratio"] == pytest.approx(0, abs=1e-12)
