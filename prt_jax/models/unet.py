"""The generator: a U-Net that takes noise at four scales (paper A, Fig. 6)."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from ml_collections import ConfigDict

from prt_jax.degradations import Degradation
from prt_jax.errors import UserError
from prt_jax.models import blocks
from prt_jax.models.critic import Critic
from prt_jax.models.formulations import formulation_of
from prt_jax.models.layers import Conv, SeedBatchNorm, Upsampled, max_pool, repeat_for_seeds
from prt_jax.models.players import Players, check_restores

LEVELS = 4


class DoubleConv(nn.Module):
  """(Conv3x3, BatchNorm, ReLU) twice; attributes as in UNet.

  Attributes:
    in_blocks: whether it computes in 2x2 blocks (models/blocks.py).
    num_seeds: draws of the noise that are one batch, see SeedBatchNorm.
  """

  features: int
  kernel_init: str
  dtype: jnp.dtype
  axis_name: str | None
  platform: str | None
  in_blocks: bool
  num_seeds: int | None

  def setup(self) -> None:
    """Flax's: the layers."""
    conv = {"use_bias": False, "kernel_init": self.kernel_init, "platform": self.platform}
    conv["block"] = blocks.SQUARE if self.in_blocks else blocks.PIXEL
    norm = {"momentum": 0.9, "epsilon": 1e-5, "axis_name": self.axis_name}
    make_norm = nn.BatchNorm
    if formulation_of(self.platform).merges_seeds:
      make_norm = SeedBatchNorm
      norm |= {"num_seeds": self.num_seeds, "in_blocks": self.in_blocks}
    self.convs = [Conv(self.features, dtype=self.dtype, name=f"Conv_{i}", **conv) for i in range(2)]
    self.norms = [make_norm(dtype=self.dtype, name=f"BatchNorm_{i}", **norm) for i in range(2)]

  def __call__(self, *parts: jax.Array | Upsampled, train: bool) -> jax.Array:
    """The concatenation of parts, as Conv takes them -> [B,H,W,features]."""
    return self._after_first_convolution(self.convs[0](*parts), train)

  def begin(self, x: jax.Array, in_channels: int) -> jax.Array:
    """The first convolution of the first channels of an input of in_channels: what complete adds to."""
    return self.convs[0](x, in_channels=in_channels)

  def complete(self, begun: jax.Array, rest: jax.Array | Upsampled, first: int, train: bool) -> jax.Array:
    """The block's output for an input whose channels before `first` went into begin; rest: its others."""
    channels = (rest.x if isinstance(rest, Upsampled) else rest).shape[-1]
    begun = repeat_for_seeds(begun, self.num_seeds or 1)
    return self._after_first_convolution(
      begun + self.convs[0](rest, first=first, in_channels=first + channels), train
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
    num_seeds: None, or S: complete then takes S draws of the noise at once (see there).

  Example:
    >>> net, y = UNet(width=2), jnp.zeros((3, 16, 16, 3))
    >>> z = tuple(jnp.zeros((3, side, side, 1)) for side in (16, 8, 4, 2))
    >>> restored, variables = jax.eval_shape(lambda: net.init_with_output(jax.random.key(0), y, z, False))
    >>> restored.shape
    (3, 16, 16, 3)
  """

  width: int = 24
  kernel_init: str = "torch"
  dtype: Any = jnp.float32
  axis_name: str | None = None
  use_last_bias: bool = True
  platform: str | None = None
  num_seeds: int | None = None

  def setup(self) -> None:
    """Flax's: the levels."""
    common = {"kernel_init": self.kernel_init, "dtype": self.dtype, "platform": self.platform}
    levels = [*range(LEVELS + 1), *reversed(range(LEVELS))]  # the stem, Down blocks, Up blocks
    # The stem and what it begins see one example a measurement, all that follows one a draw of the noise.
    self.double_convs = [
      DoubleConv(
        self.width * 2**level,
        axis_name=self.axis_name,
        in_blocks=self._in_blocks and level == 0,
        num_seeds=self.num_seeds if i else None,
        name=f"DoubleConv_{i}",
        **common,
      )
      for i, level in enumerate(levels)
    ]
    block = blocks.SQUARE if self._in_blocks else blocks.PIXEL
    self.last = Conv(3, kernel_size=1, use_bias=self.use_last_bias, block=block, name="Conv_0", **common)

  @property
  def _in_blocks(self):
    return formulation_of(self.platform).blocks

  def _pool(self, x):
    return max_pool(x, strided=formulation_of(self.platform).strided_pools)

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
    features = self.double_convs[0](blocks.to_blocks(x) if self._in_blocks else x, train=train)
    pooled = blocks.max_pool_of_blocks(features) if self._in_blocks else self._pool(features)
    first_down, last_up = self.double_convs[1], self.double_convs[-1]
    return first_down.begin(pooled, self.width + 1), last_up.begin(features, 3 * self.width)

  def complete(self, begun: tuple[jax.Array, jax.Array], z: tuple[jax.Array, ...], train: bool) -> jax.Array:
    """All that follows the stem, which gave begun, for one draw z of the noise -> [B,H,W,3].

    With num_seeds = S, z holds S draws, [S B,H,W,1] one after the other, and so does the result: the numbers are those
    of vmap over the draws, in one batch that an accelerator need not lay out anew.
    """
    begun_down, begun_up = begun
    first_down, *downs = self.double_convs[1 : 1 + LEVELS]
    *ups, last_up = self.double_convs[1 + LEVELS :]
    first_noise, *noise = (self._pool(level).astype(self.dtype) for level in z)
    x, skips = first_down.complete(begun_down, first_noise, self.width, train), []
    for z_level, double_conv in zip(noise, downs, strict=True):
      skips.append(x)
      x = double_conv(self._pool(x), z_level, train=train)
    for skip, double_conv in zip(reversed(skips), ups, strict=True):
      x = double_conv(skip, Upsampled(x), train=train)
    x = last_up.complete(begun_up, Upsampled(x), self.width, train)
    x = self.last(x).astype(jnp.float32)
    return blocks.from_blocks(x) if self._in_blocks else x

  @staticmethod
  def noise_shapes(image_size: int) -> tuple[tuple[int, int, int], ...]:
    """The shapes of Z1..Z4 of one example: one channel at the size of each Down block's input."""
    return tuple((image_size >> level, image_size >> level, 1) for level in range(LEVELS))


def players(
  config: ConfigDict, degradation: Degradation, *, axis_name: str | None, platform: str | None, dtype: Any
) -> Players:
  """The paper's networks for images, in the form of models/networks.py."""
  check_restores(config, degradation, "images")
  model, image_size = config.model, config.data.image_size
  if image_size < 32 or image_size % 32:
    raise UserError(f"data.image_size={image_size} cannot be pooled five times: choose a multiple of 32")
  common = {"kernel_init": model.init, "dtype": dtype, "platform": platform}
  generator = UNet(
    model.width,
    axis_name=axis_name if model.sync_batch_norm else None,
    use_last_bias=not degradation.removes_constants,
    **common,
  )
  critic = Critic(model.critic_width, model.residual_scale, **common)
  # A CPU's caches hold one seed's images, not those of ten.
  return Players(generator, critic, UNet.noise_shapes(image_size), seeds_at_once_on_cpu=1)
