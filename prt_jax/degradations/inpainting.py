"""Inpainting of the upper three quarters."""

import dataclasses

import jax
import jax.numpy as jnp

from prt_jax.degradations.linear import LinearDegradation
from prt_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Inpainting(LinearDegradation):
  """The upper three quarters are masked; y is the visible lower quarter, pasted back for consistency.

  Attributes:
    noise_std: standard deviation of the measurement noise.
    image_size: side of the square image, a multiple of 4.

  Example:
    >>> inpainting = Inpainting(noise_std=0.0, image_size=8)
    >>> y = jnp.ones((1, 2, 8, 3))  # the lower quarter
    >>> print(inpainting.project(jnp.zeros((1, 8, 8, 3)), y)[0, :, 0, 0])
    [0. 0. 0. 0. 0. 0. 1. 1.]
  """

  noise_std: float
  image_size: int

  title = "inpainting of the upper 3/4"
  whole_images = True

  def __post_init__(self) -> None:
    if self.image_size % 4:
      raise UserError(f"data.image_size={self.image_size} has no quarter to show: choose a multiple of 4")

  @property
  def psnr_size(self) -> int:
    """The number of values that AI-PSNR averages over: the whole image, masked pixels included (paper A's 32.9 dB)."""
    return self.image_size**2 * 3

  @property
  def norm(self) -> float:
    """||D||: what is visible is kept."""
    return 1.0

  def clean(self, x: jax.Array) -> jax.Array:
    """The visible rows: [B,H,W,C] -> [B,H/4,W,C]."""
    return x[:, -(x.shape[1] // 4) :]

  def network_input(self, y: jax.Array) -> jax.Array:
    """y below three times as many rows of zeros."""
    return jnp.pad(y, ((0, 0), (3 * y.shape[1], 0), (0, 0), (0, 0)))

  def project(self, x: jax.Array, y: jax.Array) -> jax.Array:
    """x with its visible rows replaced by y, exactly."""
    return jnp.concatenate([x[:, : -y.shape[1]], y], 1)
