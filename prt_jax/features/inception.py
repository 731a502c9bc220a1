"""InceptionV3 as FID uses it: the TensorFlow network of 2015-12-05, not torchvision's.

Layer names are those of the PyTorch port's state dict (pt_inception-2015-12-05). The
network differs from the published InceptionV3 in three ways that move FID: 1008 classes,
average pools that do not count their padding, and a max pool in the last block.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from prt_jax.features.resize import resize_bilinear_tf1

INPUT_SIZE = 299  # pixels
Params = dict[str, dict[str, jax.Array]]  # layer -> {"kernel", "bias"}
NUM_FEATURES = 2048
NUM_CLASSES = 1008


class Conv(NamedTuple):
  """Convolution, batch normalisation, ReLU; strides of 2 do not pad, strides of 1 do unless told."""

  name: str
  features: int
  kernel: tuple = (1, 1)
  stride: int = 1
  padding: str = "SAME"


class Pool(NamedTuple):
  """A 3x3 pool: 'max' or 'average'."""

  kind: str
  stride: int = 1


class Branches(NamedTuple):
  """Chains of layers over one input, whose outputs are concatenated."""

  chains: tuple


def _named(block, chains):
  """The chains with the block's name before each convolution's."""

  def rename(layer):
    if isinstance(layer, Branches):
      return _named(block, layer.chains)
    return layer._replace(name=f"{block}.{layer.name}") if isinstance(layer, Conv) else layer

  return Branches(tuple(tuple(rename(layer) for layer in chain) for chain in chains))


def _block_a(name, pool_features):
  return _named(name, (
    (Conv("branch1x1", 64),),
    (Conv("branch5x5_1", 48), Conv("branch5x5_2", 64, (5, 5))),
    (Conv("branch3x3dbl_1", 64), Conv("branch3x3dbl_2", 96, (3, 3)), Conv("branch3x3dbl_3", 96, (3, 3))),
    (Pool("average"), Conv("branch_pool", pool_features)),
  ))  # fmt: skip


def _block_b(name):
  return _named(name, (
    (Conv("branch3x3", 384, (3, 3), 2, "VALID"),),
    (Conv("branch3x3dbl_1", 64), Conv("branch3x3dbl_2", 96, (3, 3)),
     Conv("branch3x3dbl_3", 96, (3, 3), 2, "VALID")),
    (Pool("max", 2),),
  ))  # fmt: skip


def _block_c(name, features):
  return _named(name, (
    (Conv("branch1x1", 192),),
    (Conv("branch7x7_1", features), Conv("branch7x7_2", features, (1, 7)), Conv("branch7x7_3", 192, (7, 1))),
    (Conv("branch7x7dbl_1", features), Conv("branch7x7dbl_2", features, (7, 1)),
     Conv("branch7x7dbl_3", features, (1, 7)), Conv("branch7x7dbl_4", features, (7, 1)),
     Conv("branch7x7dbl_5", 192, (1, 7))),
    (Pool("average"), Conv("branch_pool", 192)),
  ))  # fmt: skip


def _block_d(name):
  return _named(name, (
    (Conv("branch3x3_1", 192), Conv("branch3x3_2", 320, (3, 3), 2, "VALID")),
    (Conv("branch7x7x3_1", 192), Conv("branch7x7x3_2", 192, (1, 7)), Conv("branch7x7x3_3", 192, (7, 1)),
     Conv("branch7x7x3_4", 192, (3, 3), 2, "VALID")),
    (Pool("max", 2),),
  ))  # fmt: skip


def _block_e(name, pool):
  def split(stem):
    return Branches(((Conv(f"{stem}a", 384, (1, 3)),), (Conv(f"{stem}b", 384, (3, 1)),)))

  return _named(name, (
    (Conv("branch1x1", 320),),
    (Conv("branch3x3_1", 384), split("branch3x3_2")),
    (Conv("branch3x3dbl_1", 448), Conv("branch3x3dbl_2", 384, (3, 3)), split("branch3x3dbl_3")),
    (Pool(pool), Conv("branch_pool", 192)),
  ))  # fmt: skip


NETWORK = (
  Conv("Conv2d_1a_3x3", 32, (3, 3), 2, "VALID"),
  Conv("Conv2d_2a_3x3", 32, (3, 3), 1, "VALID"),
  Conv("Conv2d_2b_3x3", 64, (3, 3)),
  Pool("max", 2),
  Conv("Conv2d_3b_1x1", 80),
  Conv("Conv2d_4a_3x3", 192, (3, 3), 1, "VALID"),
  Pool("max", 2),
  _block_a("Mixed_5b", 32),
  _block_a("Mixed_5c", 64),
  _block_a("Mixed_5d", 64),
  _block_b("Mixed_6a"),
  _block_c("Mixed_6b", 128),
  _block_c("Mixed_6c", 160),
  _block_c("Mixed_6d", 160),
  _block_c("Mixed_6e", 192),
  _block_d("Mixed_7a"),
  _block_e("Mixed_7b", "average"),
  _block_e("Mixed_7c", "max"),
)


def inception_features(params: Params, images: jax.Array) -> jax.Array:
  """The 2048 features before the logits, as FID uses them.

  Args:
    params: from `inception_weights.load_inception`.
    images: [B, H, W, 3] RGB of any size, uint8 or floats with uint8's values, 0 .. 255.

  Returns:
    [B, 2048] float32, >= 0. Images are resized to 299x299 as TensorFlow 1 did, then scaled by
    (x - 128) / 128.
  """
  images = resize_bilinear_tf1(jnp.asarray(images, jnp.float32), (INPUT_SIZE, INPUT_SIZE))
  x = _run(NETWORK, params, (images - 128) / 128)
  return jnp.mean(x, axis=(1, 2))


def inception_features_piq(params: Params, images: jax.Array) -> jax.Array:
  """The same features as the package piq computes them (0.8.0, its default InceptionV3): what paper A measures in.

  The images come as floats, without rounding to 8 bits; they are resized on half-pixel centres as PyTorch's bilinear
  interpolation does, and scaled by 2 x - 1 of [0, 1]. Args and result as in inception_features.
  """
  images = jnp.asarray(images, jnp.float32)
  shape = (len(images), INPUT_SIZE, INPUT_SIZE, 3)
  images = jax.image.resize(images, shape, "linear", antialias=False, precision=jax.lax.Precision.HIGHEST)
  x = _run(NETWORK, params, images / 127.5 - 1)
  return jnp.mean(x, axis=(1, 2))


def inception_logits(params: Params, features: jax.Array) -> jax.Array:
  """The 1008 logits without their bias ("logits_unbiased"), [B, 1008], from features [B, 2048]."""
  return jnp.matmul(features, params["fc"]["kernel"], precision=jax.lax.Precision.HIGHEST)


def conv_shapes(layers: Sequence = NETWORK, channels: int = 3) -> tuple[dict[str, tuple[int, ...]], int]:
  """(dict convolution name -> (height, width, input channels, output channels), final channels)."""
  shapes = {}
  for layer in layers:
    if isinstance(layer, Conv):
      shapes[layer.name] = (*layer.kernel, channels, layer.features)
      channels = layer.features
    elif isinstance(layer, Branches):
      found = [conv_shapes(chain, channels) for chain in layer.chains]
      for chain_shapes, _ in found:
        shapes.update(chain_shapes)
      channels = sum(chain_channels for _, chain_channels in found)
  return shapes, channels


def _run(layers, params, x):
  for layer in layers:
    if isinstance(layer, Branches):
      x = jnp.concatenate([_run(chain, params, x) for chain in layer.chains], axis=-1)
    elif isinstance(layer, Pool):
      x = _pool(layer, x)
    else:
      x = jax.lax.conv_general_dilated(
        x,
        params[layer.name]["kernel"],
        (layer.stride, layer.stride),
        layer.padding,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        precision=jax.lax.Precision.HIGHEST,
      )
      x = jax.nn.relu(x + params[layer.name]["bias"])
  return x


def _pool(pool, x):
  window, strides, padding = (1, 3, 3, 1), (1, pool.stride, pool.stride, 1), "SAME" if pool.stride == 1 else "VALID"
  if pool.kind == "max":
    return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, window, strides, padding)
  total = jax.lax.reduce_window(x, 0.0, jax.lax.add, window, strides, padding)
  # At a border of length n a window of 3 holds 2 pixels (1 if n = 1): padding does not count.
  held = [3 - (np.arange(n) == 0) - (np.arange(n) == n - 1) for n in x.shape[1:3]]
  return total / np.outer(*held).astype(np.float32)[:, :, None]
