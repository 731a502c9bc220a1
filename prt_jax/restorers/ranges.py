"""Restorers that take or return pixels in another range than [0, 1]."""

import dataclasses
from typing import Any

import jax

from prt_jax.errors import UserError
from prt_jax.restorers.restorer import Restorer

RANGES = {"0..1": (0, 1), "-1..1": (-1, 1), "0..255": (0, 255)}


def in_range(restorer: Restorer, pixel_range: str) -> Restorer:
  """The restorer as one of [0, 1], like all that is measured and attacked here.

  Args:
    restorer: whose own pixels are in another range.
    pixel_range: a key of RANGES for both its input and its output, or "TAKEN,RETURNED" for one each.

  Raises:
    UserError: a range that is none of RANGES.
  """
  taken, _, returned = pixel_range.partition(",")
  returned = returned or taken
  if taken not in RANGES or returned not in RANGES:
    raise UserError(f"range {pixel_range} is none of {', '.join(RANGES)}, and no two of them, TAKEN,RETURNED")
  if taken == returned == "0..1":
    return restorer
  scaled = _Scaled(restorer.restore, RANGES[taken], RANGES[returned])
  return dataclasses.replace(restorer, restore=scaled, pixel_range=pixel_range)


class _Scaled:
  """restore(y, z) in [0, 1] of one in other ranges (low, high)."""

  def __init__(self, restore, taken: tuple[float, float], returned: tuple[float, float]):
    self._restore, self._taken, self._returned = restore, taken, returned
    self.eager = getattr(restore, "eager", False)

  def __call__(self, y: jax.Array, z: Any) -> jax.Array:
    low, high = self._taken
    x = self._restore(low + (high - low) * y, z)
    low, high = self._returned
    return (x - low) / (high - low)
