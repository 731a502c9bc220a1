"""Where a run's numbers go: metrics.jsonl always, TensorBoard through CLU writers where it is installed."""

import functools
import json
import os
import pathlib
from collections.abc import Mapping

import numpy as np
from absl import logging
from ml_collections import ConfigDict

# Wall-clock scalars: the only ones in metrics.jsonl that two identical runs do not share.
SPEED_SCALARS = ("steps_per_second", "images_per_second")


class Writers:
  """metrics.jsonl and TensorBoard events (the config's fields among them) of one workdir.

  A resumed run first drops the lines after its checkpoint: it will measure them again.
  """

  def __init__(self, workdir: pathlib.Path, config: ConfigDict, first_step: int, *, primary: bool = True):
    self._workdir, self._config = workdir, config
    self._path = workdir / "metrics.jsonl"
    self._file = None
    if primary:
      keep_lines_until(self._path, first_step)
      self._file = self._path.open("a")

  @functools.cached_property
  def _tensorboard(self):
    """Made at its first use: importing TensorFlow takes seconds, in which the first steps can run already."""
    writer = _tensorboard_writer(self._workdir)
    if writer:
      fields = {name: v if isinstance(v, (int, float, str)) else str(v) for name, v in flat(self._config)}
      writer.write_hparams(fields)
    return writer

  def write_scalars(self, step: int, scalars: Mapping[str, float]) -> None:
    """One line {"step": step, name: value, ...}, on disk before this returns, and TensorBoard scalars."""
    if not self._file:
      return
    self._file.write(json.dumps({"step": step, **scalars}) + "\n")
    self._file.flush()
    os.fsync(self._file.fileno())
    if self._tensorboard:
      self._tensorboard.write_scalars(step, scalars)

  def write_image(self, step: int, name: str, image: np.ndarray) -> None:
    """An image [H,W,3] uint8 for TensorBoard."""
    if self._file and self._tensorboard:
      self._tensorboard.write_images(step, {name: image[None]})

  def close(self) -> None:
    """Flushes everything to disk."""
    if writer := vars(self).get("_tensorboard"):  # if it was used
      writer.close()
    if self._file:
      self._file.close()


def flat(config: ConfigDict, prefix: str = "") -> list[tuple[str, object]]:
  """The fields of a config as ("group.name", value) pairs."""
  fields = []
  for name, value in config.items():
    fields += flat(value, f"{prefix}{name}.") if isinstance(value, ConfigDict) else [(prefix + name, value)]
  return fields


def keep_lines_until(path: pathlib.Path, last_step: int) -> None:
  """Drops the lines of a metrics file that are later than last_step, and a torn last line."""
  if not path.exists():
    return
  kept = []
  for line in path.read_text().splitlines():
    try:
      if json.loads(line)["step"] <= last_step:
        kept.append(line + "\n")
    except (json.JSONDecodeError, KeyError, TypeError):
      logging.warning("dropped a torn line of %s: %.60r", path, line)
  partial = path.with_suffix(".partial")
  partial.write_text("".join(kept))
  partial.replace(path)


def write_evaluation(workdir: pathlib.Path, step: int, scalars: Mapping[str, float]) -> None:
  """The evaluation's line of a step in metrics.jsonl, in the place of an earlier one, and TensorBoard scalars."""
  path = workdir / "metrics.jsonl"
  lines = path.read_text().splitlines(keepends=True) if path.exists() else []

  def is_older(line):
    content = json.loads(line)
    return content["step"] == step and content.keys() & scalars.keys()

  kept = [line for line in lines if not is_older(line)]
  partial = path.with_suffix(".partial")
  partial.write_text("".join(kept) + json.dumps({"step": step, **scalars}) + "\n")
  partial.replace(path)
  if writer := _tensorboard_writer(workdir):
    writer.write_scalars(step, scalars)
    writer.close()


def _tensorboard_writer(workdir: pathlib.Path):
  try:
    import tensorflow as tf
    from clu import metric_writers
  except ImportError as error:
    logging.warning("no TensorBoard events, metrics go to metrics.jsonl and the log alone: %s", error)
    return None
  # TensorFlow writes events here and nothing else: the accelerator's memory is JAX's.
  tf.config.set_visible_devices([], "GPU")
  return metric_writers.SummaryWriter(str(workdir))
