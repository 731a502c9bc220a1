"""The layers both networks are built of, in the formulations that XLA compiles well.

All are exact rewritings: the parameters and the numbers are those of a plain 3x3 convolution,
a 2x2 pool, a bilinear upsampling. Arrays are [B, H, W, C]; H and W even where a pool is named.
"""

import functools
import itertools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.ad_checkpoint import checkpoint_name

from prt_jax.models import blocks
from prt_jax.models.blocks import PIXEL, Block
from prt_jax.models.convolution import CONVOLVED, convolve_3x3, plain_convolution
from prt_jax.models.formulations import Formulation, formulation_of

# PyTorch's default: uniform in +-1/sqrt(fan_in), a standard deviation of 1/sqrt(3 fan_in).
torch_uniform = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")

KERNEL_INITS: dict[str, Callable] = {
  "torch": torch_uniform,
  "lecun_normal": nn.initializers.lecun_normal(),
  "he_normal": nn.initializers.he_normal(),
}


SMALL_PLANE = 2  # pixels; XLA's CPU convolution falls to a few GFLOP/s on planes up to this side
# Pixels; on smaller planes, with their large kernels, upsampling costs an accelerator less than folding it into these.
LARGE_PLANE = 4
# Below, XLA's CPU convolution is 2 (25 channels) to 9 times (3) slower where they are no multiple of 4.
FEW_CHANNELS = 32


def convolve(x: jax.Array, kernel: jax.Array, *, as_matmul: bool = False) -> jax.Array:
  """Cross-correlation with zero padding to the same size: x [B,H,W,I], kernel [h,w,I,O] -> [B,H,W,O].

  as_matmul: the same sums as one matrix product of gathered patches, several times faster than
  a convolution on a small plane and only there: elsewhere the patches cost more than the product.
  """
  kernel_height, kernel_width, _, out_channels = kernel.shape
  if kernel_height == kernel_width == 1:
    return x @ kernel[0, 0]
  if not as_matmul:
    return plain_convolution(x, kernel)
  batch, height, width, _ = x.shape
  rows, columns = kernel_height // 2, kernel_width // 2
  padded = jnp.pad(x, ((0, 0), (rows, rows), (columns, columns), (0, 0)))
  taps = itertools.product(range(kernel_height), range(kernel_width))
  patches = jnp.concatenate([padded[:, i : i + height, j : j + width] for i, j in taps], -1)
  products = patches.reshape(-1, kernel[..., 0].size) @ kernel.reshape(-1, out_channels)
  return products.reshape(batch, height, width, out_channels)


def fill_channels(x: jax.Array, kernel: jax.Array) -> tuple[jax.Array, jax.Array]:
  """x [B,H,W,I] and kernel [h,w,I,O] with zeros up to the next multiple of 4 of I: the convolution is the same."""
  missing = -x.shape[-1] % 4
  none = (0, 0)
  return jnp.pad(x, (none, none, none, (0, missing))), jnp.pad(kernel, (none, none, (0, missing), none))


class Upsampled(NamedTuple):
  """Channels of a convolution's input that are x [B,H/2,W/2,C] upsampled twofold."""

  x: jax.Array


class Conv(nn.Module):
  """A stride-1 convolution, zero-padded to the same size.

  Attributes:
    features: output channels.
    kernel_size: side of the square kernel, 1 or 3.
    use_bias: False where a BatchNorm follows, which would cancel it.
    kernel_init: initialiser of the kernel [h, w, I, O]; the bias is uniform in +-1/sqrt(fan_in)
      with the PyTorch initialisation and zero with the others.
    dtype: compute type; parameters stay float32.
    platform: where it will run ('cpu', 'gpu', 'tpu'); None = JAX's default backend.
    block, to: the blocks (blocks.py) that input and output are in, but for what is Upsampled; to None: the same.
    pooled: whether a 2x2 average pool follows, as part of the convolution.
  """

  features: int
  kernel_size: int = 3
  use_bias: bool = True
  kernel_init: str = "torch"
  dtype: Any = jnp.float32
  platform: str | None = None
  block: Block = PIXEL
  to: Block | None = None
  pooled: bool = False

  @nn.compact
  def __call__(
    self, *parts: jax.Array | Upsampled, first: int = 0, in_channels: int | None = None
  ) -> jax.Array:
    """The convolution of the concatenation of parts, each [B,H,W,C] or Upsampled -> [B,H,W,features].

    The parts may be the input's channels from `first` on, of in_channels in all (None: they are all).
    The convolutions of an input's parts add up to its own; the bias comes with the part whose first channel is 0.
    """
    channels = [self._channels(part) for part in parts]
    in_channels = in_channels or sum(channels)
    shape = (self.kernel_size, self.kernel_size, in_channels, self.features)
    kernel = self.param("kernel", KERNEL_INITS[self.kernel_init], shape, jnp.float32)
    formulation = formulation_of(self.platform)
    kernel = kernel[:, :, first : first + sum(channels)]
    if formulation.sums:
      ends = list(itertools.accumulate(channels, initial=0))
      kernels = [kernel[:, :, start:end] for start, end in itertools.pairwise(ends)]
      x = sum(self._convolve(formulation, *pair) for pair in zip(parts, kernels, strict=True))
    else:
      whole = [upsample_bilinear(part.x) if isinstance(part, Upsampled) else part for part in parts]
      x = self._convolve(formulation, jnp.concatenate(whole, -1) if len(whole) > 1 else whole[0], kernel)
    x = checkpoint_name(x, CONVOLVED)
    if self.use_bias and first == 0:
      fan_in = self.kernel_size**2 * in_channels
      bias = self.param("bias", bias_init(self.kernel_init, fan_in), (self.features,), jnp.float32)
      x = x + jnp.tile(bias, x.shape[-1] // self.features).astype(self.dtype)
    return x

  def _channels(self, part):
    if isinstance(part, Upsampled):
      return part.x.shape[-1]
    return part.shape[-1] // math.prod(self.block)

  def _convolve(self, formulation: Formulation, part, kernel):
    if isinstance(part, Upsampled):
      x = part.x.astype(self.dtype)
      if formulation.blocks and (self.block != PIXEL or min(x.shape[1:3]) >= LARGE_PLANE):
        x = blocks.convolve_upsampled(x, kernel)
        return x if self.block != PIXEL else blocks.from_blocks(x)
      part = upsample_bilinear(x)
    x = part.astype(self.dtype)
    if self.block != PIXEL or self.to not in (None, PIXEL) or self.pooled:
      return blocks.convolve_blocks(x, kernel, self.block, self.to, pooled=self.pooled)
    kernel = kernel.astype(self.dtype)
    as_matmul = formulation.tuned_convolutions and max(x.shape[1:3]) <= SMALL_PLANE
    if formulation.tuned_convolutions and not as_matmul and self.kernel_size == 3:
      return convolve_3x3(*(fill_channels(x, kernel) if x.shape[-1] < FEW_CHANNELS else (x, kernel)))
    return convolve(x, kernel, as_matmul=as_matmul)


def bias_init(kernel_init: str, fan_in: int) -> Callable:
  """The bias initialiser that belongs to a kernel initialiser: PyTorch draws biases too, the others start at 0."""
  if kernel_init != "torch":
    return nn.initializers.zeros_init()
  bound = fan_in**-0.5
  return lambda key, shape, dtype: jax.random.uniform(key, shape, dtype, -bound, bound)


def max_pool(x: jax.Array, *, strided: bool = False) -> jax.Array:
  """2x2 max-pool, the maximum of two rows, then of two columns: a tie in either shares its gradient evenly.

  (Where reduce_window picks the first.) As reshaped slices each operand is contiguous memory: forward and
  backward, this is several times faster on a CPU than one maximum over both axes. strided: as strided slices, which
  a TPU's layout has at hand.
  """
  batch, height, width, channels = x.shape
  if strided:
    left, right = (
      jnp.maximum(*(jax.lax.slice(x, (0, row, column, 0), x.shape, (1, 2, 2, 1)) for row in range(2)))
      for column in range(2)
    )
    return jnp.maximum(left, right)
  x = x.reshape(batch, height // 2, 2, width, channels)
  x = jnp.maximum(x[:, :, 0], x[:, :, 1]).reshape(batch, height // 2, width // 2, 2 * channels)
  return jnp.maximum(x[..., :channels], x[..., channels:])


def average_pool(x: jax.Array, *, strided: bool = False) -> jax.Array:
  """2x2 average pool; strided: as in max_pool."""
  if strided:
    corners = (jax.lax.slice(x, (0, i, j, 0), x.shape, (1, 2, 2, 1)) for i in range(2) for j in range(2))
    return functools.reduce(jnp.add, corners) * 0.25
  batch, height, width, channels = x.shape
  return x.reshape(batch, height // 2, 2, width // 2, 2, channels).mean((2, 4))


def upsample_bilinear(x: jax.Array) -> jax.Array:
  """2x bilinear upsampling on half-pixel centres, edges replicated (PyTorch's align_corners=False)."""
  for axis in (1, 2):
    length = x.shape[axis]
    first, last = (jax.lax.slice_in_dim(x, i, i + 1, axis=axis) for i in (0, length - 1))
    before = jnp.concatenate([first, jax.lax.slice_in_dim(x, 0, length - 1, axis=axis)], axis)
    after = jnp.concatenate([jax.lax.slice_in_dim(x, 1, length, axis=axis), last], axis)
    pairs = jnp.stack([0.25 * before + 0.75 * x, 0.75 * x + 0.25 * after], axis + 1)
    x = pairs.reshape(*x.shape[:axis], 2 * length, *x.shape[axis + 1 :])
  return x


def repeat_for_seeds(x: jax.Array, num_seeds: int) -> jax.Array:
  """[B, ...] -> [S B, ...], the layout in which all draws of the noise are one batch.

  Not jnp.tile, whose broadcast a TPU lays out anew, there and back: it took 10 of 60 million cycles of a gradient.
  """
  return jnp.concatenate([x] * num_seeds) if num_seeds > 1 else x


class SeedBatchNorm(nn.Module):
  """flax's BatchNorm, in which each draw of the noise has its own batch though all are in one: [S B,H,W,C].

  Statistics are summed over each example's pixels, and only those small sums are regrouped by draw: the array keeps
  the layout that the convolutions give it. Running averages get a leading axis S, as under vmap.

  Attributes:
    num_seeds: S; None: one draw, without an axis of its own.
    in_blocks: whether x is in blocks (blocks.py), four pixels' channels side by side.
    momentum, epsilon, dtype, axis_name: as flax's.
  """

  num_seeds: int | None
  in_blocks: bool
  momentum: float
  epsilon: float
  dtype: jnp.dtype
  axis_name: str | None

  @nn.compact
  def __call__(self, x: jax.Array, *, use_running_average: bool) -> jax.Array:
    """[S B,H,W,C] -> the same in dtype; C counts the channels of a block where in_blocks."""
    pixels = 4 if self.in_blocks else 1
    features = x.shape[-1] // pixels
    running_mean = self.variable("batch_stats", "mean", jnp.zeros, (features,), jnp.float32)
    running_var = self.variable("batch_stats", "var", jnp.ones, (features,), jnp.float32)
    scale = self.param("scale", nn.initializers.ones_init(), (features,), jnp.float32)
    bias = self.param("bias", nn.initializers.zeros_init(), (features,), jnp.float32)
    x = x.astype(jnp.float32)
    if use_running_average:
      mean, var = running_mean.value, running_var.value
    else:
      groups = self.num_seeds or 1

      def over_batch(x):  # [S B,H,W,C] -> [S,C]
        sums = jnp.mean(x, (1, 2)).reshape(groups, -1, features)
        return jnp.mean(sums, 1)

      moments = jnp.stack([over_batch(x), over_batch(x * x)])
      if self.axis_name is not None and not self.is_initializing():
        moments = jax.lax.pmean(moments, self.axis_name)
      mean, var = moments[0], jnp.maximum(moments[1] - moments[0] ** 2, 0)
      if self.num_seeds is None:
        mean, var = mean[0], var[0]
      if not self.is_initializing():
        for running, value in ((running_mean, mean), (running_var, var)):
          running.value = self.momentum * running.value + (1 - self.momentum) * value
    factor = jax.lax.rsqrt(var + self.epsilon) * scale
    return (x * self._spread(factor, x) + self._spread(bias - mean * factor, x)).astype(self.dtype)

  def _spread(self, values, x):
    """[C], or [S,C], to what x [S B,H,W,C] can be multiplied by."""
    values = jnp.tile(values, 4 if self.in_blocks else 1)
    if values.ndim == 1:
      return values
    return jnp.repeat(values, len(x) // len(values), 0)[:, None, None]
