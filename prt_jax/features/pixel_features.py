"""Average-pooled pixels as features: no weights, no perception. For toys, tests and demos."""

import jax
import jax.numpy as jnp
import numpy as np


def pixel_features(images: jax.Array, side: int) -> jax.Array:
  """Means over a side x side grid of equal cells, flattened.

  Args:
    images: [B, H, W, C] of any size, uint8 or floats with uint8's values, 0 .. 255. A cell that
      ends inside a pixel takes its share of it. side = H = W gives the raw pixels.
    side: cells along each side. Statistics of D features need a D x D covariance, so raw
      64x64 images (D = 12288) are better pooled.

  Returns:
    [B, side * side * C] float32 in [0, 1].
  """
  rows, columns = (_cell_weights(length, side) for length in images.shape[1:3])
  x = jnp.asarray(images, jnp.float32) / 255
  x = jnp.einsum("ih,bhwc,jw->bijc", rows, x, columns, precision=jax.lax.Precision.HIGHEST)
  return x.reshape(len(x), -1)


def _cell_weights(length, cells):
  """[cells, length] float32: the share of each pixel in each cell's mean."""
  edges = np.arange(cells + 1) * (length / cells)
  start, stop = edges[:-1, None], edges[1:, None]
  pixel = np.arange(length)
  overlap = np.clip(np.minimum(stop, pixel + 1) - np.maximum(start, pixel), 0, None)
  return (overlap * (cells / length)).astype(np.float32)
