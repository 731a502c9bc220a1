"""The networks that spandrel recognises (some 40 architectures), with their own weights and their own gradients.

spandrel reads scale, channels and sizes off the tensors of a file, which io/weight_files/torch_checkpoint.py reads:
nothing in it is executed.
"""

import contextlib
import dataclasses
import functools
import hashlib
import importlib
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from prt_jax.errors import UserError, quote
from prt_jax.io.weight_files.stored_tensor import read_all
from prt_jax.io.weight_files.torch_checkpoint import open_state_dict
from prt_jax.restorers.any_size import any_size
from prt_jax.restorers.bicubic import bicubic_downsample
from prt_jax.restorers.masked import masked
from prt_jax.restorers.registry import recognise
from prt_jax.restorers.restorer import FunctionDegradation, Restorer, as_restorer, per_channel
from prt_jax.restorers.torch_adapter import TorchRestorer
from prt_jax.restorers.torchvision_operators import import_torchvision

_PREFIXES = ("module.", "_orig_mod.", "netG.", "generator.", "net_g.")  # of what trainers wrap a network in
_LAMA = "generator.model.1.bn_l.running_mean"  # by which spandrel knows a LaMa, whose own names begin with generator


def load_spandrel(
  checkpoint: str | os.PathLike | None, key: str | None = None, device: str | None = None,
  mask: np.ndarray | None = None,
) -> Restorer:
  """The network in a file, computed in float32.

  Args:
    checkpoint: a file of torch.save, or .safetensors.
    key: which state dict, where the file holds several ("params_ema").
    device: PyTorch's, "cpu" or "cuda".
    mask: of a network of inpainting, see from_descriptor.

  Raises:
    UserError: spandrel is not installed; an unreadable file; a network that spandrel does not recognise, or that does
      not map pictures to pictures; a mask that is missing, or one that the network does not take.
  """
  if not checkpoint:
    raise UserError("--restorer=spandrel needs a network: pass --checkpoint=FILE (.pth, .safetensors)")
  spandrel = import_spandrel()
  with open_state_dict(checkpoint, key) as tensors:
    state = _inner(read_all(tensors, checkpoint))
  try:
    descriptor = spandrel.ModelLoader().load_from_state_dict(_tensors(state))
  except spandrel.UnsupportedModelError:
    if flags := recognise(state):
      raise UserError(f"{checkpoint} is no network that spandrel knows, but one of prt_jax's own: {flags}") from None
    first = next(iter(state))
    raise UserError(
      f"{checkpoint} is no network that spandrel knows; its first tensor is {first} {state[first].shape}: write a "
      "function of y that builds it, and name that by --restorer=package.module:function"
    ) from None
  except Exception as error:  # an architecture's own reading of tensors that are almost its own
    raise UserError(f"spandrel cannot build the network of {checkpoint} ({quote(error)})") from error
  restorer = from_descriptor(descriptor, device, mask)
  constants = state if mask is None else state | {"mask": mask}
  return dataclasses.replace(restorer, identity=f"{restorer.name}, {_digest(constants)}")


def import_spandrel() -> Any:
  """The package, with the architectures of spandrel_extra_arches where that is installed. UserError without it."""
  try:
    import_torchvision()
    import spandrel
  except ImportError as error:
    raise UserError(f"--restorer=spandrel needs {error.name}: pip install 'prt_jax[spandrel]'") from None
  from prt_jax.restorers.networks.torch_safmn import SAFMNOfNTIRE2023

  spandrel.MAIN_REGISTRY.add(spandrel.ArchSupport.from_architecture(SAFMNOfNTIRE2023()), ignore_duplicates=True)
  with contextlib.suppress(ImportError):  # networks whose licences forbid some uses, for those who have installed them
    importlib.import_module("spandrel_extra_arches").install(ignore_duplicates=True)
  return spandrel


def from_descriptor(descriptor: Any, device: str | None = None, mask: np.ndarray | None = None) -> Restorer:
  """A network that spandrel describes (an ImageModelDescriptor, or a MaskedImageModelDescriptor).

  The descriptor's own call has no gradient and clips; what it calls, without these, is called here, on one image at a
  time, as it is specified. Networks of one channel restore R, G and B alike.

  Args:
    descriptor: spandrel's.
    device: PyTorch's, "cpu" or "cuda".
    mask: of a network of inpainting, and of no other: [H,W], 1 where pixels are to be filled, else 0. The restorer
      takes pictures of this size; its degradation sets those pixels to 0.

  Raises:
    UserError: a mask that is missing, or one that the network does not take; a network whose channels are neither 1
      nor 3 on both sides.
  """
  name = f"{descriptor.architecture.name} x{descriptor.scale}"
  inpaints = descriptor.purpose == "Inpainting"
  if inpaints and mask is None:
    raise UserError(f"{name} fills what a mask marks: --mask=FILE of audit, explore and restore takes it")
  if not inpaints and mask is not None:
    raise UserError(f"{name} takes no mask: leave --mask out")
  channels = descriptor.input_channels, descriptor.output_channels
  if channels not in ([(3, 3)] if inpaints else [(1, 1), (3, 3)]):
    raise UserError(f"{name} makes {channels[1]} channels of {channels[0]}, and pictures here are RGB: {_OWN_FUNCTION}")
  module = _as_module(descriptor)
  if device:
    module = module.to(device)
  restorer = as_restorer(TorchRestorer(module), name=name)
  if channels == (1, 1):
    restorer = per_channel(restorer)
  sizes = descriptor.size_requirements
  restorer = dataclasses.replace(
    restorer, multiple=sizes.multiple_of, min_side=max(1, sizes.minimum), square=sizes.square, scale=descriptor.scale
  )
  if mask is not None:
    return masked(any_size(restorer), mask)  # in this order, so that the mask is padded with the picture
  if descriptor.scale == 1:
    return restorer  # what it undoes, noise or compression, its file does not say
  degrade = functools.partial(bicubic_downsample, factor=descriptor.scale)
  return dataclasses.replace(restorer, degradation=FunctionDegradation(degrade))


_OWN_FUNCTION = "let a function of y give it what it needs, and name that by --restorer=package.module:function"


def _as_module(descriptor):
  """What a descriptor calls, as a module of its network's parameters."""
  import torch

  # Some networks return a tuple, or want a noise level: the descriptor alone knows, in an attribute of its own.
  call = getattr(descriptor, "_call_fn", None) or (lambda model, *images: model(*images))

  class Described(torch.nn.Module):
    def __init__(self):
      super().__init__()
      self.model = descriptor.model

    def forward(self, y):
      # The picture and, of inpainting, the mask, which is the fourth channel of y. Copies of them: a network may write
      # into what it is given, which PyTorch allows in no view of a batch.
      return torch.cat([call(self.model, *(part.clone() for part in image.split(3, 1))) for image in y.split(1)])

  return Described().float()


def _inner(state):
  """The tensors without what a trainer wrapped around all of their names."""
  for prefix in _PREFIXES:
    if _LAMA in state:
      return state
    if all(name.startswith(prefix) for name in state):
      state = {name.removeprefix(prefix): array for name, array in state.items()}
  return state


def _tensors(state):
  """As PyTorch's, floats in float32: half precision is how a file is stored, not how it must be computed."""
  import torch

  arrays = {n: a if a.dtype.kind in "iub" else np.asarray(a, np.float32) for n, a in state.items()}
  return {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}


def _digest(state: Mapping[str, np.ndarray]) -> str:
  digest = hashlib.sha256()
  for name, array in state.items():
    digest.update(f"{name} {array.dtype} {array.shape}".encode())
    digest.update(np.ascontiguousarray(array).view(np.uint8).data)
  return digest.hexdigest()
