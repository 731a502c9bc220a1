"""CelebA as its authors give it: img_align_celeba/*.jpg and list_eval_partition.txt."""

import hashlib

from prt_jax.data.errors_text import one_line
from prt_jax.errors import UserError

IMAGE_FOLDER = "img_align_celeba"
PARTITION_FILES = ("list_eval_partition.txt", "list_eval_partition.csv")  # the authors' own; Kaggle's copy
TRAIN, VALIDATION, TEST = 0, 1, 2


def find_partition_file(folder):
  """The file that says which image is in which split: in `folder` or in its img_align_celeba; None if absent."""
  for parent in (folder, folder / IMAGE_FOLDER):
    for name in PARTITION_FILES:
      if (parent / name).is_file():
        return parent / name
  return None


def find_image_folder(folder):
  """Where the images are: img_align_celeba (also within itself, as Kaggle's zip unpacks), else `folder` itself."""
  for candidate in (folder / IMAGE_FOLDER / IMAGE_FOLDER, folder / IMAGE_FOLDER):
    if candidate.is_dir():
      return candidate
  return folder


def read_partitions(path):
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


def digest_partitions(path):
  """sha256 of the partition file; UserError if it cannot be read."""
  return hashlib.sha256(_read(path)).hexdigest()


def _read(path):
  try:
    return path.read_bytes()
  except OSError as error:
    raise UserError(f"cannot read {path} ({one_line(error)}): download it again") from error
