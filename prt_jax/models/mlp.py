"""The fully connected network of the toy problems, estimator and critic alike (paper A, Table 2)."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from prt_jax.models.layers import KERNEL_INITS, bias_init


class MLP(nn.Module):
  """Dense layers with ReLU between them, 2-512-512-512-512-1 in the paper.

  Attributes:
    features: output sizes of the layers, the last one without activation.
    kernel_init: a key of layers.KERNEL_INITS.
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
