"""What a ported network is, and how a PyTorch checkpoint becomes its parameters.

The file is read by features/torch_checkpoint.py: nothing in it is executed.
"""

import dataclasses
import os
import re
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from prt_jax.errors import UserError
from prt_jax.io.weight_files.stored_tensor import read_all
from prt_jax.io.weight_files.torch_checkpoint import open_state_dict
from prt_jax.restorers.networks.torch_layers import Params

StateDict = dict[str, Any]  # of arrays, or of StoredTensors, whose shapes are known before they are read
Shapes = dict[str, tuple[int, ...]]
_MAX_PARTS = 100  # of a file in which a network is looked for, each a comparison of all of it


@dataclasses.dataclass(frozen=True)
class Architecture:
  """A published network.

  Attributes:
    title: name and paper, for messages and reports.
    scales: the magnifications that it is published for.
    shapes: (state dict, scale) -> the name and shape of each tensor that it must hold, in order. Widths and depths
      are read off the state dict; where it does not tell, they are the published ones.
    apply: (params, y [B,h,w,3], z, scale) -> x [B,scale h,scale w,3]; RGB, y in [0, 1], x about [0, 1], not clipped.
      A deterministic network ignores z.
    prepare: state dict -> state dict, done once before the arrays go to the device.
    note: params -> what of them a checkpoint does not say outright, for the restorer's name.
    noise_shapes: shape of one y [h,w,3] -> the shapes of one draw of Z; None for a deterministic network.
    noise_std: the standard deviation of Z's Gaussian that the authors sample with.
    multiple: y's sides must be multiples of it.
  """

  title: str
  scales: tuple[int, ...]
  shapes: Callable[[StateDict, int], Shapes]
  apply: Callable[[Params, jax.Array, Any, int], jax.Array]
  prepare: Callable[[StateDict], StateDict] = lambda state: state
  noise_shapes: Callable[[tuple[int, ...]], tuple[tuple[int, ...], ...]] | None = None
  noise_std: float = 1.0
  multiple: int = 1
  note: Callable[[Params], str] = lambda params: ""


def load_params(architecture: Architecture, path: str | os.PathLike, scale: int, key: str | None = None) -> Params:
  """A checkpoint's tensors as the architecture's parameters.

  Args:
    architecture: what the checkpoint must be.
    path: a file of torch.save, or .safetensors.
    scale: magnification.
    key: which state dict, where the file holds several ("params_ema", say).

  Raises:
    UserError: an unreadable file, one that asks for code, a scale that is not published, another architecture
      (names the first tensor that does not fit), or weights that are NaN or infinite.
  """
  if scale not in architecture.scales:
    known = ", ".join(f"x{known}" for known in architecture.scales)
    raise UserError(f"{architecture.title} has no x{scale}: it is ported for {known}")
  with open_state_dict(path, key) as tensors:
    # A counter of training steps, which evaluation does not read.
    tensors = {name: tensor for name, tensor in tensors.items() if not name.endswith("num_batches_tracked")}
    tensors = unwrap(architecture, tensors, scale, path)
    check_state(architecture, tensors, scale, path)
    state = read_all(tensors, path)
  try:
    return to_params(architecture.prepare(state))
  except np.linalg.LinAlgError as error:  # a flow's 1x1 convolutions are inverted
    raise UserError(f"{path} holds a matrix that has no inverse ({error}): get the file again") from error


def unwrap(architecture: Architecture, state: StateDict, scale: int, path: str | os.PathLike) -> StateDict:
  """The network's own tensors, where it was saved as a part of something: of DataParallel (module.), of torch.compile
  (_orig_mod.), of a trainer that has it as model, generator, net_g, ... and may have others beside it.

  UserError where the network is there several times.
  """
  first = next(iter(architecture.shapes({}, scale)))
  if first in state:
    return state
  prefixes = [name.removesuffix(first) for name in state if name.endswith(f".{first}")][:_MAX_PARTS]
  inner = {
    prefix: {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}
    for prefix in prefixes
  }
  fitting = [prefix for prefix in prefixes if not mismatch(architecture, inner[prefix], scale)]
  if len(fitting) > 1:
    names = ", ".join(prefix.removesuffix(".") for prefix in fitting)
    raise UserError(f"{path} holds {architecture.title} as {names}: choose one (--checkpoint_key)")
  chosen = fitting or prefixes
  return inner[chosen[0]] if len(chosen) == 1 else state


def check_state(architecture: Architecture, state: StateDict, scale: int, path: str | os.PathLike) -> None:
  """UserError unless the state dict holds the architecture's tensors and no others."""
  if difference := mismatch(architecture, state, scale):
    raise UserError(f"{path} is not {architecture.title} x{scale}: {difference}")


def mismatch(architecture: Architecture, state: StateDict, scale: int) -> str:
  """The first tensor in which a state dict is not the architecture's, in words; "" where it is."""
  expected = architecture.shapes(state, scale)
  for name, shape in expected.items():
    if name not in state:
      first = next(iter(state), None)
      beside = f"its first tensor is {first} {state[first].shape}" if first else "it has none at all"
      return f"it has no tensor {name} {shape}; {beside}"
    if state[name].shape != shape:
      return f"its {name} has shape {state[name].shape} instead of {shape}"
  for name in state:
    if name not in expected:
      return f"it holds {name} {state[name].shape}, which that network lacks"
  return ""


def to_params(state: StateDict) -> Params:
  """PyTorch's kernels [out, in, h, w] as [h, w, in, out]; float32 on the device."""
  return {
    name: jnp.asarray(tensor.transpose(2, 3, 1, 0) if tensor.ndim == 4 else tensor, jnp.float32)
    for name, tensor in state.items()
  }


def conv_shapes(name: str, out_channels: int, in_channels: int, size: int = 3, *, bias: bool = True) -> Shapes:
  """The tensors of one PyTorch Conv2d."""
  kernel = {f"{name}.weight": (out_channels, in_channels, size, size)}
  return kernel | {f"{name}.bias": (out_channels,)} if bias else kernel


def length(state: StateDict, name: str, axis: int, default: int) -> int:
  """A tensor's length along an axis; default where the state dict has no such tensor."""
  return state[name].shape[axis] if name in state and state[name].ndim > axis else default


def count(state: StateDict, pattern: str, default: int) -> int:
  """How many blocks a state dict numbers: 1 + the largest number that pattern captures; default where it has none.

  Never more than it has tensors: a name alone could otherwise ask for any number of blocks.
  """
  numbers = [int(match[1]) for name in state if (match := re.match(pattern, name))]
  return min(max(numbers) + 1, len(state)) if numbers else default
