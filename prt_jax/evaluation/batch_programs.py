"""The programs that a Runner is made of: each a function of what is shared and of one device's examples."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from prt_jax import devices
from prt_jax.attacks import Search, to_sphere
from prt_jax.attacks.table import OBJECTIVES, Attack, Step
from prt_jax.evaluation import measures
from prt_jax.evaluation.measures import Sample, Settings
from prt_jax.features.extractor import levels
from prt_jax.lipschitz import jacobian_stretch
from prt_jax.precision import in_float32

DEVICES, ONE, UNTRACED = "all devices", "one device", "untraced"
Spread = tuple[jax.Array, jax.Array, jax.Array]  # count [b], mean and summed squared deviation [b,H,W,3]


@functools.cache
def program(function: Callable, fixed: tuple, where: str) -> Callable:
  """function(*fixed, shared, *examples) over examples' leaves [D, ...]: compiled for where, or called as it is."""
  # One a function: another object would be compiled anew.
  def named(shared, *examples):
    return function(*fixed, shared, *examples)

  named.__name__ = function.__name__
  if where == DEVICES:
    return in_float32(devices.over_examples(named))
  run = jax.jit(named) if where == ONE else named

  def call(shared, *examples):
    outputs = run(shared, *jax.tree.map(lambda leaf: leaf[0], examples))
    return jax.tree.map(lambda leaf: leaf[None], outputs)

  return in_float32(call)


def extract(features: Callable, rounds: bool, params: Any, images: jax.Array) -> jax.Array:
  """Features [b,D] of images [b,H,W,3], as they would be after saving to 8 bits where the extractor rounds."""
  return features(params, levels(images, rounds))


def restore(seeds: Callable, y: jax.Array, z: Any) -> jax.Array:
  """All draws' restorations [S,b,H,W,3] of y [b,h,w,C]."""
  return seeds(y, z)


def gradient(
  shared: tuple[Callable, jax.Array], y: jax.Array, z: Any, restored: jax.Array, delta: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
  """(gradient [b, ...] of the objective by delta, the objective [b], the gradient's largest value [b])."""
  seeds, objective = shared
  attacked, pull = jax.vjp(lambda delta: seeds(y + delta, z), delta)
  change, cotangent = _objective_and_gradient(objective, attacked, restored)
  (gradient,) = pull(cotangent)
  return gradient, change, jnp.max(jnp.abs(gradient), range(1, gradient.ndim))


# Compiled by itself too, since PyTorch's modules are called untraced: a switch so called is compiled at every call.
@jax.jit
def _objective_and_gradient(objective, attacked, restored):
  def total(attacked):
    change = objective_of(objective, attacked, restored)
    return jnp.sum(change), change

  gradient, change = jax.grad(total, has_aux=True)(attacked)
  return change, gradient


def objective_of(objective: jax.Array, attacked: jax.Array, restored: jax.Array) -> jax.Array:
  """The objective of that number in OBJECTIVES, [b], of restorations [S,b,H,W,3]."""
  return jax.lax.switch(objective, OBJECTIVES, attacked, restored)


def start(begin: Callable, radius_and_share: tuple[Any, Any], keys: jax.Array, y: jax.Array) -> Search:
  """Where a search begins that starts as attacks with this Attack.start do: a Search for y [b,h,w,C], from keys [b]."""
  return begin(*radius_and_share, keys, y)


def step(attack: Attack, step: Step, y: jax.Array, search: Search, gradient: jax.Array) -> Search:
  """The Search after one step along the gradient [b,h,w,C]."""
  return attack.step(step, y, search, gradient)


def along(function: Callable, radius: Any, y: jax.Array, direction: jax.Array) -> jax.Array:
  """An Attack.along: where a search begins along a direction, [b,h,w,C]."""
  return function(radius, y, direction)


def compute(names: tuple[str, ...], settings: Settings, sample: Sample) -> dict[str, jax.Array]:
  """{measure: [b]} of a sample, see measures.compute."""
  return measures.compute(names, settings, sample)


def power(length: Any, delta: jax.Array, gradient: jax.Array, change: jax.Array) -> tuple[jax.Array, jax.Array]:
  """(||J^T u|| [b], the next delta) of a step of power iteration (lipschitz.jacobian_lower_bound).

  length: of delta, lipschitz.probe_length. gradient: of the squared change, at delta [b,h,w,C]; its program is the
  attacks', so that none is compiled for this.
  """
  moves = (jnp.max(jnp.abs(gradient), range(1, gradient.ndim)) > 0).reshape(-1, *[1] * (delta.ndim - 1))
  return jacobian_stretch(gradient, change), jnp.where(moves, to_sphere(gradient, length), delta)


def spread_of(_: Any, restored: jax.Array) -> Spread:
  """Running (count, mean, summed squared deviation) over draws (Welford), [b,H,W,3]."""
  mean = jnp.mean(restored, 0)
  return jnp.full(len(mean), len(restored), jnp.float32), mean, jnp.sum((restored - mean) ** 2, 0)


def add_draw(_: Any, spread: Spread, restored: jax.Array) -> Spread:
  """spread_of's sums with one more draw's restorations [b,H,W,3]."""
  count, mean, scatter = spread
  count = count + 1
  difference = restored - mean
  mean = mean + difference / count[:, None, None, None]
  return count, mean, scatter + difference * (restored - mean)


def std(_: Any, spread: Spread) -> jax.Array:
  """The standard deviation [b,H,W,3] that spread_of's sums say; the divisor is the draws less one."""
  count, _, scatter = spread
  return jnp.sqrt(scatter / jnp.maximum(count - 1, 1)[:, None, None, None])
