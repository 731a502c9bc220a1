"""A plane of pixels as one of half the size, with the channels of 2x2 neighbours side by side: "in blocks".

An accelerator multiplies matrices of 128 columns and lays channels out 8 or 16 at a time, and the nets' widest planes
have few channels: in blocks they have four times as many, on a quarter of the pixels. A convolution in blocks is a
convolution whose kernel holds every tap once for each pixel of a block. The convolution of a plane upsampled twofold
is, in blocks, one of the plane itself: the upsampled plane is never made.

Both are exact, edges included. Channels in blocks are ordered (row of the block, column of the block, channel).
"""

import jax
import jax.numpy as jnp
import numpy as np

_DIMENSIONS = ("NHWC", "HWIO", "NHWC")


def _taps():
  """Where the taps of a kernel of 3 fall, for each pixel of a block, along one axis.

  _BLOCK[pixel, tap, neighbour, its pixel] is 1 where the tap reads that pixel of that neighbouring block;
  _UPSAMPLED[pixel, tap, neighbour] is the weight of that neighbour of the plane before upsampling, and
  _EDGE[first or last, pixel, tap, 0] what to add of the first (last) pixel itself in the first (last) block: upsampling
  repeats the edge, the convolution after it sees zeros beyond.
  """
  block, upsampled = np.zeros((2, 3, 3, 2), np.float32), np.zeros((2, 3, 3), np.float32)
  for pixel in range(2):
    for tap in range(3):
      neighbour, its_pixel = divmod(pixel + tap - 1, 2)
      block[pixel, tap, neighbour + 1, its_pixel] = 1
      # Half-pixel centres: an even pixel lies a quarter before its own, an odd one a quarter behind it.
      upsampled[pixel, tap, neighbour + 1] += 0.75
      upsampled[pixel, tap, neighbour + (2 if its_pixel else 0)] += 0.25
  edge = np.zeros((2, 2, 3, 1), np.float32)
  # The pixel beyond the edge is 0, but its neighbour has a quarter there; that of the edge pixel's own is missing.
  edge[0, 0, 0] = edge[1, 1, 2] = -0.25
  edge[0, 0, 1] = edge[0, 1, 0] = edge[1, 1, 1] = edge[1, 0, 2] = 0.25
  return block, upsampled, edge


_BLOCK, _UPSAMPLED, _EDGE = _taps()


def to_blocks(x: jax.Array) -> jax.Array:
  """[B,H,W,C] -> [B,H/2,W/2,4C]; H and W even."""
  batch, height, width, channels = x.shape
  x = x.reshape(batch, height // 2, 2, width // 2, 2, channels).transpose(0, 1, 3, 2, 4, 5)
  return x.reshape(batch, height // 2, width // 2, 4 * channels)


def from_blocks(x: jax.Array) -> jax.Array:
  """[B,H,W,4C] -> [B,2H,2W,C], undoing to_blocks."""
  batch, height, width, channels = x.shape
  x = x.reshape(batch, height, width, 2, 2, channels // 4).transpose(0, 1, 3, 2, 4, 5)
  return x.reshape(batch, 2 * height, 2 * width, channels // 4)


def max_pool_of_blocks(x: jax.Array) -> jax.Array:
  """layers.max_pool of a plane in blocks: [B,H,W,4C] -> [B,H,W,C]."""
  for _ in range(2):  # two rows, then two columns
    half = x.shape[3] // 2
    x = jnp.maximum(x[..., :half], x[..., half:])
  return x


def average_pool_of_blocks(x: jax.Array) -> jax.Array:
  """layers.average_pool of a plane in blocks: [B,H,W,4C] -> [B,H,W,C]."""
  channels = x.shape[3] // 4
  first, second, third, fourth = (x[..., i * channels : (i + 1) * channels] for i in range(4))
  return ((first + second) + (third + fourth)) * 0.25


def block_kernel(kernel: jax.Array) -> jax.Array:
  """The kernel [h,w,4I,4O] that does in blocks what kernel [h,w,I,O], of 3x3 or 1x1, does to pixels; float32."""
  side, _, inputs, outputs = kernel.shape
  # 1x1: the middle tap alone, which stays within its block.
  taps = _BLOCK if side == 3 else _BLOCK[:, 1:2, 1:2]
  blocks = jnp.einsum("adxp,beyq,deio->xypqiabo", taps, taps, kernel, precision="highest")
  return blocks.reshape(side, side, 4 * inputs, 4 * outputs)


def convolve_upsampled(x: jax.Array, kernel: jax.Array) -> jax.Array:
  """to_blocks(convolve(upsample_bilinear(x), kernel)) without upsampling: x [B,H,W,I], kernel [3,3,I,O] -> [B,H,W,4O].

  Computed in x's type, with kernels folded in the kernel's own. One convolution for the inside, and for the edges four
  of a row or a column, and the corners' pixels.
  """
  _, height, width, _ = x.shape

  def convolve(x, folded):
    return jax.lax.conv_general_dilated(x, folded.astype(x.dtype), (1, 1), "SAME", dimension_numbers=_DIMENSIONS)

  def placed(part, row=None, column=None):
    rows, columns = ((0, 0) if i is None else (i, n - 1 - i) for i, n in ((row, height), (column, width)))
    return jnp.pad(part, ((0, 0), rows, columns, (0, 0)))

  total = convolve(x, _folded(kernel, _UPSAMPLED, _UPSAMPLED))
  for side, row in enumerate((0, height - 1)):
    # A row's ends are edges of their own; a column's are those of the rows.
    edge = convolve(x[:, row : row + 1], _folded(kernel, _EDGE[side], _UPSAMPLED))
    for end, column in enumerate((0, width - 1)):
      corner = _folded(kernel, _EDGE[side], _EDGE[end])[0, 0]
      part = x[:, row : row + 1, column : column + 1] @ corner.astype(x.dtype)
      edge += jnp.pad(part, ((0, 0), (0, 0), (column, width - 1 - column), (0, 0)))
    total += placed(edge, row=row)
  for side, column in enumerate((0, width - 1)):
    edge = convolve(x[:, :, column : column + 1], _folded(kernel, _UPSAMPLED, _EDGE[side]))
    total += placed(edge, column=column)
  return total


def _folded(kernel, rows, columns):
  """The kernel [h,w,I,4O] of which a tap is, for each pixel of a block, a sum of kernel's [3,3,I,O] own.

  rows, columns: the weights [pixel, tap, neighbour] of that sum along each axis. Written out, since they are few and
  mostly 0: as products of matrices they would cost a deep layer's kernels more than its convolution.
  """

  def along(taps, weights):
    def total(of_taps):
      return sum(float(weight) * tap for weight, tap in zip(of_taps, taps, strict=True) if weight)

    return [[total(of_pixel[:, neighbour]) for of_pixel in weights] for neighbour in range(weights.shape[2])]

  by_row = along(list(kernel), rows)  # [neighbour][pixel] of [3,I,O]
  blocks = [
    [along(list(kernel), columns) for kernel in of_neighbour]  # [pixel of the rows][neighbour][pixel] of [I,O]
    for of_neighbour in by_row
  ]
  return jnp.stack([
    jnp.stack([
      jnp.concatenate([by_column[neighbour][pixel] for by_column in of_row for pixel in range(2)], -1)
      for neighbour in range(columns.shape[2])
    ])
    for of_row in blocks
  ])  # fmt: skip
