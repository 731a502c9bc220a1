"""One training step for devices that need not be there: lowered for them, and, where they are, timed."""

import functools
import math
import time

from benchmarks import settings
from benchmarks.workers import MIN_SAMPLE_SECONDS

STEPS = ("critic", "plain", "robust", "cycle", "attack")


def lower(step: str, config, described):
  """One step of a config, lowered for the described devices with its arguments' shapes, each its part of the batch.

  Of STEPS: 'critic' is its step alone, 'plain' and 'robust' are a critic step and a generator step, 'cycle' is one
  cycle in a loop as training runs it, 'attack' one step of the inner search for all seeds.
  """
  import jax
  import numpy as np

  from prt_jax import devices
  from prt_jax.training.gan import make_game, state_shapes
  from prt_jax.training.step import critic_step, make_train_cycles, make_train_step

  chips = len(described)
  platform = "tpu" if described[0].platform == "tpu" else "gpu"
  game = make_game(config, axis_name=devices.AXIS, platform=platform)
  state = state_shapes(game)
  batch = config.train.batch_size // chips

  def spread(*shape, dtype=np.float32):
    return jax.ShapeDtypeStruct((chips, *shape), dtype)

  image = game.degradation.image_shape
  if step == "critic":
    mapped = devices.over_devices(lambda state, x: critic_step(game, state, x, state.key)[0], described)
    return mapped.lower(state, spread(batch, *image))
  if step == "cycle":
    cycles = make_train_cycles(game, described)
    return cycles.lower(state, spread(len(game.cycle), batch, *image, dtype=np.uint8))
  if step == "attack":
    seeds = config.attack.num_seeds
    mapped = devices.map_examples(functools.partial(_attack, game), 3, described)
    y = spread(batch, *game.degradation.measurement_shape)
    z = tuple(spread(seeds, batch, *shape) for shape in game.noise_shapes)
    return mapped.lower(
      (state.generator_params, state.batch_stats, state.key), y, z, spread(seeds, batch, *_estimated_shape(game, image))
    )
  return make_train_step(game, robust=step == "robust", devices=described).lower(
    state, spread(batch, *image, dtype=np.uint8)
  )


def _estimated_shape(game, image):
  import jax

  return jax.eval_shape(game.degradation.estimated, jax.ShapeDtypeStruct((1, *image), "float32")).shape[1:]


def _attack(game, shared, y, z, reference):
  """One step of the search of step.generator_step, its first restorations given."""
  import jax
  import jax.numpy as jnp

  from prt_jax.attacks import ascend, sum_over_seeds
  from prt_jax.training.estimator import begin, complete_seeds

  params, batch_stats, key = shared
  train, estimated = game.config.attack.batch_norm != "frozen", jax.vmap(game.degradation.estimated)

  def squares(begun, reference, z):
    restored, _ = complete_seeds(game, params, batch_stats, begun, z, train=train)
    return jnp.sum((estimated(restored) - reference) ** 2)

  def total_change(delta):
    begun, _ = begin(game, params, batch_stats, y + delta, train=train)
    return sum_over_seeds(squares, begun, reference, z, game.seeds_at_once) / len(reference)

  attack = game.config.attack
  return ascend(
    total_change, key, y.shape, eps=attack.eps, num_steps=1, learning_rate=attack.learning_rate, unroll=True
  )


def time_step(step: str, config, lowered, program, repeats: int) -> dict:
  """{'measured_seconds': a step's median, 'measured': its spread} on random arguments, as many calls in a row as fill
  MIN_SAMPLE_SECONDS."""
  import jax
  import numpy as np

  from prt_jax import devices
  from prt_jax.training.gan import init_state, make_game

  state = init_state(make_game(config, axis_name=devices.AXIS))
  shared = (state.generator_params, state.batch_stats, state.key) if step == "attack" else state
  random = np.random.default_rng(config.seed)

  def values(like):
    if like.dtype == np.uint8:
      return random.integers(0, 256, like.shape, dtype=np.uint8)
    return random.uniform(size=like.shape).astype(like.dtype)

  (_, *like), _ = lowered.args_info
  shared, examples = devices.replicate(shared), devices.to_devices(jax.tree.map(values, tuple(like)))

  def seconds(calls):
    nonlocal shared
    start = time.perf_counter()
    for _ in range(calls):
      out = program(shared, *examples)
      shared = shared if step == "attack" else out
    jax.block_until_ready(out)
    return (time.perf_counter() - start) / calls

  seconds(1)
  calls = math.ceil(MIN_SAMPLE_SECONDS / seconds(1))
  spread = settings.spread([seconds(calls) for _ in range(repeats)])
  return {"measured_seconds": spread["median_s"], "measured": spread}
