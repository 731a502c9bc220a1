"""The generator: a U-Net that takes noise at four scales (paper A, Fig. 6)."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from prt_jax.models.layers import Conv, max_pool, upsample_bilinear

LEVELS = 4


class DoubleConv(nn.Module):
  """(Conv3x3, BatchNorm, ReLU) twice; attributes as in UNet."""

  features: int
  kernel_init: str
  dtype: jnp.dtype
  axis_name: str | None
  platform: str | None

  def setup(self) -> None:
    conv = {"use_bias": False, "kernel_init": self.kernel_init, "dtype": self.dtype, "platform": self.platform}
    norm = {"momentum": 0.9, "epsilon": 1e-5, "dtype": self.dtype, "axis_name": self.axis_name}
    self.convs = [Conv(self.features, name=f"Conv_{i}", **conv) for i in range(2)]
    self.norms = [nn.BatchNorm(name=f"BatchNorm_{i}", **norm) for i in range(2)]

  def __call__(self, x: jax.Array, train: bool) -> jax.Array:
    """[B,H,W,I] -> [B,H,W,features]."""
    return self._after_first_convolution(self.convs[0](x), train)

  def begin(self, x: jax.Array, in_channels: int) -> jax.Array:
    """The first convolution of the first channels of an input of in_channels: what complete adds to."""
    return self.convs[0](x, in_channels=in_channels)

  def complete(self, begun: jax.Array, rest: jax.Array, first: int, train: bool) -> jax.Array:
    """The block's output for an input whose channels before `first` went into begin; rest: [B,H,W,I - first]."""
    return self._after_first_convolution(
      begun + self.convs[0](rest, first=first, in_channels=first + rest.shape[-1]), train
    )

  def _after_first_convolution(self, x, train):
    x = nn.relu(self.norms[0](x, use_running_average=not train))
    return nn.relu(self.norms[1](self.convs[1](x), use_running_average=not train))


class UNet(nn.Module):
  """G(Y, Z): restores an image from the network input and the noise Z = (Z1, Z2, Z3, Z4).

  A DoubleConv stem, four Down blocks (the noise Zi joins as one more channel, 2x2 max-pool,
  DoubleConv), four Up blocks (2x bilinear, skip joins, DoubleConv), a last 1x1 convolution.
  Channels s, 2s, 4s, 8s, 16s. The paper names s = 24 for CelebA, 32 for ImageNet; that Zi
  joins before the pool, zero padding, and the last kernel's size are our reading.

  Attributes:
    width: s.
    kernel_init: a key of layers.KERNEL_INITS.
    dtype: compute type; parameters, BatchNorm statistics and the output are float32.
    axis_name: mapped axis over which training statistics are averaged, or None.
    use_last_bias: False where a projection removes constants: the bias would have a zero gradient,
      of which Adam makes a random walk of rounding errors.
    platform: see layers.Conv.
  """

  width: int = 24
  kernel_init: str = "torch"
  dtype: jnp.dtype = jnp.float32
  axis_name: str | None = None
  use_last_bias: bool = True
  platform: str | None = None

  def setup(self) -> None:
    common = {"kernel_init": self.kernel_init, "dtype": self.dtype, "platform": self.platform}
    levels = [*range(LEVELS + 1), *reversed(range(LEVELS))]  # the stem, Down blocks, Up blocks
    self.double_convs = [
      DoubleConv(self.width * 2**level, axis_name=self.axis_name, name=f"DoubleConv_{i}", **common)
      for i, level in enumerate(levels)
    ]
    self.last = Conv(3, kernel_size=1, use_bias=self.use_last_bias, name="Conv_0", **common)

  def __call__(self, x: jax.Array, z: tuple[jax.Array, ...], train: bool) -> jax.Array:
    """x: [B,H,W,3], H and W multiples of 16; z: noise_shapes(H) with a leading B -> [B,H,W,3], unbounded.

    train: normalise by the batch's statistics (and update the running ones where 'batch_stats'
    is mutable) instead of the running averages.
    """
    return self.complete(self.stem(x, train), z, train)

  def stem(self, x: jax.Array, train: bool) -> tuple[jax.Array, jax.Array]:
    """The part that has seen no noise yet: [B,H,W,3] -> what the first Down and the last Up block begin with.

    Both blocks' first convolution takes the stem's features beside what depends on the noise. A convolution of a
    concatenation is the sum of its parts', so the part of the features is the same for all draws of the noise.
    """
    features = self.double_convs[0](x, train)
    first_down, last_up = self.double_convs[1], self.double_convs[-1]
    return first_down.begin(max_pool(features), self.width + 1), last_up.begin(features, 3 * self.width)

  def complete(self, begun: tuple[jax.Array, jax.Array], z: tuple[jax.Array, ...], train: bool) -> jax.Array:
    """All that follows the stem, which gave begun, for one draw z of the noise -> [B,H,W,3]."""
    begun_down, begun_up = begun
    first_down, *downs = self.double_convs[1 : 1 + LEVELS]
    *ups, last_up = self.double_convs[1 + LEVELS :]
    x, skips = first_down.complete(begun_down, max_pool(z[0]), self.width, train), []
    for z_level, double_conv in zip(z[1:], downs, strict=True):
      skips.append(x)
      x = jnp.concatenate([x, z_level.astype(x.dtype)], -1)
      x = double_conv(max_pool(x), train)
    for skip, double_conv in zip(reversed(skips), ups, strict=True):
      x = jnp.concatenate([skip, upsample_bilinear(x)], -1)
      x = double_conv(x, train)
    x = last_up.complete(begun_up, upsample_bilinear(x), self.width, train)
    return self.last(x).astype(jnp.float32)

  @staticmethod
  def noise_shapes(image_size: int) -> tuple[tuple[int, int, int], ...]:
    """The shapes of Z1..Z4 of one example: one channel at the size of each Down block's input."""
    return tuple((image_size >> level, image_size >> level, 1) for level in range(LEVELS))
