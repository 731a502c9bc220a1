"""The npz parts of downsampled ImageNet, read as a stream.

A part is a zip file whose member `data.npy` is uint8 [N, 3 * S * S]: all red, all green, all blue
pixels of an image, row by row. One part of 64x64 holds 1.6 GB, so it is never loaded whole.
"""

import contextlib
import math
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from prt_jax.data.errors_text import one_line
from prt_jax.errors import UserError

NUM_PARTS = 10  # of the training images
VALIDATION_PART = "val_data.npz"
DOWNLOADS = "Imagenet64_train_part1_npz.zip, Imagenet64_train_part2_npz.zip, Imagenet64_val_npz.zip"
CHANNELS = 3
ROWS_A_READ = 64
MAX_SIDE = 512  # pixels: bounds what is read at once, whatever a header says


def training_parts(folder: Path) -> list[Path]:
  """The train_data_batch_*.npz of a folder (pathlib.Path), by their numbers."""
  numbered = {}
  for path in folder.glob("train_data_batch_*.npz"):
    if match := re.fullmatch(r"train_data_batch_(\d+)\.npz", path.name):
      numbered[int(match[1])] = path
  return [numbered[number] for number in sorted(numbered)]


def missing_parts(folder: Path) -> list[str]:
  """The names of the parts that a folder lacks of the whole data set."""
  numbers = {int(path.stem.rpartition("_")[2]) for path in training_parts(folder)}
  names = [f"train_data_batch_{number}.npz" for number in range(1, NUM_PARTS + 1) if number not in numbers]
  return names + ([] if (folder / VALIDATION_PART).is_file() else [VALIDATION_PART])


def pickled_part(folder: Path) -> Path | None:
  """The first file of the other download of downsampled ImageNet, Python pickles of the same names; None without."""
  pattern = r"(train_data_batch_\d+|val_data)(\.pkl|\.pickle|\.p)?"
  return next((path for path in sorted(folder.iterdir()) if re.fullmatch(pattern, path.name)), None)


def count_images(path: Path) -> int:
  """How many images a part holds, from its header alone; UserError if it is no such part."""
  with _open_data(path) as (_, count, _):
    return count


def read_images(path: Path) -> Iterator[np.ndarray]:
  """The images of a part, in order; reads ROWS_A_READ images at a time.

  Yields:
    uint8 [S, S, 3].

  Raises:
    UserError: not a zip file, no `data`, wrong dtype or shape, truncated.
  """
  with _open_data(path) as (stream, count, side):
    row_bytes = CHANNELS * side * side
    for start in range(0, count, ROWS_A_READ):
      rows = min(ROWS_A_READ, count - start)
      block = stream.read(rows * row_bytes)
      if len(block) < rows * row_bytes:
        raise UserError(f"{path} is truncated: its header promises {count} images; copy or download it again")
      yield from np.frombuffer(block, np.uint8).reshape(rows, CHANNELS, side, side).transpose(0, 2, 3, 1)


@contextlib.contextmanager
def _open_data(path):
  """(stream just behind the header, number of images, side) of a part."""
  try:
    with zipfile.ZipFile(path) as archive, archive.open("data.npy") as stream:
      yield stream, *_read_header(stream, path)
  except UserError:
    raise
  # A damaged zip file fails with BadZipFile, zlib.error, EOFError, OSError or NotImplementedError; a part without
  # `data` with KeyError; a damaged header with ValueError.
  except Exception as error:
    raise UserError(f"cannot read `data` of {path} ({one_line(error)}): copy or download it again") from error


def _read_header(stream, path):
  version = np.lib.format.read_magic(stream)
  if version != (1, 0):  # that of every plain array; later ones have headers of any length
    raise ValueError(f"npy format {version[0]}.{version[1]}")
  shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(stream)
  side = math.isqrt(shape[1] // CHANNELS) if len(shape) == 2 and 0 <= shape[1] <= CHANNELS * MAX_SIDE**2 else 0
  if dtype != np.uint8 or fortran_order or side == 0 or shape[1] != CHANNELS * side**2:
    order = ", column-major" if fortran_order else ""
    raise UserError(
      f"`data` of {path} is {dtype} {list(shape)}{order}: expected uint8 [N, 3*S*S], row-major, "
      "as in the downsampled ImageNet of image-net.org"
    )
  return shape[0], side
