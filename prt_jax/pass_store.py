"""The results of an evaluation pass, example by example on disk, so that a killed pass goes on where it was."""

import json
import pathlib
import shutil
from collections.abc import Iterator

import numpy as np


class PassStore:
  """Arrays with a row for each of n examples, filled from the first to the last.

  A row counts once progress.json says so, which is written after the rows. A store of another
  protocol (another checkpoint, another data set, other settings) is discarded.
  """

  def __init__(self, folder: pathlib.Path, num_examples: int, widths: dict[str, int], protocol: dict):
    self._progress = folder / "progress.json"
    content = {"protocol": protocol, "num_examples": num_examples, "widths": widths}
    self._protocol = json.loads(json.dumps(content))  # as it will be read back
    saved = self._read_progress()
    self.done = saved.pop("done", 0)
    if saved != self._protocol:
      shutil.rmtree(folder, ignore_errors=True)
      folder.mkdir(parents=True)
      self.done = 0
    mode = "r+" if self.done else "w+"
    self.arrays = {
      name: np.lib.format.open_memmap(folder / f"{name}.npy", mode, np.float32, (num_examples, width))
      for name, width in widths.items()
    }
    self.num_examples = num_examples

  def batches(self, batch_size: int) -> Iterator[tuple[int, int]]:
    """(first, stop) of the batches that are still to do."""
    while self.done < self.num_examples:
      yield self.done, min(self.done + batch_size, self.num_examples)

  def write(self, values: dict[str, np.ndarray]) -> None:
    """The next rows of every array; rows beyond the last example (a padded batch) are dropped."""
    rows = {name: array[: self.num_examples - self.done] for name, array in values.items()}
    for name, array in rows.items():
      self.arrays[name][self.done : self.done + len(array)] = array.reshape(len(array), -1)
      self.arrays[name].flush()
    self.done += len(next(iter(rows.values())))
    partial = self._progress.with_suffix(".partial")
    partial.write_text(json.dumps(self._protocol | {"done": self.done}))
    partial.replace(self._progress)

  def _read_progress(self) -> dict:
    try:
      return json.loads(self._progress.read_text())
    except (OSError, json.JSONDecodeError):
      return {}
