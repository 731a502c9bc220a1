"""Files that a reader sees whole or not at all."""

import io
import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np


def write_whole(path: pathlib.Path, content: bytes | memoryview | str) -> None:
  """Writes a file beside its place and renames it; it is on disk before this returns.

  Raises:
    OSError: it cannot be written; what was there before stays.
  """
  partial = path.with_name(path.name + ".partial")
  try:
    with partial.open("wb") as file:
      file.write(content.encode() if isinstance(content, str) else content)
      file.flush()
      os.fsync(file.fileno())
    partial.replace(path)
  except OSError:
    partial.unlink(missing_ok=True)
    raise


def write_json(path: pathlib.Path, content: Any) -> None:
  """write_whole of what JSON can hold; ValueError for a number that is not finite."""
  write_whole(path, json.dumps(content, indent=2, allow_nan=False) + "\n")


def write_arrays(path: pathlib.Path, arrays: Mapping[str, np.ndarray]) -> None:
  """write_whole of an .npz; ValueError for an array of objects."""
  content = io.BytesIO()
  np.savez(content, allow_pickle=False, **arrays)
  write_whole(path, content.getbuffer())
