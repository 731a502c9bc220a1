"""The work of a config's training steps, as an accelerator's formulation of the nets counts it."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from prt_jax.plan.counts import TRACED_BATCH, Work, count
from prt_jax.training.gan import Game, make_game, state_shapes
from prt_jax.training.state import TrainState
from prt_jax.training.step import generator_step, training_step


class StepWork:
  """The counts of a config's steps by platform ('tpu' or 'gpu'), each traced once, which takes seconds.

  A step is what training calls one: the critic's and the generator's. Averages over devices do not count.
  """

  def __init__(self, config: ConfigDict):
    self._config = config
    self._known = {}

  def game(self, platform: str) -> Game:
    """The config's game in a platform's formulation. UserError for a config that cannot work."""
    return self._once(("game", platform), lambda: make_game(self._config, platform=platform))

  def state(self, platform: str) -> TrainState:
    """The shapes of a run's state."""
    return self._once(("state", platform), lambda: state_shapes(self.game(platform)))

  @property
  def dtype(self) -> np.dtype:
    """Of the training examples: pixels come as bytes, coordinates as they are."""
    return np.dtype(np.uint8 if self.game("cpu").restores_images else np.float32)

  def example_bytes(self) -> int:
    """Of one training example."""
    return math.prod(self.game("cpu").degradation.image_shape) * self.dtype.itemsize

  def state_bytes(self, platform: str) -> int:
    """Of a run's state, on a device and in a checkpoint, of which the key is no part: exact."""
    leaves = jax.tree.leaves(self.state(platform).replace(key=None))
    return sum(leaf.size * leaf.dtype.itemsize for leaf in leaves)

  def step(self, platform: str, robust: bool) -> Work:
    """A whole training step, plain or robust."""
    game, state = self.game(platform), self.state(platform)
    images = jax.ShapeDtypeStruct((TRACED_BATCH, *game.degradation.image_shape), self.dtype)

    def step(state, images):
      return training_step(game, state, images, robust=robust)

    return self._once(("step", platform, robust), lambda: count(step, state, images))

  def robust_generator_step(self, platform: str, seeds_at_once: int) -> Work:
    """The generator's share of a robust step, the larger by far, with another attack.seeds_at_once."""
    game, state = dataclasses.replace(self.game(platform), seeds_at_once=seeds_at_once), self.state(platform)
    images = jax.ShapeDtypeStruct((TRACED_BATCH, *game.degradation.image_shape), np.float32)

    def step(state, images, key):
      return generator_step(game, state, images, key, robust=True)

    return self._once(("seeds", platform, seeds_at_once), lambda: count(step, state, images, state.key))

  def _once(self, key: tuple, make: Callable[[], Any]):
    if key not in self._known:
      self._known[key] = make()
    return self._known[key]
