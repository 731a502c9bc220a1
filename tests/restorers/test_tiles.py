"""Tiles: the whole picture's restoration and gradient, where the halo is as wide as the restorer sees."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from prt_jax.errors import UserError
from prt_jax.restorers.any_size import any_size
from prt_jax.restorers.restorer import Restorer, as_restorer
from prt_jax.restorers.tiles import Field, Span, receptive_field, spans, tiled

REACH = 5  # pixels: a 3x3 and a dilated 5x5 convolution, 1 + 4


def network(params, y, z=None):
  """x2, zero padding at the picture's edges as published networks have it, each pixel seen REACH pixels far."""
  del z
  first, second = params
  convolve = functools.partial(
    jax.lax.conv_general_dilated, window_strides=(1, 1), padding="SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
  )
  x = convolve(jax.nn.leaky_relu(convolve(y, first)), second, rhs_dilation=(2, 2))
  batch, height, width, _ = x.shape
  return jnp.tanh(x).reshape(batch, height, width, 2, 2, 3).swapaxes(2, 3).reshape(batch, 2 * height, 2 * width, 3)


@pytest.fixture(scope="module")
def restorer():
  keys = jax.random.split(jax.random.key(0), 2)
  params = (0.3 * jax.random.normal(keys[0], (3, 3, 3, 8)), 0.2 * jax.random.normal(keys[1], (5, 5, 8, 12)))
  return Restorer("network", network, params, scale=2, identity="network")


def test_spans_cover_a_side_once_and_end_with_it():
  assert spans(10, 4, 1) == [Span(0, 6, 0, 4), Span(3, 6, 4, 8), Span(4, 6, 8, 10)]
  assert spans(6, 4, 1) == [Span(0, 6, 0, 6)]
  for length, tile, halo, unit in ((70, 16, 3, 1), (64, 10, 3, 4), (8, 100, 3, 8), (33, 1, 0, 1)):
    found = spans(length, tile, halo, unit)
    assert [pixel for span in found for pixel in range(span.first, span.last)] == list(range(length))
    assert len({span.size for span in found}) == 1  # one program
    for span in found:
      assert span.start % unit == span.size % unit == 0 and 0 <= span.start <= span.first
      assert span.first - span.start >= halo or span.start == 0
      assert span.start + span.size - span.last >= halo or span.start + span.size == length


def test_tiles_are_the_whole_picture(restorer):
  y = jax.random.uniform(jax.random.key(1), (2, 37, 50, 3))
  weights = jax.random.normal(jax.random.key(2), (2, 74, 100, 3))

  def value(restorer, y):
    return jnp.sum(weights * restorer.restore(y, None))

  tiles = tiled(restorer, 13, REACH)
  np.testing.assert_allclose(tiles.restore(y, None), restorer.restore(y, None), atol=1e-6)
  gradient = jax.grad(value, 1)
  np.testing.assert_allclose(gradient(tiles, y), gradient(restorer, y), atol=1e-5)
  # One pixel less is not enough: the claim is sharp.
  difference = np.abs(tiled(restorer, 13, REACH - 1).restore(y, None) - restorer.restore(y, None))
  assert difference.max() > 1e-4
  assert not tiles.traceable and tiles.identity != restorer.identity


def test_what_a_restorer_sees_is_measured(restorer):
  assert receptive_field(restorer) == Field(REACH, False)
  assert receptive_field(as_restorer(lambda y: y)) == Field(0, False)
  mean = as_restorer(lambda y: y + 1e-4 * y.mean((1, 2), keepdims=True))
  field = receptive_field(mean)
  assert field.is_whole and field.radius < 40  # a little of everything: not as wide as all of it


def test_windows_begin_where_the_whole_pictures_do():
  """A network of windows of 8 by itself: tiles of 10 are taken as 16, and a picture of 50 is mirrored to 56 first."""

  def windows(params, y, z):
    batch, height, width, channels = y.shape
    parts = y.reshape(batch, height // 8, 8, width // 8, 8, channels)
    return (parts - parts.mean((2, 4), keepdims=True)).reshape(y.shape)

  whole = any_size(Restorer("windows", windows, multiple=8))
  tiles = any_size(tiled(Restorer("windows", windows, multiple=8), 10, 3))
  y = jax.random.uniform(jax.random.key(3), (1, 50, 41, 3))
  np.testing.assert_allclose(tiles.restore(y, None), whole.restore(y, None), atol=1e-6)
  assert receptive_field(Restorer("windows", windows, multiple=8)).radius >= 7


def test_a_tile_is_no_smaller_than_a_network_takes(restorer):
  seen = []

  def apply(params, y, z):
    seen.append(y.shape[1:3])
    return y

  restorer = tiled(Restorer("picky", apply, min_side=24, traceable=False), 8, 2)
  restorer.restore(jax.random.uniform(jax.random.key(4), (1, 60, 60, 3)), None)
  assert set(seen) == {(24, 24)}


def test_gradients_of_a_module_go_through_tiles():
  torch = pytest.importorskip("torch", reason="PyTorch: pip install -r requirements-test.txt")
  torch.manual_seed(0)
  module = torch.nn.Sequential(torch.nn.Conv2d(3, 12, 3, padding=1), torch.nn.PixelShuffle(2), torch.nn.Tanh())
  whole = as_restorer(module)
  y = jax.random.uniform(jax.random.key(5), (1, 20, 17, 3))
  tiles = tiled(whole, 6, 1)
  gradient = jax.grad(lambda restorer, y: jnp.sum(restorer.restore(y, None) ** 3), 1)
  np.testing.assert_allclose(gradient(tiles, y), gradient(whole, y), atol=1e-6)


@pytest.mark.parametrize(
  ("change", "tile", "message"),
  [
    ({"draw_noise": lambda keys, shape, num: None}, 8, "is stochastic: its noise belongs to the whole picture"),
    ({"image_size": 32}, 8, "has a size of its own"),
    ({}, 0, "--tile=0 must be at least 1"),
  ],
)
def test_mistakes_are_one_line(change, tile, message):
  with pytest.raises(UserError, match=message):
    tiled(Restorer("r", lambda params, y, z: y, **change), tile, 1)
