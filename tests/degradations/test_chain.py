"""Chains of degradations: each link against another implementation of it, order, noise, projections."""

import io

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage
import skimage.data
from PIL import Image

from prt_jax.degradations import Degradation, make_degradation
from prt_jax.degradations.bicubic import bicubic_downsample, matlab_downsample
from prt_jax.degradations.kernel_blur import read_kernel
from prt_jax.errors import UserError
from prt_jax.training.gan import make_game, state_shapes
from prt_jax.training.step import training_step
from tests import tiny


def make(kind, image_size=64, noise_std=0.0, **others):
  return make_degradation({"kind": kind, "noise_std": noise_std, **others}, image_size)


@pytest.fixture(scope="module")
def photograph():
  """[1,64,64,3] float32."""
  return skimage.data.astronaut()[60:124, 180:244].astype(np.float32)[None] / 255


def test_matlabs_bicubic_by_hand():
  """Keys' kernel at .25, .75, 1.25, 1.75 is 222, 58, -18, -6 of 256; at the edge the image is mirrored."""
  weights = [140, 102, 26, -9, -3, 0, 0, 0]  # of 256: 111 + 29, 111 - 9, 29 - 3, -9, -3
  impulses = np.zeros((8, 8, 2, 1), np.float32)
  impulses[range(8), range(8)] = 1  # the rows of image i are 0 but for row i
  np.testing.assert_allclose(matlab_downsample(impulses, 2)[:, 0, 0, 0] * 256, weights, atol=1e-4)
  inner = [-3, -9, 29, 111, 111, 29, -9, -3]  # the row that the edge does not reach
  impulses = np.zeros((8, 16, 2, 1), np.float32)
  impulses[range(8), range(5, 13)] = 1
  np.testing.assert_allclose(matlab_downsample(impulses, 2)[:, 4, 0, 0] * 256, inner, atol=1e-4)


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_the_two_bicubics_differ_at_the_edges_alone(factor):
  x = np.random.default_rng(0).uniform(size=(1, 48, 60, 3)).astype(np.float32)
  pillow, matlab = bicubic_downsample(x, factor), matlab_downsample(x, factor)
  np.testing.assert_allclose(matlab[:, 2:-2, 2:-2], pillow[:, 2:-2, 2:-2], atol=1e-5)
  assert np.abs(matlab - pillow).max() > 1e-3
  for channel in range(3):
    image = Image.fromarray(x[0, :, :, channel]).resize((60 // factor, 48 // factor), Image.Resampling.BICUBIC)
    np.testing.assert_allclose(pillow[0, :, :, channel], image, atol=1e-5)


@pytest.mark.parametrize("shape", [(3, 5), (4, 2), (1, 1), (9, 9)])
def test_motion_blur_is_scipys_convolution(shape, tmp_path):
  rng = np.random.default_rng(1)
  kernel, x = rng.uniform(size=shape), rng.uniform(size=(2, 12, 14, 3)).astype(np.float32)
  np.save(tmp_path / "kernel.npy", kernel)
  blurred = make(f"motion:{tmp_path / 'kernel.npy'}").clean(x)
  expected = scipy.ndimage.convolve(x, (kernel / kernel.sum())[None, :, :, None], mode="reflect")
  np.testing.assert_allclose(blurred, expected, atol=1e-6)


def test_kernels_are_read_from_texts_arrays_and_pictures(tmp_path):
  (tmp_path / "k.txt").write_text("0 1 2\n3 0 4\n")
  (tmp_path / "k.csv").write_text("0,1,2\n3,0,4\n")
  np.save(tmp_path / "k.npy", np.array([[0, 1, 2], [3, 0, 4]]))
  Image.fromarray(np.array([[0, 20, 40], [60, 0, 80]], np.uint8)).save(tmp_path / "k.png")
  for ending in ("txt", "csv", "npy", "png"):
    np.testing.assert_allclose(read_kernel(str(tmp_path / f"k.{ending}")), np.array([[0, 1, 2], [3, 0, 4]]) / 10)
  (tmp_path / "words.txt").write_text("a kernel\n")
  np.save(tmp_path / "negative.npy", np.array([[1.0, -1.0]]))
  np.save(tmp_path / "line.npy", np.ones(5))
  np.save(tmp_path / "objects.npy", np.array([[{}]]), allow_pickle=True)
  for name, message in (
    ("missing.npy", "cannot read the blur kernel"), ("words.txt", "cannot read the blur kernel"),
    ("objects.npy", "cannot read the blur kernel"), ("negative.npy", "0 or more"), ("line.npy", r"has shape \(5,\)"),
  ):  # fmt: skip
    with pytest.raises(UserError, match=message):
      make(f"motion:{tmp_path / name}")


def test_links_are_applied_in_order(photograph):
  """Against scipy's blur, Pillow's reduction of floats and Pillow's JPEG; the whole chain has no noise in clean."""
  degradation = make("blur:1.2+bicubic:4+noise:0.02+jpeg:70")
  blurred = scipy.ndimage.gaussian_filter(photograph[0], (1.2, 1.2, 0), mode="reflect", truncate=4)
  reduced = [
    np.asarray(Image.fromarray(channel).resize((16, 16), Image.Resampling.BICUBIC))
    for channel in np.moveaxis(blurred, -1, 0)
  ]
  file = io.BytesIO()
  eight_bits = np.round(255 * np.clip(np.stack(reduced, -1), 0, 1)).astype(np.uint8)
  Image.fromarray(eight_bits).save(file, "jpeg", quality=70)
  expected = np.asarray(Image.open(file), np.float32) / 255
  y = degradation.clean(photograph)
  assert (degradation.measurement_shape, degradation.image_shape) == ((16, 16, 3), (64, 64, 3))
  # A coefficient that a rounding moves to the next step changes its whole block a little.
  assert np.mean(np.abs(y[0] - expected) < 1e-6) > 0.7 and np.abs(y[0] - expected).max() < 0.04
  other_way_round = make("bicubic:4+blur:1.2").clean(photograph) - make("blur:1.2+bicubic:4").clean(photograph)
  assert np.abs(other_way_round).max() > 0.01
  assert isinstance(degradation, Degradation)
  assert degradation.title.startswith("removal of JPEG artefacts, quality 70 after denoising after bicubic")


def test_noise_comes_where_it_stands(photograph):
  keys = jax.random.split(jax.random.key(0), 2)
  x = jnp.concatenate([photograph, photograph])
  twice = make("noise:0.3+noise:0.4")
  noise = twice.degrade(x, keys) - x
  assert np.std(noise) == pytest.approx(0.5, rel=0.02)  # 3, 4, 5: the two draws are not one
  assert np.abs(noise[0] - noise[1]).max() > 0.1
  before = make("noise:0.4+block_average:8")
  assert np.std(before.degrade(x, keys) - before.clean(x)) == pytest.approx(0.05, rel=0.1)
  assert (before.noise_std, make("block_average:8+noise:0.4").noise_std) == (0, 0.4)
  with pytest.raises(ValueError, match="needs a key"):
    before.degrade(x)
  one = make("jpeg:70+noise:0.1")
  np.testing.assert_array_equal(one.degrade(x, keys)[1], one.degrade(x[1:], keys[1:])[0])


@pytest.mark.parametrize(
  "kind", ["bicubic:4", "bicubic_matlab:2", "block_average:2+bicubic:2+noise:0.1", "bicubic:2+bicubic:2"]
)
def test_linear_chains_project_exactly(kind, photograph):
  degradation = make(kind)
  assert degradation.projects
  y = degradation.clean(photograph)
  g = np.random.default_rng(2).uniform(size=photograph.shape).astype(np.float32)
  x = degradation.project(g, y)
  np.testing.assert_allclose(degradation.clean(x), y, atol=5e-6)
  np.testing.assert_allclose(degradation.project(x, y), x, atol=5e-6)
  unseen = np.asarray(degradation.project(g, np.zeros_like(y)))  # D of it is 0
  assert abs(np.sum((x - g) * unseen)) < 1e-4 * np.linalg.norm(x - g) * np.linalg.norm(unseen)
  assert degradation.network_input(y).shape == photograph.shape


def test_blurs_are_damped(photograph):
  degradation = make("blur:1+bicubic:2")
  assert not degradation.projects
  y = degradation.clean(photograph)
  g = np.random.default_rng(3).uniform(size=photograph.shape).astype(np.float32)
  before, after = (np.abs(degradation.clean(x) - y).mean() for x in (g, degradation.project(g, y)))
  assert after < 0.05 * before


@pytest.mark.parametrize("kind", ["jpeg:50", "bicubic:2+round:8", "noise:0.1+block_average:2", "noise:0.1"])
def test_other_chains_have_no_projection(kind, photograph):
  degradation = make(kind)
  assert not degradation.projects
  np.testing.assert_array_equal(degradation.project(photograph, degradation.clean(photograph)), photograph)
  with pytest.raises(UserError, match="consistency='statistical' is not of every kind"):
    make(kind, consistency="statistical")


def test_rounding_has_a_gradient():
  degradation = make("round:1")
  x = jnp.array([-0.2, 0.2, 0.6, 1.3]).reshape(1, 2, 2, 1)
  np.testing.assert_array_equal(degradation.clean(x).ravel(), [0, 0, 1, 1])
  gradient = jax.grad(lambda x: jnp.sum(jnp.array([1.0, 2, 3, 4]) * degradation.clean(x).ravel()))(x)
  np.testing.assert_array_equal(gradient.ravel(), [0, 2, 3, 0])


@pytest.mark.parametrize(
  ("kind", "message"),
  [
    ("blur:wide", "blur takes a number"),
    ("bicubic:2.5+jpeg:50", "bicubic takes a whole number"),
    ("jpeg", "needs degradation.quality"),
    ("jpeg:", "jpeg takes a whole number"),
    ("noise:nan", "noise takes a number"),
    ("blurr:1+jpeg:50", "'blurr:1' of 'blurr:1.jpeg:50' is no degradation: a chain has blur, motion, bicubic"),
    ("jpeg:50+", "'' of 'jpeg:50.' is no degradation"),
    ("bicubic:2+bicubic:3", "degradation.factor=3 does not divide data.image_size=32"),
  ],
)  # fmt: skip
def test_mistakes_are_one_line(kind, message):
  with pytest.raises(UserError, match=message):
    make(kind)


def test_a_chain_says_its_noise_itself():
  with pytest.raises(UserError, match=r"end it with \+noise:0.1"):
    make("jpeg:50", noise_std=0.1)


@pytest.mark.parametrize("kind", ["blur:1.2+block_average:4+noise:0.02", "bicubic:4+noise:0.02+jpeg:70"])
def test_a_chain_goes_through_a_robust_training_step(kind):
  """Traced, in all its shapes and gradients, at the cost of no compilation."""
  config = tiny.get_config()
  config.degradation.kind = kind
  game = make_game(config)
  state = state_shapes(game)
  images = jax.ShapeDtypeStruct((4, *game.degradation.image_shape), np.uint8)
  after = jax.eval_shape(lambda state, images: training_step(game, state, images, robust=True), state, images)
  assert jax.tree.structure(after) == jax.tree.structure(state)
