"""prt_jax's steps as jitted functions with their arguments, for what compiles or times them one by one."""

import functools

import jax
import numpy as np
from ml_collections import ConfigDict

from prt_jax import devices
from prt_jax.training.gan import Game, init_state, make_game, state_shapes
from prt_jax.training.step import critic_step, generator_step

SINGLE_STEPS = ("critic", "plain", "robust")


FUNCTIONS = {
  "critic": critic_step,
  "plain": functools.partial(generator_step, robust=False),
  "robust": functools.partial(generator_step, robust=True),
}


def make_steps(game: Game) -> dict:
  """{step: jitted (state, images [B,H,W,3] float32, key) -> (state, scalars)}; the state is donated."""
  return {step: jax.jit(functools.partial(f, game), donate_argnums=(0,)) for step, f in FUNCTIONS.items()}


def make_spread_out_steps(game: Game) -> dict:
  """The same over all devices, as training runs them: (state, images [devices,B,H,W,3]) -> state, without scalars."""

  def spread_out(step):
    return devices.over_devices(lambda state, images: step(game, state, images, state.key)[0])

  return {step: spread_out(function) for step, function in FUNCTIONS.items()}


def make_pixels(config: ConfigDict) -> np.ndarray:
  """One batch of random uint8 images."""
  size = config.data.image_size
  return np.random.default_rng(config.seed).integers(0, 256, (config.train.batch_size, size, size, 3), dtype=np.uint8)


def make_arguments(game: Game) -> tuple:
  """(state, images, key) of the first step."""
  images = jax.device_put(make_pixels(game.config).astype(np.float32) / 255)
  return init_state(game), images, jax.random.key(game.config.seed)


def abstract_arguments(game: Game) -> tuple:
  """The shapes of make_arguments: enough to compile, without the memory."""
  size = game.config.data.image_size
  images = jax.ShapeDtypeStruct((game.config.train.batch_size, size, size, 3), np.float32)
  state = state_shapes(game)
  return state, images, state.key


def compile_abstract(config: ConfigDict, step: str):
  """(lowered, compiled) of one step of a config."""
  game = make_game(config)
  lowered = make_steps(game)[step].lower(*abstract_arguments(game))
  return lowered, lowered.compile()
