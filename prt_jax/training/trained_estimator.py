"""The trained estimator as a Restorer, which is how all that measures has it: a run that trains, or one on disk."""

import functools
import json
from typing import Any, NamedTuple

import jax
from ml_collections import ConfigDict

from prt_jax.degradations.registry import fields_of
from prt_jax.precision import in_float32
from prt_jax.randomness import zero_noise
from prt_jax.restorers.restorer import Restorer
from prt_jax.training.estimator import begin, complete_seeds, draw_noise, restore
from prt_jax.training.gan import Game
from prt_jax.training.state import TrainState


class Weights(NamedTuple):
  """What a restoration needs of a training state."""

  params: Any
  batch_stats: Any

  @classmethod
  def of(cls, state: TrainState) -> "Weights":
    """The generator's part of a state."""
    return cls(state.generator_params, state.batch_stats)


def run_restorer(game: Game, weights: Weights, name: str) -> Restorer:
  """The estimator as it is evaluated: running averages, consistent outputs, any number of draws.

  Args:
    game: a run's, its nets in what is measured in (precision.MEASURING).
    weights: of a training state.
    name: for reports.
  """
  stochastic = game.config.model.stochastic

  @in_float32
  def apply(weights, y, z):
    if not stochastic:
      z = jax.tree.map(lambda leaf: leaf[0], zero_noise(len(y), game.noise_shapes))
    return restore(game, weights.params, weights.batch_stats, y, z, train=False)[0]

  @in_float32
  def apply_seeds(weights, y, z):
    if not stochastic:
      z = zero_noise(len(y), game.noise_shapes)
    begun, batch_stats = begin(game, weights.params, weights.batch_stats, y, train=False)
    return complete_seeds(game, weights.params, batch_stats, begun, z, train=False)[0]

  @functools.partial(jax.jit, static_argnums=(1, 2))
  def draw(keys, measurement_shape, num_seeds):
    del measurement_shape  # the run's own
    return draw_noise(game, keys, num_seeds)

  model = game.config.model.to_dict()
  return Restorer(
    name=name,
    apply=apply,
    params=weights,
    draw_noise=draw if stochastic else None,
    degradation=game.degradation,
    apply_seeds=apply_seeds,
    image_size=game.config.data.image_size,
    training_attack=training_attack(game.config),
    identity=json.dumps({"model": model, "degradation": fields_of(game.config.degradation)}, sort_keys=True),
  )


def training_attack(config: ConfigDict) -> dict:
  """Restorer.training_attack of a run with this config."""
  attack = {name: config.attack[name] for name in ("eps", "num_steps", "learning_rate")}
  longer = ("strong_num_examples", "strong_num_steps", "strong_num_restarts")
  return attack | {name: config.eval[name] for name in longer}
