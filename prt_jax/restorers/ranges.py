"""Restorers that take or return pixels in another range than [0, 1]."""

import dataclasses

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
  def scaled(apply):
    def in_unit_range(params, y, z):
      (low, high), (returned_low, returned_high) = RANGES[taken], RANGES[returned]
      return (apply(params, low + (high - low) * y, z) - returned_low) / (returned_high - returned_low)

    return in_unit_range

  seeds = restorer.apply_seeds and scaled(restorer.apply_seeds)
  return dataclasses.replace(restorer, apply=scaled(restorer.apply), apply_seeds=seeds, pixel_range=pixel_range)
