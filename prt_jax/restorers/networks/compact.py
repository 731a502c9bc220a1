"""The compact network of Real-ESRGAN (Wang et al. 2021; SRVGGNetCompact in BasicSR), GAN-trained.

Plain convolutions at low resolution, then pixel shuffle on top of the replicated input;
realesr-animevideov3 and realesr-general-x4v3 are such checkpoints.
"""

from typing import Any

import jax

from prt_jax.restorers.networks.architecture import Architecture, Shapes, StateDict, conv_shapes, count, length
from prt_jax.restorers.networks.torch_layers import Params, conv, pixel_shuffle, prelu, upsample_nearest


def shapes(state: StateDict, scale: int) -> Shapes:
  """See Architecture.shapes."""
  width = length(state, "body.0.weight", 0, 64)
  last = count(state, r"body\.(\d+)\.", 35) - 1  # even: a PReLU between each two convolutions
  expected = conv_shapes("body.0", width, 3) | {"body.1.weight": (width,)}
  for index in range(2, last, 2):
    expected |= conv_shapes(f"body.{index}", width, width) | {f"body.{index + 1}.weight": (width,)}
  return expected | conv_shapes(f"body.{last}", 3 * scale**2, width)


def apply(params: Params, y: jax.Array, z: Any, scale: int) -> jax.Array:
  """See Architecture.apply."""
  del z
  last = count(params, r"body\.(\d+)\.", 1) - 1
  x = y
  for index in range(0, last, 2):
    x = prelu(params, f"body.{index + 1}", conv(params, f"body.{index}", x))
  return pixel_shuffle(conv(params, f"body.{last}", x), scale) + upsample_nearest(y, scale)


COMPACT = Architecture("Real-ESRGAN compact", (2, 3, 4), shapes, apply)
