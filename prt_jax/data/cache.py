"""Prepared data sets: a source is read once into uint8 arrays on disk, later runs map them into memory."""

import contextlib
import dataclasses
import functools
import hashlib
import importlib.metadata
import json
import os
import re
import secrets
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging
from ml_collections import ConfigDict

from prt_jax.data.array_file import synced_file, write_images
from prt_jax.data.errors_text import one_line
from prt_jax.data.image_files import describe_skipped
from prt_jax.data.partial_folder import HOST, partial_folder, remove_dead_partials, writing_lock
from prt_jax.data.preprocess import check_preprocessing
from prt_jax.data.progress import Progress
from prt_jax.data.sources import SOURCES, is_drawn
from prt_jax.data.split import check_train_fraction
from prt_jax.errors import UserError
from prt_jax.io.disk_errors import explain, remedy_of, size
from prt_jax.io.file_digests import Damaged, digest_file
from prt_jax.io.json_files import parse_object

# Part of every fingerprint: raise it when the same description comes to mean other pixels.
FORMAT_VERSION = 1

SPLITS = ("train", "val")
PACKAGES = ("numpy", "pillow", "scikit-image", "tensorflow", "tensorflow-datasets")


@dataclasses.dataclass(frozen=True)
class Dataset:
  """A prepared data set.

  Attributes:
    train: read-only np.memmap, uint8 [N, image_size, image_size, 3]; of a source that draws, an array [N, ...] float32.
    val: the same, of the validation examples.
    folder: pathlib.Path of the folder that holds train.npy, val.npy and meta.json; None where they were drawn.
    fingerprint: str; equal fingerprints are equal data.
    meta: dict, the content of meta.json: source, description, counts, digests, versions, fingerprint, and the names of
      images that were skipped, where data.skip_unreadable asks for that.
  """

  train: np.ndarray
  val: np.ndarray
  folder: Path | None
  fingerprint: str
  meta: dict

  @functools.cached_property
  def digests(self) -> dict[str, str]:
    """Of train.npy and val.npy, by split: equal digests are equal pixels. Computed where an old cache has none."""
    if self.folder is None or "digests" in self.meta:
      return self.meta["digests"]
    return {name: digest_file(self.folder / f"{name}.npy") for name in SPLITS}


def prepare(data: ConfigDict, seed: int = 0) -> Dataset:
  """The data set of a config: from the cache if it is there, else read from its source into the cache, or drawn.

  The arrays lie in data.cache_dir/READABLE-FINGERPRINT; the fingerprint covers source, preprocessing
  and split rule, and for a folder the names, sizes and times of its files. A preparation that is
  killed at any moment leaves nothing that is ever used; several at a time end well. Memory does
  not grow with the data set. With the data in the cache nothing is imported for the source.
  What is in the cache is compared with its digests, and prepared anew where it is damaged.

  Args:
    data: the config's `data` (source, name, path, image_size, resize, train_fraction, cache_dir are read).
    seed: the run's; it has a part in what is drawn, and none in what is read.

  Returns:
    Dataset.

  Raises:
    UserError: a field is wrong, the source cannot be read (see the source's `read`), the cache cannot
      be written, or is damaged and its source is gone.
  """
  source = checked_source(data)
  description = source.describe(data)
  if is_drawn(source):
    return _draw(data, source, description | {"seed": seed})
  fingerprint = _fingerprint(data.source, description)
  cache_dir = Path(data.cache_dir).expanduser()
  folder = _folder(data, fingerprint)
  remove_dead_partials(cache_dir)

  def opened():
    return _open(folder, data, description, fingerprint)

  with contextlib.suppress(Damaged, FileNotFoundError):
    return opened()
  with _disk_errors(cache_dir):
    cache_dir.mkdir(parents=True, exist_ok=True)
  with contextlib.ExitStack() as stack:
    with _disk_errors(cache_dir):
      stack.enter_context(writing_lock(folder))
    # Another process may have prepared it while this one waited for the lock.
    try:
      return opened()
    except FileNotFoundError:
      _write(data, source, description, fingerprint, folder)
    except Damaged as error:
      logging.warning("the prepared data in %s is damaged (%s): preparing it again", folder, error)
      _write_again(data, source, description, fingerprint, folder, error)
  return opened()


def _draw(data, source, description):
  splits = source.draw(data, description["seed"])
  fingerprint = _fingerprint(data.source, description)
  meta = {
    "source": data.source,
    "description": description,
    "counts": {name: len(splits[name]) for name in SPLITS},
    "digests": {name: hashlib.sha256(np.ascontiguousarray(splits[name]).data).hexdigest() for name in SPLITS},
    "fingerprint": fingerprint,
  }
  return Dataset(splits["train"], splits["val"], None, fingerprint, meta)


def _write_again(data, source, description, fingerprint, folder, damage):
  """_write, with the damaged folder out of the way; it comes back where its source cannot be read."""
  aside = folder.with_name(f".{folder.name}.partial.{HOST}.damaged-{secrets.token_hex(4)}")
  with _disk_errors(folder.parent):
    folder.rename(aside)
  try:
    _write(data, source, description, fingerprint, folder)
  except BaseException as error:
    aside.rename(folder)
    if isinstance(error, UserError):
      message = f"the prepared data in {folder} is damaged ({damage}), and not prepared again: {error}"
      raise UserError(message) from error
    raise
  shutil.rmtree(aside, ignore_errors=True)


def find_prepared(data: ConfigDict) -> tuple[Path, dict] | None:
  """(the folder, its meta.json) of what `prepare` would take from the cache, None where it would first write it.

  The arrays are neither read nor compared with their digests. UserError where `prepare` could not say what they are.
  """
  description = checked_source(data).describe(data)
  folder = _folder(data, _fingerprint(data.source, description))
  try:
    meta = parse_object((folder / "meta.json").read_bytes())
  except (OSError, ValueError):
    return None
  counts = meta.get("counts")
  is_whole = isinstance(counts, dict) and all(type(counts.get(name)) is int for name in SPLITS)
  return (folder, meta) if is_whole else None


def checked_source(data: ConfigDict) -> Any:
  """The source's module; UserError where data's fields cannot work."""
  if data.source not in SOURCES:
    raise UserError(f"unknown data.source={data.source!r}: set --config.data.source to one of {', '.join(SOURCES)}")
  source = SOURCES[data.source]
  if is_drawn(source):
    return source
  if not data.cache_dir:
    raise UserError("data.cache_dir is empty: set --config.data.cache_dir=DIR, a folder for the prepared arrays")
  check_preprocessing(data)
  check_train_fraction(data.train_fraction)
  return source


def _fingerprint(source, description):
  text = json.dumps({"format": FORMAT_VERSION, "source": source, "description": description}, sort_keys=True)
  return hashlib.sha256(text.encode()).hexdigest()[:16]


def _folder(data, fingerprint):
  return Path(data.cache_dir).expanduser() / f"{_readable_name(data)}-{fingerprint}"


def _readable_name(data):
  names = {"tfds": data.name, "folder": Path(data.path).expanduser().absolute().name, "sample": ""}
  name = re.sub(r"[^\w-]+", "_", names.get(data.source, ""))[:60]
  return "-".join(part for part in (data.source, name, f"{data.image_size}px") if part)


def _write(data, source, description, fingerprint, folder):
  """Reads the source into `folder`, all or nothing."""
  logging.info("preparing %s (once; later runs read it from there)", folder)
  splits = source.read(data)
  _check_free_space(folder.parent, sum(split.count for split in splits.values()) * data.image_size**2 * 3)
  progress = Progress(sum(split.count for split in splits.values()))
  with _disk_errors(folder.parent), partial_folder(folder) as partial:
    skipped = {
      name: write_images(partial / f"{name}.npy", splits[name], data.image_size, progress) for name in SPLITS
    }
    if source.describe(data) != description:
      raise UserError(f"the files of data.path={data.path} changed while they were read: run again when they rest")
    meta = {
      "source": data.source,
      "description": description,
      "counts": {name: splits[name].count - len(skipped[name]) for name in SPLITS},
      "digests": {name: digest_file(partial / f"{name}.npy") for name in SPLITS},
      "versions": {"format": FORMAT_VERSION, **_package_versions()},
      "fingerprint": fingerprint,
      **({"skipped": skipped} if any(skipped.values()) else {}),
    }
    with synced_file(partial / "meta.json") as file:
      file.write(json.dumps(meta, indent=2, sort_keys=True).encode() + b"\n")
  progress.finish()
  if names := [name for split in SPLITS for name in skipped[split]]:
    logging.warning("left out %s", describe_skipped(names))


def _check_free_space(cache_dir, needed):
  free = shutil.disk_usage(cache_dir).free
  if free < needed:
    raise UserError(
      f"data.cache_dir={cache_dir} has {size(free)} free, the prepared data needs {size(needed)}: "
      "free some space or set --config.data.cache_dir to a larger disk"
    )


@contextlib.contextmanager
def _disk_errors(cache_dir):
  """Turns the operating system's errors into one line. Sources turn theirs into UserErrors of their own."""
  try:
    yield
  except OSError as error:
    if error.filename and not Path(os.fsdecode(error.filename)).is_relative_to(cache_dir):  # of the source
      what, remedy = explain(error, cache_dir)
      raise UserError(f"{what}; {remedy}, then run again") from error
    raise UserError(
      f"cannot write the prepared data below data.cache_dir={cache_dir} ({one_line(error)}): "
      f"{remedy_of(str(error))}, or set --config.data.cache_dir to a folder that can be written"
    ) from error


def _package_versions():
  versions = {}
  for package in PACKAGES:
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
      versions[package] = importlib.metadata.version(package)
  return versions


def _open(folder, data, description, fingerprint):
  """The prepared Dataset, compared with what meta.json says of it and with what it should be.

  Raises:
    FileNotFoundError: the folder is not there.
    Damaged: it is, and is not what it was.
    UserError: it cannot be read.
  """
  if not folder.is_dir():
    raise FileNotFoundError(folder)
  try:
    meta = parse_object((folder / "meta.json").read_bytes())
    expected = {"fingerprint": fingerprint, "source": data.source, "description": description}
    for name, value in json.loads(json.dumps(expected)).items():
      if meta[name] != value:
        raise Damaged(f"its meta.json is of other data: another {name}")
    # Sets of before digests were written have none.
    for name, digest in meta.get("digests", {}).items():
      if digest_file(folder / f"{name}.npy") != digest:
        raise Damaged(f"{name}.npy has changed")
    arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False) for name in SPLITS}
    for name, array in arrays.items():
      shape = (meta["counts"][name], data.image_size, data.image_size, 3)
      if array.dtype != np.uint8 or array.shape != shape:
        raise Damaged(f"{name}.npy is {array.dtype} {list(array.shape)} instead of uint8 {list(shape)}")
  except PermissionError as error:
    raise UserError(f"cannot read {error.filename} ({error.strerror}): check its permissions") from error
  except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
    raise Damaged(one_line(error)) from error
  return Dataset(arrays["train"], arrays["val"], folder, fingerprint, meta)
