"""The fully connected network of the toy problems, and the two players made of it (paper A, Table 2)."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from ml_collections import ConfigDict

from prt_jax.degradations import Degradation
from prt_jax.models.layers import KERNEL_INITS, bias_init
from prt_jax.models.players import Players, check_restores


class MLP(nn.Module):
  """Dense layers with ReLU between them, 2-512-512-512-512-1 in the paper.

  Attributes:
    features: output sizes of the layers, the last one without activation.
    kernel_init: a key of layers.KERNEL_INITS.

  Example:
    >>> net = MLP(features=(8, 1))
    >>> params = net.init(jax.random.key(0), jnp.zeros((1, 2)))
    >>> print(net.apply(params, jnp.zeros((5, 2))).shape)
    (5, 1)
  """

  features: tuple[int, ...] = (512, 512, 512, 512, 1)
  kernel_init: str = "torch"

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """x: [B, D] -> [B, features[-1]], float32."""
    for layer, features in enumerate(self.features):
      if layer:
        x = nn.relu(x)
      x = nn.Dense(
        features, kernel_init=KERNEL_INITS[self.kernel_init], bias_init=bias_init(self.kernel_init, x.shape[-1])
      )(x)
    return x.astype(jnp.float32)


class MLPGenerator(nn.Module):
  """The toys' estimator: (y, z) -> the second coordinate, an MLP 2-width-width-width-width-1.

  Attributes:
    width: hidden units, 512 in the paper.
    kernel_init: a key of layers.KERNEL_INITS.

  Example:
    >>> net, y, z = MLPGenerator(width=8), jnp.zeros((5, 1)), (jnp.zeros((5, 1)),)
    >>> print(net.apply(net.init(jax.random.key(0), y, z, False), y, z, False).shape)
    (5, 1)
  """

  width: int = 512
  kernel_init: str = "torch"

  def __call__(self, y: jax.Array, z: tuple[jax.Array], train: bool) -> jax.Array:
    """y [B,1] and z of one [B,1] -> [B,1]; the same in training and evaluation, there is no BatchNorm."""
    return self.complete(self.stem(y, train), z, train)

  def stem(self, y: jax.Array, train: bool) -> jax.Array:
    """What has seen no noise yet (UNet.stem): y itself."""
    del train
    return y

  @nn.compact
  def complete(self, y: jax.Array, z: tuple[jax.Array], train: bool) -> jax.Array:
    """All that follows the stem."""
    del train
    return MLP((self.width,) * 4 + (1,), self.kernel_init)(jnp.concatenate([y, *z], axis=1))


class MLPCritic(nn.Module):
  """The toys' critic, the same net on a point of the plane: attributes as MLPGenerator's.

  Example:
    >>> critic, x = MLPCritic(width=8), jnp.zeros((5, 2))
    >>> print(critic.apply(critic.init(jax.random.key(0), x), x).shape)
    (5,)
  """

  width: int = 512
  kernel_init: str = "torch"

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """x [B,2] -> logits [B]."""
    return MLP((self.width,) * 4 + (1,), self.kernel_init)(x)[:, 0]


def players(
  config: ConfigDict, degradation: Degradation, *, axis_name: str | None, platform: str | None, dtype: Any
) -> Players:
  """The toys' networks for points, in the form of models/networks.py; in float32, without batch statistics."""
  del axis_name, platform, dtype
  check_restores(config, degradation, "points")
  model = config.model
  return Players(MLPGenerator(model.width, model.init), MLPCritic(model.critic_width, model.init), ((1,),))
