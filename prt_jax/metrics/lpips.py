"""A perceptual distance of the form of LPIPS (Zhang et al. 2018), in SqueezeNet 1.1 features.

It is called "LPIPS-style" wherever it is shown: the published LPIPS has a backbone of
torchvision's weights, and its learned heads fit that backbone's channels only.
"""

import os
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from prt_jax.errors import UserError
from prt_jax.features.squeezenet import TAPS, squeezenet_taps
from prt_jax.io.weight_files.stored_tensor import read_all
from prt_jax.io.weight_files.torch_checkpoint import open_state_dict
from prt_jax.pixels import as_pixels

_EPSILON = 1e-10


def load_lpips_heads(path: str | os.PathLike) -> list[jax.Array]:
  """The seven learned channel weights of LPIPS v0.1 "squeeze" (v0.1_squeeze.pth), read without executing the file.

  Returns:
    list of [C_i] float32, for `lpips_style_distance`.

  Raises:
    UserError: the file is missing, damaged, or holds other heads (of AlexNet, say).

  Example:
    >>> from prt_jax.errors import UserError
    >>> try:
    ...   load_lpips_heads("v0.1_squeeze.pth")
    ... except UserError as error:
    ...   print("v0.1_squeeze.pth" in str(error))
    True
  """
  names = {f"lin{index}.model.1.weight": (1, channels, 1, 1) for index, channels in enumerate(TAPS)}
  with open_state_dict(path) as tensors:
    for name, expected in names.items():
      shape = tensors[name].shape if name in tensors else None
      if shape != expected:
        raise UserError(
          f"{path} holds {name} of shape {shape}, SqueezeNet's LPIPS head has {expected}: use v0.1_squeeze.pth"
        )
    heads = read_all({name: tensors[name] for name in names}, path)
  return [jnp.asarray(head.reshape(-1), jnp.float32) for head in heads.values()]


def lpips_style_distance(params: Any, a: ArrayLike, b: ArrayLike, heads: list[jax.Array] | None = None) -> jax.Array:
  """Weighted squared difference of unit-normalised activations, summed over seven layers.

  sum over layers of mean over positions of sum over channels w_c (a_c / |a| - b_c / |b|)^2
  (Zhang et al. 2018, Eq. 1).

  Args:
    params: from `features.squeezenet.load_squeezenet`.
    a, b: [B, H, W, 3] floats in [0, 1], not rounded to 8 bits: the distance has a gradient. Or uint8.
    heads: from `load_lpips_heads`, if they were fitted to these params; None gives every
      channel of a layer the same weight 1 / C (the paper's "uncalibrated" variant, scaled).

  Returns:
    [B] float32, >= 0, 0 for identical images. No unit: compare values of the same params and heads only.

  Raises:
    UserError: the shapes differ, or the pixels are in another range.

  Example:
    >>> from prt_jax.features.squeezenet import load_squeezenet
    >>> def distance(a, b, weights="squeezenet_notop.npz"):
    ...   return lpips_style_distance(load_squeezenet(weights), a, b)
    >>> x = jnp.zeros((1, 64, 64, 3))
    >>> try:
    ...   print(distance(x, x))
    ... except Exception as error:  # until the file is there
    ...   print("squeezenet_notop.npz" in str(error))
    True
  """
  a, b = as_pixels(a, "lpips_style_distance"), as_pixels(b, "lpips_style_distance")
  if a.shape != b.shape:
    raise UserError(f"lpips_style_distance compares two batches of one shape, got {a.shape} and {b.shape}")
  return _distance(params, a, b, heads)


@jax.jit
def _distance(params, a, b, heads):
  heads = heads or [jnp.full(channels, 1 / channels) for channels in TAPS]
  distance = 0.0
  for x, y, head in zip(squeezenet_taps(params, a * 255), squeezenet_taps(params, b * 255), heads, strict=True):
    difference = jnp.square(_normalise(x) - _normalise(y))
    distance += jnp.mean(jnp.einsum("bhwc,c->bhw", difference, head, precision=jax.lax.Precision.HIGHEST), axis=(1, 2))
  return distance


def _normalise(x):
  # The root is kept off 0, where its gradient is infinite: dead positions are common after a ReLU.
  return x / (jnp.sqrt(jnp.sum(jnp.square(x), axis=-1, keepdims=True) + _EPSILON**2) + _EPSILON)
