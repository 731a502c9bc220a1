"""Lower bounds of a restorer's Lipschitz constant, found by attacks and by its Jacobian.

All norms are Euclidean, over all pixels and channels of one example. Every bound here is a lower one: the
constant itself may be larger, by how much nothing here can tell. What its quality forces: quality_bounds.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from prt_jax.attacks import adversarial_search, ifgsm, l2_norm, restore_seeds, to_sphere
from prt_jax.metrics import lipschitz_lower_bound
from prt_jax.pixels import as_float
from prt_jax.precision import in_float32
from prt_jax.programs import as_program, is_eager
from prt_jax.randomness import normal

# How far from y, in L2, the power iteration looks in float32: near enough for a derivative, far enough for rounding.
PROBE = 1e-3

# Ratios of norms in float32 are rounded, up or down; lowered by this they are lower bounds as they are written.
ROUNDING = 1 - 1e-5


@in_float32
def attack_lower_bound(
  restore: Callable,
  y: jax.Array,
  z: Any,
  key: jax.Array,
  *,
  eps: float | None = None,
  alpha: float | None = None,
  num_steps: int = 20,
  num_restarts: int = 1,
  learning_rate: float | None = None,
) -> jax.Array:
  """The largest ||f(y + delta, z) - f(y, z)|| / ||delta|| that attacks find (paper B's K).

  Args:
    restore, y, z: as in attacks.adversarial_search; y [B, ...].
    key: a typed key; each restart folds its number into it.
    eps: radius of the L2 attack (paper A's), or None.
    alpha: sup-norm bound of I-FGSM (paper B takes 1/255), or None. Exactly one of eps and alpha is given.
    num_steps: of each attack.
    num_restarts: attacks from different starts; the largest ratio counts.
    learning_rate: of the L2 attack's Adam; None = eps / 4, which suits any radius.

  Returns:
    [B] float32, over the restarts and the seeds of z.

  Raises:
    ValueError: both or neither of eps and alpha.

  Example:
    >>> y, z = jnp.full((1, 2, 2, 1), 0.5), jnp.zeros((1, 1))
    >>> bound = attack_lower_bound(lambda y, z: 3 * y, y, z, jax.random.key(0), eps=0.1)
    >>> print(f"{bound[0]:.3f}")
    3.000
  """
  if alpha is None and eps is not None:
    rate = eps / 4 if learning_rate is None else learning_rate
    attack = functools.partial(adversarial_search, eps=eps, learning_rate=rate)
  elif alpha is not None and eps is None:
    attack = functools.partial(ifgsm, alpha=alpha)
  else:
    raise ValueError(f"attack_lower_bound needs either eps (L2) or alpha (sup norm), got eps={eps}, alpha={alpha}")
  y = jnp.asarray(as_float(y, "attack_lower_bound"))
  x = restore_seeds(restore, y, z)
  best = jnp.zeros(len(y))
  for restart in range(num_restarts):
    attacked_y = y + attack(restore, y, z, jax.random.fold_in(key, restart), num_steps=num_steps)
    attacked = restore_seeds(restore, attacked_y, z)
    # The inputs as the restorer saw them: their sum was rounded.
    bounds = [sure_lower_bound(*pair, attacked_y - y) for pair in zip(x, attacked, strict=True)]
    best = jnp.maximum(best, jnp.max(jnp.stack(bounds), 0))
  return best


def sure_lower_bound(x: jax.Array, attacked_x: jax.Array, delta: jax.Array) -> jax.Array:
  """metrics.lipschitz_lower_bound, less what rounding may have added.

  Outputs that hardly change are rounded by as much as they change: each to float32, in the direction that counts most.

  Args:
    x, attacked_x: f(y) and f(y + delta), [B, ...] float32.
    delta: [B, ...].

  Returns:
    [B] float32, at least 0.

  Example:
    >>> delta = jnp.full((1, 4), 0.5)
    >>> print(f"{sure_lower_bound(jnp.zeros((1, 4)), 2 * delta, delta)[0]:.4f}", sure_lower_bound(delta, delta, delta))
    2.0000 [0.]
  """
  half_a_unit = jnp.finfo(jnp.float32).eps / 2
  rounding = half_a_unit * (l2_norm(x) + l2_norm(attacked_x))
  change = l2_norm(attacked_x - x)
  sure = jnp.where(change > rounding, 1 - rounding / jnp.where(change > 0, change, 1), 0)
  return ROUNDING * jnp.where(sure > 0, sure * lipschitz_lower_bound(x, attacked_x, delta), 0)


def probe_length(unit: float) -> float:
  """PROBE for a type whose neighbouring numbers lie a relative unit apart (Restorer.unit), in balance as in float32.

  Rounding's share of a difference falls with the length, the curvature's grows with it: both are least near sqrt(unit).

  Example:
    >>> print(probe_length(2.0**-23), round(probe_length(2.0**-10), 4))  # float32, half precision
    0.001 0.0905
  """
  return PROBE * (unit / float(jnp.finfo(jnp.float32).eps)) ** 0.5


@in_float32
def jacobian_lower_bound(
  restore: Callable, y: jax.Array, z: Any, key: jax.Array, *, num_steps: int = 20
) -> tuple[jax.Array, jax.Array]:
  """The largest singular value of the Jacobian about y, from below, by power iteration with backward passes alone.

  J's norm at any point bounds the Lipschitz constant from below, and ||J^T u|| of any unit vector u bounds J's norm,
  however early the iteration stops and however u was found. u is the direction of f(y + h v) - f(y), a difference
  in the place of J v, so that no forward derivative is asked for; J is that at y + h v, by f's own backward pass; h is
  probe_length of f's attribute `unit`, PROBE where it has none.
  An error of u enters by its square.

  Args:
    restore: (y, z_s) -> x, differentiable; one that is eager (a PyTorch module behind TorchRestorer) is not traced.
    y: measurements [B, ...]; examples must not influence one another.
    z: one draw's noise, without an axis of seeds.
    key: a typed key for the first vectors.
    num_steps: iterations, one forward and one backward pass each.

  Returns:
    (||J^T u|| [B] float32, v [B, ...] of unit norm).

  Example:
    >>> gains = jnp.array([3.0, 1.0])
    >>> bound, direction = jacobian_lower_bound(lambda y, z: gains * y, jnp.zeros((1, 2)), None, jax.random.key(0))
    >>> print(f"{bound[0]:.3f}", jnp.round(jnp.abs(direction)))
    3.000 [[1. 0.]]
  """
  y = jnp.asarray(as_float(y, "jacobian_lower_bound"))
  restore = as_program(restore, y, z)
  step = _power_step if is_eager(restore) else _compiled_power_step
  length = probe_length(getattr(restore.func, "unit", float(jnp.finfo(jnp.float32).eps)))
  x = restore(y, z)
  direction = to_sphere(normal(key, y.shape), 1.0)
  for _ in range(num_steps):
    _, direction = step(restore, x, y, z, length, direction)
  stretch, _ = step(restore, x, y, z, length, direction)
  return stretch, direction


def _power_step(restore, x, y, z, length, direction):
  """(||J^T u||, the directions of J^T u): a step of the power iteration from the unit vectors v.

  Steps are to be compiled and called from Python: a loop of XLA's around convolutions is several times slower on a CPU.
  """

  def squared_change(delta):
    return jnp.sum((restore(y + delta, z) - x) ** 2, axis=range(1, x.ndim))

  change, pull = jax.vjp(squared_change, length * direction)
  (gradient,) = pull(jnp.ones_like(change))
  # A Jacobian of zero keeps its direction: its norm is 0 along any.
  moves = (l2_norm(gradient) > 0).reshape(-1, *[1] * (y.ndim - 1))
  return jacobian_stretch(gradient, change), jnp.where(moves, to_sphere(gradient, 1.0), direction)


_compiled_power_step = jax.jit(_power_step)


def jacobian_stretch(gradient: jax.Array, change: jax.Array) -> jax.Array:
  """||J^T u|| [B] of the gradient 2 J^T (f(y + delta) - f(y)) [B, ...] of the squared change [B], u the change's
  direction; 0 where nothing changes.

  Example:
    >>> print(f"{jacobian_stretch(jnp.array([[12.0, 0.0]]), jnp.array([4.0]))[0]:.3f}")  # 12 / (2 sqrt(4))
    3.000
  """
  return jnp.where(change > 0, ROUNDING * l2_norm(gradient) / (2 * jnp.sqrt(jnp.where(change > 0, change, 1))), 0)
