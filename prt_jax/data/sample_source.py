"""Source `sample`: crops of the photographs that scikit-image carries in its wheel; needs no download."""

import random

from ml_collections import ConfigDict

from prt_jax.data.errors_text import one_line
from prt_jax.data.preprocess import preprocess
from prt_jax.data.split import Found, Split
from prt_jax.errors import UserError

PHOTOGRAPHS = ("astronaut", "chelsea", "coffee", "rocket", "stereo_motorcycle")
COUNTS = {"train": 4096, "val": 512}
TRAIN_WIDTH = 2 / 3  # training crops lie left of it, validation crops right; share of a photograph's width
SEED = 20_240_607


def describe(data: ConfigDict) -> dict:
  """What `read` will produce, as a JSON-able dict; data.resize has no part in it (crops are square already)."""
  return {
    "photographs": PHOTOGRAPHS,
    "counts": COUNTS,
    "train_width": TRAIN_WIDTH,
    "seed": SEED,
    "image_size": int(data.image_size),
  }


def read(data: ConfigDict) -> dict[str, Split]:
  """4096 training and 512 validation images: random square crops of five colour photographs.

  Training and validation crops come from DISJOINT regions of each photograph: its left two thirds
  and its right third. Both draw their side from the same range, log-uniform from image_size pixels to
  the largest square that fits the validation region, so that they differ in place only and not in
  scale. Crops are resized to image_size with antialiasing and half of them are mirrored. The seed is fixed.

  Args:
    data: the config's `data`; image_size alone is used.

  Returns:
    {"train": Split, "val": Split}.

  Raises:
    UserError: scikit-image is not installed, or image_size is larger than the photographs allow.
  """
  photographs = _load_photographs()
  largest = {name: _largest_side(image) for name, image in photographs.items()}
  usable = [name for name in PHOTOGRAPHS if largest[name] >= data.image_size]
  if not usable:
    raise UserError(
      f"data.image_size={data.image_size} is more than the embedded photographs allow: "
      f"set --config.data.image_size to at most {max(largest.values())}, or --config.data.source=folder"
    )
  return {
    split: Split(count, _crops(split, count, [photographs[name] for name in usable], data.image_size))
    for split, count in COUNTS.items()
  }


def look(data: ConfigDict) -> Found:
  """Found, once scikit-image's photographs are loaded. UserError as `read`."""
  read(data)
  return Found(COUNTS, 0, "crops of scikit-image's photographs")


def _load_photographs():
  try:
    import skimage.data

    loaded = {name: getattr(skimage.data, name)() for name in PHOTOGRAPHS}
  # ImportError without scikit-image; its loaders fail in several ways if its files are damaged or left out.
  except Exception as error:
    raise UserError(
      f"cannot load scikit-image's photographs for source `sample` ({one_line(error)}): pip install scikit-image"
    ) from error
  # stereo_motorcycle is (left view, right view, disparity); the right view would repeat the left one's content.
  return {name: image[0] if isinstance(image, tuple) else image for name, image in loaded.items()}


def _boundary(image):
  return round(TRAIN_WIDTH * image.shape[1])


def _largest_side(image):
  return min(image.shape[0], image.shape[1] - _boundary(image))


def _crops(split, count, photographs, image_size):
  # random.Random.random() is the one generator whose values Python promises to keep.
  uniform = random.Random(f"{SEED} {split}").random
  for index in range(count):
    image = photographs[index % len(photographs)]
    start, stop = (0, _boundary(image)) if split == "train" else (_boundary(image), image.shape[1])
    side = round(image_size * (_largest_side(image) / image_size) ** uniform())
    top = int(uniform() * (image.shape[0] - side + 1))
    left = start + int(uniform() * (stop - start - side + 1))
    crop = image[top : top + side, left : left + side]
    yield preprocess(crop[:, ::-1] if uniform() < 0.5 else crop, image_size, resize=0)
