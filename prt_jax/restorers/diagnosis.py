"""What a restorer probably is that failed: tried out, so that the error can name the way out."""

import sys
from typing import Any

import jax

from prt_jax.programs import is_eager


def diagnose(restore: Any, y: jax.Array, z: Any) -> str:
  """"; " and what to do, or nothing.

  Args:
    restore: (y, z) -> x, which has raised.
    y, z: what it was called with.
  """
  if (torch := sys.modules.get("torch")) and not is_eager(restore):
    tensor = torch.full((len(y), y.shape[-1], *y.shape[1:-1]), 0.5)
    if isinstance(_result(restore, tensor, z), torch.Tensor):
      return "; it is a function of PyTorch tensors: wrap it in prt_jax.restorers.torch_adapter.TorchRestorer"
  x = _result(restore, y, z)
  if callable(x) and not isinstance(x, jax.Array):
    return f"; it returns a {type(x).__name__}, which can be called: name that, if this is what makes the restorer"
  if y.shape[-1] == 3 and getattr(_result(restore, y[..., :1], z), "shape", ())[-1:] == (1,):
    return "; it restores one channel: prt_jax.restorers.per_channel makes it restore R, G and B alike"
  return ""


def _result(restore, y, z):
  try:
    return restore(y, z)
  except Exception:  # this was a try
    return None
