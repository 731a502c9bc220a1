"""Degradations: hand-computed measurements, exact and idempotent projections, the noise's size."""

import io

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.fft
import scipy.ndimage
import skimage.data
from ml_collections import ConfigDict
from PIL import Image

from configs import default
from prt_jax.degradations import DEGRADATIONS, Degradation, LinearDegradation, make_degradation
from prt_jax.degradations.registry import fields_of
from prt_jax.errors import UserError
from prt_jax.plan.counts import TRACED_BATCH, count
from prt_jax.training.gan import make_game, state_shapes
from prt_jax.training.step import training_step
from tests import tiny


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
  ("name", "decibels"),
  [
    ("sr4", 34.0), ("sr8", 34.0), ("sr16", 34.0), ("inpaint", 32.94), ("deblur", 34.0), ("dejpeg", 34.0),
    ("denoise", 34.0),
  ],
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
    ({"kind": "denoising", "consistency": "statistical", "noise_std": 0.1}, "denoising has exact"),
    ({"kind": "denoising"}, "degradation.noise_std=0.0: denoising needs noise"),
    ({"kind": "gaussian_blur", "blur_sigma": 0.0}, "degradation.blur_sigma=0.0"),
    ({"kind": "jpeg", "quality": 0}, "degradation.quality=0: choose a whole number from 1 to 100"),
    ({"kind": "jpeg"}, "degradation.kind='jpeg' needs degradation.quality"),
    ({"kind": "no_such_module:Blur"}, "no_such_module:Blur cannot be imported"),
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


# Fields that every kind is happy with.
FIELDS = {"factor": 4, "noise_std": 0.1, "blur_sigma": 1.5, "quality": 20}


@pytest.mark.parametrize("kind", DEGRADATIONS)
def test_every_kind_is_a_degradation(kind):
  """Shapes and gradients; what says that it projects does."""
  degradation = make(kind, image_size=16, **FIELDS | {"noise_std": 0.1})
  assert isinstance(degradation, Degradation) and degradation.title and hash(degradation)
  x, g = jax.random.uniform(jax.random.key(0), (2, 3, *degradation.image_shape))
  y = degradation.degrade(x, jax.random.split(jax.random.key(1), 3))
  assert y.shape[1:] == degradation.measurement_shape and degradation.network_input(y).shape[:1] == (3,)
  projected, pull_back = jax.vjp(degradation.project, g, y)
  assert projected.shape == x.shape and all(np.isfinite(gradient).all() for gradient in pull_back(projected))
  error = np.abs(degradation.clean(projected) - y).max()
  assert degradation.projects == (error < 1e-5), error


class Uneven(LinearDegradation):
  """Each second row of a smoothed image: no orthogonal rows, no closed form."""

  noise_std, image_size, title = 0.0, 16, "uneven"

  def clean(self, x):
    return (x[:, :-1:2] + 2 * x[:, 1::2]) / 4


def test_a_linear_degradation_projects_by_its_pseudo_inverse():
  """numpy's, of the matrix; by an example's own solution whatever else is in the batch."""
  degradation = Uneven()
  x, g = np.random.default_rng(0).normal(size=(2, 3, 16, 16, 3)).astype(np.float32)
  y = degradation.clean(x)
  matrix = np.asarray(jax.vmap(lambda row: degradation.clean(row[None, :, None, None])[0, :, 0, 0])(np.eye(16))).T
  residual = np.einsum("yh,bhwc->bywc", matrix, g) - y
  expected = g - np.einsum("hy,bywc->bhwc", np.linalg.pinv(matrix), residual)
  np.testing.assert_allclose(degradation.project(g, y), expected, atol=1e-5)
  scale = np.array([1, 1e-3, 1e3], np.float32)[:, None, None, None]
  together, alone = degradation.project(scale * g, scale * y), degradation.project(1e-3 * g[1:2], 1e-3 * y[1:2])
  np.testing.assert_array_equal(together[1:2], alone)


def test_the_work_of_a_projection_by_iterations_is_known():
  """Else a run could not be planned (prt_jax.plan)."""

  class ByProduct(Uneven):
    def clean(self, x):
      return jnp.einsum("yh,bhwc->bywc", np.eye(8, 16, dtype=np.float32), x)

  x, y = (jax.ShapeDtypeStruct((TRACED_BATCH, rows, 16, 3), np.float32) for rows in (16, 8))
  one = 2 * 8 * 16 * 16 * 3  # FLOPs of a product; an iteration has two
  assert count(ByProduct().project, x, y).flops.per_example >= 2 * ByProduct.num_iterations * one


def test_blur_is_scipys():
  degradation = make("gaussian_blur", blur_sigma=1.7, image_size=20)
  x = np.random.default_rng(0).uniform(size=(2, 20, 25, 3)).astype(np.float32)
  expected = scipy.ndimage.gaussian_filter(x.astype(np.float64), (0, 1.7, 1.7, 0), mode="reflect")
  np.testing.assert_allclose(degradation.clean(x), expected, atol=1e-6)


def test_blur_projects_what_it_keeps_and_leaves_what_it_destroys():
  """The cosines are its eigenvectors: each has a damped projection by hand."""
  degradation = make("gaussian_blur", blur_sigma=1.5, image_size=32)
  x, g = np.random.default_rng(0).uniform(size=(2, 2, 32, 32, 3)).astype(np.float32)
  y = degradation.clean(x)
  offsets = np.arange(-6, 7)
  kernel = np.exp(-0.5 * (offsets / 1.5) ** 2)
  gains = np.cos(np.pi * np.arange(32)[:, None] * offsets / 32) @ kernel / kernel.sum()
  s = (gains[:, None] * gains)[None, :, :, None]

  def cosines(image):
    return scipy.fft.dctn(np.asarray(image, np.float64), axes=(1, 2), norm="ortho")

  expected = cosines(g) - s / (s**2 + 1e-3) * (s * cosines(g) - cosines(y))
  projected = degradation.project(g, y)
  np.testing.assert_allclose(cosines(projected), expected, atol=1e-4)
  # As the docstring says: within 1% where s >= 0.3, and near consistency all over.
  kept = np.broadcast_to(s >= 0.32, expected.shape)
  assert np.abs(cosines(projected - x)[kept]).max() <= 0.01 * np.abs(cosines(g - x)[kept]).max()
  residual = np.linalg.norm(degradation.clean(projected) - y) / np.linalg.norm(g - x)
  assert 1e-4 < residual < 0.016
  change = degradation.project(g, y + 0.01 * np.sign(g - 0.5)) - projected
  assert np.linalg.norm(change) <= 16 * 0.01 * np.sqrt(g.size)
  statistical = make("gaussian_blur", blur_sigma=1.5, image_size=32, noise_std=0.1, consistency="statistical")
  near = x + 0.01 * g
  np.testing.assert_array_equal(statistical.project(near, y), near)


@pytest.mark.parametrize(("quality", "size"), [(5, (64, 64)), (30, (64, 64)), (75, (45, 71)), (98, (64, 64))])
def test_jpeg_is_pillows(quality, size):
  """Value for value, but for the rare roundings of libjpeg's own cosines."""
  height, width = size
  photographs = np.stack([skimage.data.astronaut()[top : top + height, 90 : 90 + width] for top in (0, 100, 300)])
  expected = []
  for photograph in photographs:
    file = io.BytesIO()
    Image.fromarray(photograph).save(file, "jpeg", quality=quality)
    expected.append(np.asarray(Image.open(file), np.float32))
  ours = 255 * np.asarray(make("jpeg", quality=quality, image_size=64).clean(photographs.astype(np.float32) / 255))
  assert np.abs(ours - np.round(ours)).max() < 1e-3
  different = np.abs(ours - expected) > 0.5
  assert different.mean() < 0.03 and np.abs(ours - expected).mean() < 0.04
  assert np.abs(photographs - expected).mean() > 20 * np.abs(ours - expected).mean()


def test_jpegs_gradient_is_that_of_its_steps_without_rounding():
  """A smooth picture: what the codec does to it beyond rounding is to average chroma."""
  degradation = make("jpeg", quality=50, image_size=32)
  grey = jnp.linspace(0.3, 0.7, 32)[None, :, None, None] * jnp.ones((1, 1, 32, 3))
  direction = jax.random.normal(jax.random.key(0), (1, 32, 32, 1)) * jnp.ones(3)
  _, change = jax.jvp(degradation.clean, (grey,), (direction,))
  np.testing.assert_allclose(change, direction, atol=1e-4)
  direction = jnp.ones((1, 32, 32, 3)) * jnp.array([1.0, -1.0, 0.5])
  checker = direction * (-1.0) ** jnp.arange(32)[:, None]  # chroma of neighbours cancels
  np.testing.assert_allclose(jax.jvp(degradation.clean, (grey,), (direction,))[1], direction, atol=1e-4)
  _, change = jax.jvp(degradation.clean, (grey,), (checker,))
  luma = checker @ jnp.array([0.299, 0.587, 0.114])
  np.testing.assert_allclose(change, luma[..., None] * jnp.ones(3), atol=1e-4)


def test_denoising_is_noise_and_nothing_else(images):
  degradation = make("denoising", noise_std=0.1, image_size=64)
  y = degradation.degrade(images["x"], jax.random.key(0))
  assert np.std(y - images["x"]) == pytest.approx(0.1, rel=0.02)
  np.testing.assert_array_equal(degradation.project(images["g"], y), images["g"])
  np.testing.assert_array_equal(degradation.clean(images["x"]), images["x"])


def test_protocols_hold_the_fields_of_the_kind_and_those_of_old():
  """So that evaluations from before a kind's fields existed stay finished."""
  config = default.get_config().degradation
  old = {"kind": "super_resolution", "factor": 16, "noise_std": 0.0, "consistency": "exact"}
  assert fields_of(config) == old
  assert fields_of({**config, "kind": "inpainting"}) == old | {"kind": "inpainting"}
  assert fields_of({**config, "kind": "jpeg"}) == old | {"kind": "jpeg", "quality": 10}


@pytest.mark.parametrize("kind", ["gaussian_blur", "jpeg", "denoising"])
def test_a_kind_goes_through_a_robust_training_step(kind):
  """Traced, in all its shapes and gradients, at the cost of no compilation."""
  config = tiny.get_config()
  config.degradation.update(kind=kind, noise_std=0.1)
  game = make_game(config)
  state = state_shapes(game)
  images = jax.ShapeDtypeStruct((4, *game.degradation.image_shape), np.uint8)
  after = jax.eval_shape(lambda state, images: training_step(game, state, images, robust=True), state, images)
  assert jax.tree.structure(after) == jax.tree.structure(state)
