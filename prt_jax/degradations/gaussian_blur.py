"""Deblurring: convolution with a Gaussian."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from prt_jax.degradations.linear import LinearDegradation
from prt_jax.degradations.separable import both_ways
from prt_jax.errors import UserError

TRUNCATE = 4  # standard deviations at which the kernel ends, as in scipy.ndimage


@dataclasses.dataclass(frozen=True)
class GaussianBlur(LinearDegradation):
  """Convolution of each channel with a Gaussian, images mirrored at their edges (scipy.ndimage's 'reflect').

  It is invertible, but hardly: the finest patterns keep 2e-4 of their contrast at one pixel, 1e-5 at two. The one image
  that agrees with y exactly is a deconvolution that amplifies every change of y by as much, and leaves a generator
  nothing to say. So the projection is damped: what the blur keeps is taken from y (a component that it multiplies by
  s >= 0.3 to within 1%), what it destroys from the generator, and no change of y grows more than 16 times. What is
  left of a residual |D(x) - y| is at most 1.6% of the error that x had.

  Attributes:
    blur_sigma: standard deviation of the Gaussian, pixels, more than 0.
    noise_std: standard deviation of the measurement noise.
    image_size: side of the square image, pixels.
    consistency: 'exact' (up to the damping) or 'statistical', see degradation.py.

  Example:
    >>> point = jnp.zeros((1, 16, 16, 3)).at[0, 8, 8].set(1.0)
    >>> y = GaussianBlur(blur_sigma=1.0, noise_std=0.0, image_size=16).clean(point)
    >>> print(f"{y[0, 8, 8, 0]:.3f} {y.sum():.3f}")  # 1 / (2 pi) of each channel stays
    0.159 3.000
  """

  blur_sigma: float
  noise_std: float
  image_size: int
  consistency: str = "exact"

  damping = 1e-3

  def __post_init__(self) -> None:
    if self.blur_sigma <= 0:
      raise UserError(f"degradation.blur_sigma={self.blur_sigma}: a blur is wider than 0 pixels, 2 for example")

  @property
  def title(self) -> str:
    """The task in words."""
    return f"deblurring, a Gaussian of {self.blur_sigma:g} pixels"

  def clean(self, x: jax.Array) -> jax.Array:
    """The blurred images, [B,H,W,C] of any size."""
    _, height, width, _ = x.shape
    rows, columns = _blur_matrix(height, self.blur_sigma), _blur_matrix(width, self.blur_sigma)
    return both_ways(rows, x, columns)

  def pseudo_inverse(self, residual: jax.Array) -> jax.Array:
    """The damped one, in closed form: rows and columns have the same eigenvectors, a blur of both their products."""
    gains, vectors = np.linalg.eigh(_blur_matrix(self.image_size, self.blur_sigma))
    gains = gains[:, None] * gains
    kept = np.asarray(gains / (gains**2 + self.damping), np.float32)[:, :, None]
    return both_ways(vectors, jnp.asarray(kept) * both_ways(vectors.T, residual, vectors.T), vectors)


def _blur_matrix(size: int, sigma: float) -> np.ndarray:
  """[size, size], symmetric: what a row of pixels is multiplied by to be blurred along its length."""
  radius = max(1, round(TRUNCATE * sigma))
  kernel = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
  mirrored = np.pad(np.eye(size), ((radius, radius), (0, 0)), mode="symmetric")
  shifted = (weight * mirrored[start : start + size] for start, weight in enumerate(kernel / kernel.sum()))
  return np.sum(list(shifted), 0)
