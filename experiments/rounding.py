"""What an accelerator does to float32 products, on a CPU: both operands rounded, products and sums in float32.

A function is traced and its program rewritten, so that no network has to know of it. Differentiate first, then rewrite:
gradients' products are then rounded as well, as the accelerator does.
"""

from collections.abc import Callable

import jax
from jax.extend import core

_PRODUCTS = ("conv_general_dilated", "dot_general")
_HIDDEN = ("convolve_3x3", "kernel_gradient")  # models.convolution's: products inside, of which no program tells
_CALLS = {  # those that do nothing but call a program once -> the parameter that holds it
  "jit": "jaxpr", "pjit": "jaxpr", "closed_call": "call_jaxpr", "checkpoint": "jaxpr", "remat2": "jaxpr",
  "custom_jvp_call": "call_jaxpr", "custom_vjp_call": "call_jaxpr",
}  # fmt: skip
FLOAT32_MANTISSA, TF32_MANTISSA, BFLOAT16_MANTISSA = 23, 10, 7  # bits, without the leading one
_EXPONENT = 8  # bits, of all three


def round_mantissa(x: jax.Array, bits: int) -> jax.Array:
  """x float32, rounded to the nearest number with so many bits of mantissa, ties to the even one; float32."""
  return jax.lax.reduce_precision(x, _EXPONENT, bits)


def with_rounded_products(function: Callable, round_operand: Callable[[jax.Array], jax.Array]) -> Callable:
  """The same function with round_operand applied to both operands of every float32 convolution and matrix product.

  Args:
    function: jittable, of positional arguments, its products JAX's own: make_game(config, platform="gpu") makes such
      networks, where those of a CPU have a primitive of their own.
    round_operand: float32 array -> float32 array of that shape.

  Returns:
    a function, jittable and not to be differentiated.

  Raises:
    ValueError, when called: a network made for a CPU.
  """

  def rounded(*arguments):
    flat, tree = jax.tree.flatten(arguments)
    program, shapes = jax.make_jaxpr(lambda *flat: function(*tree.unflatten(flat)), return_shape=True)(*flat)
    outputs = _evaluate(program.jaxpr, program.consts, flat, round_operand)
    return jax.tree.structure(shapes).unflatten(outputs)

  return rounded


def _evaluate(jaxpr, consts, arguments, round_operand):
  values = dict(zip((*jaxpr.constvars, *jaxpr.invars), (*consts, *arguments), strict=True))

  def read(atom):
    return atom.val if isinstance(atom, core.Literal) else values[atom]

  for equation in jaxpr.eqns:
    operands = [read(atom) for atom in equation.invars]
    primitive, params = equation.primitive, equation.params
    if primitive.name in _HIDDEN:
      raise ValueError(f"{primitive.name} is of networks made for a CPU: make_game(config, platform='gpu')")
    if primitive.name in _CALLS:
      program = _closed(params[_CALLS[primitive.name]])
      outputs = _evaluate(program.jaxpr, program.consts, operands, round_operand)
    else:
      if primitive.name in _PRODUCTS:
        operands = [round_operand(operand) if operand.dtype == "float32" else operand for operand in operands]
      outputs = primitive.bind(*operands, **{name: _rewritten(value, round_operand) for name, value in params.items()})
      outputs = outputs if primitive.multiple_results else [outputs]
    values.update(zip(equation.outvars, outputs, strict=True))
  return [read(atom) for atom in jaxpr.outvars]


def _closed(program):
  return program if isinstance(program, core.ClosedJaxpr) else core.ClosedJaxpr(program, ())


def _rewritten(value, round_operand):
  """A parameter of an equation, with the programs in it (of a loop, of branches) rewritten."""
  if isinstance(value, tuple) and any(isinstance(part, core.ClosedJaxpr) for part in value):
    return tuple(_rewritten(part, round_operand) for part in value)
  if isinstance(value, core.ClosedJaxpr):
    return jax.make_jaxpr(lambda *flat: _evaluate(value.jaxpr, value.consts, flat, round_operand))(*value.in_avals)
  if isinstance(value, core.Jaxpr):
    return _rewritten(_closed(value), round_operand).jaxpr
  return value
