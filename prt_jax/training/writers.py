"""Where a run's numbers go: metrics.jsonl always, TensorBoard (CLU) where it is installed, wandb if asked for."""

import functools
import json
import os
import pathlib
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from absl import logging
from ml_collections import ConfigDict

from prt_jax.config import flat
from prt_jax.io.json_files import parse_object
from prt_jax.io.locks import short_lock
from prt_jax.io.whole_files import write_whole
from prt_jax.training.wandb_writer import WandbWriter

# Wall-clock scalars: the only ones in metrics.jsonl that two identical runs do not share.
SPEED_SCALARS = ("steps_per_second", "images_per_second")


class Writers:
  """metrics.jsonl, TensorBoard events (the config's fields among them) and, if asked for, wandb, of one workdir.

  A resumed run first drops the lines after its checkpoint, and has TensorBoard drop its events after it: it will
  measure them again.
  """

  def __init__(self, workdir: pathlib.Path, config: ConfigDict, first_step: int, *, primary: bool = True):
    self._workdir, self._config = workdir, config
    self._path = workdir / "metrics.jsonl"
    self._primary, self._first_step = primary, first_step
    self._wandb: Any = None
    if primary:
      keep_lines_until(self._path, first_step)
      self._wandb = WandbWriter(workdir, config) if config.train.wandb_project else None

  @functools.cached_property
  def _others(self) -> dict[str, Any]:
    """{what: its writer}, beside metrics.jsonl, in CLU's form.

    Made at its first use: importing TensorFlow takes seconds, in which the first steps can run already.
    """
    writers = {
      "TensorBoard events": _tensorboard_writer(self._workdir, purge_after=self._first_step),
      "curves in wandb": self._wandb,
    }
    if tensorboard := writers["TensorBoard events"]:
      fields = {name: v if isinstance(v, (int, float, str)) else str(v) for name, v in flat(self._config)}
      tensorboard.write_hparams(fields)
    return {what: writer for what, writer in writers.items() if writer}

  def lines(self) -> list[dict]:
    """All that metrics.jsonl holds."""
    return [json.loads(line) for line in self._path.read_text().splitlines()] if self._path.exists() else []

  def write_scalars(self, step: int, scalars: Mapping[str, float]) -> None:
    """One line {"step": step, name: value, ...}, on disk before this returns, and TensorBoard scalars."""
    if not self._primary:
      return
    append_line(self._path, {"step": step, **scalars})
    self._try_others(lambda writer: writer.write_scalars(step, scalars))

  def write_image(self, step: int, name: str, image: np.ndarray) -> None:
    """An image [H,W,3] uint8, for all but metrics.jsonl."""
    if self._primary:
      self._try_others(lambda writer: writer.write_images(step, {name: image[None]}))

  def flush(self) -> None:
    """Has the events so far on disk, as the lines are: after a kill they are not written again."""
    if vars(self).get("_others"):  # if they were used
      self._try_others(lambda writer: writer.flush())

  def close(self) -> None:
    """Flushes everything to disk."""
    if self._wandb and "_others" not in vars(self):  # stopped before it wrote anything
      vars(self)["_others"] = {"curves in wandb": self._wandb}
    if vars(self).get("_others"):
      self._try_others(lambda writer: writer.close())

  def _try_others(self, write: Callable) -> None:
    """metrics.jsonl has the numbers: events that cannot be written end the events, not the run."""
    for what, writer in list(self._others.items()):
      try:
        write(writer)
      # TensorFlow has exceptions of its own for a full disk, none of them an OSError; wandb, for a network.
      except Exception as error:
        logging.warning("no more %s: %s", what, str(error).partition("\n")[0] or type(error).__name__)
        del self._others[what]


def append_line(path: pathlib.Path, content: Mapping[str, object]) -> None:
  """One more JSON object at the end of a file, on disk before this returns.

  Opened anew each time: an evaluation of a run that still trains may have put another file in this one's place.
  """
  with short_lock(path.parent), path.open("a") as file:
    file.write(json.dumps(content) + "\n")
    file.flush()
    os.fsync(file.fileno())


def keep_lines_until(path: pathlib.Path, last_step: int) -> None:
  """Drops the lines of a metrics file that are later than last_step, and whatever is no line of one."""
  keep_lines(path, lambda content: content["step"] <= last_step)


def keep_lines(path: pathlib.Path, wanted: Callable[[dict], bool]) -> None:
  """Rewrites a file of JSON objects, beside and renamed, where a line is not wanted, or torn.

  Under a lock: a run and an evaluation of it write side by side, and a line between reading and renaming would be lost.
  """
  with short_lock(path.parent):
    _keep_lines(path, wanted)


def _keep_lines(path, wanted):
  lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
  kept = []
  for line in lines:
    try:
      if wanted(parse_object(line)):
        kept.append(line.rstrip(b"\n") + b"\n")
    except (ValueError, KeyError, TypeError):
      logging.warning("dropped a torn line of %s: %.60r", path, line)
  if kept == lines:
    return
  write_whole(path, b"".join(kept))


def write_evaluation(workdir: pathlib.Path, step: int, scalars: Mapping[str, float]) -> None:
  """The evaluation's line of a step in metrics.jsonl, in the place of an earlier one, and TensorBoard scalars."""
  path = workdir / "metrics.jsonl"
  keep_lines(path, lambda content: content["step"] != step or not content.keys() & scalars.keys())
  append_line(path, {"step": step, **scalars})
  if writer := _tensorboard_writer(workdir):
    writer.write_scalars(step, scalars)
    writer.close()


def _purge_after(workdir: pathlib.Path, last_step: int) -> None:
  """Drops the later steps' events from the event files, and has a TensorBoard that has read them forget them.

  The second by a file with a session's start, which is all that purge_step was in TensorFlow 1; TensorFlow 2's writers
  have none. It must sort between the earlier files and the next: their names go on with the seconds of their creation
  and the name of the host, before which a hyphen sorts.
  """
  from tensorboard.compat.proto.event_pb2 import Event, SessionLog  # pyright: ignore[reportAttributeAccessIssue]
  from tensorboard.summary.writer.record_writer import RecordWriter

  def is_kept(record):
    try:
      return Event.FromString(record[12:-4]).step <= last_step
    except Exception:  # of protobuf's, for a damaged record
      return False

  for path in workdir.glob("events.out.tfevents.*"):
    records = list(_records(path.read_bytes()))
    kept = list(filter(is_kept, records))
    if len(kept) < len(records):
      write_whole(path, b"".join(kept))
  now, start = time.time(), SessionLog(status=SessionLog.START)
  # The first start that TensorBoard meets is the run's beginning to it, and drops nothing.
  starts = [Event(wall_time=now, step=last_step + 1, session_log=start) for _ in range(2)]
  with (workdir / f"events.out.tfevents.{int(now):010d}.-session_start").open("wb") as file:
    writer = RecordWriter(file)
    for event in (Event(wall_time=now, file_version="brain.Event:2"), *starts):
      writer.write(event.SerializeToString())


def _records(content: bytes) -> Iterator[bytes]:
  """The whole records of a TFRecord file: 8 bytes of length, 4 of its checksum, the data, 4 of its checksum."""
  place = 0
  while place + 16 <= len(content):
    end = place + 16 + int.from_bytes(content[place : place + 8], "little")
    if end > len(content):  # torn
      return
    yield content[place:end]
    place = end


def _tensorboard_writer(workdir: pathlib.Path, purge_after: int | None = None):
  try:
    import tensorflow as tf
    from clu import metric_writers
  except ImportError as error:
    logging.warning("no TensorBoard events, metrics go to metrics.jsonl and the log alone: %s", error)
    return None
  # TensorFlow writes events here and nothing else: the accelerator's memory is JAX's.
  tf.config.set_visible_devices([], "GPU")
  if purge_after is not None and any(workdir.glob("events.out.tfevents.*")):
    _purge_after(workdir, purge_after)
  return metric_writers.SummaryWriter(str(workdir))
