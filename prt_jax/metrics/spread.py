"""How much restorations of one measurement differ between seeds."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from prt_jax.errors import UserError
from prt_jax.pixels import as_pixels


def per_pixel_std(samples: ArrayLike) -> jax.Array:
  """Standard deviation over seeds at each pixel, averaged over the pixels (paper A, Table 1).

  The deviation is the one with divisor S - 1: its square does not depend on the number of
  draws, and it is the default of the package that the paper used (the paper does not say;
  with its 32 draws the other one is 1.6 % smaller).

  Args:
    samples: [S, B, H, W, C] floats in [0, 1], or uint8; S >= 2 restorations of each of B measurements.

  Returns:
    [B] float32, in units of the peak 1, averaged over pixels and channels.

  Raises:
    UserError: fewer than two draws (a deterministic restorer has 0 by definition), or pixels in another range.

  Example:
    >>> draws = jnp.stack([jnp.zeros((1, 4, 4, 3)), jnp.full((1, 4, 4, 3), 0.2)])
    >>> print(f"{per_pixel_std(draws)[0]:.4f}")  # .2 / sqrt(2)
    0.1414
  """
  return _per_pixel_std(_several(samples, "per_pixel_std"))


@jax.jit
def _per_pixel_std(samples):
  return jnp.mean(jnp.std(samples, axis=0, ddof=1), axis=tuple(range(1, samples.ndim - 1)))


def seed_diversity(samples: ArrayLike) -> jax.Array:
  """Mean distance between two restorations of one measurement: RMSE over all pairs of different seeds.

  Unlike `per_pixel_std` it averages a distance between whole images, so it reads as "two draws
  differ by this much" and 20 log10 of its inverse is near their PSNR.

  Args:
    samples: [S, B, H, W, C] floats in [0, 1], or uint8, S >= 2.

  Returns:
    [B] float32, in units of the peak 1: the mean over the S (S - 1) / 2 pairs of
    sqrt(mean over pixels and channels of the squared difference).

  Raises:
    UserError: fewer than two draws, or pixels in another range.

  Example:
    >>> draws = jnp.stack([jnp.zeros((1, 4, 4, 3)), jnp.full((1, 4, 4, 3), 0.2)])
    >>> print(f"{seed_diversity(draws)[0]:.4f}")
    0.2000
  """
  return _seed_diversity(_several(samples, "seed_diversity"))


@jax.jit
def _seed_diversity(samples):
  num_seeds = samples.shape[0]
  pixels = tuple(range(2, samples.ndim))

  def distance_to_shifted(shift):
    difference = samples - jnp.roll(samples, shift, axis=0)
    return jnp.mean(jnp.sqrt(jnp.mean(jnp.square(difference), axis=pixels)), axis=0)

  # Shifts 1 .. S-1 visit each ordered pair of different seeds once, with one copy of the samples in memory.
  return jnp.mean(jax.lax.map(distance_to_shifted, jnp.arange(1, num_seeds)), axis=0)


def _several(samples, name):
  samples = as_pixels(samples, name)
  if samples.ndim < 3 or samples.shape[0] < 2:
    raise UserError(
      f"the spread over seeds needs samples [S, B, ...] with S >= 2, got {samples.shape}: set eval.num_std_seeds >= 2"
    )
  return samples
