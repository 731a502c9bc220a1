"""PAN, the pixel attention network (Zhao et al. 2020), trained with L1; zhaohengyuan1/PAN's names."""

from typing import Any

import jax
import jax.numpy as jnp

from prt_jax.restorers.networks.architecture import Architecture, Shapes, StateDict, conv_shapes, count, length
from prt_jax.restorers.networks.torch_layers import Params, conv, upsample_bilinear, upsample_nearest

_SLOPE = 0.2  # of the leaky ReLUs
_STAGES = {2: (2,), 3: (3,), 4: (2, 2)}  # magnification of each upsampling stage


def shapes(state: StateDict, scale: int) -> Shapes:
  """See Architecture.shapes."""
  width, up_width = length(state, "conv_first.weight", 0, 40), length(state, "upconv1.weight", 0, 24)
  half = width // 2
  expected = conv_shapes("conv_first", width, 3)
  for block in range(count(state, r"SCPA_trunk\.(\d+)\.", 16)):
    name = f"SCPA_trunk.{block}"
    expected |= conv_shapes(f"{name}.conv1_a", half, width, 1, bias=False)
    expected |= conv_shapes(f"{name}.conv1_b", half, width, 1, bias=False)
    expected |= conv_shapes(f"{name}.k1.0", half, half, bias=False)
    expected |= conv_shapes(f"{name}.PAConv.k2", half, half, 1)
    expected |= conv_shapes(f"{name}.PAConv.k3", half, half, bias=False)
    expected |= conv_shapes(f"{name}.PAConv.k4", half, half, bias=False)
    expected |= conv_shapes(f"{name}.conv3", width, 2 * half, 1, bias=False)
  expected |= conv_shapes("trunk_conv", width, width)
  for stage in range(1, len(_STAGES[scale]) + 1):
    expected |= conv_shapes(f"upconv{stage}", up_width, width if stage == 1 else up_width)
    expected |= conv_shapes(f"att{stage}.conv", up_width, up_width, 1)
    expected |= conv_shapes(f"HRconv{stage}", up_width, up_width)
  return expected | conv_shapes("conv_last", 3, up_width)


def apply(params: Params, y: jax.Array, z: Any, scale: int) -> jax.Array:
  """See Architecture.apply."""
  del z
  stem = x = conv(params, "conv_first", y)
  for block in range(count(params, r"SCPA_trunk\.(\d+)\.", 0)):
    x = _self_calibrated_block(params, f"SCPA_trunk.{block}", x)
  x = stem + conv(params, "trunk_conv", x)
  for stage, factor in enumerate(_STAGES[scale], start=1):
    x = conv(params, f"upconv{stage}", upsample_nearest(x, factor))
    x = _leaky(x * jax.nn.sigmoid(conv(params, f"att{stage}.conv", x)))
    x = _leaky(conv(params, f"HRconv{stage}", x))
  return conv(params, "conv_last", x) + upsample_bilinear(y, scale)


def _self_calibrated_block(params, name, x):
  """Two half-width branches, one of them with pixel attention."""
  plain, attended = (_leaky(conv(params, f"{name}.conv1_{branch}", x)) for branch in "ab")
  plain = _leaky(conv(params, f"{name}.k1.0", plain))
  weights = jax.nn.sigmoid(conv(params, f"{name}.PAConv.k2", attended))
  attended = _leaky(conv(params, f"{name}.PAConv.k4", conv(params, f"{name}.PAConv.k3", attended) * weights))
  return conv(params, f"{name}.conv3", jnp.concatenate([plain, attended], -1)) + x


def _leaky(x):
  return jax.nn.leaky_relu(x, _SLOPE)


PAN = Architecture("PAN", (2, 3, 4), shapes, apply)
