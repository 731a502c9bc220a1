"""Changes of measurements: their norms, and how they are kept within a bound."""

import jax
import jax.numpy as jnp
import optax

# Scaling to a norm rounds it, up or down; aiming this much lower, the bound holds as it is written.
_ROUNDING = 1 - 1e-6


def l2_norm(delta: jax.Array) -> jax.Array:
  """The L2 norm of each example: [B, ...] -> [B]."""
  return jnp.sqrt(jnp.sum(delta**2, axis=range(1, delta.ndim)))


def to_sphere(delta: jax.Array, eps: float | jax.Array) -> jax.Array:
  """Each example scaled to the norm eps; one of zeros stays."""
  scale = _ROUNDING * eps / jnp.maximum(l2_norm(delta), jnp.finfo(delta.dtype).tiny)
  return delta * scale.reshape(-1, *[1] * (delta.ndim - 1))


def project_to_ball(delta: jax.Array, eps: float | jax.Array) -> jax.Array:
  """Each example moved to the nearest point of the L2 ball of radius eps."""
  return jax.vmap(optax.projections.projection_l2_ball, (0, None))(delta, _ROUNDING * eps)


def clip_change(y: jax.Array, delta: jax.Array, alpha: float | jax.Array) -> jax.Array:
  """delta cut to [-alpha, alpha], and so that y + delta stays in [0, 1] (keep_in_range)."""
  return jnp.clip(keep_in_range(y, delta), -alpha, alpha)


def keep_in_range(y: jax.Array, delta: jax.Array) -> jax.Array:
  """delta cut so that y + delta stays in [0, 1], which it only shortens.

  y + delta is rounded, so the range is imposed on the sum. Noise may have put y itself outside [0, 1]: then the range
  reaches to y, so that delta is a change of the attack's alone.
  """
  return jnp.clip(y + delta, jnp.minimum(y, 0), jnp.maximum(y, 1)) - y
