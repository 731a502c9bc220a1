"""Searches for the small change of a measurement that changes its restoration most.

Restorers are passed as functions: restore(y, z) -> x handles one draw of the noise; z carries a
leading axis of S seeds, and the search averages over them with the SAME Z on both sides (Eq. 6).
"""

import functools
import operator
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from prt_jax import devices
from prt_jax.models.convolution import CONVOLVED
from prt_jax.models.formulations import formulation_of
from prt_jax.pixels import as_pixels
from prt_jax.programs import as_program, is_eager
from prt_jax.randomness import normal

Restore = Callable[[jax.Array, Any], jax.Array]

# Scaling to a norm rounds it, up or down; aiming this much lower, the bound holds as it is written.
_ROUNDING = 1 - 1e-6
START_SHARE = 0.01  # of alpha: the largest pixel of I-FGSM's random start


def adversarial_search(
  restore: Restore,
  y: jax.Array,
  z: Any,
  key: jax.Array,
  *,
  eps: float,
  num_steps: int = 5,
  learning_rate: float = 1.0,
  reference: jax.Array | None = None,
  seeds_at_once: int = 0,
) -> jax.Array:
  """Paper A's inner maximisation (Eq. 6, App. E.2.3): Adam with projection to the eps-ball after each step.

  The start is a random direction of norm eps (our reading: at delta = 0 the gradient is exactly 0).
  y + delta is not clipped to [0, 1].

  Args:
    restore: (y, z_s) -> x for one seed's z_s; traced once, vmapped over the seeds.
    y: measurements [B, ...].
    z: a pytree, leaves [S, B, ...].
    key: a typed key, or one an example ([B]), for the start.
    eps: L2 bound of delta over one measurement, pixels in [0, 1].
    num_steps: Adam steps.
    learning_rate: Adam's, betas (0.9, 0.999); its state starts anew in each call.
    reference: [S, B, ...], the restorations of y where the caller has them already.
    seeds_at_once: see over_seeds.

  Returns:
    delta, shaped like y, ||delta||_2 <= eps for each example; no gradient flows through it.
  """
  restore_all = jax.vmap(restore, (None, 0))
  if reference is None:
    reference = over_seeds(functools.partial(restore_all, y), z, seeds_at_once)
  reference = jax.lax.stop_gradient(reference)

  def squares(y, reference, z):
    return jnp.sum((restore_all(y, z) - reference) ** 2)

  def total_change(delta):
    # Summed over the batch, so that each example's gradient is its own; a mean would bring it near Adam's epsilon.
    return sum_over_seeds(squares, y + delta, reference, z, seeds_at_once) / len(reference)

  delta = ascend(total_change, key, y.shape, eps=eps, num_steps=num_steps, learning_rate=learning_rate)
  return jax.lax.stop_gradient(delta)


def ascend(
  total_change: Callable[[jax.Array], jax.Array],
  key: jax.Array,
  shape: tuple[int, ...],
  *,
  eps: float,
  num_steps: int,
  learning_rate: float,
  unroll: bool | None = None,
) -> jax.Array:
  """adversarial_search's steps for any objective of delta, a sum over the examples -> delta of the given shape.

  unroll: write the steps out, as a CPU wants, on which a loop around convolutions is several times slower; else one
  loop, whose body an accelerator's compiler sees once. None: as suits JAX's default backend.
  """
  # With respect to delta alone: no gradient of a weight is computed. Jitted, the steps share one trace.
  gradient = jax.jit(jax.grad(total_change))

  def step(_, search):
    return search_step(search, gradient(search.delta), eps, learning_rate)

  search = start_search(key, shape, eps)
  if formulation_of(None).unrolls_search if unroll is None else unroll:
    for i in range(num_steps):
      search = step(i, search)
  else:
    search = jax.lax.fori_loop(0, num_steps, step, search)
  return search.delta


class Search(NamedTuple):
  """Where an inner search is: delta [B, ...], and the state of its Adam."""

  delta: jax.Array
  adam: optax.ScaleByAdamState


_ADAM = optax.scale_by_adam(b1=0.9, b2=0.999)
_KEPT = jax.checkpoint_policies.save_only_these_names(CONVOLVED)


def over_seeds(function: Callable[[Any], Any], z: Any, seeds_at_once: int = 0) -> Any:
  """function(z), of any number of seeds, for all of them: leaves of z and of the outputs [S, ...].

  seeds_at_once: how many go through together, 0 = all. Fewer go one group after the other in a loop that keeps no
  intermediate values for gradients but the results of our nets' convolutions, and computes the others again: little
  more than the memory of one group. On a CPU it is faster nonetheless, with our nets (models.convolution): its caches
  hold one group's images.
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


def change(restore: Restore, y: jax.Array, z: Any, delta: jax.Array, reference: jax.Array) -> jax.Array:
  """E_Z ||restore(y + delta, Z) - reference||^2 of each example, a sum over pixels: what the search maximises, [B]."""
  difference = jax.vmap(lambda z_s: restore(y + delta, z_s))(z) - reference
  return jnp.sum(difference**2, axis=(0, *range(2, difference.ndim))) / reference.shape[0]


def start_search(key: jax.Array, shape: tuple[int, ...], eps: float) -> Search:
  """A random direction of norm eps for each example; key: one, or one an example."""
  delta = to_sphere(normal(key, shape), eps)
  return Search(delta, _ADAM.init(delta))


def search_step(search: Search, gradient: jax.Array, eps: float, learning_rate: float | jax.Array) -> Search:
  """One Adam step up the gradient [B, ...] of the change, projected to the eps-ball."""
  ascent, adam = _ADAM.update(gradient, search.adam)
  return Search(project_to_ball(search.delta + learning_rate * ascent, eps), adam)


def conditional_step(delta: jax.Array, gradient: jax.Array, eps: float, share: float | jax.Array) -> jax.Array:
  """A step on the eps-sphere toward the gradient's direction, for searches that last.

  to_sphere((1 - share) delta + share eps gradient / ||gradient||): Frank-Wolfe on the ball, drawn out
  to the sphere. On a linear restorer share = 1 is power iteration and finds the true maximum, where
  Adam, whose steps are near a sign's, ends near a vector of equal magnitudes.
  """
  return to_sphere((1 - share) * delta + share * to_sphere(gradient, eps), eps)


def ifgsm(restore: Restore, y: jax.Array, z: Any, key: jax.Array, *, alpha: float, num_steps: int = 50) -> jax.Array:
  """I-FGSM as in Choi et al. 2019, averaged over seeds as in paper A, App. G.

  delta += alpha / num_steps * sign(gradient), then clipped to [-alpha, alpha] and so that y + delta
  stays in [0, 1] (where y is); the objective is E_Z ||restore(y, Z) - restore(y + delta, Z)||_2. The start is
  uniform noise of a hundredth of alpha (our reading: at 0 the gradient is 0).

  On a CPU the steps are calls of one compiled step, since XLA's loops around convolutions are
  several times slower there; elsewhere, and inside a jit of the caller's, they are one compiled loop.

  Args:
    restore, y, z, key: as in adversarial_search; y in [0, 1], or uint8. Programs are compiled once for what restore
      computes, whatever the values of its weights (programs.as_program). A restore with an attribute `eager` that is
      true is neither traced nor vmapped, only differentiated.
    alpha: sup-norm bound, pixels in [0, 1] (the paper's alpha / 255).
    num_steps: T.

  Returns:
    delta, shaped like y, |delta| <= alpha everywhere.

  Raises:
    UserError: pixels of y in another range.
  """
  y = jnp.asarray(as_pixels(y, "ifgsm"))
  restore = as_program(restore, y, first_draw(z))
  uniform = jax.random.uniform if key.ndim == 0 else jax.vmap(jax.random.uniform, (0, None))
  noise = uniform(key, y.shape if key.ndim == 0 else y.shape[1:])
  delta = clip_change(y, START_SHARE * alpha * (2 * noise - 1), alpha)
  eager = is_eager(restore)
  reference = (restore_seeds if eager else compiled_restore_seeds)(restore, y, z)
  distance = jax.tree_util.Partial(_distance, restore, z, jax.lax.stop_gradient(reference))
  return sign_ascent(distance, y, delta, alpha=alpha, num_steps=num_steps, eager=eager)


def _distance(restore, z, reference, attacked_y):
  difference = restore_seeds(restore, attacked_y, z) - reference
  squares = jnp.sum(difference**2, axis=range(2, difference.ndim))
  # The sign of the gradient does not see this guard; without it, no change at all would give NaN.
  return jnp.sum(jnp.sqrt(squares + 1e-20)) / reference.shape[0]


def sign_ascent(
  objective: jax.tree_util.Partial, y: jax.Array, delta: jax.Array, *, alpha: float, num_steps: int, eager: bool = False
) -> jax.Array:
  """I-FGSM's steps for any objective: delta += alpha / num_steps * sign(gradient), clipped as in ifgsm.

  Args:
    objective: y + delta -> a number, a sum over the examples; its arguments in the Partial are not differentiated.
    y: measurements [B, ...] in [0, 1].
    delta: the start.
    alpha, num_steps: as in ifgsm.
    eager: call the objective as it is, without compiling it.

  Returns:
    delta; no gradient flows through it.
  """
  traced = any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves((objective, y, delta)))
  if traced or not (eager or devices.backend() == "cpu"):
    objective, y, delta = jax.lax.stop_gradient((objective, y, delta))
    return _ascent_loop(objective, y, delta, alpha, num_steps)
  step = _ascent_step if eager else _compiled_ascent_step
  for _ in range(num_steps):
    delta = step(objective, y, delta, alpha, alpha / num_steps)
  return delta


def _ascent_step(objective, y, delta, alpha, step_size):
  return clip_change(y, delta + step_size * jnp.sign(jax.grad(objective)(y + delta)), alpha)


@functools.partial(jax.jit, static_argnames="num_steps")
def _ascent_loop(objective, y, delta, alpha, num_steps):
  def step(_, delta):
    return _ascent_step(objective, y, delta, alpha, alpha / num_steps)

  return jax.lax.fori_loop(0, num_steps, step, delta)


_compiled_ascent_step = jax.jit(_ascent_step)


def clip_change(y: jax.Array, delta: jax.Array, alpha: float | jax.Array) -> jax.Array:
  """delta cut to [-alpha, alpha], and so that y + delta stays in [0, 1] (keep_in_range)."""
  return jnp.clip(keep_in_range(y, delta), -alpha, alpha)


def keep_in_range(y: jax.Array, delta: jax.Array) -> jax.Array:
  """delta cut so that y + delta stays in [0, 1], which it only shortens.

  y + delta is rounded, so the range is imposed on the sum. Noise may have put y itself outside [0, 1]: then the range
  reaches to y, so that delta is a change of the attack's alone.
  """
  return jnp.clip(y + delta, jnp.minimum(y, 0), jnp.maximum(y, 1)) - y


def first_draw(z: Any) -> Any:
  """The first seed's part of z, leaves [S, ...] -> [...]."""
  return jax.tree.map(operator.itemgetter(0), z)


def restore_seeds(restore: Restore, y: jax.Array, z: Any) -> jax.Array:
  """One restoration a seed: [S, B, ...]."""
  if is_eager(restore):
    seeds = range(len(jax.tree.leaves(z)[0]))
    return jnp.stack([restore(y, jax.tree.map(operator.itemgetter(seed), z)) for seed in seeds])
  return jax.vmap(restore, (None, 0))(y, z)


compiled_restore_seeds = jax.jit(restore_seeds)


def l2_norm(delta: jax.Array) -> jax.Array:
  """The L2 norm of each example: [B, ...] -> [B]."""
  return jnp.sqrt(jnp.sum(delta**2, axis=range(1, delta.ndim)))


def _scaled(delta: jax.Array, scale: jax.Array) -> jax.Array:
  return delta * scale.reshape(-1, *[1] * (delta.ndim - 1))


def to_sphere(delta: jax.Array, eps: float) -> jax.Array:
  """Each example scaled to the norm eps."""
  return _scaled(delta, _ROUNDING * eps / jnp.maximum(l2_norm(delta), jnp.finfo(delta.dtype).tiny))


def project_to_ball(delta: jax.Array, eps: float) -> jax.Array:
  """Each example moved to the nearest point of the L2 ball of radius eps."""
  norm = l2_norm(delta)
  return _scaled(delta, jnp.where(norm > _ROUNDING * eps, _ROUNDING * eps / jnp.maximum(norm, _ROUNDING * eps), 1.0))
