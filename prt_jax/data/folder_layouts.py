"""The ways a folder of images can be laid out, and the two splits of each.

A layout has
  matches(folder) -> bool                     whether the folder is laid out so;
  describe(folder, fraction) -> dict          which files there are and how they are split (JSON-able, opens no image);
  splits(folder, fraction, data) -> {"train": Split, "val": Split};
  walked(folder) -> the folders in or below which every image counts.
`folder` is a pathlib.Path, `fraction` is data.train_fraction. LAYOUTS has them by name; the first that matches is it.
"""

import hashlib
import itertools
from pathlib import Path

from ml_collections import ConfigDict

from prt_jax.data import celeba_files, imagenet_npz
from prt_jax.data.decode import decode_all
from prt_jax.data.image_files import digest_images, walk_images
from prt_jax.data.preprocess import preprocess
from prt_jax.data.split import MAX_FRACTION_WITHOUT_VALIDATION, Split, describe_split, train_mask
from prt_jax.errors import UserError

VALIDATION_FOLDERS = ("val", "validation", "valid")


class ImagenetNpz:
  """train_data_batch_*.npz and val_data.npz of downsampled ImageNet, all of them: official splits."""

  def matches(self, folder: Path) -> bool:
    if imagenet_npz.training_parts(folder) or (folder / imagenet_npz.VALIDATION_PART).is_file():
      return True
    if pickled := imagenet_npz.pickled_part(folder):
      raise UserError(
        f"{pickled} is a pickle, which is a program and is not opened: download the same images as .npz from "
        f"image-net.org ({imagenet_npz.DOWNLOADS}) and point --config.data.path at the unpacked files"
      )
    return False

  def describe(self, folder: Path, fraction: float) -> dict:
    del fraction  # the splits are the official ones
    digest = hashlib.sha256()
    for path in self._parts(folder):
      status = path.stat()
      digest.update(f"{path.name}\0{status.st_size}\0{status.st_mtime_ns}\n".encode())
    return {"files": digest.hexdigest()}

  def splits(self, folder: Path, fraction: float, data: ConfigDict) -> dict[str, Split]:
    del fraction
    *training, validation = self._parts(folder)
    return {"train": self._split(training, data), "val": self._split([validation], data)}

  def walked(self, folder: Path) -> list[Path]:
    del folder  # it names its files
    return []

  def _parts(self, folder):
    validation = folder / imagenet_npz.VALIDATION_PART
    missing = imagenet_npz.missing_parts(folder)
    if missing:
      raise UserError(
        f"{folder} holds a part of downsampled ImageNet without {', '.join(missing)}: put what is missing beside it "
        f"({imagenet_npz.DOWNLOADS} of image-net.org)"
      )
    return [*imagenet_npz.training_parts(folder), validation]

  def _split(self, parts, data):
    def images():
      for path in parts:
        for row, image in enumerate(imagenet_npz.read_images(path)):
          yield preprocess(image, data.image_size, data.resize, f"row {row} of {path}")

    return Split(sum(map(imagenet_npz.count_images, parts)), images())


class Celeba:
  """CelebA's official files: partition 0 divided by the fixed rule, its rest and partition 1 validate."""

  def matches(self, folder: Path) -> bool:
    if celeba_files.find_partition_file(folder):
      return True
    images = next((folder / name for name in celeba_files.IMAGE_FOLDERS if (folder / name).is_dir()), None)
    if images:
      raise UserError(
        f"{folder} holds {images.name} without {celeba_files.PARTITION_FILES[0]}: put that file of "
        f"CelebA's beside it for the official splits, or set --config.data.path={images} for a random split"
      )
    return False

  def describe(self, folder: Path, fraction: float) -> dict:
    partitions = celeba_files.digest_partitions(self._partition_file(folder))
    files, _ = digest_images(celeba_files.find_image_folder(folder))
    return {"files": files, "partitions": partitions, **describe_split(fraction)}

  def _partition_file(self, folder: Path) -> Path:
    return celeba_files.find_partition_file(folder) or folder / celeba_files.PARTITION_FILES[0]

  def splits(self, folder: Path, fraction: float, data: ConfigDict) -> dict[str, Split]:
    official_train, official_validation = celeba_files.read_partitions(self._partition_file(folder))
    images = celeba_files.find_image_folder(folder)
    official_train, official_validation = (
      celeba_files.match_names(names, images) for names in (official_train, official_validation)
    )
    mask = train_mask(len(official_train), fraction)
    train = list(itertools.compress(official_train, mask))
    rest = list(itertools.compress(official_train, ~mask))
    val = rest + official_validation
    return {
      "train": Split(len(train), decode_all(_files(images, train), data)),
      "val": Split(len(val), decode_all(_files(images, val), data)),
    }

  def walked(self, folder: Path) -> list[Path]:
    return [celeba_files.find_image_folder(folder)]


class TrainVal:
  """A folder `train` and a folder `val` (or `validation`, `valid`), used as they are."""

  def matches(self, folder: Path) -> bool:
    has_train, validation = (folder / "train").is_dir(), self._validation(folder)
    if has_train != validation.is_dir():
      found, missing = ("train", "val") if has_train else (validation.name, "train")
      raise UserError(
        f"{folder} holds {found}/ but no {missing}/: add it, or point --config.data.path at "
        f"{folder / found} for a random split of that"
      )
    return has_train

  def describe(self, folder: Path, fraction: float) -> dict:
    del fraction  # the splits are given
    (train, num_train), (val, num_val) = digest_images(folder / "train"), digest_images(self._validation(folder))
    return {"train": train, "val": val, "num_train": num_train, "num_val": num_val}

  def splits(self, folder: Path, fraction: float, data: ConfigDict) -> dict[str, Split]:
    del fraction
    folders = {"train": folder / "train", "val": self._validation(folder)}
    return {name: self._split(path, data) for name, path in folders.items()}

  def walked(self, folder: Path) -> list[Path]:
    return [folder / "train", self._validation(folder)]

  def _validation(self, folder: Path) -> Path:
    """The first of VALIDATION_FOLDERS that is there, else where it would be."""
    places = [folder / name for name in VALIDATION_FOLDERS]
    return next((place for place in places if place.is_dir()), places[0])

  def _split(self, folder, data):
    return Split(_count(folder), decode_all(_files(folder, walk_images(folder)), data))


class Tree:
  """Any other tree of images: divided by the fixed rule, at least a tenth validates."""

  def matches(self, folder: Path) -> bool:
    del folder
    return True

  def describe(self, folder: Path, fraction: float) -> dict:
    files, count = digest_images(folder)
    return {"files": files, "count": count, **describe_split(self._fraction(fraction))}

  def splits(self, folder: Path, fraction: float, data: ConfigDict) -> dict[str, Split]:
    mask = train_mask(_count(folder), self._fraction(fraction))
    return {"train": self._split(folder, mask, data), "val": self._split(folder, ~mask, data)}

  def walked(self, folder: Path) -> list[Path]:
    return [folder]

  def _fraction(self, fraction):
    return min(fraction, MAX_FRACTION_WITHOUT_VALIDATION)

  def _split(self, folder, mask, data):
    # Walks again rather than keep a million paths.
    chosen = itertools.compress(walk_images(folder), mask)
    return Split(int(mask.sum()), decode_all(_files(folder, chosen), data))


LAYOUTS = {"imagenet_npz": ImagenetNpz(), "celeba": Celeba(), "train_val": TrainVal(), "tree": Tree()}


def _files(folder, names):
  """(path, label) of each name, for `decode_all`."""
  for name in names:
    path = str(folder / name)
    yield path, path


def _count(folder):
  return sum(1 for _ in walk_images(folder))
