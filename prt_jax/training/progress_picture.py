"""How far a training is, as a picture: what it makes of its first validation examples."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from prt_jax.io.pictures import STD_GAIN, draw_grid, draw_points
from prt_jax.pixels import as_float
from prt_jax.training.gan import Game
from prt_jax.training.state import TrainState
from prt_jax.training.trained_estimator import Weights, run_restorer

PROGRESS_ROWS = 8  # images in the picture of a training's progress
PROGRESS_SEEDS = 4  # restorations of each
PROGRESS_POINTS = 2000  # of a training on points


def make_progress_picture(game: Game, validation: np.ndarray) -> Callable[[TrainState], np.ndarray]:
  """A function state -> uint8 [h,w,3] that shows how far a training is, on its first validation examples [N, ...]."""
  if game.restores_images:
    columns = make_sample_columns(game, PROGRESS_SEEDS if game.config.model.stochastic else 1)
    examples, draw = validation[:PROGRESS_ROWS], draw_grid
  else:
    columns, examples, draw = make_sample_columns(game, 1), validation[:PROGRESS_POINTS], draw_points
  examples = np.asarray(as_float(examples, "validation examples"))
  return lambda state: draw(columns(state, examples))


def make_sample_columns(game: Game, num_seeds: int) -> Callable[[TrainState, np.ndarray], list[tuple[str, np.ndarray]]]:
  """A function (state, images [B,H,W,3] float32) -> [(title, [B,H,W,3]), ...] with one compiled program behind it.

  Columns: original, network input, num_seeds restorations, their per-pixel std. The restorations are
  the evaluation's: running averages, noise that depends on the row alone.
  """

  @jax.jit
  def restore_all(state: TrainState, images: jax.Array):
    restorer, examples = run_restorer(game, Weights.of(state), "the run that trains"), jnp.arange(len(images))
    y = restorer.measure(images, examples)
    z = restorer.draws(examples, range(num_seeds), y.shape[1:])
    return game.degradation.network_input(y), jax.vmap(restorer.restore, (None, 0))(y, z)

  def columns(state, images):
    network_input, restored = jax.device_get(restore_all(state, images))
    pairs = [("original", images), ("input", network_input)]
    if num_seeds == 1:
      return [*pairs, ("restored", restored[0])]
    std = restored.std(0, ddof=1).mean(-1, keepdims=True).repeat(3, -1)
    pairs += [(f"restored, Z{seed}", image) for seed, image in enumerate(restored, start=1)]
    return [*pairs, (f"std x{STD_GAIN}", STD_GAIN * std)]

  return columns
