"""The attacks that evaluation and audit run, a row each: where a search starts, how it steps, which delta it keeps.

Steps are separate calls of small programs: one gradient serves all rows, on a CPU a loop of XLA's around convolutions
is several times slower, and a PyTorch module cannot be compiled at all.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from prt_jax.attacks import (
  START_SHARE,
  Search,
  clip_change,
  conditional_step,
  project_to_ball,
  search_step,
  start_search,
  to_sphere,
)

_GUARD = 1e-20  # under roots, whose gradient at 0 would be NaN


def mean_square(attacked: jax.Array, restored: jax.Array) -> jax.Array:
  """E_Z ||f(y + delta, Z) - f(y, Z)||^2 of [S,B,H,W,3]: [B] (paper A, Eq. 6)."""
  difference = attacked - restored
  return jnp.sum(difference**2, axis=(0, *range(2, difference.ndim))) / len(restored)


def mean_distance(attacked: jax.Array, restored: jax.Array) -> jax.Array:
  """E_Z ||f(y + delta, Z) - f(y, Z)||, [B] (paper A, App. G)."""
  squares = jnp.sum((attacked - restored) ** 2, axis=range(2, restored.ndim))
  return jnp.mean(jnp.sqrt(squares + _GUARD), 0)


def visible_distance(attacked: jax.Array, restored: jax.Array) -> jax.Array:
  """mean_distance of the pictures, which are clipped to [0, 1]: what lies beyond black and white is not seen."""
  return mean_distance(jnp.clip(attacked, 0, 1), jnp.clip(restored, 0, 1))


OBJECTIVES = (mean_square, mean_distance, visible_distance)


class Step(NamedTuple):
  """What a step needs to know of its search, numbers all: radius of the bound, Adam's learning rate, which step it is
  of how many."""

  radius: Any
  learning_rate: Any
  number: Any
  num_steps: Any


@dataclasses.dataclass(frozen=True)
class Attack:
  """Attributes:
  title: for reports.
  norm: 'L2' over one measurement, or 'sup'; the radius bounds it, pixels in [0, 1].
  objective: one of OBJECTIVES, which it maximises.
  start: (radius, share of it, keys [B], y) -> Search.
  step: (Step, y, Search, gradient of the objective) -> Search.
  keeps_best: the iterate with the largest objective counts; otherwise the last.
  definition: what a reader must know, one sentence.
  start_share: of the radius, how far from 0 a start may be.
  along: (radius, y, direction) -> delta: beside the random starts there is one along the direction in which the
    restorer's Jacobian stretches most; None: there is none.
  curve_steps: where curves over bounds have it: its steps there, in those of I-FGSM; 0: they do not.
  """

  title: str
  norm: str
  objective: Callable[[jax.Array, jax.Array], jax.Array]
  start: Callable[[Any, Any, jax.Array, jax.Array], Search]
  step: Callable[[Step, jax.Array, Search, jax.Array], Search]
  keeps_best: bool
  definition: str
  start_share: float = 1.0
  along: Callable[[Any, jax.Array, jax.Array], jax.Array] | None = None
  curve_steps: float = 0.0


def on_sphere(radius: Any, share: Any, keys: jax.Array, y: jax.Array) -> Search:
  """A random direction of norm radius for each measurement."""
  del share
  return start_search(keys, y.shape, radius)


def in_cube(radius: Any, share: Any, keys: jax.Array, y: jax.Array) -> Search:
  """Uniform noise of a share of the radius."""
  noise = jax.vmap(jax.random.uniform, (0, None))(keys, y.shape[1:])
  return Search(clip_change(y, share * radius * (2 * noise - 1), radius), ())


def _corner_along(radius, y, direction):
  return clip_change(y, radius * jnp.sign(direction), radius)


def _sphere_along(radius, y, direction):
  del y
  return to_sphere(direction, radius)


def _adam(step, y, search, gradient):
  del y
  return search_step(search, gradient, step.radius, step.learning_rate)


def _toward_gradient(step, y, search, gradient):
  del y
  share = 1 - step.number / step.num_steps
  return Search(conditional_step(search.delta, gradient, step.radius, share), search.adam)


def _sign(step, y, search, gradient):
  size = step.radius / step.num_steps
  return Search(clip_change(y, search.delta + size * jnp.sign(gradient), step.radius), ())


def _decaying(step):
  """The radius, .3 and .08 of it, a third of the steps each."""
  third = jnp.floor(3 * step.number / step.num_steps).astype(jnp.int32)
  return step.radius * jnp.array([1.0, 0.3, 0.08], jnp.float32)[third]


def _long_sign(step, y, search, gradient):
  return Search(clip_change(y, search.delta + _decaying(step) * jnp.sign(gradient), step.radius), ())


def _long_l2(step, y, search, gradient):
  del y
  delta = search.delta + _decaying(step) * to_sphere(gradient, 1.0)
  return Search(project_to_ball(delta, step.radius), search.adam)


ATTACKS = {
  "search": Attack(
    "paper A's inner search", "L2", mean_square, on_sphere, _adam, False,
    "Paper A's inner search (Eq. 6): Adam steps projected to the ball of radius eps, from a random direction of norm "
    "eps, the mean over draws of Z of the squared change; its last iterate.", curve_steps=1.0,
  ),
  "longer": Attack(
    "the longer search", "L2", mean_square, on_sphere, _toward_gradient, True,
    "Steps on the sphere of radius eps toward the gradient's direction, long at first (attacks.conditional_step), from "
    "several random directions; the best iterate of all and of the training attack.",
  ),
  "ifgsm": Attack(
    "I-FGSM", "sup", mean_distance, in_cube, _sign, False,
    "Choi et al. 2019 as in paper A, App. G: steps of alpha / T along the gradient's sign, from uniform noise of a "
    "hundredth of alpha; its last iterate.", START_SHARE, curve_steps=1.0,
  ),
  "strong_sup": Attack(
    "the stronger attack", "sup", visible_distance, in_cube, _long_sign, True,
    "Steps of alpha, .3 alpha and .08 alpha along the gradient's sign, a third of them each, from uniform noise of "
    "alpha and from the signs of the Jacobian's singular direction; the change of the pictures, clipped to [0, 1]; the "
    "best iterate of all.", along=_corner_along, curve_steps=1.2,
  ),
  "strong_l2": Attack(
    "the stronger attack, L2", "L2", visible_distance, on_sphere, _long_l2, True,
    "Steps of eps, .3 eps and .08 eps along the gradient, a third of them each, projected to the ball of radius eps, "
    "from random directions of norm eps and from the Jacobian's singular one; the change of the pictures, clipped to "
    "[0, 1]; the best iterate of all.", along=_sphere_along, curve_steps=1.2,
  ),
}  # fmt: skip

# The papers' own attack in each norm, and the stronger one that stands beside it.
PAPERS = {"sup": "ifgsm", "L2": "search"}
STRONGER = {"sup": "strong_sup", "L2": "strong_l2"}


def curve_attacks(norm: str = "sup") -> dict[str, float]:
  """{attack: its curve_steps} of those that curves over bounds in a norm have."""
  return {name: row.curve_steps for name, row in ATTACKS.items() if row.curve_steps and row.norm == norm}


def run_name(attack: str, alpha: float) -> str:
  """Of a row's run at a bound of curves, alpha in 1/255: the name of what is measured and kept of it."""
  return f"{attack}_{alpha:g}"


def better(
  best: tuple[jax.Array, jax.Array] | None, delta: jax.Array, change: jax.Array
) -> tuple[jax.Array, jax.Array]:
  """(delta, change) with, for each example, the one that changes more: [..., b, h,w,C] and [..., b]."""
  return (delta, change) if best is None else _better(best, delta, change)


@jax.jit
def _better(best, delta, change):
  wins = (change > best[1]).reshape(change.shape + (1,) * (delta.ndim - change.ndim))
  return jnp.where(wins, delta, best[0]), jnp.maximum(change, best[1])
