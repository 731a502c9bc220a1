"""Fidelity of one image to another: PSNR and SSIM, and the same between measurements (consistency)."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from prt_jax.errors import UserError
from prt_jax.pixels import as_pixels

PSNR_CAP = 100.0  # dB, of means and reports; beyond it float32 rounding decides, and equal images are at infinity
_SSIM_WINDOW = 11  # pixels
_SSIM_SIGMA = 1.5  # pixels
_SSIM_K1, _SSIM_K2 = 0.01, 0.03


def psnr(a: ArrayLike, b: ArrayLike) -> jax.Array:
  """Peak signal-to-noise ratio of each pair of images, peak 1.

  Paper A's robustness is `psnr(G(y, z), G(y + delta, z))` (Eq. 9) and its AI-PSNR is
  `psnr(y + delta, y)`; both are averaged over the examples in dB, not in MSE.

  Args:
    a, b: [B, ...] of one shape, pixels in [0, 1], or uint8. Values a little outside are not clipped.

  Returns:
    [B] float32, dB: -10 log10 of the mean squared difference over all pixels and channels.
    Identical images give inf.

  Raises:
    UserError: the shapes differ, or the pixels are in another range.

  Example:
    >>> print(f"{psnr(jnp.zeros((1, 4, 4, 3)), jnp.full((1, 4, 4, 3), 0.1))[0]:.3f}")  # -10 log10 .01
    20.000
  """
  return _psnr(*_pair(a, b, "psnr"))


@jax.jit
def _psnr(a, b):
  return -10 * jnp.log10(jnp.mean(jnp.square(a - b), axis=tuple(range(1, a.ndim))))


def ssim(a: ArrayLike, b: ArrayLike) -> jax.Array:
  """Structural similarity of each pair of images (Wang et al. 2004, Eq. 13), data range 1.

  Local moments come from an 11x11 Gaussian window with sigma 1.5 and weights that sum to 1,
  at the positions where it fits into the image; K1 = 0.01, K2 = 0.03. The same number as
  scikit-image's `structural_similarity(gaussian_weights=True, sigma=1.5,
  use_sample_covariance=False, data_range=1, channel_axis=-1)`.

  Args:
    a, b: [B, H, W, C] floats in [0, 1], or uint8, H and W at least 11.

  Returns:
    [B] float32 in [-1, 1], the mean over positions and channels.

  Raises:
    UserError: the shapes differ, the images are smaller than the window, or the pixels are in another range.

  Example:
    >>> x = jax.random.uniform(jax.random.key(0), (1, 16, 16, 3))
    >>> print(f"{ssim(x, x)[0]:.4f}", (ssim(x, 1 - x) < 0).all())
    1.0000 True
  """
  a, b = _pair(a, b, "ssim")
  if a.ndim != 4 or min(a.shape[1:3]) < _SSIM_WINDOW:
    raise UserError(f"ssim needs images [B, H, W, C] of at least {_SSIM_WINDOW}x{_SSIM_WINDOW} pixels, got {a.shape}")
  return _ssim(a, b)


@jax.jit
def _ssim(a, b):
  # Moments about each image's own mean: in float32, E[a^2] - E[a]^2 about 0 loses the variance of flat images.
  centre_a, centre_b = (jnp.mean(x, axis=(1, 2), keepdims=True) for x in (a, b))
  a, b = a - centre_a, b - centre_b
  mean_a, mean_b, square_a, square_b, product = _gaussian_blur(jnp.stack([a, b, a * a, b * b, a * b]))
  variance_a, variance_b = square_a - mean_a**2, square_b - mean_b**2
  covariance = product - mean_a * mean_b
  mean_a, mean_b = mean_a + centre_a, mean_b + centre_b
  luminance = (2 * mean_a * mean_b + _SSIM_K1**2) / (mean_a**2 + mean_b**2 + _SSIM_K1**2)
  structure = (2 * covariance + _SSIM_K2**2) / (variance_a + variance_b + _SSIM_K2**2)
  return jnp.mean(luminance * structure, axis=(1, 2, 3))


def consistency_psnr(measurement: ArrayLike, degraded: ArrayLike) -> jax.Array:
  """PSNR between the measurement y and the degraded restoration D(x), [B] in dB.

  Paper A counts 45 dB and more as consistent; an exact projection gives inf or rounding.

  Args:
    measurement: y, [B, ...], pixels in [0, 1], or uint8.
    degraded: D(x) of the same shape, without new noise. For a noisy degradation compare the
      mean squared difference with the noise variance instead.

  Example:
    >>> y = jnp.full((1, 2, 2, 3), 0.5)
    >>> print(f"{consistency_psnr(y, y + 0.01)[0]:.2f}")
    40.00
  """
  return _psnr(*_pair(degraded, measurement, "consistency_psnr"))


def consistency_max_error(measurement: ArrayLike, degraded: ArrayLike) -> jax.Array:
  """Largest |D(x) - y| over pixels and channels of each example, [B], in units of the peak 1.

  Example:
    >>> y = jnp.zeros((1, 2, 2, 3))
    >>> print(consistency_max_error(y, y.at[0, 0, 0, 0].set(0.25)))
    [0.25]
  """
  measurement, degraded = _pair(measurement, degraded, "consistency_max_error")
  return jnp.max(jnp.abs(degraded - measurement), axis=tuple(range(1, degraded.ndim)))


def _pair(a, b, name):
  a, b = as_pixels(a, name), as_pixels(b, name)
  if a.shape != b.shape or a.ndim < 2:
    raise UserError(f"{name} compares two batches [B, ...] of one shape, got {a.shape} and {b.shape}")
  return a, b


def _gaussian_blur(images):
  """Weighted local means of [..., H, W, C] where the window fits: [..., H - 10, W - 10, C].

  A sum of shifted slices rather than a convolution: its float32 does not depend on the
  device's convolution precision, and XLA fuses it.
  """
  offsets = np.arange(_SSIM_WINDOW) - _SSIM_WINDOW // 2
  weights = np.exp(-0.5 * (offsets / _SSIM_SIGMA) ** 2)
  weights = (weights / weights.sum()).tolist()
  for axis in (-3, -2):
    length = images.shape[axis] - _SSIM_WINDOW + 1
    shifted = [jax.lax.slice_in_dim(images, start, start + length, axis=axis) for start in range(_SSIM_WINDOW)]
    images = functools.reduce(jnp.add, map(jnp.multiply, weights, shifted))
  return images
