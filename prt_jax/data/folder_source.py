"""Source `folder`: images on disk, in one of the layouts of folder_layouts."""

from pathlib import Path

from absl import logging
from ml_collections import ConfigDict

from prt_jax.data.folder_layouts import LAYOUTS
from prt_jax.data.image_files import LeftOut, walk_images
from prt_jax.data.preprocess import describe_preprocessing
from prt_jax.data.split import Found, Split
from prt_jax.errors import UserError


def describe(data: ConfigDict) -> dict:
  """What `read` will produce: layout, digest of the files' names, sizes and times, split rule, preprocessing.

  Where the folder lies is no part of it: a copy that keeps the times is the same data set.

  Args:
    data: the config's `data`.

  Returns:
    JSON-able dict.

  Raises:
    UserError: data.path is missing or cannot be listed, or its layout lacks a part.
  """
  folder, name = _find_layout(data)
  return {
    "layout": name,
    **LAYOUTS[name].describe(folder, data.train_fraction),
    "preprocessing": describe_preprocessing(data),
  }


def read(data: ConfigDict) -> dict[str, Split]:
  """The two splits, read lazily, in the sorted order of the files.

  Args:
    data: the config's `data`.

  Returns:
    {"train": Split, "val": Split}.

  Raises:
    UserError: as `describe`; no images; a file that is unreadable or too small (while the images are read).
  """
  folder, name = _find_layout(data)
  splits = LAYOUTS[name].splits(folder, data.train_fraction, data)
  counts = {split: splits[split].count for split in splits}
  if not any(counts.values()):
    raise UserError(f"no images (png, jpg, jpeg, webp, bmp) below data.path={folder}: check --config.data.path")
  for split, count in counts.items():
    if not count:
      raise UserError(
        f"the {split} split of data.path={folder} (layout {name}) would be empty: "
        "add images to it, or change --config.data.train_fraction if the split is random"
      )
  logging.info("%s: layout %s, %d images for training, %d for validation", folder, name, *counts.values())
  left_out = LeftOut()
  for root in LAYOUTS[name].walked(folder):
    for _ in walk_images(root, left_out):
      pass
  if left_out.counts:
    logging.info("%s: left out %s", folder, left_out)
  return splits


def look(data: ConfigDict) -> Found:
  """The images there are, none opened: Found. UserError as `read`."""
  counts = {name: split.count for name, split in read(data).items()}
  return Found(counts, 0, f"{sum(counts.values()):,} images below {data.path}")


def _find_layout(data):
  if not data.path:
    raise UserError("data.path is empty: the source `folder` needs --config.data.path=DIR, a folder of images")
  folder = Path(data.path).expanduser()
  if not folder.is_dir():
    problem = "is not a folder" if folder.exists() else "does not exist"
    raise UserError(f"data.path={data.path} {problem}: set --config.data.path to a folder of images")
  return folder, next(name for name, layout in LAYOUTS.items() if layout.matches(folder))
