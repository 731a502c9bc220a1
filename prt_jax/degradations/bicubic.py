"""Super-resolution from bicubic reductions, as Pillow and as MATLAB compute them.

Both take Keys' kernel (a = -1/2), widened by the factor against aliasing. They differ at the edges alone: Pillow leaves
out what lies beyond, MATLAB's imresize mirrors the image there. Published PSNRs are those of MATLAB's.
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from prt_jax.degradations.linear import LinearDegradation, check_factor
from prt_jax.degradations.separable import both_ways


def bicubic_downsample(x: jax.Array, factor: int) -> jax.Array:
  """[B,H,W,C] -> [B,H/factor,W/factor,C]; Pillow's 8-bit result before it is rounded."""
  batch, height, width, channels = x.shape
  return jax.image.resize(x, (batch, height // factor, width // factor, channels), "cubic")


def bicubic_upsample(y: jax.Array, factor: int) -> jax.Array:
  """[B,h,w,C] -> [B,h factor,w factor,C]; may leave [0, 1] at edges."""
  batch, height, width, channels = y.shape
  return jax.image.resize(y, (batch, height * factor, width * factor, channels), "cubic")


def matlab_downsample(x: jax.Array, factor: int) -> jax.Array:
  """[B,H,W,C] -> [B,H/factor,W/factor,C]; imresize(x, 1/factor) of MATLAB before it is rounded."""
  _, height, width, _ = x.shape
  return both_ways(_matlab_matrix(height, factor), x, _matlab_matrix(width, factor))


def reduction_norm(reduce: Callable[[jax.Array, int], jax.Array], factor: int) -> float:
  """||D|| of a reduction that treats rows and columns alike: the square of what it does to lines of 32 pixels out."""
  size = 32 * factor
  lines = np.broadcast_to(np.eye(size, dtype=np.float32)[:, :, None, None], (size, size, 8 * factor, 1))
  rows = np.asarray(reduce(jnp.asarray(lines), factor), np.float64)[:, :, 0, 0]
  return float(np.linalg.norm(rows, 2)) ** 2


def _matlab_matrix(size: int, factor: int) -> np.ndarray:
  """[size / factor, size]: what imresize multiplies a line of pixels by."""
  centres = factor * np.arange(size // factor)[:, None] + (factor - 1) / 2
  pixels = np.arange(-2 * factor, size + 2 * factor)  # the kernel's support is 4 pixels of the result
  weights = keys_kernel((pixels - centres) / factor)
  weights /= weights.sum(1, keepdims=True)
  mirrored = np.pad(np.eye(size), ((2 * factor, 2 * factor), (0, 0)), mode="symmetric")
  return weights @ mirrored


def keys_kernel(t: np.ndarray) -> np.ndarray:
  """Keys' cubic convolution kernel with a = -1/2 (1981, Eq. 15)."""
  t = np.abs(t)
  near, far = 1.5 * t**3 - 2.5 * t**2 + 1, -0.5 * t**3 + 2.5 * t**2 - 4 * t + 2
  return np.where(t <= 1, near, np.where(t < 2, far, 0.0))


@dataclasses.dataclass(frozen=True)
class Bicubic(LinearDegradation):
  """Pillow's bicubic reduction, not rounded to 8 bits; its exact projection is by conjugate gradients.

  Attributes:
    factor: magnification of the task, 2 or more; divides image_size.
    noise_std: standard deviation of the measurement noise.
    image_size: side of the square image, pixels.
    consistency: 'exact' or 'statistical', see degradation.py.

  Example:
    >>> bicubic = Bicubic(factor=4, noise_std=0.0, image_size=16)
    >>> print(bicubic.clean(jnp.ones((1, 16, 16, 3))).shape)
    (1, 4, 4, 3)
  """

  factor: int
  noise_std: float
  image_size: int
  consistency: str = "exact"

  _reduce = staticmethod(bicubic_downsample)

  def __post_init__(self) -> None:
    check_factor(self.factor, self.image_size)

  @property
  def title(self) -> str:
    """The task in words."""
    return f"bicubic super-resolution x{self.factor}"

  def clean(self, x: jax.Array) -> jax.Array:
    """The reduced images: [B,H,W,C] -> [B,H/factor,W/factor,C]."""
    return self._reduce(x, self.factor)

  def network_input(self, y: jax.Array) -> jax.Array:
    """y enlarged by the same kernel."""
    return bicubic_upsample(y, self.factor)


@dataclasses.dataclass(frozen=True)
class MatlabBicubic(Bicubic):
  """The same as MATLAB's imresize reduces.

  Example:
    >>> print(MatlabBicubic(factor=4, noise_std=0.0, image_size=16).measurement_shape)
    (4, 4, 3)
  """

  _reduce = staticmethod(matlab_downsample)

  @property
  def title(self) -> str:
    """The task in words."""
    return f"bicubic super-resolution x{self.factor} (MATLAB's)"
