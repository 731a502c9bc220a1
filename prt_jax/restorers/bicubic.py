"""Bicubic resampling as Pillow does it (Keys' kernel, a = -1/2, antialiased), differentiable and without 8 bits.

Down it is the degradation that the published x4 networks were trained for, up the plainest restorer.
"""

import jax
import numpy as np

from prt_jax.restorers.networks.architecture import Architecture


def bicubic_downsample(x: jax.Array, factor: int) -> jax.Array:
  """[B,H,W,C] -> [B,H/factor,W/factor,C]; Pillow's 8-bit result before it is rounded."""
  batch, height, width, channels = x.shape
  return jax.image.resize(x, (batch, height // factor, width // factor, channels), "cubic")


def bicubic_norm(factor: int) -> float:
  """||D|| of bicubic_downsample, its largest singular value: rows and columns are reduced alike."""
  rows = jax.image.resize(np.eye(32 * factor, dtype=np.float32), (32, 32 * factor), "cubic")
  return float(np.linalg.norm(np.float64(rows), 2)) ** 2


def bicubic_upsample(y: jax.Array, factor: int) -> jax.Array:
  """[B,h,w,C] -> [B,h factor,w factor,C]; may leave [0, 1] at edges."""
  batch, height, width, channels = y.shape
  return jax.image.resize(y, (batch, height * factor, width * factor, channels), "cubic")


BICUBIC = Architecture(
  "bicubic", (2, 3, 4, 8, 16), lambda state, scale: {}, lambda params, y, z, scale: bicubic_upsample(y, scale)
)
