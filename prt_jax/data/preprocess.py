"""From an image of any kind to the square uint8 RGB that all of the package works on."""

from typing import TYPE_CHECKING

import numpy as np
from ml_collections import ConfigDict

from prt_jax.errors import UserError

if TYPE_CHECKING:
  from PIL import Image

BACKGROUND = (255, 255, 255)  # what lies behind a transparent image


def check_preprocessing(data: ConfigDict) -> None:
  """Raises UserError unless data.image_size >= 1 and data.resize is 0 or at least data.image_size (pixels)."""
  if data.image_size < 1:
    raise UserError(f"data.image_size={data.image_size} is no size in pixels: set --config.data.image_size=64, say")
  if data.resize != 0 and data.resize < data.image_size:
    raise UserError(
      f"data.resize={data.resize} is smaller than data.image_size={data.image_size}, the crop would not fit: "
      f"set --config.data.resize to 0 (shorter side to image_size) or to at least {data.image_size}"
    )


def describe_preprocessing(data: ConfigDict) -> dict:
  """What `preprocess` will do, as a JSON-able dict, for fingerprints."""
  described = {"image_size": int(data.image_size), "resize": int(data.resize), "filter": "pil_bilinear_antialiased"}
  # Named where it is on: the data sets of before it keep their fingerprints.
  return described | ({"skip_unreadable": True} if data.skip_unreadable else {})


def preprocess(image: "Image.Image | np.ndarray", image_size: int, resize: int, label: str = "an image") -> np.ndarray:
  """RGB, resized, centre-cropped.

  With resize > 0 both sides become `resize` pixels, the aspect is not kept (paper A's CelebA:
  178x218 -> 102x102 -> centre 64x64). With resize == 0 the shorter side becomes image_size and
  the aspect is kept. The filter is Pillow's antialiased bilinear, sizes and crop offsets round as
  torchvision's Resize and CenterCrop do. An image that already has its size is not resampled.

  Grey becomes three equal channels, what is transparent lies on white, 16-bit grey is scaled to 8 bits.

  Args:
    image: PIL image (orientation already applied), or uint8 array [H, W], [H, W, 1], [H, W, 3] or [H, W, 4].
    image_size: pixels; side of the result.
    resize: pixels; 0, or at least image_size.
    label: what an error calls this image.

  Returns:
    uint8 [image_size, image_size, 3], C-contiguous.

  Raises:
    UserError: a side of the image is smaller than image_size, or its pixel format has no RGB meaning.
  """
  if isinstance(image, np.ndarray):
    image = _from_array(image)
  width, height = image.size
  if min(width, height) < image_size:
    raise UserError(
      f"{label} is {width}x{height} pixels (width x height), smaller than data.image_size={image_size}: "
      f"remove it, or set --config.data.image_size to at most {min(width, height)}"
    )
  image = _resize(to_rgb(image, label), _target_size(width, height, image_size, resize))
  left, top = (round((side - image_size) / 2) for side in image.size)
  return np.array(image.crop((left, top, left + image_size, top + image_size)))


def _from_array(array):
  from PIL import Image

  if array.dtype != np.uint8 or array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)):
    raise ValueError(f"expected uint8 [H, W] or [H, W, 1|3|4], got {array.dtype} {list(array.shape)}")
  if array.ndim == 3 and array.shape[2] == 1:
    array = array[:, :, 0]
  return Image.fromarray(np.ascontiguousarray(array))


def to_rgb(image: "Image.Image", label: str = "an image") -> "Image.Image":
  """A PIL image as RGB: grey becomes three equal channels, 16-bit grey is scaled to 8 bits.

  A transparent image is laid on white, as a browser shows it: the colours under its alpha are nobody's picture.
  UserError where its pixel format has no RGB meaning; label is what the error calls the image.
  """
  if image.mode == "RGB" and not image.has_transparency_data:
    return image
  if image.mode.startswith("I"):
    # Pillow's own conversion clips 16-bit values at 255: every photograph would come out white.
    wide = np.asarray(image).astype(np.int64)
    if wide.size and not 0 <= wide.min() <= wide.max() <= 65_535:
      raise UserError(f"{label} has grey values outside 16 bits: convert it to an 8-bit image")
    return _from_array(((wide + 128) // 257).astype(np.uint8)).convert("RGB")
  if image.mode == "F":
    raise UserError(f"{label} holds floating-point pixels of unknown range: convert it to an 8-bit image")
  if image.has_transparency_data:
    from PIL import Image

    image = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, (*BACKGROUND, 255)), image).convert("RGB")
  return image.convert("RGB")


def alpha_of(image: "Image.Image") -> np.ndarray | None:
  """The alpha of a PIL image, uint8 [H, W]; None where all of it is opaque."""
  if not image.has_transparency_data or image.mode[0] in "IF":
    return None
  alpha = np.asarray(image.convert("RGBA").getchannel("A"))
  return None if (alpha == 255).all() else alpha


def _target_size(width, height, image_size, resize):
  if resize:
    return resize, resize
  shorter = min(width, height)
  return int(image_size * width / shorter), int(image_size * height / shorter)


def _resize(image, size):
  from PIL import Image

  return image if image.size == size else image.resize(size, Image.Resampling.BILINEAR)
