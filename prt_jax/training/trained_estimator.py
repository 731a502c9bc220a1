"""The trained estimator as it is evaluated: running averages, float32 products, noise by the example alone.

The key is the same in every run, so that two runs restore the same measurements with the same noise,
and a value depends neither on batch size nor on devices.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from prt_jax.precision import in_float32
from prt_jax.randomness import Stream, example_keys, zero_noise
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


def keys(stream: Stream, number: jax.Array | int, examples: jax.Array) -> jax.Array:
  """Typed keys [B] of the evaluation: number tells draws, or attack starts, of one stream apart."""
  return example_keys(jax.random.key(0), number, stream, examples)


def measure(game: Game, images: jax.Array, examples: jax.Array) -> jax.Array:
  """Measurements y of images [B,H,W,3] float32; examples [B] are their rows in the data set."""
  return game.degradation.degrade(images, keys(Stream.EVALUATION_MEASUREMENT, 0, examples))


def draw(game: Game, examples: jax.Array, draws: Sequence[int] | jax.Array) -> tuple[jax.Array, ...]:
  """The numbered draws of Z for each example, leaves [len(draws), B, ...]."""

  def one(number):
    noise = draw_noise(game, keys(Stream.EVALUATION_NOISE, number, examples), 1)
    return jax.tree.map(lambda leaf: leaf[0], noise)

  return jax.vmap(one)(jnp.asarray(draws))


def make_restore(game: Game, weights: Weights) -> Callable[[jax.Array, Any], jax.Array]:
  """restore(y, z) -> consistent images [B,H,W,3] for one draw z, the form that attacks take."""

  @in_float32
  def restore_one(y, z):
    return restore(game, weights.params, weights.batch_stats, y, z, train=False)[0]

  return restore_one


@in_float32
def restore_seeds(game: Game, weights: Weights, y: jax.Array, z: tuple[jax.Array, ...]) -> jax.Array:
  """make_restore's restorations for all draws, z [S,B,...] -> [S,B,H,W,3], in the net's own way through them."""
  begun, batch_stats = begin(game, weights.params, weights.batch_stats, y, train=False)
  return complete_seeds(game, weights.params, batch_stats, begun, z, train=False)[0]


def no_noise(game: Game, y: jax.Array) -> tuple[jax.Array, ...]:
  """A deterministic model's one draw for measurements y [B, ...]."""
  return jax.tree.map(lambda noise: noise[0], zero_noise(len(y), game.noise_shapes))
