"""Lower bounds of a restorer's Lipschitz constant: found by attacks, by its Jacobian, and implied by its quality.

All norms are Euclidean, over all pixels and channels of one example. Every bound here is a lower one: the
constant itself may be larger, by how much nothing here can tell.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from prt_jax.attacks import adversarial_search, ifgsm, l2_norm, restore_seeds, to_sphere
from prt_jax.metrics import lipschitz_lower_bound
from prt_jax.pixels import as_float
from prt_jax.precision import in_float32
from prt_jax.programs import as_program
from prt_jax.randomness import normal

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
  """
  if (eps is None) == (alpha is None):
    raise ValueError(f"attack_lower_bound needs either eps (L2) or alpha (sup norm), got eps={eps}, alpha={alpha}")
  y = jnp.asarray(as_float(y, "attack_lower_bound"))
  x = restore_seeds(restore, y, z)
  best = jnp.zeros(len(y))
  for restart in range(num_restarts):
    start = jax.random.fold_in(key, restart)
    if alpha is not None:
      delta = ifgsm(restore, y, z, start, alpha=alpha, num_steps=num_steps)
    else:
      assert eps is not None
      rate = eps / 4 if learning_rate is None else learning_rate
      delta = adversarial_search(restore, y, z, start, eps=eps, num_steps=num_steps, learning_rate=rate)
    attacked_y = y + delta
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
  """
  half_a_unit = jnp.finfo(jnp.float32).eps / 2
  rounding = half_a_unit * (l2_norm(x) + l2_norm(attacked_x))
  change = l2_norm(attacked_x - x)
  sure = jnp.where(change > rounding, 1 - rounding / jnp.where(change > 0, change, 1), 0)
  return ROUNDING * jnp.where(sure > 0, sure * lipschitz_lower_bound(x, attacked_x, delta), 0)


@in_float32
def jacobian_lower_bound(
  restore: Callable, y: jax.Array, z: Any, key: jax.Array, *, num_steps: int = 20
) -> tuple[jax.Array, jax.Array]:
  """The largest singular value of the Jacobian at y, from below, by power iteration on J^T J.

  J's norm at any point bounds the Lipschitz constant from below; ||J v|| of a unit vector v bounds J's norm
  from below however early the iteration stops.

  Args:
    restore: (y, z_s) -> x, differentiable in both modes (so not a PyTorch module).
    y: measurements [B, ...]; examples must not influence one another.
    z: one draw's noise, without an axis of seeds.
    key: a typed key for the first vectors.
    num_steps: iterations, one JVP and one VJP each.

  Returns:
    (||J v|| [B] float32, v [B, ...] of unit norm).
  """
  y = jnp.asarray(as_float(y, "jacobian_lower_bound"))
  restore = as_program(restore, y, z)
  direction = to_sphere(normal(key, y.shape), 1.0)
  for _ in range(num_steps):
    _, direction = _compiled_power_step(restore, y, z, direction)
  stretch, _ = _compiled_power_step(restore, y, z, direction)
  return stretch, direction


def power_step(
  restore: Callable, y: jax.Array, z: Any, direction: jax.Array
) -> tuple[jax.Array, jax.Array]:
  """(||J v|| [B] of the unit vectors v that are given, the directions of J^T J v): a step of the power iteration.

  Steps are to be compiled and called from Python: a loop of XLA's around convolutions is several times slower on a CPU.
  """
  _, jacobian = jax.linearize(lambda y: restore(y, z), y)
  image = jacobian(direction)
  (power,) = jax.linear_transpose(jacobian, y)(image)
  # A Jacobian of zero keeps its direction: its norm is 0 along any.
  moves = (l2_norm(power) > 0).reshape(-1, *[1] * (y.ndim - 1))
  return ROUNDING * l2_norm(image) / l2_norm(direction), jnp.where(moves, to_sphere(power, 1.0), direction)


_compiled_power_step = jax.jit(power_step)


def elementary_bound(deviation: float, joint_wasserstein: float) -> float:
  """K >= m / W_1 - 1: how erratic a deterministic estimator of a given joint quality must be.

  m = inf_g E||X - g(Y)|| is the least mean distance of any estimator, W_1 the distance of p_{Xhat,Y} from p_{X,Y}.

  Proof. Let f be K-Lipschitz, and ((X, Y), (f(Y'), Y')) an optimal coupling of the two joint distributions, with
  a cost c on pairs for which c((x, y), (x', y')) >= max(||x - x'||, ||y - y'||), the Euclidean distance for one.
  f is itself an estimator of X from Y, so
    m <= E||X - f(Y)|| <= E||X - f(Y')|| + E||f(Y') - f(Y)|| <= E||X - f(Y')|| + K E||Y' - Y|| <= (1 + K) W_1.
  Nothing is assumed of the degradation; where X is a function of Y, m = 0 and the bound says nothing. QED.
  It is weaker than paper B's Theorem 4.1, and elementary.

  Args:
    deviation: m, in the units of X.
    joint_wasserstein: W_1 of the joint distributions, in the same units, X and Y weighted equally.

  Returns:
    m / W_1 - 1, at least 0; inf where W_1 is 0 and m is not.

  Raises:
    ValueError: a negative argument.
  """
  if deviation < 0 or joint_wasserstein < 0:
    raise ValueError(f"distances are not negative, got deviation={deviation}, joint_wasserstein={joint_wasserstein}")
  if deviation <= joint_wasserstein:
    return 0.0
  return deviation / joint_wasserstein - 1 if joint_wasserstein else float("inf")
