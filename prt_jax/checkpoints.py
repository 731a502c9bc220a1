"""Orbax checkpoints of a run: asynchronous, the newest few kept, the config beside them."""

import json
import pathlib

import jax
import numpy as np
import orbax.checkpoint as ocp
from flax import serialization
from ml_collections import ConfigDict

from prt_jax.errors import UserError
from prt_jax.parallel import is_primary, to_host
from prt_jax.state import TrainState

# A run may be evaluated, moved and fed differently without becoming another run.
FREE_FIELDS = ("data.cache_dir", "data.placement", "eval.")
# Fields that a config.json written before they existed does not have, and what it meant.
ADDED_FIELDS = {"model.noise_scale": 1.0, "model.precision": "default", "degradation.consistency": "exact"}


class Checkpoints:
  """The checkpoints/ folder of a workdir.

  The state is copied to the host before it is written, so that a donated buffer is never read and
  every process of a multi-host run holds the same numbers; writing goes on in the background.
  """

  def __init__(self, workdir: pathlib.Path, max_to_keep: int):
    options = ocp.CheckpointManagerOptions(max_to_keep=max_to_keep, enable_async_checkpointing=True)
    self._folder = workdir / "checkpoints"
    try:
      self._manager = ocp.CheckpointManager(self._folder.absolute(), options=options)
    except OSError as error:
      raise UserError(f"cannot create {self._folder}: {error.strerror}; choose another --workdir") from error

  def latest_step(self) -> int | None:
    """The newest complete checkpoint's step, None where there is none."""
    return self._manager.latest_step()

  def find(self, step: int) -> int:
    """The step of the checkpoint to read, 0 meaning the newest; UserError where it is not there."""
    steps = sorted(self._manager.all_steps())
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
    self._guard(lambda: self._manager.save(step, args=ocp.args.StandardSave(_as_tree(state))))

  def restore(self, template: TrainState, step: int) -> TrainState:
    """The state of a step, as numpy arrays in the structure of template (whose key it keeps)."""
    target = _as_tree(template)
    try:
      tree = self._manager.restore(step, args=ocp.args.StandardRestore(target))
    except (ValueError, KeyError, OSError) as error:
      reason, path = str(error).partition("\n")[0] or type(error).__name__, self._folder / str(step)
      raise UserError(f"cannot read checkpoint {path}: {reason}; delete it to use an older one") from error
    key = template.key
    return serialization.from_state_dict(template.replace(key=None), jax.tree.map(np.asarray, tree)).replace(key=key)

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
      reason = str(error).strip().splitlines()
      raise UserError(
        f"cannot write a checkpoint to {self._folder}: {reason[-1] if reason else type(error).__name__}; the last good "
        f"checkpoint is {self.describe_latest()}: free some space, then run the same command to go on from there"
      ) from error


def _as_tree(state: TrainState):
  return serialization.to_state_dict(to_host(state.replace(key=None)))


def claim_workdir(workdir: pathlib.Path, config: ConfigDict) -> None:
  """Writes config.json into a fresh workdir; in a used one, checks that it holds the same run.

  Raises:
    UserError: the workdir cannot be written, or holds a run of a different config (the fields that
      differ are named).
  """
  path = workdir / "config.json"
  ours = json.loads(config.to_json(sort_keys=True))
  try:
    workdir.mkdir(parents=True, exist_ok=True)
    if path.exists():
      differences = _differences(complete_config(json.loads(path.read_text())), complete_config(ours))
      if differences:
        raise UserError(
          f"{workdir} holds a run of a different config ({'; '.join(differences)}): choose another --workdir, "
          "or repeat that run's fields"
        )
    elif is_primary():
      partial = path.with_suffix(".partial")
      partial.write_text(json.dumps(ours, indent=2) + "\n")
      partial.rename(path)
  except OSError as error:
    raise UserError(f"cannot use {workdir} as a workdir: {error.strerror}; choose another --workdir") from error
  except json.JSONDecodeError as error:
    raise UserError(f"{path} is not a config ({error}): choose another --workdir") from error


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


def _differences(theirs: dict, ours: dict) -> list[str]:
  theirs, ours = _flatten(theirs), _flatten(ours)
  return [
    f"{field} is {theirs.get(field, 'absent')} there, {ours.get(field, 'absent')} here"
    for field in sorted(theirs.keys() | ours.keys())
    if theirs.get(field) != ours.get(field) and not field.startswith(FREE_FIELDS)
  ]
