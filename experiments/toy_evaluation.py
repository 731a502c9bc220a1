"""What the paper reports of a toy estimator: precision, recall (Sec. 4.2) and sqrt(R) (Table 3)."""

import functools
import json
import pathlib
from collections.abc import Callable

import jax
import numpy as np
from flax import linen as nn

from experiments.robustness import root_robustness
from prt_jax.data import prepare
from prt_jax.io.whole_files import write_json
from prt_jax.metrics import precision_recall
from prt_jax.precision import in_float32
from prt_jax.randomness import Stream, example_keys
from prt_jax.restorers.from_run import Run
from prt_jax.training.estimator import draw_noise

NEIGHBOURS = 5  # k
POINTS = 1000  # real ones against as many restored ones
SETS = 5  # disjoint sets of points that precision and recall are averaged over
DRAWS = 50  # of Z in sqrt(R)
MEASUREMENTS = {False: 5000, True: 1000}  # that sqrt(R) is averaged over: deterministic, stochastic


@functools.cache
def second_coordinate(generator: nn.Module) -> Callable:
  """The function (parameters, y [B,1], z) -> [B,1]; one object a generator, so that programs are compiled once."""
  return in_float32(lambda parameters, y, z: generator.apply({"params": parameters}, y, z, train=False))


@functools.partial(jax.jit, static_argnums=0)
def _apply(generator, parameters, y, z):
  return second_coordinate(generator)(parameters, y, z)


def restored_points(run: Run, y: np.ndarray, draw: int) -> np.ndarray:
  """The restorations [B,2] of measurements [B,1], each with a seed of its own; draw: which seeds."""
  game, state = run.game, run.state
  keys = example_keys(state.key, draw, Stream.EVALUATION_NOISE, np.arange(len(y)))
  z = jax.tree.map(lambda noise: noise[0], draw_noise(game, keys, 1))
  return np.asarray(game.degradation.project(_apply(game.generator, state.generator_params, y, z), y))


def evaluate(
  run: Run, *, points: int = POINTS, sets: int = SETS, measurements: int | None = None
) -> dict[str, float]:
  """precision, recall and sqrt(R) (in 1e-3 of the plane's unit) of a run, on its validation points.

  Precision and recall are means over `sets` disjoint sets; a set's real points and its measurements
  are of different validation points. sqrt(R): under the training attack, and the exact maximum.
  """
  game, state, config = run.game, run.state, run.config
  real, measured = np.split(prepare(config.data, config.seed).val, 2)
  pairs = []
  for index in range(sets):
    rows = slice(index * points, (index + 1) * points)
    pairs.append(precision_recall(real[rows], restored_points(run, measured[rows, :1], index), NEIGHBOURS))
  precision, recall = np.mean(pairs, axis=0)

  y = measured[: measurements or MEASUREMENTS[config.model.stochastic], :1]
  keys = example_keys(state.key, sets, Stream.EVALUATION_NOISE, np.arange(len(y)))
  z = draw_noise(game, keys, DRAWS if config.model.stochastic else 1)
  attack = tuple((name, config.attack[name]) for name in ("eps", "num_steps", "learning_rate"))
  attacked, exact = root_robustness(
    second_coordinate(game.generator), state.generator_params, y, z, jax.random.fold_in(state.key, sets), attack
  )
  return {
    "precision": float(precision),
    "recall": float(recall),
    "sqrt_R_1e-3": 1e3 * float(attacked),
    "sqrt_R_exact_1e-3": 1e3 * float(exact),
  }


def evaluate_once(path: pathlib.Path, evaluation: Callable[[], dict]) -> dict:
  """The evaluation stored in a JSON file, made and stored first where it is not there."""
  if not path.exists():
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, evaluation())
  return json.loads(path.read_text())
