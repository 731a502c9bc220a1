"""Orbax checkpoints of a run: asynchronous, digested, some of them kept (kept.py), the config beside them."""

import json
import pathlib
import shutil
import sys

import orbax.checkpoint as ocp
from absl import logging
from ml_collections import ConfigDict

from prt_jax.devices import is_primary
from prt_jax.errors import UserError
from prt_jax.io.disk_errors import remedy_of
from prt_jax.io.file_digests import Damaged, check_digests, write_digests
from prt_jax.io.json_files import read_object
from prt_jax.io.whole_files import write_json
from prt_jax.training import data_identity
from prt_jax.training.checkpoint_tree import as_tree, from_tree, tree_to_read
from prt_jax.training.kept import Kept
from prt_jax.training.state import TrainState

# A run may be evaluated, moved and fed differently without becoming another run. What its data are is kept beside its
# config (data_identity.py); where they lie is free once that is known.
FREE_FIELDS = (
  "data.cache_dir", "data.placement", "data.skip_unreadable", "train.milestone_every_steps", "train.wandb_project",
  "eval.",
)  # fmt: skip
# Fields that a config.json written before they existed does not have, and what it meant.
ADDED_FIELDS = {
  "model.noise_scale": 1.0,
  "model.precision": "default",
  "degradation.consistency": "exact",
  "degradation.blur_sigma": 2.0,
  "degradation.quality": 10,
  "data.skip_unreadable": False,
  "train.milestone_every_steps": 0,
  "train.wandb_project": "",
  "eval.every_steps": 0,
  "eval.watch_examples": 64,
  "eval.best_by": "",
}


ITEM = "default"  # Orbax's name of a checkpoint's one part: the state


class Checkpoints:
  """The checkpoints/ folder of a workdir.

  The state is copied to the host before it is written, so that a donated buffer is never read and
  every process of a multi-host run holds the same numbers; writing goes on in the background. The
  digests of its files are a part of a checkpoint, and compared before it is read; those of before
  have none.
  """

  def __init__(self, workdir: pathlib.Path, newest: int, milestone_every: int = 0):
    """Of workdir; newest: so many stay; milestone_every: and those of each multiple of so many steps, 0 = none."""
    finished = ocp.AsyncOptions(post_finalization_callback=self._seal)
    self.kept = Kept(newest, milestone_every)
    options = ocp.CheckpointManagerOptions(
      preservation_policy=self.kept, enable_async_checkpointing=True, async_options=finished
    )
    self._folder = workdir / "checkpoints"
    _silence_closed_loops()
    try:
      self._manager = ocp.CheckpointManager(self._folder.absolute(), options=options)
    except OSError as error:
      raise UserError(f"cannot create {self._folder}: {error.strerror}; choose another --workdir") from error

  def latest_step(self) -> int | None:
    """The newest complete checkpoint's step, None where there is none."""
    return self._manager.latest_step()

  def steps(self) -> list[int]:
    """Those of all complete checkpoints, in ascending order."""
    return sorted(self._manager.all_steps())

  def find(self, step: int) -> int:
    """The step of the checkpoint to read, 0 meaning the newest; UserError where it is not there."""
    steps = self.steps()
    if not steps:
      raise UserError(f"no checkpoint in {self._folder}: train the run first (--mode=train), or name its --workdir")
    if step and step not in steps:
      raise UserError(f"eval.step={step}: {self._folder} holds steps {', '.join(map(str, steps))}; 0 is the newest")
    return step or steps[-1]

  def describe_latest(self) -> str:
    """The newest complete checkpoint in words, read from the disk: 'step 300' or 'none'."""
    steps = [int(path.name) for path in self._folder.glob("*") if path.name.isdigit()]
    return f"step {max(steps)}" if steps else "none"

  def save(self, state: TrainState) -> None:
    """Starts writing the state under its step; UserError where the previous write, or this one's start, failed."""
    step = int(state.step)
    if step == self.latest_step():
      return
    self.wait()  # _seal is told of one step
    self._saving = step
    self._guard(lambda: self._manager.save(step, args=ocp.args.StandardSave(as_tree(state))))

  def restore(self, template: TrainState, step: int) -> TrainState:
    """The state of a step, as numpy arrays in the structure of template (whose key it keeps); UserError if damaged."""
    try:
      return self._read(template, step)
    except Damaged as error:
      raise UserError(
        f"cannot read checkpoint {self._folder / str(step)}: {error}; name another step, or train on from an older one"
      ) from error

  def restore_newest(self, template: TrainState) -> tuple[TrainState, int]:
    """(state, step) of the newest checkpoint that is not damaged; damaged ones are named in the log.

    UserError where there is none.
    """
    while True:
      damaged = {}
      for step in sorted(self._manager.all_steps(), reverse=True):
        try:
          return self._read(template, step), step
        except Damaged as error:
          damaged[step] = error
      # A run that trains meanwhile replaces its checkpoints by newer ones.
      before = set(damaged)
      self._manager.reload()
      if before == set(self._manager.all_steps()):
        self.find(0)
        named = "; ".join(f"{step}: {error}" for step, error in damaged.items())
        raise UserError(f"no checkpoint in {self._folder} can be read ({named}): move that folder away to start anew")

  def resume(self, template: TrainState, first_interval: int) -> tuple[TrainState, int]:
    """restore_newest for the process that trains: (template, 0) where there is no checkpoint yet.

    Damaged checkpoints that are newer are moved to checkpoints-damaged/, out of the way of those to come. Where all are
    damaged and none is of a step after first_interval, the run starts anew: it comes to the same.
    """
    steps = self.steps()
    if not steps:
      return template, 0
    try:
      state, step = self.restore_newest(template)
    except UserError:
      if steps[-1] > first_interval:
        raise
      logging.warning("the first checkpoint of %s is damaged: starting anew", self._folder)
      state, step = template, 0
    newer = [damaged for damaged in steps if damaged > step]
    if newer and is_primary():
      aside = self._folder.with_name("checkpoints-damaged")
      aside.mkdir(exist_ok=True)
      for damaged in newer:
        shutil.rmtree(aside / str(damaged), ignore_errors=True)
        (self._folder / str(damaged)).rename(aside / str(damaged))
      logging.warning("moved damaged checkpoints to %s: %s", aside, ", ".join(map(str, newer)))
    self._manager.reload()
    return state, step

  def _read(self, template, step):
    """restore, raising Damaged."""
    path = self._folder / str(step)
    try:
      if not any((path / ITEM).glob("*")):
        raise Damaged("it is empty")
      if not check_digests(path / ITEM):
        logging.info("checkpoint %s is of before digests were written: not compared with any", path)
      wanted = tree_to_read(template, path / ITEM)
      tree = self._manager.restore(step, args=ocp.args.StandardRestore(wanted))
    except Damaged as error:
      logging.warning("checkpoint %s is damaged: %s", path, error)
      raise
    except OSError as error:
      raise UserError(
        f"cannot read {error.filename or path} ({error.strerror or error}): check the disk and permissions, then run "
        "the same command again"
      ) from error
    except MemoryError:  # of this machine, not of the file
      raise
    # Orbax and TensorStore meet a damaged file with exceptions of many unrelated classes.
    except Exception as error:
      reason = str(error).partition("\n")[0] or type(error).__name__
      logging.warning("checkpoint %s cannot be read: %s", path, reason)
      raise Damaged(reason) from error
    return from_tree(template, tree)

  def _seal(self) -> None:
    """Called when a checkpoint's files are written, before its folder gets its name: adds their digests."""
    if is_primary():
      for path in self._folder.glob("*.orbax-checkpoint-tmp"):
        if (path / ITEM).is_dir() and path.name.partition(".")[0] == str(self._saving):
          write_digests(path / ITEM)

  def wait(self) -> None:
    """Returns when everything is on disk; UserError where it is not."""
    self._guard(self._manager.wait_until_finished)

  def close(self) -> None:
    """Waits, then frees the manager's threads."""
    self.wait()
    self._manager.close()

  def _guard(self, action) -> None:
    try:
      action()
    # Orbax and TensorStore report a full disk by exceptions of several unrelated classes.
    except Exception as error:
      lines = str(error).strip().splitlines()
      reason = lines[-1] if lines else type(error).__name__
      raise UserError(
        f"cannot write a checkpoint to {self._folder}: {reason}; the last good checkpoint is "
        f"{self.describe_latest()}: {remedy_of(reason)}, then run the same command to go on from there"
      ) from error


def _silence_closed_loops() -> None:
  """Where one write of a checkpoint fails, TensorStore's others tell so to an event loop that Orbax has closed.

  Each would be a traceback on the terminal, hundreds around the one line that says what failed.
  """

  def hook(unraisable):
    error = unraisable.exc_value
    if unraisable.object is not None or not isinstance(error, RuntimeError) or str(error) != "Event loop is closed":
      shown(unraisable)

  if getattr(sys.unraisablehook, "__module__", None) != __name__:
    shown, sys.unraisablehook = sys.unraisablehook, hook


def claim_workdir(workdir: pathlib.Path, config: ConfigDict) -> None:
  """Writes config.json into a fresh workdir; in a used one, checks that it holds the same run.

  Raises:
    UserError: the workdir cannot be written, or holds a run of a different config (the fields that
      differ are named).
  """
  path = workdir / "config.json"
  try:
    workdir.mkdir(parents=True, exist_ok=True)
    if path.exists():
      check_workdir(workdir, config)
    elif is_primary():
      write_json(path, json.loads(config.to_json(sort_keys=True)))
  except OSError as error:
    raise UserError(f"cannot use {workdir} as a workdir: {error.strerror}; choose another --workdir") from error


def check_workdir(workdir: pathlib.Path, config: ConfigDict) -> None:
  """UserError where the workdir holds a run of a different config, naming the fields; writes nothing."""
  path = workdir / "config.json"
  try:
    theirs = complete_config(read_object(path, "choose another --workdir"))
  except (FileNotFoundError, NotADirectoryError):
    return
  except AttributeError as error:
    raise UserError(f"{path} is not a config ({error}): choose another --workdir") from error
  free = FREE_FIELDS
  if (workdir / data_identity.FILE).exists() or _same_place(theirs, config):
    free = (*FREE_FIELDS, "data.path")
  differences = _differences(theirs, complete_config(json.loads(config.to_json())), free)
  if differences:
    raise UserError(
      f"{workdir} holds a run of a different config ({'; '.join(differences)}): choose another --workdir, "
      "or repeat that run's fields"
    )


def _same_place(theirs: dict, ours: ConfigDict) -> bool:
  try:
    paths = theirs["data"]["path"], ours.data.path
  except (KeyError, AttributeError, TypeError):  # a run without data
    return False
  return all(paths) and len({pathlib.Path(path).expanduser().resolve() for path in paths}) == 1


def complete_config(config: dict) -> dict:
  """A config.json's content with ADDED_FIELDS, where it is of before them."""
  config = {group: dict(fields) if isinstance(fields, dict) else fields for group, fields in config.items()}
  for field, value in ADDED_FIELDS.items():
    group, name = field.split(".")
    config.setdefault(group, {}).setdefault(name, value)
  return config


def _flatten(tree: dict, prefix: str = "") -> dict:
  flat = {}
  for name, value in tree.items():
    flat |= _flatten(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
  return flat


def _differences(theirs: dict, ours: dict, free: tuple[str, ...]) -> list[str]:
  theirs, ours = _flatten(theirs), _flatten(ours)
  return [
    f"{field} is {theirs.get(field, 'absent')} there, {ours.get(field, 'absent')} here"
    for field in sorted(theirs.keys() | ours.keys())
    if theirs.get(field) != ours.get(field) and not field.startswith(free)
  ]
