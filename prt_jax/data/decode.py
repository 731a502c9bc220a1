"""Encoded image files to preprocessed arrays, in order, on all cores."""

import collections
import contextlib
import functools
import io
import os
from collections.abc import Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
from ml_collections import ConfigDict

from prt_jax.data.errors_text import one_line
from prt_jax.data.preprocess import preprocess
from prt_jax.errors import UnreadableImage
from prt_jax.io.regular_files import open_regular

if TYPE_CHECKING:
  from PIL import Image

# What a file may be, whatever it is called (a phone's MPO is a JPEG). Pillow knows more, and hands some to other
# programs.
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "DIB", "TIFF", "GIF", "PPM")

# A file of a hundred bytes can claim any size, and memory is set aside for it: a large image, even of one colour, has
# more bytes than one for so many pixels.
_LARGE, _MAX_PIXELS_A_BYTE = 16_000_000, 2_000

# Images decoded ahead of the reader, a thread: enough that no thread waits, little memory.
LOOK_AHEAD = 8


def decode_image(encoded: bytes | os.PathLike, label: str, image_size: int, resize: int) -> np.ndarray:
  """One encoded image, preprocessed.

  Args:
    encoded: path of a file, or bytes.
    label: what an error calls this image.
    image_size, resize: pixels, as for `preprocess`.

  Returns:
    uint8 [image_size, image_size, 3].

  Raises:
    UnreadableImage: as load_image.
    UserError: too small, or of a pixel format without RGB meaning.
  """
  return preprocess(load_image(encoded, label), image_size, resize, label)


def load_image(encoded: bytes | os.PathLike, label: str) -> "Image.Image":
  """One encoded image, decoded, its EXIF orientation applied: a PIL image.

  Args:
    encoded: path of a file, or bytes.
    label: what an error calls this image.

  Raises:
    UnreadableImage: missing, no regular file, truncated, of none of FORMATS.
  """
  from PIL import Image, ImageOps, UnidentifiedImageError

  try:
    file = io.BytesIO(encoded) if isinstance(encoded, bytes) else open_regular(encoded)
    with file, Image.open(file, formats=FORMATS) as image:
      num_bytes = len(encoded) if isinstance(encoded, bytes) else os.fstat(file.fileno()).st_size
      if image.width * image.height > max(_LARGE, _MAX_PIXELS_A_BYTE * num_bytes):
        raise ValueError(f"its {num_bytes:,} bytes claim to be {image.width}x{image.height} pixels")
      image.load()
      ImageOps.exif_transpose(image, in_place=True)
  except UnidentifiedImageError as error:
    raise UnreadableImage(label, f"it is no {', '.join(FORMATS[:-1])} or {FORMATS[-1]}") from error
  # Pillow's readers meet a damaged file with almost any exception: OSError, SyntaxError, struct.error, ...
  except Exception as error:
    raise UnreadableImage(label, one_line(error)) from error
  return image


def decode_all(
  encoded: Iterable[tuple[Any, str]], data: ConfigDict
) -> Generator[np.ndarray | UnreadableImage, None, None]:
  """`decode_image` over many, on a pool of threads, in order (Pillow frees the interpreter while it decodes).

  Args:
    encoded: iterable of (path or bytes, label); consumed a bounded distance ahead.
    data: the config's `data`.

  Yields:
    uint8 [image_size, image_size, 3]; with data.skip_unreadable an UnreadableImage in the place of one.
  """
  decode = functools.partial(decode_image, image_size=data.image_size, resize=data.resize)
  if data.skip_unreadable:
    decode = functools.partial(_image_or_error, decode)
  workers = os.cpu_count() or 1
  with ThreadPoolExecutor(workers, thread_name_prefix="decode") as pool, contextlib.ExitStack() as stack:
    # Runs before the pool's own exit, which would first wait for all that is queued.
    stack.callback(pool.shutdown, wait=False, cancel_futures=True)
    pending = collections.deque()
    for item, label in encoded:
      pending.append(pool.submit(decode, item, label))
      if len(pending) >= workers * LOOK_AHEAD:
        yield pending.popleft().result()
    while pending:
      yield pending.popleft().result()


def _image_or_error(decode, *arguments):
  try:
    return decode(*arguments)
  except UnreadableImage as error:
    return error
