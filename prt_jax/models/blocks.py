"""A plane of pixels as a smaller one, with the channels of neighbours side by side: "in blocks".

An accelerator multiplies matrices of 128 columns and lays channels out 8 or 16 at a time, and the nets' widest planes
have few channels: in blocks of 2x2 pixels they have four times as many, on a quarter of the pixels. A convolution in
blocks is a convolution whose kernel holds every tap once for each pixel of a block; an average pool after it, and
blocks of another size, are a matter of that kernel. The convolution of a plane upsampled twofold is, in blocks, one of
the plane itself: the upsampled plane is never made.

All are exact, edges included. Channels in blocks are ordered (row of the block, column of the block, channel).
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

_DIMENSIONS = ("NHWC", "HWIO", "NHWC")


Block = tuple[int, int]  # rows and columns of pixels
PIXEL: Block = (1, 1)
SQUARE: Block = (2, 2)


def _upsampling_taps():
  """Where the taps of a kernel of 3 fall in the plane before upsampling, for each pixel of a block, along one axis.

  _UPSAMPLED[pixel, tap, neighbour] is the weight of that neighbour, and _EDGE[first or last, pixel, tap, 0] what to add
  of the first (last) pixel itself in the first (last) block: upsampling repeats the edge, the convolution after it sees
  zeros beyond.
  """
  upsampled = np.zeros((2, 3, 3), np.float32)
  for pixel in range(2):
    for tap in range(3):
      neighbour, its_pixel = divmod(pixel + tap - 1, 2)
      # Half-pixel centres: an even pixel lies a quarter before its own, an odd one a quarter behind it.
      upsampled[pixel, tap, neighbour + 1] += 0.75
      upsampled[pixel, tap, neighbour + (2 if its_pixel else 0)] += 0.25
  edge = np.zeros((2, 2, 3, 1), np.float32)
  # The pixel beyond the edge is 0, but its neighbour has a quarter there; that of the edge pixel's own is missing.
  edge[0, 0, 0] = edge[1, 1, 2] = -0.25
  edge[0, 0, 1] = edge[0, 1, 0] = edge[1, 1, 1] = edge[1, 0, 2] = 0.25
  return upsampled, edge


_UPSAMPLED, _EDGE = _upsampling_taps()


class _Taps(NamedTuple):
  """How a kernel moves over blocks along one axis.

  weights: [pixel of the result's block, tap, block of the window, its pixel], what the tap takes of that pixel.
  """

  weights: np.ndarray
  stride: int
  padding: tuple[int, int]


def _taps(num_taps, block, to, pool):
  """_Taps from blocks of `block` pixels to blocks of `to` means of `pool` pixels."""
  reach = num_taps // 2
  low, high = -(-reach // block), (to * pool - 1 + reach) // block
  weights = np.zeros((to, num_taps, low + high + 1, block), np.float32)
  for pixel, tap, part in np.ndindex(to, num_taps, pool):
    neighbour, its_pixel = divmod(pixel * pool + part + tap - reach, block)
    weights[pixel, tap, neighbour + low, its_pixel] += 1 / pool
  stride, rest = divmod(to * pool, block)
  if rest:
    raise ValueError(f"{to} pixels of {pool} do not cover whole blocks of {block}")
  return _Taps(weights, stride, (low, high + 1 - stride))


def to_blocks(x: jax.Array, block: Block = SQUARE) -> jax.Array:
  """[B,H,W,C] -> [B,H/h,W/w,h w C] for blocks of h rows and w columns, which divide H and W."""
  if block == PIXEL:
    return x
  (batch, height, width, channels), (rows, columns) = x.shape, block
  x = x.reshape(batch, height // rows, rows, width // columns, columns, channels).transpose(0, 1, 3, 2, 4, 5)
  return x.reshape(batch, height // rows, width // columns, -1)


def from_blocks(x: jax.Array, block: Block = SQUARE) -> jax.Array:
  """[B,H,W,h w C] -> [B,h H,w W,C], undoing to_blocks."""
  if block == PIXEL:
    return x
  (batch, height, width, _), (rows, columns) = x.shape, block
  x = x.reshape(batch, height, width, rows, columns, -1).transpose(0, 1, 3, 2, 4, 5)
  return x.reshape(batch, rows * height, columns * width, -1)


def convolve_blocks(
  x: jax.Array, kernel: jax.Array, block: Block, to: Block | None = None, *, pooled: bool = False
) -> jax.Array:
  """convolve, and where pooled a 2x2 average pool after it, of a plane in blocks: to another in blocks.

  Computed in x's type, with kernels laid out in the kernel's own.

  Args:
    x: to_blocks(plane [B,H,W,I], block).
    kernel: [k,k,I,O], k odd.
    to: the result's blocks; None: the same.

  Returns:
    to_blocks(result, to), the result [B,H,W,O] or, pooled, [B,H/2,W/2,O].
  """
  to = to or block
  rows, columns = (_taps(len(kernel), *sides, 2 if pooled else 1) for sides in zip(block, to, strict=True))
  if block == PIXEL:
    kernel = _folded(kernel, rows.weights[..., 0], columns.weights[..., 0])
  else:
    inputs, outputs = (math.prod(b) * channels for b, channels in zip((block, to), kernel.shape[2:], strict=True))
    kernel = jnp.einsum("adxp,beyq,deio->xypqiabo", rows.weights, columns.weights, kernel, precision="highest")
    kernel = kernel.reshape(*kernel.shape[:2], inputs, outputs)
  return jax.lax.conv_general_dilated(
    x,
    kernel.astype(x.dtype),
    window_strides=(rows.stride, columns.stride),
    padding=(rows.padding, columns.padding),
    dimension_numbers=_DIMENSIONS,
  )


def max_pool_of_blocks(x: jax.Array) -> jax.Array:
  """layers.max_pool of a plane in blocks: [B,H,W,4C] -> [B,H,W,C]."""
  for _ in range(2):  # two rows, then two columns
    half = x.shape[3] // 2
    x = jnp.maximum(x[..., :half], x[..., half:])
  return x


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
  """The kernel [h,w,I,pO] of which a tap is, for each of p pixels of a block, a sum of kernel's [k,k,I,O] own.

  rows, columns: the weights [pixel, tap, neighbour] of that sum along each axis. Written out, since they are few and
  mostly 0: as products of matrices they would cost a deep layer's kernels more than its convolution.
  """

  def along(taps, weights):
    def total(of_taps):
      terms = [float(weight) * tap for weight, tap in zip(of_taps, taps, strict=True) if weight]
      return sum(terms[1:], terms[0]) if terms else jnp.zeros_like(taps[0])

    return [[total(of_pixel[:, neighbour]) for of_pixel in weights] for neighbour in range(weights.shape[2])]

  by_row = along(list(kernel), rows)  # [neighbour][pixel] of [3,I,O]
  blocks = [
    [along(list(kernel), columns) for kernel in of_neighbour]  # [pixel of the rows][neighbour][pixel] of [I,O]
    for of_neighbour in by_row
  ]
  return jnp.stack([
    jnp.stack([
      jnp.concatenate([of_pixel for by_column in of_row for of_pixel in by_column[neighbour]], -1)
      for neighbour in range(columns.shape[2])
    ])
    for of_row in blocks
  ])  # fmt: skip
