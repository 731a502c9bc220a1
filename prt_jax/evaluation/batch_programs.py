"""The programs that a Runner is made of: each a function of what is shared and of one device's examples."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp

from prt_jax import devices
from prt_jax.attacks import to_sphere
from prt_jax.attacks.table import OBJECTIVES
from prt_jax.evaluation import measures
from prt_jax.features.extractor import levels
from prt_jax.lipschitz import PROBE, jacobian_stretch
from prt_jax.precision import in_float32

DEVICES, ONE, UNTRACED = "all devices", "one device", "untraced"


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


def extract(features, rounds, params, images):
  """Features [b,D] of images [b,H,W,3], as they would be after saving to 8 bits where the extractor rounds."""
  return features(params, levels(images, rounds))


def restore(seeds, y, z):
  """All draws' restorations [S,b,H,W,3] of y [b,h,w,C]."""
  return seeds(y, z)


def gradient(shared, y, z, restored, delta):
  """(gradient [b, ...] of the objective by delta, the objective [b], the gradient's largest value [b])."""
  seeds, objective = shared
  attacked, pull = jax.vjp(lambda delta: seeds(y + delta, z), delta)
  change, cotangent = _objective_and_gradient(objective, attacked, restored)
  (gradient,) = pull(cotangent)
  return gradient, change, jnp.max(jnp.abs(gradient), range(1, gradient.ndim))


def _objective_and_gradient(objective, attacked, restored):
  def total(attacked):
    change = objective_of(objective, attacked, restored)
    return jnp.sum(change), change

  gradient, change = jax.grad(total, has_aux=True)(attacked)
  return change, gradient


def objective_of(objective, attacked, restored):
  """The objective of that number in OBJECTIVES, [b], of restorations [S,b,H,W,3]."""
  return jax.lax.switch(objective, OBJECTIVES, attacked, restored)


def start(begin, radius_and_share, keys, y):
  """Where a search begins that starts as attacks with this Attack.start do: a Search for y [b,h,w,C], from keys [b]."""
  return begin(*radius_and_share, keys, y)


def step(attack, step, y, search, gradient):
  """The Search after one step along the gradient [b,h,w,C]."""
  return attack.step(step, y, search, gradient)


def along(function, radius, y, direction):
  """An Attack.along: where a search begins along a direction, [b,h,w,C]."""
  return function(radius, y, direction)


def compute(names, settings, sample):
  """{measure: [b]} of a sample, see measures.compute."""
  return measures.compute(names, settings, sample)


def power(_, delta, gradient, change):
  """(||J^T u|| [b], the next delta) of a step of power iteration (lipschitz.jacobian_lower_bound).

  gradient: of the squared change, at delta [b,h,w,C]; its program is the attacks', so that none is compiled for this.
  """
  moves = (jnp.max(jnp.abs(gradient), range(1, gradient.ndim)) > 0).reshape(-1, *[1] * (delta.ndim - 1))
  return jacobian_stretch(gradient, change), jnp.where(moves, to_sphere(gradient, PROBE), delta)


def spread_of(_, restored):
  """Running (count, mean, summed squared deviation) over draws (Welford), [b,H,W,3]."""
  mean = jnp.mean(restored, 0)
  return jnp.full(len(mean), len(restored), jnp.float32), mean, jnp.sum((restored - mean) ** 2, 0)


def add_draw(_, spread, restored):
  """spread_of's sums with one more draw's restorations [b,H,W,3]."""
  count, mean, scatter = spread
  count = count + 1
  difference = restored - mean
  mean = mean + difference / count[:, None, None, None]
  return count, mean, scatter + difference * (restored - mean)


def std(_, spread):
  """The standard deviation [b,H,W,3] that spread_of's sums say; the divisor is the draws less one."""
  count, _, scatter = spread
  return jnp.sqrt(scatter / jnp.maximum(count - 1, 1)[:, None, None, None])
