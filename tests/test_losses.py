"""Losses: closed forms, hand-computed numbers, R1 against finite differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from prt_jax import losses
from prt_jax.models import Critic


def test_gan_losses_by_hand():
  logits = jnp.array([0.0, 2.0])
  np.testing.assert_allclose(losses.generator_loss(logits), [np.log(2), np.log1p(np.exp(-2))], rtol=1e-6)
  np.testing.assert_allclose(
    losses.critic_loss(jnp.array([3.0]), jnp.array([-1.0])), [np.log1p(np.exp(-3)) + np.log1p(np.exp(-1))], rtol=1e-6
  )


def test_generator_loss_does_not_saturate_where_the_critic_is_sure():
  assert jax.grad(lambda c: losses.generator_loss(c).sum())(jnp.array([-20.0]))[0] == pytest.approx(-1.0)


def test_r1_of_a_quadratic_by_hand():
  # C(x) = sum(x^2): gradient 2x, squared norm 4 sum(x^2), no factor 1/2.
  x = jnp.array([[1.0, 2.0], [0.0, 3.0]])
  np.testing.assert_allclose(losses.r1_penalty(lambda x: jnp.sum(x**2, 1), x), [20.0, 36.0], rtol=1e-6)


def test_r1_of_the_critic_agrees_with_finite_differences():
  critic = Critic(width=2, residual_scale=0.5, kernel_init="he_normal")
  x = jax.random.uniform(jax.random.key(0), (2, 32, 32, 3))
  params = critic.init(jax.random.key(1), x)
  apply = jax.jit(lambda x: critic.apply(params, x))
  logits, penalty = losses.logits_and_r1_penalty(apply, x)
  np.testing.assert_allclose(logits, apply(x), rtol=1e-5)
  # Along its own gradient a function rises at the gradient's norm.
  (gradient,) = jax.vjp(apply, x)[1](jnp.ones(2))
  norm = jnp.sqrt(jnp.sum(gradient**2, (1, 2, 3), keepdims=True))
  step = 1e-2 * gradient / norm
  slope = (apply(x + step) - apply(x - step)) / 2e-2
  np.testing.assert_allclose(slope**2, penalty, rtol=2e-2)
  # And nowhere faster: random directions do not beat it.
  directions = jax.random.normal(jax.random.key(2), (8, *x.shape))
  directions = 1e-2 * directions / jnp.sqrt(jnp.sum(directions**2, (2, 3, 4), keepdims=True))
  slopes = jnp.stack([(apply(x + d) - apply(x - d)) / 2e-2 for d in directions])
  assert jnp.all(jnp.abs(slopes) < 1.01 * jnp.sqrt(penalty))


def test_robustness_loss_is_a_mean_over_seeds_pixels_and_channels():
  reference = jnp.zeros((2, 3, 4, 4, 3))
  attacked = reference.at[0, 1].set(2.0).at[1, 2, 0, 0, 0].set(6.0)
  np.testing.assert_allclose(losses.robustness_loss(reference, attacked), [0, 4 / 2, 36 / 48 / 2], rtol=1e-6)
