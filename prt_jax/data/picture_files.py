"""Pictures as people have them: grey or in colour, of 8 or 16 bits, transparent, with EXIF and a colour profile.

Restorers see RGB; what is written back has the form of what was read. Pillow has no 16-bit colour: pypng and tifffile
read and write that.
"""

import dataclasses
import io
import pathlib
import zlib

import numpy as np
import png
from PIL import Image

from prt_jax.data.decode import load_image
from prt_jax.data.preprocess import BACKGROUND, alpha_of, to_rgb
from prt_jax.errors import UnreadableImage
from prt_jax.io.whole_files import write_whole

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as Pillow turns colours into grey
_SPACES = {True: b"GRAY", False: b"RGB "}  # of an ICC profile, for a grey picture and one in colour
# What turns an image as it is stored upright, by EXIF's orientation: (transposed, flipped up and down, left and right).
_UPRIGHT = {
  2: (False, False, True), 3: (False, True, True), 4: (False, True, False), 5: (True, False, False),
  6: (True, False, True), 7: (True, True, True), 8: (True, True, False),
}  # fmt: skip
# TIFF's tags of how a file holds its pixels, and its profile's: of the file that was read, not of the picture.
_LAYOUT = {
  *range(254, 260), 262, 266, 273, *range(277, 282), 284, 317, 320, *range(322, 326), 330, 338, 339, 347,
  *range(512, 522), *range(529, 533), 34675,
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Form:
  """What a picture is beside its colours.

  Attributes:
    bits: 8 or 16, of a channel.
    grey: whether it has one channel.
    exif: its EXIF block, upright, without TIFF's tags of how a file holds its pixels; b"" = none.
    profile: its ICC profile; None where it has none, or one of another colour space than what is written.
  """

  bits: int = 8
  grey: bool = False
  exif: bytes = b""
  profile: bytes | None = None


PLAIN = Form()


def read_picture(path: pathlib.Path) -> tuple[np.ndarray, np.ndarray | None, Form]:
  """A picture's file, upright; UnreadableImage if it cannot be read.

  Returns:
    (what is seen of it on white, [H,W,3] float32 in [0, 1]; its alpha [H,W] in [0, 1], None where it is opaque; its
    form).
  """
  image = load_image(path, str(path))
  wide = _wide_pixels(path, image)
  grey = image.mode in ("1", "L", "LA", "La") if wide is None else wide.shape[-1] < 3
  profile = image.info.get("icc_profile")
  if profile is not None and profile[16:20] != _SPACES[grey]:
    profile = None
  exif = image.getexif()
  for tag in _LAYOUT & exif.keys():
    del exif[tag]
  form = Form(8 if wide is None else 16, grey, exif.tobytes() if exif else b"", profile)
  if wide is None:
    alpha = alpha_of(image)
    seen = np.asarray(to_rgb(image, str(path)), np.float32) / 255
    return seen, None if alpha is None else alpha.astype(np.float32) / 255, form
  colours, alpha = wide[..., : 1 if grey else 3], wide[..., 1 if grey else 3 :]
  seen = np.broadcast_to(colours.astype(np.float32) / 65535, (*colours.shape[:2], 3))
  if not alpha.size or (alpha == 65535).all():
    return np.ascontiguousarray(seen), None, form
  alpha = alpha.astype(np.float32) / 65535
  return alpha * seen + (1 - alpha) * np.asarray(BACKGROUND, np.float32) / 255, alpha[..., 0], form


def _wide_pixels(path, image) -> np.ndarray | None:
  """uint16 [H,W,C] of a PNG or TIFF of 16 bits, upright; None for others. image: the same file as Pillow has it."""
  if image.mode.startswith("I"):
    grey = np.asarray(image)
    return grey[..., None].astype(np.uint16) if grey.min(initial=0) >= 0 and grey.max(initial=0) <= 65535 else None
  try:
    with open(path, "rb") as file:
      head = file.read(26)
      file.seek(0)
      if head[:8] == b"\x89PNG\r\n\x1a\n" and head[24] == 16:
        width, height, rows, _ = png.Reader(file=file).asDirect()
        array = np.array([np.asarray(row, np.uint16) for row in rows]).reshape(height, width, -1)
      elif head[:4] in (b"II*\0", b"MM\0*"):
        import tifffile

        with tifffile.TiffFile(file) as tiff:
          page = tiff.pages[0]
          if page.dtype != np.uint16 or page.axes not in ("YXS", "SYX"):
            return None
          array = page.asarray()
          array = np.moveaxis(array, 0, -1) if page.axes == "SYX" else array  # a plane a channel
        if array.shape[-1] not in (3, 4):
          return None
      else:
        return None
  except Exception as error:  # Pillow could read it, but these may find more
    raise UnreadableImage(str(path), f"its 16 bits cannot be read: {error}") from error
  with Image.open(path) as stored:
    orientation = stored.getexif().get(274)
  transposed, upside_down, mirrored = _UPRIGHT.get(orientation or 1, (False, False, False))
  array = array.swapaxes(0, 1) if transposed else array
  return array[:: -1 if upside_down else 1, :: -1 if mirrored else 1]


def save_picture(path: pathlib.Path, x: np.ndarray, alpha: np.ndarray | None = None, form: Form = PLAIN) -> None:
  """Writes a restoration as a PNG in the form of what it was made of, whole or not at all.

  Args:
    path: the file.
    x: [H,W,3] in [0, 1], clipped; of a grey picture its luma is written.
    alpha: [H,W] in [0, 1]; x is then what is written under it.
    form: of the picture that was restored.
  """
  x = x @ np.asarray(LUMA, np.float32)[:, None] if form.grey else x
  if alpha is not None:
    x = np.concatenate([x, alpha[..., None]], -1)
  top = 2**form.bits - 1
  pixels = np.round(np.clip(x, 0, 1) * np.float32(top)).astype(np.uint16 if form.bits == 16 else np.uint8)
  path.parent.mkdir(parents=True, exist_ok=True)
  write_whole(path, _wide_png(pixels, form) if form.bits == 16 else _png(pixels, form))


def _png(pixels, form):
  written = io.BytesIO()
  own = {"icc_profile": form.profile} if form.profile else {}
  image = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
  image.save(written, format="png", exif=form.exif, **own)
  return written.getvalue()


def _wide_png(pixels, form):
  height, width, channels = pixels.shape
  written = io.BytesIO()
  writer = png.Writer(width, height, greyscale=channels < 3, alpha=channels in (2, 4), bitdepth=16, compression=6)
  writer.write_packed(written, (row.astype(">u2").tobytes() for row in pixels))
  chunks = list(png.Reader(bytes=written.getvalue()).chunks())
  own = [(b"iCCP", b"icc\0\0" + zlib.compress(form.profile))] if form.profile else []
  own += [(b"eXIf", form.exif.removeprefix(b"Exif\0\0"))] if form.exif else []
  complete = io.BytesIO()
  png.write_chunks(complete, [chunks[0], *own, *chunks[1:]])
  return complete.getvalue()
