"""What is seen of a run while it trains: evaluations at intervals, the best of them, signs of a collapse."""

import pathlib
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

from absl import logging
from ml_collections import ConfigDict

from prt_jax import devices
from prt_jax.training.best import Best, Criterion
from prt_jax.training.checkpoints import Checkpoints
from prt_jax.training.health import WATCH, Health, signs_of
from prt_jax.training.state import TrainState
from prt_jax.training.writers import Writers

SHARE = 0.1  # of a run's time, above which its evaluations are called dear


class Watch(NamedTuple):
  """Attributes:
  every: training steps from one evaluation to the next.
  measure: (state, is_stopping) -> {scalar: value}; None where is_stopping() came true before the end. It must depend on
    nothing but the state, and raise nothing: a run outlives its evaluations.
  num_examples: inputs of each.
  best_by: by which the best checkpoint is kept, None: there is none.
  """

  every: int
  measure: Callable[[TrainState, Callable[[], bool]], dict[str, float] | None]
  num_examples: int
  best_by: Criterion | None = None


class Watching:
  """Made of a run's lines so far, so that a resumed run is watched like the unbroken one.

  An evaluation is written before its step's checkpoint is saved. So a run that is killed comes to it again, or has it;
  one that was stopped within it saves, and makes it up when it resumes.
  """

  def __init__(
    self, config: ConfigDict, workdir: pathlib.Path, writers: Writers, checkpoints: Checkpoints, watch: Watch | None
  ):
    lines = writers.lines() if devices.is_primary() else []
    self._writers, self._checkpoints, self._watch = writers, checkpoints, watch
    self._last_step = config.train.num_steps
    self._health = Health(signs_of(config), lines) if devices.is_primary() else None
    self._evaluated = {line["step"] for line in lines if any(name.startswith(WATCH) for name in line)}
    self._started, self._seconds, self._is_first = time.monotonic(), 0.0, True
    self._new_best: Mapping[str, float] | None = None
    self._best = None
    if watch and watch.best_by:
      self._best = Best(workdir, watch.best_by, lines, checkpoints.steps())
      checkpoints.kept.best = self._best.step

  def note(self, step: int, scalars: dict[str, float]) -> dict[str, float]:
    """A log interval's scalars, with the number of signs of a collapse."""
    return scalars | self._health(step, scalars) if self._health else scalars

  def due(self, step: int) -> bool:
    """Whether an evaluation is due after so many steps, and not there yet."""
    if not self._watch or step in self._evaluated:
      return False
    return step > 0 and (step % self._watch.every == 0 or step == self._last_step)

  def evaluate(self, state: TrainState, step: int, is_stopping: Callable[[], bool]) -> bool:
    """Evaluates and writes; whether this is the best checkpoint so far, which is then to be saved.

    Nothing is written where is_stopping() comes true meanwhile, but for the run's last step, which nobody resumes.
    """
    if not self._watch:
      return False
    first = " (its programs are compiled first)" if self._is_first else ""
    logging.info("evaluating %d inputs at step %d%s", self._watch.num_examples, step, first)
    start = time.monotonic()
    scalars = self._watch.measure(state, is_stopping if step < self._last_step else lambda: False)
    if scalars is None:
      return False
    self._writers.write_scalars(step, scalars)
    self._evaluated.add(step)
    self._say(step, time.monotonic() - start)
    if self._health:
      self._health(step, scalars)
    if not self._best or not self._best.improves(scalars):
      return False
    self._checkpoints.kept.best, self._new_best = step, scalars
    return True

  def saved(self, step: int) -> None:
    """Called when a checkpoint was saved: the best is marked once it is on disk."""
    if self._best and self._new_best:
      self._checkpoints.wait()
      self._best.record(step, self._new_best)
      logging.info("step %d is the best so far: %s", step, self._best)
      self._new_best = None

  def _say(self, step, seconds):
    self._seconds += seconds
    share = self._seconds / (time.monotonic() - self._started)
    advice = "; a larger eval.every_steps or a smaller eval.watch_examples costs less" if share > SHARE else ""
    compiled = ", compilation included" if self._is_first else advice
    logging.info(
      "evaluated step %d in %.1f s, evaluations took %.0f%% of the time%s", step, seconds, 100 * share, compiled
    )
    self._is_first = False
