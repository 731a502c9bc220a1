"""Degradations: hand-computed measurements, exact and idempotent projections, the noise's size."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from configs import default
from prt_jax.degradations import make_degradation
from prt_jax.errors import UserError


def make(kind="super_resolution", factor=4, noise_std=0.0, image_size=32, **others):
  return make_degradation(ConfigDict({"kind": kind, "factor": factor, "noise_std": noise_std, **others}), image_size)


@pytest.fixture
def images():
  rng = np.random.default_rng(1)
  return {name: rng.normal(0.5, scale, (3, 64, 64, 3)).astype(np.float32) for name, scale in (("x", 0.3), ("g", 1.0))}


def test_block_means_by_hand():
  x = np.arange(16, dtype=np.float32).reshape(1, 4, 4, 1)
  y = make(factor=2, image_size=4).degrade(x)
  np.testing.assert_array_equal(y[0, :, :, 0], [[2.5, 4.5], [10.5, 12.5]])


def test_network_input_replicates_pixels():
  y = np.array([[1.0, 2.0], [3.0, 4.0]], np.float32).reshape(1, 2, 2, 1)
  up = make(factor=2, image_size=4).network_input(y)
  np.testing.assert_array_equal(up[0, :, :, 0], [[1, 1, 2, 2], [1, 1, 2, 2], [3, 3, 4, 4], [3, 3, 4, 4]])


@pytest.mark.parametrize("factor", [4, 8, 16])
def test_super_resolution_is_consistent(images, factor):
  degradation = make(factor=factor, image_size=64)
  y = degradation.degrade(images["x"])
  assert y.shape[1:] == degradation.measurement_shape == (64 // factor, 64 // factor, 3)
  restored = degradation.project(images["g"], y)
  assert np.abs(degradation.clean(restored) - y).max() <= 1e-6
  np.testing.assert_allclose(degradation.project(restored, y), restored, atol=1e-6)


def test_super_resolution_projection_is_the_nearest_consistent_image(images):
  degradation = make(factor=8, image_size=64)
  y = degradation.degrade(images["x"])
  moved = np.asarray(degradation.project(images["g"], y)) - images["g"]
  # Orthogonal to every direction that leaves the measurement as it is.
  free = images["x"] - np.asarray(degradation.network_input(degradation.clean(images["x"])))
  assert abs(np.sum(moved * free)) < 1e-2 * np.linalg.norm(moved) * np.linalg.norm(free) / 100


def test_inpainting_shows_the_lower_quarter_and_pastes_it_exactly(images):
  degradation = make("inpainting", image_size=64)
  y = degradation.degrade(images["x"])
  np.testing.assert_array_equal(y, images["x"][:, 48:])
  network_input = np.asarray(degradation.network_input(y))
  assert not network_input[:, :48].any()
  np.testing.assert_array_equal(network_input[:, 48:], y)
  restored = np.asarray(degradation.project(images["g"], y))
  np.testing.assert_array_equal(restored[:, 48:], y)
  np.testing.assert_array_equal(restored[:, :48], images["g"][:, :48])


@pytest.mark.parametrize(
  ("name", "decibels"), [("sr4", 34.0), ("sr8", 34.0), ("sr16", 34.0), ("inpaint", 32.94)]
)
def test_eps_of_each_config_is_the_papers_input_psnr(name, decibels):
  config = __import__(f"configs.{name}", fromlist=[name]).get_config()
  degradation = make_degradation(config.degradation, config.data.image_size)
  psnr = -10 * np.log10(config.attack.eps**2 / degradation.psnr_size)
  assert psnr == pytest.approx(decibels, abs=0.05)


@pytest.mark.parametrize("kind", ["super_resolution", "inpainting"])
def test_noise_has_its_standard_deviation_and_needs_a_key(images, kind):
  degradation = make(kind, noise_std=0.1, image_size=64)
  with pytest.raises(ValueError, match="key"):
    degradation.degrade(images["x"])
  noise = degradation.degrade(images["x"], jax.random.key(0)) - degradation.clean(images["x"])
  assert np.std(noise) == pytest.approx(0.1, rel=0.05)
  y = degradation.degrade(images["x"], jax.random.split(jax.random.key(0), 3))
  assert np.abs(degradation.clean(degradation.project(images["g"], y)) - y).max() <= 1e-6


def test_statistical_consistency_keeps_what_noise_explains(images):
  exact = make(noise_std=0.1, image_size=64)
  statistical = make(noise_std=0.1, image_size=64, consistency="statistical")
  y = exact.degrade(images["x"], jax.random.key(0))
  # Far away: shortened to the noise's size along its own direction, the rest of the image as it is.
  x = np.asarray(statistical.project(images["g"], y))
  before, after = (np.asarray(exact.clean(image) - y) for image in (images["g"], x))
  size = np.sqrt((before**2).mean((1, 2, 3), keepdims=True))
  assert size.min() > 0.1
  np.testing.assert_allclose(after, 0.1 * before / size, atol=1e-5)
  np.testing.assert_allclose(exact.project(x, y), exact.project(images["g"], y), atol=1e-5)
  np.testing.assert_allclose(statistical.project(x, y), x, atol=1e-5)
  # Near: left alone, gradient included.
  near = exact.project(images["g"], y) + 0.05
  np.testing.assert_array_equal(statistical.project(near, y), near)
  gradient = jax.grad(lambda x: jnp.sum(x * statistical.project(x, y)))(exact.project(images["g"], y))
  assert np.isfinite(gradient).all()
  assert exact.removes_constants and not statistical.removes_constants
  # Without noise there is nothing to explain.
  np.testing.assert_array_equal(
    make(consistency="statistical", image_size=64).project(images["g"], y), make(image_size=64).project(images["g"], y)
  )


def test_noise_follows_the_examples_key(images):
  degradation = make(noise_std=0.1, image_size=64)
  keys = jax.random.split(jax.random.key(0), 3)
  together = degradation.degrade(images["x"], keys)
  alone = degradation.degrade(images["x"][1:2], keys[1:2])
  np.testing.assert_array_equal(together[1:2], alone)


@pytest.mark.parametrize(
  ("fields", "complaint"),
  [
    ({"factor": 5}, "degradation.factor=5 does not divide data.image_size=32"),
    ({"factor": 0}, "degradation.factor=0"),
    ({"noise_std": -1.0}, "noise_std=-1.0 is negative"),
    ({"kind": "blur"}, "degradation.kind='blur' is unknown"),
    ({"consistency": "soft"}, "degradation.consistency='soft' is unknown"),
    ({"kind": "inpainting", "consistency": "statistical"}, "inpainting has exact"),
  ],
)
def test_mistakes_are_named(fields, complaint):
  with pytest.raises(UserError, match=complaint):
    make(**fields)


def test_variants_differ_as_the_paper_says():
  configs = {variant: default.get_config(variant) for variant in default.VARIANTS}
  assert [c.model.stochastic for c in configs.values()] == [True, True, False, False]
  assert [c.optim.robust_weight for c in configs.values()] == [500.0, 0.0, 500.0, 0.0]
  assert [c.attack.num_seeds for c in configs.values()] == [10, 10, 1, 1]


def test_a_point_is_completed_by_its_last_coordinate():
  degradation = make("first_coordinate")
  x = np.array([[0.5, 0.2], [0.25, 0.4]], np.float32)
  y = degradation.degrade(x)
  np.testing.assert_array_equal(y, x[:, :1])
  np.testing.assert_array_equal(degradation.project(np.array([[7.0], [8.0]], np.float32), y), [[0.5, 7], [0.25, 8]])
  np.testing.assert_array_equal(degradation.project(x + 1, y), np.stack([x[:, 0], x[:, 1] + 1], 1))
  np.testing.assert_array_equal(degradation.estimated(x), x[:, 1:])
  assert y.shape[1:] == degradation.measurement_shape
