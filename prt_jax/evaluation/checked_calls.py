"""A restorer called and checked, whoever wrote it: what it does wrong becomes one line."""

import contextlib
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp

from prt_jax.attacks import Restore, compiled_restore_seeds, first_draw, restore_seeds
from prt_jax.errors import UserError, quote
from prt_jax.precision import in_float32
from prt_jax.programs import as_program, is_eager
from prt_jax.restorers.diagnosis import diagnose

REPEATABLE = 1e-4  # of white; what the order of additions on an accelerator may change is less, noise that matters more


@contextlib.contextmanager
def in_restorers_code(restore: Any, y: jax.Array, z: Any) -> Iterator[None]:
  """Around what runs or differentiates a restorer, which may be the user's own: what it raises becomes a UserError.

  y and z: one draw, to try the restorer with where it fails.
  """
  try:
    yield
  except UserError:
    raise
  except Exception as error:
    way_out = diagnose(error, restore, y, z)
    raise UserError(f"the restorer fails on a measurement {y.shape} ({quote(error)}){way_out}") from error


@in_float32
def restore_all(restore: Restore, y: jax.Array, z: Any) -> jax.Array:
  """One restoration a seed, [S, 1, H, W, 3], checked.

  Raises:
    UserError: the restorer raises, or returns something that is no batch of RGB images in floating point, or is not
      finite.
  """
  with in_restorers_code(restore, y, first_draw(z)):
    restore = as_program(restore, y, first_draw(z))
    x = (restore_seeds if is_eager(restore) else compiled_restore_seeds)(restore, y, z)
  check_restored(x, y)
  return x


def check_restored(x: Any, y: jax.Array) -> None:
  """UserError unless x [..., S,B,H,W,3] can be what a restorer makes of measurements y [..., B,h,w,C]."""
  if not isinstance(x, jax.Array) or not jnp.issubdtype(x.dtype, jnp.floating):
    kind = x.dtype if isinstance(x, jax.Array) else type(x).__name__
    raise UserError(f"the restorer returns {kind}: it must return one floating-point array of images [B,H,W,3]")
  leading, shape = y.ndim - 4, y.shape[-4:]
  if x.ndim != leading + 5 or x.shape[-4] != shape[0] or x.shape[-1] != 3:
    raise UserError(
      f"the restorer returns shape {x.shape[leading + 1 :]} for a measurement {shape}: it must return images [B,H,W,3]"
    )
  if not jnp.isfinite(x).all():
    raise UserError(f"the restorer returns NaN or inf for a measurement {shape} with pixels in [0, 1]")


def restore_repeatably(restore: Restore, y: jax.Array, z: Any) -> jax.Array:
  """restore_all, called twice.

  Raises:
    UserError: as restore_all, or the two results differ: the restorer draws noise of its own, which would be taken for
      a change that an attack has made.
  """
  x = restore_all(restore, y, z)
  check_same(x, restore_all(restore, y, z))
  return x


def check_same(x: jax.Array, again: jax.Array) -> None:
  """UserError unless two calls of a restorer with the same input agree."""
  if x.shape != again.shape or jnp.abs(x - again).max() > REPEATABLE:
    raise UserError(
      "the restorer gives different outputs for one input: it draws noise of its own (dropout that is left on, "
      "torch.randn, numpy.random). Switch it off, or take it as an argument: a function of (y, z), with draw_noise"
    )
