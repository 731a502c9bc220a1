"""Blur and noise in training, compiled and on numbers."""

import functools

import jax
import numpy as np
import pytest

from prt_jax.training.gan import init_state, make_game
from prt_jax.training.step import generator_step


def largest_move(before, after):
  """Of the weights of the generator's first convolution."""
  return np.abs(before.generator_params["Conv_0"]["kernel"] - after.generator_params["Conv_0"]["kernel"]).max()


@pytest.mark.parametrize("kind", ["gaussian_blur", "denoising"])
def test_blur_and_noise_go_through_a_generator_step(kind, tiny_config):
  """The generator's plain step alone: what the robust one adds, test_degradations traces."""
  tiny_config.degradation.update(kind=kind, noise_std=0.1 if kind == "denoising" else 0.0)
  game = make_game(tiny_config)
  state = init_state(game)
  x = np.random.default_rng(0).uniform(size=(4, 32, 32, 3)).astype(np.float32)
  after, scalars = jax.jit(functools.partial(generator_step, game, robust=False))(state, x, state.key)
  assert 1e-4 < largest_move(state, after) < 1
  # Neither has an exact projection: D(G(y)) is compared with y all the same.
  assert np.isfinite(list(scalars.values())).all() and scalars["consistency_max_error"] > 1e-3
