"""Rounding to so many bits, as a file holds pixels."""

import dataclasses

import jax
import jax.numpy as jnp

from prt_jax.degradations.degradation import ImageDegradation
from prt_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Rounding(ImageDegradation):
  """Clipped to [0, 1] and rounded to 2^bits levels; its gradient is that of the clipping (straight-through).

  Attributes:
    bits: 1 to 16.
    noise_std: standard deviation of noise added to the rounded image.
    image_size: side of the square image, pixels.
  """

  bits: int
  noise_std: float
  image_size: int

  def __post_init__(self) -> None:
    if not 1 <= self.bits <= 16:
      raise UserError(f"rounding to {self.bits} bits: choose a whole number from 1 to 16")

  @property
  def title(self) -> str:
    """The task in words."""
    return f"rounding to {self.bits} bits"

  def clean(self, x: jax.Array) -> jax.Array:
    """The rounded images."""
    levels = 2**self.bits - 1
    clipped = jnp.clip(x, 0, 1)
    return clipped + jax.lax.stop_gradient(jnp.round(levels * clipped) / levels - clipped)
