"""Lower bound of a restorer's Lipschitz constant from one perturbation of each input."""

import jax
import jax.numpy as jnp

from prt_jax.errors import UserError


@jax.jit
def lipschitz_lower_bound(restored: jax.Array, restored_attacked: jax.Array, delta: jax.Array) -> jax.Array:
  """K = ||f(y + delta) - f(y)||_2 / ||delta||_2 of each example (paper B's K).

  Every pair of inputs bounds the constant from below; an attack's delta makes the bound high.

  Args:
    restored, restored_attacked: f(y) and f(y + delta), [B, ...] of one shape.
    delta: [B, ...], the perturbation as the restorer saw it: if y + delta was clipped to
      [0, 1] or rounded to 8 bits, the difference of the inputs, not the delta before it.

  Returns:
    [B] float32, unitless, >= 0. A zero delta shows nothing and gives 0, unless the outputs
    differ: then the restorer is no function of its input, and the bound is inf.

  Raises:
    UserError: the shapes do not go together.

  Example:
    >>> y, delta = jnp.zeros((1, 2, 2, 3)), jnp.full((1, 2, 2, 3), 0.1)
    >>> print(f"{lipschitz_lower_bound(3 * y, 3 * (y + delta), delta)[0]:.4f}")
    3.0000
  """
  restored, restored_attacked, delta = (jnp.asarray(x, jnp.float32) for x in (restored, restored_attacked, delta))
  if restored.shape != restored_attacked.shape or restored.shape[:1] != delta.shape[:1] or not delta.ndim:
    raise UserError(
      "lipschitz_lower_bound needs two outputs [B, ...] of one shape and a delta [B, ...], "
      f"got {restored.shape}, {restored_attacked.shape} and {delta.shape}"
    )
  output_change = _norm(restored_attacked - restored)
  input_change = _norm(delta)
  return jnp.where(output_change == 0, 0.0, output_change / input_change)


def _norm(batch):
  return jnp.linalg.norm(batch.reshape(batch.shape[0], -1), axis=1)
