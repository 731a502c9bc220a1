"""The robustness of a toy estimator (paper A, Eqs. 6 and 7): under the training attack, and the exact maximum.

Estimators are functions restore(y, z) -> second coordinate: [B,1], one draw's leaves [B,...] -> [B,1].
"""

import functools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from scipy.integrate import quad

from prt_jax.attacks import adversarial_search, change

_CHUNK = 200  # measurements worked on at once: their activations fit into a processor's cache
_GRID = 8  # perturbations tried on each side of 0, the last one eps itself


def largest_change(restore: Callable, y: jax.Array, z, reference: jax.Array, eps: float) -> jax.Array:
  """[B]: Eq. 6 by trying every delta of a grid on [-eps, eps], its ends included: y is one number."""
  tried = eps * jnp.arange(1, _GRID + 1) / _GRID
  deltas = jnp.concatenate([tried, -tried])
  return jnp.max(jax.lax.map(lambda delta: change(restore, y, z, delta, reference), deltas), axis=0)


@functools.partial(jax.jit, static_argnames=("restore", "attack"))
def root_robustness(restore: Callable, parameters, y: jax.Array, z, key: jax.Array, attack: tuple):
  """sqrt(R) of Table 3, in the units of the plane: (under the attack, exactly).

  Args:
    restore: (parameters, y, z) -> [B,1].
    y: [B,1], B a multiple of 200 or smaller.
    z: a pytree, leaves [S,B,...].
    key: for the attack's starts.
    attack: ((name, value), ...) of adversarial_search's eps, num_steps and learning_rate.
  """
  attack, num_chunks = dict(attack), max(1, len(y) // _CHUNK)
  restore = functools.partial(restore, parameters)

  def one_chunk(chunk):
    y, z, key = chunk
    z = jax.tree.map(lambda leaf: jnp.moveaxis(leaf, 1, 0), z)
    reference = jax.vmap(restore, (None, 0))(y, z)
    attacked = change(restore, y, z, adversarial_search(restore, y, z, key, **attack), reference)
    return attacked, largest_change(restore, y, z, reference, attack["eps"])

  chunks = (
    y.reshape(num_chunks, -1, 1),
    jax.tree.map(lambda leaf: jnp.moveaxis(leaf, 0, 1).reshape(num_chunks, -1, len(leaf), *leaf.shape[2:]), z),
    jax.random.split(key, num_chunks),
  )
  return tuple(jnp.sqrt(jnp.mean(changes)) for changes in jax.lax.map(one_chunk, chunks))


def posterior_sampler_bound(eps: float) -> float:
  """The least sqrt(R) of an exact posterior sampler on the disk, whatever its seeds do.

  Given y, the second coordinate is uniform on [-h, h], h = sqrt(1 - y^2), and the mean squared change of
  a coupling is at least W_2^2 = (h(y + delta) - h(y))^2 / 3 (App. D). At first order E h'(y)^2 = 1, so
  the bound is eps / sqrt(3); near |y| = 1, where y + delta leaves the disk, only inner delta are counted.
  """

  def half_width(y):
    return max(0.0, 1 - y**2) ** 0.5

  def density_times_w2_squared(y):
    inside = [y + delta for delta in (-eps, eps) if abs(y + delta) <= 1]
    return 2 / math.pi * half_width(y) * max((half_width(moved) - half_width(y)) ** 2 for moved in inside) / 3

  return (2 * quad(density_times_w2_squared, 0, 1, limit=500)[0]) ** 0.5
