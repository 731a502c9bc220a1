"""The flag --crop: what is cut out of the middle of each image."""

import argparse

from prt_jax.data.image_pairs import common_window

COMMON = "common"
HELP = (
  f"use a central square of so many pixels; {COMMON}: the largest central window that all images have, so that images "
  "of several sizes are compiled once; default 0, whole images"
)


def read(text: str) -> int | str:
  """The flag's value: pixels of a square's side, 0 for whole images, or COMMON. ArgumentTypeError for another."""
  if text == COMMON or text.isdecimal():
    return COMMON if text == COMMON else int(text)
  raise argparse.ArgumentTypeError(f"{text} is none of: the pixels of a side, 0 for whole images, {COMMON}")


def resolve(arguments: argparse.Namespace, scale: int, skipped: list[str] | None) -> int | tuple[int, int]:
  """What is cut out, as image_pairs.Reading.crop; says what COMMON comes to.

  skipped: the unreadable images, as image_pairs.read_images takes them; left as it is.
  """
  if arguments.crop != COMMON:
    return arguments.crop
  rows, columns = common_window(arguments.input, scale, arguments.max_images, None if skipped is None else [])
  print(f"of each image the central {columns}x{rows} pixels", flush=True)
  return rows, columns
