"""EDSR (Lim et al. 2017), trained with L1; EDSR-PyTorch's names. Inside, pixels are 0 .. rgb_range."""

from typing import Any

import jax
import numpy as np

from prt_jax.restorers.networks.architecture import Architecture, Shapes, StateDict, conv_shapes, count, length
from prt_jax.restorers.networks.torch_layers import Params, conv, pixel_shuffle

_STAGES = {2: (2,), 3: (3,), 4: (2, 2)}  # magnification of each upsampling stage
_WIDE = 256  # channels; from here on the authors scale the residual branches, by a factor no checkpoint holds
_RESIDUAL = 0.1
_RGB_MEAN = (0.4488, 0.4371, 0.4040)  # of DIV2K; add_mean's bias is these, times rgb_range
_RGB_RANGES = (1.0, 255.0)  # what is trained with


def shapes(state: StateDict, scale: int) -> Shapes:
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


def prepare(state: StateDict) -> StateDict:
  """Adds EDSR-PyTorch's --rgb_range, read from the shifts of the mean, and its --res_scale, as in the releases."""
  res_scale = _RESIDUAL if len(state["head.0.bias"]) >= _WIDE else 1.0
  return state | {"rgb_range": np.float32(_rgb_range(state)), "res_scale": np.float32(res_scale)}


def _rgb_range(state):
  subtracted, added = (np.asarray(state[f"{name}.bias"], np.float64) for name in ("sub_mean", "add_mean"))
  if not ((added > 0).all() and np.allclose(-subtracted, added, rtol=0.1)):
    return _RGB_RANGES[-1]  # no mean that is taken off and put back: the releases' range
  # Old versions trained the shifts too, and data sets of other means have other ones: near a known range is that range.
  measured = float(np.median(added / _RGB_MEAN))
  return next((known for known in _RGB_RANGES if 1 / 2 < measured / known < 2), measured)


def note(params: Params) -> str:
  """See Architecture.note."""
  return f"rgb_range {params['rgb_range']:g}, res_scale {params['res_scale']:g}"


def apply(params: Params, y: jax.Array, z: Any, scale: int) -> jax.Array:
  """See Architecture.apply."""
  del z
  stem = x = conv(params, "head.0", conv(params, "sub_mean", params["rgb_range"] * y))
  num_blocks = count(params, r"body\.(\d+)\.", 1) - 1
  for block in range(num_blocks):
    name = f"body.{block}.body"
    x = x + params["res_scale"] * conv(params, f"{name}.2", jax.nn.relu(conv(params, f"{name}.0", x)))
  x = stem + conv(params, f"body.{num_blocks}", x)
  for stage, factor in enumerate(_STAGES[scale]):
    x = pixel_shuffle(conv(params, f"tail.0.{2 * stage}", x), factor)
  return conv(params, "add_mean", conv(params, "tail.1", x)) / params["rgb_range"]


EDSR = Architecture("EDSR", (2, 3, 4), shapes, apply, prepare, note=note)
