"""Degradations Y = D(X) + N, and the projections that make a restoration consistent with Y.

degradation.py says what one is, registry.py which there are; docs/extending.md adds one.
"""

from prt_jax.degradations.bicubic import Bicubic, MatlabBicubic
from prt_jax.degradations.chain import Chain
from prt_jax.degradations.degradation import Degradation, ImageDegradation
from prt_jax.degradations.denoising import Denoising
from prt_jax.degradations.first_coordinate import FirstCoordinate
from prt_jax.degradations.gaussian_blur import GaussianBlur
from prt_jax.degradations.inpainting import Inpainting
from prt_jax.degradations.jpeg import JPEG
from prt_jax.degradations.kernel_blur import KernelBlur
from prt_jax.degradations.linear import LinearDegradation
from prt_jax.degradations.registry import DEGRADATIONS, make_degradation
from prt_jax.degradations.super_resolution import SuperResolution

__all__ = [
  "DEGRADATIONS",
  "JPEG",
  "Bicubic",
  "Chain",
  "Degradation",
  "Denoising",
  "FirstCoordinate",
  "GaussianBlur",
  "ImageDegradation",
  "Inpainting",
  "KernelBlur",
  "LinearDegradation",
  "MatlabBicubic",
  "SuperResolution",
  "make_degradation",
]
