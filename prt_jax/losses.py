"""The training losses of paper A: a non-saturating GAN with R1, and the robustness term (Eqs. 6 to 8)."""

from collections.abc import Callable

import jax
import jax.numpy as jnp


def generator_loss(fake_logits: jax.Array) -> jax.Array:
  """Non-saturating loss, E softplus(-C(G)): logits [B] -> [B].

  Example:
    >>> print(f"{generator_loss(jnp.array([0.0]))[0]:.4f}")  # log 2
    0.6931
  """
  return jax.nn.softplus(-fake_logits)


def critic_loss(real_logits: jax.Array, fake_logits: jax.Array) -> jax.Array:
  """softplus(-C(real)) + softplus(C(fake)), without its gradient penalty: logits [B], [B] -> [B].

  Example:
    >>> print(f"{critic_loss(jnp.array([0.0]), jnp.array([0.0]))[0]:.4f}")  # 2 log 2
    1.3863
  """
  return jax.nn.softplus(-real_logits) + jax.nn.softplus(fake_logits)


def r1_penalty(critic: Callable[[jax.Array], jax.Array], x: jax.Array) -> jax.Array:
  """||grad_x C(x)||^2 of each real example, a sum over its values and without a factor 1/2 (Mescheder et al. 2018).

  Args:
    critic: [B, ...] -> logits [B]; each logit may depend on its own example alone.
    x: [B, ...].

  Returns:
    [B].

  Example:
    >>> print(r1_penalty(lambda x: x @ jnp.array([3.0, 4.0]), jnp.zeros((1, 2))))
    [25.]
  """
  return logits_and_r1_penalty(critic, x)[1]


def logits_and_r1_penalty(critic: Callable[[jax.Array], jax.Array], x: jax.Array) -> tuple[jax.Array, jax.Array]:
  """The logits [B] and r1_penalty [B] of the same forward pass.

  Example:
    >>> logits, penalty = logits_and_r1_penalty(lambda x: x @ jnp.array([3.0, 4.0]), jnp.ones((1, 2)))
    >>> print(logits, penalty)
    [7.] [25.]
  """
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

  Example:
    >>> print(robustness_loss(jnp.zeros((2, 1, 4, 4, 3)), jnp.full((2, 1, 4, 4, 3), 0.5)))
    [0.25]
  """
  change = (reference - attacked) ** 2
  return jnp.mean(change, axis=(0, *range(2, change.ndim)))
