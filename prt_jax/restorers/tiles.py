"""Large measurements in tiles: memory is that of one tile, and of the picture itself.

Each tile is restored with a halo of its surroundings and contributes what lies inside the halo. Where the halo is as
wide as the restorer's receptive field, the result is that of the whole picture, up to rounding: inside, no pixel sees
the tile's edge, and at the picture's edge the tile ends where the picture does.
"""

import dataclasses
import functools
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from prt_jax.errors import UserError
from prt_jax.restorers.restorer import Restorer

PROBES = 3  # random measurements that a receptive field is measured on
_PROBE_SIDES = (48, 128)  # pixels; the second where the first is too small
_MOST = 0.999  # of a pixel's slopes, for a restorer that sees all of its measurement


class Span(NamedTuple):
  """Along one side: what a tile reads, [start, start + size), and which part of that it writes, [first, last)."""

  start: int
  size: int
  first: int
  last: int


def spans(length: int, tile: int, halo: int, unit: int = 1) -> list[Span]:
  """The tiles along a side of so many pixels: of one size, starts and sizes multiples of unit, which divides length.

  Args:
    length, tile, halo, unit: pixels; tile and halo are rounded up to units.
  """
  tile, halo = (-(-side // unit) * unit for side in (tile, halo))
  size = min(tile + 2 * halo, length)
  if size == length:
    return [Span(0, length, 0, length)]
  starts = [min(max(first - halo, 0), length - size) for first in range(0, length, tile)]
  return [
    Span(start, size, first, min(first + tile, length))
    for start, first in zip(starts, range(0, length, tile), strict=True)
  ]


def tiled(restorer: Restorer, tile: int, halo: int, *, shows_progress: bool = False) -> Restorer:
  """The restorer of measurements of any size that divides by restorer.multiple, tile by tile; its gradient likewise.

  Args:
    restorer: deterministic, of any size.
    tile: pixels of a measurement that a tile contributes, along each side.
    halo: pixels around them; see receptive_field.
    shows_progress: a bar on a terminal.

  Raises:
    UserError: a restorer with noise, whose draws belong to the whole picture.
  """
  check_tiles(restorer, tile, halo)
  tile = max(tile, restorer.min_side - 2 * halo)
  run = jax.jit(restorer.apply) if restorer.traceable else restorer.apply

  def pull(params, y, cotangent):
    return jax.vjp(lambda y: restorer.apply(params, y, None), y)[1](cotangent)[0]

  pull = jax.jit(pull) if restorer.traceable else pull
  windows = functools.partial(_windows, tile=tile, halo=halo, unit=restorer.multiple)

  @jax.custom_vjp
  def apply(params, y):
    y, x, scale = np.asarray(y), None, 0
    places = list(windows(*y.shape[1:3]))
    bar = tqdm(places, "tiles", leave=False, disable=None if shows_progress and len(places) > 1 else True)
    for rows, columns in bar:
      part = np.asarray(run(params, jnp.asarray(y[_read(rows, columns)]), None))
      if x is None:
        scale = part.shape[1] // rows.size
        x = np.empty((len(y), scale * y.shape[1], scale * y.shape[2], part.shape[-1]), np.float32)
      x[_written(rows, columns, scale)] = part[_inner(rows, columns, scale)]
    return jnp.asarray(x)

  def forward(params, y):
    return apply(params, y), (params, np.asarray(y))

  def backward(saved, cotangent):
    params, y = saved
    gradient, cotangent = np.zeros(y.shape, np.float32), np.asarray(cotangent)
    scale = cotangent.shape[1] // y.shape[1]
    for rows, columns in windows(*y.shape[1:3]):
      # What a tile does not write has no slope.
      own = np.zeros((len(y), scale * rows.size, scale * columns.size, cotangent.shape[-1]), np.float32)
      own[_inner(rows, columns, scale)] = cotangent[_written(rows, columns, scale)]
      gradient[_read(rows, columns)] += np.asarray(pull(params, y[_read(rows, columns)], own))
    return None, jnp.asarray(gradient)  # the weights are constants

  apply.defvjp(forward, backward)
  identity = restorer.identity and f"{restorer.identity}, tiles of {tile} + 2 x {halo}"
  return dataclasses.replace(
    restorer, apply=lambda params, y, z: apply(params, y), traceable=False, identity=identity
  )


def check_tiles(restorer: Restorer, tile: int, halo: int = 0) -> None:
  """UserError for what cannot be restored in such tiles."""
  if restorer.stochastic or restorer.image_size:
    what = "is stochastic: its noise belongs to the whole picture" if restorer.stochastic else "has a size of its own"
    raise UserError(f"--tile: {restorer.name} {what}: leave --tile out")
  if tile < 1 or halo < 0:
    raise UserError(f"--tile={tile} must be at least 1, --tile_overlap={halo} at least 0")


def _windows(height, width, *, tile, halo, unit) -> Iterator[tuple[Span, Span]]:
  for rows in spans(height, tile, halo, unit):
    for columns in spans(width, tile, halo, unit):
      yield rows, columns


def _read(rows, columns):
  return (slice(None), *(slice(span.start, span.start + span.size) for span in (rows, columns)))


def _written(rows, columns, scale):
  return (slice(None), *(slice(scale * span.first, scale * span.last) for span in (rows, columns)))


def _inner(rows, columns, scale):
  """Of the tile's restoration, what _written takes."""
  return (
    slice(None), *(slice(scale * (s.first - s.start), scale * (s.last - s.start)) for s in (rows, columns))
  )  # fmt: skip


class Field(NamedTuple):
  """Attributes:
  radius: pixels of the measurement, around one of its own, on which its part of the restoration depends.
  is_whole: whether it depends on all that was tried; radius then holds 99.9% of its slopes.
  """

  radius: int
  is_whole: bool


def receptive_field(restorer: Restorer) -> Field:
  """How far a restorer sees, from the gradients of its central pixels on random measurements."""
  for side in _PROBE_SIDES:
    side = -(-side // restorer.multiple) * restorer.multiple
    slopes = np.sum([_slopes(restorer, side, number) for number in range(PROBES)], 0)
    distance = np.abs(np.arange(side) - side // 2)
    distance = np.maximum(distance[:, None], distance)
    radius = int(distance[slopes > 0].max(initial=0))
    # Windows of attention move with the picture's corner, not with its centre: a window's width more is needed.
    margin = restorer.multiple - 1
    if radius + margin < side // 2 - 1:
      return Field(radius + margin, False)
  order = np.argsort(distance, axis=None)
  share = np.cumsum(slopes.ravel()[order]) / max(slopes.sum(), 1e-30)
  return Field(int(distance.ravel()[order][np.searchsorted(share, _MOST)]), True)


def _slopes(restorer: Restorer, side: int, number: int) -> np.ndarray:
  """[side, side]: how much the restoration of the central pixel moves with each pixel of a measurement."""
  key, other = jax.random.split(jax.random.fold_in(jax.random.key(0), number))
  y: Any = jax.random.uniform(key, (1, side, side, 3))

  def value(y):
    x = restorer.apply(restorer.params, y, None)
    scale = x.shape[1] // side
    centre = jax.lax.dynamic_slice(x, (0, scale * (side // 2), scale * (side // 2), 0), (1, scale, scale, x.shape[-1]))
    return jnp.sum(centre * jax.random.normal(other, centre.shape))

  return np.abs(np.asarray(jax.grad(value)(y)))[0].sum(-1)
