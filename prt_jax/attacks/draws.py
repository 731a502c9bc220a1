"""A restorer over several draws of its noise: one after the other, all at once, or in groups."""

import functools
import operator
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from prt_jax.models.convolution import CONVOLVED
from prt_jax.programs import is_eager

Restore = Callable[[jax.Array, Any], jax.Array]
_KEPT = jax.checkpoint_policies.save_only_these_names(CONVOLVED)


def first_draw(z: Any) -> Any:
  """The first seed's part of z, leaves [S, ...] -> [...].

  Example:
    >>> print(first_draw((jnp.array([[1.0], [2.0]]),)))
    (Array([1.], dtype=float32),)
  """
  return jax.tree.map(operator.itemgetter(0), z)


def restore_seeds(restore: Restore, y: jax.Array, z: Any) -> jax.Array:
  """One restoration a seed: [S, B, ...].

  Example:
    >>> print(restore_seeds(lambda y, z: y + z, jnp.array([[1.0, 2.0]]), jnp.array([[[0.0]], [[10.0]]])))
    [[[ 1.  2.]]
    <BLANKLINE>
     [[11. 12.]]]
  """
  if is_eager(restore):
    seeds = range(len(jax.tree.leaves(z)[0]))
    return jnp.stack([restore(y, jax.tree.map(operator.itemgetter(seed), z)) for seed in seeds])
  return jax.vmap(restore, (None, 0))(y, z)


compiled_restore_seeds = jax.jit(restore_seeds)


def over_seeds(function: Callable[[Any], Any], z: Any, seeds_at_once: int = 0) -> Any:
  """function(z), of any number of seeds, for all of them: leaves of z and of the outputs [S, ...].

  seeds_at_once: how many go through together, 0 = all. Fewer go one group after the other in a loop that keeps no
  intermediate values for gradients but the results of our nets' convolutions, and computes the others again: little
  more than the memory of one group. On a CPU it is faster nonetheless, with our nets (models.convolution): its caches
  hold one group's images.

  Example:
    >>> print(over_seeds(lambda z: z**2, jnp.arange(5.0), seeds_at_once=2))
    [ 0.  1.  4.  9. 16.]
  """
  num_seeds = len(jax.tree.leaves(z)[0])
  if seeds_at_once == 0 or seeds_at_once >= num_seeds:
    return function(z)
  one_group = jax.checkpoint(function, policy=_KEPT)
  groups, rest = _grouped(z, seeds_at_once)
  outputs = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), jax.lax.map(one_group, groups))
  return outputs if rest is None else _concatenated(outputs, one_group(rest))


def _grouped(tree, seeds_at_once):
  """Leaves [S, ...] as [groups, seeds_at_once, ...], and the seeds that fill no group (None: there are none)."""
  num_seeds = len(jax.tree.leaves(tree)[0])
  whole = num_seeds - num_seeds % seeds_at_once
  groups = jax.tree.map(lambda leaf: leaf[:whole].reshape(-1, seeds_at_once, *leaf.shape[1:]), tree)
  return groups, jax.tree.map(lambda leaf: leaf[whole:], tree) if whole < num_seeds else None


def _concatenated(tree, other):
  return jax.tree.map(lambda *parts: jnp.concatenate(parts), tree, other)


def sum_over_seeds(
  function: Callable[[Any, Any, Any], jax.Array], shared: Any, outputs: Any, z: Any, seeds_at_once: int = 0
) -> jax.Array:
  """The sum of function(shared, outputs, z), a number, over groups of seeds; leaves of outputs and z are [S, ...].

  A loop, as in over_seeds, but one that takes each group's gradient (of shared and outputs, none of z) where it
  computes its value: no value is computed again. The gradient is of first order and backward alone.

  Example:
    >>> def total(gain, outputs, z):
    ...   return jnp.sum(gain * outputs * z)
    >>> arguments = jnp.float32(2), jnp.array([1.0, 2.0, 3.0]), jnp.array([1.0, 0.0, 1.0])
    >>> print(sum_over_seeds(total, *arguments, seeds_at_once=2))
    8.0
  """
  num_seeds = len(jax.tree.leaves(z)[0])
  if seeds_at_once == 0 or seeds_at_once >= num_seeds:
    return function(shared, outputs, z)
  return _looped_sum(function, seeds_at_once, shared, outputs, z)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _looped_sum(function, seeds_at_once, shared, outputs, z):
  return _sum_and_gradients(function, seeds_at_once, shared, outputs, z)[0]


def _sum_and_gradients(function, seeds_at_once, shared, outputs, z):
  def add(sums, group):
    value, (by_shared, by_outputs) = jax.value_and_grad(function, (0, 1))(shared, *group)
    return jax.tree.map(jnp.add, sums, (value, by_shared)), by_outputs

  groups, rest = _grouped((outputs, z), seeds_at_once)
  dtype = jax.eval_shape(function, shared, outputs, z).dtype
  nothing = jnp.zeros((), dtype), jax.tree.map(jnp.zeros_like, shared)
  sums, by_outputs = jax.lax.scan(add, nothing, groups)
  by_outputs = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), by_outputs)
  if rest is not None:
    sums, by_rest = add(sums, rest)
    by_outputs = _concatenated(by_outputs, by_rest)
  value, by_shared = sums
  return value, (by_shared, by_outputs)


def _scale_gradients(function, seeds_at_once, gradients, cotangent):
  return *jax.tree.map(lambda gradient: (cotangent * gradient).astype(gradient.dtype), gradients), None


_looped_sum.defvjp(_sum_and_gradients, _scale_gradients)
