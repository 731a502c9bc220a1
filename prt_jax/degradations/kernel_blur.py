"""Deblurring: convolution with a kernel from a file, that of a camera's motion, say."""

import dataclasses
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from prt_jax.degradations.linear import LinearDegradation
from prt_jax.errors import UserError, quote

_MAX_SIDE = 255  # pixels


@dataclasses.dataclass(frozen=True)
class KernelBlur(LinearDegradation):
  """Convolution of each channel with a kernel, images mirrored at their edges (scipy.ndimage.convolve's 'reflect').

  Hardly any kernel can be undone, so the projection is damped, as that of a Gaussian (gaussian_blur.py).

  Attributes:
    kernel: its weights, rows of numbers, made to sum to 1; or a file that read_kernel reads.
    noise_std: standard deviation of the measurement noise.
    image_size: side of the square image, pixels.
    consistency: 'exact' (up to the damping) or 'statistical', see degradation.py.

  Example:
    >>> shift = KernelBlur(kernel=((0.0, 0.0, 1.0),), noise_std=0.0, image_size=4)
    >>> x = jnp.zeros((1, 4, 4, 3)).at[:, :, 0].set(1.0)
    >>> print(shift.clean(x)[0, 0, :, 0])  # a convolution mirrors its kernel
    [1. 1. 0. 0.]
  """

  kernel: tuple[tuple[float, ...], ...] | str
  noise_std: float
  image_size: int
  consistency: str = "exact"

  damping = 1e-3

  def __post_init__(self) -> None:
    weights = read_kernel(self.kernel) if isinstance(self.kernel, str) else _checked(np.array(self.kernel), "kernel")
    # As numbers, so that two of the same kernel are equal, and a file that changes later changes nothing.
    object.__setattr__(self, "kernel", tuple(map(tuple, weights.tolist())))

  @property
  def title(self) -> str:
    """The task in words."""
    return f"deblurring, a kernel of {len(self.kernel)}x{len(self.kernel[0])} pixels"

  def clean(self, x: jax.Array) -> jax.Array:
    """The blurred images, [B,H,W,C] of any size."""
    weights = np.asarray(self.kernel, np.float32)[::-1, ::-1]  # a convolution: what XLA computes is a correlation
    # scipy's centre is at size // 2 of the kernel, so at (size - 1) // 2 of the mirrored one.
    pads = [((side - 1) // 2, side // 2) for side in weights.shape]
    padded = jnp.pad(x, ((0, 0), *pads, (0, 0)), mode="symmetric")
    channels = x.shape[-1]
    return jax.lax.conv_general_dilated(
      padded, jnp.tile(weights[:, :, None, None], (1, 1, 1, channels)), (1, 1), "VALID",
      dimension_numbers=("NHWC", "HWIO", "NHWC"), feature_group_count=channels, precision=jax.lax.Precision.HIGHEST,
    )  # fmt: skip


def read_kernel(path: str) -> np.ndarray:
  """A blur kernel [h,w], float64 of sum 1: rows of numbers in a text, an array (.npy), or the grey values of a picture.

  Raises:
    UserError: a file that cannot be read, or that holds no kernel.
  """
  file = pathlib.Path(path).expanduser()
  try:
    if file.suffix == ".npy":
      weights = np.load(file, allow_pickle=False)
    elif file.suffix in (".txt", ".csv"):
      weights = np.loadtxt(file, delimiter="," if file.suffix == ".csv" else None, ndmin=2)
    else:
      with Image.open(file) as picture:
        weights = np.asarray(picture.convert("F"))
  except Exception as error:  # whatever a damaged array or text gives
    raise UserError(f"cannot read the blur kernel {file} ({quote(error)}): give a .txt, .npy or .png") from None
  return _checked(weights, str(file))


def _checked(weights, name):
  if weights.ndim != 2 or not 0 < weights.size <= _MAX_SIDE**2 or max(weights.shape) > _MAX_SIDE:
    raise UserError(f"{name} has shape {weights.shape}: a blur kernel is [h,w] of at most {_MAX_SIDE} pixels a side")
  weights = weights.astype(np.float64)
  if not np.isfinite(weights).all() or weights.min() < 0 or weights.sum() <= 0:
    raise UserError(f"{name} holds no blur kernel: its numbers must be 0 or more, and not all 0")
  return weights / weights.sum()
