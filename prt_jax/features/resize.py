"""Bilinear resize as TensorFlow 1 did it, which the FID InceptionV3 was fed with."""

import jax
import jax.numpy as jnp
import numpy as np


def resize_bilinear_tf1(images: jax.Array, size: tuple[int, int]) -> jax.Array:
  """`tf.image.resize_bilinear(images, size, align_corners=False)` of TensorFlow 1.

  Output pixel i samples the input at i * input_size / output_size, from its left edge and not
  from its centre, so the picture is shifted by a fraction of a pixel; the last row and column
  repeat. There is no antialiasing when the size shrinks. Later resizes differ, and move FID.

  Args:
    images: [B, H, W, C] float32.
    size: (height, width) of the result.

  Returns:
    [B, height, width, C] float32.
  """
  rows = _interpolation_matrix(images.shape[1], size[0])
  columns = _interpolation_matrix(images.shape[2], size[1])
  highest = jax.lax.Precision.HIGHEST
  images = jnp.einsum("ih,bhwc->biwc", rows, images, precision=highest)
  return jnp.einsum("jw,biwc->bijc", columns, images, precision=highest)


def _interpolation_matrix(input_size, output_size):
  """[output_size, input_size] float32, two weights a row that sum to 1."""
  position = np.arange(output_size) * (input_size / output_size)
  low = np.floor(position).astype(int)
  high = np.minimum(low + 1, input_size - 1)
  matrix = np.zeros((output_size, input_size))
  rows = np.arange(output_size)
  np.add.at(matrix, (rows, low), 1 - (position - low))
  np.add.at(matrix, (rows, high), position - low)
  return matrix.astype(np.float32)
