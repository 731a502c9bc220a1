"""Bicubic interpolation, the plainest restorer; down, it is the degradation that published networks are trained for."""

from prt_jax.degradations.bicubic import bicubic_downsample, bicubic_upsample
from prt_jax.restorers.networks.architecture import Architecture

__all__ = ["BICUBIC", "bicubic_downsample", "bicubic_upsample"]

BICUBIC = Architecture(
  "bicubic", (2, 3, 4, 8, 16), lambda state, scale: {}, lambda params, y, z, scale: bicubic_upsample(y, scale)
)
