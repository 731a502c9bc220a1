"""Changes of measurements: their norms, and how they are kept within a bound."""

import jax
import jax.numpy as jnp
import optax

# Scaling to a norm rounds it, up or down; aiming this much lower, the bound holds as it is written.
_ROUNDING = 1 - 1e-6


def l2_norm(delta: jax.Array) -> jax.Array:
  """The L2 norm of each example: [B, ...] -> [B].

  Example:
    >>> print(l2_norm(jnp.array([[3.0, 4.0], [0.0, 1.0]])))
    [5. 1.]
  """
  return jnp.sqrt(jnp.sum(delta**2, axis=range(1, delta.ndim)))


def to_sphere(delta: jax.Array, eps: float | jax.Array) -> jax.Array:
  """Each example scaled to the norm eps; one of zeros stays.

  Example:
    >>> print(jnp.round(to_sphere(jnp.array([[3.0, 4.0], [0.0, 0.0]]), 10.0)))
    [[6. 8.]
     [0. 0.]]
  """
  norm = l2_norm(delta)
  scale = _ROUNDING * eps / jnp.where(norm > 0, norm, 1)
  return delta * scale.reshape(-1, *[1] * (delta.ndim - 1))


def project_to_ball(delta: jax.Array, eps: float | jax.Array) -> jax.Array:
  """Each example moved to the nearest point of the L2 ball of radius eps.

  Example:
    >>> print(jnp.round(10 * project_to_ball(jnp.array([[3.0, 4.0], [0.3, 0.4]]), 1.0)))
    [[6. 8.]
     [3. 4.]]
  """
  return jax.vmap(optax.projections.projection_l2_ball, (0, None))(delta, _ROUNDING * eps)


def clip_change(y: jax.Array, delta: jax.Array, alpha: float | jax.Array) -> jax.Array:
  """delta cut to [-alpha, alpha], and so that y + delta stays in [0, 1] (keep_in_range).

  Example:
    >>> print(clip_change(jnp.array([[0.5, 1.0]]), jnp.array([[0.75, 0.25]]), 0.25))
    [[0.25 0.  ]]
  """
  return jnp.clip(keep_in_range(y, delta), -alpha, alpha)


def keep_in_range(y: jax.Array, delta: jax.Array) -> jax.Array:
  """delta cut so that y + delta stays in [0, 1], which it only shortens.

  y + delta is rounded, so the range is imposed on the sum. Noise may have put y itself outside [0, 1]: then the range
  reaches to y, so that delta is a change of the attack's alone.

  Example:
    >>> print(keep_in_range(jnp.array([[0.5, 1.0]]), jnp.array([[0.75, -0.25]])))
    [[ 0.5  -0.25]]
  """
  return jnp.clip(y + delta, jnp.minimum(y, 0), jnp.maximum(y, 1)) - y
