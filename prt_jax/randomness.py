"""Every random number of a run is a function of (seed, step, example, purpose), never of a carried key.

So a resumed run repeats the uninterrupted one bit for bit, and what an example draws does not
depend on how many devices share the batch.
"""

import enum

import jax
import jax.numpy as jnp

# model.noise -> (key, shape, dtype) -> Z.
DISTRIBUTIONS = {"normal": jax.random.normal, "uniform": jax.random.uniform}


class Stream(enum.IntEnum):
  """What a random number is for; each purpose folds its own number into the key."""

  INIT_GENERATOR = 0
  INIT_CRITIC = 1
  MEASUREMENT = 2
  CRITIC_NOISE = 3
  GENERATOR_NOISE = 4
  ATTACK_START = 5
  EVALUATION_MEASUREMENT = 6
  EVALUATION_NOISE = 7
  EVALUATION_ATTACK = 8
  EVALUATION_JACOBIAN = 9


def example_keys(key: jax.Array, step: jax.Array | int, stream: Stream, examples: jax.Array) -> jax.Array:
  """One typed key an example: examples [B] (positions in the global batch, or data set indices) -> keys [B]."""
  step_key = jax.random.fold_in(jax.random.fold_in(key, stream), step)
  return jax.vmap(lambda example: jax.random.fold_in(step_key, example))(examples)


def normal(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
  """N(0, 1) float32 of the given shape; where key is [B], example i of shape[0] = B is drawn from key[i]."""
  if key.ndim == 0:
    return jax.random.normal(key, shape, jnp.float32)
  return jax.vmap(lambda k: jax.random.normal(k, shape[1:], jnp.float32))(key)


def sample_noise(
  keys: jax.Array, shapes: tuple[tuple[int, ...], ...], num_seeds: int, distribution: str = "normal"
) -> tuple[jax.Array, ...]:
  """S draws of Z for each example: keys [B] -> a tuple, one array [S, B, *shape] for each of shapes.

  distribution: 'normal', Z ~ N(0, I), or 'uniform', Z ~ U[0, 1).
  """
  draw = DISTRIBUTIONS[distribution]

  def draw_all(key):
    parts = jax.random.split(key, len(shapes))
    return tuple(draw(k, (num_seeds, *shape), jnp.float32) for k, shape in zip(parts, shapes, strict=True))

  return jax.vmap(draw_all, out_axes=1)(keys)


def zero_noise(batch_size: int, shapes: tuple[tuple[int, ...], ...], num_seeds: int = 1) -> tuple[jax.Array, ...]:
  """Z = 0, the deterministic estimator's, in the layout of sample_noise."""
  return tuple(jnp.zeros((num_seeds, batch_size, *shape), jnp.float32) for shape in shapes)
