"""Removal of JPEG artefacts: the degradation is the codec itself, step by step as libjpeg computes it.

What libjpeg rounds is rounded here, in float32, which holds its integers exactly. Of the values that Pillow reads from
what it has written (4:2:0, standard tables), 98 of 100 and more come out the same: libjpeg's cosines have 13 bits.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from prt_jax.degradations.degradation import ImageDegradation
from prt_jax.errors import UserError

# ITU-T T.81, Annex K: the tables of quality 50.
LUMA = np.array([
  [16, 11, 10, 16, 24, 40, 51, 61], [12, 12, 14, 19, 26, 58, 60, 55], [14, 13, 16, 24, 40, 57, 69, 56],
  [14, 17, 22, 29, 51, 87, 80, 62], [18, 22, 37, 56, 68, 109, 103, 77], [24, 35, 55, 64, 81, 104, 113, 92],
  [49, 64, 78, 87, 103, 121, 120, 101], [72, 92, 95, 98, 112, 100, 103, 99],
])  # fmt: skip
CHROMA = np.full((8, 8), 99)
CHROMA[:4, :4] = [[17, 18, 24, 47], [18, 21, 26, 66], [24, 26, 56, 99], [47, 66, 99, 99]]

# JFIF: R, G, B of 0 to 255 -> Y, Cb - 128, Cr - 128, and back.
TO_YCC = np.array([[0.299, 0.587, 0.114], [-0.168735892, -0.331264108, 0.5], [0.5, -0.418687589, -0.081312411]])
FROM_YCC = np.array([[1, 0, 1.402], [1, -0.344136286, -0.714136286], [1, 1.772, 0]])

# sqrt(8) times the orthonormal transform: rows 0 and 4 are +-1, exactly.
COSINES = np.cos(np.pi * np.arange(8)[:, None] * (2 * np.arange(8) + 1) / 16) * np.sqrt(2)
COSINES[0] = 1

BLOCK = 16  # pixels: 8x8 blocks of chroma at half the resolution
# Values that libjpeg sees halfway between two integers must not fall to either side by float32's rounding.
NUDGE = 1e-4


@dataclasses.dataclass(frozen=True)
class JPEG(ImageDegradation):
  """JPEG compression and decompression, 4:2:0, and noise if asked for.

  No exact projection: the images of one y are those whose coefficients fall into the same quantisation cells after
  colours are rounded, clipped and averaged, a set without a closed form; a noisy y may be D of no image at all.

  D is piecewise constant: its true gradient is 0 and shows nothing. Here the gradient of a rounding is 1
  (straight-through): that of D is the gradient of all its other steps.

  Attributes:
    quality: libjpeg's, 1 to 100, as Pillow's save(quality=...).
    noise_std: standard deviation of noise added to the decompressed image.
    image_size: side of the square image, pixels.

  Example:
    >>> jpeg = JPEG(quality=75, noise_std=0.0, image_size=16)
    >>> grey = jnp.full((1, 16, 16, 3), 128 / 255)
    >>> print(jnp.abs(jpeg.clean(grey) - grey).max() < 1e-6)
    True
  """

  quality: int
  noise_std: float
  image_size: int

  def __post_init__(self) -> None:
    if not 1 <= self.quality <= 100 or self.quality != int(self.quality):
      raise UserError(f"degradation.quality={self.quality}: choose a whole number from 1 to 100")

  @property
  def title(self) -> str:
    """The task in words."""
    return f"removal of JPEG artefacts, quality {self.quality}"

  def clean(self, x: jax.Array) -> jax.Array:
    """The decompressed images, [B,H,W,3] of any size, of 8 bits."""
    _, height, width, _ = x.shape
    rgb = _round(255 * jnp.clip(x, 0, 1))
    # Edges are repeated until blocks divide.
    padded = jnp.pad(rgb, ((0, 0), (0, -height % BLOCK), (0, -width % BLOCK), (0, 0)), mode="edge")
    ycc = _colours(padded, TO_YCC)
    luma, chroma = _round(ycc[..., :1]), _subsample(-_round(-ycc[..., 1:]))  # chroma: halves down
    luma, chroma = _code(luma - 128, scaled(LUMA, self.quality)) + 128, _code(chroma, scaled(CHROMA, self.quality))
    chroma = _upsample(chroma[:, : -(-height // 2), : -(-width // 2)])[:, :height, :width]
    luma = jnp.clip(luma, 0, 255)[:, :height, :width]
    return jnp.clip(_round(_colours(jnp.concatenate([luma, chroma], -1), FROM_YCC)), 0, 255) / 255


def scaled(table: np.ndarray, quality: int) -> np.ndarray:
  """A quantisation table [8,8] of quality 50 as libjpeg scales it."""
  percent = 5000 // quality if quality < 50 else 200 - 2 * quality
  return np.clip((table * percent + 50) // 100, 1, 255)


def _floor(x):
  """The integer below, with the gradient of x."""
  return x + jax.lax.stop_gradient(jnp.floor(x + NUDGE) - x)


def _round(x):
  """The nearest integer, halves up, with the gradient of x."""
  return _floor(x + 0.5)


def _colours(x, matrix):
  # Sums of products, not a matrix product, whose precision would be the device's.
  r, g, b = (x[..., i : i + 1] * np.asarray(matrix[:, i], np.float32) for i in range(3))
  return r + g + b


def _subsample(chroma):
  """Means of 2x2, halves up and down by turns along a row, as libjpeg does lest they darken."""
  batch, height, width, channels = chroma.shape
  sums = chroma.reshape(batch, height // 2, 2, width // 2, 2, channels).sum((2, 4))
  bias = np.resize(np.array([1, 2], np.float32), width // 2)[:, None]
  return _floor((sums + bias) / 4)


def _upsample(chroma):
  """Twice as many rows and columns, three parts of the nearer and one of the farther (libjpeg's 'fancy')."""
  near = jnp.concatenate([chroma[:, :1], chroma, chroma[:, -1:]], 1)
  rows = jnp.stack([3 * chroma + near[:, :-2], 3 * chroma + near[:, 2:]], 2)
  batch, height, _, width, channels = rows.shape
  rows = rows.reshape(batch, 2 * height, width, channels)
  near = jnp.concatenate([rows[:, :, :1], rows, rows[:, :, -1:]], 2)
  columns = jnp.stack([_floor((3 * rows + near[:, :, :-2] + 8) / 16), _floor((3 * rows + near[:, :, 2:] + 7) / 16)], 3)
  return columns.reshape(batch, 2 * height, 2 * width, channels)


def _code(plane, table):
  """Planes [B,H,W,C] about 0 as their quantised cosine coefficients tell them.

  As in libjpeg's integer transforms, each pass over rows or columns is rounded: to a quarter in the first, and the
  coefficients, to be divided by the table, to an eighth.
  """
  batch, height, width, channels = plane.shape
  blocks = plane.reshape(batch, height // 8, 8, width // 8, 8, channels)
  rows = _round(4 * _product("vj,bhiwjc->bhiwvc", blocks))
  eighths = _round(_product("ui,bhiwvc->bhuwvc", rows) / 4)
  table = 8 * np.asarray(table, np.float32)[:, None, :, None]
  steps = eighths / table
  halves_away_from_0 = jnp.sign(steps) * jnp.floor(jnp.abs(steps) + 0.5 + NUDGE)
  coefficients = (steps + jax.lax.stop_gradient(halves_away_from_0 - steps)) * table / 8
  columns = _round(4 * _product("ui,bhuwvc->bhiwvc", coefficients))
  return _round(_product("vj,bhiwvc->bhiwjc", columns) / 32).reshape(plane.shape)


def _product(axes, blocks):
  return jnp.einsum(axes, np.asarray(COSINES, np.float32), blocks, precision=jax.lax.Precision.HIGHEST)
