"""SRFlow x4 (Lugmayr et al. 2020): a conditional normalising flow, so a stochastic restorer; andreas128/SRFlow's names.

An RRDB encoder reads y; the flow, run backwards, turns Z ~ N(0, 0.9^2) into an image. Three levels of squeeze,
two steps without coupling and 16 coupled steps; half the first level's channels are split off.
Only the inverse direction is ported: sampling needs no likelihood.
"""

import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from prt_jax.restorers.networks import rrdbnet
from prt_jax.restorers.networks.architecture import Architecture, Shapes, StateDict, conv_shapes, count, length
from prt_jax.restorers.networks.torch_layers import Params, conv, pixel_shuffle, upsample_nearest

_FLOW = "flowUpsamplerNet.layers"
_NUM_PLAIN = 2  # steps without coupling at the start of a level
_COUPLED = 16  # published number of coupled steps a level
_STACKED = (1, 8, 15, 22)  # the encoder's blocks whose outputs condition the flow besides the last
_SCALE_EPS = 1e-4  # added to each scale, so that the flow stays invertible


def _stacked_blocks(num_blocks):
  """The conditioning blocks; a shallower encoder than the published one gives its last four."""
  return _STACKED if num_blocks > max(_STACKED) else tuple(range(num_blocks - len(_STACKED), num_blocks))


def _levels(names):
  """[(index of the level's first step, its coupled steps, the index of its split or None)], outermost level first."""
  depth = count(dict.fromkeys(names), re.escape(_FLOW) + r"\.(\d+)\.", 3 * (1 + _NUM_PLAIN + _COUPLED) + 1)
  coupled = (depth - 1) // 3 - 1 - _NUM_PLAIN
  per_level = 1 + _NUM_PLAIN + coupled
  return [
    (1, coupled, per_level),  # layer 0 is the squeeze, which has no parameters; the split is the level's last
    (per_level + 2, coupled, None),
    (2 * per_level + 2, coupled, None),
  ]


def shapes(state: StateDict, scale: int) -> Shapes:
  """See Architecture.shapes."""
  del scale
  encoder = {name.removeprefix("RRDB."): tensor for name, tensor in state.items() if name.startswith("RRDB.")}
  width = length(state, "RRDB.conv_first.weight", 0, 64)
  condition = (1 + len(_STACKED)) * width
  hidden = length(state, f"{_FLOW}.3.affine.fAffine.0.weight", 0, 64)
  expected = {f"RRDB.{name}": shape for name, shape in rrdbnet.esrgan_shapes(encoder).items()}
  channels = 3
  for first, coupled, split in _levels(state):
    channels *= 4
    for layer in range(first, first + _NUM_PLAIN + coupled):
      name = f"{_FLOW}.{layer}"
      expected |= _norm_shapes(f"{name}.actnorm", channels) | {f"{name}.invconv.weight": (channels, channels)}
      if layer >= first + _NUM_PLAIN:
        half = channels // 2
        expected |= _net_shapes(f"{name}.affine.fAffine", half + condition, hidden, 2 * (channels - half))
        expected |= _net_shapes(f"{name}.affine.fFeatures", condition, hidden, 2 * channels)
    if split is not None:
      channels //= 2
      expected |= conv_shapes(f"{_FLOW}.{split}.conv", 2 * channels, channels)
      expected[f"{_FLOW}.{split}.conv.logs"] = (2 * channels, 1, 1)
  # A convolution that the authors' code makes and never applies.
  unused = length(state, "flowUpsamplerNet.f.0.weight", 0, 96)
  return expected | conv_shapes("flowUpsamplerNet.f.0", unused, condition)


def _norm_shapes(name, channels):
  return {f"{name}.bias": (1, channels, 1, 1), f"{name}.logs": (1, channels, 1, 1)}


def _net_shapes(name, in_channels, hidden, out_channels):
  return (
    conv_shapes(f"{name}.0", hidden, in_channels, bias=False)
    | _norm_shapes(f"{name}.0.actnorm", hidden)
    | conv_shapes(f"{name}.2", hidden, hidden, 1, bias=False)
    | _norm_shapes(f"{name}.2.actnorm", hidden)
    | conv_shapes(f"{name}.4", out_channels, hidden)
    | {f"{name}.4.logs": (out_channels, 1, 1)}
  )


def prepare(state: StateDict) -> StateDict:
  """Per-channel tensors as vectors; the 1x1 convolutions inverted in float64, since the flow runs backwards."""
  prepared = {}
  for name, tensor in state.items():
    if name.endswith("invconv.weight"):
      tensor = np.linalg.inv(tensor.astype(np.float64)).T
    elif name.endswith((".logs", ".actnorm.bias")):
      tensor = tensor.reshape(-1)
    prepared[name] = tensor
  return prepared


def noise_shapes(measurement_shape: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
  """(what the split takes in, what the innermost level starts from)."""
  height, width, _ = measurement_shape
  return (2 * height, 2 * width, 6), (height // 2, width // 2, 96)


def apply(params: Params, y: jax.Array, z: Any, scale: int) -> jax.Array:
  """See Architecture.apply; z: a pair of arrays [B, *shape], shapes from noise_shapes."""
  del scale
  blocks, low, doubled, _ = rrdbnet.features(params, y, "RRDB.")
  stacked = jnp.concatenate([blocks[index] for index in _stacked_blocks(len(blocks))], -1)
  batch, height, width, channels = low.shape
  # PyTorch's bilinear halving on half-pixel centres is a mean of 2 x 2; its nearest one takes the first pixel.
  halved = low.reshape(batch, height // 2, 2, width // 2, 2, channels).mean((2, 4))
  conditions = [
    jnp.concatenate([doubled, upsample_nearest(stacked, 2)], -1),
    jnp.concatenate([low, stacked], -1),
    jnp.concatenate([halved, stacked[:, ::2, ::2]], -1),
  ]
  split_noise, x = z
  for (first, coupled, split), condition in reversed(list(zip(_levels(params), conditions, strict=True))):
    if split is not None:
      mean, log_scale = _shift_and_scale(_zeros_conv(params, f"{_FLOW}.{split}.conv", x))
      x = jnp.concatenate([x, mean + jnp.exp(log_scale) * split_noise], -1)
    for layer in reversed(range(first, first + _NUM_PLAIN + coupled)):
      name = f"{_FLOW}.{layer}"
      if layer >= first + _NUM_PLAIN:
        x = _inverse_coupling(params, f"{name}.affine", x, condition)
      x = x @ params[f"{name}.invconv.weight"]
      x = x * jnp.exp(-params[f"{name}.actnorm.logs"]) - params[f"{name}.actnorm.bias"]
    x = pixel_shuffle(x, 2)
  return x


def _inverse_coupling(params, name, x, condition):
  fixed, changed = jnp.split(x, [x.shape[-1] // 2], axis=-1)
  shift, scale = _shift_and_scale(_net(params, f"{name}.fAffine", jnp.concatenate([fixed, condition], -1)))
  x = jnp.concatenate([fixed, changed / _bounded(scale) - shift], -1)
  shift, scale = _shift_and_scale(_net(params, f"{name}.fFeatures", condition))
  return x / _bounded(scale) - shift


def _shift_and_scale(x):
  return x[..., 0::2], x[..., 1::2]


def _bounded(scale):
  return jax.nn.sigmoid(scale + 2) + _SCALE_EPS


def _net(params, name, x):
  for index in (0, 2):
    x = conv(params, f"{name}.{index}", x)
    norm = f"{name}.{index}.actnorm"
    x = jax.nn.relu((x + params[f"{norm}.bias"]) * jnp.exp(params[f"{norm}.logs"]))
  return _zeros_conv(params, f"{name}.4", x)


def _zeros_conv(params, name, x):
  return conv(params, name, x) * jnp.exp(3 * params[f"{name}.logs"])


SRFLOW = Architecture("SRFlow", (4,), shapes, apply, prepare, noise_shapes, noise_std=0.9, multiple=2)
