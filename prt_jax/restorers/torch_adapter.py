"""A PyTorch module as a restorer: its own forward and backward passes behind a JAX gradient.

Arrays are handed over by DLPack, without a copy where both frameworks compute on the same device. Nothing
is traced: the module runs as PyTorch runs it, so the adapter works under jax.grad and jax.vjp, and
not under jax.jit, jax.vmap or jax.jvp. attacks.ifgsm and the audit know this by the attribute `eager`.
"""

import contextlib
import functools
from typing import Any

import jax
import jax.numpy as jnp

from prt_jax.errors import UserError

# Where libraries that return an object have the image in it: transformers' super-resolution, diffusers' autoencoders.
IMAGE_FIELDS = ("reconstruction", "sample")


def torch_device(platform: str | None) -> str | None:
  """PyTorch's name of a platform of JAX's (devices.PLATFORMS): "cpu" or "cuda"; None = where the weights are."""
  return {None: None, "cpu": "cpu", "gpu": "cuda", "tpu": "cpu"}[platform]


class TorchRestorer:
  """restore(y, z) -> x around a PyTorch module that maps [B,3,h,w] to [B,3,H,W].

  Args:
    module: torch.nn.Module, a functools.partial of one, or any function of tensors; it returns the images, or an object
      that has them as one of IMAGE_FIELDS. A module computes in evaluation mode and is left in the mode
      that each of its parts was in; its parameters are used as constants, and their type is that of its input (half
      precision rounds, and the rounding counts as change). A stochastic one is called module(y, z), where z's leaves
      arrive as tensors in the layout they have.
    device: where it runs, "cpu" or "cuda"; None: where the module's parameters are.
    stochastic: whether the module takes z.
  """

  eager = True

  def __init__(self, module: Any, device: str | None = None, *, stochastic: bool = False):
    try:
      import torch
    except ImportError:
      raise UserError("a PyTorch restorer needs PyTorch: pip install torch") from None
    inner = module.func if isinstance(module, functools.partial) else module
    self._weights = inner if isinstance(inner, torch.nn.Module) else None
    if self._weights is not None and device:
      self._weights.to(device)
    self._torch, self._module, self._device, self._stochastic = torch, module, device, stochastic
    self._saves_copies = False
    self._restore = jax.custom_vjp(self._forward)
    self._restore.defvjp(self._forward_with_graph, self._backward)

  @property
  def unit(self) -> float:
    """The relative distance of neighbouring numbers of the type that the module computes in."""
    dtypes = (self._torch.float32, self._of_parameters("dtype", self._torch.float32))  # it is given float32
    return max(self._torch.finfo(dtype).eps for dtype in dtypes)

  def __call__(self, y: jax.Array, z: Any = None) -> jax.Array:
    """[B,h,w,3] -> [B,H,W,3], float32."""
    return self._restore(y, z)

  def _forward(self, y, z):
    with self._torch.no_grad():
      return self._to_jax(self._call(self._to_torch(y), z))

  def _forward_with_graph(self, y, z):
    y = self._to_torch(y).detach().requires_grad_()
    x = self._with_graph(y, z)
    return self._to_jax(x.detach()), _Opaque((y, z, x))

  def _backward(self, graph, cotangent):
    y, z, x = graph.value
    cotangent = self._to_torch(cotangent)
    try:
      gradient = self._gradient(y, x, cotangent)
    except RuntimeError as error:
      if self._saves_copies or "modified by an inplace operation" not in str(error):
        raise
      self._saves_copies = True  # from now on: the module fails like this each time
      gradient = self._gradient(y, self._with_graph(y, z), cotangent)
    return self._to_jax(gradient), None

  def _with_graph(self, y, z):
    # Some modules write into what their backward pass needs. Copies of it let them; all others are spared the memory.
    hooks = self._torch.autograd.graph.saved_tensors_hooks(self._torch.clone, lambda saved: saved)
    with self._torch.enable_grad(), hooks if self._saves_copies else contextlib.nullcontext():
      return self._call(y.clone(), z)  # a module may write into what it is given, into a leaf it may not

  def _gradient(self, y, x, cotangent):
    # With respect to y alone: no parameter's gradient is computed. A checkpointed module computes again here.
    with self._evaluating():
      return self._torch.autograd.grad(x, y, cotangent)[0]

  def _call(self, y, z):
    dtype = self._of_parameters("dtype", self._torch.float32)
    arguments = [y.to(dtype)]
    if self._stochastic:
      noise = jax.tree.map(lambda leaf: self._torch.from_dlpack(leaf).to(y.device), z)
      arguments.append(jax.tree.map(lambda leaf: leaf.to(dtype) if leaf.is_floating_point() else leaf, noise))
    with self._evaluating():
      x = self._module(*arguments)
    if not isinstance(x, self._torch.Tensor):
      x = next((getattr(x, name) for name in IMAGE_FIELDS if hasattr(x, name)), x)
    if not isinstance(x, self._torch.Tensor):
      raise UserError(
        f"the PyTorch restorer returns a {type(x).__name__}: let a module around it return the images alone, [B,3,H,W]"
      )
    if x.ndim != 4:
      raise UserError(f"the PyTorch restorer returns shape {tuple(x.shape)}: it must return images [B,3,H,W]")
    if not x.is_floating_point():
      raise UserError(f"the PyTorch restorer returns {x.dtype}: it must return images in floating point")
    return x.float()

  @contextlib.contextmanager
  def _evaluating(self):
    """The module in evaluation mode; each part of it is in its own again afterwards."""
    modes = [(part, part.training) for part in self._weights.modules()] if self._weights is not None else []
    try:
      if self._weights is not None:
        self._weights.eval()
      yield
    finally:
      for part, training in modes:
        part.training = training

  def _of_parameters(self, attribute, default):
    """The dtype or device of the module's first number in floating point."""
    weights = self._weights
    tensors = [] if weights is None else [*weights.parameters(), *weights.buffers()]
    return next((getattr(tensor, attribute) for tensor in tensors if tensor.is_floating_point()), default)

  def _to_torch(self, array):
    # A copy: JAX's buffers are read-only, and PyTorch modules may write in place.
    device = self._device or self._of_parameters("device", "cpu")
    tensor = self._torch.from_dlpack(jnp.asarray(array, jnp.float32)).to(device)
    return tensor.permute(0, 3, 1, 2).clone(memory_format=self._torch.contiguous_format)

  def _to_jax(self, tensor):
    return jnp.from_dlpack(tensor.detach().permute(0, 2, 3, 1).contiguous())


@jax.tree_util.register_static
class _Opaque:
  """PyTorch's graph, on its way from the forward to the backward pass."""

  def __init__(self, value):
    self.value = value
