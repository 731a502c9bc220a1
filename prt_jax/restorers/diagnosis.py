"""What a restorer probably is that failed: tried out, so that the error can name the way out."""

import sys
from typing import Any

import jax
import numpy as np

from prt_jax.programs import is_eager

# Of JAX and of Flax, where a trace's values are kept or a module's state is changed while it is traced.
_STATEFUL = ("UnexpectedTracerError", "TraceContextError")


def diagnose(error: Exception, restore: Any, y: jax.Array, z: Any) -> str:
  """"; " and what to do, or nothing.

  Args:
    error: what was raised.
    restore: (y, z) -> x, which has raised it.
    y, z: what it was called with.
  """
  if type(error).__name__ in _STATEFUL:
    return "; it changes a state of its own (a random key, say): draw noise by draw_noise, and keep the rest as it is"
  if (torch := sys.modules.get("torch")) and not is_eager(restore):
    tensor = torch.full((len(y), y.shape[-1], *y.shape[1:-1]), 0.5)
    if isinstance(_result(restore, tensor, z), torch.Tensor):
      return "; it is a function of PyTorch tensors: wrap it in prt_jax.restorers.torch_adapter.TorchRestorer"
  x = _result(restore, y, z)
  if isinstance(x, np.ndarray):
    return "; it computes in numpy, which has no gradients: write it in jax.numpy, or in PyTorch"
  if callable(x) and not isinstance(x, jax.Array):
    return f"; it returns a {type(x).__name__}, which can be called: name that, if this is what makes the restorer"
  if x is None and y.shape[-1] == 3 and getattr(_result(restore, y[..., :1], z), "shape", ())[-1:] == (1,):
    return "; it restores one channel: prt_jax.restorers.per_channel makes it restore R, G and B alike"
  return ""


def _result(restore, y, z):
  try:
    return restore(y, z)
  except Exception:  # this was a try
    return None
