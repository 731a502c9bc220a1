"""App. C: W2 of tiny lattices by hand, the bound as an average over the paper's map, the Lipschitz constant."""

import numpy as np
import pytest

from experiments import zigzag
from prt_jax.errors import UserError
from prt_jax.metrics import wasserstein


def test_zigzag_by_hand():
  np.testing.assert_allclose(zigzag.zigzag(np.array([0, 0.125, 0.5, 0.75]), 1), [0, 0.25, 1, 0.5], atol=1e-12)


def test_w2_of_four_points_by_hand():
  # Each of (.25|.75, .25|.75) is matched with the zigzag's point at its height, .125 to its side.
  assert wasserstein(zigzag.lattice(2), zigzag.estimates(4, 1)) == pytest.approx(0.125)


@pytest.mark.parametrize("frequency", [1, 3])
def test_bound_is_the_cost_of_the_papers_map(frequency):
  x = np.random.default_rng(0).uniform(size=(200_000, 2))
  strip = np.floor(2 * frequency * x[:, 0])
  mapped = (strip + np.where(strip % 2 == 1, 1 - x[:, 1], x[:, 1])) / (2 * frequency)  # K_f, Eq. 12
  np.testing.assert_allclose(zigzag.zigzag(mapped, frequency), x[:, 1], atol=1e-6)
  assert np.sqrt(np.mean((x[:, 0] - mapped) ** 2)) == pytest.approx(zigzag.bound(frequency), rel=0.01)


@pytest.mark.parametrize("frequency", [1, 2, 4])
def test_lattice_stays_under_the_bound_and_the_slope_is_2f(frequency):
  curve = zigzag.measure(frequency, side=16, seeds=1)
  assert 0.8 * curve["bound"] < curve["w2_lattice"] < curve["bound"]
  assert curve["lipschitz"] == pytest.approx(2 * frequency, rel=1e-3)


def test_a_lattice_that_does_not_fit_is_refused(tmp_path):
  with pytest.raises(UserError, match="--side=12 cannot show f=4: make it a multiple of 8"):
    zigzag.main(["--side=12", "--frequencies", "1", "4", f"--out={tmp_path}"])


def test_the_command_leaves_numbers_and_a_figure(tmp_path):
  zigzag.main(["--side=8", "--seeds=1", "--frequencies", "1", "2", f"--out={tmp_path}"])
  assert sorted(path.name for path in tmp_path.iterdir()) == ["zigzag.json", "zigzag.png"]
