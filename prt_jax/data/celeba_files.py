"""CelebA as its authors give it: img_align_celeba/*.jpg or img_align_celeba_png/*.png, and list_eval_partition.txt."""

import hashlib
from collections.abc import Iterable
from pathlib import Path, PurePath

from prt_jax.data.errors_text import one_line
from prt_jax.data.image_files import EXTENSIONS, list_images
from prt_jax.errors import UserError

IMAGE_FOLDERS = ("img_align_celeba", "img_align_celeba_png")
PARTITION_FILES = ("list_eval_partition.txt", "list_eval_partition.csv")  # the authors' own; Kaggle's copy
TRAIN, VALIDATION, TEST = 0, 1, 2


def find_partition_file(folder: Path) -> Path | None:
  """The file that says which image is in which split: in `folder` or in one of its IMAGE_FOLDERS; None if absent."""
  for parent in (folder, *(folder / name for name in IMAGE_FOLDERS)):
    for name in PARTITION_FILES:
      if (parent / name).is_file():
        return parent / name
  return None


def find_image_folder(folder: Path) -> Path:
  """Where the images are: in one of IMAGE_FOLDERS (also within itself, as Kaggle's zip unpacks), else `folder` itself.

  Of several, the first that holds an image.
  """
  candidates = [place for name in IMAGE_FOLDERS for place in (folder / name / name, folder / name) if place.is_dir()]
  if len(candidates) < 2:
    return (*candidates, folder)[0]
  return next((place for place in candidates if list_images(place, EXTENSIONS)[0]), candidates[0])


def match_names(names: Iterable[str], folder: Path) -> list[str]:
  """The files of the images that a partition file names as NAME.jpg, in its order: those, or NAME with another ending.

  An image that is missing keeps its name: reading it will say so.
  """
  present, _ = list_images(folder, EXTENSIONS)
  by_stem = {PurePath(name).stem: name for name in present}
  present = set(present)
  return [name if name in present else by_stem.get(PurePath(name).stem, name) for name in names]


def read_partitions(path: Path) -> tuple[list[str], list[str]]:
  """The sorted image names of the train and of the validation partition.

  Args:
    path: of list_eval_partition.txt, with lines such as `000001.jpg 0` (0 train, 1 validation, 2 test),
      or of its comma-separated copy, which has a header.

  Returns:
    (list of str, list of str).

  Raises:
    UserError: unreadable, or a line that is no such line.
  """
  names = {TRAIN: [], VALIDATION: [], TEST: []}
  for number, line in enumerate(_read(path).decode("utf-8", "replace").splitlines(), 1):
    fields = line.replace(",", " ").split()
    if not fields or fields == ["image_id", "partition"]:
      continue
    if len(fields) != 2 or fields[1] not in ("0", "1", "2"):
      raise UserError(f"{path} line {number} is not 'NAME 0|1|2' but {one_line(line, 60)!r}: download it again")
    names[int(fields[1])].append(fields[0])
  return sorted(names[TRAIN]), sorted(names[VALIDATION])


def digest_partitions(path: Path) -> str:
  """sha256 of the partition file; UserError if it cannot be read."""
  return hashlib.sha256(_read(path)).hexdigest()


def _read(path):
  try:
    return path.read_bytes()
  except OSError as error:
    raise UserError(f"cannot read {path} ({one_line(error)}): download it again") from error
