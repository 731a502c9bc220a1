"""What has been measured, on disk, by what it depends on: what is asked for again is read, the rest is measured.

A column set lies in a folder named after it and the digest of its key (weights, data, attack, ...). It has a row for
each example, from the first on, in files of the rows that came together; the key is beside them, to be read.
"""

import hashlib
import json
import pathlib
import zipfile
from typing import Any

import jax
import numpy as np

from prt_jax.errors import UserError
from prt_jax.io.disk_errors import explain
from prt_jax.io.whole_files import write_arrays, write_whole

Rows = dict[str, np.ndarray]


class Store:
  """Column sets in a folder; None: in memory, for what cannot be told from its later self."""

  def __init__(self, folder: pathlib.Path | None):
    self._folder, self._known = folder, {}

  def columns(self, name: str, key: dict) -> "Columns":
    """The column set of a name and key, as far as it is filled."""
    text = json.dumps(key, sort_keys=True, indent=1)
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    if (name, digest) not in self._known:
      folder = self._folder and self._folder / f"{name}-{digest}"
      self._known[name, digest] = Columns(folder, text)
    return self._known[name, digest]


class Columns:
  """Arrays with a row for each example, from the first to `done`.

  Files are written whole beside their place and renamed, and read whole: not mapped, as a full disk would end the
  process with a signal there. One that cannot be read ends the rows before it.
  """

  def __init__(self, folder: pathlib.Path | None, key: str = ""):
    self._folder, self._key = folder, key
    self._parts, self.done = [], 0
    while folder and (rows := _read(folder, self.done)):
      self._add(rows)

  def append(self, rows: Rows) -> None:
    """The next rows of every array; UserError where they cannot be written."""
    rows = {name: np.asarray(array) for name, array in rows.items()}
    if self._folder:
      try:
        if not self._folder.exists():
          self._folder.mkdir(parents=True)
          write_whole(self._folder / "key.json", self._key)
        write_arrays(_place(self._folder, self.done), rows)
      except OSError as error:
        what, remedy = explain(error, self._folder)
        raise UserError(f"{what}; {remedy}, then run the same command to go on") from error
    self._add(rows)

  def arrays(self, count: int | None = None) -> Rows:
    """{name: [count, ...]}: the first rows; None = all. {} where there is none."""
    if not self._parts:
      return {}
    return {name: np.concatenate([part[name] for part in self._parts])[:count] for name in self._parts[0]}

  def _add(self, rows):
    self._parts.append(rows)
    self.done += len(next(iter(rows.values())))


def _place(folder, first):
  return folder / f"{first:08d}.npz"


def _read(folder, first):
  try:
    with np.load(_place(folder, first), allow_pickle=False) as file:
      return {name: file[name] for name in file.files}
  except FileNotFoundError:
    return None
  except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile):  # damaged: measured again
    return None


def digest_of(tree: Any) -> str:
  """A digest of the arrays of a pytree."""
  digest = hashlib.sha256()
  for leaf in jax.tree.leaves(tree):
    digest.update(np.ascontiguousarray(leaf).data)
  return digest.hexdigest()[:16]
