"""Evaluates a run while it trains: the measures of --mode=eval, on its first inputs.

Inputs, noise and attack starts are those of every evaluation, functions of the input's row alone: nothing is drawn from
the training's random numbers, and an evaluation of a step is the same whenever it is made.
"""

import dataclasses
import functools
import math
from collections.abc import Callable

import jax
import numpy as np
from absl import logging
from ml_collections import ConfigDict

from prt_jax import devices
from prt_jax.data import Dataset
from prt_jax.errors import UserError
from prt_jax.evaluate import (
  begin,
  check_fields,
  check_images,
  evaluation_config,
  evaluation_rows,
  load_networks,
  make_parts,
  padded_rows,
  reference_features,
)
from prt_jax.evaluation import distributions, measured_parts, results
from prt_jax.evaluation.measured_parts import Part
from prt_jax.evaluation.measures import Settings
from prt_jax.evaluation.runner import DEVICES, Batch, Runner
from prt_jax.evaluation.store import Store
from prt_jax.features.extractor import Extractor
from prt_jax.precision import MEASURING, in_float32
from prt_jax.training.best import Criterion
from prt_jax.training.gan import Game, critic_logits, make_game
from prt_jax.training.health import WATCH, not_finite
from prt_jax.training.state import TrainState
from prt_jax.training.trained_estimator import Weights, run_restorer
from prt_jax.training.watching import Watch

FAILED = f"{WATCH}failed"  # measures that are not finite; 1 where nothing could be measured


class _Stopped(Exception):
  """The run is asked to stop."""


def prepare_watch(config: ConfigDict) -> Callable[[Dataset], Watch] | None:
  """What makes a run's Watch, once its data are there; None, and a line in the log, for a run of several processes.

  Raises:
    UserError: fields that cannot work, weights that are missing, an eval.best_by that is no measure or has no better.
  """
  best_by = best_criterion(config.eval.best_by)
  if not devices.is_alone():
    logging.warning("eval.every_steps: evaluation runs in one process, and this run has several: it is not watched")
    return None
  watched = watch_config(config)
  game = make_game(watched, dtype=MEASURING["dtype"])
  check_images(game)
  check_fields(watched)
  extractor, lpips_params, _ = load_networks(watched)

  def make_watch(dataset: Dataset) -> Watch:
    evaluation = Evaluation(watched, game, dataset, extractor, lpips_params)
    return Watch(config.eval.every_steps, evaluation, config.eval.watch_examples, best_by)

  return make_watch


def best_criterion(name: str) -> Criterion | None:
  """The measure that eval.best_by names, with the direction that reports give it; None for ""."""
  if not name:
    return None
  directions = {name: row.better for name, row in results.rows().items()}
  if not directions.get(name):
    known = ", ".join(name for name, better in directions.items() if better)
    raise UserError(f"eval.best_by={name!r} is no measure of which higher or lower is better: choose one of {known}")
  return Criterion(name, WATCH + name, directions[name])


def watch_config(config: ConfigDict) -> ConfigDict:
  """The config of the small evaluations: fewer inputs, a batch of no more, and no curves, which are no scalars."""
  config = config.copy_and_resolve_references()
  evaluation, count = config.eval, config.eval.watch_examples
  num_devices = devices.num_devices()
  batch_size = math.ceil(min(count, evaluation.batch_size) / num_devices) * num_devices
  evaluation.update(num_examples=count, batch_size=batch_size, curve_alphas=())
  for name in ("strong_num_examples", "curve_num_examples"):
    evaluation[name] = min(evaluation[name], count)
  return evaluation_config(config)


@dataclasses.dataclass
class Evaluation:
  """(state, is_stopping) -> scalars, see Watch.measure. Programs are compiled at the first call, and kept.

  Attributes:
    config: watch_config's.
    game: as it is measured.
    dataset: whose validation inputs are taken.
    extractor, lpips_params: of load_networks.
  """

  config: ConfigDict
  game: Game
  dataset: Dataset
  extractor: Extractor | None
  lpips_params: dict | None

  def __post_init__(self):
    count, there = self.config.eval.num_examples, len(self.dataset.val)
    if there < count:
      raise UserError(
        f"eval.watch_examples={count}, but {self.dataset.folder} has {there} validation images: "
        f"set --config.eval.watch_examples={there} or less"
      )
    self._rows, self._reference = evaluation_rows(self.dataset.val, count), None

  def __call__(self, state: TrainState, is_stopping: Callable[[], bool]) -> dict[str, float] | None:
    """{measure: value} of a state; None where it is stopped or fails."""
    try:
      found = self._measure(state, is_stopping)
    except _Stopped:
      return None
    # A restorer that has come apart is refused in many ways, a batch may not fit beside the training, a cache may be
    # unwritable, a user's feature extractor may raise whatever it likes: the run goes on all the same.
    except Exception as error:
      logging.warning("this evaluation failed: %s", str(error).partition("\n")[0] or type(error).__name__)
      return {FAILED: 1.0}
    broken = not_finite(found)
    return {name: value for name, value in found.items() if name not in broken} | {FAILED: float(len(broken))}

  def _measure(self, state, is_stopping):
    config, seconds = self.config, {}
    size, degradation = config.eval.batch_size, self.game.degradation
    settings = Settings(degradation.psnr_size, 0, degradation.noise_std**2 or None, self.lpips_params)
    restorer = dataclasses.replace(self._restorer, params=jax.device_get(Weights.of(state)))
    runner = Runner(restorer, config.attack.num_seeds, settings, where=DEVICES)

    def load(first: int) -> Batch:
      if is_stopping():
        raise _Stopped
      return begin(runner, self.dataset, padded_rows(self._rows, first, size))

    parts = [*make_parts(runner, config, self.dataset, "", self.extractor), self._critic_part(state)]
    parts = [part._replace(compute=_stoppable(part.compute, is_stopping)) for part in parts]
    columns = measured_parts.fill(Store(None), parts, load, size, seconds)
    found = results.of_columns(columns)
    if self.extractor:
      if self._reference is None:
        self._reference = reference_features(runner, config, self.dataset, self.extractor, seconds)
      sets = distributions.Sets(**columns["features"], reference=self._reference)
      found |= distributions.compare(sets, config.eval.num_neighbors, self.extractor)
    scalars = {WATCH + name: float(result["value"]) for name, result in found.items()}
    margin = float(np.mean(columns["critic"]["real"] - columns["critic"]["fake"]))
    return scalars | {f"{WATCH}critic_margin": margin, f"{WATCH}num_examples": float(config.eval.num_examples)}

  @functools.cached_property
  def _restorer(self):
    """With weights of nothing; made once, as programs belong to the functions in it."""
    return run_restorer(self.game, Weights({}, {}), "the run that trains")

  def _critic_part(self, state):
    """What the critic says of originals and of restorations that it was not trained on."""
    params = jax.device_get(state.critic_params)

    def compute(batch, _):
      images = {"real": batch.x, "fake": batch.restored[:, 0]}
      judged = in_float32(critic_logits)
      return {name: np.asarray(judged(self.game, params, devices.gather_examples(x))) for name, x in images.items()}

    return Part("critic", {}, self.config.eval.num_examples, compute)


def _stoppable(compute, is_stopping):
  def compute_unless_stopping(batch, left):
    if is_stopping():
      raise _Stopped
    return compute(batch, left)

  return compute_unless_stopping
