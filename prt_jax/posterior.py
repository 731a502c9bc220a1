"""The trained estimator as it is evaluated: running averages, float32 products, noise by the example alone.

The key is the same in every run, so that two runs restore the same measurements with the same noise,
and a value depends neither on batch size nor on devices.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from prt_jax.game import Game, draw_noise, restore
from prt_jax.precision import in_float32
from prt_jax.randomness import Stream, example_keys
from prt_jax.state import TrainState


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
