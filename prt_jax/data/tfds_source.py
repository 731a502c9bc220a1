"""Source `tfds`: any image data set of TensorFlow Datasets. TensorFlow is imported only when it is read."""

import contextlib
import importlib.util
import itertools
import json
import logging
import os
from pathlib import Path

import numpy as np
from ml_collections import ConfigDict

from prt_jax.data import imagenet_npz
from prt_jax.data.decode import decode_all
from prt_jax.data.errors_text import one_line
from prt_jax.data.preprocess import describe_preprocessing
from prt_jax.data.split import MAX_FRACTION_WITHOUT_VALIDATION, Found, Split, describe_split, train_mask
from prt_jax.errors import UserError

INSTALL = "pip install -r requirements.txt, or prt_jax with its extra [tensorflow]"
# Images a split, and bytes to download: TFDS's catalog and its checksums.tsv.
CATALOG = {
  "celeb_a": ({"train": 162_770, "validation": 19_867, "test": 19_962}, 1_488_628_763),
  "downsampled_imagenet/64x64": ({"train": 1_281_149, "validation": 49_999}, 12_589_844_480),
  "imagenet_resized/64x64": ({"train": 1_281_167, "validation": 50_000}, 14_093_455_784),
}
DOWNLOAD_RETRIES = 4  # of TFDS's 10, whose pauses double: 3 seconds


def describe(data: ConfigDict) -> dict:
  """What `read` will produce: name, data_dir, split rule, preprocessing. Needs neither TensorFlow nor TFDS.

  Args:
    data: the config's `data`.

  Returns:
    JSON-able dict.
  """
  return {
    "name": data.name,
    "data_dir": os.path.expanduser(data.path),
    **describe_split(data.train_fraction),
    "preprocessing": describe_preprocessing(data),
  }


def read(data: ConfigDict) -> dict[str, Split]:
  """The two splits of a TFDS data set, read lazily, in an order that does not depend on the machine.

  A fixed random data.train_fraction of the official train split trains, the rest joins the
  official validation split (paper A: 80%, 20%); `test` stands in where there is no `validation`.
  Without either, at least a tenth of train validates. Nothing is downloaded if data_dir holds the
  data set already.

  Images are decoded by Pillow, not by TensorFlow, so that they equal the `folder` source's bit for bit.

  Args:
    data: the config's `data`: name, path ("" = TFDS's own data_dir), train_fraction, image_size, resize.

  Returns:
    {"train": Split, "val": Split}.

  Raises:
    UserError: TFDS is not installed, does not know the name, cannot download or prepare the data
      set, or it holds no images or no train split.
  """
  tfds = _import_tfds()
  builder = _open_builder(tfds, data)
  feature = _image_feature(tfds, builder)
  _download_and_prepare(builder)
  counts = {name: split.num_examples for name, split in builder.info.splits.items()}
  if not counts.get("train"):
    raise UserError(f"TFDS data set {data.name} has no train split (it has {', '.join(counts)}): choose another")
  official, fraction = _rule(counts, data)
  mask = train_mask(counts["train"], fraction)

  def encoded(split, chosen=None):
    stream = _encoded_images(tfds, builder, split, feature)
    labelled = ((image, f"{index} of {data.name}'s split {split}") for index, image in enumerate(stream))
    return labelled if chosen is None else itertools.compress(labelled, chosen)

  num_train = int(mask.sum())
  num_val = counts["train"] - num_train + (counts[official] if official else 0)
  if not num_train or not num_val:
    empty = "val" if num_train else "train"
    raise UserError(f"the {empty} split of {data.name} would be empty: change --config.data.train_fraction")
  rest = encoded("train", ~mask)
  return {
    "train": Split(num_train, decode_all(encoded("train", mask), data)),
    "val": Split(num_val, decode_all(itertools.chain(rest, encoded(official) if official else ()), data)),
  }


def _rule(counts, data):
  """(the split that validates beside the rest of train, or None; the share of train that trains)."""
  official = next((name for name in ("validation", "test") if counts.get(name)), None)
  return official, data.train_fraction if official else min(data.train_fraction, MAX_FRACTION_WITHOUT_VALIDATION)


def look(data: ConfigDict) -> Found:
  """What TFDS has on this machine, from its files, or will have to download: Found.

  Raises:
    UserError: TFDS is not installed, or its description of the data set is damaged.
  """
  if not all(importlib.util.find_spec(package) for package in ("tensorflow", "tensorflow_datasets")):
    raise UserError(
      f"data.source=tfds needs TensorFlow Datasets: {INSTALL}, or use --config.data.source=folder with "
      "--config.data.path=DIR"
    )
  folder = Path(data.path or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets")
  name, _, version = data.name.partition(":")
  num_bytes, text = 0, f"{data.name} in {folder}"
  # data_dir/NAME[/CONFIG]/VERSION/dataset_info.json
  if infos := sorted(folder.expanduser().joinpath(name).rglob(f"{version or '*'}/dataset_info.json")):
    counts = _counts(infos[-1])
  else:
    counts, num_bytes = CATALOG.get(name, (None, None))
    size = f" ({num_bytes / 1e9:.1f} GB)" if num_bytes else ""
    text = f"TFDS downloads {data.name}{size} to {folder}; where that fails, {_manual_way(name)}"
  if not counts or not counts.get("train"):
    return Found(None, num_bytes, text)
  official, fraction = _rule(counts, data)
  num_train = round(fraction * counts["train"])
  num_val = counts["train"] - num_train + (counts.get(official, 0) if official else 0)
  return Found({"train": num_train, "val": num_val}, num_bytes, text)


def _counts(path):
  """{split: images} of a dataset_info.json."""
  try:
    splits = json.loads(path.read_text())["splits"]
    return {split["name"]: sum(map(int, split.get("shardLengths", ()))) for split in splits}
  except (OSError, ValueError, KeyError, TypeError) as error:
    raise UserError(f"cannot read {path} ({one_line(error)}): remove its folder, TFDS prepares it anew") from error


def _import_tfds():
  try:
    import tensorflow as tf
    import tensorflow_datasets as tfds
  except ImportError as error:
    raise UserError(
      f"data.source=tfds needs TensorFlow Datasets ({one_line(error)}): {INSTALL}, "
      "or use --config.data.source=folder with --config.data.path=DIR"
    ) from error
  # TensorFlow would take the accelerators' memory. It refuses only if it is already using them.
  with contextlib.suppress(RuntimeError):
    for kind in ("GPU", "TPU"):
      tf.config.set_visible_devices([], kind)
  return tfds


def _open_builder(tfds, data):
  try:
    return tfds.builder(data.name, data_dir=data.path or None)
  except tfds.core.registered.DatasetNotFoundError as error:
    raise UserError(
      f"TFDS knows no data set {data.name!r}: choose data.name from https://www.tensorflow.org/datasets/catalog, "
      "or use --config.data.source=folder with --config.data.path=DIR"
    ) from error
  # A bad version or config name, an unwritable data_dir, a damaged copy: each with an exception of its own.
  except Exception as error:
    raise UserError(
      f"TFDS cannot open {data.name!r} ({one_line(error)}): check --config.data.name and --config.data.path"
    ) from error


def _download_and_prepare(builder):
  try:
    # Returns at once, without a look at the network, if data_dir holds the data set.
    with _few_retries():
      builder.download_and_prepare()
  # Quotas, no network, ManualDownload, a full disk, a package that TFDS forgot to require: all end alike for the user.
  except Exception as error:
    raise UserError(
      f"TFDS cannot download and prepare {builder.name} ({one_line(error)}): {_manual_way(builder.name)}, "
      "or try the embedded photographs with --config=NAME:VARIANT,demo"
    ) from error


@contextlib.contextmanager
def _few_retries():
  """Without a network TFDS would try for three and a half minutes, and print a warning for each of 50 attempts."""
  from tensorflow_datasets.core.download import downloader

  noisy = logging.getLogger("urllib3.connectionpool")
  retries, level = getattr(downloader, "MAX_RETRIES", None), noisy.level
  downloader.MAX_RETRIES = DOWNLOAD_RETRIES
  noisy.setLevel(logging.ERROR)
  try:
    yield
  finally:
    downloader.MAX_RETRIES = retries
    noisy.setLevel(level)


def _manual_way(name):
  files = {
    "celeb_a": "img_align_celeba.zip (unpacked) and list_eval_partition.txt",
    "imagenet_resized": f"{imagenet_npz.DOWNLOADS} (unpacked, from image-net.org)",
  }
  wanted = files.get(name, "the images")
  return f"download {wanted} by hand into a folder DIR and use --config.data.source=folder --config.data.path=DIR"


def _image_feature(tfds, builder):
  for name, feature in builder.info.features.items():
    if isinstance(feature, tfds.features.Image) and np.dtype(feature.np_dtype) in (np.uint8, np.uint16):
      return name
  raise UserError(
    f"TFDS data set {builder.name} has no 8- or 16-bit image feature (it has {', '.join(builder.info.features)}): "
    "choose another --config.data.name"
  )


def _encoded_images(tfds, builder, split, feature):
  """The encoded files (bytes) of a split; each record's other features are not parsed."""
  decoders = tfds.decode.PartialDecoding({feature: True}, decoders={feature: tfds.decode.SkipDecoding()})
  # One file at a time: interleaved files would come in an order that depends on the number of cores.
  # No automatic cache: it would hold a small data set in memory.
  order = tfds.ReadConfig(interleave_cycle_length=1, try_autocache=False)
  try:
    records = builder.as_dataset(split=split, shuffle_files=False, decoders=decoders, read_config=order)
    for record in records.as_numpy_iterator():
      yield record[feature]
  # tf.errors of many kinds, none an OSError: a damaged, a missing, an unreachable file.
  except Exception as error:
    raise UserError(
      f"cannot read TFDS's files of {builder.name} in {builder.data_path} ({one_line(error)}): "
      "remove that folder so that they are prepared anew"
    ) from error
