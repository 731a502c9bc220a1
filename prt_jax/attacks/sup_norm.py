"""I-FGSM: attacks by the sign of the gradient, bounded in the sup norm."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax.core import Tracer

from prt_jax import devices
from prt_jax.attacks.changes import clip_change
from prt_jax.attacks.draws import Restore, compiled_restore_seeds, first_draw, restore_seeds
from prt_jax.pixels import as_pixels
from prt_jax.programs import as_program, is_eager

START_SHARE = 0.01  # of alpha: the largest pixel of I-FGSM's random start


def ifgsm(restore: Restore, y: jax.Array, z: Any, key: jax.Array, *, alpha: float, num_steps: int = 50) -> jax.Array:
  """I-FGSM as in Choi et al. 2019, averaged over seeds as in paper A, App. G.

  delta += alpha / num_steps * sign(gradient), then clipped to [-alpha, alpha] and so that y + delta
  stays in [0, 1] (where y is); the objective is E_Z ||restore(y, Z) - restore(y + delta, Z)||_2. The start is
  uniform noise of a hundredth of alpha (our reading: at 0 the gradient is 0).

  On a CPU the steps are calls of one compiled step, since XLA's loops around convolutions are
  several times slower there; elsewhere, and inside a jit of the caller's, they are one compiled loop.

  Args:
    restore, y, z, key: as in adversarial_search; y in [0, 1], or uint8. Programs are compiled once for what restore
      computes, whatever the values of its weights (programs.as_program). A restore with an attribute `eager` that is
      true is neither traced nor vmapped, only differentiated.
    alpha: sup-norm bound, pixels in [0, 1] (the paper's alpha / 255).
    num_steps: T.

  Returns:
    delta, shaped like y, |delta| <= alpha everywhere.

  Raises:
    UserError: pixels of y in another range.

  Example:
    >>> y, z = jnp.full((1, 2, 2, 1), 0.5), jnp.zeros((1, 1))
    >>> delta = ifgsm(lambda y, z: 2 * y, y, z, jax.random.key(0), alpha=0.25)
    >>> print(jnp.abs(delta).ravel())
    [0.25 0.25 0.25 0.25]
  """
  y = jnp.asarray(as_pixels(y, "ifgsm"))
  restore = as_program(restore, y, first_draw(z))
  uniform = jax.random.uniform if key.ndim == 0 else jax.vmap(jax.random.uniform, (0, None))
  noise = uniform(key, y.shape if key.ndim == 0 else y.shape[1:])
  delta = clip_change(y, START_SHARE * alpha * (2 * noise - 1), alpha)
  eager = is_eager(restore)
  reference = (restore_seeds if eager else compiled_restore_seeds)(restore, y, z)
  distance = jax.tree_util.Partial(_distance, restore, z, jax.lax.stop_gradient(reference))
  return sign_ascent(distance, y, delta, alpha=alpha, num_steps=num_steps, eager=eager)


def _distance(restore, z, reference, attacked_y):
  difference = restore_seeds(restore, attacked_y, z) - reference
  squares = jnp.sum(difference**2, axis=range(2, difference.ndim))
  # The sign of the gradient does not see this guard; without it, no change at all would give NaN.
  return jnp.sum(jnp.sqrt(squares + 1e-20)) / reference.shape[0]


def sign_ascent(
  objective: jax.tree_util.Partial, y: jax.Array, delta: jax.Array, *, alpha: float, num_steps: int, eager: bool = False
) -> jax.Array:
  """I-FGSM's steps for any objective: delta += alpha / num_steps * sign(gradient), clipped as in ifgsm.

  Args:
    objective: y + delta -> a number, a sum over the examples; its arguments in the Partial are not differentiated.
    y: measurements [B, ...] in [0, 1].
    delta: the start.
    alpha, num_steps: as in ifgsm.
    eager: call the objective as it is, without compiling it.

  Returns:
    delta; no gradient flows through it.

  Example:
    >>> slope = jax.tree_util.Partial(lambda slope, y: jnp.sum(slope * y), jnp.array([[2.0, -1.0]]))
    >>> print(sign_ascent(slope, jnp.full((1, 2), 0.5), jnp.zeros((1, 2)), alpha=0.25, num_steps=4))
    [[ 0.25 -0.25]]
  """
  traced = any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves((objective, y, delta)))
  if traced or not (eager or devices.backend() == "cpu"):
    objective, y, delta = jax.lax.stop_gradient((objective, y, delta))
    return _ascent_loop(objective, y, delta, alpha, num_steps)
  step = _ascent_step if eager else _compiled_ascent_step
  for _ in range(num_steps):
    delta = step(objective, y, delta, alpha, alpha / num_steps)
  return delta


def _ascent_step(objective, y, delta, alpha, step_size):
  return clip_change(y, delta + step_size * jnp.sign(jax.grad(objective)(y + delta)), alpha)


@functools.partial(jax.jit, static_argnames="num_steps")
def _ascent_loop(objective, y, delta, alpha, num_steps):
  def step(_, delta):
    return _ascent_step(objective, y, delta, alpha, alpha / num_steps)

  return jax.lax.fori_loop(0, num_steps, step, delta)


_compiled_ascent_step = jax.jit(_ascent_step)
