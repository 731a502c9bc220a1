"""The layers that the ported networks are built of, over a flat dict of parameters.

Parameters keep the names of the PyTorch state dict that they came from; kernels are [h, w, in, out].
Arrays are float32 [B, H, W, C].
"""

import jax
import jax.numpy as jnp

Params = dict[str, jax.Array]


def conv(params: Params, name: str, x: jax.Array, *, groups: int = 1) -> jax.Array:
  """A stride-1 convolution, zero-padded to the same size, with name's bias if the checkpoint has one."""
  kernel = params[f"{name}.weight"]
  if kernel.shape[:2] == (1, 1) and groups == 1:
    x = x @ kernel[0, 0]
  elif groups == 1:
    x = _same_conv(x, kernel)
  else:
    # XLA's CPU backend runs a grouped convolution many times slower than its groups one by one.
    parts = zip(jnp.split(x, groups, axis=-1), jnp.split(kernel, groups, axis=-1), strict=True)
    x = jnp.concatenate([_same_conv(*part) for part in parts], axis=-1)
  return x + params[f"{name}.bias"] if f"{name}.bias" in params else x


def _same_conv(x, kernel):
  return jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))


def prelu(params: Params, name: str, x: jax.Array) -> jax.Array:
  """max(x, 0) + w min(x, 0), w one number or one a channel."""
  return jnp.maximum(x, 0) + params[f"{name}.weight"] * jnp.minimum(x, 0)


def batch_norm(params: Params, name: str, x: jax.Array) -> jax.Array:
  """BatchNorm by its running averages (epsilon 1e-5, PyTorch's)."""
  scale = params[f"{name}.weight"] * jax.lax.rsqrt(params[f"{name}.running_var"] + 1e-5)
  return x * scale + (params[f"{name}.bias"] - params[f"{name}.running_mean"] * scale)


def pixel_shuffle(x: jax.Array, factor: int) -> jax.Array:
  """[B,H,W,C factor^2] -> [B,H factor,W factor,C]; channel c factor^2 + i factor + j goes to offset (i, j)."""
  batch, height, width, channels = x.shape
  channels //= factor**2
  x = x.reshape(batch, height, width, channels, factor, factor).transpose(0, 1, 4, 2, 5, 3)
  return x.reshape(batch, height * factor, width * factor, channels)


def upsample_nearest(x: jax.Array, factor: int) -> jax.Array:
  """Each pixel replicated factor x factor times."""
  batch, height, width, channels = x.shape
  x = jnp.broadcast_to(x[:, :, None, :, None], (batch, height, factor, width, factor, channels))
  return x.reshape(batch, height * factor, width * factor, channels)


def upsample_bilinear(x: jax.Array, factor: int) -> jax.Array:
  """Bilinear upsampling on half-pixel centres, edges replicated (PyTorch's align_corners=False)."""
  batch, height, width, channels = x.shape
  return jax.image.resize(x, (batch, height * factor, width * factor, channels), "linear")
