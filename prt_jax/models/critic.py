"""The critic: a pre-activation ResNet on images alone (paper A, Table 4)."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from prt_jax.models.blocks import PIXEL, Block, from_blocks, to_blocks
from prt_jax.models.formulations import formulation_of
from prt_jax.models.layers import KERNEL_INITS, Conv, average_pool, bias_init

# Output channels, in units of f, of the two blocks of each level.
LEVELS = ((1, 2), (2, 4), (4, 8), (8, 16), (16, 16), (16, 16))


def leaky_relu(x: jax.Array) -> jax.Array:
  """LeakyReLU with the paper's slope, 0.2."""
  return nn.leaky_relu(x, 0.2)


def level_blocks(width: int, size: int, lanes: int) -> tuple[Block, ...]:
  """The blocks (models/blocks.py) of each level's planes: so many pixels as have up to `lanes` channels, 0: one pixel.

  Args:
    width: f.
    size: the image's side.
  """
  found, below = [], PIXEL
  for level in reversed(range(len(LEVELS))):
    wanted = max(lanes // (width * LEVELS[level][0]), 1).bit_length() - 1  # as a power of 2
    wanted = wanted // 2, wanted - wanted // 2
    # A pool leads to the next level's blocks, which must cover whole ones of this; and no plane of few blocks.
    most = max((size >> level) // 8, 1)
    below = tuple(min(2**side, 2 * side_below, most) for side, side_below in zip(wanted, below, strict=True))
    found.append(below)
  return tuple(reversed(found))


class ResidualBlock(nn.Module):
  """x + residual_scale * conv(act(conv(act(x)))); a 1x1 convolution on the shortcut where channels change.

  Attributes:
    block, to: the blocks (models/blocks.py) that x and the result are in.
    pools: whether a 2x2 average pool follows.
  """

  features: int
  residual_scale: float
  kernel_init: str
  dtype: jnp.dtype
  platform: str | None
  block: Block
  to: Block
  pools: bool

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """[B,h,w,C] -> [B,h,w,features], of half the sides where it pools; both in their blocks."""
    common = {"kernel_init": self.kernel_init, "dtype": self.dtype, "platform": self.platform, "block": self.block}
    in_features = x.shape[-1] // math.prod(self.block)
    residual = Conv(min(in_features, self.features), **common)(leaky_relu(x))
    # A pool is linear, and few values are left of it: where that pays, it is part of the convolutions before the sum.
    pooled = self.pools and formulation_of(self.platform).lanes > 0
    last = common | ({"to": self.to, "pooled": True} if pooled else {})
    residual = Conv(self.features, **last)(leaky_relu(residual))
    if in_features != self.features:
      x = Conv(self.features, kernel_size=1, use_bias=False, **last)(x)
    elif pooled:
      x = to_blocks(average_pool(from_blocks(x, self.block), strided=True), self.to)
    x = x + self.residual_scale * residual
    return average_pool(x) if self.pools and not pooled else x


class Critic(nn.Module):
  """C(X): one logit an image, high where it looks real.

  A stem Conv3x3 3 -> f; six levels of two blocks, 2x2 average pool after each of the first five;
  LeakyReLU (our reading: pre-activation blocks leave the last sum unactivated) and a dense layer.

  Attributes:
    width: f, 16 for CelebA and 32 for ImageNet.
    residual_scale: factor of each residual branch, 0.1 in the paper.
    kernel_init, dtype, platform: as in UNet.

  Example:
    >>> critic, x = Critic(width=2), jnp.zeros((3, 64, 64, 3))
    >>> logits, variables = jax.eval_shape(critic.init_with_output, jax.random.key(0), x)
    >>> logits.shape
    (3,)
  """

  width: int = 16
  residual_scale: float = 0.1
  kernel_init: str = "torch"
  dtype: Any = jnp.float32
  platform: str | None = None

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """x: [B,H,W,3] in [0, 1], H and W multiples of 32 -> [B] float32."""
    common = {"kernel_init": self.kernel_init, "dtype": self.dtype, "platform": self.platform}
    levels = level_blocks(self.width, min(x.shape[1:3]), formulation_of(self.platform).lanes)
    x = Conv(self.width, block=levels[0], **common)(to_blocks(x, levels[0]))
    for level, multiples in enumerate(LEVELS):
      for block, multiple in enumerate(multiples):
        pools = block == len(multiples) - 1 and level < len(LEVELS) - 1
        to = levels[level + pools]
        x = ResidualBlock(
          self.width * multiple, self.residual_scale, block=levels[level], to=to, pools=pools, **common
        )(x)
    x = from_blocks(x, levels[-1])
    x = leaky_relu(x).reshape(x.shape[0], -1)
    dense = nn.Dense(
      1,
      kernel_init=KERNEL_INITS[self.kernel_init],
      bias_init=bias_init(self.kernel_init, x.shape[-1]),
      dtype=self.dtype,
    )
    return dense(x)[:, 0].astype(jnp.float32)
