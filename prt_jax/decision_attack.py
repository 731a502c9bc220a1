"""The decision attack of paper B: change a measurement a little, so that what is seen in its restoration is another.

A restorer that can be steered makes the decisions behind it steerable (a classifier of restored faces, say).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from prt_jax.attacks import Restore, Search, first_draw, restore_seeds, sign_ascent
from prt_jax.attacks.table import ATTACKS, Step, better
from prt_jax.pixels import as_pixels
from prt_jax.precision import in_float32
from prt_jax.programs import as_program, is_eager


class DecisionAttack(NamedTuple):
  """Attributes:
  delta: the change of the measurements, shaped like y.
  rate_before: share of the restorations, over examples and seeds, that are classified as the target.
  rate_after: the same under the attack.

  Example:
    >>> DecisionAttack(delta=jnp.zeros((1, 2, 2, 3)), rate_before=0.25, rate_after=1.0).rate_after
    1.0
  """

  delta: jax.Array
  rate_before: float
  rate_after: float


@in_float32
def decision_attack(
  restore: Restore,
  classify: Callable[[jax.Array], jax.Array],
  y: jax.Array,
  z: Any,
  *,
  target: int,
  alpha: float = 16 / 255,
  num_steps: int = 100,
  attack: str = "ifgsm",
  key: jax.Array | None = None,
) -> DecisionAttack:
  """An attack through restorer and classifier toward a class: the target's cross-entropy, averaged over the seeds.

  Args:
    restore, y, z: as in attacks.ifgsm; y in [0, 1].
    classify: images [B,H,W,3], about [0, 1], -> logits [B, classes]; differentiable.
    target: the class that the attack wants.
    alpha: sup-norm bound, pixels in [0, 1].
    num_steps: T, of each start.
    attack: "ifgsm", paper B's (alpha 16/255, T 100): from delta = 0, where unlike the change of the output this
      objective has a slope, its last iterate. "strong_sup", the steps of that row of attacks.table: from 0 and from
      uniform noise of alpha, the best iterate of all for each example; twice the gradients.
    key: a typed key for the noise; None: that of seed 0.

  Raises:
    ValueError: logits of a wrong shape, a target that is no class, pixels of y in another range, another attack.

  Example:
    >>> def classify(x):  # dark or bright
    ...   mean = jnp.mean(x, (1, 2, 3))
    ...   return jnp.stack([0.5 - mean, mean - 0.5], -1)
    >>> y, z = jnp.full((1, 4, 4, 3), 0.48), jnp.zeros((1, 1))
    >>> found = decision_attack(lambda y, z: y, classify, y, z, target=1)
    >>> found.rate_before, found.rate_after
    (0.0, 1.0)
  """
  y = jnp.asarray(as_pixels(y, "decision_attack"))
  restore = as_program(restore, y, first_draw(z))
  x = _pictures(restore, z, y)
  classify = as_program(classify, x)
  eager = is_eager(restore) or is_eager(classify)
  if attack not in ("ifgsm", "strong_sup"):
    raise ValueError(f"attack={attack} is neither ifgsm nor strong_sup")
  logits = _by_seed(classify(x), z)
  if logits.ndim != 3 or logits.shape[1] != len(y):
    raise ValueError(f"classify returns {logits.shape[1:]} for {len(y)} images: it must return logits [B, classes]")
  if not 0 <= target < logits.shape[-1]:
    raise ValueError(f"target={target} is no class: classify returns {logits.shape[-1]} logits")
  objective = jax.tree_util.Partial(_log_probability, restore, classify, z, jnp.int32(target))
  if attack == "ifgsm":
    total = jax.tree_util.Partial(_total, objective)
    delta = sign_ascent(total, y, jnp.zeros_like(y), alpha=alpha, num_steps=num_steps, eager=eager)
  else:
    key = jax.random.key(0) if key is None else key
    delta = _strong_ascent(objective, y, key, alpha, num_steps, _judge if eager else _compiled_judge)
  return DecisionAttack(delta, _rate(logits, target), _rate(_logits(restore, classify, z, y + delta), target))


def _logits(restore, classify, z, y):
  """[S, B, classes]."""
  return _by_seed(classify(_pictures(restore, z, y)), z)


def _pictures(restore, z, y):
  """[S B, H, W, 3]."""
  x = restore_seeds(restore, y, z)
  return x.reshape(-1, *x.shape[2:])


def _by_seed(logits, z):
  """[S B, classes] -> [S, B, classes]."""
  return logits.reshape(len(jax.tree.leaves(z)[0]), -1, *logits.shape[1:])


def _log_probability(restore, classify, z, target, attacked_y):
  """Of the target, the mean over seeds: [B]."""
  return jnp.mean(jax.nn.log_softmax(_logits(restore, classify, z, attacked_y))[..., target], 0)


def _total(objective, attacked_y):
  return jnp.sum(objective(attacked_y))


def _strong_ascent(objective, y, key, alpha, num_steps, judge):
  keys, best = jax.random.split(key, len(y)), None
  for search in (Search(jnp.zeros_like(y), ()), _STRONG.start(alpha, _STRONG.start_share, keys, y)):
    for number in range(num_steps):
      gradient, value = judge(objective, y + search.delta)
      best = better(best, search.delta, value)
      search = _strong_step(Step(alpha, 0.0, number, num_steps), y, search, gradient)
    best = better(best, search.delta, judge(objective, y + search.delta)[1])
  return best[0]


_STRONG = ATTACKS["strong_sup"]
_strong_step = jax.jit(_STRONG.step)


def _judge(objective, attacked_y):
  """(gradient [B, ...] of the objective's sum, the objective [B])."""

  def total(attacked_y):
    values = objective(attacked_y)
    return jnp.sum(values), values

  return jax.grad(total, has_aux=True)(attacked_y)


_compiled_judge = jax.jit(_judge)


def _rate(logits, target):
  return float(jnp.mean(jnp.argmax(logits, -1) == target))
