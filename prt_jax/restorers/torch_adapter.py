"""A PyTorch module as a restorer: its own forward and backward passes behind a JAX gradient.

Arrays are handed over by DLPack, without a copy where both frameworks compute on the same device. Nothing
is traced: the module runs as PyTorch runs it, so the adapter works under jax.grad and jax.vjp, and
not under jax.jit, jax.vmap or jax.jvp. attacks.ifgsm and the audit know this by the attribute `eager`.
"""

from typing import Any

import jax
import jax.numpy as jnp

from prt_jax.errors import UserError


class TorchRestorer:
  """restore(y, z) -> x around a PyTorch module that maps [B,3,h,w] to [B,3,H,W].

  Args:
    module: torch.nn.Module, or any function of tensors; a module is switched to evaluation. Its parameters are used
      as constants. A stochastic one is called module(y, z), where z's leaves arrive as tensors in the layout they have.
    device: where it runs, "cpu" or "cuda"; None: where the module's parameters are.
    stochastic: whether the module takes z.
  """

  eager = True

  def __init__(self, module: Any, device: str | None = None, *, stochastic: bool = False):
    try:
      import torch
    except ImportError:
      raise UserError("a PyTorch restorer needs PyTorch: pip install torch") from None
    if isinstance(module, torch.nn.Module):
      device = device or next((parameter.device for parameter in module.parameters()), "cpu")
      module = module.to(device).eval()
    device = device or "cpu"
    self._torch, self._module, self._device, self._stochastic = torch, module, device, stochastic
    self._restore = jax.custom_vjp(self._forward)
    self._restore.defvjp(self._forward_with_graph, self._backward)

  def __call__(self, y: jax.Array, z: Any = None) -> jax.Array:
    """[B,h,w,3] -> [B,H,W,3], float32."""
    return self._restore(y, z)

  def _forward(self, y, z):
    with self._torch.no_grad():
      return self._to_jax(self._call(self._to_torch(y), z))

  def _forward_with_graph(self, y, z):
    y = self._to_torch(y).detach().requires_grad_()
    with self._torch.enable_grad():
      x = self._call(y, z)
    return self._to_jax(x.detach()), _Opaque((y, x))

  def _backward(self, graph, cotangent):
    y, x = graph.value
    # With respect to y alone: no parameter's gradient is computed.
    (gradient,) = self._torch.autograd.grad(x, y, self._to_torch(cotangent))
    return self._to_jax(gradient), None

  def _call(self, y, z):
    if not self._stochastic:
      return self._module(y)
    return self._module(y, jax.tree.map(lambda leaf: self._torch.from_dlpack(leaf).to(self._device), z))

  def _to_torch(self, array):
    # A copy: JAX's buffers are read-only, and PyTorch modules may write in place.
    tensor = self._torch.from_dlpack(jnp.asarray(array, jnp.float32)).to(self._device)
    return tensor.permute(0, 3, 1, 2).clone(memory_format=self._torch.contiguous_format)

  def _to_jax(self, tensor):
    return jnp.from_dlpack(tensor.detach().float().permute(0, 2, 3, 1).contiguous())


@jax.tree_util.register_static
class _Opaque:
  """PyTorch's graph, on its way from the forward to the backward pass."""

  def __init__(self, value):
    self.value = value
