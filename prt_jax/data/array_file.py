"""Images on their way into one uint8 .npy file, which holds as many as can be read."""

import contextlib
import os
import pathlib
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np

from prt_jax.data.progress import Progress
from prt_jax.data.split import Split
from prt_jax.errors import UnreadableImage, UserError


def write_images(path: pathlib.Path, split: Split, image_size: int, progress: Progress) -> list[str]:
  """Writes a split's array; returns the names of the images that were skipped."""
  # A plain file, not a memory map: a full disk is an OSError here, and a fatal SIGBUS there.
  shape = (image_size, image_size, 3)
  header = {"descr": "|u1", "fortran_order": False, "shape": (split.count, *shape)}
  written, skipped = 0, []
  with synced_file(path) as file, contextlib.closing(split.images) as images:
    np.lib.format.write_array_header_1_0(file, header)
    for image in images:
      if isinstance(image, UnreadableImage):
        skipped.append(image.label)
        continue
      if image.shape != shape or image.dtype != np.uint8:
        raise TypeError(f"a source yielded {image.dtype} {image.shape}, not uint8 {shape}")
      written += 1
      if written + len(skipped) > split.count:
        break
      file.write(np.ascontiguousarray(image).data)
      progress.advance()
    if skipped and written:
      file.seek(0)  # numpy leaves room for any count: the header keeps its length
      np.lib.format.write_array_header_1_0(file, header | {"shape": (written, *shape)})
  if skipped and not written:
    raise UserError(f"no image of the {path.stem} split can be read, {skipped[0]} for one: check --config.data.path")
  if written + len(skipped) != split.count:
    found = "more" if written + len(skipped) > split.count else f"only {written + len(skipped)}"
    raise UserError(
      f"the source promised {split.count} images for {path.stem} and gave {found}: "
      "its files changed or are incomplete; check them and run again"
    )
  return skipped


@contextlib.contextmanager
def synced_file(path: pathlib.Path) -> Iterator[BinaryIO]:
  """A new file, on disk when it is closed."""
  with open(path, "xb") as file:
    yield file
    file.flush()
    os.fsync(file.fileno())
