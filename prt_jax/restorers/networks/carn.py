"""CARN-M, the mobile cascading residual network (Ahn et al. 2018), multi-scale; nmhkahn/CARN-pytorch's names.

One checkpoint holds the upsamplers of x2, x3 and x4.
"""

from typing import Any

import jax
import jax.numpy as jnp

from prt_jax.restorers.networks.architecture import Architecture, Shapes, StateDict, conv_shapes, length
from prt_jax.restorers.networks.torch_layers import Params, conv, pixel_shuffle

_BRANCHES = {2: (("up2.body.0", 2),), 3: (("up3.body.0", 3),), 4: (("up4.body.0", 2), ("up4.body.3", 2))}


def shapes(state: StateDict, scale: int) -> Shapes:
  """See Architecture.shapes."""
  del scale
  width = length(state, "entry.weight", 0, 64)
  per_group = length(state, "b1.b1.body.0.weight", 1, 16)  # input channels of a group; 4 groups as published
  expected = conv_shapes("sub_mean.shifter", 3, 3, 1) | conv_shapes("add_mean.shifter", 3, 3, 1)
  expected |= conv_shapes("entry", width, 3)
  for block in ("b1", "b2", "b3"):
    expected |= conv_shapes(f"{block}.b1.body.0", width, per_group)
    expected |= conv_shapes(f"{block}.b1.body.2", width, per_group)
    expected |= conv_shapes(f"{block}.b1.body.4", width, width, 1) | _fusion_shapes(f"{block}.", width)
  expected |= _fusion_shapes("", width)
  for branch in _BRANCHES.values():
    for name, factor in branch:
      expected |= conv_shapes(f"upsample.{name}", width * factor**2, per_group)
  return expected | conv_shapes("exit", 3, width)


def _fusion_shapes(prefix, width):
  shapes = [conv_shapes(f"{prefix}c{index}.body.0", width, (index + 1) * width, 1) for index in (1, 2, 3)]
  return shapes[0] | shapes[1] | shapes[2]


def apply(params: Params, y: jax.Array, z: Any, scale: int) -> jax.Array:
  """See Architecture.apply."""
  del z
  x = conv(params, "entry", conv(params, "sub_mean.shifter", y))
  groups = x.shape[-1] // params["b1.b1.body.0.weight"].shape[2]

  def block(name):
    # The three residual units of a block share their weights (the "M").
    return lambda x: _cascade(params, f"{name}.", x, [lambda x: _residual(params, f"{name}.b1.body", x, groups)] * 3)

  x = _cascade(params, "", x, [block("b1"), block("b2"), block("b3")])
  for name, factor in _BRANCHES[scale]:
    x = pixel_shuffle(jax.nn.relu(conv(params, f"upsample.{name}", x, groups=groups)), factor)
  return conv(params, "add_mean.shifter", conv(params, "exit", x))


def _cascade(params, prefix, x, units):
  """Each unit's output is joined to all before it and fused by a 1x1 convolution."""
  joined = x
  for index, unit in enumerate(units, start=1):
    joined = jnp.concatenate([joined, unit(x)], -1)
    x = jax.nn.relu(conv(params, f"{prefix}c{index}.body.0", joined))
  return x


def _residual(params, name, x, groups):
  inner = jax.nn.relu(conv(params, f"{name}.0", x, groups=groups))
  inner = jax.nn.relu(conv(params, f"{name}.2", inner, groups=groups))
  return jax.nn.relu(conv(params, f"{name}.4", inner) + x)


CARN_M = Architecture("CARN-M", (2, 3, 4), shapes, apply)
