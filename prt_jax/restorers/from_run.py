"""A training state's estimator as a Restorer."""

import functools
import json

import jax

from prt_jax import posterior
from prt_jax.degradations.registry import fields_of
from prt_jax.game import Game, draw_noise
from prt_jax.posterior import Weights
from prt_jax.restorers.restorer import Restorer


def run_restorer(game: Game, weights: Weights, name: str) -> Restorer:
  """The estimator as it is evaluated: running averages, consistent outputs, any number of draws.

  Args:
    game: a run's, its nets in what is measured in (precision.MEASURING).
    weights: of a training state.
    name: for reports.
  """

  def apply(weights, y, z):
    return posterior.make_restore(game, weights)(y, z if game.config.model.stochastic else posterior.no_noise(game, y))

  def apply_seeds(weights, y, z):
    z = z if game.config.model.stochastic else jax.tree.map(lambda leaf: leaf[None], posterior.no_noise(game, y))
    return posterior.restore_seeds(game, weights, y, z)

  @functools.partial(jax.jit, static_argnums=(1, 2))
  def draw(keys, measurement_shape, num_seeds):
    del measurement_shape  # the run's own
    return draw_noise(game, keys, num_seeds)

  model = game.config.model.to_dict()
  return Restorer(
    name=name,
    apply=apply,
    params=weights,
    draw_noise=draw if game.config.model.stochastic else None,
    degradation=game.degradation,
    apply_seeds=apply_seeds,
    image_size=game.config.data.image_size,
    training_attack={name: game.config.attack[name] for name in ("eps", "num_steps", "learning_rate")},
    identity=json.dumps({"model": model, "degradation": fields_of(game.config.degradation)}, sort_keys=True),
  )
