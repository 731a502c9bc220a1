"""Paper A's inner search: the change of a measurement, in an L2 ball, that changes its restoration most."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from prt_jax.attacks.changes import project_to_ball, to_sphere
from prt_jax.attacks.draws import Restore
from prt_jax.models.formulations import formulation_of
from prt_jax.randomness import normal


def adversarial_search(
  restore: Restore,
  y: jax.Array,
  z: Any,
  key: jax.Array,
  *,
  eps: float,
  num_steps: int = 5,
  learning_rate: float = 1.0,
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

  Returns:
    delta, shaped like y, ||delta||_2 <= eps for each example; no gradient flows through it.

  Example:
    >>> y, z = jnp.full((1, 2, 2, 1), 0.5), jnp.zeros((3, 1))  # three draws that are not used
    >>> delta = adversarial_search(lambda y, z: 2 * y, y, z, jax.random.key(0), eps=0.1)
    >>> print(f"{jnp.linalg.norm(delta):.4f}")
    0.1000
  """
  restore_all = jax.vmap(restore, (None, 0))
  reference = jax.lax.stop_gradient(restore_all(y, z))

  def total_change(delta):
    # Summed over the batch, so that each example's gradient is its own; a mean would bring it near Adam's epsilon.
    return jnp.sum((restore_all(y + delta, z) - reference) ** 2) / len(reference)

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

  Example:
    >>> slope = jnp.array([[3.0, 4.0]])
    >>> settings = {"eps": 1.0, "num_steps": 50, "learning_rate": 0.1}
    >>> delta = ascend(lambda d: jnp.sum(slope * d), jax.random.key(0), (1, 2), **settings)
    >>> print((jnp.sum(slope * delta) > 4.9) & (jnp.linalg.norm(delta) < 1.0001))  # 5 is the largest on the unit ball
    True
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
  """Where an inner search is: delta [B, ...], and the state of its Adam, () where it has none.

  Example:
    >>> search = start_search(jax.random.key(0), (2, 3), eps=0.5)
    >>> print(search.delta.shape)
    (2, 3)
  """

  delta: jax.Array
  adam: Any


_ADAM: Any = optax.scale_by_adam(b1=0.9, b2=0.999)


def change(restore: Restore, y: jax.Array, z: Any, delta: jax.Array, reference: jax.Array) -> jax.Array:
  """E_Z ||restore(y + delta, Z) - reference||^2 of each example, a sum over pixels: what the search maximises, [B].

  Example:
    >>> y, z, delta = jnp.zeros((1, 2)), jnp.zeros((1, 1)), jnp.array([[0.3, 0.4]])
    >>> print(change(lambda y, z: 2 * y, y, z, delta, jnp.zeros((1, 1, 2))))
    [1.]
  """
  difference = jax.vmap(lambda z_s: restore(y + delta, z_s))(z) - reference
  return jnp.sum(difference**2, axis=(0, *range(2, difference.ndim))) / reference.shape[0]


def start_search(key: jax.Array, shape: tuple[int, ...], eps: float) -> Search:
  """A random direction of norm eps for each example; key: one, or one an example.

  Example:
    >>> search = start_search(jax.random.key(0), (2, 3), eps=0.5)
    >>> print(np.round(jnp.linalg.norm(search.delta, axis=1), 4))
    [0.5 0.5]
  """
  delta = to_sphere(normal(key, shape), eps)
  return Search(delta, _ADAM.init(delta))


def search_step(search: Search, gradient: jax.Array, eps: float, learning_rate: float | jax.Array) -> Search:
  """One Adam step up the gradient [B, ...] of the change, projected to the eps-ball.

  Example:
    >>> search = start_search(jax.random.key(0), (1, 2), eps=1.0)
    >>> search = search_step(search, jnp.array([[1.0, 0.0]]), eps=1.0, learning_rate=100.0)
    >>> print(np.round(search.delta, 1))
    [[1. 0.]]
  """
  ascent, adam = _ADAM.update(gradient, search.adam)
  return Search(project_to_ball(search.delta + learning_rate * ascent, eps), adam)


def conditional_step(delta: jax.Array, gradient: jax.Array, eps: float, share: float | jax.Array) -> jax.Array:
  """A step on the eps-sphere toward the gradient's direction, for searches that last.

  to_sphere((1 - share) delta + share eps gradient / ||gradient||): Frank-Wolfe on the ball, drawn out
  to the sphere. On a linear restorer share = 1 is power iteration and finds the true maximum, where
  Adam, whose steps are near a sign's, ends near a vector of equal magnitudes.

  Example:
    >>> print(np.round(conditional_step(jnp.array([[1.0, 0.0]]), jnp.array([[0.0, 5.0]]), eps=1.0, share=1.0), 4))
    [[0. 1.]]
  """
  return to_sphere((1 - share) * delta + share * to_sphere(gradient, eps), eps)
