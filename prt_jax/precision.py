"""In what precision float32 numbers are multiplied: model.precision in training, float32 itself in all that measures.

Accelerators round the operands of float32 convolutions and matrix products unless told otherwise, and sum in float32:
to 10 bits of mantissa (TF32) on NVIDIA GPUs, to 7 (bfloat16) on TPUs. All else is float32. JAX reads the setting where
a program is traced, and gradients keep that of what they are gradients of; so one wrapper around a function is enough.
"""

from collections.abc import Callable

import jax

# model.precision -> JAX's name for it; None leaves the choice to JAX (and to JAX_DEFAULT_MATMUL_PRECISION).
PRECISIONS = {"highest": "highest", "tf32": "tensorfloat32", "default": None}

MEASURING = {"dtype": "float32", "precision": "highest"}  # what evaluations and audits compute in, for their protocols

_TF32 = "TF32 (10 bits of mantissa) where the GPU has it"
_PRODUCTS = {
  "gpu": {"highest": "float32", "tf32": _TF32, "default": _TF32},
  "tpu": {
    "highest": "float32 (six bfloat16 passes)", "tf32": "three bfloat16 passes", "default": "one bfloat16 pass",
  },
}  # fmt: skip


def multiplying(precision: str, function: Callable) -> Callable:
  """The function with its float32 products in a precision, however it is traced or called.

  Args:
    precision: a key of PRECISIONS.
    function: jittable or not. A product that names a precision of its own keeps it; a PyTorch module is not reached.
  """
  level = PRECISIONS[precision]
  return function if level is None else jax.default_matmul_precision(level)(function)


def in_float32(function: Callable) -> Callable:
  """A decorator for what measures: float32 products on every device."""
  return multiplying(MEASURING["precision"], function)


def describe(dtype: str, precision: str, backend: str) -> str:
  """What model.dtype and model.precision come to on a backend ('cpu', 'gpu', 'tpu'), in words."""
  if dtype != "float32":
    return f"nets in {dtype}, products summed in float32"
  products = _PRODUCTS.get(backend, {}).get(precision, "float32")
  asked = jax.config.values["jax_default_matmul_precision"]
  if precision == "default" and asked:
    products = f"what JAX_DEFAULT_MATMUL_PRECISION={asked} says"
  return f"nets in float32, products in {products} (model.precision={precision} on a {backend.upper()})"
