"""The range of pixels: everything here takes [0, 1]; an image in another range would give numbers that look right."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from prt_jax.errors import UserError

SLACK = 3  # how far beyond [0, 1] noise and the overshoot of a network may reach


def as_float(images: Any, name: str) -> jax.Array | np.ndarray:
  """Numbers as float32: uint8 and uint16 divided by the largest value of their type, floats as they are.

  UserError, which begins with name, for other integers: their type does not say what white is.
  """
  images = images if isinstance(images, jax.Array) else np.asarray(images)
  if images.dtype in (np.uint8, np.uint16):
    return images.astype(np.float32) / np.float32(np.iinfo(images.dtype).max)
  if not jnp.issubdtype(images.dtype, jnp.floating):
    raise UserError(f"{name}: pixels are {images.dtype}, and must be floats in [0, 1], or uint8")
  return images.astype(np.float32)


def as_pixels(images: Any, name: str) -> jax.Array | np.ndarray:
  """Images as float32 with pixels about [0, 1] (see as_float); of tracers, whose values are not known, the type alone.

  UserError, which begins with name, where the values are those of another range.
  """
  images = as_float(images, name)
  if isinstance(images, Tracer) or not images.size:
    return images
  low, high = float(images.min()), float(images.max())
  if low < -SLACK or high > 1 + SLACK or low > 1.5 or high < -0.5:
    raise UserError(f"{name}: pixels reach from {low:.3g} to {high:.3g}, and must be in [0, 1]: rescale or clip them")
  if low < -0.5 and high <= 1:
    raise UserError(
      f"{name}: pixels reach from {low:.3g} to {high:.3g}, as those in [-1, 1] do, and must be in [0, 1]: "
      "take (x + 1) / 2, or clip them"
    )
  return images
