"""Posterior exploration of paper B: how different can a restorer's outputs be for almost the same measurement?

Farthest-point sampling: each new perturbation of the measurement maximises the distance of its restoration to the
nearest one found so far. An erratic deterministic restorer then imitates a stochastic one; a robust one cannot.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from prt_jax.attacks import conditional_step, keep_in_range, to_sphere
from prt_jax.errors import NO_GRADIENT, UserError
from prt_jax.pixels import as_pixels
from prt_jax.precision import in_float32
from prt_jax.programs import as_program, is_eager
from prt_jax.randomness import normal

_FIRST_SHARE = 0.5  # of the gradient's direction in the first step's perturbation; it falls linearly to 0


def radius(measurement_shape: tuple[int, ...], min_input_psnr: float) -> float:
  """The L2 radius at which PSNR(y, y + delta) is min_input_psnr (dB, peak 1) over one measurement of this shape.

  Example:
    >>> round(radius((16, 16, 3), min_input_psnr=20.0), 4)  # .1 on each of 768 values
    2.7713
  """
  return float(np.sqrt(np.prod(measurement_shape)) * 10 ** (-min_input_psnr / 20))


@in_float32
def explore(
  restore: Callable,
  y: jax.Array,
  z: Any,
  key: jax.Array,
  *,
  num_outputs: int,
  min_input_psnr: float = 30.0,
  num_steps: int = 100,
) -> tuple[jax.Array, jax.Array]:
  """Farthest-point sampling over input perturbations.

  The first output is that of y itself. Each further one maximises min_j ||f(y + delta, z) - x_j||_2 of the pictures,
  which are clipped to [0, 1], over the sphere PSNR(y, y + delta) = min_input_psnr, from a random direction; the best
  iterate counts, not the last. Paper B says no more than the objective and the bound: the steps, those of
  attacks.conditional_step, and their number are our choice. y + delta is kept in [0, 1].

  Args:
    restore: (y, z) -> x for one draw of z.
    y: one measurement [1,h,w,C] in [0, 1], or uint8.
    z: the one draw that every output uses.
    key: a typed key.
    num_outputs: N, at least 1.
    min_input_psnr: dB.
    num_steps: gradient steps an output.

  Returns:
    (delta [N,h,w,C], restorations [N,H,W,3], not clipped).

  Raises:
    UserError: num_outputs or num_steps below 1; pixels of y in another range; a restorer whose gradient is NaN, or zero
      though its output changes.

  Example:
    >>> y = jnp.full((1, 4, 4, 3), 0.5)
    >>> found = explore(lambda y, z: 3 * y - 1, y, jnp.zeros(1), jax.random.key(0), num_outputs=3, num_steps=10)
    >>> print([part.shape for part in found][0])
    (3, 4, 4, 3)
  """
  if num_outputs < 1 or num_steps < 1:
    raise UserError(f"num_outputs={num_outputs} and num_steps={num_steps} must be at least 1")
  y = jnp.asarray(as_pixels(y, "explore"))
  restore = as_program(restore, y, z)
  eager = is_eager(restore)
  eps = radius(y.shape[1:], min_input_psnr)
  step = _step if eager else _compiled_step
  first = restore(y, z) if eager else _compiled_restore(restore, y, z)
  deltas, outputs = [jnp.zeros_like(y)], jnp.zeros((num_outputs, *first.shape[1:])).at[0].set(first[0])
  for found in range(1, num_outputs):
    delta = keep_in_range(y, to_sphere(normal(jax.random.fold_in(key, found), y.shape), eps))
    best, slopes = (-1.0, delta, first), []
    # One step more than there are updates: each call also judges the delta that it is given.
    for share in np.linspace(_FIRST_SHARE, 0, num_steps + 1).tolist():
      delta, judged, slope = step(restore, y, z, outputs, delta, found=found, eps=eps, share=share)
      slopes.append(slope)
      if judged[0] > best[0]:
        best = judged
    if not jnp.isfinite(jnp.stack(slopes)).all():
      raise UserError(f"the restorer's gradient is NaN or inf for a measurement {y.shape}: it cannot be explored")
    if not any(slopes) and (_picture(best[2]) != _picture(first)).any():
      raise UserError(NO_GRADIENT)
    deltas.append(best[1])
    outputs = outputs.at[found].set(best[2][0])
  return jnp.concatenate(deltas), outputs


def _step(restore, y, z, outputs, delta, *, found, eps, share):
  """One ascent: (the next delta, (distance, this delta, its restoration), largest slope)."""

  def distance_to_nearest(delta):
    x = restore(y + delta, z)
    changes = _picture(x) - _picture(outputs)
    distances = jnp.sqrt(jnp.sum(changes**2, axis=range(1, outputs.ndim)) + 1e-20)
    return jnp.min(jnp.where(jnp.arange(len(outputs)) < found, distances, jnp.inf)), x

  (distance, x), gradient = jax.value_and_grad(distance_to_nearest, has_aux=True)(delta)
  return keep_in_range(y, conditional_step(delta, gradient, eps, share)), (distance, delta, x), jnp.abs(gradient).max()


def _picture(x):
  return jnp.clip(x, 0, 1)  # what is seen of a restoration


_compiled_step = jax.jit(_step)
_compiled_restore = jax.jit(lambda restore, y, z: restore(y, z))


@in_float32
def random_outputs(
  restore: Callable, y: jax.Array, z: Any, key: jax.Array, *, num_outputs: int, min_input_psnr: float = 30.0
) -> jax.Array:
  """What exploration is compared with: f(y) and restorations of random perturbations at the same input PSNR.

  Returns:
    [N,H,W,3].

  Example:
    >>> y = jnp.full((1, 4, 4, 3), 0.5)
    >>> print(random_outputs(lambda y, z: y, y, jnp.zeros(1), jax.random.key(0), num_outputs=3).shape)
    (3, 4, 4, 3)
  """
  y = jnp.asarray(as_pixels(y, "random_outputs"))
  restore = as_program(restore, y, z)
  call = restore if is_eager(restore) else functools.partial(_compiled_restore, restore)
  eps = radius(y.shape[1:], min_input_psnr)
  outputs = [call(y, z)]
  for index in range(1, num_outputs):
    delta = keep_in_range(y, to_sphere(normal(jax.random.fold_in(key, index), y.shape), eps))
    outputs.append(call(y + delta, z))
  return jnp.concatenate(outputs)


def pairwise_distances(outputs: jax.Array) -> np.ndarray:
  """Distances of all pairs of images [N,...]: [N(N-1)/2] float64, RMSE over pixels and channels.

  Example:
    >>> print(pairwise_distances(jnp.array([0.0, 0.5, 0.75]).reshape(3, 1, 1, 1)))
    [0.5  0.75 0.25]
  """
  flat = np.asarray(outputs, np.float64).reshape(len(outputs), -1)
  first, second = np.triu_indices(len(flat), 1)
  return np.array([np.sqrt(np.mean((flat[i] - flat[j]) ** 2)) for i, j in zip(first, second, strict=True)])
