"""PSNR-Y, the distortion of the super-resolution literature."""

from typing import Any

import numpy as np

from prt_jax.errors import UserError
from prt_jax.metrics.image import PSNR_CAP
from prt_jax.pixels import as_pixels

_LUMA = np.array([65.481, 128.553, 24.966]) / 255  # ITU-R BT.601, as MATLAB's rgb2ycbcr has it, for RGB in [0, 1]
_OFFSET = 16 / 255


def check_size(x: Any, reference: Any) -> None:
  """UserError unless a restoration [H,W,3] has the size of the image that it restores."""
  if x.shape != reference.shape:
    raise UserError(f"the restoration has shape {x.shape}, the image that it restores {reference.shape}")


def psnr_y(x: np.ndarray, reference: np.ndarray, border: int) -> float:
  """PSNR of the luma of two RGB images in [0, 1], rounded to 8 bits, in dB, at most PSNR_CAP.

  Args:
    x, reference: [H,W,3].
    border: pixels on each side that do not count; the super-resolution literature takes the magnification.

  Raises:
    UserError: images of two sizes, or with nothing inside the border.

  Example:
    >>> grey = np.full((8, 8, 3), 0.2)
    >>> print(f"{psnr_y(grey, grey + 0.2, border=2):.2f}")  # 51 of 255 levels, 219 of 255 of them in the luma
    15.30
  """
  check_size(x, reference)
  if min(x.shape[:2]) <= 2 * border:
    raise UserError(
      f"PSNR-Y leaves out a border of {border} pixels, which is all of an image of {x.shape[0]}x{x.shape[1]}: "
      "take less (--border=0)"
    )
  inside = (slice(border, x.shape[0] - border), slice(border, x.shape[1] - border))
  luma, reference_luma = (
    (np.round(np.clip(image, 0, 1) * 255) / 255 @ _LUMA + _OFFSET)[inside]
    for image in np.asarray([as_pixels(x, "the restoration"), as_pixels(reference, "the original")], np.float64)
  )
  with np.errstate(divide="ignore"):
    return min(float(-10 * np.log10(np.mean((luma - reference_luma) ** 2))), PSNR_CAP)
