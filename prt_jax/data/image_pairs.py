"""Images and their measurements, read from a folder: what the audit and the exploration restore."""

import dataclasses
import itertools
import os
import pathlib
import unicodedata
from collections.abc import Callable, Iterator

import numpy as np
from absl import logging
from PIL import Image

from prt_jax.data.decode import load_image
from prt_jax.data.image_files import list_images
from prt_jax.data.picture_files import PLAIN, Form, read_picture
from prt_jax.data.preprocess import alpha_of, preprocess, to_rgb
from prt_jax.errors import UnreadableImage, UserError, printable
from prt_jax.io.pictures import eight_bits

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
# Below this the zero padding of a published network reaches all of its output (it has at least 16 layers of 3x3).
MIN_SIDE = 16  # pixels of the measurement


@dataclasses.dataclass(frozen=True)
class Pair:
  """Attributes:
  name: the file's name without its suffix; what cannot be printed (a line break) is escaped.
  x: the original, [H,W,3] float32 in [0, 1]; None where only the measurement is known.
  y: its measurement, [h,w,3] float32 in [0, 1].
  alpha: of the file that was read, [H,W] float32 in [0, 1], of the size of x, or of y where x is None; None where it is
    opaque. x and y are what is seen of it on white.
  form: of the file that was read.
  size: (rows, columns) of the original, where x was mirrored at its edges until the scale divided them; None: it was
    not.
  number: that its random numbers depend on; None: its place among the pairs.
  """

  name: str
  x: np.ndarray | None
  y: np.ndarray
  alpha: np.ndarray | None = None
  form: Form = PLAIN
  size: tuple[int, int] | None = None
  number: int | None = None


def image_files(folder: str | os.PathLike) -> list[pathlib.Path]:
  """The image files of a folder (not of its subfolders), by name; what is left out is counted in a log line.

  UserError if it has none, or two whose results would have one name: two endings of one name, or names that differ by
  case or by how an accent is encoded, which some file systems do not tell apart.
  """
  folder = pathlib.Path(folder).expanduser()
  if not folder.is_dir():
    raise UserError(f"{folder} is no folder: --input takes a folder of images")
  names, left_out = list_images(folder, SUFFIXES)
  if left_out.counts:
    logging.warning("%s: left out %s", folder, left_out)
  if not names:
    raise UserError(f"{folder} holds no images ({', '.join(SUFFIXES)}): point --input at a folder that does")
  files = [folder / name for name in names]
  seen = {}
  for file in files:
    result = unicodedata.normalize("NFC", result_name(file)).casefold()
    if result in seen:
      raise UserError(f"{seen[result]} and {file.name} would share their results' name: rename one")
    seen[result] = file
  return files


def result_name(path: pathlib.Path) -> str:
  """What an image's results are called."""
  return printable(path.stem)


def read_images(
  folder: str | os.PathLike, skipped: list[str] | None = None
) -> Iterator[tuple[pathlib.Path, Image.Image, np.ndarray | None]]:
  """(file, RGB image, alpha) of each image of a folder, as image_files and read_rgb have them.

  Args:
    folder: of images.
    skipped: takes the names of the images that cannot be read; None: the first of them is an UnreadableImage.
  """
  for path in image_files(folder):
    try:
      image, alpha = read_rgb(path)
    except UnreadableImage as error:
      if skipped is None:
        raise
      skipped.append(error.label)
      continue
    yield path, image, alpha


def read_rgb(path: pathlib.Path) -> tuple[Image.Image, np.ndarray | None]:
  """An image file as RGB, upright, on white where it is transparent (see data.preprocess.to_rgb), and its alpha (see
  alpha_of). UnreadableImage if it cannot be read."""
  image = load_image(path, str(path))
  return to_rgb(image, str(path)), alpha_of(image)


def to_float(image: Image.Image) -> np.ndarray:
  """[H,W,3] float32 in [0, 1]."""
  return np.asarray(image, np.float32) / 255


@dataclasses.dataclass(frozen=True)
class Reading:
  """How images become pairs.

  Attributes:
    scale: magnification; 1 where the images are measurements themselves.
    mod_crop: cut the right and lower edges until the scale divides the sides; False: mirror them until it does.
    crop: what is cut out of the image's middle first, where it is larger: pixels of a square's side, or (rows,
      columns); 0 = the whole image.
  """

  scale: int
  mod_crop: bool = False
  crop: int | tuple[int, int] = 0


def read_pairs(
  folder: str | os.PathLike,
  reading: Reading,
  measure: Callable[[np.ndarray, int], np.ndarray] | None,
  skipped: list[str] | None = None,
) -> Iterator[Pair]:
  """Each image of a folder with its measurement.

  Args:
    folder: of images.
    reading: sizes.
    measure: (an image [H,W,3] whose sides divide, its number) -> y [h,w,3] float32; None: the images are measurements,
      without originals.
    skipped: as in read_images.

  Raises:
    UserError: an unreadable image, one too small; it is named.
  """
  number = 0
  for path in image_files(folder):
    try:
      x, alpha, form = read_picture(path)
    except UnreadableImage as error:
      if skipped is None:
        raise
      skipped.append(error.label)
      continue
    if reading.crop:
      x, alpha = _central(x, reading.crop), None if alpha is None else _central(alpha, reading.crop)
    height, width, _ = x.shape
    rows, columns = (side // reading.scale * reading.scale for side in (height, width))
    if min(rows, columns) < reading.scale * MIN_SIDE:
      raise UserError(
        f"{path} is {width}x{height}: a side needs at least {reading.scale * MIN_SIDE} pixels, "
        "in a smaller image every pixel depends on the padding at its edges"
      )
    size = None
    if reading.mod_crop:
      x, alpha = x[:rows, :columns], None if alpha is None else alpha[:rows, :columns]
    elif (rows, columns) != (height, width):
      size = height, width
      x = np.pad(x, ((0, -height % reading.scale), (0, -width % reading.scale), (0, 0)), mode="symmetric")
    if measure is None:
      yield Pair(result_name(path), None, x, alpha, form)
    else:
      yield Pair(result_name(path), x, measure(x, number), alpha, form, size)
    number += 1


def common_window(
  folder: str | os.PathLike, scale: int, max_images: int = 0, skipped: list[str] | None = None
) -> tuple[int, int]:
  """The largest (rows, columns) that fit into each of a folder's first images, readable ones, in multiples of scale.

  Cut to it, they share one size, and so their programs: what is done to them is compiled once. max_images: how many;
  0 = all. skipped: as in read_images.
  """
  sizes = [image.size for _, image, _ in itertools.islice(read_images(folder, skipped), max_images or None)]
  columns, rows = (min(sides) // scale * scale for sides in zip(*sizes, strict=True)) if sizes else (0, 0)
  return rows, columns


def square_pairs(
  folder: str | os.PathLike,
  image_size: int,
  resize: int,
  degrade: Callable[[np.ndarray], np.ndarray],
  skipped: list[str] | None = None,
) -> Iterator[Pair]:
  """Each image of a folder as a training run prepares it (data.preprocess), with its measurement degrade([1,H,W,3]).

  skipped: as in read_images.
  """
  for path, image, alpha in read_images(folder, skipped):
    if alpha is not None:
      alpha = preprocess(alpha, image_size, resize, str(path))[..., 0].astype(np.float32) / 255
    x = preprocess(image, image_size, resize, str(path)).astype(np.float32) / 255
    yield Pair(result_name(path), x, np.asarray(degrade(x[None]))[0], alpha)


def bicubic_measure(scale: int) -> Callable[[np.ndarray, int], np.ndarray]:
  """Pillow's bicubic reduction to 8 bits, the degradation that the published networks were trained for."""

  def measure(x, number=0):
    del number
    image = Image.fromarray(eight_bits(x))
    return to_float(image.resize((image.width // scale, image.height // scale), Image.Resampling.BICUBIC))

  return measure


def _central(image, crop):
  """The middle of [H,W,...]; crop: as of Reading."""
  window = (crop, crop) if isinstance(crop, int) else crop
  rows, columns = map(min, window, image.shape)
  top, left = (image.shape[0] - rows) // 2, (image.shape[1] - columns) // 2
  return image[top : top + rows, left : left + columns]
