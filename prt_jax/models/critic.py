"""The critic: a pre-activation ResNet on images alone (paper A, Table 4)."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from prt_jax.models import blocks
from prt_jax.models.formulations import formulation_of
from prt_jax.models.layers import KERNEL_INITS, Conv, average_pool, bias_init

# Output channels, in units of f, of the two blocks of each level.
LEVELS = ((1, 2), (2, 4), (4, 8), (8, 16), (16, 16), (16, 16))


def leaky_relu(x: jax.Array) -> jax.Array:
  """LeakyReLU with the paper's slope, 0.2."""
  return nn.leaky_relu(x, 0.2)


class ResidualBlock(nn.Module):
  """x + residual_scale * conv(act(conv(act(x)))); a 1x1 convolution on the shortcut where channels change."""

  features: int
  residual_scale: float
  kernel_init: str
  dtype: jnp.dtype
  platform: str | None
  in_blocks: bool

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    common = {"kernel_init": self.kernel_init, "dtype": self.dtype, "platform": self.platform}
    common["in_blocks"] = self.in_blocks
    in_features = x.shape[-1] // (4 if self.in_blocks else 1)
    residual = Conv(min(in_features, self.features), **common)(leaky_relu(x))
    residual = Conv(self.features, **common)(leaky_relu(residual))
    if in_features != self.features:
      x = Conv(self.features, kernel_size=1, use_bias=False, **common)(x)
    return x + self.residual_scale * residual


class Critic(nn.Module):
  """C(X): one logit an image, high where it looks real.

  A stem Conv3x3 3 -> f; six levels of two blocks, 2x2 average pool after each of the first five;
  LeakyReLU (our reading: pre-activation blocks leave the last sum unactivated) and a dense layer.

  Attributes:
    width: f, 16 for CelebA and 32 for ImageNet.
    residual_scale: factor of each residual branch, 0.1 in the paper.
    kernel_init, dtype, platform: as in UNet.
  """

  width: int = 16
  residual_scale: float = 0.1
  kernel_init: str = "torch"
  dtype: jnp.dtype = jnp.float32
  platform: str | None = None

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """x: [B,H,W,3] in [0, 1], H and W multiples of 32 -> [B] float32."""
    common = {"kernel_init": self.kernel_init, "dtype": self.dtype, "platform": self.platform}
    in_blocks = formulation_of(self.platform).blocks  # the first level, the widest
    x = Conv(self.width, in_blocks=in_blocks, **common)(blocks.to_blocks(x) if in_blocks else x)
    for level, multiples in enumerate(LEVELS):
      for multiple in multiples:
        x = ResidualBlock(self.width * multiple, self.residual_scale, in_blocks=in_blocks, **common)(x)
      if level < len(LEVELS) - 1:
        x = blocks.average_pool_of_blocks(x) if in_blocks else average_pool(x)
        in_blocks = False
    x = leaky_relu(x).reshape(x.shape[0], -1)
    dense = nn.Dense(
      1,
      kernel_init=KERNEL_INITS[self.kernel_init],
      bias_init=bias_init(self.kernel_init, x.shape[-1]),
      dtype=self.dtype,
    )
    return dense(x)[:, 0].astype(jnp.float32)
