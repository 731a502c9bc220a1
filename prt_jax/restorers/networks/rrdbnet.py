"""RRDBNet, the generator of ESRGAN (Wang et al. 2018), x4.

Read are xinntao/ESRGAN's names (RRDB_ESRGAN_x4.pth), those of its first release (RRDB_ESRGAN_x4_old_arch.pth), and
BasicSR's (Real-ESRGAN).
"""

import re
from typing import Any

import jax
import jax.numpy as jnp

from prt_jax.restorers.networks.architecture import Architecture, Shapes, StateDict, conv_shapes, count, length
from prt_jax.restorers.networks.torch_layers import Params, conv, upsample_nearest

_RESIDUAL = 0.2  # factor of each residual branch
_OTHER_NAMES = (
  # BasicSR's.
  (r"^body\.(\d+)\.rdb(\d)\.", r"RRDB_trunk.\1.RDB\2."),
  (r"^conv_body\.", "trunk_conv."),
  (r"^conv_up(\d)\.", r"upconv\1."),
  (r"^conv_hr\.", "HRconv."),
  # Of the first release, whose network is one sequence: its numbers count activations and enlargements as well.
  (r"^model\.1\.sub\.(\d+)\.RDB(\d)\.conv(\d)\.0\.", r"RRDB_trunk.\1.RDB\2.conv\3."),
  (r"^model\.1\.sub\.\d+\.(?=(weight|bias)$)", "trunk_conv."),
  (r"^model\.0\.", "conv_first."),
  (r"^model\.3\.", "upconv1."),
  (r"^model\.6\.", "upconv2."),
  (r"^model\.8\.", "HRconv."),
  (r"^model\.10\.", "conv_last."),
)


def prepare(state: StateDict) -> StateDict:
  """Other names as ESRGAN's of today."""
  for pattern, replacement in _OTHER_NAMES:
    state = {re.sub(pattern, replacement, name): tensor for name, tensor in state.items()}
  return state


def shapes(state: StateDict, scale: int) -> Shapes:
  """See Architecture.shapes."""
  del scale
  renamed = {original: prepare({original: None}) for original in state}
  original_names = {next(iter(new)): original for original, new in renamed.items()}
  expected = esrgan_shapes(prepare(state))
  return {original_names.get(name, name): shape for name, shape in expected.items()}


def esrgan_shapes(state: StateDict) -> Shapes:
  """The tensors by their ESRGAN names."""
  width = length(state, "conv_first.weight", 0, 64)
  growth = length(state, "RRDB_trunk.0.RDB1.conv1.weight", 0, 32)
  expected = conv_shapes("conv_first", width, 3)
  for block in range(count(state, r"RRDB_trunk\.(\d+)\.", 23)):
    for dense in (1, 2, 3):
      for index in range(1, 6):
        name = f"RRDB_trunk.{block}.RDB{dense}.conv{index}"
        expected |= conv_shapes(name, growth if index < 5 else width, width + (index - 1) * growth)
  for name in ("trunk_conv", "upconv1", "upconv2", "HRconv"):
    expected |= conv_shapes(name, width, width)
  return expected | conv_shapes("conv_last", 3, width)


def features(params: Params, y: jax.Array, prefix: str = "") -> tuple[list[jax.Array], jax.Array, jax.Array, jax.Array]:
  """What lies behind the trunk: ([output of each block], low resolution, x2, x4), the last two before activation."""
  stem = x = conv(params, f"{prefix}conv_first", y)
  blocks = []
  for block in range(count(params, re.escape(prefix) + r"RRDB_trunk\.(\d+)\.", 0)):
    x = _residual_in_residual(params, f"{prefix}RRDB_trunk.{block}", x)
    blocks.append(x)
  low = stem + conv(params, f"{prefix}trunk_conv", x)
  doubled = conv(params, f"{prefix}upconv1", upsample_nearest(low, 2))
  quadrupled = conv(params, f"{prefix}upconv2", upsample_nearest(_leaky(doubled), 2))
  return blocks, low, doubled, quadrupled


def apply(params: Params, y: jax.Array, z: Any, scale: int) -> jax.Array:
  """See Architecture.apply."""
  del z, scale
  quadrupled = features(params, y)[-1]
  return conv(params, "conv_last", _leaky(conv(params, "HRconv", _leaky(quadrupled))))


def _residual_in_residual(params, name, x):
  inner = x
  for dense in (1, 2, 3):
    inner = _dense_block(params, f"{name}.RDB{dense}", inner)
  return x + _RESIDUAL * inner


def _dense_block(params, name, x):
  joined = x
  for index in range(1, 5):
    joined = jnp.concatenate([joined, _leaky(conv(params, f"{name}.conv{index}", joined))], -1)
  return x + _RESIDUAL * conv(params, f"{name}.conv5", joined)


def _leaky(x):
  return jax.nn.leaky_relu(x, 0.2)


RRDBNET = Architecture("RRDBNet (ESRGAN's generator)", (4,), shapes, apply, prepare)
