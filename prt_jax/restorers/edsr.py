"""EDSR (Lim et al. 2017), trained with L1; EDSR-PyTorch's names. Inside, pixels are 0 .. 255."""

import jax

from prt_jax.restorers.architecture import Architecture, conv_shapes, count, length
from prt_jax.restorers.layers import conv, pixel_shuffle

_STAGES = {2: (2,), 3: (3,), 4: (2, 2)}  # magnification of each upsampling stage
_WIDE = 256  # channels; from here on the authors scale the residual branches, by a factor no checkpoint holds
_RESIDUAL = 0.1


def shapes(state, scale):
  """See Architecture.shapes."""
  width = length(state, "head.0.weight", 0, _WIDE)
  num_blocks = count(state, r"body\.(\d+)\.", 33) - 1
  expected = conv_shapes("sub_mean", 3, 3, 1) | conv_shapes("add_mean", 3, 3, 1) | conv_shapes("head.0", width, 3)
  for block in range(num_blocks):
    for index in (0, 2):
      expected |= conv_shapes(f"body.{block}.body.{index}", width, width)
  expected |= conv_shapes(f"body.{num_blocks}", width, width)
  for stage, factor in enumerate(_STAGES[scale]):
    expected |= conv_shapes(f"tail.0.{2 * stage}", width * factor**2, width)
  return expected | conv_shapes("tail.1", 3, width)


def apply(params, y, z, scale):
  """See Architecture.apply."""
  del z
  stem = x = conv(params, "head.0", conv(params, "sub_mean", 255 * y))
  residual = _RESIDUAL if x.shape[-1] >= _WIDE else 1.0
  num_blocks = count(params, r"body\.(\d+)\.", 1) - 1
  for block in range(num_blocks):
    name = f"body.{block}.body"
    x = x + residual * conv(params, f"{name}.2", jax.nn.relu(conv(params, f"{name}.0", x)))
  x = stem + conv(params, f"body.{num_blocks}", x)
  for stage, factor in enumerate(_STAGES[scale]):
    x = pixel_shuffle(conv(params, f"tail.0.{2 * stage}", x), factor)
  return conv(params, "add_mean", conv(params, "tail.1", x)) / 255


EDSR = Architecture("EDSR", (2, 3, 4), shapes, apply)
