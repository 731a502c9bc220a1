"""Denoising: additive Gaussian noise alone."""

import dataclasses

import jax

from prt_jax.degradations.degradation import ImageDegradation
from prt_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Denoising(ImageDegradation):
  """Y = X + N. No projection: the image that agrees with y exactly is y, noise and all.

  Attributes:
    noise_std: standard deviation of the noise, more than 0.
    image_size: side of the square image, pixels.

  Example:
    >>> denoising = Denoising(noise_std=0.1, image_size=64)
    >>> y = denoising.degrade(jnp.full((1, 64, 64, 3), 0.5), jax.random.key(0))
    >>> print(f"{jnp.std(y):.2f}")
    0.10
  """

  noise_std: float
  image_size: int

  title = "denoising"

  def __post_init__(self) -> None:
    if self.noise_std <= 0:
      raise UserError(f"degradation.noise_std={self.noise_std}: denoising needs noise, of 0.1 for example")

  def clean(self, x: jax.Array) -> jax.Array:
    """x itself."""
    return x
