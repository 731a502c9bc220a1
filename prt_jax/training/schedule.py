"""When a run dispatches, logs, saves and draws; and how fast it is."""

import contextlib
import dataclasses
import time
from collections.abc import Iterator

import jax
from absl import logging

from prt_jax import devices
from prt_jax.errors import UserError
from prt_jax.training.gan import Game
from prt_jax.training.state import TrainState
from prt_jax.training.writers import SPEED_SCALARS

PROGRESS_SECONDS = 20.0


@dataclasses.dataclass(frozen=True)
class Schedule:
  """When a run dispatches, logs, saves and draws; all in training steps."""

  num_steps: int
  steps_per_dispatch: int
  log_every: int
  checkpoint_every: int
  image_every: int

  def dispatches(self, first_step: int) -> Iterator[tuple[int, int]]:
    """(first step, number of steps) of each device call; single steps where a whole dispatch does not fit."""
    step = first_step
    while step < self.num_steps:
      whole = step % self.steps_per_dispatch == 0 and step + self.steps_per_dispatch <= self.num_steps
      count = self.steps_per_dispatch if whole else 1
      yield step, count
      step += count

  def due(self, step: int, every: int) -> bool:
    """Whether something that happens every so many steps, and at the end, is due after this many steps."""
    return step % every == 0 or step == self.num_steps


def make_schedule(game: Game, until: int | None = None) -> Schedule:
  """The config's schedule, or its part up to so many steps; UserError where its fields do not fit each other."""
  train = game.config.train
  every = {
    name: train[name] for name in ("log_every_steps", "checkpoint_every_steps", "image_every_steps")
  }
  count = train.steps_per_dispatch or devices.default_steps_per_dispatch(len(game.cycle))
  if not train.steps_per_dispatch and any(steps % count for steps in every.values()):
    count = 1
  if count < 1 or (count > 1 and count % len(game.cycle)):
    raise UserError(
      f"train.steps_per_dispatch={count} is not a number of whole cycles: use 0, 1 or a multiple of {len(game.cycle)}"
    )
  for name, steps in every.items():
    if steps % count:
      raise UserError(f"train.{name}={steps} is not a multiple of train.steps_per_dispatch={count}: make it one")
  if (milestones := train.milestone_every_steps) % train.checkpoint_every_steps:
    field = f"train.checkpoint_every_steps={train.checkpoint_every_steps}"
    raise UserError(f"train.milestone_every_steps={milestones} is not a multiple of {field}: make it one")
  if (watched := game.config.eval.every_steps) % count:
    nearest = max(1, round(watched / count)) * count
    raise UserError(
      f"eval.every_steps={watched} is not a multiple of the {count} steps of a dispatch: use one, for example {nearest}"
    )
  return Schedule(min(until or train.num_steps, train.num_steps), count, *every.values())


class Clock:
  """Measures speed and says how far a run is; the first cycle, which compiles, is not counted as speed."""

  def __init__(self, game: Game, schedule: Schedule, step: int):
    self._schedule, self._batch_size = schedule, game.config.train.batch_size
    self._compiled_at = step + max(len(game.cycle), schedule.steps_per_dispatch)
    self._created = self._start = self._last_line = time.monotonic()
    self._start_step = step
    self._speed = None

  def tick(self, state: TrainState, step: int) -> None:
    """After every dispatch: starts measuring once everything is compiled, and fills long silences with a line."""
    compiled = step == self._compiled_at
    if not compiled and time.monotonic() - self._last_line < PROGRESS_SECONDS:
      return
    jax.block_until_ready(state.step)
    now = self._last_line = time.monotonic()
    if compiled:
      self._start, self._start_step = now, step
      logging.info("first cycle after %.1f s, compilation included", now - self._created)
    elif step > self._compiled_at:
      self._speed = (step - self._start_step) / (now - self._start)
      logging.info("step %d of %d  %s", step, self._schedule.num_steps, self._outlook(step))

  def log(self, step: int, scalars: dict[str, float]) -> dict[str, float]:
    """The log interval's line; returns the scalars with its wall-clock ones."""
    now = self._last_line = time.monotonic()
    if step > self._start_step:
      self._speed = (step - self._start_step) / (now - self._start)
    self._start, self._start_step = now, step
    shown = ("critic_loss", "generator_loss", "r1", "robustness_loss", "consistency_psnr")
    numbers = "  ".join(f"{name} {scalars[name]:.4g}" for name in shown if name in scalars)
    logging.info("step %d of %d  %s  %s", step, self._schedule.num_steps, numbers, self._outlook(step))
    speeds = (self._speed or 0.0, (self._speed or 0.0) * self._batch_size)
    return scalars | dict(zip(SPEED_SCALARS, speeds, strict=True))

  @contextlib.contextmanager
  def left_out(self, state: TrainState) -> Iterator[None]:
    """A block that is not training, once the state is there: its seconds are none of the speed's."""
    jax.block_until_ready(state.step)
    start = time.monotonic()
    yield
    self._start += time.monotonic() - start
    self._last_line = time.monotonic()

  def _outlook(self, step: int) -> str:
    if not self._speed:
      return "speed not measured yet"
    minutes, seconds = divmod(round((self._schedule.num_steps - step) / self._speed), 60)
    eta = f"ETA {minutes // 60}:{minutes % 60:02d}:{seconds:02d}"
    return f"{self._speed:.3g} steps/s, {self._speed * self._batch_size:.3g} images/s, {eta}"
