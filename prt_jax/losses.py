"""The training losses of paper A: a non-saturating GAN with R1, and the robustness term (Eqs. 6 to 8)."""

from collections.abc import Callable

import jax
import jax.numpy as jnp


def generator_loss(fake_logits: jax.Array) -> jax.Array:
  """Non-saturating loss, E softplus(-C(G)): logits [B] -> [B]."""
  return jax.nn.softplus(-fake_logits)


def critic_loss(real_logits: jax.Array, fake_logits: jax.Array) -> jax.Array:
  """softplus(-C(real)) + softplus(C(fake)), without its gradient penalty: logits [B], [B] -> [B]."""
  return jax.nn.softplus(-real_logits) + jax.nn.softplus(fake_logits)


def r1_penalty(critic: Callable[[jax.Array], jax.Array], x: jax.Array) -> jax.Array:
  """||grad_x C(x)||^2 of each real example, a sum over its values and without a factor 1/2 (Mescheder et al. 2018).

  Args:
    critic: [B, ...] -> logits [B]; each logit may depend on its own example alone.
    x: [B, ...].

  Returns:
    [B].
  """
  return logits_and_r1_penalty(critic, x)[1]


def logits_and_r1_penalty(critic: Callable[[jax.Array], jax.Array], x: jax.Array) -> tuple[jax.Array, jax.Array]:
  """The logits [B] and r1_penalty [B] of the same forward pass."""
  logits, pullback = jax.vjp(critic, x)
  (gradient,) = pullback(jnp.ones_like(logits))
  return logits, jnp.sum(gradient**2, axis=range(1, x.ndim))


def robustness_loss(reference: jax.Array, attacked: jax.Array) -> jax.Array:
  """E_Z ||G(y,Z) - G(y+delta,Z)||^2 of each example (Eq. 6), the squared norm averaged over pixels and channels.

  That it is an average, not a sum, is our reading: lambda_R = 500 then balances the GAN loss.

  Args:
    reference, attacked: [S, B, ...], the same S seeds on both sides.

  Returns:
    [B].
  """
  change = (reference - attacked) ** 2
  return jnp.mean(change, axis=(0, *range(2, change.ndim)))
