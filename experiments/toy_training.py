"""Trains a toy GAN with the images' game, step, devices and checkpoints; only the data and the loop are its own."""

import pathlib
import time

from absl import logging
from ml_collections import ConfigDict

from experiments.points import train_and_validation
from prt_jax import feed, parallel
from prt_jax.checkpoints import Checkpoints, claim_workdir
from prt_jax.game import Game, init_state, make_game
from prt_jax.state import TrainState
from prt_jax.train import StopRequest, check_finite, interval_means, make_schedule
from prt_jax.workdir_lock import one_writer


class Stopped(Exception):
  """SIGTERM or SIGINT ended a training; it was saved first, and the same command goes on from there."""


def train_until(config: ConfigDict, workdir: pathlib.Path, num_steps: int) -> None:
  """Trains the run in workdir up to num_steps (at most config.train.num_steps), from its newest checkpoint.

  The run is the same whether it is taken to its end at once or in parts.

  Raises:
    UserError: a config that cannot work, a workdir of another run, a disk that cannot be written,
      a loss that is not finite.
    Stopped: on SIGTERM and SIGINT, once the state is saved.
  """
  game = make_game(config, axis_name=parallel.AXIS)
  schedule = make_schedule(game)
  parallel.check_batch_size("train.batch_size", config.train.batch_size)
  with one_writer(workdir):
    claim_workdir(workdir, config)
    checkpoints = Checkpoints(workdir, config.train.keep_checkpoints)
    if (checkpoints.latest_step() or 0) < num_steps:
      state, first = checkpoints.resume(init_state(game), config.train.checkpoint_every_steps)
      logging.info("%s at step %d, until %d", workdir, first, num_steps)
      with StopRequest() as stop:
        _run(game, schedule, state, first, num_steps, checkpoints, stop)
      checkpoints.close()
      if stop.signal_name:
        raise Stopped(f"stopped by {stop.signal_name}, saved: the same command resumes")
    checkpoints.close()


def _run(game, schedule, state, first, num_steps, checkpoints, stop):
  config = game.config
  points, _ = train_and_validation(config.data.name, config.seed)
  run_step = {robust: parallel.make_train_step(game, robust=robust) for robust in (False, True)}
  run_cycles = parallel.make_train_cycles(game)

  def dispatches():
    return ((start, count) for start, count in schedule.dispatches(first) if start + count <= num_steps)

  batches = feed.batches(
    feed.make_fetch(points, config.data.placement), dispatches(),
    seed=config.seed, batch_size=config.train.batch_size, num_examples=len(points),
  )  # fmt: skip
  state, started = parallel.replicate(state), time.monotonic()
  for (start, count), batch in zip(dispatches(), batches, strict=True):
    robust = game.cycle[start % len(game.cycle)]
    state = run_cycles(state, batch) if count > 1 else run_step[robust](state, batch)
    step = start + count
    if schedule.due(step, schedule.checkpoint_every) or step == num_steps or stop.signal_name:
      scalars = interval_means(state)
      check_finite(scalars, step, schedule.log_every, checkpoints.describe_latest())
      checkpoints.save(state)
      rate = (step - first) / (time.monotonic() - started)
      numbers = "  ".join(f"{name} {scalars[name]:.4g}" for name in ("critic_loss", "generator_loss", "r1"))
      logging.info("step %d  %s  %.1f steps/s", step, numbers, rate)
    if stop.signal_name:
      break


def checkpoint_steps(workdir: pathlib.Path) -> list[int]:
  """The steps of the kept checkpoints, ascending."""
  return sorted(int(path.name) for path in (workdir / "checkpoints").glob("*") if path.name.isdigit())


def load(config: ConfigDict, workdir: pathlib.Path, step: int) -> tuple[Game, TrainState]:
  """The game of a run, outside any device axis, and its state after `step` steps."""
  game = make_game(config)
  checkpoints = Checkpoints(workdir, config.train.keep_checkpoints)
  state = checkpoints.restore(init_state(game), step)
  checkpoints.close()
  return game, state

