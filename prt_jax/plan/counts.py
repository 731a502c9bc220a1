"""What a program computes, moves and keeps, counted in its jaxpr: nothing is lowered, compiled or run.

XLA's own counts see the body of a loop once, however often it goes round; here it counts as often as it does. A program
is traced once, at a batch of a large prime number of examples: every array whose size is a multiple of it grows with
the batch and no other does, so that each count is a function of the batch size.
"""

import math
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax
from jax.extend.core import Literal, jaxprs_in_params

TRACED_BATCH = 1009  # a prime number that no net has as a width or a side


class Affine(NamedTuple):
  """A count as a function of the batch size: fixed + per_example * batch size."""

  fixed: int = 0
  per_example: int = 0

  def __call__(self, batch_size: int) -> int:
    """The count at a batch size."""
    return self.fixed + self.per_example * batch_size

  def plus(self, other: "Affine") -> "Affine":
    """The sum of two counts."""
    return Affine(self.fixed + other.fixed, self.per_example + other.per_example)

  def times(self, count: int) -> "Affine":
    """A count so many times."""
    return Affine(self.fixed * count, self.per_example * count)


class Work(NamedTuple):
  """Attributes:
  flops: of convolutions and matrix products, 2 a multiplication and addition, those with padding included.
  moved: bytes that convolutions and matrix products read and write; all else is taken as fused into them.
  kept: what is in memory at the program's fullest moments, bytes; which is the fullest depends on the batch size.
    Arguments and results do not count, nor does it count that a compiler reuses or never makes an array.
  """

  flops: Affine
  moved: Affine
  kept: tuple[Affine, ...]

  def peak(self, batch_size: int) -> int:
    """Bytes in memory at the fullest moment."""
    return max(moment(batch_size) for moment in self.kept)


def count(function: Callable, *arguments: Any) -> Work:
  """The work of function(*arguments); the arguments are shapes, with TRACED_BATCH examples where there are some.

  Raises:
    ValueError: a `while` loop around a convolution or product: how often it goes round is not known.
  """
  jaxpr = jax.make_jaxpr(function)(*arguments).jaxpr
  results = {variable for variable in jaxpr.outvars if not isinstance(variable, Literal)}
  flops, moved = _arithmetic(jaxpr, {})
  return Work(flops, moved, tuple(_kept(jaxpr, results, {})))


def _arithmetic(jaxpr, known):
  """(FLOPs, bytes moved). known: those of inner programs, which are often called again."""
  if id(jaxpr) in known:
    return known[id(jaxpr)]
  flops = moved = Affine()
  for equation in jaxpr.eqns:
    if own := _multiplications(equation):
      flops = flops.plus(own.times(2))
      moved = moved.plus(_total(_variables(equation)))
    times = equation.params["length"] if equation.primitive.name == "scan" else 1
    parts = [_arithmetic(inner, known) for inner in jaxprs_in_params(equation.params)]
    if equation.primitive.name == "while" and any(sum(part[0]) for part in parts):
      raise ValueError("a while loop around a convolution or product: how often it goes round is not known")
    if equation.primitive.name == "cond":  # one of its branches
      parts = [max(parts)]
    for inner_flops, inner_moved in parts:
      flops, moved = flops.plus(inner_flops.times(times)), moved.plus(inner_moved.times(times))
  known[id(jaxpr)] = flops, moved
  return flops, moved


def _multiplications(equation):
  """Of a convolution or product: those behind each number of the result, times their number. None for others."""
  if equation.primitive.name not in ("conv_general_dilated", "dot_general"):
    return None
  number = math.prod(equation.outvars[0].aval.shape)
  if equation.primitive.name == "dot_general":
    (contracted, _), _ = equation.params["dimension_numbers"]
    return _affine(number * math.prod(equation.invars[0].aval.shape[axis] for axis in contracted))
  kernel = equation.invars[1].aval.shape
  each = math.prod(kernel) // kernel[equation.params["dimension_numbers"].rhs_spec[0]]
  # A stride's gradient spreads its input, and nobody multiplies with the holes.
  return _affine(number * each // math.prod(equation.params["lhs_dilation"]))


def _kept(jaxpr, results, known):
  """The fullest moments of a program, from its first use of each array it makes to the last; its inputs do not count.

  results: arrays that do not count either.
  """
  if not results and id(jaxpr) in known:
    return known[id(jaxpr)]
  last_use = {}
  for number, equation in enumerate(jaxpr.eqns):
    last_use |= dict.fromkeys(_arrays(equation.invars), number)
  last_use |= dict.fromkeys(_arrays(jaxpr.outvars), len(jaxpr.eqns))
  alive, live, moments = set(), Affine(), [Affine()]
  for number, equation in enumerate(jaxpr.eqns):
    inside = [moment for inner in jaxprs_in_params(equation.params) for moment in _kept(inner, set(), known)]
    made = {variable for variable in equation.outvars if variable not in results}
    moments += [live.plus(moment) for moment in [*inside, _total(made)]]
    alive |= (born := {variable for variable in made if variable in last_use})
    died = {variable for variable in _arrays(equation.invars) if last_use[variable] == number} & alive
    alive -= died
    live = live.plus(_total(born)).plus(_total(died).times(-1))
  fullest = _upper(moments)
  if not results:
    known[id(jaxpr)] = fullest
  return fullest


def _upper(moments: Iterable[Affine]) -> list[Affine]:
  """The moments that are the fullest at some batch size, or near it: none is below another in both numbers."""
  upper = []
  for moment in sorted(set(moments), reverse=True):
    if not upper or moment.per_example > upper[-1].per_example:
      upper.append(moment)
  return upper


def _arrays(variables):
  return [variable for variable in variables if not isinstance(variable, Literal)]


def _variables(equation):
  return [*equation.invars, *equation.outvars]


def _total(variables):
  total = Affine()
  for variable in variables:
    if hasattr(variable.aval, "shape"):
      total = total.plus(_affine(math.prod(variable.aval.shape)).times(variable.aval.dtype.itemsize))
  return total


def _affine(number):
  examples, rest = divmod(number, TRACED_BATCH)
  return Affine(number) if rest or not number else Affine(0, examples)
