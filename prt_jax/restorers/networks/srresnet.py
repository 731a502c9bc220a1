"""SRResNet, the generator of SRGAN (Ledig et al. 2017), as leftthomas/SRGAN trains and names it.

Deviations of that repository from the paper: 5 residual blocks instead of 16, one slope a PReLU, the output
is (tanh + 1) / 2 and so in [0, 1]. It crops its x4 inputs in training and takes any size here.
"""

from typing import Any

import jax
import jax.numpy as jnp

from prt_jax.restorers.networks.architecture import Architecture, Shapes, StateDict, conv_shapes, count, length
from prt_jax.restorers.networks.torch_layers import Params, batch_norm, conv, pixel_shuffle, prelu

_STAGES = {2: 1, 4: 2, 8: 3}  # of doubling, for each scale


def _last_blocks(num_residuals):
  """The names of the blocks behind the residual ones."""
  return f"block{num_residuals + 2}", f"block{num_residuals + 3}"


def _num_residuals(names):
  # The blocks are numbered from 1: the stem, the residual blocks (which alone have a conv1), two more.
  return count(dict.fromkeys(names), r"block(\d+)\.conv1\.", 7) - 2


def shapes(state: StateDict, scale: int) -> Shapes:
  """See Architecture.shapes."""
  width = length(state, "block1.0.weight", 0, 64)
  num_residuals = _num_residuals(state)
  penultimate, last = _last_blocks(num_residuals)
  expected = conv_shapes("block1.0", width, 3, 9) | {"block1.1.weight": (1,)}
  for block in range(2, num_residuals + 2):
    for index in (1, 2):
      expected |= conv_shapes(f"block{block}.conv{index}", width, width)
      expected |= {
        f"block{block}.bn{index}.{name}": (width,) for name in ("weight", "bias", "running_mean", "running_var")
      }
    expected[f"block{block}.prelu.weight"] = (1,)
  expected |= conv_shapes(f"{penultimate}.0", width, width) | {f"{penultimate}.1.weight": (1,)}
  for stage in range(_STAGES[scale]):
    expected |= conv_shapes(f"{last}.{stage}.conv", 4 * width, width) | {f"{last}.{stage}.prelu.weight": (1,)}
  return expected | conv_shapes(f"{last}.{_STAGES[scale]}", 3, width, 9)


def apply(params: Params, y: jax.Array, z: Any, scale: int) -> jax.Array:
  """See Architecture.apply."""
  del z
  num_residuals = _num_residuals(params)
  penultimate, last = _last_blocks(num_residuals)
  stem = x = prelu(params, "block1.1", conv(params, "block1.0", y))
  for block in range(2, num_residuals + 2):
    name = f"block{block}"
    inner = prelu(params, f"{name}.prelu", batch_norm(params, f"{name}.bn1", conv(params, f"{name}.conv1", x)))
    x = x + batch_norm(params, f"{name}.bn2", conv(params, f"{name}.conv2", inner))
  x = stem + prelu(params, f"{penultimate}.1", conv(params, f"{penultimate}.0", x))
  for stage in range(_STAGES[scale]):
    x = prelu(params, f"{last}.{stage}.prelu", pixel_shuffle(conv(params, f"{last}.{stage}.conv", x), 2))
  return (jnp.tanh(conv(params, f"{last}.{_STAGES[scale]}", x)) + 1) / 2


SRRESNET = Architecture("SRResNet (SRGAN's generator)", (2, 4, 8), shapes, apply)
