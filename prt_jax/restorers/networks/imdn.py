"""IMDN, the information multi-distillation network (Hui et al. 2019), trained with L1; Zheng222/IMDN's names."""

from typing import Any

import jax
import jax.numpy as jnp

from prt_jax.restorers.networks.architecture import Architecture, Shapes, StateDict, conv_shapes, count, length
from prt_jax.restorers.networks.torch_layers import Params, conv, pixel_shuffle

_SLOPE = 0.05  # of the leaky ReLUs
_REDUCTION = 16  # of the channel attention


def shapes(state: StateDict, scale: int) -> Shapes:
  """See Architecture.shapes."""
  width = length(state, "fea_conv.weight", 0, 64)
  attention = length(state, "IMDB1.cca.conv_du.0.weight", 0, width // _REDUCTION)
  num_blocks = count(state, r"IMDB(\d+)\.", 7) - 1
  distilled = width // 4
  expected = conv_shapes("fea_conv", width, 3)
  for block in range(1, num_blocks + 1):
    name = f"IMDB{block}"
    expected |= conv_shapes(f"{name}.c1", width, width)
    expected |= conv_shapes(f"{name}.c2", width, width - distilled)
    expected |= conv_shapes(f"{name}.c3", width, width - distilled)
    expected |= conv_shapes(f"{name}.c4", distilled, width - distilled)
    expected |= conv_shapes(f"{name}.c5", width, 4 * distilled, 1)
    expected |= conv_shapes(f"{name}.cca.conv_du.0", attention, 4 * distilled, 1)
    expected |= conv_shapes(f"{name}.cca.conv_du.2", 4 * distilled, attention, 1)
  expected |= conv_shapes("c.0", width, width * num_blocks, 1) | conv_shapes("LR_conv", width, width)
  return expected | conv_shapes("upsampler.0", 3 * scale**2, width)


def apply(params: Params, y: jax.Array, z: Any, scale: int) -> jax.Array:
  """See Architecture.apply."""
  del z
  stem = x = conv(params, "fea_conv", y)
  outputs = []
  for block in range(1, count(params, r"IMDB(\d+)\.", 1)):
    x = _distillation_block(params, f"IMDB{block}", x)
    outputs.append(x)
  x = jax.nn.leaky_relu(conv(params, "c.0", jnp.concatenate(outputs, -1)), _SLOPE)
  return pixel_shuffle(conv(params, "upsampler.0", conv(params, "LR_conv", x) + stem), scale)


def _distillation_block(params, name, x):
  """Three times a quarter of the channels is kept and the rest refined; all quarters are fused in the end."""
  kept, refined = [], x
  for index in (1, 2, 3):
    refined = jax.nn.leaky_relu(conv(params, f"{name}.c{index}", refined), _SLOPE)
    distilled, refined = jnp.split(refined, [x.shape[-1] // 4], axis=-1)
    kept.append(distilled)
  kept.append(conv(params, f"{name}.c4", refined))
  return conv(params, f"{name}.c5", _contrast_attention(params, f"{name}.cca.conv_du", jnp.concatenate(kept, -1))) + x


def _contrast_attention(params, name, x):
  """Channels weighted by a function of their mean plus standard deviation over the image."""
  mean = x.mean((1, 2), keepdims=True)
  variance = jnp.mean((x - mean) ** 2, (1, 2), keepdims=True)
  # A constant channel has std 0, where the root's slope would be infinite; it stays 0, with slope 0.
  std = jnp.where(variance > 0, jnp.sqrt(jnp.where(variance > 0, variance, 1)), 0)
  weights = conv(params, f"{name}.2", jax.nn.relu(conv(params, f"{name}.0", mean + std)))
  return x * jax.nn.sigmoid(weights)


IMDN = Architecture("IMDN", (2, 3, 4), shapes, apply)
