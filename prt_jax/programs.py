"""Functions as arguments of compiled programs, told apart by what they compute and not by which object they are.

JAX keeps one program for a function that it has traced, with all that the function had read as constants of it: the
weights of an object or of a closure, say. When those change, the function is the same, and its program is stale.
"""

import hashlib
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal, jaxpr_as_fun  # pyright: ignore[reportPrivateImportUsage]

_JAX = str(pathlib.Path(jax.__file__).parent)


def is_eager(function: Callable) -> bool:
  """Whether a function must not be traced (a PyTorch module, say): it, or what it is a Partial of, says so."""
  return getattr(getattr(function, "func", function), "eager", False)


def as_program(function: Callable, *arguments: Any) -> jax.tree_util.Partial:
  """The function as it is now, to be passed to compiled programs and called with such arguments there.

  It is traced anew (a tenth of a second for IMDN), so that whatever it reads is seen. Arrays among that are leaves of
  the result: one program serves all their values. The rest decides which program fits; a function with derivative
  rules of its own, which could read more, gets a new one each time.

  Args:
    function: of arrays; one that is eager, or was returned from here, comes back as it is.
    arguments: pytrees of arrays, of the shapes and dtypes of later calls.
  """
  if is_eager(function) or isinstance(getattr(function, "func", None), _Program):
    return function if isinstance(function, jax.tree_util.Partial) else jax.tree_util.Partial(function)
  # Through a new function: JAX remembers what make_jaxpr has traced, too.
  closed, outputs = jax.make_jaxpr(lambda *arguments: function(*arguments), return_shape=True)(*arguments)
  outputs = jax.tree.structure(outputs)
  description = list(_describe(closed.jaxpr))
  identity = object() if None in description else hashlib.sha256(repr((outputs, description)).encode()).digest()
  return jax.tree_util.Partial(_Program(closed.jaxpr, outputs, identity), jax.tree.map(jnp.asarray, closed.consts))


class _Program:
  """What a function computed when it was traced; equal to any other that computes the same."""

  def __init__(self, jaxpr, outputs, identity):
    self._jaxpr, self._outputs, self._identity = jaxpr, outputs, identity

  def __eq__(self, other):
    return isinstance(other, _Program) and self._identity == other._identity

  def __hash__(self):
    return hash(self._identity)

  def __call__(self, constants, *arguments):
    return self._outputs.unflatten(jaxpr_as_fun(ClosedJaxpr(self._jaxpr, constants))(*jax.tree.leaves(arguments)))


def _describe(jaxpr: Jaxpr) -> Iterator[tuple | None]:
  """What a jaxpr computes, but for the values of its own constants; None where that cannot be told."""
  numbers = {}

  def name(variable):
    is_literal = isinstance(variable, Literal)
    value = np.asarray(variable.val).tolist() if is_literal else numbers.setdefault(variable, len(numbers))
    return is_literal, value, str(variable.aval)

  def describe(jaxpr):
    yield "inputs", *map(name, (*jaxpr.constvars, *jaxpr.invars))
    for equation in jaxpr.eqns:
      yield equation.primitive.name, *map(name, (*equation.invars, *equation.outvars))
      has_rules = equation.primitive.name in ("custom_jvp_call", "custom_vjp_call")
      for key, parameter in equation.params.items():
        for value in parameter if isinstance(parameter, list | tuple) else [parameter]:
          inner = getattr(value, "jaxpr", value)
          if isinstance(inner, Jaxpr):
            for constant in getattr(value, "consts", ()):
              yield _describe_constant(constant)
            yield from describe(inner)
          elif not has_rules:
            yield key, str(value)
      # JAX's own rules (of relu, say) read nothing else.
      if has_rules and _JAX not in str(getattr(equation.params["call_jaxpr"].jaxpr, "debug_info", "")):
        yield None
    yield "outputs", *map(name, jaxpr.outvars)

  yield from describe(jaxpr)


def _describe_constant(constant):
  if isinstance(constant, Tracer) or jnp.issubdtype(constant.dtype, jax.dtypes.extended):
    return None
  array = np.asarray(constant)
  return array.dtype.str, array.shape, hashlib.sha256(array.tobytes()).hexdigest()
