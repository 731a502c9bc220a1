"""The layers both networks are built of, in the formulations that XLA compiles well.

All are exact rewritings: the parameters and the numbers are those of a plain 3x3 convolution,
a 2x2 pool, a bilinear upsampling. Arrays are [B, H, W, C]; H and W even where a pool is named.
"""

import itertools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.ad_checkpoint import checkpoint_name

from prt_jax.models.convolution import CONVOLVED, convolve_3x3, plain_convolution

# PyTorch's default: uniform in +-1/sqrt(fan_in), a standard deviation of 1/sqrt(3 fan_in).
torch_uniform = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")

KERNEL_INITS: dict[str, Callable] = {
  "torch": torch_uniform,
  "lecun_normal": nn.initializers.lecun_normal(),
  "he_normal": nn.initializers.he_normal(),
}


SMALL_PLANE = 2  # pixels; XLA's CPU convolution falls to a few GFLOP/s on planes up to this side
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


class Conv(nn.Module):
  """A stride-1 convolution, zero-padded to the same size.

  Attributes:
    features: output channels.
    kernel_size: side of the square kernel, odd.
    use_bias: False where a BatchNorm follows, which would cancel it.
    kernel_init: initialiser of the kernel [h, w, I, O]; the bias is uniform in +-1/sqrt(fan_in)
      with the PyTorch initialisation and zero with the others.
    dtype: compute type; parameters stay float32.
    platform: where it will run ('cpu', 'gpu', 'tpu'); None = JAX's default backend.
  """

  features: int
  kernel_size: int = 3
  use_bias: bool = True
  kernel_init: str = "torch"
  dtype: jnp.dtype = jnp.float32
  platform: str | None = None

  @nn.compact
  def __call__(self, x: jax.Array, *, first: int = 0, in_channels: int | None = None) -> jax.Array:
    """x [B,H,W,I] -> [B,H,W,features].

    A concatenation need not be made: x may be its channels from `first` on, of in_channels in all (None: x is all).
    The convolutions of its parts add up to its own; the bias comes with the part whose first channel is 0.
    """
    in_channels = in_channels or x.shape[-1]
    shape = (self.kernel_size, self.kernel_size, in_channels, self.features)
    kernel = self.param("kernel", KERNEL_INITS[self.kernel_init], shape, jnp.float32)
    on_cpu = (self.platform or jax.default_backend()) == "cpu"
    as_matmul = on_cpu and max(x.shape[1:3]) <= SMALL_PLANE
    kernel = kernel[:, :, first : first + x.shape[-1]].astype(self.dtype)
    x = x.astype(self.dtype)
    if on_cpu and not as_matmul and self.kernel_size == 3:
      x = convolve_3x3(*(fill_channels(x, kernel) if x.shape[-1] < FEW_CHANNELS else (x, kernel)))
    else:
      x = convolve(x, kernel, as_matmul=as_matmul)
    x = checkpoint_name(x, CONVOLVED)
    if self.use_bias and first == 0:
      fan_in = self.kernel_size**2 * in_channels
      x = x + self.param("bias", bias_init(self.kernel_init, fan_in), (self.features,), jnp.float32).astype(self.dtype)
    return x


def bias_init(kernel_init: str, fan_in: int) -> Callable:
  """The bias initialiser that belongs to a kernel initialiser: PyTorch draws biases too, the others start at 0."""
  if kernel_init != "torch":
    return nn.initializers.zeros_init()
  bound = fan_in**-0.5
  return lambda key, shape, dtype: jax.random.uniform(key, shape, dtype, -bound, bound)


def max_pool(x: jax.Array) -> jax.Array:
  """2x2 max-pool, the maximum of two rows, then of two columns: a tie in either shares its gradient evenly.

  (Where reduce_window picks the first.) Each operand is a slice of contiguous memory: forward and
  backward, this is several times faster on a CPU than one maximum over both axes.
  """
  batch, height, width, channels = x.shape
  x = x.reshape(batch, height // 2, 2, width, channels)
  x = jnp.maximum(x[:, :, 0], x[:, :, 1]).reshape(batch, height // 2, width // 2, 2 * channels)
  return jnp.maximum(x[..., :channels], x[..., channels:])


def average_pool(x: jax.Array) -> jax.Array:
  """2x2 average pool."""
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
