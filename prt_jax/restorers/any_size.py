"""Measurements of any size for a restorer that takes some sizes alone: mirrored until they fit, and cut again."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from prt_jax.restorers.restorer import Restorer


def any_size(restorer: Restorer) -> Restorer:
  """The restorer for y of any size.

  y is mirrored at its lower and right edges until restorer.multiple divides its sides, which are then no smaller than
  min_side, and equal where it takes squares; the restoration is cut to its part of the result. What fits already is
  passed on as it is. Gradients are those of all of this.
  """
  if restorer.image_size or (restorer.multiple, restorer.min_side, restorer.square) == (1, 1, False):
    return restorer

  def fitting(height, width):
    unit = restorer.multiple
    sides = [-(-max(side, restorer.min_side) // unit) * unit for side in (height, width)]
    return (max(sides),) * 2 if restorer.square else tuple(sides)

  def apply(params, y, z):
    _, height, width, _ = y.shape
    rows, columns = fitting(height, width)
    if (rows, columns) == (height, width):
      return restorer.apply(params, y, z)
    padded = jnp.pad(y, ((0, 0), (0, rows - height), (0, columns - width), (0, 0)), mode="reflect")
    x = restorer.apply(params, padded, z)
    return x[:, : x.shape[1] * height // rows, : x.shape[2] * width // columns]

  draws: Any = restorer.draw_noise

  def draw_noise(keys: jax.Array, measurement_shape, num_seeds: int):
    height, width, channels = measurement_shape
    return draws(keys, (*fitting(height, width), channels), num_seeds)

  draw = draws and draw_noise
  return dataclasses.replace(restorer, apply=apply, draw_noise=draw, multiple=1, min_side=1, square=False)
