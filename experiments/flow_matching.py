"""Rectified flows (Liu et al. 2022), as pure functions, and the small U-Net that is their velocity.

A flow carries X0 to X1 along dx/dt = v(x, t), t from 0 to 1. Trained on independent pairs, v(x_t, t) is the mean of
X1 - X0 given the point x_t of the straight line between them, and what starts as X0 then arrives with the law of X1.
"""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import linen as nn

from prt_jax.models.layers import Conv, Upsampled, max_pool

Velocity = Callable[[jax.Array, jax.Array], jax.Array]  # (x [B, ...], t [B]) -> [B, ...]
LEVELS = 4  # of pooling, as in the package's U-Net
FREQUENCIES = 16


def flow_loss(velocity: Velocity, x0: jax.Array, x1: jax.Array, t: jax.Array) -> jax.Array:
  """The mean of (X1 - X0 - v(x_t, t))^2 over all values, a scalar; x0, x1 [B, ...], t [B] in [0, 1]."""
  share = t.reshape(-1, *[1] * (x0.ndim - 1))
  return jnp.mean((x1 - x0 - velocity((1 - share) * x0 + share * x1, t)) ** 2)


def integrate(velocity: Velocity, x0: jax.Array, num_steps: int) -> jax.Array:
  """Where x0 [B, ...] is carried to in num_steps equal steps of Euler's method, at t = 0, 1/K, ..., 1 - 1/K."""

  def step(x, t):
    return x + velocity(x, jnp.full(len(x), t)) / num_steps, None

  return jax.lax.scan(step, x0, jnp.arange(num_steps, dtype=jnp.float32) / num_steps)[0]


def embed(t: jax.Array) -> jax.Array:
  """Sines and cosines of t [B] in [0, 1]: [B, 2 FREQUENCIES], from half a turn to some fifty turns."""
  angles = math.pi * t[:, None] * jnp.geomspace(1.0, 100.0, FREQUENCIES)
  return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], 1)


class TimedConvs(nn.Module):
  """(Conv3x3, GroupNorm, scale and shift by the time, SiLU) twice: BatchNorm's averages would mix all times."""

  features: int

  @nn.compact
  def __call__(self, parts: tuple[jax.Array | Upsampled, ...], time: jax.Array) -> jax.Array:
    """The concatenation of parts, as Conv takes them, and what is known of t, [B,D] -> [B,H,W,features]."""
    return self._half(self._half(*parts, time=time), time=time)

  def _half(self, *parts, time):
    x = Conv(self.features, kernel_init="he_normal", use_bias=False)(*parts)
    x = nn.GroupNorm(num_groups=4)(x)
    scale, shift = jnp.split(nn.Dense(2 * self.features)(time)[:, None, None], 2, -1)
    return nn.silu((1 + scale) * x + shift)


class VelocityNet(nn.Module):
  """v(x, t): the shape of the package's U-Net (channels s to 16s, four pools), which knows the time.

  Attributes:
    width: s.

  Example:
    >>> net, x, t = VelocityNet(width=4), jnp.zeros((3, 16, 16, 6)), jnp.zeros(3)
    >>> print(jax.eval_shape(lambda: net.init_with_output(jax.random.key(0), x, t)[0]).shape)
    (3, 16, 16, 3)
  """

  width: int

  @nn.compact
  def __call__(self, x: jax.Array, t: jax.Array) -> jax.Array:
    """x: [B,H,W,C], pixels in [0, 1] or so, all that the velocity depends on; t: [B] -> [B,H,W,3]."""
    time = nn.silu(nn.Dense(8 * self.width)(embed(t)))
    x = TimedConvs(self.width)((2 * x - 1,), time)
    skips = []
    for level in range(1, LEVELS + 1):
      skips.append(x)
      x = TimedConvs(self.width * 2**level)((max_pool(x),), time)
    for level in reversed(range(LEVELS)):
      x = TimedConvs(self.width * 2**level)((skips[level], Upsampled(x)), time)
    return Conv(3, kernel_size=1, kernel_init="he_normal")(x)
