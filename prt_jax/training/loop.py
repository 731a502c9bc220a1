"""Trains a config's restorer in a workdir: resumes where it was, logs, draws, checkpoints, stops cleanly."""

import contextlib
import dataclasses
import math
import pathlib
from collections.abc import Callable

import jax
from absl import logging
from ml_collections import ConfigDict

from prt_jax import devices, precision
from prt_jax.config_check import checked
from prt_jax.data import Dataset, prepare
from prt_jax.errors import UserError
from prt_jax.io import pictures
from prt_jax.io.disk_errors import explain
from prt_jax.io.json_files import parse_object
from prt_jax.io.locks import one_writer
from prt_jax.training import health, prefetch, processes
from prt_jax.training.checkpoints import Checkpoints, check_workdir, claim_workdir
from prt_jax.training.data_identity import FILE as DATA_FILE
from prt_jax.training.data_identity import claim_data
from prt_jax.training.gan import Game, empty_state, init_state, make_game
from prt_jax.training.progress_picture import make_progress_picture
from prt_jax.training.schedule import Clock, Schedule, make_schedule
from prt_jax.training.state import TrainState
from prt_jax.training.step import make_train_cycles, make_train_step
from prt_jax.training.stop_request import StopRequest
from prt_jax.training.wandb_writer import load_wandb
from prt_jax.training.watching import Watch, Watching
from prt_jax.training.writers import Writers


@dataclasses.dataclass(frozen=True)
class Training:
  """Attributes:
  game, schedule, dataset: what is trained, how far, on what.
  workdir, checkpoints: where it is kept.
  watch: how it is evaluated meanwhile; None: it is not.
  """

  game: Game
  schedule: Schedule
  dataset: Dataset
  workdir: pathlib.Path
  checkpoints: Checkpoints
  watch: Watch | None


def train(
  config: ConfigDict, workdir: pathlib.Path | str, until: int | None = None,
  make_watch: Callable[[Dataset], Watch] | None = None,
) -> TrainState | None:  # fmt: skip
  """Trains to config.train.num_steps, from the workdir's newest checkpoint if it has one.

  Args:
    config: the run's.
    workdir: where it lives.
    until: stop after so many steps of the run; a later call goes on. Where whole dispatches end there, the run is bit
      for bit the one that was never stopped; else single steps lead there, which may round differently.
    make_watch: how it is evaluated meanwhile, from its data; prt_jax.train has what eval.every_steps asks for.

  Returns:
    The final state on the host, or None where SIGTERM or SIGINT stopped the run (saved first).

  Raises:
    UserError: a config that cannot work, data that cannot be read, a workdir of another run, of other
      data or that another process writes, a disk that cannot be written, a loss that is not finite.
      The last good checkpoint is kept.
  """
  config, workdir = checked(config), pathlib.Path(workdir).expanduser()
  game = make_game(config, axis_name=devices.AXIS)
  schedule = make_schedule(game, until)
  devices.check_batch_size("train.batch_size", config.train.batch_size)
  if config.train.wandb_project:
    load_wandb(config.train.wandb_project)
  with contextlib.ExitStack() as stack:
    # A workdir is made once config and data are accepted; one that is there already must be free from the beginning.
    if is_there := workdir.exists():
      stack.enter_context(writing(workdir))
      check_run(workdir, config)
    checkpoints, state, step = None, None, 0
    if (workdir / "checkpoints").exists():
      checkpoints = open_checkpoints(workdir, config)
      state, step = checkpoints.resume(empty_state(game), config.train.checkpoint_every_steps)
      if step >= schedule.num_steps:
        checkpoints.close()
        logging.info("the run in %s is complete: %d of %d steps", workdir, step, schedule.num_steps)
        return state
    dataset = prepare(config.data, config.seed)
    watch = make_watch(dataset) if make_watch else None
    if not is_there:
      stack.enter_context(writing(workdir))
      check_run(workdir, config)
    claim_workdir(workdir, config)
    if devices.is_primary():
      claim_data(workdir, dataset)
    processes.check_shared(workdir, step)
    checkpoints = checkpoints or open_checkpoints(workdir, config)
    state = state if state is not None and step else init_state(game)
    return _train(Training(game, schedule, dataset, workdir, checkpoints, watch), state, step)


def open_checkpoints(workdir: pathlib.Path, config: ConfigDict) -> Checkpoints:
  """A run's checkpoints, of which those stay that the config says."""
  return Checkpoints(workdir, config.train.keep_checkpoints, config.train.milestone_every_steps)


def writing(workdir: pathlib.Path) -> contextlib.AbstractContextManager[None]:
  """The lock of a run's workdir, held by the one process that writes there."""
  return one_writer(workdir) if devices.is_primary() else contextlib.nullcontext()


def check_run(workdir: pathlib.Path, config: ConfigDict) -> None:
  """check_workdir, but for a run that left no checkpoint: its config and data are forgotten, nothing came of them."""
  has_trained = any((workdir / "checkpoints").glob("[0-9]*")) or (workdir / "checkpoints-damaged").exists()
  if has_trained or not is_of_a_run(workdir / "config.json", config):
    check_workdir(workdir, config)
  elif devices.is_primary():
    for name in ("config.json", DATA_FILE):
      (workdir / name).unlink(missing_ok=True)


def is_of_a_run(path: pathlib.Path, config: ConfigDict) -> bool:
  """Whether a config.json is a training run's, and no other program's."""
  try:
    return parse_object(path.read_bytes()).keys() == set(config.keys())
  except (OSError, ValueError):
    return False


def _train(training: Training, state: TrainState, step: int) -> TrainState | None:
  """train, from a state after so many steps."""
  config, workdir, last_step = training.game.config, training.workdir, training.schedule.num_steps
  logging.info("%s %s at step %d of %d", "resuming" if step else "starting", workdir, step, last_step)
  try:
    writers = Writers(workdir, config, step, primary=devices.is_primary())
    with contextlib.closing(writers), StopRequest() as stop:
      _describe(training.game, state, training.dataset, workdir)
      state, step = _run(training, state, step, writers, stop)
      training.checkpoints.close()
  except OSError as error:
    what, remedy = explain(error, workdir)
    raise UserError(
      f"{what}; the last good checkpoint is {training.checkpoints.describe_latest()}: {remedy}, then run the same "
      "command to go on from there"
    ) from error
  if step < last_step:
    reason = stop.signal_name or "another host"
    logging.info("stopped by %s after step %d, saved: the same command resumes", reason, step)
    return None
  logging.info("the run in %s is complete: %d of %d steps", workdir, step, last_step)
  return state


def _run(
  training: Training, state: TrainState, step: int, writers: Writers, stop: StopRequest
) -> tuple[TrainState, int]:
  """The steps themselves, to the schedule's end or a signal: (the state on the host, its step)."""
  game, schedule, dataset, checkpoints = training.game, training.schedule, training.dataset, training.checkpoints
  config = game.config
  run_step = {robust: make_train_step(game, robust=robust) for robust in (False, True)}
  run_cycles = make_train_cycles(game)
  draw_progress = make_progress_picture(game, dataset.val)
  batches = prefetch.batches(
    prefetch.make_fetch(dataset.train, config.data.placement),
    schedule.dispatches(step),
    seed=config.seed,
    batch_size=config.train.batch_size,
    num_examples=len(dataset.train),
  )
  watching = Watching(config, training.workdir, writers, checkpoints, training.watch)
  clock, any_process = Clock(game, schedule, step), processes.AnyProcess()
  if watching.due(step) and watching.evaluate(state, step, stop.is_set):  # it was stopped within it
    watching.saved(step)
  state = devices.replicate(state)
  started, compiled = step, set()
  for (first, count), images in zip(schedule.dispatches(step), batches, strict=True):
    program = run_step[game.cycle[first % len(game.cycle)]] if count == 1 else run_cycles
    if program in compiled or first - started > len(game.cycle):
      state = program(state, images)
    else:
      checkpoints.wait()
      with stop.leaving_at_once(f"the newest checkpoint is {checkpoints.describe_latest()}: the same command resumes"):
        state = program(state, images)
      compiled.add(program)
    step = first + count
    clock.tick(state, step)
    if schedule.due(step, schedule.log_every):
      scalars = interval_scalars(state)
      check_finite(scalars, step, schedule.log_every, checkpoints.describe_latest())
      writers.write_scalars(step, clock.log(step, watching.note(step, scalars)))
    drawing = schedule.due(step, schedule.image_every)
    if drawing and devices.is_primary():
      grid = draw_progress(state.on_host())
      pictures.save_png(training.workdir / "images" / f"{step:08d}.png", grid)
      writers.write_image(step, "restorations", grid)
    is_best = False
    if watching.due(step):
      with clock.left_out(state):
        is_best = watching.evaluate(state, step, stop.is_set)
    # Several processes may be signalled at different steps: they stop after the same one.
    stopping = any_process(bool(stop.signal_name), state.step)
    if schedule.due(step, schedule.checkpoint_every) or stopping or is_best:
      check_finite(interval_means(state), step, schedule.log_every, checkpoints.describe_latest())
      writers.flush()
      checkpoints.save(state)
      watching.saved(step)
    if stopping:
      break
  return state.on_host(), step


def interval_means(state: TrainState) -> dict[str, float]:
  """The means of the scalars over the log interval so far, in one transfer; names never measured in it are left out."""
  sums = jax.device_get(state.interval)
  return {name: float(total / count) for name, (total, count) in sums.items() if count}


def interval_scalars(state: TrainState) -> dict[str, float]:
  """interval_means, and what follows from them: the critic's margin, the ratio of gradients."""
  return health.with_ratios(interval_means(state), health.gradient_ratio(jax.device_get(state.interval)))


def check_finite(scalars: dict[str, float], step: int, log_every: int, last_good: str) -> None:
  """UserError naming the steps in which a scalar stopped being finite, and the last good checkpoint."""
  broken = [name for name, value in scalars.items() if not math.isfinite(value)]
  if broken:
    first = (step - 1) // log_every * log_every + 1
    raise UserError(
      f"{', '.join(broken)} not finite between steps {first} and {step}; the last good checkpoint is {last_good}: "
      "lower optim.learning_rate or raise optim.r1_weight in a new --workdir"
    )


def _describe(game: Game, state: TrainState, dataset: Dataset, workdir: pathlib.Path) -> None:
  """Logs the sizes of data and networks, and their arithmetic; the table of all parameters goes to parameters.txt."""
  place = f"in {dataset.folder}" if dataset.folder else "drawn"
  logging.info("%d training and %d validation examples %s", len(dataset.train), len(dataset.val), place)
  model = game.config.model
  logging.info("%s", precision.describe(model.dtype, model.precision, devices.backend()))
  tables = []
  for player, params in (("generator", state.generator_params), ("critic", state.critic_params)):
    logging.info("%s: %s parameters", player, f"{sum(leaf.size for leaf in jax.tree.leaves(params)):,}")
    try:
      from clu import parameter_overview
    except ImportError:
      continue
    tables.append(f"{player}\n{parameter_overview.get_parameter_overview(params, include_stats=False)}\n")
  if tables and devices.is_primary():
    (workdir / "parameters.txt").write_text("\n".join(tables))
