"""What an audit measures on ONE image: each function takes a restorer, a measurement [1,h,w,C] and draws of Z."""

import contextlib
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from prt_jax.attacks import START_SHARE, as_partial, ifgsm, is_eager, restore_seeds
from prt_jax.errors import NO_GRADIENT, UserError, quote
from prt_jax.metrics import lipschitz_lower_bound, psnr
from prt_jax.precision import in_float32

BORDER = 4  # pixels on each side that PSNR-Y leaves out, as the super-resolution literature does at x4
_LUMA = np.array([65.481, 128.553, 24.966]) / 255  # ITU-R BT.601, as MATLAB's rgb2ycbcr has it, for RGB in [0, 1]
_LUMA_OFFSET = 16 / 255

_compiled_restore = jax.jit(restore_seeds)


@contextlib.contextmanager
def in_restorers_code(y: jax.Array) -> Iterator[None]:
  """Around what runs or differentiates a restorer, which may be the user's own: what it raises becomes a UserError."""
  try:
    yield
  except UserError:
    raise
  except Exception as error:
    raise UserError(f"the restorer fails on a measurement {y.shape} ({quote(error)})") from error


@in_float32
def restore_all(restore, y: jax.Array, z: Any) -> jax.Array:
  """One restoration a seed, [S, 1, H, W, 3], checked.

  Raises:
    UserError: the restorer raises, or returns something that is no batch of RGB images in floating point, or is not
      finite.
  """
  restore = as_partial(restore)
  with in_restorers_code(y):
    x = (restore_seeds if is_eager(restore) else _compiled_restore)(restore, y, z)
  if not isinstance(x, jax.Array) or not jnp.issubdtype(x.dtype, jnp.floating):
    kind = x.dtype if isinstance(x, jax.Array) else type(x).__name__
    raise UserError(f"the restorer returns {kind}: it must return one floating-point array of images [B,H,W,3]")
  if x.ndim != 5 or x.shape[1] != y.shape[0] or x.shape[-1] != 3:
    raise UserError(
      f"the restorer returns shape {x.shape[1:]} for a measurement {y.shape}: it must return images [B,H,W,3]"
    )
  if not jnp.isfinite(x).all():
    raise UserError(f"the restorer returns NaN or inf for a measurement {y.shape} with pixels in [0, 1]")
  return x


def check_gradient(restore, y: jax.Array, x: jax.Array, z: Any, delta: jax.Array, alpha: float) -> None:
  """Refuses a restorer that an attack by gradients cannot see, lest it be called robust.

  Args:
    restore, y, z, alpha: as in attack.
    x: the restorations of y.
    delta: what ifgsm has found.

  Raises:
    UserError: the gradient was NaN or inf; or it was zero at every step (delta is where it started), though a
      random change of the measurement changes the output.
  """
  if not jnp.isfinite(delta).all():
    raise UserError(f"the restorer's gradient is NaN or inf for a measurement {y.shape}: it cannot be attacked")
  if jnp.abs(delta).max() > 1.01 * START_SHARE * alpha:
    return
  signs = jax.random.rademacher(jax.random.key(0), y.shape, y.dtype)
  if (restore_all(restore, y + alpha * signs, z) != x).any():
    raise UserError(NO_GRADIENT)


def check_size(x, reference: np.ndarray) -> None:
  """UserError unless a restoration [H,W,3] has the size of the image that it restores."""
  if x.shape != reference.shape:
    raise UserError(f"the restoration has shape {x.shape}, the image that it restores {reference.shape}")


def psnr_y(x: np.ndarray, reference: np.ndarray) -> float:
  """PSNR of the luma of two RGB images [H,W,3] in [0, 1], rounded to 8 bits, without BORDER pixels on each side; dB."""
  check_size(x, reference)
  luma, reference_luma = (
    (np.round(np.clip(image, 0, 1) * 255) / 255 @ _LUMA + _LUMA_OFFSET)[BORDER:-BORDER, BORDER:-BORDER]
    for image in (np.asarray(x, np.float64), np.asarray(reference, np.float64))
  )
  with np.errstate(divide="ignore"):
    return float(-10 * np.log10(np.mean((luma - reference_luma) ** 2)))


@in_float32
def attack(
  restore, y: jax.Array, x: jax.Array, z: Any, key: jax.Array, *, alpha: float, num_steps: int, num_restarts: int = 1
) -> tuple[dict[str, float], jax.Array, jax.Array]:
  """The strongest of num_restarts I-FGSM attacks, by the change of the output.

  Args:
    restore, y, z: as in attacks.ifgsm, y [1,h,w,C].
    x: the restorations of y, from restore_all(restore, y, z).
    key: a typed key for the starts.
    alpha: sup-norm bound, pixels in [0, 1].
    num_steps: T.

  Returns:
    ({"input_psnr_db": PSNR(y + delta, y), "output_psnr_db": mean over the seeds of PSNR(f(y + delta, Z), f(y, Z)),
    "lipschitz": the largest ||f(y + delta, Z) - f(y, Z)|| / ||delta|| of the seeds}, y + delta, f(y + delta, Z)).
    The output PSNR is of the pictures, clipped to [0, 1] (a network without a last activation can be driven
    thousands of times beyond); the Lipschitz bound is of the function, not clipped.

  Raises:
    UserError: as restore_all and check_gradient.
  """
  found = []
  for restart in range(num_restarts):
    with in_restorers_code(y):
      delta = ifgsm(restore, y, z, jax.random.fold_in(key, restart), alpha=alpha, num_steps=num_steps)
    check_gradient(restore, y, x, z, delta, alpha)
    attacked_y = y + delta
    attacked_x = restore_all(restore, attacked_y, z)
    change = {name: float(value) for name, value in _change(x, attacked_x, y, attacked_y).items()}
    found.append((change, attacked_y, attacked_x))
  return min(found, key=lambda result: result[0]["output_psnr_db"])


@jax.jit
def _change(x, attacked_x, y, attacked_y):
  seeds = len(x)
  # The inputs as the restorer saw them: y + delta was rounded.
  delta = jnp.broadcast_to(attacked_y - y, (seeds, *y.shape[1:]))
  return {
    "input_psnr_db": psnr(attacked_y, y)[0],
    "output_psnr_db": jnp.mean(psnr(jnp.clip(attacked_x[:, 0], 0, 1), jnp.clip(x[:, 0], 0, 1))),
    "lipschitz": jnp.max(lipschitz_lower_bound(x[:, 0], attacked_x[:, 0], delta)),
  }
