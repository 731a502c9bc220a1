"""The flag --mask: which pixels of every picture a network of inpainting fills."""

import argparse
import dataclasses
import pathlib
from collections.abc import Iterable, Iterator

import numpy as np

from prt_jax.commands.degradation_flag import Measuring
from prt_jax.data.image_pairs import Pair, read_rgb
from prt_jax.errors import UserError
from prt_jax.restorers.restorer import Restorer

NAME = "mask"  # of the degradation that makes the holes
HELP = (
  "for networks of inpainting: a picture of the images' size (after --crop), white where pixels are to be filled, "
  f"black elsewhere; --degradation is then {NAME} (the images are originals) or none (measurements); either way the "
  "network sees 0 where it is white"
)


def read(path: str | None) -> np.ndarray | None:
  """[H,W] float32, 1 where pixels are to be filled, else 0; None without the flag. UserError: nothing, or all, is."""
  if not path:
    return None
  image, _ = read_rgb(pathlib.Path(path).expanduser())
  mask = np.asarray(image.convert("L")) > 127
  if mask.all() or not mask.any():
    colour = "white" if mask.all() else "black"
    raise UserError(f"--mask={path} is {colour} all over: pixels to be filled are white in it, the others black")
  return mask.astype(np.float32)


def settle(arguments: argparse.Namespace) -> None:
  """Where --mask is given, its degradation is the default; UserError for flags that do not go with it."""
  if not arguments.mask:
    return
  if arguments.degradation not in (None, NAME, "none"):
    raise UserError(f"--degradation={arguments.degradation}: with --mask it is {NAME}, or none: leave the flag out")
  if arguments.noise_std or arguments.tile:
    flag = "--noise_std" if arguments.noise_std else "--tile"
    raise UserError(f"{flag} does not go with --mask, which belongs to whole pictures without noise: leave it out")
  if arguments.default_degradation != "none":
    arguments.default_degradation = NAME


def measuring(restorer: Restorer, name: str) -> Measuring:
  """Of originals, or of images that are measurements (name: none); the holes come with with_holes."""
  measure = None if name == "none" else lambda x, number: x
  return Measuring(measure, restorer.degrade, 1, 0.0, name, norm=1.0)


def with_holes(pairs: Iterable[Pair], mask: np.ndarray) -> Iterator[Pair]:
  """The pairs, masked pixels of the measurements 0. UserError for a picture of another size than the mask's."""
  for pair in pairs:
    sizes = ["x".join(map(str, image.shape[1::-1])) for image in (pair.y, mask)]
    if sizes[0] != sizes[1]:
      raise UserError(f"{pair.name} is {sizes[0]}, and --mask {sizes[1]}: they must have one size")
    yield dataclasses.replace(pair, y=pair.y * (1 - mask[..., None]))
