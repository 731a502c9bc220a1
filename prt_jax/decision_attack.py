"""The decision attack of paper B: change a measurement a little, so that what is seen in its restoration is another.

A restorer that can be steered makes the decisions behind it steerable (a classifier of restored faces, say).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from prt_jax.attacks import Restore, first_draw, restore_seeds, sign_ascent
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
) -> DecisionAttack:
  """I-FGSM through restorer and classifier toward a class (paper B: alpha 16/255, T 100).

  It minimises the target's cross-entropy, averaged over the seeds, from delta = 0, where unlike the change of the
  output this objective has a slope.

  Args:
    restore, y, z: as in attacks.ifgsm; y in [0, 1].
    classify: images [B,H,W,3], about [0, 1], -> logits [B, classes]; differentiable.
    target: the class that the attack wants.
    alpha: sup-norm bound, pixels in [0, 1].
    num_steps: T.

  Raises:
    ValueError: logits of a wrong shape, a target that is no class, or pixels of y in another range.

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
  logits = _by_seed(classify(x), z)
  if logits.ndim != 3 or logits.shape[1] != len(y):
    raise ValueError(f"classify returns {logits.shape[1:]} for {len(y)} images: it must return logits [B, classes]")
  if not 0 <= target < logits.shape[-1]:
    raise ValueError(f"target={target} is no class: classify returns {logits.shape[-1]} logits")
  objective = jax.tree_util.Partial(_log_probability, restore, classify, z, jnp.int32(target))
  delta = sign_ascent(objective, y, jnp.zeros_like(y), alpha=alpha, num_steps=num_steps, eager=eager)
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
  log_probabilities = jax.nn.log_softmax(_logits(restore, classify, z, attacked_y))
  return jnp.sum(log_probabilities[..., target]) / len(log_probabilities)


def _rate(logits, target):
  return float(jnp.mean(jnp.argmax(logits, -1) == target))
